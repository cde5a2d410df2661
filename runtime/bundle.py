"""A bundle on disk: found, checked against its digests, opened as an onnxruntime session."""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort

from runtime.cpu import cpu_flags
from runtime.errors import BundleError
from runtime.manifest import Manifest

MODEL = "model.onnx"
FLOAT_MODEL = "model-fp32.onnx"
TOKENIZER = "tokenizer.json"
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A folder whose files are what its manifest says they are."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: str | Path) -> "Bundle":
        """Checks every digest; the time is that of reading the files once.

        Raises BundleError where there is no bundle, or a file is absent, changed or cut short.
        """
        folder = Path(folder)
        try:
            manifest = Manifest.from_json((folder / MANIFEST).read_text("utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise BundleError(
                f"no bundle at {folder}: make one with `python -m export MODEL --output {folder}`"
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise BundleError(f"{folder / MANIFEST} cannot be read: {error}") from error
        except BundleError as error:
            raise BundleError(f"{folder}: {error}") from error
        for name, digest in manifest.files.items():
            # Checked when the first row needs it, so that loading takes no longer than without it.
            if name != FLOAT_MODEL and _sha256(folder / name) != digest.sha256:
                raise BundleError(f"{folder / name} is not the file that was exported: export the bundle again")
        _warn_of_missing_flags(manifest)
        return cls(folder, manifest)

    def session(self) -> ort.InferenceSession:
        """One session for all threads: each run is one row on one core, which beats splitting a product over cores.

        The graph was optimised at export, so nothing is left to optimise here.
        """
        return self.open_session(MODEL, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)

    def float_session(self) -> ort.InferenceSession:
        """As `session`, of the fp32 graph of the second look, which is checked now. Raises BundleError."""
        self.check(FLOAT_MODEL)
        # Folds the casts that weights stored as float16 come with, once and not at every run.
        return self.open_session(FLOAT_MODEL, ort.GraphOptimizationLevel.ORT_ENABLE_BASIC)

    def check(self, name: str) -> None:
        """Raises BundleError if a file of the bundle is not what was exported."""
        digest = self.manifest.files.get(name)
        if digest is None or _sha256(self.folder / name) != digest.sha256:
            raise BundleError(f"{self.folder / name} is not the file that was exported: export the bundle again")

    def open_session(
        self, name: str, level: ort.GraphOptimizationLevel = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    ) -> ort.InferenceSession:
        """A session of one graph of the bundle."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.graph_optimization_level = level
        # Rows differ in length, and a memory pattern is kept for every length ever seen.
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        try:
            return ort.InferenceSession(str(self.folder / name), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no base but Exception
            raise BundleError(f"{self.folder / name} cannot be loaded: {error}") from error


def _warn_of_missing_flags(manifest: Manifest) -> None:
    wanted = manifest.quantization.cpu_flags if manifest.quantization else ()
    missing = sorted(set(wanted) - cpu_flags())
    if missing:
        logging.getLogger("answermill.runtime").warning(
            "%s was verified on a CPU with %s, which this one lacks: answers may differ and be slower",
            manifest.bundle_id,
            ", ".join(missing),
        )


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error

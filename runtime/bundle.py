"""A bundle on disk: found, checked against its digests, opened as an onnxruntime session."""

import contextlib
import hashlib
import logging
import mmap
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import onnxruntime as ort
from tokenizers import Tokenizer

from runtime.cpu import cpu_flags
from runtime.errors import BundleError
from runtime.manifest import Manifest

MODEL = "model.onnx"
FLOAT_MODEL = "model-fp32.onnx"
TOKENIZER = "tokenizer.json"
MANIFEST = "manifest.json"
# Key of the fp32 graph's metadata under which the export notes the checkpoint's revision.
REVISION = "answermill.revision"
# A manifest has some kilobytes; what has more is refused before it fills the memory.
LONGEST_MANIFEST = 4 << 20
# How an ONNX graph begins to say in which other file a weight lies: field 1, eight bytes, `location`.
EXTERNAL = b"\x0a\x08location"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A folder whose files are what its manifest says they are."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: str | Path) -> "Bundle":
        """Checks the digests of all files but those that are loaded, whose digests are checked then.

        Raises BundleError if there is no bundle, or a file is absent, changed or cut short, and if a file would
        be used that no digest covers.
        """
        folder = Path(folder)
        try:
            with _open_inside(folder, MANIFEST) as file:
                manifest = Manifest.from_json(file.read(LONGEST_MANIFEST).decode("utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise BundleError(
                f"no bundle at {folder}: make one with `answermill export MODEL --output {folder}`"
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise BundleError(
                f"{folder / MANIFEST} cannot be read: {reason}; correct its rights, or export the bundle again"
            ) from error
        except BundleError as error:
            raise BundleError(f"{folder}: {error}") from error
        if unlisted := [name for name in (MODEL, TOKENIZER) if name not in manifest.files]:
            raise BundleError(f"{folder}: manifest.json lists no {unlisted[0]}: export the bundle again")
        for name, digest in manifest.files.items():
            if name not in (MODEL, FLOAT_MODEL, TOKENIZER) and _sha256(folder, name) != digest.sha256:
                raise _digest_error(folder / name)
        _warn_of_missing_flags(manifest)
        return cls(folder, manifest)

    def tokenizer(self) -> Tokenizer:
        """The tokenizer. Raises BundleError."""
        with self._check_while_loading(TOKENIZER) as path:
            try:
                return Tokenizer.from_file(str(path))
            except Exception as error:  # tokenizers raises bare Exception for whatever is wrong with the file
                raise BundleError(f"{path}: not a tokenizer: {error}") from error

    def session(self) -> ort.InferenceSession:
        """One session for all threads: each run is one row on one core, which beats splitting a product over cores.

        The graph was optimised at export, so nothing is left to optimise here.
        """
        return self.open_session(MODEL, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)

    def check_float_graph(self) -> None:
        """Raises BundleError if the fp32 graph of the second look is absent or was cut short.

        Takes no time; `float_session` checks the digest.
        """
        digest = self.manifest.files.get(FLOAT_MODEL)
        if digest is None:
            raise BundleError(f"{self.folder}: manifest.json lists no {FLOAT_MODEL}: export the bundle again")
        try:
            with _open_inside(self.folder, FLOAT_MODEL) as file:
                size = os.fstat(file.fileno()).st_size
        except OSError as error:
            raise BundleError(
                f"{self.folder / FLOAT_MODEL} cannot be read: {error.strerror}; export the bundle again, or leave out "
                "the second look"
            ) from error
        if size != digest.size:
            raise _digest_error(self.folder / FLOAT_MODEL)

    def float_session(self) -> ort.InferenceSession:
        """As `session`, of the fp32 graph of the second look, which is checked now. Raises BundleError."""
        self.check_float_graph()
        # Folds the casts that weights stored as float16 come with, once and not at every run.
        session = self.open_session(FLOAT_MODEL, ort.GraphOptimizationLevel.ORT_ENABLE_BASIC)
        # Another vocabulary would give answers like any other, and wrong ones.
        if session.get_modelmeta().custom_metadata_map.get(REVISION) != self.manifest.source.revision:
            source = self.manifest.source
            raise BundleError(
                f"{self.folder / FLOAT_MODEL} was not made from {source.checkpoint} at {source.revision}, as this "
                "bundle was: export the bundle again"
            )
        return session

    def open_session(
        self, name: str, level: ort.GraphOptimizationLevel = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    ) -> ort.InferenceSession:
        """A session of one graph of the bundle. Raises BundleError."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.graph_optimization_level = level
        # Rows differ in length, and a memory pattern is kept for every length ever seen.
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        with self._check_while_loading(name) as path:
            _refuse_external_data(path)
            try:
                return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            except Exception as error:  # onnxruntime's exceptions share no base but Exception
                raise BundleError(f"{path} cannot be loaded: {error}") from error

    @contextlib.contextmanager
    def _check_while_loading(self, name: str) -> Iterator[Path]:
        """The path of a file that is loaded meanwhile: what its digest is checked of is what is loaded.

        Another bundle may be copied into the folder at any moment. Bytes that are read once would do as well, but
        onnxruntime keeps them beside the weights: 45 MB more for the shipped checkpoint.
        """
        path, digest = self.folder / name, self.manifest.files.get(name)
        before = _state(path)
        # A bundle that is being made has no digests yet.
        if digest and _sha256(self.folder, name) != digest.sha256:
            raise _digest_error(path)
        yield path
        if _state(path) != before:
            raise _digest_error(path)


def _state(path: Path) -> tuple[int, ...] | None:
    """What changes when somebody writes or replaces the file; None if it cannot be known."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _digest_error(path: Path) -> BundleError:
    return BundleError(
        f"{path} is not the file that was exported: run again if somebody has just replaced the bundle, or export it "
        "again"
    )


def _warn_of_missing_flags(manifest: Manifest) -> None:
    wanted = manifest.quantization.cpu_flags if manifest.quantization else ()
    missing = sorted(set(wanted) - cpu_flags())
    if missing:
        logging.getLogger("answermill.runtime").warning(
            "%s was verified on a CPU with %s, which this one lacks: answers may differ and be slower",
            manifest.bundle_id,
            ", ".join(missing),
        )


def _sha256(folder: Path, name: str) -> str:
    try:
        with _open_inside(folder, name) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(
            f"{folder / name} cannot be read: {error.strerror}; correct its rights, or export the bundle again"
        ) from error


def _open_inside(folder: Path, name: str) -> BufferedReader:
    """Opens a regular file that lies in the folder, and never waits: a FIFO has nobody at its other end.

    Raises BundleError for a name that leads elsewhere, OSError for a file that cannot be opened.
    """
    # Before anything is opened: the name comes from the manifest.
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise BundleError(
            f"{folder}: manifest.json lists {name!r}, which is not the name of a file: export the bundle again"
        )
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BundleError(f"{path} is a link that leaves the bundle: put the file itself there")
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    file = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise BundleError(f"{path} is not a regular file: export the bundle again")
    return file


def _refuse_external_data(model: Path) -> None:
    """Raises BundleError for a graph whose weights lie in other files, since no digest covers those."""
    with model.open("rb") as file:
        # An empty file cannot be mapped, and is no graph, as the session will say.
        if not model.stat().st_size:
            return
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    with content:
        if content.find(EXTERNAL) >= 0:
            raise BundleError(f"{model} keeps weights in other files, which nothing checks: export the bundle again")

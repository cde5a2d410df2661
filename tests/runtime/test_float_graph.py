"""The graph of the second look: when it is opened, who shares it, and what is refused in its place."""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest
from tokenizers import Tokenizer

from runtime import Answer, Answerer, Decoding
from runtime.bundle import FLOAT_MODEL, REVISION, Bundle
from runtime.errors import BundleError
from tests.support.rows import answerable_pairs

# The shortest, since most are read several times over.
PAIRS = sorted(answerable_pairs(), key=lambda pair: len(pair[1]))[:16]


@pytest.fixture
def bundle(int8_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(int8_bundle, tmp_path / "model"))


def enter(bundle: Path, name: str) -> None:
    """Puts the digest and size of a changed file into the manifest, as somebody would who assembles a bundle."""
    manifest = json.loads((bundle / "manifest.json").read_text("utf-8"))
    content = (bundle / name).read_bytes()
    manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    (bundle / "manifest.json").write_text(json.dumps(manifest), "utf-8")


def remove(bundle: Path) -> None:
    (bundle / FLOAT_MODEL).unlink()


def unlist(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text("utf-8"))
    del manifest["files"][FLOAT_MODEL]
    (bundle / "manifest.json").write_text(json.dumps(manifest), "utf-8")


def cut(bundle: Path) -> None:
    os.truncate(bundle / FLOAT_MODEL, 1000)


def make_fifo(bundle: Path) -> None:
    remove(bundle)
    os.mkfifo(bundle / FLOAT_MODEL)


def change_a_byte(bundle: Path) -> None:
    with (bundle / FLOAT_MODEL).open("r+b") as file:
        file.seek(-1000, os.SEEK_END)
        file.write(b"damaged")


def make_no_graph(bundle: Path) -> None:
    (bundle / FLOAT_MODEL).write_bytes(b"no graph")
    enter(bundle, FLOAT_MODEL)


def replace_vocabulary(bundle: Path) -> None:
    """The embeddings of another vocabulary, in a graph of another checkpoint."""
    model = onnx.load(bundle / FLOAT_MODEL)
    table = max(model.graph.initializer, key=lambda each: each.dims[0] if len(each.dims) == 2 else 0)
    values = onnx.numpy_helper.to_array(table)
    table.CopyFrom(onnx.numpy_helper.from_array(values[::-1][:20_000], table.name))
    next(each for each in model.metadata_props if each.key == REVISION).value = "sha256:of-another"
    onnx.save(model, bundle / FLOAT_MODEL)
    enter(bundle, FLOAT_MODEL)


AT_ONCE = [(remove, "cannot be read: No such file"), (unlist, "lists no model-fp32.onnx")]
AT_ONCE += [(cut, "is not the file that was exported"), (make_fifo, "is not a regular file")]
WHEN_NEEDED = [(change_a_byte, "is not the file that was exported"), (make_no_graph, "cannot be loaded")]
WHEN_NEEDED += [(replace_vocabulary, "was not made from minilm-qa at sha256:")]


def answers(answerer: Answerer) -> list[Answer]:
    return list(answerer.answer(PAIRS[:4]))


@pytest.mark.parametrize(("damage", "message"), AT_ONCE)
def test_an_absent_graph_is_refused_before_the_first_row(
    damage: Callable[[Path], None], message: str, bundle: Path
) -> None:
    damage(bundle)
    for second_look in ("auto", 0.5):
        with pytest.raises(BundleError, match=message) as caught:
            Answerer.load(bundle, second_look=second_look)
        assert FLOAT_MODEL in str(caught.value)
    assert not any(answer.error for answer in answers(Answerer.load(bundle, second_look="off")))


@pytest.mark.parametrize(("damage", "message"), WHEN_NEEDED)
def test_a_wrong_graph_is_refused_when_it_is_needed(damage: Callable[[Path], None], message: str, bundle: Path) -> None:
    """Not before: the time to load a bundle stays that of the int8 graph."""
    damage(bundle)
    sure = Answerer.load(bundle, second_look=1.0)
    assert not any(answer.error for answer in answers(sure))
    with pytest.raises(BundleError, match=message) as caught:
        answers(Answerer.load(bundle, second_look=0.0))
    assert str(bundle / FLOAT_MODEL) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [remove, change_a_byte])
def test_the_answer_stage_names_the_graph_in_a_line(damage: Callable[[Path], None], bundle: Path) -> None:
    damage(bundle)
    (bundle.parent / "a.csv").write_text("question,context\nWho called?,Ada called at noon.\n", "utf-8")
    words = [bundle.parent / "a.csv", bundle.parent / "out", "--model", bundle, "--second-look", "0"]
    command = [sys.executable, "-m", "stages.answer", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert FLOAT_MODEL in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(bundle.parent.glob("out/*.csv"))


def test_a_token_beyond_the_embeddings_is_its_rows_error_alone(bundle: Path) -> None:
    tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
    tokenizer.add_tokens(["zyxword"])
    tokenizer.save(str(bundle / "tokenizer.json"))
    enter(bundle, "tokenizer.json")
    good, bad = ("Who called?", "Ada called at noon."), ("Who called?", "Ada called zyxword at noon. " * 300)
    before, error, after = Answerer.load(bundle, 4, second_look=0.0).answer([good, bad, good])
    assert error == Answer.failure("the model has no embedding for a token of this row")
    assert before == after and before.error is None


@pytest.mark.parametrize("threads", [2, 4])
@pytest.mark.parametrize("decoding", [Decoding(), Decoding(top_k=3), Decoding(max_seq_len=80, doc_stride=24)])
def test_threads_and_neighbours_change_no_bit(int8_bundle: Path, decoding: Decoding, threads: int) -> None:
    """Every row by either graph, half of them by the fp32 one: in any order, twice, alone, beside rows that fail."""
    single = Answerer.load(int8_bundle, 1, second_look=0.3)
    wanted = dict(zip(PAIRS, single.rankings(PAIRS, decoding), strict=True))
    assert 0 < sum(ranking.closeness >= 0.3 for ranking in wanted.values()) < len(wanted)
    shared = Answerer.load(int8_bundle, threads, second_look=0.3)
    mixed = [*random.Random(7).sample(PAIRS, len(PAIRS)), ("", "x"), *PAIRS[:5], ("why " * 500, "x")]
    for pair, ranking in zip(mixed, shared.rankings(mixed, decoding), strict=True):
        assert ranking == wanted.get(pair, ranking)
    assert next(iter(shared.rankings(PAIRS[7:8], decoding))) == wanted[PAIRS[7]]


def test_the_graph_is_opened_once_by_the_row_that_needs_it(int8_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    float_session = Bundle.float_session

    def counted(self: Bundle) -> ort.InferenceSession:
        opened.append(self)
        return float_session(self)

    monkeypatch.setattr(Bundle, "float_session", counted)
    never = Answerer.load(int8_bundle, 4, second_look=1.0)
    assert len(answers(never)) == 4 and not opened
    always = Answerer.load(int8_bundle, 4, second_look=0.0)
    assert not opened
    assert answers(always) == answers(always)
    assert len(opened) == 1


# In a process of its own, since a peak never falls.
PEAK = """
import sys
from pathlib import Path
from runtime import Answerer

look = sys.argv[2]
answerer = Answerer.load(sys.argv[1], 1, look if look in ("auto", "off") else float(look))
assert next(answerer.answer([("Who called?", "Ada called at noon.")])).error is None
lines = Path("/proc/self/status").read_text().splitlines()
print(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")))
"""


def test_without_a_near_tie_it_takes_no_memory(int8_bundle: Path) -> None:
    """The fp32 graph has 90 MB, 45 of them in the file."""

    def peak(second_look: str) -> int:
        command = [sys.executable, "-c", PEAK, str(int8_bundle), second_look]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    off = peak("off")
    assert peak("auto") < off + 8_000
    assert peak("0") > off + 60_000

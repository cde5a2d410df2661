"""Every row and every byte of text that goes into the answer stage comes out of it."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime import Answerer
from runtime.blanks import BLANK
from stages.answering.rows import AnswerJob, Columns, Counts
from stages.answering.stream import BLOCK_ROWS, File, Stream
from stages.common.files import partial_name
from stages.common.progress import Progress
from tests.conftest import Stage

ADDED = ["answer", "score", "confidence", "start", "end", "error", "model"]
WORDS = [
    "", " ", "a", "Anna", "\n", "\r\n", "\r", '"', '""', ",", "NULL", "null", "\\N", "\\.", "1e5", "007", "-0.0", "nan",
    "true", "#", "é", "e\u0301", "😀", "\u2028", "\x85", "\x1c", "\ufeff", "\t", " x ", "'", ";", "=1+1",
]  # fmt: skip
TEXT = st.one_of(
    st.lists(st.sampled_from(WORDS), max_size=4).map("".join),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
)


@st.composite
def tables(draw: st.DrawFn) -> list[list[str]]:
    """A header with question and context somewhere in it, and rows of its width."""
    names = draw(st.lists(TEXT.filter(lambda name: not name.startswith("\ufeff")), max_size=3, unique=True))
    header = draw(st.permutations(["question", "context", *(name for name in names if name not in NAMES)]))
    width = len(header)
    return [header, *draw(st.lists(st.lists(TEXT, min_size=width, max_size=width), max_size=6))]


NAMES = {"question", "context", *ADDED}


@pytest.fixture(scope="module")
def job(int8_bundle: Path) -> AnswerJob:
    answerer = Answerer.load(int8_bundle)
    return AnswerJob(answerer, answerer.bundle.manifest.decoding, Columns("question", "context", ""))


def fail(file: File, error: Exception) -> None:
    raise AssertionError(f"{file.name}: {error}")


def answered(content: bytes, job: AnswerJob, folder: Path) -> list[list[str]]:
    (folder / "in.csv").write_bytes(content)
    stream = Stream(job, Counts(), Progress(len(content)), lambda *_: None, fail)
    stream.run([File("in.csv", folder / "in.csv", folder / "out.csv")])
    return read((folder / "out.csv").read_bytes())


def read(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(), newline=""), strict=True))


@given(tables(), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]), st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_table_that_python_wrote_comes_back_equal(
    job: AnswerJob, tmp_path: Path, table: list[list[str]], quoting: int, newline_at_end: bool
) -> None:
    text = io.StringIO(newline="")
    # With "\n" for line ends Python's writer leaves "\r" unquoted, and its own reader then ends the row there.
    csv.writer(text, quoting=quoting, lineterminator="\r\n").writerows(table)  # type: ignore[arg-type]
    written = text.getvalue() if newline_at_end else text.getvalue().removesuffix("\r\n")
    out = answered(written.encode(), job, tmp_path)
    width = len(table[0])
    assert [row[:width] for row in out] == table
    assert out[0][width:] == ADDED
    added = (row[width:] for row in out[1:])
    for row, (text_answer, score, confidence, start, end, error, model) in zip(table[1:], added, strict=True):
        question, context = (row[table[0].index(name)] for name in ("question", "context"))
        assert model == job.model
        if error:
            assert (text_answer, score, confidence, start, end) == ("", "", "", "", "")
            # "empty context" is also said of one whose characters the tokenizer drops, such as control characters.
            assert error in ("empty context", "question too long") or (
                error == "empty question" and not question.strip(BLANK)
            )
        else:
            assert context[int(start) : int(end)] == text_answer
            assert float(score) >= 0


def test_missing_and_empty_stay_apart(job: AnswerJob, tmp_path: Path) -> None:
    answered(b'x,question,context,y\n,"","",\n"",q,c,""\n', job, tmp_path)
    first, second = (tmp_path / "out.csv").read_bytes().splitlines()[1:]
    assert first.startswith(b',"","",,')
    assert second.startswith(b'"",q,c,"",')


def test_a_header_alone_gets_the_new_columns(job: AnswerJob, tmp_path: Path) -> None:
    assert answered(b"question,context", job, tmp_path) == [["question", "context", *ADDED]]


def test_rows_keep_their_order_across_blocks(job: AnswerJob, tmp_path: Path) -> None:
    count = 2 * BLOCK_ROWS + 7
    content = "id,question,context\n" + "".join(f"{row},Who?,Anna did\n" for row in range(count))
    out = answered(content.encode(), job, tmp_path)
    assert [row[0] for row in out[1:]] == [str(row) for row in range(count)]


def test_quotes_in_unquoted_fields_are_text(job: AnswerJob, tmp_path: Path) -> None:
    out = answered(
        b'question,context\nHow long is a 5" pipe?,It is 7" long, or so\n'.replace(b", or", b" or"), job, tmp_path
    )
    assert out[1][:2] == ['How long is a 5" pipe?', 'It is 7" long or so']


def test_a_column_called_like_ours_is_given_back_renamed(stage: Stage, tmp_path: Path, int8_bundle: Path) -> None:
    (tmp_path / "a.csv").write_text("question,context,score\nWho?,Anna,3\n")
    done = stage("answer", tmp_path / "a.csv", tmp_path / "out", "--model", int8_bundle)
    assert done.returncode == 0, done.stderr
    assert "answer: a.csv: columns renamed: score -> given_score\n" in done.stderr
    header, row = read((tmp_path / "out/a.csv").read_bytes())
    assert header == ["question", "context", "given_score", *ADDED]
    assert row[2] == "3"
    done = stage("answer", tmp_path / "a.csv", tmp_path / "out", "--model", int8_bundle, "--prefix", "qa_")
    assert done.returncode == 0, done.stderr
    header, row = read((tmp_path / "out/a.csv").read_bytes())
    assert header == ["question", "context", "score", *(f"qa_{name}" for name in ADDED)]


CLASH = 'answer: {}: header, column "{}": the file has a column of this name already; choose another with --prefix'


@pytest.mark.parametrize(
    ("header", "options"),
    [("question,context,score,given_score", []), ("question,context,qa_score,x", ["--prefix", "qa_"])],
)
def test_a_clash_that_remains_names_the_option_that_helps(
    stage: Stage, tmp_path: Path, int8_bundle: Path, header: str, options: list[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text(f"{header}\nWho?,Anna,3,4\n")
    (tmp_path / "in/b.csv").write_text("question,context\nWho?,Anna\n")
    done = stage("answer", tmp_path / "in", tmp_path / "out", "--model", int8_bundle, *options)
    assert done.returncode == 1
    assert CLASH.format("a.csv", "qa_score" if options else "score") in done.stderr
    assert [path.name for path in (tmp_path / "out").glob("*.csv")] == ["b.csv"]
    done = stage("answer", tmp_path / "in", tmp_path / "out", "--model", int8_bundle, "--prefix", "my_")
    assert done.returncode == 0, done.stderr


def test_what_a_killed_run_left_is_written_over(job: AnswerJob, tmp_path: Path) -> None:
    (tmp_path / partial_name("out.csv")).write_bytes(b"half a li")
    assert answered(b"question,context\nWho?,Anna\n", job, tmp_path)[0] == ["question", "context", *ADDED]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv"]

# ruff: noqa: E501 - a case a line
"""Tables as people have them, what ingest makes of each, and for those that it refuses what following its remedy does.

`make docs` writes the tables of docs/ingest.md by running the cases.
"""

import bz2
import gzip
import io
import lzma
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import time, timedelta
from pathlib import Path

import polars as pl

from runtime.errors import InputError
from stages import ingest
from stages.common.names import is_table
from stages.csvs.reader import read_frames
from stages.ingesting.admission import admit
from stages.ingesting.folder import FolderSource
from stages.ingesting.limits import check_name
from stages.ingesting.options import arguments

PLAIN = "question,context\nWho?,Mara\n"
CURLY = "question,context\nWho?,“Mara”\n"
DOS_RUSSIAN = ("question,context\n" + "Кто был там?,Пётр пришёл из Рязани и сел за стол.\n" * 5).encode("cp866")
RUSSIAN = "question,context\n" + "Кто пришёл?,Вчера пришёл Иван из Москвы и сел за стол.\n" * 5


@dataclass(frozen=True, slots=True)
class Case:
    """One file: what it is, its name and content, and the options that ingest is given."""

    what: str
    content: bytes
    name: str = "a.csv"
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Taken(Case):
    """A file that is taken, and the CSV that becomes of it."""

    becomes: str = PLAIN


@dataclass(frozen=True, slots=True)
class Refused(Case):
    """A file that is refused, and the file, its name and options of somebody who has done what the remedy says.

    Attributes:
        link: what the file is a link to, if it is one.
        later: whether it is a stage after ingest that is given the file.

    """

    then: bytes = PLAIN.encode()
    then_name: str = ""
    with_options: tuple[str, ...] = ()
    link: str = ""
    later: bool = False


def zipped(*members: tuple[str, bytes]) -> bytes:
    """A zip archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def locked(archive: bytes) -> bytes:
    """The zip archive, with the mark of one that has a password."""
    local, central = archive.index(b"PK\x03\x04") + 6, archive.index(b"PK\x01\x02") + 8
    marked = bytearray(archive)
    marked[local] |= 1
    marked[central] |= 1
    return bytes(marked)


def tar(content: bytes) -> bytes:
    """A tar archive."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("a.csv")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def zstd(content: bytes) -> bytes:
    """A Zstandard archive."""
    if sys.version_info >= (3, 14):
        from compression.zstd import compress
    else:
        from backports.zstd import compress
    packed: bytes = compress(content)
    return packed


def parquet(**columns: list[object]) -> bytes:
    """A Parquet file."""
    file = io.BytesIO()
    pl.DataFrame(columns).write_parquet(file)
    return file.getvalue()


def mapped(key: int | str, value: str | bytes) -> bytes:
    """A Parquet file with a map of one key."""
    kinds = {int: pl.Int32, str: pl.String, bytes: pl.Binary}
    maps = pl.Series("x", [{key: value}], pl.Map(kinds[type(key)], kinds[type(value)]))
    file = io.BytesIO()
    pl.DataFrame([pl.Series("question", ["Who?"]), pl.Series("context", ["Mara"]), maps]).write_parquet(file)
    return file.getvalue()


NESTED = parquet(question=["Who?", None], context=["Mara", ""], n=[1, 2], tags=[["a", 'b"'], None], d=[{"x": 1.5}] * 2)
TYPES = parquet(question=["Who?"], context=["Mara"], at=[time(1, 2, 3, 4000)], took=[timedelta(seconds=90_061)])
NESTED_CSV = 'question,context,n,tags,d\nWho?,Mara,1,"[""a"",""b\\""""]","{""x"":1.5}"\n,"",2,,"{""x"":1.5}"\n'
LINES = (
    '{"question": "Who?", "context": "Mara", "n": 1.50}\n\n'
    '{"context": "x, y", "question": null, "more": [1e5, "é"], "ok": true}\n'
)
LINES_CSV = 'question,context,n,more,ok\nWho?,Mara,1.50,,\n,"x, y",,"[1e5, ""é""]",true\n'

_LINE = '{"question": "Who?", "context": "Mara"}\n'

TAKEN = [
    Taken("UTF-8 with a BOM", b"\xef\xbb\xbf" + PLAIN.encode()),
    Taken("UTF-16 with a BOM", PLAIN.encode("utf-16")),
    Taken("UTF-16 without a BOM", PLAIN.encode("utf-16-le")),
    Taken("big-endian UTF-16 without a BOM", PLAIN.encode("utf-16-be")),
    Taken("UTF-32 with a BOM", PLAIN.encode("utf-32")),
    Taken("UTF-32 without a BOM", PLAIN.encode("utf-32-le")),
    Taken("Windows-1252, named", CURLY.encode("cp1252"), options=("--encoding", "cp1252"), becomes=CURLY),
    Taken(
        "UTF-8 with a line in Windows-1252, named",
        "question,context\nWer?,Jürgen\n".encode() + "Wo?,Café\n".encode("cp1252"),
        options=("--encoding", "cp1252"),
        becomes="question,context\nWer?,Jürgen\nWo?,Café\n",
    ),
    Taken(
        "Windows-1252 with few accents, to be detected",
        "question,context\nWann?,Café\n".encode("cp1252"),
        options=("--encoding", "auto"),
        becomes="question,context\nWann?,Café\n",
    ),
    Taken(
        "another encoding, to be detected",
        RUSSIAN.encode("cp1251"),
        options=("--encoding", "auto"),
        becomes=RUSSIAN,
    ),
    Taken(
        "semicolons", b'question;context\nWho?;"a;b"\nHow?;1,5\n', becomes='question,context\nWho?,"a;b"\nHow?,"1,5"\n'
    ),
    Taken(
        "quoted names and semicolons", b'"question";"context"\nWho?;Mara\n', becomes='"question","context"\nWho?,Mara\n'
    ),
    Taken(
        "a comma in a name, semicolons between",
        b"question;context;note, other\nWho?;Mara;x\n",
        becomes='question,context,"note, other"\nWho?,Mara,x\n',
    ),
    Taken("tabs", b"question\tcontext\nWho?\tMara\n", name="a.tsv"),
    Taken("bars", b"question|context\nWho?|Mara\n"),
    Taken('a line "sep=;"', b"sep=;\r\nquestion;context\nWho?;Mara\n"),
    Taken('a line "sep=;" above commas', b"sep=;\nquestion,context\nWho?,Mara\n"),
    Taken('a line "sep=," above tabs', b"sep=,\nquestion\tcontext\nWho?\tMara\n"),
    Taken("carriage returns for line ends", b"question,context\rWho?,Mara\r"),
    Taken(
        "carriage returns for line ends, line feeds in a cell",
        b'question;context\r"Who\n;came?";"Mara\rcame"\rHow?;so',
        becomes='question,context\n"Who\n;came?","Mara\rcame"\nHow?,so\n',
    ),
    Taken(
        "Ctrl-Z at the end, as DOS has it",
        b"question,context\r\nWho?,Mara\r\n\x1a",
        becomes=PLAIN.replace("\n", "\r\n"),
    ),
    Taken(
        "Ctrl-Z behind the last field",
        b'question,context\nWho?,"Mara"\x1a\x1a',
        becomes='question,context\nWho?,"Mara"\n',
    ),
    Taken(
        "columns without name and content", b'question,context,,\nWho?,Mara,,\nHow?,x,"",\n', becomes=PLAIN + "How?,x\n"
    ),
    Taken(
        "columns with content and no name",
        b"question,context,,,\nWho?,Mara,,x,\n",
        becomes="question,context,column_3,column_4\nWho?,Mara,,x\n",
    ),
    Taken(
        "rows without their last, empty fields",
        b"question,context,x,y\nWho?,Mara,1,2\nHow?,so\n",
        becomes="question,context,x,y\nWho?,Mara,1,2\nHow?,so,,\n",
    ),
    Taken(
        "rows with an empty field too many", b'question,context\nWho?,Mara,\nHow?,so,""\n', becomes=PLAIN + "How?,so\n"
    ),
    Taken("names in other letters, with blanks", "Question ,\u00a0CONTEXT\nWho?,Mara\n".encode()),
    Taken("names with characters that do not show", "\u200bquestion\ufeff,\u2060context\u00ad\nWho?,Mara\n".encode()),
    Taken(
        "a column called as one of the answer's",
        b"question,context,answer,given_model\nWho?,Mara,M,x\n",
        becomes="question,context,given_answer,given_given_model\nWho?,Mara,M,x\n",
    ),
    Taken("gzip", gzip.compress(PLAIN.encode()), name="a.csv.gz"),
    Taken("gzip in gzip", gzip.compress(gzip.compress(PLAIN.encode())), name="a.csv.gz"),
    Taken("named so, but no archive", PLAIN.encode(), name="a.csv.gz"),
    Taken("bzip2", bz2.compress(PLAIN.encode()), name="a.csv.bz2"),
    Taken("xz", lzma.compress(PLAIN.encode()), name="a.csv.xz"),
    Taken("Zstandard", zstd(PLAIN.encode()), name="a.csv.zst"),
    Taken("zip with one CSV", zipped(("__MACOSX/._a.csv", b"x"), ("d/a.csv", PLAIN.encode())), name="a.zip"),
    Taken("Parquet", NESTED, name="a.parquet", becomes=NESTED_CSV),
    Taken(
        "Parquet with times and durations",
        TYPES,
        name="a.parquet",
        becomes="question,context,at,took\nWho?,Mara,01:02:03.004,P1DT1H1M1S\n",
    ),
    Taken("NDJSON", LINES.encode(), name="a.ndjson", becomes=LINES_CSV),
    Taken("NDJSON in UTF-16", _LINE.encode("utf-16"), name="a.ndjson"),
    Taken("NDJSON with carriage returns and Ctrl-Z", _LINE.encode().replace(b"\n", b"\r") + b"\x1a", name="a.jsonl"),
    Taken(
        "NDJSON in Windows-1252, named",
        _LINE.replace("Mara", "“Mara”").encode("cp1252"),
        name="a.ndjson",
        options=("--encoding", "cp1252"),
        becomes=CURLY,
    ),
    Taken("zip with one NDJSON file", zipped(("d/a.jsonl", _LINE.encode())), name="a.zip"),
    Taken("zip of NDJSON without a name", zipped(("-", _LINE.encode())), name="a.jsonl.zip"),
    Taken("zip with one Parquet file", zipped(("a.parquet", NESTED)), name="a.zip", becomes=NESTED_CSV),
    Taken("zip with one gzipped CSV", zipped(("a.csv.gz", gzip.compress(PLAIN.encode()))), name="a.zip"),
    Taken("gzipped NDJSON", gzip.compress(LINES.encode()), name="a.jsonl.gz", becomes=LINES_CSV),
]

_BOMB = gzip.compress(b"question,context\n" + (b"Who?," + b"x" * 999_000 + b"\n") * 70, 1)


def _nested(levels: int) -> bytes:
    """NDJSON with lists in lists."""
    return b'{"question": "Who?", "context": "Mara", "x": ' + b"[" * levels + b"]" * levels + b"}\n"


_PARQUET_BOMB = parquet(question=["Who?"] * 70, context=["x" * 999_000] * 70)

REFUSED = [
    Refused("Windows-1252, not named", CURLY.encode("cp1252"), then=CURLY.encode("cp1252"), with_options=("--encoding", "cp1252")),
    Refused(
        "curly quotes, called latin-1",
        CURLY.encode("cp1252"),
        options=("--encoding", "latin-1"),
        then=CURLY.encode("cp1252"),
        with_options=("--encoding", "cp1252"),
    ),
    Refused(
        "another encoding than the one named",
        "question,context\nКто?,Иван\n".encode("koi8-r") + b"\x98\n",
        options=("--encoding", "cp1251"),
        then="question,context\nКто?,Иван\n".encode("koi8-r"),
        with_options=("--encoding", "koi8-r"),
    ),
    Refused("an encoding that could be several", "question,context\nHva?,Øl\n".encode("cp1252"), options=("--encoding", "auto"),
            then="question,context\nHva?,Øl\n".encode("cp1252"), with_options=("--encoding", "cp1252")),
    Refused("another encoding, not named", DOS_RUSSIAN, then=DOS_RUSSIAN, with_options=("--encoding", "auto")),
    Refused("another encoding than the one detected, far down", "question,context\nWann?,Im Café\n".encode("cp1252") * 6_000 + b"Wo?,\x81\n",
            options=("--encoding", "auto"), then="question,context\nWann?,Im Café\n".encode() * 6_000),
    Refused("letters of another encoding, far down", "question,context\nWann?,Im Café\n".encode("cp1252") * 6_000 + "Que?,Llegó ayer\n".encode("mac-roman"),
            options=("--encoding", "auto"), then="question,context\nWann?,Im Café\n".encode() * 6_000),
    Refused("half a character of UTF-16", PLAIN.encode("utf-16") + b"x", then=PLAIN.encode("utf-16")),
    Refused("a NUL byte", b"question,context\nWho?,Ma\0ra\n"),
    Refused("nothing", b""),
    Refused("no such column", b"question,passage\nWho?,Mara\n", then=b"question,passage\nWho?,Mara\n", with_options=("--context-column", "passage")),
    Refused("two columns that could be it", b"Question,QUESTION,context\nWho?,x,Mara\n", then=b"question,QUESTION,context\nWho?,x,Mara\n"),
    Refused("a name twice", b"question,context,x,x\nWho?,Mara,1,2\n", then=b"question,context,x,y\nWho?,Mara,1,2\n"),
    Refused("a comma that is not quoted", b"question,context\nWho?,Mara, Tom\n", then=b'question,context\nWho?,"Mara, Tom"\n'),
    Refused("a line break that is not quoted", b"question,context\nWho\ncame?,Mara\n", then=b'question,context\n"Who\ncame?",Mara\n'),
    Refused("a quote that never closes", b'question,context\nWho?,"Mara\n', then=b'question,context\nWho?,"""Mara"\n'),
    Refused("text behind a closing quote", b'question,context\nWho?,"Mara"s\n', then=b'question,context\nWho?,"""Mara""s"\n'),
    Refused("carriage returns for some line ends", b"question,context\nWho?,Mara\rHow?,so\n", then=PLAIN.encode() + b"How?,so\n"),
    Refused("carriage returns for line ends, a line feed that is not quoted", b"question,context\rWho?,Mara\n\rHow?,so\r",
            then=b'question,context\rWho?,"Mara\n"\rHow?,so\r'),
    Refused("another program's bytes", b"\xff\x06\0\0sNaPpY"),
    Refused("a title above the header", b"Report of May,\n,\nquestion,context\nWho?,Mara\n"),
    Refused("a title above the header, semicolons", b"Report; of, May\n\nquestion;context\nWho?;Mara\n", then=b"question;context\nWho?;Mara\n"),
    Refused("no header", b"Who?,Mara\n"),
    Refused("no header for columns of other names", b"Who?,Mara\n", options=("--question-column", "q", "--context-column", "c"), then=b"q,c\nWho?,Mara\n"),
    Refused("another delimiter", b"question:context\nWho?:Mara\n"),
    Refused("a header that two delimiters fit", b"question,context,x;question;context;y\nWho?,Mara,;;;\n",
            then=b"sep=,\nquestion,context,x;question;context;y\nWho?,Mara,;;;\n"),
    Refused("a row with two empty fields too many", b"question,context\nWho?,Mara,,\n"),
    Refused("a semicolon that is not quoted", b"question;context\nWho?;Mara; Tom\n", then=b'question;context\nWho?;"Mara; Tom"\n'),
    Refused("Ctrl-Z in a line of its own", b"question,context\nWho?,Mara\n\x1a\n"),
    Refused("a damaged archive", gzip.compress(PLAIN.encode())[:-4], name="a.csv.gz", then=gzip.compress(PLAIN.encode())),
    Refused("half of a Zstandard archive", zstd(PLAIN.encode())[:-4], name="a.csv.zst", then=zstd(PLAIN.encode())),
    Refused("a zip archive with several CSVs", zipped(("a.csv", b""), ("b.csv", b"")), name="a.zip", then=zipped(("a.csv", PLAIN.encode()))),
    Refused("a zip archive with a password", locked(zipped(("a.csv", PLAIN.encode()))), name="a.zip", then=zipped(("a.csv", PLAIN.encode()))),
    Refused("a zip archive of Deflate64", zipped(("a.csv", PLAIN.encode() * 9)).replace(b"\x08\0", b"\x09\0"), then=gzip.compress(PLAIN.encode())),
    Refused("a zip archive in gzip", gzip.compress(zipped(("a.csv", PLAIN.encode()))), name="a.csv.gz"),
    Refused("an empty zip archive", zipped(), name="a.zip", then=zipped(("a.csv", PLAIN.encode()))),
    Refused("a tar archive", tar(PLAIN.encode())),
    Refused("a gzipped tar archive", gzip.compress(tar(PLAIN.encode())), name="a.csv.gz"),
    Refused("a Word document", zipped(("[Content_Types].xml", b""), ("word/document.xml", b""))),
    Refused("an Excel workbook", zipped(("[Content_Types].xml", b""), ("xl/workbook.xml", b""))),
    Refused("a PDF", b"%PDF-1.7\n"),
    Refused("an HTML page", b"<!DOCTYPE html><table><tr><td>question"),
    Refused("a 7z archive", b"7z\xbc\xaf\x27\x1c\0\x04"),
    Refused("a picture", b"\x89PNG\r\n\x1a\n\0\0"),
    Refused("NDJSON that is called .csv", _LINE.encode(), then=_LINE.encode(), then_name="a.ndjson"),
    Refused("a JSON list", b'[{"question": "Who?", "context": "Mara"}]'),
    Refused("a damaged Parquet file", NESTED[:-9], name="a.parquet", then=NESTED),
    Refused("Parquet with bytes", parquet(question=["Who?"], context=["Mara"], x=[b"\xff"]), name="a.parquet",
            then=parquet(question=["Who?"], context=["Mara"])),
    Refused("Parquet with bytes in lists", parquet(question=["Who?"], context=["Mara"], x=[[{"y": b"\xff"}]]), name="a.parquet",
            then=parquet(question=["Who?"], context=["Mara"])),
    Refused("Parquet with a map of numbers", mapped(1, "x"), name="a.parquet", then=mapped("1", "x")),
    Refused("Parquet with bytes in a map", mapped("1", b"\xff"), name="a.parquet", then=mapped("1", "x")),
    Refused("NDJSON with a broken line", b'{"question": 1}\n{"question": \n', name="a.ndjson", then=_LINE.encode()),
    Refused("NDJSON with nothing in it", b"\n", name="a.ndjson", then=_LINE.encode()),
    Refused("NDJSON without one of the keys", b'{"question": "Who?"}\n', name="a.ndjson", then=_LINE.encode()),
    Refused("NDJSON with a list", b"[1]\n", name="a.ndjson", then=_LINE.encode()),
    Refused("NDJSON with a key twice", b'{"question": "Who?", "context": "x", "context": "Mara"}\n', name="a.ndjson", then=_LINE.encode()),
    Refused("NDJSON with half a character", b'{"question": "Who?", "context": "\\ud83d"}\n', name="a.ndjson", then=_LINE.encode()),
    Refused("NDJSON in Windows-1252, not named", _LINE.replace("Mara", "“Mara”").encode("cp1252"), name="a.ndjson",
            then=_LINE.replace("Mara", "“Mara”").encode("cp1252"), with_options=("--encoding", "cp1252")),
    Refused("a link that leads out", b"", link="../out.csv"),
    Refused("a link to nothing", b"", link="nothing.csv"),
    Refused("a field too long", b"question,context\nWho?," + b"x" * 1_000_001 + b"\n",
            then=b"question,context\nWho?," + b"x" * 1_000_001 + b"\n", with_options=("--max-field", "1000001")),
    Refused("too many columns", b"question,context,x\n", options=("--max-columns", "2"), then=b"question,context,x\n", with_options=("--max-columns", "3")),
    Refused("too many keys", b'{"question": 1, "context": 2, "x": 3}\n', name="a.ndjson", options=("--max-columns", "2"),
            then=b'{"question": 1, "context": 2, "x": 3}\n', with_options=("--max-columns", "3")),
    Refused("too many blank lines", PLAIN.encode() + b"\n" * 9, options=("--max-blank-lines", "8"), then=PLAIN.encode() + b"\n" * 9,
            with_options=("--max-blank-lines", "9")),
    Refused("NDJSON nested too deeply", _nested(600), name="a.ndjson", then=_nested(199)),
    Refused("NDJSON nested far too deeply", _nested(100_000), name="a.ndjson", then=_nested(1)),
    Refused("NDJSON with too many blank lines", b"\n" * 9, name="a.ndjson", options=("--max-blank-lines", "8"), then=_LINE.encode() + b"\n" * 9,
            with_options=("--max-blank-lines", "9")),
    Refused("a name too long", PLAIN.encode(), name="a/" * 550 + "b.csv", then=PLAIN.encode(), with_options=("--max-name", "1105")),
    Refused("a column's name too long", b"question,context," + b"x" * 1025 + b"\nWho?,Mara,1\n", then=b"question,context,x\nWho?,Mara,1\n"),
    Refused("an archive too large", gzip.compress(PLAIN.encode()), name="a.csv.gz", options=("--max-unpacked", "20"),
            then=gzip.compress(PLAIN.encode()), with_options=("--max-unpacked", "27")),
    Refused("an archive that grows too much", _BOMB, name="a.csv.gz", options=("--max-ratio", "2"), then=_BOMB, with_options=("--max-ratio", "300")),
    Refused("a Parquet file that grows too much", _PARQUET_BOMB, name="a.parquet", then=_PARQUET_BOMB, with_options=("--max-ratio", "100000")),
]  # fmt: skip


# What a stage after ingest says of files that have not passed it.
LATER = [
    Refused("not UTF-8", CURLY.encode("cp1252"), later=True, then=CURLY.encode("cp1252"), with_options=("--encoding", "cp1252")),
    Refused("UTF-16", PLAIN.encode("utf-16"), later=True, then=PLAIN.encode("utf-16")),
    Refused("semicolons", PLAIN.replace(",", ";").encode(), later=True, then=PLAIN.replace(",", ";").encode()),
    Refused("Ctrl-Z at the end", PLAIN.encode() + b"\x1a", later=True),
]  # fmt: skip


def run(
    case: Case, content: bytes | None = None, options: tuple[str, ...] | None = None, name: str = ""
) -> tuple[dict[str, str], list[str]]:
    """The CSVs that become of a case's file by name of part, and the remarks on it. Raises InputError if it is refused."""
    words = ["in", "out", *(case.options if options is None else options)]
    rules = ingest.rules_of(arguments(words))
    name = name or case.name
    check_name(name, rules.limits)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "object")
        path.write_bytes(case.content if content is None else content)
        admission = admit(path, name, Path(folder, "table"), rules)
        assert sorted(Path(folder).iterdir()) == sorted([path, *(part.path for part in admission.parts)])
        return {str(part.first_row): part.path.read_bytes().decode() for part in admission.parts[:1]}, admission.remarks


def refuse(case: Refused) -> None:
    """Raises the InputError of the case, where it is raised: by the source, the gate, or a later stage."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "in", "a.csv")
        path.parent.mkdir()
        if case.link:
            Path(folder, "out.csv").write_text(PLAIN, "utf-8")
            path.symlink_to(case.link)
            source = FolderSource(path.parent)
            (item,) = source.list(is_table).objects.values()
            source.fetch(item, io.BytesIO(), int)
        elif case.later:
            path.write_bytes(case.content)
            list(read_frames(path, ("question", "context")))
        else:
            run(case)


def page() -> Iterator[str]:
    """The lines of the tables in docs/ingest.md."""
    yield "| taken | option | what the log says |"
    yield "| --- | --- | --- |"
    for taken in TAKEN:
        remarks = _cell("; ".join(run(taken)[1])) or "nothing"
        yield f"| {_cell(taken.what)} | {_code(taken.options)} | {remarks} |"
    yield ""
    yield "| refused | option | reason | remedy |"
    yield "| --- | --- | --- | --- |"
    for case in REFUSED:
        try:
            refuse(case)
        except InputError as error:
            yield f"| {_cell(case.what)} | {_code(case.options)} | {_cell(error.place + error.reason)} | {_cell(error.remedy)} |"


def _code(words: tuple[str, ...]) -> str:
    return f"`{' '.join(words)}`" if words else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")

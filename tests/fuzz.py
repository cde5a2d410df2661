"""Random files through ingest and answer: each is answered row for row, or refused with a reason.

`python -m tests.fuzz --files 10000 --seed 1 --model build/model`; ends with 1 and the file's name at the first that is
lost, altered, or crashes a stage. What went in and out stays in the folder that the last line names.
"""

import argparse
import csv
import gzip
import io
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from stages.common.names import part_path, rejection_path, target_path
from stages.csvs.columns import given_header

QUOTING: list[Literal[0, 1, 2]] = [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]
SHARD_ROWS = 7
# Files of one round: what two processes of one round cost vanishes, and a failure is found early.
ROUND = 1000

WORDS = [
    "", " ", "Anna", "1921", "who", "\n", "\r\n", "\r", '"', '""', '","', ",", "NULL", "\\N", "\\.", "1e5", "007", "é",
    "e\u0301", "😀", "\u2028", "\x85", "\x1c", "\x0b", "\ufeff", "\t", "'", ";", "|", "#", "=1", "\x7f", "\u200b",
]  # fmt: skip


def table(chance: random.Random) -> list[list[str]]:
    """A header with question and context, and rows of its width."""
    header = ["question", "context", *(f"{text(chance)}{number}" for number in range(chance.randrange(3)))]
    chance.shuffle(header)
    header[0] = header[0].lstrip("\ufeff")
    rows = chance.choice((0, 1, 2, 5, SHARD_ROWS, SHARD_ROWS + 1, 3 * SHARD_ROWS))
    return [header, *([text(chance) for _ in header] for _ in range(rows))]


def text(chance: random.Random) -> str:
    """Few pieces, of which the model makes short work."""
    return "".join(chance.choices(WORDS, k=chance.choice((0, 1, 1, 2, 4))))


def written(chance: random.Random) -> bytes:
    """A CSV as one of the world's programs writes it."""
    out = io.StringIO(newline="")
    line_end = chance.choice(("\n", "\r\n"))
    csv.writer(out, quoting=chance.choice(QUOTING), lineterminator=line_end).writerows(table(chance))
    content = out.getvalue().encode()
    if chance.random() < 0.3:
        content = content.removesuffix(line_end.encode())
    if chance.random() < 0.3:
        content = b"\xef\xbb\xbf" + content
    return content


def careless(chance: random.Random) -> bytes:
    """What a program writes that puts commas between and hopes."""
    lines = [",".join(row) for row in table(chance)]
    return chance.choice(("\n", "\r\n", "\r\r\n", "\r")).join(lines).encode()


def damaged(chance: random.Random) -> bytes:
    """A sound file with some bytes changed, dropped or doubled."""
    content = bytearray(written(chance))
    for _ in range(chance.randrange(1, 4)):
        place = chance.randrange(len(content) + 1)
        piece = chance.choice((b'"', b",", b"\n", b"\r", b"\0", b"\xff", b"\xc3", bytes([chance.randrange(256)])))
        content[place : place + chance.randrange(3)] = piece * chance.randrange(3)
    return bytes(content)


def noise(chance: random.Random) -> bytes:
    """Anything."""
    return chance.choice((b"", b"question,context\n", b"PK\x03\x04", b"\xff\xfe")) + chance.randbytes(
        chance.randrange(60)
    )


def readings(content: bytes) -> list[list[str]] | None:
    """The rows as Python's csv reads them, blank lines left out; None for what it cannot read as one table."""
    try:
        decoded = content.decode()
    except UnicodeDecodeError:
        return None
    try:
        rows = [row for row in csv.reader(io.StringIO(decoded.lstrip("\ufeff"), newline=""), strict=True) if row]
    except csv.Error:
        return None
    return rows


def check(content: bytes, name: str, ingested: Path, answered: Path) -> str:
    """`answered` or `rejected`; raises AssertionError if the file is neither, or not what it was."""
    note = ingested / rejection_path(name)
    parts = [path for path in [answered / target_path(name)] if path.exists()]
    parts += sorted((answered / part_path(name, 2)).parent.glob("*.csv"))
    if note.exists():
        told = json.loads(note.read_bytes())
        assert told["object"] == name and told["reason"] and told["remedy"], told
        assert parts == [], "both rejected and answered"
        assert not sound(content), f"rejected without need: {told}"
        return "rejected"
    assert parts, "lost"
    before = readings(content)
    assert before is not None, "answered, though it cannot be read"
    after: list[list[str]] = []
    for part in parts:
        rows = list(csv.reader(io.StringIO(part.read_bytes().decode(), newline=""), strict=True))
        # No other column has the name: one of the user's has become `given_answer`.
        width = rows[0].index("answer")
        after += [row[:width] for row in (rows if not after else rows[1:])]
        place = rows[0].index("context")
        for row in rows[1:]:
            told = dict(zip(rows[0][width:], row[width:], strict=True))
            context = row[place]
            assert told["model"] and (
                told["error"] or context[int(told["start"]) : int(told["end"])] == told["answer"]
            ), row
    assert after == passed_on(before), "altered"
    return "answered"


def passed_on(rows: list[list[str]]) -> list[list[str]]:
    """The rows of a table that is taken, as they are to leave: of one width, and each column with a name."""
    header, width = rows[0], len(rows[0])
    rows = [row + [""] * (width - len(row)) if len(row) < width else row[:width] for row in rows]
    while not header[width - 1].strip() and not any(row[width - 1] for row in rows[1:]):
        width -= 1
    names = header[:width]
    for wanted in ("question", "context"):
        if wanted not in names:
            names[[name.strip("\ufeff").strip().casefold() for name in names].index(wanted)] = wanted
    unnamed = [place for place, name in enumerate(names) if not name]
    if len(unnamed) > 1 or unnamed == [width - 1]:
        for place in unnamed:
            names[place] = f"column_{place + 1}"
    return [given_header(names), *(row[:width] for row in rows[1:])]


def sound(content: bytes) -> bool:
    """Whether nothing is wrong with a file, by rules simpler and narrower than the gate's."""
    rows = readings(content)
    return (
        rows is not None
        and b"\0" not in content
        and b"\r" not in content.replace(b"\r\n", b"")
        and bool(rows)
        and len(set(rows[0])) == len(rows[0])
        and {"question", "context"} <= set(rows[0])
        and all(len(row) == len(rows[0]) for row in rows)
    )


KINDS: list[Callable[[random.Random], bytes]] = [written, written, careless, damaged, damaged, noise]


def stage(name: str, *arguments: object) -> str:
    """Runs a stage; raises AssertionError unless it ends well. Returns what it said."""
    done = subprocess.run(
        [sys.executable, "-m", f"stages.{name}", *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr[-4000:]
    return done.stderr


def one_round(folder: Path, first: int, count: int, seed: int, model: Path) -> Counter[str]:
    """Makes files, runs both stages over them, and checks each. Returns how many ended how."""
    contents: dict[str, bytes] = {}
    for number in range(first, first + count):
        chance = random.Random(f"{seed}/{number}")
        content = chance.choice(KINDS)(chance)
        name = f"{number}.csv"
        if chance.random() < 0.1:
            name, packed = f"{number}.csv.gz", gzip.compress(content)
        else:
            packed = content
        path = folder / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(packed)
        contents[name] = content
    stage("ingest", folder / "in", folder / "ingested", "--shard-rows", SHARD_ROWS)
    stage("answer", folder / "ingested", folder / "answered", "--model", model)
    ends: Counter[str] = Counter()
    for name, content in contents.items():
        try:
            ends[check(content, name, folder / "ingested", folder / "answered")] += 1
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}: {content[:300]!r}") from error
    return ends


def main(argv: Sequence[str] | None = None) -> int:
    """Runs rounds until the files are through. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", type=Path, default=Path("build/model"))
    options = parser.parse_args(argv)
    folder = Path(tempfile.mkdtemp(prefix="answermill-fuzz-"))
    ends: Counter[str] = Counter()
    for first in range(0, options.files, ROUND):
        shutil.rmtree(folder)
        try:
            ends += one_round(folder, first, min(ROUND, options.files - first), options.seed, options.model)
        except AssertionError as error:
            sys.stderr.write(f"fuzz: seed {options.seed}: {error}\nfuzz: see {folder}\n")
            return 1
        sys.stderr.write(f"fuzz: {ends.total()} files: {ends['answered']} answered, {ends['rejected']} rejected\n")
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())

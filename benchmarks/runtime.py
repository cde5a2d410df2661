"""`python -m benchmarks.runtime [ROWS]`: rows per second of this runtime and its peers, side by side.

DistilBERT-base with random weights answers real text. Each peer runs in a process of its own; all peers take their turn
in each round, so that a change in the machine's speed meets them alike; medians over the rounds.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import machine
from benchmarks.peers import PEERS, run_peer
from benchmarks.plots import bars, column_of
from benchmarks.preparing import Pair, prepare
from export.evaluation import Row, read_rows
from runtime import command
from runtime.cpu import available_cpus

# Multiply-adds per token of DistilBERT-base in products with weights: 6 layers of 4 d*d and 2 d*4d, with d = 768.
WEIGHT_PRODUCTS = 6 * 12 * 768 * 768
OURS = "answermill int8"


class Run(NamedTuple):
    """One peer's turn: rows per second once warm, seconds to the first answer, peak memory in MiB."""

    rows: float
    first: float
    memory: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints a table. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.runtime",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rows", type=Path, nargs="?", default=Path("samples"), help="CSV, folder, or SQuAD JSON")
    parser.add_argument("--limit", type=int, default=160, help="rows to answer (160)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each peer (3)")
    parser.add_argument("--folder", type=Path, default=Path("build/bench"), help="where models are prepared")
    parser.add_argument("--only", help="peers whose name holds this text")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="rows/s as a picture, too")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    command.add_common(parser)
    return command.run("benchmarks.runtime", run_benchmark, parser.parse_args(argv))


def run_benchmark(options: argparse.Namespace) -> int:
    """Measures, or answers as one peer. Returns the exit code."""
    rows = spread(read_rows(options.rows), options.limit)
    if options.peer:
        return child(options.peer, options.folder, rows)
    names = [name for name in PEERS if not options.only or options.only in name]
    prepare(options.folder, rows, names)
    print(machine.description())
    peak = machine.int8_peak(available_cpus())
    tokens = count_tokens(options.folder, rows)
    print(f"{len(rows)} rows of {options.rows}, {tokens / len(rows):.0f} tokens a row, {options.rounds} rounds\n")
    runs = measure(names, options)
    print(table(runs))
    if options.plot:
        options.plot.write_text(bars("Rows per second", column_of(table(runs), "rows/s")), "utf-8")
    if ours := runs.get(OURS):
        speed = statistics.median(run.rows for run in ours) * tokens / len(rows)
        share = speed * WEIGHT_PRODUCTS / peak
        print(
            f"\nint8: {speed:.0f} tokens/s; {share:.0%} of the {peak / 1e9:.0f} G multiply-adds/s of MatMulInteger here"
        )
    return 0


def spread(rows: Sequence[Row], limit: int) -> list[Pair]:
    """`limit` rows from all over the file."""
    step = max(1, len(rows) // limit)
    return [(row.question, row.context) for row in rows[::step][:limit]]


def count_tokens(folder: Path, rows: Sequence[Pair]) -> int:
    """Tokens that the model sees, overlaps counted twice."""
    from tokenizers import Tokenizer

    from runtime.decoding import Decoding
    from runtime.windows import Windower

    tokenizer = Tokenizer.from_file(str(folder / "answermill-fp32/tokenizer.json"))
    windower = Windower(tokenizer, None, Decoding())
    return sum(window.ids.size for row in rows for window in windower.windows(*row))


def measure(names: Sequence[str], options: argparse.Namespace) -> dict[str, list[Run] | None]:
    """Runs of each peer, in turn; None for a peer that is not installed."""
    runs: dict[str, list[Run] | None] = {
        name: [] if machine.installed_version(PEERS[name][0]) else None for name in names
    }
    for _ in range(options.rounds):
        for done, name in ((done, name) for name, done in runs.items() if done is not None):
            done.append(turn(name, options))
    return runs


def turn(name: str, options: argparse.Namespace) -> Run:
    """One process of one peer."""
    command = [sys.executable, "-m", "benchmarks.runtime", str(options.rows), "--limit", str(options.limit)]
    command += ["--folder", str(options.folder), "--peer", name]
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        lines = process.stdout
        assert lines is not None  # noqa: S101 - it is a pipe
        first = lines.readline() and time.monotonic() - began
        result = json.loads(lines.readline() or "null")
    if result is None:
        raise SystemExit(f"{name} failed; see `{' '.join(command)}`")
    return Run(result["rows"], float(first), result["memory"])


def child(name: str, folder: Path, rows: Sequence[Pair]) -> int:
    """Answers the first row, says so, then times the others."""
    next(run_peer(name, folder, rows[:1]))
    print("first", flush=True)
    began = time.perf_counter()
    count = sum(1 for _ in run_peer(name, folder, rows))
    seconds = time.perf_counter() - began
    print(json.dumps({"rows": count / seconds, "memory": peak_memory()}))
    return 0


def peak_memory() -> float:
    """Peak resident memory of this process in MiB. getrusage would keep the parent's peak across fork and exec."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def table(runs: dict[str, list[Run] | None]) -> str:
    """Markdown: medians, and ours over each peer."""
    ours = runs.get(OURS)
    lines = ["| peer | rows/s | ours is | first answer, s | peak memory, MiB |", "| --- | --- | --- | --- | --- |"]
    for name, done in runs.items():
        if not done:
            lines.append(f"| {name} | absent | | | |")
            continue
        rows, first, memory = (statistics.median(column) for column in zip(*done, strict=True))
        ratio = f"{statistics.median(o.rows / p.rows for o, p in zip(ours, done, strict=True)):.2f} x" if ours else ""
        lines.append(f"| {name} | {rows:.1f} | {ratio} | {first:.1f} | {memory:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

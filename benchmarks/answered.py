"""CSVs such as `answer` writes, of any number of rows and any size."""

import csv
from pathlib import Path

HEADER = ("question", "context", "answer", "score", "confidence", "start", "end", "error", "model")
_WORDS = ("river", "meadow", "signal", "harbour", "winter", "copper", "engine", "window", "letter", "bridge")


def write_csv(path: Path, rows: int) -> Path:
    """An answered CSV: contexts of 200 to 1,000 characters, some with quotes and line breaks."""
    contexts = []
    for number in range(min(rows, 997)):
        words = [_WORDS[(number * 7 + place * place) % len(_WORDS)] for place in range(30 + number % 130)]
        text = " ".join(word + "," * (place % 11 == 0) for place, word in enumerate(words))
        contexts.append(text.replace(" engine", ' "engine"') if number % 5 else text.replace(" bridge", "\nbridge"))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for number in range(rows):
            context = contexts[number % len(contexts)]
            question = f"Which {_WORDS[number % len(_WORDS)]} was seen at place {number}?"
            writer.writerow(
                [question, context, context[5:25], f"{number % 1000 / 1000}", 0.5, 5, 25, None, "minilm-qa int8"]
            )
    return path


def repeat_csv(source: Path, path: Path, megabytes: int) -> tuple[Path, int]:
    """Writes a CSV of that size by repeating the rows of `source`. Returns it, and its number of rows."""
    with source.open("rb") as file:
        header, rows = file.readline(), file.read(10_000_000)
    rows = rows[: rows.rindex(b"minilm-qa int8\n") + len(b"minilm-qa int8\n")]
    times = max(1, megabytes * 1_000_000 // len(rows))
    with path.open("wb") as file:
        file.write(header)
        file.writelines(rows for _ in range(times))
    return path, times * rows.count(b"minilm-qa int8\n")

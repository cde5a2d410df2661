"""An object of any format -> the text of a CSV."""

import shutil
from pathlib import Path

from stages.common.names import format_of
from stages.csvs.formats import HEAD, PARQUET, starts_as
from stages.ingesting.limits import Limits
from stages.ingesting.ndjson import write_ndjson_as_csv
from stages.ingesting.parquet import write_parquet_as_csv
from stages.ingesting.texts import Text, find_text
from stages.ingesting.unpacking import open_unpacked


def as_csv(path: Path, name: str, converted: Path, encoding: str | None, limits: Limits, remarks: list[str]) -> Text:
    """The text of the CSV in the object: its own, or that of a copy of another format at `converted`.

    Parquet is recognised by its bytes, NDJSON by its name: in a zip archive, by that of the file in it if it says so.
    """
    with (unpacked := open_unpacked(path, limits)).stream as stream:
        kind = format_of(unpacked.member or "") or format_of(name)
        if starts_as(PARQUET, stream.peek(HEAD)):
            kind = "parquet"
        remarks += [f"unpacked {archive}" for archive in unpacked.kinds]
        if kind == "parquet" and unpacked.kinds:
            # Parquet is read from its end. The archive lasts for as long as it is open.
            path.unlink()
            with path.open("wb") as file:
                shutil.copyfileobj(stream, file, 1 << 20)
    if kind == "parquet":
        write_parquet_as_csv(path, converted, limits)
        remarks.append("converted from Parquet")
    elif kind == "ndjson":
        text = find_text(path, encoding, limits, remarks)
        write_ndjson_as_csv(text, converted, limits)
        remarks += ["converted from NDJSON", *text.remarks()]
    else:
        return find_text(path, encoding, limits, remarks)
    return find_text(converted, None, limits, remarks)

"""Recognises files that are not CSVs by their first bytes.

A mark that could be the beginning of a header (`ORC`, `BZh`, `GIF89a`, `<html`) counts only with what follows it in a
file of the format: `ORCID,question,context` is a CSV.
"""

import re

from runtime.errors import InputError

# Bytes that are looked at: a tar archive's mark stands at byte 257.
HEAD = 512
_BLANKS = rb"(?:\xef\xbb\xbf|\s)*+"
# A byte that no text has, not far behind.
_BINARY = rb"[^\x00-\x08\x0e-\x1f]{0,12}[\x00-\x08\x0e-\x1f]"
_COMMENTS = rb"(?:<!--.*?-->\s*)*+"
# Not a tag that is a column's name.
_TAG = rb"""<(?:html|head|body|table)(?:\s[^<>]*)?>(?!["']?[,;|\t])"""

BZIP2 = rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"
PARQUET = rb"PAR1" + _BINARY
_ARCHIVES = {
    rb"\x1f\x8b": "a gzip archive",
    BZIP2: "a bzip2 archive",
    rb"\xfd7zXZ\x00": "an xz archive",
    rb"\x28\xb5\x2f\xfd": "a Zstandard archive",
    rb"\x04\x22\x4d\x18": "an LZ4 archive",
    rb"7z\xbc\xaf\x27\x1c": "a 7z archive",
    rb"Rar!\x1a\x07": "a RAR archive",
    rb"\x1f[\x9d\xa0]": "a file packed with compress",
    rb".{257}ustar[\x00 ]": "a tar archive",
}
_OTHERS = {
    PARQUET: "a Parquet file",
    rb"\xd0\xcf\x11\xe0": "an old Excel or Word file",
    rb"ARROW1" + _BINARY: "an Arrow file",
    rb"FEA1" + _BINARY: "a Feather file",
    rb"Obj\x01": "an Avro file",
    rb"ORC" + _BINARY: "an ORC file",
    rb"%PDF-\d\.\d": "a PDF",
    rb"SQLite format 3\x00": "an SQLite database",
    rb"\x89PNG\r\n": "a PNG image",
    rb"\xff\xd8\xff": "a JPEG image",
    rb"GIF8[79]a" + _BINARY: "a GIF image",
    rb"\{\\rtf\d": "an RTF document",
    _BLANKS + _COMMENTS + rb"(?i:<!doctype\s+html|" + _TAG + rb")": "an HTML page",
    _BLANKS + rb"<\?xml\s": "an XML file",
    _BLANKS + rb"\[\s*\{": "a JSON list",
    rb"\x80[\x02-\x05][\x95}\]c(]": "a Python pickle",
}
_JSON = _BLANKS + rb'\{\s*"(?:[^"\\]|\\.)*+"\s*:'
_ZIP, _EMPTY_ZIP = rb"PK\x03\x04", rb"PK\x05\x06"
# All at once: they are asked of every file, and a file of one row takes half a millisecond.
_ANY = re.compile(b"|".join([*_ARCHIVES, *_OTHERS, _JSON, _ZIP, _EMPTY_ZIP]), re.DOTALL)


def starts_as(mark: bytes, head: bytes) -> bool:
    """Whether a file begins with the mark of a format."""
    return re.match(mark, head, re.DOTALL) is not None


def check_is_text(head: bytes) -> None:
    """Raises InputError for the first bytes of a file in a format that is not CSV."""
    if not _ANY.match(head):
        return
    for mark, name in _ARCHIVES.items():
        if starts_as(mark, head):
            raise InputError(f"{name}, not a CSV", remedy="unpack it, and put the CSV there")
    for mark, name in _OTHERS.items():
        if starts_as(mark, head):
            raise InputError(f"{name}, not a CSV", remedy="put its table there as CSV in UTF-8")
    if starts_as(_ZIP, head):
        raise InputError(
            "a zip archive or an Excel workbook, not a CSV",
            remedy='unpack the archive, and put the CSV there; of a workbook save the sheet as "CSV UTF-8"',
        )
    if starts_as(_EMPTY_ZIP, head):
        raise InputError("an empty zip archive, not a CSV", remedy="pack it with the CSV in it, or put the CSV there")
    if starts_as(_JSON, head):
        raise InputError(
            "JSON, not a CSV",
            remedy="call it .ndjson if it has an object on each line, else put its table there as CSV in UTF-8",
        )

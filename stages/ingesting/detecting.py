"""The encoding of text that is not UTF-8: detected if only one can be meant, else refused."""

from collections.abc import Iterator
from typing import BinaryIO

from runtime.errors import InputError
from stages.ingesting.spelling import fault, has_only_common_signs, is_east_asian

BLOCK = 1 << 20
# How much of a file is looked at, and how sure charset-normalizer must be, of 1.
_SAMPLE = 64 << 10
_SURE = 0.9
# By how much charset-normalizer's measures of noise and of language must differ, lest two encodings of East Asia count
# as equal. Of 900 short texts in other encodings, its best guess alone was wrong for 143.
_NOISE, _DISTANCE = 0.05, 0.2
# Letters beyond ASCII, of which it needs so many: with fewer, `×` in Shift JIS passed for a syllable of Korean.
_ENOUGH = 3
# Those that Windows, DOS, the Macintosh and Unix had. Of latin-1 cp1252 is a superset, but for controls.
_ENCODINGS = [
    "cp1252", "iso8859_15", "cp1250", "iso8859_2", "cp1254", "iso8859_9", "cp1257", "iso8859_13", "iso8859_4",
    "iso8859_10", "iso8859_3", "iso8859_14", "iso8859_16", "cp1258", "mac_roman", "mac_latin2", "mac_turkish",
    "mac_iceland", "mac_croatian", "mac_romanian", "cp850", "cp437", "cp852", "cp857", "cp858", "cp775", "cp860",
    "cp861", "cp863", "cp865", "cp1251", "koi8_r", "koi8_u", "cp866", "cp855", "iso8859_5", "mac_cyrillic",
    "cp1125", "cp1253", "iso8859_7", "mac_greek", "cp737", "cp869", "cp1255", "iso8859_8", "cp862", "cp1256",
    "iso8859_6", "cp720", "cp874", "cp932", "euc_jp", "gb18030", "big5", "cp949", "johab",
]  # fmt: skip
# Those of East Asia, each with the standard that it extends.
_STANDARDS = {
    "cp932": "euc_jp",
    "euc_jp": "euc_jp",
    "gb18030": "gb2312",
    "big5": "big5",
    "cp949": "euc_kr",
    "johab": "euc_kr",
}


def detect(stream: BinaryIO) -> tuple[str, str]:
    """The encoding of the lines that are not UTF-8, and how sure that is, in words; UTF-8 if all are.

    What is likely is proposed: what Excel writes, then what charset-normalizer says. It is taken if it makes text of a
    language, and no other encoding makes another such text. Raises InputError if that is not so.
    """
    sample = _strange_lines(stream)
    if not sample:
        return "utf-8", "sure"
    if fault(text := _decode(sample, "cp1252")) is None:
        encoding, sure = "cp1252", "by the accents of a Western language"
    else:
        encoding, text, sure = _proposal(sample)
    rivals = dict(_rivals(sample))
    for other, rival in rivals.items():
        # Which of East Asia's a text is in, its letters do not tell, but how often each of them is used.
        if rival != text and not (is_east_asian(rival) and is_east_asian(text)):
            raise _unsure(f"{encoding} and {other} make equally good text of it")
    # Of those that agree the best known one, which the log names.
    return next((other for other, rival in rivals.items() if rival == text), encoding), sure


def _proposal(sample: bytes) -> tuple[str, str, str]:
    """The encoding that charset-normalizer is sure of, what it makes of the sample, and how sure that is."""
    from charset_normalizer import from_bytes

    matches = list(from_bytes(sample, cp_isolation=_ENCODINGS))
    if not matches or 1 - matches[0].chaos < _SURE:
        raise _unsure("no encoding makes good text of it")
    faults = {match.encoding: fault(str(match)) for match in matches}
    best = next((match for match in matches if faults[match.encoding] is None), None)
    if best is None or best.chaos - matches[0].chaos > _NOISE:
        likely = next((f", and {encoding} may be right" for encoding, _ in _rivals(sample)), "")
        raise _unsure(f"{matches[0].encoding} makes {faults[matches[0].encoding]} of it{likely}")
    if sum(char > "\x7f" for char in str(best)) < _ENOUGH:
        raise _unsure(f"{best.encoding} may be right, but too few letters show it")
    for other in matches:
        close = other.chaos - best.chaos < _NOISE and best.coherence - other.coherence < _DISTANCE
        if close and faults[other.encoding] is None and str(other) != str(best):
            raise _unsure(f"{best.encoding} and {other.encoding} make equally good text of it")
    return best.encoding, str(best), f"{1 - best.chaos:.0%} sure"


def _rivals(sample: bytes) -> Iterator[tuple[str, str]]:
    """The encodings that make text of a language of the sample, and the texts.

    Those of East Asia also if they make a few signs between Latin letters, as `―` or `東京` in a text in English.
    """
    for encoding in _ENCODINGS:
        text = _decode(sample, encoding)
        if fault(text) is None or (encoding in _STANDARDS and has_only_common_signs(text, _STANDARDS[encoding])):
            yield encoding, text


def _decode(sample: bytes, encoding: str) -> str:
    # What cannot be decoded is left in as a character of no language.
    return sample.decode(encoding, "replace")


def _unsure(reason: str) -> InputError:
    return InputError(
        f"its encoding cannot be detected: {reason}",
        remedy="save the file as UTF-8, or name its encoding: --encoding cp1252 if Excel wrote it",
    )


def _strange_lines(stream: BinaryIO) -> bytes:
    lines: list[bytes] = []
    size = 0
    while size < _SAMPLE and (line := stream.readline(BLOCK)):
        try:
            line.decode()
        except UnicodeDecodeError:
            lines.append(line)
            size += len(line)
    return b"".join(dict.fromkeys(lines))

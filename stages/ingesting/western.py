"""Whether a text in an unknown encoding is Windows-1252, by the letters of Western languages.

charset-normalizer needs more accents than a short text has: of `Wann? Café` cp1006 and cp1125 make as good a text. What
Excel writes in Western Europe and America is told by something else: read as cp1252, all accented letters are those of
one Western language, and they stand alone among plain ones.
"""

import re

_PUNCTUATION = frozenset("“”‘’„‚–—…€£§°«»¡¿·•®©™\u00a0ªº½¼¾±×÷µ²³")
_ALPHABETS = [
    frozenset(letters + letters.upper())
    for letters in (
        "àâæçéèêëîïôùûüÿœ",  # French
        "äöüßéèàáóêç",  # German, with its loan words
        "áéíñóúüç",  # Spanish
        "áâãàçéêíóôõúü",  # Portuguese
        "àèéìíîòóùú",  # Italian
        "áéëíïóöüèêç",  # Dutch
        "åäöæøéèóòôü",  # Danish, Norwegian, Swedish, Finnish
        "àáèéíïòóúüçñ·",  # Catalan
    )
]
# Languages of Eastern Europe as their cp1250 looks in cp1252. A text with no letter beyond such a set could be either,
# unless all its letters are the same in both.
_EASTERN = [
    frozenset(letters + letters.upper())
    for letters in (
        "æêñóœ¿",  # Polish
        "áèïéìíòóøúùôä",  # Czech, Slovak
        "áéíóöõúüû",  # Hungarian
        "ãâî",  # Romanian
        "æè",  # Croatian, Slovene
    )
]
_SAME_IN_BOTH = frozenset("áéíóúäöüßçâëîôÁÉÍÓÚÄÖÜÇÂËÎÔ")
# Longer runs of accented letters are what other alphabets look like.
_RUN = re.compile(r"[^\W\d_\x00-\x7f]{3}")
# Closing quotes and the like inside a word are letters of DOS or of the Macintosh; the apostrophe is at home there.
_INSIDE = re.compile(r"\w[“”„‚–—…€£§°•®©™¡¿×÷±]\w")
_MOST_ACCENTS = 0.35


def is_western(text: bytes) -> bool:
    """Whether bytes that are not UTF-8 are all but certainly cp1252."""
    try:
        decoded = text.decode("cp1252")
    except UnicodeDecodeError:
        return False
    strange = {char for char in decoded if char > "\x7f"}
    letters = strange - _PUNCTUATION
    if not any(letters <= alphabet for alphabet in _ALPHABETS):
        return False
    if letters - _SAME_IN_BOTH and any(letters <= alphabet for alphabet in _EASTERN):
        return False
    accents = sum(char in letters for char in decoded)
    if accents > _MOST_ACCENTS * sum(map(str.isalpha, decoded)):
        return False
    return not _RUN.search(decoded) and not _INSIDE.search(decoded)

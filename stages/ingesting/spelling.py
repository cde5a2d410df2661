"""Whether a text reads like one in some language, judged by its letters and their places, not by statistics.

A wrong encoding gives itself away: words that mix alphabets, capitals within words, letters of no one language,
quotes and dashes where letters belong. What is in order can still be wrong (`Ř` for `Ø`), so an encoding is only taken
if no other makes a text of the same bytes that is in order too.
"""

import re
import unicodedata
from collections.abc import Collection
from functools import lru_cache

_TONES = "\u0300\u0301\u0303\u0309\u0323"
_VIETNAMESE = [unicodedata.normalize("NFC", vowel + tone) for vowel in "aăâeêioôơuưy" for tone in ("", *_TONES)] + [
    *_TONES
]
# Letters beyond ASCII, by language.
_ALPHABETS = [
    frozenset(letters)
    for letters in (
        "àâæçéèêëîïôùûüÿœ",  # French
        "äöüßéèàáóêç",  # German, with its loan words
        "áéíñóúüç",  # Spanish
        "áâãàçéêíóôõúü",  # Portuguese
        "àèéìíîòóùú",  # Italian
        "áéëíïóöüèêç",  # Dutch
        "åäöæøéèóòôü",  # Danish, Norwegian, Swedish, Finnish
        "àáèéíïòóúüçñ",  # Catalan
        "áéíóúýþæöð",  # Icelandic
        "âêîôûŵŷäëïöáéíóúẃýàèìòùẁỳ",  # Welsh, Irish
        "ąćęłńóśźż",  # Polish
        "áčďéěíňóřšťúůýž",  # Czech
        "áäčďéíĺľňóôŕšťúýž",  # Slovak
        "áéíóöőúüű",  # Hungarian
        "ăâîșțşţ",  # Romanian
        "čćđšž",  # Croatian, Slovene
        "ąčęėįšųūž",  # Lithuanian
        "āčēģīķļņšūž",  # Latvian
        "äöõüšž",  # Estonian
        "çğıöşüâîû\u0307",  # Turkish
        "çë",  # Albanian
        "ċġħżàèìòù",  # Maltese
        "ĉĝĥĵŝŭ",  # Esperanto
        ["đ", *_VIETNAMESE],
        "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",  # Russian, Bulgarian
        "абвгґдеєжзиіїйклмнопрстуфхцчшщьюя",  # Ukrainian
        "абвгдеёжзійклмнопрстуўфхцчшыьэюя",  # Belarusian
        "абвгдђежзијклљмнњопрстћуфхцчџш",  # Serbian
        "абвгдѓежзѕијклљмнњопрстќуфхцчџш",  # Macedonian
        "абвгдеёжзийклмнопрстуфхцчшщъыьэюяәғқңөұүһі",  # Kazakh
        "αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊϋΐΰ",  # Greek
        [chr(code) for code in range(0x5B0, 0x5F3)],  # Hebrew, Yiddish
        [chr(code) for code in range(0x621, 0x653)],  # Arabic
        [*(chr(code) for code in range(0x621, 0x653)), *"پچژگکیٹڈڑںےہھۀ"],  # Persian, Urdu
        [chr(code) for code in range(0xE01, 0xE5C)],  # Thai
    )
]
_PUNCTUATION = frozenset("“”„‘’‚«»–—…•·§©®™°€£¥¢¡¿ªº¼½¾¹²³±×÷µ\u00a0№،؛؟")
# Of East Asian texts; their quotes stand as European ones do.
_EAST_ASIAN_MARKS = frozenset("　、。，．・：；？！（）「」『』【】〈〉《》〜～ー々…—–“”‘’·￥％＋－＝／")
_MARKS = "\u0300-\u0323\u0591-\u05c7\u064b-\u0652\u0e31\u0e34-\u0e4e"
_WORD = re.compile(rf"(?:[^\W\d_ªºµ]|[{_MARKS}])+")
_LETTER = r"[^\W\d_ªºµ]"
# Where punctuation cannot stand, and letters that are punctuation in another encoding would.
_MISPLACED = re.compile(
    rf"{_LETTER}[“”„‚‘«»–—…•§©®™°€£¥¢¡¿¼½¾¹²³±×÷·]{_LETTER}"
    rf"|{_LETTER}[„‚«¿¡£][^\s»]|\s[»…](?=\s|\w)|{_LETTER}[–—]\s|\s[–—]{_LETTER}"
    rf"|(?<!\w)’{_LETTER}|’{_LETTER}{{4}}(?<![dlnscmtjDLNSCMTJu]’....)|[“‘„‚«¡¿]\s(?<!«\u00a0)|{_LETTER}\u00a0[\s\w]"
    rf"|(?<![\dmM])[²³¹]|(?<![\dnN])[ªº]|[£€]{_LETTER}|[¿¡](?!{_LETTER}|[¿¡\"“«])|[©®™]{_LETTER}"
    # Letters that stand only at the end of a word, or never at its beginning, and words without a vowel.
    rf"|№{_LETTER}|{_LETTER}№|[ςךםןףץةى]{_LETTER}|{_LETTER}σ(?!\w)|(?<!\w)[ьъыЬЪЫ]"
    r"|(?i:(?<!\w)(?:[бвгґджзйклмнпрстфхцчшщ]{5,}|[βγδζθκλμνξπρσςτφχψ]{4,})(?!\w))"
    # Digits at letters beyond ASCII, and marks of Vietnamese vowels elsewhere.
    r"|[^\W\d_\x00-\x7fªºµ]\d|\d[^\W\d_\x00-\x7fªºµ]|(?<![aeiouyâăêôơưAEIOUYÂĂÊÔƠƯ])[\u0300-\u0323]"
    # Slavic, Baltic and Turkish consonants at the end of a word, behind one that they never follow, as é does in Café.
    r"|(?i:[bfghkpqwx][ťķļņģŗńćźśďňčšžţșşğċġħżđ](?!\w)|ť[ei])"
    # English contractions with the letter that the Macintosh has for the apostrophe.
    r"|(?:n[íÆ]t|[íÆ](?:re|ve|ll|m)|[bcdfghjkpqtvwxz][íÆ]s)\b"
)
_DOUBLE_QUOTES = re.compile("[“”„]")
# Of Han characters of a text, how many must be common ones.
_COMMON = 0.9
# And of the letters of a text in such characters, how many must be.
_FEW = 0.3
# Where a standard has its common characters, by their first bytes; symbols and kana stand before them.
_COMMON_LETTERS = {"gb2312": (0xB0, 0xD7), "big5": (0xA4, 0xC6), "euc_jp": (0xB0, 0xCF), "euc_kr": (0xB0, 0xC8)}


def fault(text: str) -> str | None:
    """What is not in order, in words; None if the text could be one of a language."""
    strange = {char for char in text if char > "\x7f"}
    east_asian = {char for char in strange if _is_east_asian(char)}
    if east_asian:
        return _east_asian_fault(text, strange - east_asian - _EAST_ASIAN_MARKS, east_asian)
    letters = strange - _PUNCTUATION
    if odd := sorted(char for char in letters if not (char.isalpha() or unicodedata.category(char) == "Mn")):
        return f"the character U+{ord(odd[0]):04X}"
    words = {word for word in _WORD.findall(text) if not word.isascii()}
    lower = {char.lower()[0] for char in letters}
    if letters and not any(lower <= alphabet for alphabet in _ALPHABETS):
        return _mixture(words) or "letters of no one language"
    return _mixture(words) or _misplacement(text, words)


def _mixture(words: Collection[str]) -> str | None:
    for word in sorted(words):
        if len(scripts := {_script(char) for char in word} - {"Combining"}) > 1:
            return f"words that mix {' with '.join(sorted(scripts))} letters"
    return None


def _misplacement(text: str, words: Collection[str]) -> str | None:
    if any(word.lower() != word.upper() and not _is_cased_well(word) for word in words):
        return "capitals within words"
    if _MISPLACED.search(text) or not all(map(_quotes_match, text.splitlines())):
        return "punctuation within words"
    return None


def _is_cased_well(word: str) -> bool:
    return word.islower() or word.isupper() or word[1:].islower()


def is_east_asian(text: str) -> bool:
    """Whether there are Chinese, Japanese or Korean characters in the text."""
    return any(map(_is_east_asian, text))


def _east_asian_fault(text: str, others: set[str], characters: set[str]) -> str | None:
    if sum(map(_is_east_asian, text)) < _FEW * sum(map(str.isalpha, text)):
        return "few Chinese, Japanese or Korean letters among others"
    if others:
        return f"the character U+{ord(min(others)):04X}"
    han = [char for char in text if "\u3400" <= char <= "\u9fff"]
    kana = any("\u3040" <= char <= "\u30ff" for char in characters)
    hangul = any("\uac00" <= char <= "\ud7a3" for char in characters)
    if kana and hangul:
        return "words that mix Japanese with Korean letters"
    for standard in ("gb2312", "big5", "euc_jp"):
        if sum(_is_common(char, standard, *_COMMON_LETTERS[standard]) for char in han) >= _COMMON * len(han):
            return None
    return "rare characters"


def has_only_common_signs(text: str, standard: str) -> bool:
    """Whether all that is not ASCII are common characters, or symbols, of this standard of East Asia."""
    first, last = _COMMON_LETTERS[standard]
    strange = {char for char in text if char > "\x7f"}
    return all(_is_common(char, standard, first, last) or _is_common(char, standard, 0xA1, 0xA9) for char in strange)


@lru_cache(maxsize=8192)
def _is_common(char: str, standard: str, first: int, last: int) -> bool:
    try:
        return first <= char.encode(standard)[0] <= last
    except UnicodeEncodeError:
        return False


def _is_east_asian(char: str) -> bool:
    return "\u3040" <= char <= "\u30ff" or "\u3400" <= char <= "\u9fff" or "\uac00" <= char <= "\ud7a3"


@lru_cache(maxsize=1024)
def _script(char: str) -> str:
    return unicodedata.name(char, "unknown").split()[0].capitalize()


def _quotes_match(line: str) -> bool:
    """Whether double quotes open before a word, and close behind one, in turn."""
    is_open = False
    for quote in _DOUBLE_QUOTES.finditer(line):
        before, after = line[: quote.start()][-1:], line[quote.end() :][:1]
        if is_open:
            if quote[0] == "„" or before.isspace() or after.isalpha():
                return False
        elif before.isalpha() or after.isspace():
            return False
        is_open = not is_open
    return not is_open

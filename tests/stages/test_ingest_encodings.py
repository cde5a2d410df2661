"""What `--encoding auto` takes: text is read as what it is, or refused, and never altered."""

import io
import re

import pytest

from runtime.errors import InputError
from stages.ingesting.detecting import detect
from stages.ingesting.spelling import fault
from tests.support.languages import ENCODINGS, TEXTS

# Short texts, each with the encodings that they are written in. Those of Excel in the West must be taken.
SHORT = {
    "Wann?,Am Dienstag hat Jürgen den Ofen geöffnet; es war heiß.": ("cp1252", "cp850", "mac-roman"),
    "Où ?,Près de l’église, à côté du théâtre.": ("cp1252", "mac-roman"),
    "¿Cuándo llegó?,Llegó mañana con su niño.": ("cp1252", "cp850"),
    "Quando?,A reunião começou às três na estação.": ("cp1252", "cp850"),
    "Perché?,Perché la città è più bella così.": ("cp1252", "cp850"),
    "När kom han?,Han kom på måndag förmiddag.": ("cp1252", "cp850"),
    "Hvornår?,På søndag kører vi til Århus.": ("cp1252", "cp850"),
    "Who?,The “kiln” cost €900 – Mara’s.": ("cp1252",),
    "Kiedy?,Będzie jutro, więc czekaj.": ("cp1250", "iso8859-2"),
    "Kdo přišel?,Včera přišel můj přítel z Brna.": ("cp1250", "iso8859-2"),
    "Ki jött?,A nő tegnap jött az őrült fűtővel.": ("cp1250", "iso8859-2"),
    "Cine a venit?,Ieri a venit băiatul şi fata în oraş.": ("cp1250",),
    "Kim geldi?,Dün akşam yağmur yağdı, ışık söndü.": ("cp1254",),
    "Кто пришёл?,Вчера пришёл Иван.": ("cp1251", "koi8-r", "cp866"),
    "Ποιος ήρθε?,Χθες ήρθε ο Γιάννης.": ("cp1253",),
    "מי בא?,אתמול בא יוסי": ("cp1255",),
    "誰ですか,マラは窯に火を入れました。": ("cp932",),
}


@pytest.mark.parametrize(("text", "encoding"), [(text, kind) for text, kinds in SHORT.items() for kind in kinds])
def test_what_is_detected_is_right(text: str, encoding: str) -> None:
    """A short text is refused where it could be several, and never read wrongly; Western ones of Excel's are taken."""
    try:
        found, _ = detect(io.BytesIO(f"{text}\n".encode(encoding)))
    except InputError:
        assert encoding != "cp1252"
    else:
        assert text.encode(encoding).decode(found) == text


@pytest.mark.parametrize("language", TEXTS)
def test_no_text_is_altered_by_a_guess(language: str) -> None:
    """Each text in each encoding that has its letters: what is detected gives the text back, else it is refused."""
    taken = 0
    for text in [*TEXTS[language], "\n".join(TEXTS[language])]:
        for encoding in ENCODINGS:
            try:
                content = text.encode(encoding)
                found, _ = detect(io.BytesIO(content + b"\n"))
            except (UnicodeEncodeError, InputError):
                continue
            if found != "utf-8":
                assert content.decode(found) == text, (encoding, found)
                taken += 1
    # Python has no encoding for Vietnamese whose letters and tones are in one.
    assert taken or language == "vi"


@pytest.mark.parametrize("language", TEXTS)
def test_a_text_in_its_own_letters_has_no_fault(language: str) -> None:
    assert [text for text in TEXTS[language] if fault(text)] == []


@pytest.mark.parametrize("encoding", ["cp932", "gbk", "big5", "cp949", "euc_jp"])
def test_signs_of_east_asia_do_not_pass_for_accents(encoding: str) -> None:
    """A sign or two in a text in English is no evidence; as `±5` or `naüp` they would be read without a fault."""
    signs = "“”‘’—…·×÷°±℃①②【】《》、。，：；？！（）＝￥％◆●★→×ΩД王村김ア"
    for sign in signs:
        for text in (f"Who?,Mara{sign} Tom{sign}\n", f"Who?,It was {sign}5\n"):
            try:
                content = text.encode(encoding)
                name, _ = detect(io.BytesIO(content))
            except (UnicodeEncodeError, InputError):
                continue
            assert name == "utf-8" or content.decode(name) == text, (text, name)


@pytest.mark.parametrize("language", ["da", "de", "es", "fi", "fr", "it", "nl", "pt", "sv"])
def test_the_lines_of_a_file_are_judged_together(language: str) -> None:
    """One word is not enough to tell Windows-1252 from its neighbours; a word on each of some lines is."""
    words = {word for word in re.findall(r"\w+", " ".join(TEXTS[language])) if not word.isascii()}
    lines = [f"Who?,It was {word} then\n" for word in sorted(words)]
    assert detect(io.BytesIO("".join(lines).encode("cp1252")))[0] == "cp1252"


def test_the_best_known_encoding_is_named() -> None:
    """Several can make the same text, and the log is to name the one that people know."""
    assert detect(io.BytesIO("Où?,près de l’église à Évreux\n".encode("mac-roman")))[0] == "mac_roman"

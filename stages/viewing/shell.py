"""One HTML file out of the parts in `page/`: body, styles, script and data, and a policy that lets nothing else run."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from runtime.errors import OptionError

_BEGINNING = b"<!doctype html>"
PARTS = Path(__file__).parent / "page"
# A module says what it takes from the others; in one script there is nothing to take.
_IMPORT = re.compile(r"^import \{[^}]*\} from \"\./[a-z]+\.js\";\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(async )?function |const |class )", re.MULTILINE)
# What could end the element that holds the data, or a line of it, and what UTF-8 cannot hold.
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


def page(title: str, body: str, styles: Sequence[str], modules: Sequence[str], data: Mapping[str, Any]) -> str:
    """The whole page. `body`, `styles` and `modules` are names in `page/`; a module comes after those it imports."""
    style = "".join(_part(name) for name in styles)
    script = "".join(_EXPORT.sub("", _IMPORT.sub("", _part(name))) for name in modules)
    return Template(_part("shell.html")).substitute(
        title=escape_html(title),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        body=_part(body),
        data=as_json(data),
    )


def check_page(option: str, path: Path) -> None:
    """Raises OptionError if a page would replace something else: the answers that it shows, a bundle, anything."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        beginning = file.read(len(_BEGINNING))
    if not _BEGINNING.startswith(beginning.lower()):
        raise OptionError(f"{option} {path}: it is there and is no page; name another file, or remove this one")


def as_json(data: Mapping[str, Any]) -> str:
    """JSON that may stand in a `script` element: no character of it means anything to an HTML parser."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def escape_html(text: str) -> str:
    """The text as HTML shows it."""
    return "".join(f"&#{ord(char)};" if char in "&<>\"'" or char < " " else char for char in text)


def _part(name: str) -> str:
    return (PARTS / name).read_text("utf-8")


def _hash(text: str) -> str:
    """The source expression by which a policy allows an element with this text, and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

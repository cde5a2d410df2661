"""What the code tells its users to type exists: each option and command in a message, a help text or a docstring."""

import ast
import re
from collections.abc import Iterator
from functools import cache

from answermill import VERBS
from tests.conftest import ROOT
from tests.support import docs

# Options of other people's programs that texts name.
FOREIGN = {"--bind", "--hash", "--out", "--raw"}
FILES = sorted(
    path for room in docs.ROOMS if room != "tests" for path in (ROOT / room).rglob("*.py") if "page" not in path.parts
)
LIES = '''"""Says --no-option, and `answermill fly`; `python -m stages.answer --prune` is none either."""
message = f"{folder}: not there; make it with answermill load --again {folder}, or `make no-such`"
words = ["tool", "--its-own"]
'''


def prose(source: str) -> Iterator[str]:
    """Each text with a blank in it: messages, help, docstrings, but not the words of a command. `…` is what varies."""
    tree = ast.parse(source)
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            text = node.value
        else:
            continue
        if " " in text:
            yield text


@cache
def known_options() -> frozenset[str]:
    """The options of all parsers, and those of other programs that texts may name."""
    ours = [*docs.options_in_code().values(), *map(docs.options_of, VERBS)]
    return frozenset(option for options in ours for option in options) | docs.FOREIGN | FOREIGN


def unknown(text: str) -> list[str]:
    """Options, verbs, targets of make and modules in a text that do not exist."""
    options = [name for name in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9]", text) if name not in known_options()]
    bare = re.findall(rf"\banswermill (?:{'|'.join(VERBS)})\b[^`;,()]*", text)
    code = " ".join(f"`{piece}`" for piece in (*re.findall(r"`([^`]+)`", text), *bare))
    checks = (docs.unknown_targets, docs.unknown_files, docs.wrong_commands) if code else ()
    return options + sorted({problem for check in checks for problem in check(code)})


def test_each_kind_of_lie_is_noticed() -> None:
    """So the test below does not pass because it looks at nothing."""
    assert [problem for text in prose(LIES) for problem in unknown(text)] == [
        "--no-option",
        "answermill fly",
        "python -m stages.answer --prune: --prune",
        "answermill load --again …: --again",
        "no-such",
    ]


def test_what_a_text_tells_to_type_exists() -> None:
    assert len(FILES) > 150
    texts = ((path, text) for path in FILES for text in prose(path.read_text("utf-8")))
    problems = [f"{path.relative_to(ROOT)}: {problem}" for path, text in texts for problem in unknown(text)]
    assert problems == []

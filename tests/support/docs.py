"""What the pages of the documentation say, taken apart so that tests can hold it against the code."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from answermill import VERBS
from tests.conftest import ROOT
from tests.docs import help_text

PATTERNS = ("*.md", "docs/*.md", "pachyderm/*.md", "benchmarks/*.md", "models/*/*.md")
PAGES = sorted(path for pattern in PATTERNS for path in ROOT.glob(pattern))
ROOMS = ("export", "runtime", "stages", "pachyderm", "benchmarks", "image", "tests", "docs")
# Options of other people's programs that pages name.
FOREIGN = frozenset(
    {
        "--array",
        "--wrap",
        "--force-conflicts",
        "--require-hashes",
        "--server-side",
        "--split",
        "--strip-unneeded",
        "--volume",
        "--worker",
        "--datum",
    }
)
_BLOCK = re.compile(r"^(?:```[^\n]*\n(?P<fenced>.*?)^```|(?P<indented>(?:^    [^\n]*\n|\n(?=    ))+))", re.M | re.S)
_MARKED = re.compile(
    rf"^<!-- (?P<mark>\w+) -->\n+{_BLOCK.pattern}|^```(?P<python>python)\n(?P<code>.*?)^```", re.M | re.S
)


class Marked(NamedTuple):
    """A block behind a mark: `run`, `output`, …; or one of Python, which always runs."""

    mark: str
    text: str


def marked_blocks(text: str) -> list[Marked]:
    """The blocks of a page that a test runs or compares, in order."""
    return [
        Marked("python", match["code"])
        if match["python"]
        else Marked(match["mark"], match["fenced"] or re.sub("^    ", "", match["indented"], flags=re.M))
        for match in _MARKED.finditer(text)
    ]


def code_of(text: str) -> Iterator[str]:
    """Each line of a page's blocks, and each piece of code between backticks."""
    for block in _BLOCK.finditer(text):
        yield from re.sub(r"\\\n\s*", "", block["fenced"] or block["indented"]).splitlines()
    yield from (piece.replace("\n", " ") for piece in re.findall(r"(?<!`)`([^`]+)`(?!`)", _BLOCK.sub("", text)))


def dead_links(page: Path, text: str) -> list[str]:
    """Links and pictures of a page that lead to no file, or to no heading of it."""
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src(?:set)?="([^"]+)"', text)
    return [target for target in targets if not _leads_somewhere(page, text, target)]


def _leads_somewhere(page: Path, text: str, target: str) -> bool:
    name, _, anchor = target.partition("#")
    if "://" in target or target.startswith("mailto:"):
        return True
    if name and not (page.parent / name).exists():
        return False
    headings = (
        re.findall(r"^#+ (.+)$", (page.parent / name).read_text("utf-8") if name else text, re.M) if anchor else []
    )
    return not anchor or anchor in {_slug(heading) for heading in headings}


def _slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def unknown_files(text: str) -> list[str]:
    """Files and modules of ours that a page names and that are not there."""
    ours = {path.name for room in ROOMS for path in (ROOT / room).rglob("*.py")} | {
        path.name for path in ROOT.glob("*")
    }
    unknown = []
    for code in code_of(text):
        for word in code.split():
            name = word.rstrip(".,;:")
            if re.fullmatch(rf"(?:{'|'.join(ROOMS)})/[\w./-]+(?:\.(?:py|md|json|toml|ipynb)|/)", name):
                unknown += [name] if not (ROOT / name).exists() else []
            elif re.fullmatch(r"\w+\.py", name) and name not in ours:
                unknown.append(name)
        for module in re.findall(rf"-m ((?:{'|'.join(ROOMS)})(?:\.\w+)*)", code):
            path = ROOT / module.replace(".", "/")
            if not (path.with_suffix(".py").exists() or (path / "__main__.py").exists()):
                unknown.append(module)
    return unknown


def unknown_targets(text: str) -> list[str]:
    """Targets of `make` that a page names and the Makefile lacks."""
    there = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    there |= set(
        re.findall(r"[a-z-]+", " ".join(re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.M)))
    )
    named = [target for code in code_of(text) for target in re.findall(r"^\s*make +([a-z][a-z-]+)", code)]
    return [name for name in named if name not in there]


@cache
def options_of(verb: str) -> frozenset[str]:
    """The options that `answermill VERB --help` lists."""
    return frozenset(re.findall(r"(?<![\w-])--[a-z][\w-]*", help_text(verb).partition("options:")[2]))


@cache
def options_in_code() -> dict[str, list[str]]:
    """The options that each file adds to a parser, read from its syntax tree, so that no parser is forgotten."""
    options: dict[str, list[str]] = {}
    for path in (path for room in ROOMS for path in (ROOT / room).rglob("*.py") if path.name[:5] != "test_"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".add_argument"):
                if any(ast.unparse(keyword.value).endswith("SUPPRESS") for keyword in node.keywords):
                    continue
                names = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and str(arg.value)[:2] == "--"]
                options.setdefault(str(path.relative_to(ROOT)), []).extend(map(str, names))
    return {path: names for path, names in options.items() if names}


def wrong_commands(text: str) -> list[str]:
    """Commands of ours on a page with a verb that is none, or an option that the verb lacks."""
    wrong = []
    for code in code_of(text):
        command = re.split(r" # | [|<>;] |(?<=\S) {2,}#", code)[0]
        called = re.search(
            r"(?:\banswermill|-m stages\.|-m pachyderm\.deploy|-m pachyderm|-m (?=export\b)) ?([a-z]+)\b(.*)", command
        )
        if not called or "import" in command or re.search(r"answermill[\[\"':.]", command):
            continue
        verb, words = called.groups()
        if verb not in VERBS:
            wrong.append(command)
            continue
        wrong += [
            f"{command}: {one}" for one in re.findall(r"(?<!\S)--[a-z][\w-]*", words) if one not in options_of(verb)
        ]
    return wrong


def unknown_options(text: str) -> list[str]:
    """Options between backticks that none of our parsers has, nor a program of somebody else."""
    known = {option for options in options_in_code().values() for option in options} | FOREIGN | {"--help"}
    known |= {option for verb in VERBS for option in options_of(verb)}
    named = re.findall(r"(?<!`)`(--[a-z][\w-]*)", _BLOCK.sub("", text))
    return [name for name in named if name not in known]

"""The scripts of the pages are modules that are put together into one: names of theirs must not meet."""

import re
from collections import Counter

import pytest

from stages import view, view_run
from stages.viewing.shell import PARTS, page

PAGES = {"answers": view.ANSWERS_MODULES, "run": view_run.MODULES}
DECLARED = re.compile(r"^(?:export )?(?:async )?(?:function\*?|const|let|var|class) (?P<name>[\w$]+)", re.MULTILINE)
UNPACKED = re.compile(r"^(?:export )?(?:const|let|var) [\[{](?P<names>[^\]}]*)[\]}]", re.MULTILINE)
IMPORTED = re.compile(r"^import \{(?P<names>[^}]*)\} from \"\./(?P<module>[a-z]+\.js)\";$", re.MULTILINE)
EXPORTED = re.compile(r"^export (?:async )?(?:function\*?|const|class) (?P<name>[\w$]+)", re.MULTILINE)


def source(module: str) -> str:
    return (PARTS / module).read_text("utf-8")


def declared(module: str) -> list[str]:
    unpacked = [name.split(":")[-1].strip() for names in UNPACKED.findall(source(module)) for name in names.split(",")]
    return [*DECLARED.findall(source(module)), *filter(None, unpacked)]


@pytest.mark.parametrize("name", PAGES)
def test_no_name_at_the_top_is_declared_twice(name: str) -> None:
    counts = Counter(declared_name for module in PAGES[name] for declared_name in declared(module))
    assert [twice for twice, times in counts.items() if times > 1] == []


@pytest.mark.parametrize("name", PAGES)
def test_a_module_comes_after_those_it_imports(name: str) -> None:
    """And takes only what they export."""
    modules = PAGES[name]
    for place, module in enumerate(modules):
        for names, other in IMPORTED.findall(source(module)):
            assert other in modules[:place], f"{module} imports {other}"
            wanted = {wanted.strip() for wanted in names.split(",")}
            assert wanted <= set(EXPORTED.findall(source(other))), f"{module} from {other}"


@pytest.mark.parametrize("name", PAGES)
def test_an_inlined_script_has_no_module_syntax_left(name: str) -> None:
    html = page("title", f"{name}.html", (), PAGES[name], {})
    script = html.rpartition('<script type="module">')[2].rpartition("</script>")[0]
    assert not re.search(r"^(?:import|export)\b", script, re.MULTILINE)
    assert "</script" not in script and "<!--" not in script

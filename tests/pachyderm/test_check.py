"""`python -m pachyderm check`, the reading of specs, and their types against those of Pachyderm's own SDK."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from pachyderm_sdk.api import pps

from pachyderm.spec.fields import read_spec
from pachyderm.spec.inputs import Cron, Input, Pfs, Time
from pachyderm.spec.model import Seconds, Spec, Transform, Uint
from pachyderm.spec.problems import Findings
from pachyderm.spec.reading import parse_pipeline, read_specs, spec_files
from pachyderm.spec.rules import check
from tests.conftest import ROOT
from tests.pachyderm.test_rules import planted

SHIPPED = read_specs(spec_files([]))

ANSWER, LOAD, INGEST = "question-answer.pipeline.json", "load.pipeline.json", "ingest.pipeline.json"


def test_the_shipped_specs_keep_all_rules() -> None:
    assert sorted(SHIPPED) == [INGEST, LOAD, "prune.pipeline.json", ANSWER]
    assert check(SHIPPED) == Findings([], [])


def test_null_and_nothing_mean_the_default() -> None:
    for absent in (None, 0):
        assert parse_pipeline({**SHIPPED[LOAD], "datumTries": absent}).tries == 3
    assert check({**SHIPPED, LOAD: {**SHIPPED[LOAD], "datumTries": None, "description": None}}) == Findings([], [])


def test_defaults_are_filled_in_as_the_server_does() -> None:
    raw = {"pipeline": {"name": "p"}, "transform": {"cmd": ["x"]}, "input": {"pfs": {"repo": "r"}}}
    spec, _ = read_spec(raw)
    assert spec.transform == Transform(image="ubuntu:20.04", cmd=("x",))
    assert (spec.datum_tries, spec.reprocess_spec, spec.output_branch) == (3, "until_success", "master")
    assert spec.input == Input(pfs=Pfs(repo="r", name="r", branch="master", repo_type="user"))
    tick, _ = read_spec({"pipeline": {"name": "p"}, "input": {"cron": {"name": "t"}}})
    assert tick.input == Input(cron=Cron(name="t", repo="p_t"))


def test_one_spec_reads_the_same_in_every_spelling() -> None:
    usual = {"pipeline": {"name": "p"}, "datumTries": 2, "transform": {"errCmd": ["x"], "env": {"a_b": "1"}}}
    other = {"pipeline": {"name": "p"}, "datum_tries": "2", "transform": {"err_cmd": ["x"], "env": {"a_b": "1"}}}
    assert read_spec(usual)[0] == read_spec(other)[0]


def checked(*arguments: object, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-m", "pachyderm", "check", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


def test_the_command_line_says_every_problem_and_fails(tmp_path: Path) -> None:
    spec = {"$schema": "x", **planted("datumTimeout", "1h", SHIPPED[ANSWER]), "chunkSpec": {}}
    path = tmp_path / "bad.pipeline.json"
    path.write_text(json.dumps([spec]))
    done = checked(path)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "check: bad.pipeline.json[0]: datumTimeout: must be seconds as text, such as \"3600s\", not '1h'",
        "check: bad.pipeline.json[0]: chunkSpec: is not a field; write datumSetSpec",
    ]


def test_strict_decides_whether_lint_fails(tmp_path: Path) -> None:
    path = tmp_path / "lint.pipeline.json"
    path.write_text(json.dumps({**SHIPPED[INGEST], "datumTries": "3"}))
    said = "lint.pipeline.json: datumTries: legal, but it is text; write 3"
    done = checked(path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == f"check: {said}"
    strict = checked(path, "--strict")
    assert (strict.returncode, strict.stderr.splitlines()) == (1, [f"check: {said}"])


def test_the_command_line_passes_the_shipped_specs() -> None:
    done = checked()
    assert (done.returncode, done.stderr) == (0, "check: 4 specs follow all rules\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ('{"description": "\\ud83d\\ude00"}', "takes no escaped surrogates"),
        ('{"description": "\\udc00"}', "takes no escaped surrogates"),
        ('{"datumTries": NaN}', "NaN is no number of JSON"),
        ('{"a": 1, "a": 2}', "a appears twice"),
        ("[7]", "bad.json[0]: not an object"),
    ],
)
def test_what_is_no_spec_is_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    done = checked(path)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


# --- against Pachyderm's own messages, from its SDK

_PROTO: dict[Any, tuple[str, ...]] = {
    str: ("string", "enum"),
    bool: ("bool",),
    int: ("int64", "int32", "message"),
    Uint: ("uint64",),
    float: ("float",),
    Seconds: ("message",),
    Time: ("message",),
}
# Not to be in a file: what `pachctl update` and `--reprocess` set.
_NOT_IN_FILES = {"update", "reprocess", "spec_commit", "dry_run"}


def kind_of(hint: Any) -> Any:
    """The type of a field, or of its items."""
    inner = [one for one in get_args(hint) if one not in (type(None), ...)]
    return inner[-1] if inner else hint


def sdk_messages() -> dict[Any, Any]:
    """Pachyderm's message class for each of ours, found by walking both trees."""
    known: dict[Any, Any] = {}
    waiting: list[tuple[Any, Any]] = [(Spec, pps.CreatePipelineRequest)]
    while waiting:
        ours, message = waiting.pop()
        if ours in known:
            continue
        known[ours] = message
        for name, hint in get_type_hints(ours).items():
            if dataclasses.is_dataclass(inner := kind_of(hint)):
                waiting.append((inner, message()._betterproto.cls_by_field[snake(name)]))
    return known


def snake(name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name) if name != "URL" else "url"


def test_the_fields_are_pachyderms_own() -> None:
    for ours, message in sdk_messages().items():
        theirs = {field.name for field in dataclasses.fields(message)}
        assert {snake(field.name) for field in dataclasses.fields(ours)} == theirs - _NOT_IN_FILES, ours


def test_the_types_of_fields_are_pachyderms_own() -> None:
    for ours, message in sdk_messages().items():
        known = message()._betterproto
        for name, hint in get_type_hints(ours).items():
            meta = known.meta_by_field_name[snake(name)]
            many = known.default_gen[snake(name)] is list
            assert (get_origin(hint) is tuple) == many, (ours, name)
            assert (get_origin(hint) is Mapping) == (meta.proto_type == "map"), (ours, name)
            if meta.proto_type != "map":
                assert meta.proto_type in _PROTO.get(kind_of(hint), ("message",)), (ours, name)


def sdk_problems(value: Any, message: Any, path: str) -> Iterator[str]:
    """A strict walk over Pachyderm's classes; their own parser drops what it does not know."""
    known = message()._betterproto
    for name, item in value.items():
        field = snake(name)
        if field not in known.meta_by_field_name:
            yield f"{path}{name}"
            continue
        cls = known.cls_by_field.get(field)
        if cls is not None and hasattr(cls, "_betterproto") and known.meta_by_field_name[field].proto_type != "map":
            for one in item if isinstance(item, list) else [item]:
                yield from sdk_problems(one, cls, f"{path}{name}.")


@pytest.mark.parametrize("file", SHIPPED)
def test_pachyderms_classes_know_all_fields_of_shipped_specs(file: str) -> None:
    assert list(sdk_problems(SHIPPED[file], pps.CreatePipelineRequest, "")) == []
    request = pps.CreatePipelineRequest().from_dict(SHIPPED[file])
    assert request.transform.cmd == SHIPPED[file]["transform"]["cmd"]
    assert request.pipeline.name == SHIPPED[file]["pipeline"]["name"]

"""What `python -m pachyderm check` lets through, and what it does not."""

import copy
import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pachyderm_sdk.api import pps

from pachyderm.spec.fields import MESSAGES
from pachyderm.spec.reading import effective, read_specs, spec_files
from pachyderm.spec.rules import check
from tests.conftest import ROOT

SHIPPED = read_specs(spec_files([]))
ABSENT = object()

ANSWER, LOAD, INGEST = "question-answer.pipeline.json", "load.pipeline.json", "ingest.pipeline.json"
PFS = {"name": "in", "repo": "ingest", "glob": "/*"}

# File, path in it, what is planted there, and what the message must say.
PLANTED: list[tuple[str, str, Any, str]] = [
    # Fields and types.
    (ANSWER, "datum_timeout", "60s", "datum_timeout: is not a field; write datumTimeout"),
    (ANSWER, "chunkSpec", {"number": 1}, "chunkSpec: is not a field; write datumSetSpec"),
    (ANSWER, "standby", True, "standby: is not a field; write autoscaling"),
    (ANSWER, "update", True, "pachctl update pipeline"),
    (ANSWER, "transform.secret", [], "transform.secret: is not a field; write secrets"),
    (ANSWER, "transform.image", 7, "transform.image: must be text, not 7"),
    (ANSWER, "transform.cmd", "python -m stages.answer", "transform.cmd: must be a list"),
    (ANSWER, "transform.cmd", ["python", None], "transform.cmd[1]: must not be null"),
    (ANSWER, "transform.env", {"THREADS": 2}, "transform.env.THREADS: must be text, not 2"),
    (ANSWER, "transform.datumBatching", "yes", "transform.datumBatching: must be true or false"),
    (ANSWER, "transform", [], "transform: must be an object"),
    (ANSWER, "datumTries", "3", "datumTries: must be a whole number"),
    (ANSWER, "datumTries", True, "datumTries: must be a whole number"),
    (ANSWER, "parallelismSpec.constant", -1, "parallelismSpec.constant: must be a whole number from 0"),
    (ANSWER, "parallelismSpec.coefficient", 1, "parallelismSpec.coefficient: is not a field"),
    (ANSWER, "datumTimeout", "1h", "datumTimeout: must be seconds"),
    (ANSWER, "jobTimeout", 3600, "jobTimeout: must be seconds"),
    (ANSWER, "resourceLimits.cpu", "2", "resourceLimits.cpu: must be a number"),
    (INGEST, "input.cron.start", "tomorrow", "input.cron.start: must be a time"),
    (INGEST, "input.cron.glob", "/*", "input.cron.glob: is not a field"),
    # Names.
    (ANSWER, "pipeline.name", ABSENT, "pipeline.name: '' is no name"),
    (ANSWER, "pipeline.name", "question answer", "pipeline.name: 'question answer' is no name"),
    (ANSWER, "pipeline.name", "-answer", "pipeline.name: '-answer' is no name"),
    (ANSWER, "pipeline.name", "q" * 52, "pipeline.name: 52 characters long, 51 fit"),
    (ANSWER, "pipeline", {"name": "q" * 40, "project": {"name": "p" * 20}}, "pipeline.name: too long with its project"),
    (ANSWER, "pipeline.project", {"name": "a.b"}, "pipeline.project.name: 'a.b' is no name"),
    # What is run.
    (ANSWER, "transform", ABSENT, "transform.cmd: missing"),
    (ANSWER, "transform", None, "transform: missing"),
    (ANSWER, "transform.cmd", [], "transform.cmd: missing"),
    (ANSWER, "transform.image", "answermill", "transform.image: 'answermill' has no tag"),
    (ANSWER, "transform.image", "host:5000/answermill", "has no tag"),
    (ANSWER, "transform.image", "answermill:latest", "transform.image: the tag latest moves"),
    (ANSWER, "transform.errStdin", ["x"], "transform.errStdin: nothing reads it without errCmd"),
    (ANSWER, "transform.workingDir", "app", "transform.workingDir: must be an absolute path"),
    (ANSWER, "transform.acceptReturnCode", [256], "transform.acceptReturnCode[0]: 256 is no exit code"),
    # Secrets and environment.
    (LOAD, "transform.secrets", [{"name": "s", "envVar": "X"}], "transform.secrets[0].key: missing"),
    (LOAD, "transform.secrets", [{"name": "s"}], "transform.secrets[0]: neither mountPath nor envVar"),
    (LOAD, "transform.secrets", [{"mountPath": "/s"}], "transform.secrets[0].name: missing"),
    (LOAD, "transform.secrets", [{"name": "s", "mountPath": "s"}], "transform.secrets[0].mountPath"),
    (LOAD, "transform.secrets", [{"name": "s", "mountPath": "/pfs/s"}], "transform.secrets[0].mountPath"),
    (LOAD, "transform.secrets", [{"name": "s", "mountPath": f"/{i}"} for i in (1, 2)], "s is mounted twice"),
    (LOAD, "transform.secrets", [{"name": i, "mountPath": "/s"} for i in "ab"], "two secrets at /s"),
    (
        LOAD,
        "transform.secrets",
        [{"name": "s", "key": "k", "envVar": "PGPASSWORD"}],
        "transform.secrets[0].envVar: the environment is stored with every datum",
    ),
    (LOAD, "transform.env.POSTGRES_HOST", "db", "transform.env.POSTGRES_HOST: Pachyderm sets POSTGRES_*"),
    (
        LOAD,
        "transform.secrets",
        [{"name": "s", "key": "k", "envVar": "POSTGRES_USER"}],
        "transform.secrets[0].envVar: Pachyderm sets POSTGRES_*",
    ),
    (LOAD, "transform.env.PACH_JOB_ID", "1", "transform.env.PACH_JOB_ID"),
    (LOAD, "transform.env", {"A-B": "1"}, "transform.env.A-B: 'A-B' is no name of a variable"),
    # Inputs.
    (ANSWER, "input", ABSENT, "input: missing"),
    (ANSWER, "input", {}, "input: missing"),
    (ANSWER, "input.cron", {"name": "t", "spec": "@daily"}, "input: needs exactly one of"),
    (ANSWER, "input.pfs.repo", ABSENT, "input.pfs.repo: missing"),
    (ANSWER, "input.pfs.glob", "", "input.pfs.glob: missing"),
    (ANSWER, "input.pfs.glob", "/[a", "input.pfs.glob: glob /[a: [ opens a class"),
    (ANSWER, "input.pfs.commit", "abc", "input.pfs.commit: an input is a branch"),
    (ANSWER, "input.pfs.s3", True, 'input.pfs.glob: must be "/" with s3'),
    (ANSWER, "input.pfs", {**PFS, "lazy": True, "emptyFiles": True}, "input.pfs.emptyFiles: not together with lazy"),
    (ANSWER, "input.pfs.joinOn", "$1", "input.pfs.joinOn: only within a join"),
    (ANSWER, "input.pfs.name", "out", "an input cannot be called out"),
    (ANSWER, "input.pfs.name", "my-questions", "the name my-questions is no name of a variable"),
    (ANSWER, "input.pfs.name", "PATH", "the name PATH would overwrite"),
    (ANSWER, "input.pfs.repo", "ingestion", "nothing writes the repo ingestion"),
    (ANSWER, "input.pfs.repo", "question-answer", "question-answer reads its own output"),
    (ANSWER, "input.pfs.repo", "load", "in a circle"),
    (ANSWER, "input", {"cross": []}, "input.cross: is empty"),
    (ANSWER, "input", {"cross": [{"pfs": PFS}, {"pfs": PFS}]}, "two inputs are called in"),
    (ANSWER, "input", {"join": [{"pfs": PFS}]}, "input.join[0].pfs.joinOn: missing in a join"),
    (ANSWER, "input", {"group": [{"cron": {}}]}, "input.group[0]: only pfs inputs"),
    (INGEST, "input.cron.name", ABSENT, "input.cron.name: missing"),
    (INGEST, "input.cron.name", "every tick", "input.cron.name: 'every tick' is no name"),
    (INGEST, "input.cron.spec", "10 minutes", "input.cron.spec"),
    (INGEST, "input.cron.spec", ABSENT, "input.cron.spec: missing"),
    # How it runs.
    (ANSWER, "datumSetSpec", {}, "datumSetSpec: must hold a number above 0"),
    (ANSWER, "datumSetSpec", {"number": 0}, "datumSetSpec: must hold a number above 0"),
    (ANSWER, "datumSetSpec", ABSENT, "datumSetSpec: missing with datumBatching"),
    (ANSWER, "datumTries", 0, "datumTries: must be at least 1"),
    (ANSWER, "reprocessSpec", "always", "reprocessSpec: must be"),
    (INGEST, "maximumExpectedUptime", "60s", "maximumExpectedUptime: only with autoscaling"),
    (ANSWER, "resourceRequests.memory", "2 GB", "resourceRequests.memory: '2 GB' is no quantity"),
    (ANSWER, "resourceRequests.cpu", 4, "resourceRequests.cpu: more than resourceLimits.cpu"),
    # What else there is.
    (ANSWER, "podPatch", "{", "podPatch: must be JSON in a text"),
    (ANSWER, "podPatch", "{}", "podPatch: must be JSON of a list"),
    (ANSWER, "tolerations", [{"operator": "Exists"}], "tolerations[0].operator: must be EXISTS or EQUAL"),
    (ANSWER, "egress", {"url": "s3://x"}, "egress.url: is not a field; write URL"),
    (
        ANSWER,
        "egress",
        {"sqlDatabase": {"url": "postgres://u@h/d", "fileFormat": {"type": "CSV"}, "secret": {"name": "s"}}},
        "egress.sqlDatabase.secret.key: missing",
    ),
    # What the server refused of 121 specs that were given to both.
    (ANSWER, "service", {"type": "Foo"}, "service.type: must be one of"),
    (ANSWER, "service", {"type": "NodePort"}, "parallelismSpec.constant: must be 1 with service"),
    (ANSWER, "spout", {}, "autoscaling: not together with spout"),
    (INGEST, "input.cron.spec", "@every  10m", "input.cron.spec"),
    (INGEST, "input.cron.spec", "@every 10m ", "input.cron.spec"),
    (ANSWER, "tolerations", [{"operator": "EXISTS", "effect": "Foo"}], "tolerations[0].effect: must be one of"),
    (ANSWER, "datumTimeout", "315576000001s", "datumTimeout: must be seconds"),
    (ANSWER, "datumTimeout", "1.0000000001s", "datumTimeout: must be seconds"),
    (ANSWER, "datumTries", 2**63, "datumTries: must be a whole number"),
    (ANSWER, "input.pfs.trigger", {"size": "much"}, "input.pfs.trigger.size"),
    (ANSWER, "input.pfs.trigger", {"cronSpec": "often"}, "input.pfs.trigger.cronSpec"),
    (ANSWER, "input.pfs.branch", "a/b", "input.pfs.branch: 'a/b' is no name"),
    # What Kubernetes refuses, and Pachyderm does not.
    (ANSWER, "metadata", {"labels": {"a b": "x"}}, "metadata.labels.a b: 'a b' is no key of a label"),
    (ANSWER, "metadata", {"labels": {"a": "x y"}}, "metadata.labels.a: 'x y' is no value of a label"),
    (LOAD, "transform.secrets", [{"name": "S_1", "mountPath": "/s"}], "'S_1' is no name of a secret"),
    (LOAD, "transform.secrets", [{"name": "s", "mountPath": "/pach"}], "Pachyderm mounts /pach itself"),
    (LOAD, "transform.secrets", [{"name": "s", "mountPath": "/pach-bin/"}], "Pachyderm mounts /pach-bin itself"),
    (ANSWER, "resourceRequests.memory", "3Gi", "resourceRequests.memory: more than resourceLimits.memory"),
    (ANSWER, "tfJob", {"tfJob": "x"}, "tfJob: not supported"),
]


def planted(path: str, value: Any, spec: dict[str, Any]) -> dict[str, Any]:
    spec = copy.deepcopy(spec)
    *folders, last = path.split(".")
    place = spec
    for folder in folders:
        place = place.setdefault(folder, {})
    if value is ABSENT:
        del place[last]
    else:
        place[last] = value
    return spec


def test_the_shipped_specs_keep_all_rules() -> None:
    assert sorted(SHIPPED) == [INGEST, LOAD, "prune.pipeline.json", ANSWER]
    assert check(SHIPPED) == []


@pytest.mark.parametrize(("file", "path", "value", "message"), PLANTED, ids=lambda value: str(value)[:40])
def test_a_planted_mistake_is_found_and_its_place_named(file: str, path: str, value: Any, message: str) -> None:
    problems = check({**SHIPPED, file: planted(path, value, SHIPPED[file])})
    assert any(message in problem for problem in problems), problems
    assert all(problem.startswith(tuple(SHIPPED)) or "circle" in problem for problem in problems)


@pytest.mark.parametrize(
    "input_",
    [
        {"pfs": PFS},
        {"cross": [{"pfs": PFS}, {"pfs": {**PFS, "name": "other"}}]},
        {"union": [{"pfs": PFS}, {"pfs": PFS}]},
        {"cross": [{"union": [{"pfs": PFS}, {"pfs": PFS}]}, {"cron": {"name": "t", "spec": "@never"}}]},
        {"join": [{"pfs": {**PFS, "joinOn": "$1"}}, {"pfs": {**PFS, "name": "b", "joinOn": "$1", "outerJoin": True}}]},
        {"group": [{"pfs": {**PFS, "groupBy": "${1}"}}]},
    ],
)
def test_all_kinds_of_inputs_pass(input_: dict[str, Any]) -> None:
    assert check({**SHIPPED, ANSWER: planted("input", input_, SHIPPED[ANSWER])}) == []


def test_two_pipelines_of_one_name_are_found() -> None:
    problems = check({**SHIPPED, "z": SHIPPED[LOAD]})
    assert problems == ["z: pipeline.name: load is in load.pipeline.json already"]


def test_null_takes_a_default_away_and_leaves_no_trace() -> None:
    assert "datumTries" not in effective({**SHIPPED[LOAD], "datumTries": None})
    assert check({**SHIPPED, LOAD: {**SHIPPED[LOAD], "datumTries": None, "description": None}}) == []


def test_defaults_are_filled_in_as_the_server_does() -> None:
    spec = effective({"pipeline": {"name": "p"}, "transform": {"cmd": ["x"]}, "input": {"pfs": {"repo": "r"}}})
    assert spec["transform"] == {"image": "ubuntu:20.04", "cmd": ["x"]}
    assert (spec["datumTries"], spec["reprocessSpec"], spec["outputBranch"]) == (3, "until_success", "master")
    assert spec["input"]["pfs"] == {"repo": "r", "name": "r", "branch": "master", "repoType": "user"}
    tick = effective({"pipeline": {"name": "p"}, "input": {"cron": {"name": "t"}}})["input"]["cron"]
    assert tick["repo"] == "p_t"


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


def test_the_command_line_passes_the_shipped_specs() -> None:
    done = checked()
    assert (done.returncode, done.stderr) == (0, "check: 4 specs keep all rules\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ('{"description": "\\ud83d\\ude00"}', "takes no escaped surrogates"),
        ('{"a": 1, "a": 2}', "a stands twice"),
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

_PROTO = {
    "str": ("string", "enum"),
    "bool": ("bool",),
    "int": ("int64", "int32", "message"),
    "uint": ("uint64",),
    "number": ("float",),
    "seconds": ("message",),
    "time": ("message",),
}
# Not to be in a file: what `pachctl update` and `--reprocess` set.
_NOT_IN_FILES = {"update", "reprocess", "specCommit", "dryRun"}


def sdk_messages() -> dict[str, Any]:
    """Pachyderm's message class for each of ours, found by walking both trees."""
    found: dict[str, Any] = {}
    waiting = [("Spec", pps.CreatePipelineRequest)]
    while waiting:
        name, message = waiting.pop()
        if name in found:
            continue
        found[name] = message
        for field, kind in MESSAGES[name].items():
            if (inner := kind.strip("[]{}")) in MESSAGES:
                waiting.append((inner, inner_class(message, field)))
    return found


def snake(name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name) if name != "URL" else "url"


def inner_class(message: Any, field: str) -> Any:
    return message()._betterproto.cls_by_field[snake(field)]


def test_the_table_of_fields_is_pachyderms_own() -> None:
    for name, message in sdk_messages().items():
        theirs = {field.name for field in dataclasses.fields(message)}
        ours = {snake(field) for field in MESSAGES[name]}
        assert ours == theirs - {snake(field) for field in _NOT_IN_FILES}, name


def test_the_types_of_fields_are_pachyderms_own() -> None:
    for name, message in sdk_messages().items():
        known = message()._betterproto
        for field, kind in MESSAGES[name].items():
            meta = known.meta_by_field_name[snake(field)]
            many = known.default_gen[snake(field)] is list
            assert kind.startswith("[") == many, (name, field)
            assert kind.startswith("{") == (meta.proto_type == "map"), (name, field)
            if meta.proto_type != "map":
                inner = kind.strip("[]")
                assert meta.proto_type in _PROTO.get(inner, ("message",)), (name, field)


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

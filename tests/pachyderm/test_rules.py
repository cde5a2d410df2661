"""Which specs a server refuses, which it takes although they are unwise, and which are fine.

121 specs were given to a real Pachyderm 2.12.2 and to these rules; every difference that was found stands in a table.
"""

import copy
from typing import Any

import pytest

from pachyderm.spec.problems import Findings
from pachyderm.spec.reading import read_specs, spec_files
from pachyderm.spec.rules import check

SHIPPED = read_specs(spec_files([]))
ABSENT = object()

ANSWER, LOAD, INGEST = "question-answer.pipeline.json", "load.pipeline.json", "ingest.pipeline.json"
PFS = {"name": "in", "repo": "ingest", "glob": "/*"}

# File, path in it, what is planted there, and what the message must say.
# Refused by Pachyderm when a pipeline is created, or by Kubernetes when a pod is.
REFUSED: list[tuple[str, str, Any, str]] = [
    # Fields and types.
    (ANSWER, "chunkSpec", {"number": 1}, "chunkSpec: is not a field; write datumSetSpec"),
    (ANSWER, "standby", True, "standby: is not a field; write autoscaling"),
    (ANSWER, "transform.secret", [], "transform.secret: is not a field; write secrets"),
    (ANSWER, "transform.image", 7, "transform.image: must be text, not 7"),
    (ANSWER, "transform.cmd", "python -m stages.answer", "transform.cmd: must be a list"),
    (ANSWER, "transform.cmd", ["python", None], "transform.cmd[1]: must not be null"),
    (ANSWER, "transform.env", {"THREADS": 2}, "transform.env.THREADS: must be text, not 2"),
    (ANSWER, "transform.datumBatching", "yes", "transform.datumBatching: must be true or false"),
    (ANSWER, "transform", [], "transform: must be an object"),
    (ANSWER, "datumTries", "three", "datumTries: must be a whole number"),
    (ANSWER, "datumTries", True, "datumTries: must be a whole number"),
    (ANSWER, "datumTries", 2**63, "datumTries: must be a whole number"),
    (ANSWER, "datumTries", str(2**63), "datumTries: must be a whole number"),
    (ANSWER, "parallelismSpec.constant", -1, "parallelismSpec.constant: must be a whole number from 0"),
    (ANSWER, "datumTries", "+3", "datumTries: must be a whole number"),
    (ANSWER, "datumTries", "3.5", "datumTries: must be a whole number"),
    (ANSWER, "datumTries", "\u0663", "datumTries: must be a whole number"),
    (ANSWER, "datumTries", "", "datumTries: must be a whole number"),
    (ANSWER, "datumTries", -(2**63) - 1, "datumTries: must be a whole number"),
    (ANSWER, "parallelismSpec.constant", 2**64, "parallelismSpec.constant: must be a whole number from 0"),
    (ANSWER, "datumTimeout", "\u0661s", "datumTimeout: must be seconds"),
    (ANSWER, "resourceLimits.cpu", 1e39, "resourceLimits.cpu: must be a number"),
    (ANSWER, "parallelismSpec.coefficient", 1, "parallelismSpec.coefficient: is not a field"),
    (ANSWER, "datumTimeout", "1h", "datumTimeout: must be seconds"),
    (ANSWER, "datumTimeout", "315576000001s", "datumTimeout: must be seconds"),
    (ANSWER, "datumTimeout", "1.0000000001s", "datumTimeout: must be seconds"),
    (ANSWER, "jobTimeout", 3600, "jobTimeout: must be seconds"),
    (ANSWER, "resourceLimits.cpu", "two", "resourceLimits.cpu: must be a number"),
    (INGEST, "input.cron.start", "tomorrow", "input.cron.start: must be a time"),
    (INGEST, "input.cron.glob", "/*", "input.cron.glob: is not a field"),
    (ANSWER, "datum_tries", 3, "datum_tries: appears twice, in two spellings"),
    # Names.
    (ANSWER, "pipeline.name", ABSENT, "pipeline.name: '' is not a valid name"),
    (ANSWER, "pipeline.name", "question answer", "pipeline.name: 'question answer' is not a valid name"),
    (ANSWER, "pipeline.name", "-answer", "pipeline.name: '-answer' is not a valid name"),
    (ANSWER, "pipeline.name", "q" * 52, "pipeline.name: 52 characters long, 51 fit"),
    (ANSWER, "pipeline", {"name": "q" * 40, "project": {"name": "p" * 20}}, "pipeline.name: too long with its project"),
    (ANSWER, "pipeline.project", {"name": "a.b"}, "pipeline.project.name: 'a.b' is not a valid name"),
    (ANSWER, "input.pfs.branch", "a/b", "input.pfs.branch: 'a/b' is not a valid name"),
    (ANSWER, "outputBranch", "a/b", "outputBranch: 'a/b' is not a valid name"),
    # What is run.
    (ANSWER, "transform", None, "transform: missing"),
    (LOAD, "transform.secrets", [{"name": "s", "envVar": "X"}], "transform.secrets[0].key: missing"),
    (LOAD, "transform.secrets", [{"mountPath": "/s"}], "transform.secrets[0].name: missing"),
    # Inputs.
    (ANSWER, "input", {}, "input: needs exactly one of"),
    (ANSWER, "input.cron", {"name": "t", "spec": "@daily"}, "input: needs exactly one of"),
    (ANSWER, "input", {"cross": []}, "input: needs exactly one of"),
    (ANSWER, "input.pfs.repo", ABSENT, "input.pfs.repo: missing"),
    (ANSWER, "input.pfs.glob", "", "input.pfs.glob: missing"),
    (ANSWER, "input.pfs.commit", "abc", "input.pfs.commit: an input is a branch"),
    (ANSWER, "input.pfs.s3", True, 'input.pfs.glob: must be "/" with s3'),
    (ANSWER, "input.pfs", {**PFS, "glob": "/", "s3": True, "lazy": True}, "input.pfs.lazy: not together with s3"),
    (ANSWER, "input", {"union": [{"pfs": {**PFS, "glob": "/", "s3": True}}]}, "input.union[0].pfs.s3: not in a union"),
    (ANSWER, "input.pfs.name", "out", "an input cannot be called out"),
    (ANSWER, "input.pfs.repo", "ingestion", "nothing writes the repo ingestion"),
    (ANSWER, "input.pfs.repo", "question-answer", "question-answer reads its own output"),
    (ANSWER, "input", {"cross": [{"pfs": PFS}, {"pfs": PFS}]}, "two inputs are called in"),
    (ANSWER, "input.pfs.trigger", {"size": "much"}, "input.pfs.trigger.size"),
    (ANSWER, "input.pfs.trigger", {"cronSpec": "often"}, "input.pfs.trigger.cronSpec"),
    (INGEST, "input.cron.name", ABSENT, "input.cron.name: missing"),
    (INGEST, "input.cron.name", "every tick", "input.cron.name: 'every tick' is not a valid name"),
    (INGEST, "input.cron.spec", "10 minutes", "input.cron.spec"),
    (INGEST, "input.cron.spec", ABSENT, "input.cron.spec: missing"),
    (INGEST, "input.cron.spec", "@every  10m", "input.cron.spec"),
    (INGEST, "input.cron.spec", "@every 10m ", "input.cron.spec"),
    (INGEST, "input.cron.spec", "@every 10 m", "input.cron.spec"),
    (INGEST, "input.cron.spec", "@every\t10m", "input.cron.spec"),
    (INGEST, "input.cron.spec", " @every 10m", "input.cron.spec"),
    (INGEST, "input.cron.spec", "@every 1d", "input.cron.spec"),
    # Go's durations end after 292 years.
    (INGEST, "input.cron.spec", "@every 2562048h", "input.cron.spec"),
    (INGEST, "input.cron.spec", "@daily ", "input.cron.spec"),
    (INGEST, "input.cron.spec", "\u0663 * * * *", "input.cron.spec"),
    (INGEST, "input.cron.spec", "1_0 * * * *", "input.cron.spec"),
    (INGEST, "input.cron.spec", "0 0 * * 7", "input.cron.spec"),
    # How it runs.
    (ANSWER, "reprocessSpec", "always", "reprocessSpec: must be"),
    (INGEST, "maximumExpectedUptime", "60s", "maximumExpectedUptime: only with autoscaling"),
    (ANSWER, "service", {"type": "Foo"}, "service.type: must be one of"),
    (ANSWER, "service", {"type": "ExternalName"}, "service.type: must be one of"),
    (ANSWER, "service", {"type": "NodePort"}, "parallelismSpec.constant: must be 1 with service"),
    (ANSWER, "spout", {}, "autoscaling: not together with spout"),
    (LOAD, "spout", {}, "input: a spout without a service must have none"),
    (ANSWER, "podPatch", "{", "podPatch: must be JSON in a text"),
    (ANSWER, "tolerations", [{"operator": "Exists"}], "tolerations[0].operator: must be EXISTS or EQUAL"),
    (ANSWER, "tolerations", [{"operator": "EXISTS", "effect": "Foo"}], "tolerations[0].effect: must be one of"),
    (ANSWER, "tfJob", {"tfJob": "x"}, "tfJob: not supported"),
    (ANSWER, "egress", {"url": "s3://x"}, "egress.url: is not a field; write URL"),
    (
        ANSWER,
        "egress",
        {"sqlDatabase": {"url": "postgres://u@h/d", "fileFormat": {"type": "CSV"}, "secret": {"name": "s"}}},
        "egress.sqlDatabase.secret.key: missing",
    ),
    # What Kubernetes refuses, and Pachyderm does not.
    (ANSWER, "metadata", {"labels": {"a b": "x"}}, "metadata.labels.a b: 'a b' is not a valid key of a label"),
    (ANSWER, "metadata", {"labels": {"a": "x y"}}, "metadata.labels.a: 'x y' is not a valid value of a label"),
    (
        ANSWER,
        "metadata",
        {"annotations": {"a b": "x"}},
        "metadata.annotations.a b: 'a b' is not a valid key of a label",
    ),
    (
        ANSWER,
        "schedulingSpec",
        {"nodeSelector": {"/a": "x"}},
        "schedulingSpec.nodeSelector./a: '/a' is not a valid key",
    ),
    (LOAD, "transform.secrets", [{"name": "S_1", "mountPath": "/s"}], "'S_1' is not a valid name of a secret"),
    (LOAD, "transform.secrets", [{"name": "s", "mountPath": "/tmp/"}], "Pachyderm mounts /tmp itself"),  # noqa: S108
    (LOAD, "transform.secrets", [{"name": "s", "mountPath": "//tmp"}], "Pachyderm mounts /tmp itself"),
    (LOAD, "transform.secrets", [{"name": "s", "mountPath": "/pfs/../pach"}], "Pachyderm mounts /pach itself"),
    (LOAD, "transform.secrets", [{"name": "s", "mountPath": "/"}], "no pod starts with a secret at /"),
    (LOAD, "transform.secrets", [{"name": "s", "mountPath": "/a:b"}], "no pod starts with a secret at /a:b"),
    (LOAD, "transform.secrets", [{"name": "s", "mountPath": "/pach"}], "Pachyderm mounts /pach itself"),
    (LOAD, "transform.secrets", [{"name": "s", "mountPath": "/pach-bin/"}], "Pachyderm mounts /pach-bin itself"),
    (LOAD, "transform.secrets", [{"name": "s", "mountPath": "/pfs"}], "Pachyderm mounts /pfs itself"),
    (LOAD, "transform.secrets", [{"name": "s", "mountPath": f"/{i}"} for i in (1, 2)], "s is mounted twice"),
    (LOAD, "transform.secrets", [{"name": i, "mountPath": "/s"} for i in "ab"], "two secrets at /s"),
    (ANSWER, "resourceRequests.cpu", 4, "resourceRequests.cpu: more than resourceLimits.cpu"),
    (ANSWER, "resourceRequests.memory", "3Gi", "resourceRequests.memory: more than resourceLimits.memory"),
    (ANSWER, "resourceLimits.disk", "1Gi", "resourceRequests.disk: more than resourceLimits.disk"),
    (ANSWER, "resourceRequests.memory", "2 GB", "resourceRequests.memory: '2 GB' is not a quantity"),
    (ANSWER, "sidecarResourceLimits", {"cpu": -1}, "sidecarResourceLimits.cpu: must not be negative"),
]
# Taken by Pachyderm and by Kubernetes; the message says "legal, but" first.
UNWISE: list[tuple[str, str, Any, str]] = [
    (ANSWER, "datumTries", "3", "datumTries: legal, but it is text; write 3"),
    (ANSWER, "datumTries", "3e0", "datumTries: legal, but it is text; write 3"),
    (ANSWER, "resourceLimits.cpu", "2e0", "resourceLimits.cpu: legal, but it is text"),
    (INGEST, "input.cron.spec", "@every 500ms", "input.cron.spec: legal, but @every 500ms ticks each second"),
    (INGEST, "input.cron.spec", "@every -1m", "input.cron.spec: legal, but @every -1m ticks each second"),
    (ANSWER, "datumTries", 0, "datumTries: legal, but 0 means the default, 3"),
    (ANSWER, "datumTries", -1, "datumTries: legal, but with fewer than one try"),
    (ANSWER, "reprocessSpec", "", "reprocessSpec: legal, but an empty text means the default"),
    (ANSWER, "update", True, "update: legal, but not part of a spec: pachctl update pipeline sets it"),
    (ANSWER, "reprocess", True, "pachctl update pipeline --reprocess sets it"),
    (ANSWER, "resourceLimits.cpu", "2", "resourceLimits.cpu: legal, but it is text; write 2"),
    (INGEST, "job_timeout", "60s", "job_timeout: legal, but write jobTimeout"),
    (ANSWER, "transform", ABSENT, "transform.cmd: legal, but missing"),
    (ANSWER, "transform.cmd", [], "transform.cmd: legal, but missing"),
    (ANSWER, "transform.image", "answermill", "transform.image: legal, but 'answermill' has no tag"),
    (ANSWER, "transform.image", "host:5000/answermill", "has no tag"),
    (ANSWER, "transform.image", "answermill:latest", "transform.image: legal, but the tag latest moves"),
    (LOAD, "parallelismSpec.constant", 3, "parallelismSpec.constant: legal, but with more than two workers"),
    (ANSWER, "transform.errStdin", ["x"], "transform.errStdin: legal, but nothing reads it without errCmd"),
    (ANSWER, "transform.workingDir", "app", "transform.workingDir: legal, but not an absolute path"),
    (ANSWER, "transform.acceptReturnCode", [256], "transform.acceptReturnCode[0]: legal, but 256 is not an exit code"),
    # Secrets and environment.
    (LOAD, "transform.secrets", [{"name": "s"}], "transform.secrets[0]: legal, but neither mountPath nor envVar"),
    (LOAD, "transform.secrets", [{"name": "s", "mountPath": "s"}], "transform.secrets[0].mountPath: legal, but"),
    (LOAD, "transform.secrets", [{"name": "s", "mountPath": "/pfs/s"}], "transform.secrets[0].mountPath: legal, but"),
    (
        LOAD,
        "transform.secrets",
        [{"name": "s", "key": "k", "envVar": "PGPASSWORD"}],
        "transform.secrets[0].envVar: legal, but the environment is stored with every datum",
    ),
    (LOAD, "transform.env.POSTGRES_HOST", "db", "transform.env.POSTGRES_HOST: legal, but Pachyderm sets POSTGRES_*"),
    (
        LOAD,
        "transform.secrets",
        [{"name": "s", "key": "k", "envVar": "POSTGRES_USER"}],
        "transform.secrets[0].envVar: legal, but Pachyderm sets POSTGRES_*",
    ),
    (LOAD, "transform.env.PACH_JOB_ID", "1", "transform.env.PACH_JOB_ID: legal, but"),
    (LOAD, "transform.env", {"A-B": "1"}, "transform.env.A-B: legal, but 'A-B' is not a name of a variable"),
    # Inputs.
    (ANSWER, "input", ABSENT, "input: legal, but missing"),
    (ANSWER, "input.pfs.glob", "/[a", "input.pfs.glob: legal, but glob /[a: [ opens a class"),
    (ANSWER, "input.pfs", {**PFS, "lazy": True, "emptyFiles": True}, "input.pfs.emptyFiles: legal, but"),
    (ANSWER, "input.pfs.joinOn", "$1", "input.pfs.joinOn: legal, but it has an effect only within a join"),
    (ANSWER, "input.pfs.name", "my-questions", "legal, but the name my-questions cannot name a variable"),
    (ANSWER, "input.pfs.name", "PATH", "legal, but the name PATH would overwrite"),
    (ANSWER, "input.pfs.repo", "load", "legal, but pipelines read each other in a circle"),
    (ANSWER, "input", {"join": [{"pfs": PFS}]}, "input.join[0].pfs.joinOn: legal, but missing in a join"),
    (
        ANSWER,
        "input",
        {"group": [{"cron": {"name": "t", "spec": "@daily"}}]},
        "input.group[0]: legal, but only pfs inputs",
    ),
    # How it runs.
    (ANSWER, "datumSetSpec", {}, "datumSetSpec: legal, but it holds no number above 0"),
    (ANSWER, "datumSetSpec", {"number": 0}, "datumSetSpec: legal, but it holds no number above 0"),
    (ANSWER, "datumSetSpec", ABSENT, "datumSetSpec: legal, but missing with datumBatching"),
    (ANSWER, "s3Out", True, "s3Out: legal, but"),
    (ANSWER, "podPatch", "{}", "podPatch: legal, but no pod starts with it; write a list as JSON"),
]
# Taken by the server, and nothing to say against them.
TAKEN: list[tuple[str, str, Any]] = [
    (ANSWER, "input.pfs.glob", "[]a]"),
    (ANSWER, "parallelismSpec.constant", 1000),
    (ANSWER, "datumTries", 3.0),
    (ANSWER, "outputBranch", ""),
    (ANSWER, "datumTries", 2**63 - 1),
    (ANSWER, "parallelismSpec.constant", 2**64 - 1),
    (ANSWER, "datumTimeout", "315576000000s"),
    (ANSWER, "datumTimeout", "1.000000001s"),
    (INGEST, "input.cron.spec", "@every 1.5h"),
    (INGEST, "input.cron.spec", "1,,2  +3 * * *"),
    *((ANSWER, "resourceRequests.memory", text) for text in ("1E9", ".5Gi", "5.", "+1Gi", "10e8", "5000000000m")),
    *(
        (LOAD, "transform.secrets", [{"name": "s", "mountPath": path}])
        for path in ("/tmp/x", "/pach/x", "/a/../b")  # noqa: S108
    ),
    *((ANSWER, "service", {"type": kind}) for kind in ("", "ClusterIP", "NodePort", "LoadBalancer")),
    (LOAD, "service", {"internalPort": 80}),
    (INGEST, "input.cron.spec", "@never"),
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


def findings(file: str, path: str, value: Any) -> Findings:
    """On the shipped specs with this planted in one of them."""
    return check({**SHIPPED, file: planted(path, value, SHIPPED[file])})


@pytest.mark.parametrize(("file", "path", "value", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_a_server_refuses_is_an_error_with_its_place(file: str, path: str, value: Any, message: str) -> None:
    errors = findings(file, path, value).errors
    assert any(message in line for line in errors), errors
    assert all(line.startswith(tuple(SHIPPED)) and "legal, but" not in line for line in errors)


@pytest.mark.parametrize(("file", "path", "value", "message"), UNWISE, ids=lambda value: str(value)[:40])
def test_what_is_legal_but_unwise_is_no_error(file: str, path: str, value: Any, message: str) -> None:
    found = findings(file, path, value)
    assert found.errors == []
    assert any(message in line for line in found.lint), found.lint
    assert all("legal, but" in line for line in found.lint)


@pytest.mark.parametrize(("file", "path", "value"), TAKEN, ids=lambda value: str(value)[:40])
def test_what_is_taken_and_fine_is_not_mentioned(file: str, path: str, value: Any) -> None:
    spec = planted(path, value, SHIPPED[file])
    if "service" in spec:
        spec["parallelismSpec"] = {"constant": 1}
    assert check({**SHIPPED, file: spec}) == Findings([], [])


def test_a_spout_has_no_input() -> None:
    spout = {"pipeline": {"name": "spout"}, "transform": {"image": "a:1", "cmd": ["a"]}, "spout": {}}
    assert check({"spout": spout}) == Findings([], [])


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
    assert findings(ANSWER, "input", input_) == Findings([], [])


def test_two_pipelines_of_one_name_are_found() -> None:
    errors = check({**SHIPPED, "z": SHIPPED[LOAD]}).errors
    assert errors == ["z: pipeline.name: load is in load.pipeline.json already"]

"""What a command line is parsed into has the types that it declares; mypy sees nothing of what argparse does."""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest

from pachyderm.options import deploy_arguments
from stages import view
from stages.answering import options as answer
from stages.answering.earlier import NO_INFLUENCE, OF_THE_FILE, USUAL_NAMES, Settings
from stages.comparing import options as compare
from stages.ingesting import options as ingest
from stages.loading import options as load

# Command lines in which every option has at least two values.
INGEST = (
    "in out",
    "gs://bucket other --shard-rows 1 --question-column q --context-column c --formats csv --encoding auto --again "
    "--follow-links --user-project p --concurrency 1 --timeout 1 --max-field 1 --log-format json",
)
LOAD = (
    "in out",
    "other passed --schema s --table t --question-column q --context-column c --prefix p_ --columns n:int --migrate "
    "--on-conflict keep --on-bad-row skip --plain-names --dry-run --retry-for 1 --batch-datums --log-format json "
    "--prune --listing listing.json --clock-margin 2 --prune-all",
    "in out --pass-on-digests",
)
ANSWER = (
    "in out",
    "other there --model m --threads 3 --again --reuse r --part 2/8 --dry-run --price-per-cpu-hour 0.04 --metrics f "
    "--dask local --log-format json",
    "in out --limit 5 --format ndjson",
    "in out --top-k 3 --min-score 0.5 --min-confidence 0.25 --second-look 0.9 --align-to-words no --max-answer-len 20 "
    "--max-seq-len 256 --doc-stride 64 --max-field 1000 --no-answer",
    "gs://bucket/in gs://bucket/out --dask tcp://scheduler:8786",
    "in out --prefix p_ --question-column q --context-column c",
    "in out --batch-datums",
)
VIEW = (
    "run --output page.html",
    "other --output other.html --against before --model m --rows 1 --expected e --blank-is-no-answer --schema s "
    "--question-column q --context-column c --prefix p_ --table t --retry-for 1 --log-format json",
    "--database --output page.html",
)
COMPARE = (
    "a b",
    "c d --expected e --blank-is-no-answer --limit 1 --json --question-column q --context-column c --prefix p_ "
    "--log-format json",
)
DEPLOY = (
    "plan --image a:1 --repo r",
    "deploy --image b:1 --bucket gs://b --bucket-key key.json --reprocess load --now --no-wait --rpc-timeout 1",
    "deploy --image c:1 --bucket gs://b --wait",
    "stamp --image d:1 --output specs --log-format json",
    "undeploy --with-secrets",
    "secrets",
)


def deploy(words: Sequence[str]) -> object:
    return deploy_arguments(words[0], words[1:])


def fits(value: object, hint: Any) -> bool:
    """Whether a value is of a type as it is declared; a truth value is no number."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in inside
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in inside)
    if origin in (Sequence, tuple):
        return isinstance(value, origin) and all(fits(item, inside[0]) for item in value)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (ingest.arguments, INGEST),
        (answer.arguments, ANSWER),
        (load.arguments, LOAD),
        (view.arguments, VIEW),
        (compare.arguments, COMPARE),
        (deploy, DEPLOY),
    ],
)
def test_options_have_the_types_that_they_declare(
    arguments: Callable[[Sequence[str]], Any], lines: Sequence[str]
) -> None:
    parsed = [arguments(line.split()) for line in lines]
    hints = get_type_hints(type(parsed[0]))
    for field in fields(parsed[0]):
        values = [getattr(options, field.name) for options in parsed]
        assert [value for value in values if not fits(value, hints[field.name])] == [], field.name
        assert any(value != values[0] for value in values), f"{field.name}: no command line here gives it"


def test_options_pass_to_another_process() -> None:
    """The workers of a Dask cluster get them."""
    options = answer.arguments(ANSWER[1].split())
    assert pickle.loads(pickle.dumps(options)) == options  # noqa: S301


def test_old_answers_are_known_by_their_settings() -> None:
    """These digests stand in listings: under others, everything that was ever answered would be answered again."""
    plain, elsewhere, of_the_file, others = (
        Settings.of(answer.arguments(line.split()), "bundle") for line in ANSWER[:4]
    )
    assert elsewhere == plain
    assert plain.answers == of_the_file.answers == "f61660967b4eca517052748f7b165a3048c38bb4b8195a7a2dd01f065a39956a"
    assert plain.file == "1924984d29713fb2d2a6e2d9d281842d4d9ecdbd7fc9279df1af026599db7a5e"
    assert others.answers == "29c4bb0c5269fa2ffdbfba4b3ed1d48de003b517eaabf6ab4228e943455f3dab"
    assert others.file == "2fbc3248e4a243b67f97948d021960be065d95d32a2da55a078834ea34c74300"


@pytest.mark.parametrize("name", sorted({field.name for field in fields(answer.AnswerOptions)} - NO_INFLUENCE))
def test_every_option_that_changes_answers_is_remembered(name: str) -> None:
    """Whatever is not known to leave answers as they are keeps old ones from being reused."""
    plain, *others = (answer.arguments(line.split()) for line in ANSWER)
    value = next(getattr(each, name) for each in others if getattr(each, name) != getattr(plain, name))
    before, after = (Settings.of(each, "bundle") for each in (plain, replace(plain, **{name: value})))
    assert before.file != after.file
    assert (before.answers == after.answers) == (name in OF_THE_FILE)


def test_options_without_influence_are_options() -> None:
    """One that is misspelt there would count, and change all settings."""
    assert {field.name for field in fields(answer.AnswerOptions)} >= NO_INFLUENCE | OF_THE_FILE | USUAL_NAMES.keys()

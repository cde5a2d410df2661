"""What is a bundle, and what only looks like one: every file that is used is listed, plain, regular and unchanged."""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, normalizers

from runtime import Answer, Answerer
from runtime import bundle as bundle_module
from runtime.bundle import EXTERNAL, Bundle
from runtime.decoding import Decoding
from runtime.errors import BundleError
from runtime.manifest import Manifest
from runtime.windows import UnanswerableRowError, Windower


@pytest.fixture
def bundle(int8_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(int8_bundle, tmp_path / "model"))


def change(bundle: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text("utf-8"))
    edit(manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest), "utf-8")


def test_a_sound_copy_of_a_bundle_opens(bundle: Path) -> None:
    assert Bundle.open(bundle).manifest.bundle_id


@pytest.mark.parametrize("unlisted", ["model.onnx", "tokenizer.json"])
def test_a_file_that_is_used_must_be_listed(bundle: Path, unlisted: str) -> None:
    change(bundle, lambda manifest: manifest["files"].pop(unlisted))
    with pytest.raises(BundleError, match=f"lists no {unlisted}"):
        Bundle.open(bundle)


@pytest.mark.parametrize("name", ["/dev/zero", "../model/config.json", "a/b", "", ".", "..", "a\0b"])
def test_a_listed_name_is_a_plain_one(bundle: Path, name: str) -> None:
    change(bundle, lambda manifest: manifest["files"].update({name: {"sha256": "0" * 64, "size": 1}}))
    with pytest.raises(BundleError, match="not the name of a file"):
        Bundle.open(bundle)


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "tokenizer.json", "config.json"])
def test_a_fifo_is_refused_and_not_waited_for(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    os.mkfifo(bundle / name)
    with pytest.raises(BundleError, match="not a regular file"):
        Answerer.load(bundle)


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx"])
def test_a_link_that_leaves_the_bundle_is_refused(bundle: Path, name: str) -> None:
    (bundle / name).rename(bundle.parent / name)
    (bundle / name).symlink_to(bundle.parent / name)
    with pytest.raises(BundleError, match="leaves the bundle"):
        Answerer.load(bundle)


def test_weights_in_other_files_are_refused(bundle: Path) -> None:
    import hashlib

    path = bundle / "model.onnx"
    path.write_bytes(path.read_bytes() + EXTERNAL + b"\x12\x0bweights.bin")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    change(bundle, lambda manifest: manifest["files"]["model.onnx"].update(sha256=digest))
    with pytest.raises(BundleError, match="weights in other files"):
        Answerer.load(bundle)


PAIR = "Who called Lucy?", "Ada called Lucy at noon."


def test_a_bundle_copied_over_a_loaded_one_is_not_used(bundle: Path, fp32_bundle: Path) -> None:
    """Also where the next rows want windows of another length, for which the tokenizer was read again."""
    answerer = Answerer.load(bundle)
    decoding = dataclasses.replace(answerer.bundle.manifest.decoding, max_seq_len=64, doc_stride=16)
    (wanted,) = Answerer.load(bundle).answer([PAIR], decoding)
    tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
    tokenizer.normalizer = normalizers.Replace("called", "was called by")
    tokenizer.save(str(bundle / "tokenizer.json"))
    (bundle / "model.onnx").write_bytes((fp32_bundle / "model.onnx").read_bytes())
    assert list(answerer.answer([PAIR], decoding)) == [wanted]


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
@pytest.mark.parametrize("in_place", [True, False])
def test_a_file_replaced_while_it_is_loaded_is_refused(
    bundle: Path, name: str, in_place: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its digest was checked, and then other bytes were loaded under the old bundle's id."""
    digest_of, path = bundle_module._sha256, bundle / name

    def replace_afterwards(folder: Path, checked: str) -> str:
        digest = digest_of(folder, checked)
        if checked == name:
            other = path if in_place else path.with_suffix(".new")
            other.write_bytes(path.read_bytes())
            other.replace(path)
        return digest

    monkeypatch.setattr(bundle_module, "_sha256", replace_afterwards)
    with pytest.raises(BundleError, match="run again if somebody has just replaced the bundle"):
        Answerer.load(bundle)


ODD: list[tuple[str, Callable[[dict[str, Any]], None]]] = [
    ("no files", lambda manifest: manifest.update(files={})),
    ("files is a list", lambda manifest: manifest.update(files=[])),
    ("flags are numbers", lambda manifest: manifest["quantization"].update(cpu_flags=[1, 2])),
    ("flags are objects", lambda manifest: manifest["quantization"].update(cpu_flags=[{}])),
    ("flags are a text", lambda manifest: manifest["quantization"].update(cpu_flags="avx")),
    ("a huge number", lambda manifest: manifest["inputs"].update(max_tokens=10**31)),
    ("windows of no tokens", lambda manifest: manifest["decoding"].update(max_seq_len=0)),
    ("inputs are absent", lambda manifest: manifest.update(inputs=None)),
    ("an unknown field", lambda manifest: manifest.update(more=1)),
]


@pytest.mark.parametrize("edit", [edit for _, edit in ODD], ids=[name for name, _ in ODD])
def test_an_odd_manifest_is_refused_in_one_line(bundle: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    change(bundle, edit)
    with pytest.raises(BundleError) as caught:
        Answerer.load(bundle)
    assert "\n" not in str(caught.value)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a JSON value; of lists the first element."""
    yield path
    for key in value if isinstance(value, dict) else range(len(value) and 1) if isinstance(value, list) else ():
        yield from places(value[key], (*path, key))


def changed(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    if not path:
        return odd
    copy = value.copy()
    copy[path[0]] = changed(value[path[0]], path[1:], odd)
    return copy


def test_a_manifest_of_any_shape_is_taken_or_refused(int8_bundle: Path) -> None:
    """Every field with a value of every kind: no other error, and none of many lines or pages."""
    good = json.loads((int8_bundle / "manifest.json").read_text("utf-8"))
    odd: list[Any] = [None, True, 0, -1, 10**31, float("inf"), float("nan"), 0.5, "", "a\0b", "\ud800", "x" * 9999]
    odd += [[], [[]], [1, {}], {}, {"a": {"b": 1}}]
    refused = 0
    for path in places(good):
        for value in odd:
            try:
                Manifest.from_json(json.dumps(changed(good, path, value)))
            except BundleError as error:
                refused += 1
                assert "\n" not in str(error)
                assert len(str(error)) < 1000
    assert refused > 700


@pytest.mark.parametrize("text", ["", "[" * 200_000, "{}", "null", '{"format_version": 1}', "9" * 5000, "\ufeff{}"])
def test_what_is_no_manifest_is_refused_in_one_line(bundle: Path, text: str) -> None:
    (bundle / "manifest.json").write_text(text, "utf-8")
    with pytest.raises(BundleError, match=r"manifest.json .*export the bundle again"):
        Bundle.open(bundle)


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("decoding", "align_to_words", False),
        ("decoding", "handle_impossible_answer", True),
        ("decoding", "max_seq_len", 256),
        ("decoding", "doc_stride", 64),
        ("decoding", "max_answer_len", 30),
        ("decoding", "top_k", 2),
        ("inputs", "token_types", False),
        ("inputs", "cls_token_id", 102),
    ],
)
def test_bundles_that_answer_otherwise_have_other_names(
    int8_bundle: Path, part: str, field: str, value: object
) -> None:
    """Answers are taken for those of a bundle by its name: of two exports of one checkpoint, say, with other words."""
    manifest = json.loads((int8_bundle / "manifest.json").read_text("utf-8"))
    before = Manifest.from_json(json.dumps(manifest)).bundle_id
    manifest[part][field] = value
    assert Manifest.from_json(json.dumps(manifest)).bundle_id != before


def sign(bundle: Path, name: str) -> None:
    """Makes the manifest say that the file is as it is now."""
    digest = hashlib.sha256((bundle / name).read_bytes()).hexdigest()
    change(bundle, lambda manifest: manifest["files"][name].update(sha256=digest))


def test_numbers_that_are_none_are_their_rows_error(bundle: Path) -> None:
    """One damaged embedding, which the rows of an export need not touch, gave "" from 5 to 4, and no error."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(bundle / "model.onnx"))
    (scales,) = (
        each for each in model.graph.initializer if each.name == "bert.embeddings.word_embeddings.weight/scales"
    )
    values = numpy_helper.to_array(scales).copy()
    values[Tokenizer.from_file(str(bundle / "tokenizer.json")).token_to_id("purple")] = np.nan
    scales.CopyFrom(numpy_helper.from_array(values, scales.name))
    onnx.save(model, str(bundle / "model.onnx"))
    sign(bundle, "model.onnx")
    good, bad = ("Who called?", "Ada called at noon."), ("Who is purple?", "Ada is purple at noon.")
    for top_k in (1, 3):
        before, error, after = Answerer.load(bundle).rank([good, bad, good], Decoding(top_k=top_k))
        assert error == (Answer.failure("the model gives no numbers for this row"),)
        assert before == after and len(before) == top_k


def test_a_token_beyond_the_embeddings_is_its_rows_error(bundle: Path) -> None:
    """Tokens were added to the tokenizer, and the model was not resized."""
    path = bundle / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_tokens(["zyxword"])
    tokenizer.save(str(path))
    sign(bundle, "tokenizer.json")
    good = "Who called?", "Ada called at noon."
    bad = "Who called?", "Ada called zyxword at noon. " * 300
    before, error, after = Answerer.load(bundle).answer([good, bad, good])
    assert error == Answer.failure("the model has no embedding for a token of this row")
    assert before == after
    assert before.error is None


def test_a_text_that_the_tokenizer_panics_at_is_its_rows_error(bundle: Path) -> None:
    """An added token that the normalizer leaves nothing of, which an export refuses now."""
    tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
    tokenizer.add_tokens([AddedToken("\u0301", normalized=True)])
    loaded = Bundle.open(bundle)
    windower = Windower(tokenizer, None, loaded.manifest.decoding)
    with pytest.raises(UnanswerableRowError, match="the tokenizer gave up on this row"):
        windower.windows("Who called?", "\u201cAda\u201d called.")
    assert windower.windows("Who called?", "Ada called.")


@pytest.mark.parametrize(
    "nothing",
    [
        "\u200b",
        "\ufeff\ufeff",
        "\u2060",
        "\xad",
        " \u200d\u2060\n",
        "\u3000\u200c",
        "\xad\u200b\ufeff\u2060",
        "\u200e\xa0",
    ],
)
def test_text_that_shows_as_nothing_is_empty(int8_bundle: Path, nothing: str) -> None:
    answers = Answerer.load(int8_bundle).answer([("Who?", nothing), (nothing, "Ada.")])
    assert list(answers) == [Answer.failure("empty context"), Answer.failure("empty question")]

"""What a checkpoint's folder may hold: refused by name before anything is loaded, or passed over."""

import json
import os
import random
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from export.checkpoint import find
from export.convert import convert, max_tokens
from export.evaluation import Row
from export.inspection import inspect
from export.pipeline import export
from export.request import ExportRequest
from export.thresholds import Thresholds
from runtime.errors import AnswermillError, ExportError
from tests.conftest import CHECKPOINT
from tests.export.test_export import export as export_command
from tests.export.test_export import refusal
from tests.support.families import write_checkpoint

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 90000000\n"
ROWS = [Row("Who is here?", "Ada is here, and Bob is there.", ())]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A copy of the shipped checkpoint, to spoil."""
    return shutil.copytree(CHECKPOINT, tmp_path / "checkpoint")


def change(path: Path, **fields: object) -> None:
    values = json.loads(path.read_text("utf-8")) if path.exists() else {}
    path.write_text(json.dumps({**values, **fields}), "utf-8")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("model.safetensors", POINTER, r"model\.safetensors is a Git LFS pointer .* run `git lfs pull` in"),
        ("tokenizer.json", POINTER, r"tokenizer\.json is a Git LFS pointer"),
        ("model.safetensors", b"", r"model\.safetensors is empty"),
        ("config.json", b'\xef\xbb\xbf{"a": 1}', r"config\.json begins with a byte order mark; save it as UTF-8"),
        ("config.json", '{"a": 1}'.encode("utf-16"), r"config\.json begins with a byte order mark"),
        ("tokenizer_config.json", b"\xef\xbb\xbf{}", r"tokenizer_config\.json begins with a byte order mark"),
        ("config.json", b'{"a": 1', r"config\.json is not JSON"),
        ("config.json", b'{"a": "\xff"}', r"config\.json is not JSON"),
        ("config.json", b"[" * 100_000, r"config\.json is not JSON"),
        ("config.json", b"[1]", r"config\.json is a list, not an object"),
        ("config.json", b"null", r"config\.json is null, not an object"),
        ("tokenizer_config.json", b"null", r"tokenizer_config\.json is null, not an object; download"),
        ("tokenizer_config.json", b"3", r"tokenizer_config\.json is a int, not an object"),
        ("tokenizer_config.json", b"[[1]]", r"tokenizer_config\.json is a list, not an object"),
        ("tokenizer.json", b'"x"', r"tokenizer\.json is a str, not an object"),
        ("config.json", b'{"architectures": "BertModel"}', r"architectures is not a list of names"),
        ("config.json", b'{"architectures": [3]}', r"architectures is not a list of names"),
        ("config.json", b"{}", r"checkpoint for another task \(an unnamed architecture\)"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named(
    checkpoint: Path, file: str, content: bytes, message: str
) -> None:
    (checkpoint / file).write_bytes(content)
    with pytest.raises(ExportError, match=message) as caught:
        find(str(checkpoint), None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "special_tokens_map.json", "vocab.txt"])
def test_a_folder_in_the_place_of_a_file_is_named(checkpoint: Path, file: str) -> None:
    (checkpoint / file).unlink(missing_ok=True)
    (checkpoint / file).mkdir()
    with pytest.raises(ExportError, match=f"{file} is a folder and not a file; download the checkpoint again"):
        find(str(checkpoint), None)


@pytest.mark.parametrize("value", [None, "512", 3.5, True, 0, -1, [512], {"a": 512}], ids=repr)
@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings"])
def test_a_size_that_is_not_a_whole_number_is_named(checkpoint: Path, key: str, value: object) -> None:
    change(checkpoint / "config.json", **{key: value})
    with pytest.raises(ExportError, match=rf"config\.json: {key} is .*; it must be a whole number above 0") as caught:
        find(str(checkpoint), None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [None, 3, ["bert"], {"bert": 1}], ids=repr)
def test_a_model_type_that_is_not_a_name_is_named(checkpoint: Path, value: object) -> None:
    change(checkpoint / "config.json", model_type=value)
    with pytest.raises(ExportError, match=r"config\.json: model_type is .*; it must be a name such as"):
        find(str(checkpoint), None)


def test_layers_that_the_config_does_not_count_are_not_left_out(checkpoint: Path, tmp_path: Path) -> None:
    """torch would leave them out too, so that every comparison with torch would pass."""
    change(checkpoint / "config.json", num_hidden_layers=3)
    with pytest.raises(ExportError, match=r"weights have layers that config\.json does not count, .*layer\.3\."):
        convert(find(str(checkpoint), None), tmp_path)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "README.md", "vocab.txt"])
def test_a_pipe_or_a_link_to_nowhere_is_named(checkpoint: Path, file: str) -> None:
    """A pipe would be waited for; a link of the hub's cache leads nowhere after a download that was cut off."""
    (checkpoint / file).unlink()
    os.mkfifo(checkpoint / file)
    with pytest.raises(ExportError, match=f"{file} is not a regular file; download the checkpoint again"):
        find(str(checkpoint), None)
    (checkpoint / file).unlink()
    (checkpoint / file).symlink_to("nowhere")
    with pytest.raises(ExportError, match=f"{file} is not a regular file; download the checkpoint again"):
        find(str(checkpoint), None)


@pytest.mark.parametrize("shards", [1, 3])
def test_a_pointer_in_the_place_of_any_weights_is_named(checkpoint: Path, shards: int) -> None:
    (checkpoint / "model.safetensors").unlink()
    for suffix in ("safetensors", "bin"):
        stem = "model" if suffix == "safetensors" else "pytorch_model"
        names = [f"{stem}-{part:05}-of-{shards:05}.{suffix}" for part in range(1, shards + 1)]
        for pointer in names:
            for name in names:
                (checkpoint / name).write_bytes(POINTER if name == pointer else b"weights")
            with pytest.raises(ExportError, match=f"{pointer} is a Git LFS pointer"):
                find(str(checkpoint), None)
        for name in names:
            (checkpoint / name).unlink()


@pytest.mark.parametrize("limit", ["x", -1, 0, None, [512], 0.5])
def test_a_longest_input_that_makes_no_sense_is_named(limit: object) -> None:
    config = SimpleNamespace(model_type="bert", max_position_embeddings=512)
    with pytest.raises(ExportError, match="do not say how long an input"):
        max_tokens(config, limit)  # type: ignore[arg-type]
    config = SimpleNamespace(model_type="roberta", max_position_embeddings=limit, pad_token_id=1)
    with pytest.raises(ExportError, match="do not say how long an input"):
        max_tokens(config, 512)


def test_missing_tokenizer_files_are_named(checkpoint: Path) -> None:
    for path in (*checkpoint.glob("tokenizer*"), *checkpoint.glob("vocab*")):
        path.unlink()
    with pytest.raises(ExportError, match=r"no tokenizer; put tokenizer\.json, vocab\.txt"):
        find(str(checkpoint), None)


def test_config_damaged_anywhere_never_ends_in_another_error(checkpoint: Path) -> None:
    """Bytes of config.json are changed and cut at random: the checkpoint is taken, or refused in one line."""
    draw = random.Random(17)
    whole = (checkpoint / "config.json").read_bytes()
    for _ in range(100):
        text = bytearray(whole[: draw.randrange(len(whole) // 2, len(whole) + 1)])
        for _ in range(draw.randrange(4)):
            text[draw.randrange(len(text))] = draw.randrange(256)
        (checkpoint / "config.json").write_bytes(text)
        try:
            inspect(checkpoint, "odd")
        except ExportError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "processor_config.json"])
def test_auto_map_is_refused_before_anything_is_loaded(checkpoint: Path, file: str) -> None:
    change(checkpoint / file, deeper=[{"auto_map": {"AutoConfig": "evil.Config"}}])
    with pytest.raises(ExportError, match=rf"{file} has an auto_map, .* never does; use a checkpoint whose"):
        find(str(checkpoint), None)


def test_code_of_a_checkpoint_is_not_run_whatever_stdin_says(checkpoint: Path, tmp_path: Path) -> None:
    change(checkpoint / "config.json", auto_map={"AutoConfig": "evil.Config"}, model_type="evil")
    (checkpoint / "evil.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')\n")
    done = export_command(checkpoint, "--output", tmp_path / "model", stdin="y\n" * 100)
    assert "config.json has an auto_map" in refusal(done)
    assert not (tmp_path / "mark").exists()


def test_a_token_called_auto_map_is_no_code(checkpoint: Path) -> None:
    change(checkpoint / "added_tokens.json", auto_map=5)
    assert find(str(checkpoint), None).licence == "apache-2.0"


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\ntitle: QA model: v2\nlanguage: [en\n---\n# hi\n", None),
        ("---\nlicense: mit\ntags:\n\t- qa\n---\n# hi\n", None),
        ("---\ndate: 2020-13-45\nlicense: mit\n---\n", None),
        ("---\n" + "[" * 1500 + "\n---\n", None),
        ("---\n- license\n---\n", None),
        ("---\nlicense: [mit, gpl]\n---\n", None),
        ('---\nlicense: "mit\\n\\n# forged"\n---\n', None),
        ("# no front matter\n", None),
        ("\ufeff---\r\nlicense: mit\r\n---\r\n", "mit"),
        ("---\nlicense: cc-by-sa-4.0\n---\n", "cc-by-sa-4.0"),
    ],
)
def test_front_matter_gives_a_licence_or_none(checkpoint: Path, card: str, licence: str | None) -> None:
    (checkpoint / "README.md").write_text(card, "utf-8", newline="")
    assert find(str(checkpoint), None).licence == licence


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint("distilbert", tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.mark.filterwarnings("ignore")
def test_a_token_beyond_the_embeddings_is_refused_by_name(tiny: Path, tmp_path: Path) -> None:
    """Or it would fail at run time, on the rows that hold it."""
    from transformers import AutoTokenizer

    folder = shutil.copytree(tiny, tmp_path / "extended")
    tokenizer = AutoTokenizer.from_pretrained(folder)  # type: ignore[no-untyped-call]
    tokenizer.add_tokens(["<case>", "<law>"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ExportError, match=r"has 2 tokens beyond the model's \d+ embeddings, the first is '<case>'"):
        export(find(str(folder), None), tmp_path / "model", ExportRequest(None, ROWS, Thresholds()))
    assert not (tmp_path / "model").exists()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("token", ["\u200b", "\u0301\u0302", "\u00ad"])
def test_an_added_token_that_normalizes_to_nothing_is_refused(tiny: Path, tmp_path: Path, token: str) -> None:
    """The library would find it before every letter, and panic beyond ASCII; both remedies work."""
    from transformers import AddedToken, AutoTokenizer

    folder = shutil.copytree(tiny, tmp_path / "extended")
    tokenizer = AutoTokenizer.from_pretrained(folder)  # type: ignore[no-untyped-call]
    tokenizer.add_tokens([AddedToken(token, normalized=True)])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ExportError, match=r"leaves nothing of the added token .* with id \d+, .*; remove the token"):
        convert(find(str(folder), None), tmp_path / "one")
    change_token(folder, token, normalized=False)
    # Of this checkpoint, which has no embedding for it, it is the next thing to be refused.
    with pytest.raises(ExportError, match="beyond the model's"):
        convert(find(str(folder), None), tmp_path / "two")
    change_token(folder, token)
    convert(find(str(folder), None), tmp_path / "three")


def change_token(folder: Path, token: str, **fields: object) -> None:
    """Changes an added token where the message says; without fields, removes it."""
    for name, key in (("tokenizer.json", "added_tokens"), ("tokenizer_config.json", "added_tokens_decoder")):
        values = json.loads((folder / name).read_text("utf-8"))
        kept = values.get(key, [])
        for place, each in list(enumerate(kept) if isinstance(kept, list) else kept.items())[::-1]:
            if each["content"] == token and fields:
                each.update(fields)
            elif each["content"] == token:
                del kept[place]
        (folder / name).write_text(json.dumps(values), "utf-8")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "fields",
    [
        {"max_position_embeddings": "many"},
        {"vocab_size": -3},
        {"n_heads": 7},
        {"model_type": "unheard-of"},
        {"dim": None},
    ],
)
def test_odd_values_of_a_config_end_in_one_line(tiny: Path, tmp_path: Path, fields: dict[str, object]) -> None:
    folder = shutil.copytree(tiny, tmp_path / "odd")
    change(folder / "config.json", **fields)
    with pytest.raises(AnswermillError) as caught:
        export(find(str(folder), None), tmp_path / "model", ExportRequest(None, ROWS, Thresholds()))
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value)


@pytest.mark.filterwarnings("ignore")
def test_weights_cut_short_end_in_one_line(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "short")
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ExportError, match=r"its weights cannot be loaded: .*; download the checkpoint again") as caught:
        export(find(str(folder), None), tmp_path / "model", ExportRequest(None, ROWS, Thresholds()))
    assert "\n" not in str(caught.value)

"""What a page says of the bundle that the answers come from: its manifest's figures, its card, the tokens it saw."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from runtime.errors import BundleError
from runtime.manifest import Manifest
from stages.csvs.answered import AnsweredRow
from stages.viewing.survey import cut

# Characters of a card that a page shows; those that export writes have some thousand.
CARD = 50_000


def bundle_data(folder: Path) -> dict[str, Any]:
    """The bundle for the page. Raises BundleError if the folder holds none."""
    manifest = read_manifest(folder)
    card = folder / "README.md"
    facts = dataclasses.asdict(manifest)
    return {
        "id": manifest.bundle_id,
        "card": cut(card.read_text("utf-8", "replace"), CARD) if card.is_file() else "",
        **{name: facts[name] for name in ("source", "architecture", "precision", "quantization", "verification")},
        "bytes": sum(file.size for file in manifest.files.values()),
    }


def read_manifest(folder: Path) -> Manifest:
    """The bundle's manifest. Raises BundleError."""
    try:
        return Manifest.from_json((folder / "manifest.json").read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleError(f"{folder}: no bundle; --model takes the folder that the answers were made with") from error


def token_counts(folder: Path, rows: Iterable[AnsweredRow]) -> list[int]:
    """Tokens that the model saw of each row, those of overlapping windows counted twice."""
    from runtime.bundle import Bundle
    from runtime.windows import UnanswerableRowError, Windower

    manifest = read_manifest(folder)
    windower = Windower(Bundle(folder, manifest).tokenizer(), manifest.inputs.cls_token_id, manifest.decoding)

    def tokens(row: AnsweredRow) -> int:
        try:
            return sum(window.ids.size for window in windower.windows(row.question, row.context))
        except UnanswerableRowError:
            return 0

    return [tokens(row) for row in rows]

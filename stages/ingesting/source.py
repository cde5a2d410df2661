"""What every source of tables offers: a listing of its objects, and a copy of each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Protocol

# How often an object is read that changes meanwhile, or arrives damaged, before it is given up.
TRIES = 5

Advance = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class SourceObject:
    """One object to mirror.

    Attributes:
        key: where it is, in the terms of its source.
        size: bytes; 0 if the source does not tell before it is read.
        version: what tells this state of it from any other; empty if nothing does.
        checksum: base64 of the CRC-32C that the bucket gives, empty if it gives none.

    """

    key: str
    size: int
    version: str = ""
    checksum: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a source holds.

    Attributes:
        objects: the objects that were wanted, by name relative to the source's URL, in bytewise order.
        others: how many objects were not wanted.

    """

    objects: dict[str, SourceObject]
    others: int = 0


class Source(Protocol):
    """A place with tables."""

    def list(self, wanted: Callable[[str], bool]) -> Listing:
        """Every object below the URL whose name is `wanted`; a URL of one object lists that one, whatever its name.

        Raises AnswermillError if there is nothing at the URL, or it cannot be listed in full.
        """

    def fetch(self, item: SourceObject, file: BinaryIO, advance: Advance) -> SourceObject | None:
        """Copies the object, whole and unchanged, into an empty file; tells `advance` how many bytes came.

        Returns what was copied: `item`, or the newer state that has replaced it; None if it is gone. Raises InputError
        if it is nothing that can be copied, AnswermillError if it cannot be had.
        """

"""Ends of lines and of files as Macintosh and DOS had them."""

import io


class ReturnLines(io.BufferedReader):
    """A stream whose lines end with a carriage return, as those of old Macintosh programs do."""

    def readline(self, size: int | None = -1, /) -> bytes:
        """The next line with its end, or what there is of it in `size` bytes."""
        most = -1 if size is None else size
        pieces: list[bytes] = []
        length = 0
        while length != most and (block := self.peek(1)):
            end = block.find(b"\r") + 1
            wanted = end or len(block)
            piece = self.read(wanted if most < 0 else min(wanted, most - length))
            pieces.append(piece)
            length += len(piece)
            if piece.endswith(b"\r"):
                break
        return b"".join(pieces)


class EndMark:
    """Takes Ctrl-Z, with which DOS ends a file, from the last line.

    Attributes:
        seen: whether there was one.

    """

    def __init__(self) -> None:
        self.seen = False

    def __call__(self, line: bytes) -> bytes:
        """The line without it."""
        text = line.rstrip(b"\x1a")
        self.seen = self.seen or text != line
        return text

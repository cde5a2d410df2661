"""A map of characters for the normalizer Precompiled, as SentencePiece compiles one."""

from collections.abc import Mapping
from struct import pack

# Of SentencePiece's nmt_nfkc: what it removes, takes for a blank, takes apart and joins.
SAMPLE = {
    **{chr(code): "" for code in (*range(1, 9), 0x0B, *range(0x0E, 0x20), 0x7F, 0x8F, 0x9F)},
    **dict.fromkeys("\t\n\x0c\r\xa0\u1680\u200b\u200e\u2028\u2581\u3000\ufeff\ufffd", " "),
    "\uff21": "A",
    "\ufb01": "fi",
    "e\u0301": "\xe9",
    "\u0e33": "\u0e4d\u0e32",
    "\ufe70": " \u064b",
    "\u2026": "...",
    "\u0149": "\u02bcn",
    "\uff9e": "\u3099",
    "\xb2": "2",
    # This one is not of it; as the beginning of a cluster it takes the blank along.
    "\u0d4e": "r",
}
_LEAF = 1 << 8
_VALUE = 1 << 31


def charsmap(texts: Mapping[str, str]) -> bytes:
    """The map as a double array of UTF-8 (its size in bytes, its units) and the texts that it leads to."""
    nodes: dict[bytes, int] = {}
    for text in texts:
        for end in range(len(text.encode()) + 1):
            nodes.setdefault(text.encode()[:end], len(nodes))
    # A node's children stand in 256 units of its own, each where its byte says, and its value in the first of them.
    units = [0] * (256 * (len(nodes) + 1))
    places = {key: 256 * (nodes[key[:-1]] + 1) + key[-1] if key else 0 for key in nodes}
    values, offset = {}, 0
    for text, normal in texts.items():
        values[text.encode()] = offset
        offset += len(normal.encode()) + 1
    for key, number in nodes.items():
        first = 256 * (number + 1)
        units[places[key]] = (places[key] ^ first) << 10 | (_LEAF if key in values else 0) | (key[-1] if key else 0)
        if key in values:
            units[first] = _VALUE | values[key]
    normals = "".join(f"{normal}\0" for normal in texts.values()).encode()
    return pack(f"<{len(units) + 1}I", 4 * len(units), *units) + normals

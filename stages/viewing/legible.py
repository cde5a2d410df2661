"""Makes texts of others, such as names, reasons and log lines, safe to show in a page."""

import re
from typing import Any

from runtime.logs import printable
from stages.viewing.survey import cut

# Characters of a text: a log line may be a megabyte.
LONGEST = 2_000
# These turn what follows the other way round: `gpj.exe` reads as `exe.jpg`.
_TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def legible(value: Any) -> Any:
    r"""Plain data whose texts, keys included, are cut and hold no character that is obeyed: `a\x1b[31m`, `\u202e`."""
    if isinstance(value, str):
        shown = printable(cut(value, LONGEST))
        return _TURNING.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), shown)
    if isinstance(value, dict):
        return {legible(name): legible(inner) for name, inner in value.items()}
    return [legible(inner) for inner in value] if isinstance(value, list) else value

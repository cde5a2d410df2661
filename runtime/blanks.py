"""Characters that show nothing."""

# Soft hyphens, zero-width characters, marks of direction, and BOMs.
UNSEEN = (
    "\xad\u034f\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e"
    "\u2060\u2061\u2062\u2063\u2064\u2066\u2067\u2068\u2069\ufeff"
)
# These and white space.
BLANK = "".join(chr(code) for code in range(0x3001) if chr(code).isspace()) + UNSEEN

"""Which rows belong to which parts of a file: against every pair of parts, compared row by row."""

import io

from hypothesis import given
from hypothesis import strategies as st

from stages.common.names import Origin
from stages.loading.copying import AnsweredCsv
from stages.loading.ranges import overlaps

PARTS = st.dictionaries(
    st.builds(Origin, st.sampled_from(["a.csv", "b.csv"]), st.integers(1, 12)), st.integers(0, 12), max_size=8
)


@given(PARTS)
def test_parts_that_share_a_row_overlap(parts: dict[Origin, int]) -> None:
    """Also where a long part reaches over a short one into the next."""
    csvs = [
        AnsweredCsv(origin.file, origin, io.BufferedReader(io.BytesIO()), rows=rows) for origin, rows in parts.items()
    ]
    rows = {origin: {*range(origin.first_row, origin.first_row + count)} for origin, count in parts.items()}
    shared = {
        one for one in parts for other in parts if one != other and one.file == other.file and rows[one] & rows[other]
    }
    assert overlaps(csvs) == shared

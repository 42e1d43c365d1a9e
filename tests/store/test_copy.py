"""Rows of COPY that are written column by column are the rows that are written one by one."""

from struct import Struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from store import copy

ROW = Struct(">hiqi3sii").pack
LONGS = st.integers(-(2**63), 2**63 - 1)
INTEGERS = st.integers(-(2**31), 2**31 - 1)


@given(st.lists(st.tuples(LONGS, st.binary(min_size=3, max_size=3), INTEGERS)))
def test_columns_put_into_rows_are_rows(values: list[tuple[int, bytes, int]]) -> None:
    rows = copy.row({"long": ">i8", "key": "V3", "integer": ">i4"}).repeat(len(values))
    rows["long"] = [one[0] for one in values]
    rows["key"] = np.frombuffer(b"".join([one[1] for one in values]), "V3")
    rows["integer"] = [one[2] for one in values]

    expected = [ROW(3, 8, long, 3, key, 4, integer) for long, key, integer in values]
    assert rows.tobytes() == b"".join(expected)
    assert copy.split(rows) == expected


def test_a_row_may_be_followed_by_what_has_no_one_width() -> None:
    row = copy.followed(copy.row({"long": ">i8"}, more=1), {"length": ">i4", "text": "V2"})
    row["long"], row["length"], row["text"] = 7, 2, np.void(b"ab")

    assert row.tobytes() == Struct(">hiqi2s").pack(2, 8, 7, 2, b"ab")
    assert copy.value_of(b"ab") == copy.text("ab") == Struct(">i2s").pack(2, b"ab")

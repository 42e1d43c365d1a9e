"""Rows of COPY that are written column by column are the rows that are written one by one."""

from struct import Struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import copy

ROW = Struct(">hiq3si").pack
LONGS = st.integers(-(2**63), 2**63 - 1)
INTEGERS = st.integers(-(2**31), 2**31 - 1)


@given(st.lists(st.tuples(LONGS, st.binary(min_size=3, max_size=3), INTEGERS)))
def test_columns_put_into_rows_are_rows(values: list[tuple[int, bytes, int]]) -> None:
    row = ROW(3, 8, 0, b"", 0)
    rows = bytearray(row * len(values))
    copy.put(rows, copy.packed(copy.LONG, [one[0] for one in values]), width=8, size=len(row), at=6)
    copy.put(rows, b"".join([b"??" + one[1] for one in values]), width=3, size=len(row), at=14, skip=2)
    copy.put(rows, copy.packed(copy.INTEGER, [one[2] for one in values]), width=4, size=len(row), at=17)

    expected = [ROW(3, 8, *one) for one in values]
    assert rows == b"".join(expected)
    assert copy.split(rows, len(row)) == tuple(expected)


def test_a_column_with_another_number_of_values_is_refused() -> None:
    rows = bytearray(20)
    with pytest.raises(ValueError, match="size"):
        copy.put(rows, bytes(16), width=8, size=20, at=0)

"""Adding up by columns is adding up one by one, exactly, however large numbers are and however many places."""

from decimal import Decimal
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating import number
from store import tally
from store.cell import Sum
from store.tally import Addends, Tally

# Alias, quarter hour, group, value.
Event: TypeAlias = tuple[int, int, str, Sum]

INTEGERS = st.one_of(st.integers(-9, 9), st.sampled_from([2**61, -(2**61), 2**62, -(2**63), 10**20 - 1]))
DECIMALS = st.decimals(-1, 1, places=18)
PIECES = st.lists(
    st.tuples(
        st.lists(
            st.tuples(
                st.sampled_from([1, 2, 300_000, 2**31 - 1]),
                st.sampled_from([0, 1, 1_964_000, 4_592_000]),
                st.sampled_from(["a", "b", "c"]),
                st.one_of(INTEGERS, DECIMALS),
            ),
            max_size=6,
        ),
        st.sampled_from([1, -1]),
    ),
    min_size=1,
    max_size=4,
)


def counted(events: list[Event], *, is_grouped: bool, is_sum: bool) -> Addends:
    texts = sorted({event[2] for event in events}) if is_grouped else []
    return Addends(
        aliases=np.array([event[0] for event in events], np.int32),
        slots=np.array([event[1] for event in events], np.int64),
        values=[event[3] for event in events] if is_sum else None,
        groups=np.array([texts.index(event[2]) if is_grouped else 0 for event in events], np.int64),
        texts=texts,
    )


def one_by_one(pieces: list[tuple[list[Event], int]], *, is_grouped: bool) -> dict[tally.Place, tuple[int, Sum]]:
    found: dict[tally.Place, tuple[int, Sum]] = {}
    for events, sign in pieces:
        for alias, slot, group, value in events:
            place = alias, slot, group if is_grouped else 0
            count, total = found.get(place, (0, 0))
            found[place] = count + sign, number.add(total, value) if sign > 0 else number.subtract(total, value)
    return found


@given(PIECES, st.booleans())
def test_adding_up_by_columns_is_adding_up_one_by_one(pieces: list[tuple[list[Event], int]], is_grouped: bool) -> None:
    sums, counts = Tally(), Tally()
    for events, sign in pieces:
        sums.add(counted(events, is_grouped=is_grouped, is_sum=True), sign=sign)
        counts.add(counted(events, is_grouped=is_grouped, is_sum=False), sign=sign)

    expected = one_by_one(pieces, is_grouped=is_grouped)
    assert {place: (count, total) for place, count, total in sums.cells()} == expected
    assert {place: (count, total) for place, count, total in counts.cells()} == {
        place: (count, None) for place, (count, _) in expected.items()
    }


@pytest.mark.parametrize("value", [2**61, -(2**61), 2**62, 2**63, -(2**63)])
def test_a_sum_never_runs_over(value: int) -> None:
    one = Tally()
    one.add(counted([(1, 1, "a", value)] * 5, is_grouped=False, is_sum=True), sign=1)

    assert list(one.cells()) == [((1, 1, 0), 5, 5 * value)]


@pytest.mark.parametrize("last", [2, 200_000, 2**31 - 1])
def test_numbers_that_lie_far_apart_take_no_room_between_them(last: int) -> None:
    names, places = tally._numbered(np.array([1, last]))

    assert len(names) < 200
    assert names[places].tolist() == [1, last]


def test_a_sum_stays_exact_where_numbers_of_the_machine_would_round() -> None:
    one = Tally()
    one.add(counted([(1, 1, "a", Decimal("0.1")), (1, 1, "a", 10**17)], is_grouped=False, is_sum=True), sign=1)

    assert list(one.cells()) == [((1, 1, 0), 2, Decimal("100000000000000000.1"))]

"""What does not add up: extremes, the last value, and levels over time."""

from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating import span
from rating.metric import ADDITIVE, Aggregation
from rating.span import Point, Span

SPANS = [one for one in Aggregation if one not in ADDITIVE]
POINTS = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 10**6), st.one_of(st.integers(-9, 9), st.decimals(-9, 9, places=3))),
    min_size=2,
    max_size=12,
    unique_by=lambda point: point[1],
)


@pytest.mark.parametrize("aggregation", SPANS)
@given(points=POINTS, share=st.floats(0, 1))
def test_parts_that_are_joined_are_the_whole(aggregation: Aggregation, points: list[Point], share: float) -> None:
    points = sorted(points)
    place = max(1, min(len(points) - 1, int(share * len(points))))
    old, new = span.span(aggregation, points[:place]), span.span(aggregation, points[place:])

    joined = span.join(aggregation, old, new)

    if joined is None:
        assert aggregation is Aggregation.WEIGHTED
        assert points[place][0] == points[place - 1][0]
    else:
        assert joined == span.span(aggregation, points)


@pytest.mark.parametrize("aggregation", SPANS)
@given(points=POINTS)
def test_a_span_stays_what_it_is_without_a_point_that_was_not_its_answer(
    aggregation: Aggregation, points: list[Point]
) -> None:
    whole = span.span(aggregation, points)
    for point in points:
        rest = [one for one in points if one != point]
        if not span.is_answer(aggregation, whole, [point]):
            assert span.span(aggregation, rest).total == whole.total


@given(points=POINTS, level=st.integers(-5, 5))
def test_an_area_is_the_sum_over_every_instant(points: list[Point], level: int) -> None:
    start, end = -3, 25
    expected = sum((level_at(points, instant, level) for instant in range(start, end)), Decimal(0))

    whole = span.area([span.span(Aggregation.WEIGHTED, points)], start=start, end=end, level=level)

    assert whole == expected


def level_at(points: Sequence[Point], instant: int, before: int) -> Decimal:
    past = [one for one in points if one[0] <= instant]
    return Decimal(max(past)[2] if past else before)


def test_levels_keep_all_their_digits() -> None:
    large = Decimal("99999999999999999999.999999999999999999")

    found = span.span(Aggregation.WEIGHTED, [(0, 1, large), (10**15, 2, 0)])

    assert found.total == Decimal("99999999999999999999999999999999999.999000")
    assert found == Span(events=2, total=found.total, first_at=0, last_at=10**15, last_no=2, level=0)


@pytest.mark.parametrize("aggregation", sorted(ADDITIVE))
def test_what_adds_up_has_no_span(aggregation: Aggregation) -> None:
    one = Span(events=1, total=1)
    for ask in (
        lambda: span.span(aggregation, [(0, 1, 1)]),
        lambda: span.join(aggregation, one, one),
        lambda: span.is_answer(aggregation, one, []),
    ):
        with pytest.raises(AssertionError):
            ask()

"""Folding is exact, and taking back undoes it."""

from decimal import Decimal
from typing import Any, TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from meter import fold
from meter.fold import Deltas
from rating.metric import Aggregation, Metric
from store import counter
from store.bucket import SLOT_MICROSECONDS


def metric(number: int, aggregation: Aggregation, of: str | None = None) -> Metric:
    return Metric(id="m", version=1, number=number, event_type="call", aggregation=aggregation, aggregation_property=of)


RULES = fold.rules(
    [metric(1, Aggregation.COUNT), metric(2, Aggregation.SUM, "n"), metric(3, Aggregation.UNIQUE, "user")]
)
NUMBERS = st.one_of(
    st.integers(-(10**20) + 1, 10**20 - 1).map(str), st.decimals(-1, 1, places=18).map(lambda d: f"{d:f}")
)
EVENTS = st.lists(
    st.tuples(
        st.just(1),
        st.integers(1, 2),
        st.sampled_from(["call", "other"]),
        st.integers(0, 3 * SLOT_MICROSECONDS),
        st.builds('{{"n":{},"user":"{}"}}'.format, NUMBERS, st.sampled_from("xyz")),
    ),
    max_size=20,
)


Event: TypeAlias = tuple[int, int, str, int, str]


def folded(events: list[Event], *, taken_back: list[Event] | None = None) -> Deltas:
    deltas = Deltas()
    fold.fold(deltas, RULES, account=1, events=fold.occurrences(events))
    fold.fold(deltas, RULES, account=1, events=fold.occurrences(taken_back or []), sign=-1)
    return deltas


def nonzero(found: dict[Any, Any]) -> dict[Any, Any]:
    return {key: value for key, value in found.items() if value not in (0, [0, 0], [0, None])}


def test_each_metric_has_cells_of_its_own() -> None:
    events = ['{"n":2,"user":"x"}', '{"n":0.5}']

    deltas = folded([(number, 7, "call", SLOT_MICROSECONDS, text) for number, text in enumerate(events)])

    assert deltas.cells() == {
        (1, 1, 7, 1, 0): [2, None],
        (1, 2, 7, 1, 0): [2, Decimal("2.5")],
        (1, 3, 7, 1, 0): [1, None],
    }
    assert deltas.members == {(1, 3, 7, 1, 0, "x"): 1}


def test_events_of_other_types_are_not_even_read() -> None:
    assert folded([(1, 7, "other", 0, "not json")]).cells() == {}


@given(EVENTS)
def test_taking_back_what_was_added_leaves_nothing(events: list[Event]) -> None:
    deltas = folded(events, taken_back=events[::-1])

    assert nonzero(deltas.cells()) == nonzero(deltas.members) == {}


@given(EVENTS, EVENTS)
def test_what_is_taken_back_might_as_well_not_have_been_there(kept: list[Event], gone: list[Event]) -> None:
    deltas, expected = folded(kept + gone, taken_back=gone), folded(kept)

    assert nonzero(deltas.cells()) == nonzero(expected.cells())
    assert nonzero(deltas.members) == expected.members


def test_values_are_kept_as_they_are_or_by_their_hash() -> None:
    assert counter.member_value("ä" * 256) == "ä" * 256
    assert counter.member_value("ä" * 257) == counter.member_value("ä" * 257) != counter.member_value("ä" * 258)
    # Nobody can name the hash of another value.
    assert counter.member_value(counter.member_value("ä" * 257)) != counter.member_value("ä" * 257)


@given(EVENTS, EVENTS)
def test_what_comes_after_some_was_added_up_counts_as_well(some: list[Event], others: list[Event]) -> None:
    deltas = Deltas()
    for events in (some, others):
        fold.fold(deltas, RULES, account=1, events=fold.occurrences(events))
        deltas.cells()

    assert deltas.cells() == folded(some + others).cells()

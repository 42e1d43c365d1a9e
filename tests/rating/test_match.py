"""Why a metric leaves an event uncounted is said in words, and never differs from what counting does."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating import metric
from rating.match import Match, Miss, Reason, match
from rating.metric import Aggregation, Bound, Metric


def how(aggregation: str = "COUNT", of: str | None = None, **changes: Any) -> Metric:
    return Metric(
        id="m",
        version=1,
        number=1,
        event_type="call",
        aggregation=Aggregation(aggregation),
        aggregation_property=of,
        **changes,
    )


def filtered(*, negated: tuple[str, ...] = (), is_case_sensitive: bool = True, **values: list[str]) -> Metric:
    filters = metric.filters(values, negated=negated, is_case_sensitive=is_case_sensitive)
    return how(filters=filters, is_case_sensitive=is_case_sensitive)


@pytest.mark.parametrize(
    ("one", "properties", "adds"),
    [
        pytest.param(how(), {}, "1", id="count"),
        pytest.param(how("SUM", "n"), {"n": 5}, "5", id="whole number"),
        pytest.param(how("SUM", "n"), {"n": "2.50"}, "2.5", id="number in a text"),
        pytest.param(how("UNIQUE", "u"), {"u": True}, "true", id="text"),
        pytest.param(filtered(model=["a", "b"]), {"model": "b"}, "1", id="filter"),
        pytest.param(how(bounds=(Bound("n", "gte", Decimal(3)),)), {"n": 3}, "1", id="bound"),
    ],
)
def test_what_is_counted_says_what_it_adds(one: Metric, properties: dict[str, Any], adds: str) -> None:
    assert match(one, "call", properties) == Match(adds)


@pytest.mark.parametrize(
    ("one", "properties", "reason", "name", "says"),
    [
        pytest.param(
            filtered(model=["a"]),
            {"model": "b"},
            Reason.FILTER,
            "model",
            "'b'; the metric wants one of: a",
            id="filter",
        ),
        pytest.param(filtered(model=["a"]), {}, Reason.FILTER, "model", "not there", id="filter on nothing"),
        pytest.param(
            filtered(negated=("model",), model=["a"]),
            {"model": "a"},
            Reason.FILTER,
            "model",
            "none of: a",
            id="negated",
        ),
        pytest.param(
            how(bounds=(Bound("n", "gt", Decimal("3.0")),)), {"n": 3}, Reason.FILTER, "n", "a number gt 3", id="bound"
        ),
        pytest.param(how("SUM", "n"), {}, Reason.PROPERTY_MISSING, "n", "no property `n`", id="missing"),
        pytest.param(how("SUM", "n"), {"n": None}, Reason.PROPERTY_MISSING, "n", "no property `n`", id="null"),
        pytest.param(how("SUM", "n"), {"n": "many"}, Reason.NOT_A_NUMBER, "n", "'many'", id="text"),
        pytest.param(how("SUM", "n"), {"n": True}, Reason.NOT_A_NUMBER, "n", "'true'", id="boolean"),
    ],
)
def test_what_is_not_counted_says_why(
    one: Metric, properties: dict[str, Any], reason: Reason, name: str, says: str
) -> None:
    found = match(one, "call", properties)

    assert isinstance(found, Miss)
    assert (found.reason, found.property) == (reason, name)
    assert says in found.message


def test_another_type_is_said_first() -> None:
    found = match(filtered(model=["a"]), "chat", {})

    assert isinstance(found, Miss)
    assert (found.reason, found.message) == (Reason.EVENT_TYPE, "The metric counts events of type `call`.")


VALUES = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from(["a", "A", "b", "7", "x y"]))
METRICS = st.builds(
    lambda aggregation, accepted, negated, is_case_sensitive, bounds: how(
        aggregation,
        None if aggregation == "COUNT" else "p",
        filters=metric.filters(accepted, negated=negated, is_case_sensitive=is_case_sensitive),
        is_case_sensitive=is_case_sensitive,
        bounds=tuple(Bound("q", comparison, Decimal(2)) for comparison in bounds),
    ),
    st.sampled_from(list(Aggregation)),
    st.dictionaries(st.sampled_from("pq"), st.lists(st.sampled_from(["a", "b", "7", "true"]), min_size=1)),
    st.sets(st.sampled_from("pq")),
    st.booleans(),
    st.lists(st.sampled_from(list(metric.COMPARISONS)), max_size=2),
)


@given(METRICS, st.dictionaries(st.sampled_from("pqr"), VALUES))
def test_words_and_counting_agree(one: Metric, properties: dict[str, Any]) -> None:
    is_counted = metric.counted(one, properties) is not None

    assert isinstance(match(one, "call", properties), Match) == is_counted

"""Which events a metric counts, and what each adds."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rating import metric
from rating.metric import Aggregation, Counted, Filter, Metric


def counting(
    aggregation: Aggregation = Aggregation.COUNT,
    *,
    of: str | None = None,
    ignoring_case: bool = False,
    **accepted: list[str],
) -> Metric:
    """A metric whose filters are keywords; `not_plan=["free"]` is negated."""
    values = {name.removeprefix("not_"): texts for name, texts in accepted.items()}
    negated = {name.removeprefix("not_") for name in accepted if name.startswith("not_")}
    return Metric(
        id="m",
        version=1,
        number=1,
        event_type="call",
        aggregation=aggregation,
        aggregation_property=of,
        filters=metric.filters(values, negated=negated, is_case_sensitive=not ignoring_case),
        is_case_sensitive=not ignoring_case,
    )


def test_count_adds_one_per_event() -> None:
    assert metric.counted(counting(), {}) == 1


@pytest.mark.parametrize(
    ("value", "added"),
    [
        (5, 5),
        (Decimal("0.000000000000000001"), Decimal("0.000000000000000001")),
        ("12.50", Decimal("12.50")),
        ("-3", Decimal(-3)),
        ("007", Decimal(7)),
        ("99999999999999999999.999999999999999999", Decimal("99999999999999999999.999999999999999999")),
        ("1e3", None),
        ("1,5", None),
        ("+1", None),
        (" 1", None),
        ("1.", None),
        ("100000000000000000000", None),
        ("0.1234567890123456789", None),
        ("٣", None),
        ("twelve", None),
        ("", None),
        (True, None),
        (None, None),
    ],
)
def test_sum_takes_numbers_and_plain_decimal_strings(value: object, added: Counted | None) -> None:
    assert metric.counted(counting(Aggregation.SUM, of="tokens"), {"tokens": value}) == added


def test_sum_leaves_an_event_without_the_property_uncounted() -> None:
    assert metric.counted(counting(Aggregation.SUM, of="tokens"), {"other": 1}) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [("Ann", "Ann"), ("", ""), (42, "42"), ("42", "42"), (Decimal("1.50"), "1.5"), (True, "true"), (None, None)],
)
def test_unique_tells_values_apart_by_their_text(value: object, text: str | None) -> None:
    assert metric.counted(counting(Aggregation.UNIQUE, of="user"), {"user": value}) == text


@pytest.mark.parametrize(
    ("of", "properties", "is_counted"),
    [
        (counting(plan=["pro", "team"]), {"plan": "team"}, True),
        (counting(plan=["pro", "team"]), {"plan": "free"}, False),
        (counting(plan=["pro"], region=["eu"]), {"plan": "pro", "region": "eu"}, True),
        (counting(plan=["pro"], region=["eu"]), {"plan": "pro", "region": "us"}, False),
        (counting(plan=["pro"]), {}, False),
        (counting(plan=["pro"]), {"plan": None}, False),
        (counting(plan=["pro"]), {"plan": "PRO"}, False),
        (counting(plan=["Pro"], ignoring_case=True), {"plan": "pRO"}, True),
        (counting(street=["STRASSE"], ignoring_case=True), {"street": "straße"}, True),
        (counting(not_plan=["free"]), {"plan": "pro"}, True),
        (counting(not_plan=["free"]), {"plan": "free"}, False),
        (counting(not_plan=["free"]), {}, True),
        (counting(not_plan=["free"], region=["eu"]), {"plan": "pro", "region": "us"}, False),
        (counting(status=["200"]), {"status": 200}, True),
        (counting(status=["0.5"]), {"status": Decimal("0.5")}, True),
        (counting(cached=["true"]), {"cached": True}, True),
        (counting(cached=["1"]), {"cached": True}, False),
    ],
)
def test_filters_are_alternatives_inside_and_conditions_across(
    of: Metric, properties: dict[str, object], is_counted: bool
) -> None:
    assert (metric.counted(of, properties) == 1) == is_counted


def test_filters_come_in_one_order_whatever_the_callers() -> None:
    one = metric.filters({"b": ["x"], "a": ["y"]}, negated=["b"], is_case_sensitive=True)

    assert one == (Filter("a", frozenset(["y"]), False), Filter("b", frozenset(["x"]), True))


def test_properties_are_read_exactly() -> None:
    assert metric.decode_properties('{"a":0.1,"b":123456789012345678901234567890}') == {
        "a": Decimal("0.1"),
        "b": 123456789012345678901234567890,
    }


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        ((), ""),
        ((None,), ""),
        (("",), ""),
        (("eu",), "eu"),
        (("eu", "small"), "eu / small"),
        (("eu", None), "eu / "),
        ((None, "small"), " / small"),
        ((None, None), ""),
    ],
)
def test_a_group_has_a_name(texts, name):
    assert metric.group_name(texts) == name


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        pytest.param(counting(), 1, id="COUNT"),
        pytest.param(counting(Aggregation.SUM, of="amount"), Decimal(500), id="SUM"),
        pytest.param(counting(Aggregation.UNIQUE, of="method"), "bank_transfer", id="UNIQUE"),
        pytest.param(counting(Aggregation.SUM, of="amount", method=["card_payment"]), None, id="filtered out"),
        pytest.param(counting(method=["Bank_Transfer"]), None, id="case matters"),
    ],
)
def test_case_70_what_each_metric_takes_of_an_event(one: Metric, expected: Counted | None) -> None:
    assert metric.counted(one, {"amount": 500, "currency": "GBP", "method": "bank_transfer"}) == expected


@pytest.mark.parametrize(("channel", "counts"), [("push", 1), ("text", None), ("email", None), (None, 1)])
def test_case_71_a_negated_filter_takes_all_but_its_values(channel: str | None, counts: Counted | None) -> None:
    one = counting(not_channels=["text", "email"])

    assert metric.counted(one, {"channels": channel}) == counts


ENCODER = msgspec.json.Encoder(decimal_format="number")
VALUES = st.sampled_from([0, 1, -3, True, False, None, "", "1", "2.50", "eu", "EU", Decimal("1.5"), 10**19])
PROPERTIES = st.lists(st.dictionaries(st.sampled_from("abc"), VALUES), max_size=6)
METRICS = st.builds(
    counting, st.sampled_from(Aggregation), of=st.just("a"), b=st.sampled_from([["eu"], ["1", "true"]])
) | st.builds(counting, st.sampled_from(Aggregation), of=st.just("a"))


@pytest.mark.parametrize("name", ["n", "a b", 'a"b', "a\\b", "a\tb", "ä", "field_0", "class", ""])
def test_a_property_of_any_name_is_a_column(name: str) -> None:
    lines = b"".join([msgspec.json.encode(one) + b"\n" for one in ({name: 1, "z": [0]}, {}, {name: None})])

    assert metric.columns(lines, frozenset({name})) == {name: [1, None, None]}


def test_numbers_of_a_column_are_exact() -> None:
    found = metric.columns(b'{"n":0.1}\n{"n":99999999999999999999}\n', frozenset({"n"}))

    assert found == {"n": [Decimal("0.1"), 99999999999999999999]}


def columns(many: list[dict[str, object]], names: frozenset[str]) -> metric.Columns:
    lines = b"".join([ENCODER.encode(one) + b"\n" for one in many])
    return metric.columns(lines, names)


@given(METRICS, PROPERTIES)
@example(counting(of="a"), [{"a": 0}])
def test_many_events_count_as_one_by_one(of: Metric, many: list[dict[str, object]]) -> None:
    found = metric.counted_all(of)(columns(many, of.names), len(many))
    expected = [metric.counted(of, one) for one in many]
    assert [(type(one), one) for one in found] == [(type(one), one) for one in expected]


@given(st.sampled_from([("a",), ("a", "b"), ("c", "a", "b")]), PROPERTIES)
def test_many_events_are_grouped_as_one_by_one(names: tuple[str, ...], many: list[dict[str, object]]) -> None:
    numbers, texts = metric.groups(names, columns(many, frozenset(names)))

    assert [texts[number] for number in numbers] == [metric.group(names, one) for one in many]
    assert len({*texts}) == len(texts)

"""Explanations: every line carries its arithmetic as JSON that reads the same for ever."""

import json
import typing
from decimal import Decimal, localcontext

import pytest

from rating import explanation, number
from rating.explanation import TierUsage
from rating.price import Commitment
from rating.usage import Usage
from tests.build import (
    billed,
    cash,
    discount,
    fixed,
    graduated,
    linear,
    minimum,
    one_time,
    package,
    price,
    schedule,
    seats,
    units,
    volume,
)

READING = {
    "metricId": "calls",
    "metricVersion": 1,
    "period": {"start": "2025-01-14", "end": "2025-02-01"},
    "eventCount": 1,
    "quantity": "125",
}
FIRST = {"tier": 1, "over": "0", "upTo": "100"}
SECOND = {"tier": 2, "over": "100", "upTo": None}


def explained(structure):
    bill = billed(schedule(price(structure), start="2025-01-14"), "2025-02-01", calls="125")
    return [line.explanation for line in bill.lines()]


@pytest.mark.parametrize(
    ("structure", "expected"),
    [
        (
            fixed("500.00"),
            [{"kind": "FIXED", "price": "500", "days": 18, "fullDays": 31, "amount": "290.322580645161290322580645"}],
        ),
        (
            linear("0.00000010"),
            [{"kind": "LINEAR", "reading": READING, "rate": "0.0000001", "amount": "0.0000125"}],
        ),
        (
            graduated("0-100 @ 1.00 + 20, then 0.75 + 50"),
            [
                {"kind": "TIER", "reading": READING, **FIRST, "units": "100", "rate": "1", "amount": "100"},
                {"kind": "TIER_FEE", "reading": READING, **FIRST, "amount": "20"},
                {"kind": "TIER", "reading": READING, **SECOND, "units": "25", "rate": "0.75", "amount": "18.75"},
                {"kind": "TIER_FEE", "reading": READING, **SECOND, "amount": "50"},
            ],
        ),
    ],
    ids=["fixed", "linear", "graduated"],
)
def test_the_arithmetic_is_kept_as_json(structure, expected):
    assert [json.loads(explanation.encode(item)) for item in explained(structure)] == expected


def everything():
    """A bill with a line of nearly every kind."""
    prices = (
        price(fixed("500"), id="fixed"),
        price(linear("0.0000001"), id="linear"),
        price(linear("1"), id="committed", commitment=Commitment(Decimal(50), Decimal("0.5"))),
        price(linear("1"), id="short", commitment=Commitment(Decimal(5000), Decimal("0.5"))),
        price(linear("1"), id="capped", maximum=Decimal(10), minimum=Decimal(10)),
        price(graduated("0-100 @ 1 + 20, then 0.000000001"), id="graduated"),
        price(volume("0-100 @ 1 + 20, then 0.75 + 50"), id="volume"),
        price(volume("then 0.02", low="1"), id="events"),
        price(package("250 @ 10"), id="package"),
        price(seats("0-15 @ 12 + 3, then 15"), id="seats"),
        price(one_time("9"), id="once"),
    )
    usage = Usage(Decimal(125), 1, 1, amounts={Decimal(125): 1}, customers={"x": Decimal(125)})
    terms = {
        "discounts": (discount("10 %", "fixed", separate=False), discount("5")),
        "minimums": (minimum("90000"),),
    }
    return billed(
        schedule(*prices, start="2025-01-14", **terms),
        "2025-02-01",
        calls=usage,
        seats="2025-01-20 20",
        grants=(cash("5"), units("3")),
    )


def test_what_was_kept_is_read_back():
    items = [line.explanation for line in everything().lines()]

    assert [explanation.decode(explanation.encode(item)) for item in items] == items
    kinds = {json.loads(explanation.encode(item))["kind"] for item in items}
    assert kinds == {
        *("FIXED", "REDUCED", "LINEAR", "COMMITTED", "OVERAGE", "SHORTFALL", "MAXIMUM", "TIER", "TIER_FEE", "VOLUME"),
        *("EVENT_FEES", "PACKAGE", "SEATS", "SEAT_FEE", "ONE_TIME", "DISCOUNT", "TRUE_UP", "CREDIT"),
    } - {"FIXED"}


def test_a_bill_with_everything_does_not_depend_on_the_callers_context():
    expected = number.to_json(everything())
    with localcontext(prec=2):
        found = everything()

    assert number.to_json(found) == expected


def test_a_line_keeps_less_than_two_kilobytes():
    for line in everything().lines():
        assert len(explanation.encode(line.explanation)) < 500
        assert len(number.to_json(line)) < 2000


def test_every_kind_is_drawn_in_the_modules_docstring():
    for kind in typing.get_args(explanation.Explanation):
        assert f'"{kind.__struct_config__.tag}"' in (explanation.__doc__ or "")


def test_an_explanation_can_be_computed_with():
    first, second = explained(graduated("0-100 @ 1.00, then 0.75"))

    assert isinstance(second, TierUsage)
    assert first.units + second.units == second.reading.quantity == Decimal(125)

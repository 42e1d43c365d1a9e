"""Explanations: every line carries its arithmetic as JSON that reads the same for ever."""

import json
from decimal import Decimal

import pytest

from rating import explanation
from rating.explanation import TierUsage
from tests.build import billed, fixed, graduated, linear, price, schedule

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


@pytest.mark.parametrize(
    "structure", [fixed("500"), linear("0.0000001"), graduated("0-100 @ 1 + 20, then 0.000000001")]
)
def test_what_was_kept_is_read_back(structure):
    items = explained(structure)

    assert [explanation.decode(explanation.encode(item)) for item in items] == items


def test_an_explanation_can_be_computed_with():
    first, second = explained(graduated("0-100 @ 1.00, then 0.75"))

    assert isinstance(second, TierUsage)
    assert first.units + second.units == second.reading.quantity == Decimal(125)

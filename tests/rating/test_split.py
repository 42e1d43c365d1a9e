"""Splitting a period: a border at any day changes what is owed by rounding alone, whatever follows the days.

What does not follow the days is no sum of parts: one-time and flat fees, tiers that begin anew, the most seats.
"""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating.phase import Phase
from rating.price import Commitment, Price
from tests.build import billed, discount, fixed, linear, minimum, phase, phased, price, schedule, seats, usd

FEBRUARY = "2025-02-01"
PLENTY = str(10**9)
HISTORY = "2024-12-01 3, 2025-01-05 40, 2025-01-17 0, 2025-01-18 11, 2025-01-30 12"

borders = st.integers(2, 31).map(lambda day: f"2025-01-{day:02}")
amounts = st.decimals(0, 10**6, places=2)


def total(*phases, **given):
    """Of the bills of January, in cents."""
    contract = phased(*phases)
    return sum(billed(contract, str(one.end), **given).total().amount_minor for one in phases)


def fee(amount):
    return (price(fixed(amount)),), {}


def percentage(amount, *, separate):
    return (price(fixed(amount)),), {"discounts": (discount("8.55 %", separate=separate),)}


def nominal(amount, *, separate):
    return (price(fixed(PLENTY)),), {"discounts": (discount(amount, separate=separate),)}


def floor(amount):
    return (price(linear("0")),), {"minimums": (minimum(amount),)}


def plan_floor(amount):
    return (price(linear("0")),), {"plan_minimum": Decimal(amount)}


def ceiling(amount):
    return (price(linear("1", metric="plenty"), maximum=Decimal(amount)),), {}


def commitment(amount):
    return (price(linear("0"), commitment=Commitment(Decimal(amount), Decimal(0))),), {}


@pytest.mark.parametrize(
    ("terms", "roundings"),
    [
        pytest.param(fee, 1, id="a fee"),
        pytest.param(lambda amount: percentage(amount, separate=True), 2, id="a percentage off"),
        pytest.param(lambda amount: percentage(amount, separate=False), 1, id="a rate lowered by a percentage"),
        pytest.param(lambda amount: nominal(amount, separate=True), 2, id="an amount off"),
        pytest.param(lambda amount: nominal(amount, separate=False), 2, id="a rate lowered by an amount"),
        pytest.param(floor, 1, id="a minimum"),
        pytest.param(plan_floor, 1, id="a minimum of the plan"),
        pytest.param(ceiling, 1, id="a maximum"),
        pytest.param(commitment, 1, id="a commitment"),
    ],
)
@given(amounts, borders)
def test_a_border_changes_the_sum_by_rounding_alone(terms, roundings, amount, border):
    prices, others = terms(str(amount))
    used = {"calls": "0", "plenty": PLENTY}
    whole = total(phase(*prices, start="2025-01-01", end=FEBRUARY, **others), **used)
    parts = total(*split(prices, border, **others), **used)

    assert abs(parts - whole) <= roundings


def split(prices: tuple[Price, ...], border: str, **terms: object) -> tuple[Phase, Phase]:
    return (
        phase(*prices, start="2025-01-01", end=border, **terms),
        phase(*prices, start=border, end=FEBRUARY, **terms),
    )


@given(amounts, borders)
def test_seats_that_are_charged_by_the_day_are_the_same_on_both_sides(amount, border):
    prices = (price(seats(str(amount), strategy="PRORATE_ALL_CHANGES")),)
    whole = total(phase(*prices, start="2025-01-01", end=FEBRUARY), seats=HISTORY)
    parts = total(*split(prices, border), seats=HISTORY)

    # Each seat or group of seats that came or went together is a line: never more than the changes there are.
    assert abs(parts - whole) <= len(HISTORY.split(", "))


@given(amounts, amounts, borders)
def test_usage_is_priced_on_the_side_where_it_was(before, after, border):
    used = {"2025-01-01": str(before), border: str(after)}
    prices = (price(linear("0.37")),)
    whole = total(phase(*prices, start="2025-01-01", end=FEBRUARY), calls=used)

    assert abs(total(*split(prices, border), calls=used) - whole) <= 1


@given(amounts, borders)
def test_two_contracts_that_meet_are_one(amount, border):
    before = billed(schedule(price(fixed(str(amount))), end=border), border).total()
    after = billed(schedule(price(fixed(str(amount))), start=border), FEBRUARY).total()

    assert abs((before + after - usd(str(amount))).amount_minor) <= 1

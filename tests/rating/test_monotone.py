"""Who uses more never pays less, where a price says so: on both sides of every border and far from any.

Volume prices may fall where a cheaper tier is reached, and units of credit pay whole minor units of what they cost.
"""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating.price import Commitment
from tests.build import (
    billed,
    cash,
    discount,
    fixed,
    graduated,
    linear,
    minimum,
    package,
    price,
    schedule,
    seats,
    volume,
)

FEBRUARY = "2025-02-01"
LADDER = "0-100 @ 1.00 + 20, 100-5000.5 @ 0 + 1, 5000.5-90000 @ 2.345, then 0.0001"
BORDERS = (0, 7, 10, 100, 714, 5_000, 90_000)

near = st.tuples(st.sampled_from(BORDERS), st.decimals(0, 15, places=3)).map(sum)
quantities = st.one_of(near, st.decimals(0, 10**7, places=3))


def cents(contract, calls, **given):
    return billed(contract, FEBRUARY, calls=str(calls), **given).total().amount_minor


@given(quantities, quantities)
@pytest.mark.parametrize(
    ("structure", "terms"),
    [
        pytest.param(linear("0.001"), {}, id="LINEAR"),
        pytest.param(linear("0.7"), {"commitment": Commitment(Decimal(500), Decimal("0.08"))}, id="LINEAR, committed"),
        pytest.param(linear("0.7"), {"minimum": Decimal(70), "maximum": Decimal(3500)}, id="LINEAR, bounded"),
        pytest.param(package("7 @ 3"), {}, id="PACKAGE"),
        pytest.param(graduated(LADDER), {}, id="GRADUATED"),
        pytest.param(volume("then 0.5 + 1"), {}, id="VOLUME, one tier"),
        pytest.param(volume("0-10 @ 0.5, then 0.5 + 3"), {}, id="VOLUME, dearer above"),
    ],
)
def test_more_usage_never_costs_less(structure, terms, one, other):
    contract = schedule(price(structure, **terms))
    less, more = sorted((one, other))

    assert cents(contract, less) <= cents(contract, more)


amounts, percents = st.decimals(0, 900, places=2), st.decimals(0, 100, places=2)


@given(quantities, quantities, st.tuples(percents, amounts, amounts, amounts), st.booleans())
def test_nor_does_it_after_discounts_minimums_and_money_on_account(one, other, terms, separate):
    percent, off, floor, balance = terms
    contract = schedule(
        price(graduated(LADDER), id="a"),
        price(fixed("9.99"), id="b"),
        discounts=(discount(f"{percent} %", "a"), discount(str(off), separate=separate)),
        minimums=(minimum(str(floor), "a"),),
        plan_minimum=floor + 100,
    )
    account = {"grants": (cash(str(balance)),)}
    less, more = sorted((one, other))

    assert cents(contract, less, **account) <= cents(contract, more, **account)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 31))
@pytest.mark.parametrize("strategy", ["USE_MAXIMUM", "PRORATE_INCREMENTS", "PRORATE_ALL_CHANGES"])
def test_nor_do_more_seats(strategy, one, other, on):
    contract = schedule(price(seats("0-15 @ 12 + 5, 15-40 @ 0, then 15", strategy=strategy, minimum=10)))
    histories = [f"2025-01-01 5, 2025-01-{on:02} {held}" for held in sorted((one, other))]
    less, more = (billed(contract, FEBRUARY, seats=history).total().amount_minor for history in histories)

    # A day's share of each tier is rounded.
    assert less <= more + 3


@given(quantities, amounts, st.decimals(0, 100, places=2))
def test_a_commitment_is_a_floor_and_never_cheaper_for_more(quantity, amount, overage_rate):
    contract = schedule(price(linear("0.7"), commitment=Commitment(amount, overage_rate)))
    paid = cents(contract, quantity)

    assert paid >= int(amount * 100)
    assert paid <= cents(contract, quantity + 1)

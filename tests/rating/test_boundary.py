"""Borders of every kind of price: a little below, on it and a little above. A border belongs to what lies below it."""

from collections import Counter
from decimal import Decimal

import pytest

from rating.period import Frequency
from rating.price import Commitment, PricingType, Volume
from rating.tier import VolumeTier
from rating.usage import Usage
from tests.build import billed, graduated, linear, minimum, package, price, schedule, seats, volume

FEBRUARY = "2025-02-01"
LADDER = "0-100 @ 1 + 20, 100-200 @ 0.50, then 0.25 + 50"
FREE_FIRST = "0-100 @ 0, then 1.50"

USAGE = [
    pytest.param(linear("0.0000025"), {}, "1999 2000 2001", "0.00 0.01 0.01", id="LINEAR, half a cent"),
    pytest.param(linear("1"), {"minimum": Decimal(500)}, "499 500 501", "500.00 500.00 501.00", id="LINEAR, minimum"),
    pytest.param(linear("1"), {"maximum": Decimal(500)}, "499 500 501", "499.00 500.00 500.00", id="LINEAR, maximum"),
    pytest.param(
        linear("0.10"),
        {"commitment": Commitment(Decimal(500), Decimal("0.08"))},
        "4990 5000 5010",
        "500.00 500.00 500.80",
        id="LINEAR, commitment",
    ),
    pytest.param(package("250 @ 10"), {}, "249.999 250 250.001", "10.00 10.00 20.00", id="PACKAGE, size"),
    pytest.param(package("250 @ 10"), {}, "499.999 500 500.001", "20.00 20.00 30.00", id="PACKAGE, second"),
    pytest.param(package("1 @ 1"), {"minimum": Decimal(20)}, "19 20 20.1", "20.00 20.00 21.00", id="PACKAGE, minimum"),
    pytest.param(package("1 @ 1"), {"maximum": Decimal(20)}, "19 20 20.1", "19.00 20.00 20.00", id="PACKAGE, maximum"),
    pytest.param(graduated(LADDER), {}, "99 100 101", "119.00 120.00 120.50", id="GRADUATED, first tier"),
    pytest.param(graduated(LADDER), {}, "199 200 201", "169.50 170.00 220.25", id="GRADUATED, second tier"),
    pytest.param(graduated(FREE_FIRST), {}, "99 100 101", "0.00 0.00 1.50", id="GRADUATED, free units"),
    pytest.param(
        graduated(LADDER), {"minimum": Decimal(120)}, "99 100 101", "120.00 120.00 120.50", id="GRADUATED, minimum"
    ),
    pytest.param(
        graduated(LADDER), {"maximum": Decimal(120)}, "99 100 101", "119.00 120.00 120.00", id="GRADUATED, maximum"
    ),
    pytest.param(volume(LADDER), {}, "99 100 101", "119.00 120.00 50.50", id="VOLUME, first tier"),
    pytest.param(volume(LADDER), {}, "199 200 201", "99.50 100.00 100.25", id="VOLUME, second tier"),
    pytest.param(volume(FREE_FIRST), {}, "99 100 101", "0.00 0.00 151.50", id="VOLUME, free units"),
    pytest.param(volume("then 1"), {"minimum": Decimal(9)}, "8 9 10", "9.00 9.00 10.00", id="VOLUME, minimum"),
    pytest.param(volume("then 1"), {"maximum": Decimal(9)}, "8 9 10", "8.00 9.00 9.00", id="VOLUME, maximum"),
]
SEATS = [
    pytest.param(seats("0-15 @ 12 + 5, then 15 + 7"), "14 15 16", "173.00 185.00 207.00", id="SEAT_BASED, tier"),
    pytest.param(seats("10", minimum=100), "99 100 101", "1000.00 1000.00 1010.00", id="SEAT_BASED, contracted"),
    pytest.param(seats("0-15 @ 0, then 15"), "14 15 16", "0.00 0.00 15.00", id="SEAT_BASED, free seats"),
]
# By when it was entered, what one unit more costs: of a ladder on which so much lay before.
ONE_MORE = [
    pytest.param(graduated(LADDER), "99 100 101", "1.00 0.50 0.50", id="GRADUATED, first tier"),
    pytest.param(graduated(LADDER), "199 200 201", "0.50 50.25 0.25", id="GRADUATED, second tier and its fee"),
    pytest.param(volume(LADDER), "99 100 101", "1.00 -69.50 0.50", id="VOLUME, all units become cheaper"),
    pytest.param(package("250 @ 10"), "249 250 251", "0.00 10.00 0.00", id="PACKAGE, the next is begun"),
    pytest.param(linear("2"), "0 1 2", "2.00 2.00 2.00", id="LINEAR, no border"),
]


def totals(contract, given):
    return " ".join(str(billed(contract, FEBRUARY, **one).total()).removesuffix(" USD") for one in given)


@pytest.mark.parametrize(("structure", "terms", "used", "expected"), USAGE)
def test_usage(structure, terms, used, expected):
    contract = schedule(price(structure, **terms))

    assert totals(contract, [{"calls": calls} for calls in used.split()]) == expected


@pytest.mark.parametrize(("structure", "held", "expected"), SEATS)
def test_seats(structure, held, expected):
    assert totals(schedule(price(structure)), [{"seats": f"2025-01-01 {one}"} for one in held.split()]) == expected


def test_every_kind_that_has_a_quantity_is_here():
    kinds = {row.id.partition(",")[0] for row in (*USAGE, *SEATS)}

    assert kinds == set(PricingType) - {PricingType.ONE_TIME, PricingType.FIXED}


def event(amount):
    return {"calls": Usage(Decimal(amount), 1, 1, amounts=Counter([Decimal(amount)]))}


@pytest.mark.parametrize(
    ("amounts", "expected", "at_bounds"),
    [
        pytest.param("49 50 51", "1.00 1.00 1.02", [(1, 0), (0, 0), (0, 0)], id="minimum"),
        pytest.param("499 500 501", "9.98 10.00 10.00", [(0, 0), (0, 0), (0, 1)], id="maximum"),
    ],
)
def test_the_fee_of_an_event(amounts, expected, at_bounds):
    contract = schedule(price(volume("then 0.02", low="1", high="10")))
    events = [event(amount) for amount in amounts.split()]

    assert totals(contract, events) == expected
    lines = [next(billed(contract, FEBRUARY, **one).lines()) for one in events]
    assert [(line.explanation.at_min, line.explanation.at_max) for line in lines] == at_bounds


def test_the_fee_of_an_event_has_the_bounds_of_the_tier_that_all_of_them_reach():
    rate, low = Decimal("0.02"), Decimal(3)
    rungs = (VolumeTier(rate, False, Decimal(100)), VolumeTier(rate, False, min_price=low))
    contract = schedule(price(Volume(tiers=rungs, usage_metric_id="calls")))

    assert totals(contract, [event(amount) for amount in ("99", "100", "101")]) == "1.98 2.00 3.00"


@pytest.mark.parametrize(("structure", "before", "expected"), ONE_MORE)
def test_one_unit_more_on_demand(structure, before, expected):
    contract = schedule(price(structure, billing_frequency=Frequency.ON_DEMAND))
    histories = [{"calls": {"2025-01-10": one, "2025-01-31": "1"}} for one in before.split()]

    assert totals(contract, histories) == expected


@pytest.mark.parametrize(
    ("before", "expected"),
    [("99 100 101", "1.00 0.50 0.50"), ("199 200 201", "0.50 50.25 0.25")],
    ids=["first tier", "second tier and its fee"],
)
def test_one_unit_more_on_a_cumulative_ladder(before, expected):
    contract = schedule(price(graduated(LADDER, mode="CUMULATIVE")), start="2024-12-01")
    histories = [{"calls": {"2024-12-10": one, "2025-01-10": "1"}} for one in before.split()]

    assert totals(contract, histories) == expected


@pytest.mark.parametrize(
    "terms",
    [{"minimums": (minimum("500"),)}, {"minimums": (minimum("500", "price"),)}, {"plan_minimum": Decimal(500)}],
    ids=["of the phase", "of prices", "of the plan"],
)
def test_minimums(terms):
    contract = schedule(price(linear("0.10")), **terms)
    bills = [billed(contract, FEBRUARY, calls=calls) for calls in ("4999.9", "5000", "5000.1")]

    assert [bill.total().amount_minor for bill in bills] == [50000, 50000, 50001]
    assert [[line.kind for line in bill.lines()] for bill in bills] == [["CHARGE", "TRUE_UP"], ["CHARGE"], ["CHARGE"]]

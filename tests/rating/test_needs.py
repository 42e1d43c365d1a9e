"""Needs: what must be gathered before a schedule can be billed, and roll-ups of what was gathered."""

from decimal import Decimal

import pytest

from rating import usage
from rating.bill import needs, usage_needed
from rating.error import MissingUsage
from rating.needs import Needs
from rating.period import Frequency
from rating.price import BillingType
from rating.schedule import Due, charges_due
from rating.seat import SeatKey
from rating.usage import Usage, UsageKey
from tests.build import billed, day, days, fixed, graduated, linear, month, price, schedule, seats, usd, volume

FEBRUARY, MARCH = day("2025-02-01"), day("2025-03-01")


def test_nothing_due_needs_nothing():
    assert needs(schedule(price(fixed("1"))), day("2025-01-15")) == Needs("USD")


def test_every_question_is_asked_once():
    contract = schedule(
        price(linear("1"), id="a"),
        price(linear("2"), id="b", prices_by_group={"eu": Decimal(1)}),
        price(volume("then 0.02", metric="payments", low="1"), id="c"),
        price(seats("15"), id="d"),
        price(fixed("1"), id="e", billing_type=BillingType.IN_ADVANCE),
    )
    january, calls = month("2025-01"), UsageKey("calls", month("2025-01"))
    payments = UsageKey("payments", january)

    assert needs(contract, FEBRUARY) == Needs(
        currency="USD",
        due=Due(contract, FEBRUARY, charges_due(contract, FEBRUARY)),
        usage=(calls, payments),
        by_group=(calls,),
        by_event=(payments,),
        seats=(SeatKey("seats", january),),
        prices=("a", "b", "c", "d", "e"),
        grant_metrics=("calls", "payments"),
        since=day("2025-01-31"),
    )
    assert usage_needed(contract, FEBRUARY) == (calls, payments)


def test_a_ladder_over_several_periods_asks_for_all_of_it_and_for_what_was_before():
    contract = schedule(price(graduated("then 1", mode="CUMULATIVE")), start="2025-01-10")

    assert usage_needed(contract, FEBRUARY) == (UsageKey("calls", days("2025-01-10", "2025-02-01")),)
    assert usage_needed(contract, MARCH) == (
        UsageKey("calls", days("2025-01-10", "2025-03-01")),
        UsageKey("calls", days("2025-01-10", "2025-02-01")),
    )


def test_on_demand_asks_for_the_day_and_the_phase():
    contract = schedule(price(graduated("then 1"), billing_frequency=Frequency.ON_DEMAND))

    assert usage_needed(contract, day("2025-01-03")) == (
        UsageKey("calls", days("2025-01-01", "2025-01-03")),
        UsageKey("calls", days("2025-01-01", "2025-01-02")),
    )


def test_additional_seats_ask_for_the_balances_since_their_base_began():
    structure = seats("365", overages="MONTHLY")
    terms = {"billing_type": BillingType.IN_ADVANCE, "billing_frequency": Frequency.YEARLY}
    contract = schedule(price(structure, **terms), start="2025-01-15", anchor_day=15)

    # In advance the first day alone is read.
    assert needs(contract, day("2025-01-15")).seats == (SeatKey("seats", days("2025-01-15", "2025-01-16")),)
    assert needs(contract, day("2025-04-15")).seats == (SeatKey("seats", days("2025-01-15", "2025-04-15")),)


# Roll-up


CHILDREN = {"x": Usage(Decimal(80), 2, 1), "y": Usage(Decimal(45), 1, 1)}


def test_the_usage_of_children_is_summed_before_tiers():
    contract = schedule(price(graduated("0-100 @ 1.00 + 20, then 0.75 + 50")))
    bill = billed(contract, "2025-02-01", calls=usage.rolled_up(CHILDREN))

    assert bill.total() == usd("188.75")


def test_the_breakdown_is_told_once():
    contract = schedule(price(graduated("0-100 @ 1.00 + 20, then 0.75 + 50")))
    told = [
        [(share.customer_id, share.quantity) for share in line.explanation.reading.customers]
        for line in billed(contract, "2025-02-01", calls=usage.rolled_up(CHILDREN)).lines()
    ]

    assert told == [[("x", 80), ("y", 45)], [], [], []]


def test_groups_and_events_are_rolled_up_if_every_child_has_them():
    with_details = {
        name: Usage(
            *(Decimal(3), 2, 1),
            groups={"eu": Decimal(3)},
            group_events={"eu": 2},
            amounts={Decimal(1): 1, Decimal(2): 1},
        )
        for name in "xy"
    }
    found = usage.rolled_up(with_details)

    assert (found.quantity, found.event_count) == (6, 4)
    assert (found.groups, found.group_events, found.amounts) == ({"eu": 6}, {"eu": 4}, {1: 2, 2: 2})
    assert usage.rolled_up(with_details | CHILDREN).groups is None


def test_what_was_counted_over_all_of_them_together_is_not_summed():
    found = usage.rolled_up(CHILDREN, as_one=Usage(Decimal(100), 3, 1))

    assert (found.quantity, found.event_count, found.customers) == (100, 3, {"x": 80, "y": 45})


def test_a_roll_up_of_nobody_is_refused():
    with pytest.raises(MissingUsage):
        usage.rolled_up({})

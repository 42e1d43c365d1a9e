"""Seats: the worked cases, the three strategies, minimums, overages and flat fees."""

from datetime import UTC, datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating import bill as billing
from rating import number, seat
from rating import schedule as schedules
from rating.bill import BillInput
from rating.error import MissingSeats
from rating.explanation import Seats
from rating.period import Frequency
from rating.price import BillingType, SeatProrationStrategy
from rating.seat import SeatChange
from tests.build import balances, billed, day, price, schedule, seats, usd

MAXIMUM, INCREMENTS, ALL = SeatProrationStrategy
APRIL, MAY, JUNE = "2025-04-01", "2025-05-01", "2025-06-01"


def shown(bill):
    return [f"{number.plain(line.quantity)} x {number.plain(line.rate)} = {line.net_minor}" for line in bill.lines()]


def monthly(text="15", **terms):
    billing_type = terms.pop("billing_type", BillingType.IN_ARREARS)
    return schedule(price(seats(text, **terms), billing_type=billing_type), start=APRIL)


@pytest.mark.parametrize(("held", "total"), [(0, "0"), (14, "168"), (15, "180"), (16, "195"), (20, "255")])
def test_case_18_graduated_seats(held, total):
    contract = monthly("0-15 @ 12, then 15")

    assert billed(contract, MAY, seats=f"2025-01-01 {held}").total() == usd(total)


def test_case_19_added_seats_pay_from_their_day_on():
    contract = monthly(strategy="PRORATE_INCREMENTS")
    april = billed(contract, MAY, seats="2025-04-18 27")

    assert shown(april) == ["27 x 6.5 = 17550"]
    assert shown(billed(contract, JUNE, seats="2025-04-18 27")) == ["27 x 15 = 40500"]


@pytest.mark.parametrize(("held", "total"), [(0, "1500"), (90, "1500"), (100, "1500"), (101, "1515")])
def test_case_20_the_contracted_minimum_is_always_charged(held, total):
    contract = monthly(minimum=100)

    assert billed(contract, MAY, seats=f"2025-01-01 {held}" if held else "").total() == usd(total)


def test_case_21_a_seat_added_in_the_middle_of_the_month_costs_half():
    assert billed(monthly(), MAY, seats="2025-04-16 1").total() == usd("7.50")


def test_case_23_the_balance_is_the_last_total_of_the_day():
    contract = monthly("1", strategy="PRORATE_ALL_CHANGES")

    assert billed(contract, MAY, seats="2025-03-01 120, 2025-04-01 125, 2025-04-01 124").total() == usd("124")


@pytest.mark.parametrize(
    ("strategy", "total"),
    [
        # 10 seats for 10 days, 20 for 10 days, 5 for 10 days, at 30 a month: one a day.
        pytest.param(MAXIMUM, "600", id="the most there were, for the whole month"),
        pytest.param(INCREMENTS, "500", id="removed seats stay until the month ends"),
        pytest.param(ALL, "350", id="every day its balance"),
    ],
)
def test_the_three_strategies(strategy, total):
    contract = monthly("30", strategy=strategy)

    assert billed(contract, MAY, seats="2025-01-01 10, 2025-04-11 20, 2025-04-21 5").total() == usd(total)


@pytest.mark.parametrize(
    ("strategy", "total"), [(MAXIMUM, "600"), (INCREMENTS, "600"), (ALL, "400")], ids=["maximum", "increments", "all"]
)
def test_seats_removed_and_added_again_are_not_charged_twice(strategy, total):
    contract = monthly("30", strategy=strategy)

    assert billed(contract, MAY, seats="2025-01-01 20, 2025-04-11 5, 2025-04-21 15").total() == usd(total)


@pytest.mark.parametrize("strategy", list(SeatProrationStrategy))
def test_a_partial_period_is_prorated_by_days(strategy):
    contract = schedule(price(seats("30", strategy=strategy)), start="2025-04-16")

    assert billed(contract, MAY, seats="2025-01-01 10").total() == usd("150")


def test_graduated_seats_are_priced_as_if_every_day_were_priced_alone():
    contract = monthly("0-15 @ 30, then 60", strategy="PRORATE_ALL_CHANGES")
    bill = billed(contract, MAY, seats="2025-01-01 10, 2025-04-16 20")

    assert shown(bill) == ["10 x 30 = 30000", "5 x 15 = 7500", "5 x 30 = 15000"]
    assert [type(line.explanation) for line in bill.lines()] == [Seats] * 3


# In advance


ADVANCE = BillingType.IN_ADVANCE


def yearly(overages=None, strategy="PRORATE_INCREMENTS"):
    structure = seats("365", minimum=100, overages=overages, strategy=strategy)
    return schedule(price(structure, billing_type=ADVANCE, billing_frequency=Frequency.YEARLY), end="2026-01-01")


def bills(contract, history):
    found, on = {}, schedules.next_bill_date(contract, None)
    while on is not None:
        bill = billed(contract, str(on), seats=history)
        if list(bill.lines()):
            found[str(on)] = str(bill.total())
        on = schedules.next_bill_date(contract, on)
    return found


@pytest.mark.parametrize(
    ("overages", "expected"),
    [
        pytest.param(None, {"2026-01-01": "3050.00 USD"}, id="with the year"),
        pytest.param("NONE", {"2026-01-01": "3050.00 USD"}, id="none: with the year"),
        pytest.param(
            "QUARTERLY",
            {
                "2025-04-01": "300.00 USD",
                "2025-07-01": "910.00 USD",
                "2025-10-01": "920.00 USD",
                "2026-01-01": "920.00 USD",
            },
            id="by quarter",
        ),
    ],
)
def test_case_22_additional_seats_are_billed_with_the_frequency_of_overages(overages, expected):
    # Ten more from 2 March on: 305 days of the year, at one a day each.
    found = bills(yearly(overages), "2024-12-01 100, 2025-03-02 110")

    assert found == {"2025-01-01": "36500.00 USD", **expected}


def test_overages_of_all_frequencies_add_up_to_the_same():
    sums = set()
    for overages in (None, "MONTHLY", "QUARTERLY", "HALF_YEARLY", "YEARLY"):
        history = "2024-12-01 90, 2025-03-02 110, 2025-08-01 105, 2025-11-30 140"
        found = bills(yearly(overages, "PRORATE_ALL_CHANGES"), history)
        sums.add(sum(int(amount.split(".")[0]) for amount in found.values()))

    assert len(sums) == 1


def test_in_advance_the_seats_of_the_first_day_are_charged():
    contract = monthly(minimum=10, billing_type=ADVANCE)

    assert billed(contract, APRIL, seats="2025-03-31 11, 2025-04-01 12, 2025-04-02 13").total() == usd("180")
    assert billed(contract, APRIL, seats="2025-04-02 13").total() == usd("150")


def test_without_additional_seats_there_is_no_line():
    contract = schedule(price(seats("15"), billing_type=ADVANCE), start=APRIL, end=MAY)

    assert shown(billed(contract, MAY, seats="2025-01-01 12")) == []


def test_no_seats_still_make_a_line():
    assert shown(billed(monthly(), MAY, seats="")) == ["0 x 15 = 0"]


def test_in_arrears_overages_of_their_own_frequency_leave_the_minimum_to_the_price():
    structure = seats("365", minimum=10, overages="MONTHLY", strategy="PRORATE_ALL_CHANGES")
    contract = schedule(price(structure, billing_frequency=Frequency.YEARLY), end="2026-01-01")
    found = bills(contract, "2025-01-31 11")

    assert (found["2025-02-01"], found["2025-03-01"]) == ("1.00 USD", "28.00 USD")
    assert found["2026-01-01"] == "3681.00 USD"


# Flat fees


@pytest.mark.parametrize(
    ("start", "prorate", "total"),
    [
        pytest.param(APRIL, False, "170.00", id="a full period"),
        pytest.param(APRIL, True, "170.00", id="a full period, whatever the switch"),
        pytest.param("2025-04-16", False, "120.00", id="a partial period, fees in full"),
        pytest.param("2025-04-16", True, "85.00", id="a partial period, fees by days"),
    ],
)
def test_flat_fees_of_tiers_are_prorated_only_if_the_price_says_so(start, prorate, total):
    structure = seats("0-10 @ 10 + 20, then 0 + 50", prorate_fees=prorate)
    contract = schedule(price(structure), start=start)

    assert billed(contract, MAY, seats="2025-01-01 11").total() == usd(total)


def test_a_tiers_flat_fee_is_due_once_in_a_billing_period():
    structure = seats("0-10 @ 0 + 20, 10-20 @ 0 + 30, then 0 + 50", overages="MONTHLY")
    contract = schedule(
        price(structure, billing_type=ADVANCE, billing_frequency=Frequency.QUARTERLY), start=APRIL, end="2025-07-01"
    )
    found = bills(contract, "2025-01-01 5, 2025-04-10 15, 2025-05-10 18, 2025-06-10 30")

    expected = {"2025-04-01": "20.00", "2025-05-01": "30.00", "2025-06-01": "0.00", "2025-07-01": "50.00"}
    assert found == {on: f"{amount} USD" for on, amount in expected.items()}


def test_balances_that_were_not_given_are_not_taken_as_none():
    contract = monthly()
    with pytest.raises(MissingSeats, match="schedule schedule, price price: no balances of seat metric seats"):
        billing.bill(BillInput(contract, day(MAY), {}))


def test_seat_events_happen_on_the_accounts_dates():
    at = datetime(2025, 3, 31, 22, 30, tzinfo=UTC)

    assert seat.changes([(at, 5)], ZoneInfo("Europe/Berlin")) == (SeatChange(day("2025-04-01"), 5),)
    assert seat.changes([(at, 5)], ZoneInfo("UTC")) == (SeatChange(day("2025-03-31"), 5),)


# What holds for all balances


@st.composite
def histories(draw):
    days = draw(st.lists(st.integers(1, 30), max_size=6).map(sorted))
    opening = draw(st.integers(0, 40))
    changes = [SeatChange(day("2025-03-01"), opening)]
    changes += [SeatChange(day(f"2025-04-{n:02}"), draw(st.integers(0, 40))) for n in days]
    return changes


def text(history):
    return ", ".join(f"{change.on} {change.total}" for change in history)


def exact(bill):
    return sum(Fraction(line.explanation.amount) for line in bill.lines())


@given(histories(), st.integers(0, 20))
def test_all_changes_are_the_sum_of_days(history, contracted):
    contract = monthly("0-15 @ 30, then 60", strategy="PRORATE_ALL_CHANGES", minimum=contracted)
    expected = 0
    for n in range(1, 31):
        held = [change.total for change in history if change.on <= day(f"2025-04-{n:02}")][-1]
        held = max(held, contracted)
        expected += Fraction(min(held, 15) * 30 + max(held - 15, 0) * 60, 30)

    assert exact(billed(contract, MAY, seats=text(history))) == expected


def test_a_tier_that_no_day_was_charged_for_still_owes_its_fee():
    # 25 seats for a part of 5 April are no day's balance; the tier above 20 is entered in May.
    terms = {"minimum": 5, "overages": "MONTHLY", "billing_type": ADVANCE, "billing_frequency": Frequency.QUARTERLY}
    structure = seats("0-20 @ 0, then 0 + 7", minimum=terms.pop("minimum"), overages=terms.pop("overages"))
    contract = schedule(price(structure, **terms), start=APRIL)
    history = "2025-04-01 5, 2025-04-05 25, 2025-04-05 6, 2025-05-10 25"

    assert [billed(contract, on, seats=history).total() for on in (MAY, JUNE)] == [usd("0"), usd("7")]


@given(histories())
def test_each_strategy_charges_no_more_than_the_one_before_it(history):
    paid = [exact(billed(monthly("30", strategy=one), MAY, seats=text(history))) for one in SeatProrationStrategy]

    assert paid == sorted(paid, reverse=True)


@given(histories(), st.integers(0, 20))
def test_in_advance_and_overage_together_are_what_arrears_would_be(history, contracted):
    terms = {"strategy": "PRORATE_INCREMENTS", "minimum": contracted}
    advance = monthly("30", billing_type=ADVANCE, **terms)
    together = exact(billed(advance, APRIL, seats=text(history)))
    overage = [line for line in billed(advance, MAY, seats=text(history)).lines() if line.description]
    together += sum(Fraction(line.explanation.amount) for line in overage if "additional" in line.description)

    assert together == exact(billed(monthly("30", **terms), MAY, seats=text(history)))


def test_balances_read_like_statements():
    assert balances("2025-01-01 100, 2025-01-18 127")[1] == SeatChange(day("2025-01-18"), 127)


def test_a_day_that_changes_after_midnight_begins_with_the_balance_before():
    events = [(datetime(2025, 3, 1, tzinfo=UTC), 10)]
    events += [(datetime(2025, 4, 1, 9, tzinfo=UTC), 4), (datetime(2025, 4, 1, 10, tzinfo=UTC), 5)]
    events += [(datetime(2025, 4, 2, tzinfo=UTC), 3)]
    found = seat.changes(events, ZoneInfo("UTC"))

    assert found == balances("2025-03-01 10, 2025-04-01 10, 2025-04-01 4, 2025-04-01 5, 2025-04-02 3")


@pytest.mark.parametrize(
    ("removed", "total"),
    [
        pytest.param(datetime(2025, 3, 31, 23, 59, 59, 999999, tzinfo=UTC), "60", id="before the month"),
        pytest.param(datetime(2025, 4, 1, tzinfo=UTC), "60", id="as it begins"),
        pytest.param(datetime(2025, 4, 1, 0, 0, 0, 1, tzinfo=UTC), "150", id="after that"),
    ],
)
def test_seats_that_were_there_when_the_month_began_are_of_its_maximum(removed, total):
    events = [(datetime(2025, 1, 1, tzinfo=UTC), 10), (removed, 4)]
    history = ", ".join(f"{one.on} {one.total}" for one in seat.changes(events, ZoneInfo("UTC")))

    assert billed(monthly(strategy="USE_MAXIMUM"), MAY, seats=history).total() == usd(total)

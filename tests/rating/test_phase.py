"""Phases: no gap, no overlap, periods that go on or begin anew, and milestones."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating import schedule as schedules
from rating.error import InvalidSchedule, MixedCurrencies
from rating.period import Frequency
from rating.phase import Milestone, RecurrencePreference
from rating.price import BillingType
from tests.build import billed, day, fixed, linear, one_time, phase, phased, price, schedule

ADVANCE, RESET = BillingType.IN_ADVANCE, RecurrencePreference.RESET


def fee(amount="100", frequency="MONTHLY", name="fee", billing_type=ADVANCE):
    return price(fixed(amount), id=name, billing_frequency=Frequency(frequency), billing_type=billing_type)


def story(contract, count=40, **given):
    """`2025-01-01 100.00 USD` for every bill."""
    found, on = [], schedules.next_bill_date(contract, None)
    while on is not None and len(found) < count:
        found.append(f"{on} {billed(contract, str(on), **given).total().amount_minor / 100:.2f}")
        on = schedules.next_bill_date(contract, on)
    return found


def test_case_31_a_ramp_of_three_years():
    years = [(2025, "1000"), (2026, "1250"), (2027, "1562.50")]
    contract = phased(*(phase(fee(amount), start=f"{y}-01-01", end=f"{y + 1}-01-01") for y, amount in years))

    assert story(contract)[::12] == ["2025-01-01 1000.00", "2026-01-01 1250.00", "2027-01-01 1562.50"]
    assert len(story(contract)) == 36


@pytest.mark.parametrize(
    ("recurrence", "expected"),
    [
        pytest.param(RESET, ["2025-04-01 1200.00"], id="reset: one full year"),
        pytest.param(
            RecurrencePreference.CONTINUE_FROM_PREVIOUS_PHASE,
            ["2025-04-01 904.11", "2026-01-01 295.89"],
            id="continue: two parts of calendar years",
        ),
    ],
)
def test_case_32_a_yearly_fee_added_in_a_second_phase(recurrence, expected):
    contract = phased(
        phase(fee("0"), start="2025-01-01", end="2025-04-01"),
        phase(fee("1200", "YEARLY", "year"), start="2025-04-01", end="2026-04-01", recurrence=recurrence),
    )

    assert story(contract)[3:] == expected


def test_a_reset_holds_for_the_phases_behind_it():
    contract = phased(
        phase(fee("0"), start="2025-01-01", end="2025-01-20"),
        phase(fee("31", name="b"), start="2025-01-20", end="2025-03-20", recurrence=RESET),
        phase(fee("28", name="c"), start="2025-03-20", end="2025-04-20"),
    )

    assert story(contract)[1:] == ["2025-01-20 31.00", "2025-02-20 31.00", "2025-03-20 28.00"]


@pytest.mark.parametrize(("billing_type", "dates"), [("IN_ADVANCE", 4), ("IN_ARREARS", 4)])
def test_a_border_inside_a_period_cuts_it_and_both_parts_are_prorated(billing_type, dates):
    of = {"billing_type": BillingType(billing_type)}
    contract = phased(
        phase(fee("310", **of), start="2025-01-01", end="2025-01-11"),
        phase(fee("620", **of), start="2025-01-11", end="2025-03-01"),
    )
    paid = [entry.split()[1] for entry in story(contract)]

    assert paid == ["100.00", "420.00", "620.00"]
    assert len(paid) == dates - 1


def test_case_30_and_a_border_share_a_bill():
    contract = phased(
        phase(fee("100", billing_type=BillingType.IN_ARREARS), start="2025-01-01", end="2025-02-01"),
        phase(fee("200", name="b"), start="2025-02-01", end="2025-03-01"),
    )

    assert story(contract) == ["2025-02-01 300.00"]


def test_an_introductory_phase_may_be_free():
    contract = phased(
        phase(fee("0"), start="2025-01-01", end="2025-03-01"), phase(fee("50"), start="2025-03-01", end="2025-05-01")
    )

    assert [entry.split()[1] for entry in story(contract)] == ["0.00", "0.00", "50.00", "50.00"]


def test_the_last_phase_may_be_open():
    contract = phased(phase(fee("1"), start="2025-01-01", end="2025-02-01"), phase(fee("2"), start="2025-02-01"))

    assert schedules.next_bill_date(contract, day("2030-01-01")) == day("2030-02-01")


@pytest.mark.parametrize("billing_type", list(BillingType))
def test_a_one_time_price_of_two_phases_is_charged_in_the_first(billing_type):
    setup = price(one_time("500"), id="setup", billing_type=billing_type)
    contract = phased(
        phase(setup, fee("0"), start="2025-01-01", end="2025-03-01"),
        phase(setup, fee("0"), start="2025-03-01", end="2025-05-01"),
    )

    assert [entry.split()[1] for entry in story(contract)].count("500.00") == 1


# Milestones


def pilot(completed=None):
    reached = Milestone("success criteria met", day(completed) if completed else None)
    return phased(
        phase(price(one_time("12500"), id="pilot", billing_type=ADVANCE), start="2025-01-01", milestone=reached),
        phase(fee("1500", billing_type=BillingType.IN_ARREARS), start="2025-04-01", end="2026-04-01", recurrence=RESET),
    )


def test_case_33_before_the_milestone_only_the_pilot_is_billed():
    assert story(pilot()) == ["2025-01-01 12500.00"]


def test_case_33_the_day_after_the_milestone_the_next_phase_begins_and_keeps_its_length():
    found = story(pilot("2025-05-19"))

    assert found[:3] == ["2025-01-01 12500.00", "2025-06-20 1500.00", "2025-07-20 1500.00"]
    assert (len(found), found[-1]) == (13, "2026-05-20 1500.00")


def test_a_fee_in_arrears_is_due_when_the_milestone_is_completed():
    of = {"start": "2025-01-01", "milestone": Milestone("done", day("2025-02-14"))}
    success = price(one_time("900"), id="success")
    contract = phased(phase(success, **of), phase(fee("0"), start="2025-03-01", end="2025-04-01"))

    assert story(contract)[0] == "2025-02-15 900.00"
    open_phase = phase(success, start="2025-01-01", milestone=Milestone("done"))
    assert story(phased(open_phase, contract.phases[1])) == []


def test_phases_behind_a_milestone_keep_days_when_they_are_not_whole_months():
    contract = phased(
        phase(fee("0"), start="2025-01-01", milestone=Milestone("done", day("2025-02-28"))),
        phase(fee("10", "DAILY", "daily"), start="2025-02-01", end="2025-02-11"),
    )
    found = [entry for entry in story(contract) if entry.endswith("10.00")]

    assert (found[0], found[-1], len(found)) == ("2025-03-01 10.00", "2025-03-10 10.00", 10)


# What is refused


@pytest.mark.parametrize(
    ("starts", "ends", "key"),
    [
        (["2025-01-01", "2025-03-02"], ["2025-03-01", None], "phases[1].startDate"),
        (["2025-01-01", "2025-02-28"], ["2025-03-01", None], "phases[1].startDate"),
        (["2025-01-01", "2025-02-01"], [None, None], "phases[0].endDate"),
        (["2025-01-01", "2025-01-01"], ["2025-01-01", None], "phases[0].endDate"),
    ],
    ids=["gap", "overlap", "open in between", "empty"],
)
def test_gaps_and_overlaps_are_refused_by_field(starts, ends, key):
    phases = tuple(phase(fee(), start=start, end=end) for start, end in zip(starts, ends, strict=True))
    with pytest.raises(InvalidSchedule, match="schedule schedule: ") as refused:
        phased(*phases)

    assert refused.value.key == key


def test_phases_share_a_currency():
    euros = price(fixed("1"), id="x", currency="EUR")
    with pytest.raises(MixedCurrencies) as refused:
        phased(phase(fee(), start="2025-01-01", end="2025-02-01"), phase(euros, start="2025-02-01"))

    assert refused.value.key == "phases[1].priceIds"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"end": "2025-02-01", "milestone": Milestone("done")}, "ends when it is completed"),
        ({"milestone": Milestone("done", day("2024-12-31"))}, "before its phase starts"),
    ],
)
def test_milestones_that_contradict_their_phase_are_refused(changes, message):
    with pytest.raises(InvalidSchedule, match=message):
        phased(phase(fee(), start="2025-01-01", **changes), phase(fee(), start="2025-02-01"))


def test_a_schedule_that_ends_with_a_milestone_is_open():
    last = phase(fee(), start="2025-01-01", milestone=Milestone("done"))

    assert schedules.next_bill_date(phased(last), day("2030-01-01")) == day("2030-02-01")
    with pytest.raises(InvalidSchedule, match="has no endDate"):
        msgspec.structs.replace(phased(last), end=day("2026-01-01"))


# What holds for every schedule of several phases


@st.composite
def contracts(draw):
    borders = draw(st.lists(st.integers(1, 900), min_size=1, max_size=4, unique=True).map(sorted))
    days = [day("2025-01-01"), *(day("2025-01-01") + (day("2025-01-02") - day("2025-01-01")) * n for n in borders)]
    frequencies = [one for one in Frequency if one not in {"ONE_TIME", "ON_DEMAND", "PER_EVENT", "DAILY"}]
    prices = tuple(
        fee("100", frequency, f"p{n}", billing_type)
        for n, (frequency, billing_type) in enumerate(
            draw(
                st.lists(
                    st.tuples(st.sampled_from(frequencies), st.sampled_from(list(BillingType))), min_size=1, max_size=3
                )
            )
        )
    )
    phases = [
        phase(*prices, start=str(start), end=str(end), recurrence=draw(st.sampled_from(list(RecurrencePreference))))
        for start, end in pairwise(days)
    ]
    return phased(*phases, anchor_day=draw(st.integers(1, 31)))


def bill_dates(contract):
    found = [schedules.next_bill_date(contract, None)]
    while found[-1] is not None:
        found.append(schedules.next_bill_date(contract, found[-1]))
    return found[:-1]


@given(contracts())
def test_every_day_of_every_phase_is_charged_exactly_once(contract):
    charges = [charge for on in bill_dates(contract) for charge in schedules.charges_due(contract, on)]
    for index, found in enumerate(contract.phases):
        for priced in found.prices:
            services = sorted(c.service for c in charges if c.price is priced and c.phase == index)

            assert (services[0].start, services[-1].end) == (found.start, found.end)
            assert all(left.end == right.start for left, right in pairwise(services))


@given(contracts())
def test_next_bill_date_finds_exactly_the_days_on_which_something_is_due(contract):
    one = day("2025-01-02") - day("2025-01-01")
    every_day = (contract.start + one * n for n in range(-1, (contract.end - contract.start).days + 2))

    assert bill_dates(contract) == [on for on in every_day if schedules.charges_due(contract, on)]


@given(st.integers(1, 58), st.decimals(0, 10**6, places=2))
def test_a_border_anywhere_changes_the_sum_by_rounding_alone(cut, amount):
    whole = schedule(fee(str(amount)), end="2025-03-01")
    border = str(day("2025-01-01") + (day("2025-01-02") - day("2025-01-01")) * cut)
    split = phased(
        phase(fee(str(amount)), start="2025-01-01", end=border), phase(fee(str(amount)), start=border, end="2025-03-01")
    )
    sums = [sum(billed(one, str(on)).total().amount_minor for on in bill_dates(one)) for one in (whole, split)]

    assert abs(sums[0] - sums[1]) <= 1


def test_a_phase_changes_by_making_a_new_one():
    plain = schedule(fee())

    assert msgspec.structs.replace(plain, anchor_day=2).phases == plain.phases


def test_usage_of_a_phase_is_read_within_it():
    contract = phased(
        phase(price(linear("1")), start="2025-01-01", end="2025-01-11"),
        phase(price(linear("2")), start="2025-01-11", end="2025-02-01"),
    )
    used = {"2025-01-10": "5", "2025-01-11": "7"}

    assert story(contract, calls=used) == ["2025-01-11 5.00", "2025-02-01 14.00"]


def test_a_phase_behind_a_milestone_is_not_planned_before_it():
    fee, reached = price(fixed("1")), Milestone("pilot")
    before = phase(fee, start="2025-02-01", milestone=reached)

    phased(before, phase(fee, start="2025-02-01"))
    with pytest.raises(InvalidSchedule, match="before 2025-02-01") as refused:
        phased(before, phase(fee, start="2025-01-31"))

    assert refused.value.key == "phases[1].startDate"

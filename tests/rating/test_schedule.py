"""Schedules: what falls due when, once and only once."""

from datetime import date, timedelta
from itertools import islice, pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating import schedule as schedules
from rating.error import InvalidSchedule, MixedCurrencies
from rating.period import MONTHS, Frequency
from rating.price import BillingType
from rating.schedule import Phase
from tests.build import day, days, fixed, graduated, linear, month, price, schedule

DAY = timedelta(days=1)
ADVANCE, ARREARS = BillingType.IN_ADVANCE, BillingType.IN_ARREARS


def fee(frequency="MONTHLY", billing_type=ADVANCE, name="fee"):
    return price(fixed("100"), id=name, billing_frequency=Frequency(frequency), billing_type=billing_type)


def usage(frequency="MONTHLY", name="usage"):
    return price(linear("0.1"), id=name, billing_frequency=Frequency(frequency))


def bill_dates(contract, count=100):
    """The dates on which the schedule is billed, in order."""

    def from_first():
        found = schedules.next_bill_date(contract, None)
        while found is not None:
            yield found
            found = schedules.next_bill_date(contract, found)

    return list(islice(from_first(), count))


def timeline(contract, count=100):
    """`2025-02-01: usage 2025-01-01..2025-02-01, fee ...` for every bill."""
    return [
        f"{on}: " + ", ".join(f"{c.price.id} {c.service.start}..{c.service.end}" for c in found)
        for on in bill_dates(contract, count)
        if (found := schedules.charges_due(contract, on))
    ]


def test_case_25_a_start_between_billing_days_makes_a_partial_first_period():
    first, second = bill_dates(schedule(fee(), start="2023-03-14"), 2)
    (charge,) = schedules.charges_due(schedule(fee(), start="2023-03-14"), first)

    assert (first, second) == (day("2023-03-14"), day("2023-04-01"))
    assert charge.service == days("2023-03-14", "2023-04-01")
    assert charge.full == month("2023-03")


def test_case_27_a_backdated_month_is_due_the_day_after_it_ends():
    assert bill_dates(schedule(usage(), start="2025-02-01"), 1) == [day("2025-03-01")]


def test_case_28_monthly_arrears_beside_a_quarter_in_advance():
    contract = schedule(fee("QUARTERLY"), usage(), start="2022-01-01", end="2022-04-01")

    assert timeline(contract) == [
        "2022-01-01: fee 2022-01-01..2022-04-01",
        "2022-02-01: usage 2022-01-01..2022-02-01",
        "2022-03-01: usage 2022-02-01..2022-03-01",
        "2022-04-01: usage 2022-03-01..2022-04-01",
    ]


def test_case_29_a_quarter_and_its_last_month_share_a_bill():
    contract = schedule(fee("QUARTERLY", ARREARS), usage())

    assert timeline(contract, 3)[-1] == "2025-04-01: fee 2025-01-01..2025-04-01, usage 2025-03-01..2025-04-01"


def test_case_30_the_month_that_ended_and_the_month_that_begins_share_a_bill():
    contract = schedule(fee(), usage(), start="2025-01-01", end="2025-04-01")

    assert timeline(contract) == [
        "2025-01-01: fee 2025-01-01..2025-02-01",
        "2025-02-01: fee 2025-02-01..2025-03-01, usage 2025-01-01..2025-02-01",
        "2025-03-01: fee 2025-03-01..2025-04-01, usage 2025-02-01..2025-03-01",
        "2025-04-01: usage 2025-03-01..2025-04-01",
    ]


def test_a_final_stub_is_due_the_day_after_the_last_day():
    contract = schedule(fee(), usage(), start="2025-01-20", end="2025-02-11")

    assert timeline(contract) == [
        "2025-01-20: fee 2025-01-20..2025-02-01",
        "2025-02-01: fee 2025-02-01..2025-02-11, usage 2025-01-20..2025-02-01",
        "2025-02-11: usage 2025-02-01..2025-02-11",
    ]


def test_all_frequencies_meet_on_the_first_billing_day():
    prices = [fee(frequency, name=frequency) for frequency in MONTHS]
    contract = schedule(*prices, start="2023-03-14")

    assert len(schedules.charges_due(contract, day("2023-03-14"))) == 4
    assert len(schedules.charges_due(contract, day("2023-04-01"))) == 4
    assert {charge.full.days for charge in schedules.charges_due(contract, day("2023-03-14"))} == {31, 90, 182, 365}


@pytest.mark.parametrize(
    ("start", "anchor_day", "expected"),
    [
        ("2025-01-31", 31, "2025-01-31 2025-02-28 2025-03-31 2025-04-30"),
        ("2025-01-30", 31, "2025-01-30 2025-01-31 2025-02-28 2025-03-31"),
        ("2024-02-01", 30, "2024-02-01 2024-02-29 2024-03-30 2024-04-30"),
        ("2025-01-15", 15, "2025-01-15 2025-02-15 2025-03-15 2025-04-15"),
        ("2025-01-15", 14, "2025-01-15 2025-02-14 2025-03-14 2025-04-14"),
    ],
)
def test_billing_days_clamp_and_return(start, anchor_day, expected):
    found = bill_dates(schedule(fee(), start=start, anchor_day=anchor_day), 4)

    assert found == [day(text) for text in expected.split()]


def test_a_schedule_of_one_day_is_billed_once():
    contract = schedule(fee(), usage(), start="2025-01-31", end="2025-02-01", anchor_day=31)

    assert timeline(contract) == ["2025-01-31: fee 2025-01-31..2025-02-01", "2025-02-01: usage 2025-01-31..2025-02-01"]


@st.composite
def contracts(draw):
    start = draw(st.dates(date(2023, 1, 1), date(2025, 12, 31)))
    end = start + DAY * draw(st.integers(1, 800))
    kinds = st.tuples(st.sampled_from(list(MONTHS)), st.sampled_from(list(BillingType)))
    prices = [fee(*kind, name=f"p{n}") for n, kind in enumerate(draw(st.lists(kinds, min_size=1, max_size=4)))]
    return schedule(*prices, start=str(start), end=str(end), anchor_day=draw(st.integers(1, 31)))


def every_day(contract):
    """One day more than the life of the contract, on both sides."""
    return [contract.start + DAY * n for n in range(-1, (contract.end - contract.start).days + 2)]


@given(contracts())
def test_next_bill_date_finds_exactly_the_days_on_which_something_is_due(contract):
    due = [one for one in every_day(contract) if schedules.charges_due(contract, one)]

    assert bill_dates(contract) == due


@given(contracts(), st.integers(-40, 900))
def test_next_bill_date_answers_from_any_day(contract, offset):
    after = contract.start + DAY * offset
    later = [one for one in bill_dates(contract) if one > after]

    assert schedules.next_bill_date(contract, after) == (later[0] if later else None)


@given(contracts())
def test_every_service_period_is_charged_exactly_once(contract):
    charges = [charge for one in every_day(contract) for charge in schedules.charges_due(contract, one)]
    for priced in contract.phases[0].prices:
        services = sorted(charge.service for charge in charges if charge.price is priced)

        assert (services[0].start, services[-1].end) == (contract.start, contract.end)
        assert all(left.end == right.start for left, right in pairwise(services))


@given(contracts())
def test_only_the_first_and_the_last_period_are_partial(contract):
    for one in every_day(contract):
        for charge in schedules.charges_due(contract, one):
            is_edge = charge.service.start == contract.start or charge.service.end == contract.end

            assert charge.service == charge.full or is_edge
            assert charge.full.cut(start=charge.service.start, end=charge.service.end) == charge.service


@pytest.mark.parametrize(
    ("kind", "first"), [(fee(), "2025-01-10"), (usage(), "2025-02-01")], ids=["advance", "arrears"]
)
@pytest.mark.parametrize("after", [None, "2024-06-15", "2025-01-09"])
def test_asked_from_before_the_start_the_first_date_is_answered(kind, first, after):
    found = schedules.next_bill_date(schedule(kind, start="2025-01-10"), day(after) if after else None)

    assert found == day(first)


def test_an_open_schedule_goes_on():
    assert schedules.next_bill_date(schedule(usage()), day("2099-12-31")) == day("2100-01-01")


def test_nothing_is_due_before_the_start_or_in_between():
    contract = schedule(fee(), usage(), start="2025-01-01")

    assert schedules.charges_due(contract, day("2024-12-01")) == ()
    assert schedules.charges_due(contract, day("2025-01-15")) == ()


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"start": "1999-12-31"}, "startDate"),
        ({"start": "2200-01-01"}, "startDate"),
        ({"end": "2025-01-01"}, "endDate"),
        ({"end": "2024-12-31"}, "endDate"),
        ({"end": "2200-01-02"}, "endDate"),
        ({"anchor_day": 0}, "recurrenceDayOfMonth"),
        ({"anchor_day": 32}, "recurrenceDayOfMonth"),
    ],
)
def test_dates_out_of_range_are_refused_by_field(changes, key):
    with pytest.raises(InvalidSchedule, match="schedule schedule: ") as refused:
        schedule(fee(), **changes)

    assert refused.value.key == key


@pytest.mark.parametrize(
    "changes", [{"end": "2025-01-02"}, {"start": "2000-01-01"}, {"end": "2200-01-01"}, {"anchor_day": 31}]
)
def test_dates_at_the_limits_are_accepted(changes):
    assert schedule(fee(), **changes).currency == "USD"


@pytest.mark.parametrize("count", [0, 101])
def test_the_number_of_phases_is_bounded(count):
    plain = schedule(fee())
    with pytest.raises(InvalidSchedule, match=f"between 1 and 100 phases, not {count}"):
        msgspec.structs.replace(plain, phases=plain.phases * count)


@pytest.mark.parametrize(
    ("phase", "key"),
    [(("2025-01-02", None), "phases[0].startDate"), (("2025-01-01", "2025-02-01"), "phases[0].endDate")],
)
def test_the_only_phase_covers_the_schedule(phase, key):
    start, end = (day(text) if text else None for text in phase)
    with pytest.raises(InvalidSchedule) as refused:
        msgspec.structs.replace(schedule(fee()), phases=(Phase(start, end, (fee(),)),))

    assert refused.value.key == key


@pytest.mark.parametrize(
    ("prices", "kind", "message"),
    [
        ([], InvalidSchedule, "between 1 and 1000 prices, not 0"),
        ([fee(), fee()], InvalidSchedule, "only once"),
        ([fee(), price(graduated("then 1"), id="x", currency="EUR")], MixedCurrencies, "EUR, USD"),
    ],
    ids=["none", "twice", "two currencies"],
)
def test_prices_that_cannot_share_a_schedule_are_refused(prices, kind, message):
    with pytest.raises(kind, match=message) as refused:
        schedule(*prices)

    assert refused.value.key == "phases[0].priceIds"


@given(start=st.integers(-40, 40), length=st.integers(1, 40), billing_type=st.sampled_from(BillingType))
def test_a_charge_is_payable_where_its_pay_day_lies(start, length, billing_type):
    found = schedules.Charge(fee(billing_type=billing_type), month("2025-02"), month("2025-02"))
    first = day("2025-02-01") + start * DAY
    last = first + length * DAY

    assert found.is_payable(start=first, end=last) is (first <= found.pay_day < last)

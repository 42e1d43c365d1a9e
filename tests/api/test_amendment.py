"""What may change of a schedule that runs, against what is billed."""

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest

from api import amendment, error
from rating.period import Frequency, Period
from rating.price import BillingType, Price
from rating.schedule import Schedule
from rating.terms import CreditUnit, Discount, DiscountType, GrantTerms
from store import schedule as schedules
from store.phase import Phase, Terms
from store.progress import Billed
from store.schedule import BillingSchedule, Status
from tests.build import day, fixed, price

ID, OTHER = UUID("0193f000-0000-7000-8000-000000000002"), UUID("0193f000-0000-7000-8000-000000000003")
QUARTERLY, ADVANCE = UUID("0193f000-0000-7000-8000-000000000004"), UUID("0193f000-0000-7000-8000-000000000005")
NOON = datetime(2025, 3, 10, 12, tzinfo=UTC)
TODAY = NOON.date()
LATER_DISCOUNT = Discount(
    id="d", type=DiscountType.PERCENTAGE, amount=Decimal(10), message="Off", separate_line_item=True
)


def known(billing_type: BillingType) -> dict[UUID, Price]:
    def made(id_: UUID, frequency: Frequency, type_: BillingType) -> Price:
        return price(fixed("10"), id=str(id_), billing_type=type_, billing_frequency=frequency)

    return {
        ID: made(ID, Frequency.MONTHLY, billing_type),
        OTHER: made(OTHER, Frequency.MONTHLY, billing_type),
        QUARTERLY: made(QUARTERLY, Frequency.QUARTERLY, BillingType.IN_ARREARS),
        ADVANCE: made(ADVANCE, Frequency.MONTHLY, BillingType.IN_ADVANCE),
    }


def phase(start: str, end: str | None, *prices: UUID, **changes: object) -> Phase:
    last = day(end) if end else None
    made = Phase(id=ID, name=None, start_date=day(start), end_date=last, prices=prices or (ID,), created_at=NOON)
    return msgspec.structs.replace(made, **changes)


def contract(*phases: Phase) -> BillingSchedule:
    return BillingSchedule(
        id=ID,
        customer=ID,
        is_draft=False,
        start_date=phases[0].start_date,
        end_date=phases[-1].end_date,
        recurrence_day=1,
        auto_issue=False,
        particulars={},
        phases=phases,
        created_at=NOON,
        updated_at=NOON,
        status=Status.ACTIVE,
    )


def terms(of: BillingSchedule, billing_type: BillingType) -> Schedule:
    return schedules.terms(of, known(billing_type))


def amend(
    before: BillingSchedule,
    after: BillingSchedule,
    *,
    billed: Billed,
    billing_type: BillingType = BillingType.IN_ARREARS,
) -> None:
    amendment.check(before, after, terms=terms(before, billing_type), today=TODAY)
    amendment.check_billed(terms(before, billing_type), terms(after, billing_type), billed=billed)


def move_end(old: str | None, new: str | None, *, billed: Billed, billing_type: BillingType) -> None:
    before, after = contract(phase("2025-01-01", old)), contract(phase("2025-01-01", new))
    amend(before, after, billed=billed, billing_type=billing_type)


def live(last: str, *periods: tuple[UUID, str, str]) -> Billed:
    return Billed(day(last), tuple((one, Period(day(start), day(end))) for one, start, end in periods))


NOTHING = Billed()
MARCH = live("2025-03-01", (ID, "2025-03-01", "2025-04-01"))
HALF_OF_MARCH = live("2025-03-01", (ID, "2025-03-01", "2025-03-16"))
FEBRUARY = live("2025-03-01", (ID, "2025-02-01", "2025-03-01"))


@pytest.mark.parametrize(
    ("old", "new", "billed", "billing_type"),
    [
        pytest.param(None, "2025-03-10", NOTHING, BillingType.IN_ADVANCE, id="ends today"),
        pytest.param("2025-03-31", "2025-03-10", MARCH, BillingType.IN_ADVANCE, id="earlier than billed in advance"),
        pytest.param("2025-03-31", "2025-04-30", MARCH, BillingType.IN_ADVANCE, id="later, from a period's border on"),
        pytest.param("2025-03-31", None, MARCH, BillingType.IN_ADVANCE, id="open, from a period's border on"),
        pytest.param("2025-03-15", "2025-03-31", FEBRUARY, BillingType.IN_ARREARS, id="later, nothing of it billed"),
        pytest.param("2025-03-15", "2025-03-15", HALF_OF_MARCH, BillingType.IN_ADVANCE, id="the same"),
    ],
)
def test_an_end_moves_where_nothing_billed_contradicts_it(
    old: str, new: str, billed: Billed, billing_type: BillingType
) -> None:
    move_end(old, new, billed=billed, billing_type=billing_type)


BUNDLE = GrantTerms(
    id=str(OTHER), name="Bundle", unit=CreditUnit.METRIC, amount=Decimal(9), refresh=Frequency.MONTHLY, cost=Decimal(8)
)


def test_an_end_moves_over_a_grant_that_was_paid_for_in_full() -> None:
    bought = {"terms": Terms(grants=(BUNDLE,))}
    before = contract(phase("2025-01-01", "2025-03-15", QUARTERLY, **bought))
    after = contract(phase("2025-01-01", "2025-06-30", QUARTERLY, **bought))

    amend(before, after, billed=live("2025-03-01", (OTHER, "2025-03-01", "2025-03-16")))


def test_a_grant_that_costs_something_comes_with_a_phase_to_be_billed() -> None:
    bought = {"terms": Terms(grants=(BUNDLE,))}
    before, billed = contract(phase("2025-01-01", "2025-06-30")), live("2025-03-01")
    now = contract(phase("2025-01-01", "2025-06-30", **bought))
    later = contract(phase("2025-01-01", "2025-03-31"), phase("2025-04-01", "2025-06-30", **bought))

    amend(before, later, billed=billed)
    with pytest.raises(error.ScheduleRunning) as caught:
        amend(before, now, billed=billed)

    assert caught.value.key == "phases[0].creditGrants[0].costOfCredit"


@pytest.mark.parametrize(
    ("old", "new", "billed", "billing_type"),
    [
        pytest.param(None, "2025-03-09", NOTHING, BillingType.IN_ADVANCE, id="yesterday"),
        pytest.param("2025-03-15", "2025-03-31", HALF_OF_MARCH, BillingType.IN_ADVANCE, id="later, a part is billed"),
        pytest.param("2025-03-15", None, HALF_OF_MARCH, BillingType.IN_ADVANCE, id="open, a part is billed"),
        pytest.param(None, "2025-03-20", live("2025-05-01"), BillingType.IN_ADVANCE, id="before what is billed ahead"),
        pytest.param(
            "2025-03-15",
            "2025-03-31",
            live("2025-03-16", (ID, "2025-03-01", "2025-03-16")),
            BillingType.IN_ARREARS,
            id="later, a part is billed in arrears",
        ),
    ],
)
def test_an_end_does_not_move_over_what_is_billed(
    old: str, new: str, billed: Billed, billing_type: BillingType
) -> None:
    with pytest.raises(error.EndDateBilled) as caught:
        move_end(old, new, billed=billed, billing_type=billing_type)

    assert caught.value.key == "endDate"


RUNS = contract(phase("2025-01-01", "2025-02-28"), phase("2025-03-01", "2025-06-30"), phase("2025-07-01", None))
OVER, ACTIVE, TO_COME = RUNS.phases


def changed(*phases: Phase) -> BillingSchedule:
    return msgspec.structs.replace(RUNS, phases=phases, end_date=phases[-1].end_date)


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(changed(OVER, ACTIVE, phase("2025-07-01", None, OTHER)), id="other prices of a phase to come"),
        pytest.param(changed(OVER, phase("2025-03-01", None)), id="a phase to come is taken away"),
        pytest.param(
            changed(OVER, ACTIVE, phase("2025-07-01", "2025-12-31"), phase("2026-01-01", None, OTHER)),
            id="a phase is added",
        ),
        pytest.param(
            changed(OVER, phase("2025-03-01", "2025-04-30"), phase("2025-05-01", None)),
            id="the phase that runs ends earlier",
        ),
        pytest.param(changed(OVER, phase("2025-03-01", "2025-06-30", OTHER), TO_COME), id="another price in arrears"),
        pytest.param(
            changed(OVER, phase("2025-03-01", "2025-06-30", terms=Terms(discounts=(LATER_DISCOUNT,))), TO_COME),
            id="a discount in the phase that runs",
        ),
    ],
)
def test_what_is_to_come_may_change(after: BillingSchedule) -> None:
    amend(RUNS, after, billed=FEBRUARY)


@pytest.mark.parametrize(
    ("after", "key"),
    [
        pytest.param(
            changed(phase("2025-01-01", "2025-02-28", OTHER), ACTIVE, TO_COME), "phases[0].priceIds", id="over"
        ),
        pytest.param(
            changed(phase("2025-01-01", "2025-01-31"), phase("2025-02-01", "2025-06-30"), TO_COME),
            "phases[0].endDate",
            id="the border of a phase that is over",
        ),
        pytest.param(
            changed(OVER, phase("2025-03-01", "2025-06-30", terms=Terms(), recurrence="RESET"), TO_COME),
            "phases[1].recurrencePreference",
            id="where periods begin",
        ),
    ],
)
def test_what_is_over_stays(after: BillingSchedule, key: str) -> None:
    with pytest.raises(error.ScheduleRunning) as caught:
        amend(RUNS, after, billed=FEBRUARY)

    assert caught.value.key == key


def test_a_price_in_advance_of_the_phase_that_runs_stays() -> None:
    before = contract(phase("2025-03-01", None, ID, ADVANCE))

    with pytest.raises(error.ScheduleRunning) as caught:
        amend(before, contract(phase("2025-03-01", None, ID)), billed=NOTHING)

    assert caught.value.key == "phases[0].priceIds"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param((ID,), (QUARTERLY,), id="the new period has days that are billed"),
        pytest.param((QUARTERLY,), (ID,), id="the old period has days that are not billed"),
    ],
)
def test_prices_change_where_their_periods_meet(old: tuple[UUID, ...], new: tuple[UUID, ...]) -> None:
    before, after = contract(phase("2025-01-01", None, *old)), contract(phase("2025-01-01", None, *new))

    with pytest.raises(error.ScheduleRunning) as caught:
        amend(before, after, billed=live("2025-03-01", (OTHER, "2025-02-01", "2025-03-01")))

    assert caught.value.key == "phases"


def test_the_same_price_is_not_billed_twice_by_a_phase_that_begins_in_its_period() -> None:
    before = contract(phase("2025-01-01", None, ADVANCE))
    after = contract(phase("2025-01-01", "2025-03-15", ADVANCE), phase("2025-03-16", None, ADVANCE))

    with pytest.raises(error.EndDateBilled):
        amend(before, after, billed=live("2025-03-01", (ADVANCE, "2025-03-01", "2025-04-01")))


def test_a_completed_schedule_does_not_change() -> None:
    before = msgspec.structs.replace(contract(phase("2025-01-01", "2025-02-28")), status=Status.COMPLETED)

    with pytest.raises(error.ScheduleCompleted):
        amendment.check(before, before, terms=terms(before, BillingType.IN_ARREARS), today=TODAY)


def test_bills_far_ahead_of_a_daily_schedule_are_bounded() -> None:
    daily = price(fixed("1"), id=str(ID), billing_frequency=Frequency.DAILY)
    of = contract(phase("2025-01-01", None))
    known_ = schedules.terms(of, {ID: daily})
    after = msgspec.structs.replace(
        known_, end=date(2030, 1, 1), phases=(msgspec.structs.replace(known_.phases[0], end=date(2030, 1, 1)),)
    )

    amendment.check_billed(known_, after, billed=live("2025-03-10", (ID, "2025-03-09", "2025-03-10")))

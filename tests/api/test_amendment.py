"""Ends of running schedules, against what is billed. Billed prices are those with a charge up to the old end."""

from datetime import UTC, date, datetime
from uuid import UUID

import msgspec
import pytest

from api import amendment, error
from rating.period import Frequency
from rating.price import BillingType
from rating.schedule import Schedule
from store import schedule as schedules
from store.phase import Phase
from store.schedule import Billed, BillingSchedule, Status
from tests.build import day, fixed, price

ID = UUID("0193f000-0000-7000-8000-000000000002")
NOON = datetime(2025, 3, 10, 12, tzinfo=UTC)
TODAY = NOON.date()


def contract(
    end: str | None, *, billing_type: BillingType = BillingType.IN_ADVANCE
) -> tuple[BillingSchedule, Schedule]:
    last = day(end) if end else None
    phase = Phase(id=ID, name=None, start_date=day("2025-01-01"), end_date=last, prices=(ID,), created_at=NOON)
    kept = BillingSchedule(
        id=ID,
        customer=ID,
        is_draft=False,
        start_date=day("2025-01-01"),
        end_date=last,
        recurrence_day=1,
        auto_issue=False,
        particulars={},
        phases=(phase,),
        created_at=NOON,
        updated_at=NOON,
        status=Status.ACTIVE,
    )
    known = price(fixed("10"), id=str(ID), billing_type=billing_type, billing_frequency=Frequency.MONTHLY)
    return kept, schedules.terms(kept, {ID: known})


def check_end(old: str | None, new: str | None, *, billed: Billed, **options: BillingType) -> None:
    before, _ = contract(old, **options)
    after, terms = contract(new, **options)
    amendment.check(before, after, today=TODAY)
    amendment.check_end(before, after, terms=terms, billed=billed)


NOTHING = Billed(None, frozenset())
MARCH_IN_ADVANCE = Billed(day("2025-03-01"), frozenset({ID}))
FEBRUARY_IN_ARREARS = Billed(day("2025-03-01"), frozenset())


@pytest.mark.parametrize(
    ("old", "new", "billed"),
    [
        pytest.param(None, "2025-03-10", NOTHING, id="ends today"),
        pytest.param("2025-03-31", "2025-03-10", MARCH_IN_ADVANCE, id="earlier than billed in advance"),
        pytest.param("2025-03-31", "2025-04-30", MARCH_IN_ADVANCE, id="later, from a period's border on"),
        pytest.param("2025-03-31", None, MARCH_IN_ADVANCE, id="open, from a period's border on"),
        pytest.param("2025-03-15", "2025-03-31", FEBRUARY_IN_ARREARS, id="later, the partial period not billed yet"),
        pytest.param("2025-03-15", "2025-03-15", MARCH_IN_ADVANCE, id="the same"),
    ],
)
def test_an_end_moves_where_nothing_billed_contradicts_it(old: str, new: str, billed: Billed) -> None:
    check_end(old, new, billed=billed)


@pytest.mark.parametrize(
    ("old", "new", "billed"),
    [
        pytest.param(None, "2025-03-09", NOTHING, id="yesterday"),
        pytest.param("2025-03-15", "2025-03-31", MARCH_IN_ADVANCE, id="later, but the partial period is billed"),
        pytest.param("2025-03-15", None, MARCH_IN_ADVANCE, id="open, but the partial period is billed"),
        pytest.param(None, "2025-03-20", Billed(day("2025-05-01"), frozenset()), id="before what is billed ahead"),
    ],
)
def test_an_end_does_not_move_over_what_is_billed(old: str, new: str, billed: Billed) -> None:
    with pytest.raises(error.EndDateBilled) as caught:
        check_end(old, new, billed=billed)

    assert caught.value.key == "endDate"


def test_a_partial_period_billed_in_arrears_ahead_of_time_is_not_extended() -> None:
    with pytest.raises(error.EndDateBilled):
        check_end(
            "2025-03-15",
            "2025-03-31",
            billed=Billed(date(2025, 3, 16), frozenset({ID})),
            billing_type=BillingType.IN_ARREARS,
        )


def test_a_completed_schedule_does_not_change() -> None:
    before = msgspec.structs.replace(contract("2025-02-28")[0], status=Status.COMPLETED)

    with pytest.raises(error.ScheduleCompleted):
        amendment.check(before, before, today=TODAY)

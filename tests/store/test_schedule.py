"""Billing schedules: dates inclusive as in the API, terms half-open as in rating."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest
from uuid_utils.compat import uuid7

from rating.period import Period
from store import progress, schedule
from store.account import Principal
from store.db import Connection
from store.error import NotFound
from store.price import StoredPrice
from store.progress import Billed
from store.schedule import BillingSchedule, Status
from tests.build import day
from tests.store.rows import kept_schedule

NOW = datetime(2025, 3, 10, 12, tzinfo=UTC)
TODAY = NOW.date()


async def test_a_schedule_comes_back_as_it_was_kept(conn: Connection, account: Principal) -> None:
    made, _ = await kept_schedule(conn, account)

    found = await schedule.get(conn, account.account, schedule=made.id, today=TODAY)

    assert found == msgspec.structs.replace(made, status=Status.ACTIVE)


async def test_terms_are_half_open_and_anchored_on_the_start_unless_said_otherwise(
    conn: Connection, account: Principal
) -> None:
    made, fee = await kept_schedule(conn, account, start="2025-01-15", end="2025-03-31")
    aligned = msgspec.structs.replace(made, recurrence_day=1)

    terms = schedule.terms(made, {fee.id: fee.terms})

    assert (terms.start, terms.end, terms.anchor_day) == (date(2025, 1, 15), date(2025, 4, 1), 15)
    assert (terms.phases[0].start, terms.phases[0].end) == (terms.start, terms.end)
    assert schedule.terms(aligned, {fee.id: fee.terms}).anchor_day == 1


@pytest.mark.parametrize(
    ("zone", "instant"),
    [
        ("UTC", datetime(2025, 3, 30, tzinfo=UTC)),
        ("Asia/Kathmandu", datetime(2025, 3, 29, 18, 15, tzinfo=UTC)),
        # Midnight is skipped that day: it begins at the jump.
        ("Asia/Beirut", datetime(2025, 3, 29, 22, tzinfo=UTC)),
    ],
)
async def test_a_schedule_is_due_from_the_first_instant_of_its_day(
    conn: Connection, account: Principal, zone: str, instant: datetime
) -> None:
    made, _ = await kept_schedule(conn, account)

    assert schedule.due_on(made, date(2025, 3, 30), zone=ZoneInfo(zone)).next_bill_at == instant


async def test_a_change_keeps_the_phases_id_and_clears_why_it_was_parked(conn: Connection, account: Principal) -> None:
    made, _ = await kept_schedule(conn, account)
    await conn.execute("update billing_schedule set parked_reason = 'X', parked_until = now()")
    [phase] = made.phases
    renamed = msgspec.structs.replace(phase, id=uuid7(), name="New")

    async with conn.transaction():
        await schedule.update(
            conn, account.account, schedule=msgspec.structs.replace(made, phases=(renamed,), auto_issue=True)
        )

    found = await schedule.get(conn, account.account, schedule=made.id, today=TODAY)
    assert (found.phases[0].id, found.phases[0].name) == (phase.id, "New")
    assert (found.auto_issue, found.parked) == (True, None)


@pytest.mark.parametrize(
    ("draft", "start", "end", "due", "status"),
    [
        (True, "2025-03-11", None, None, "DRAFT"),
        (False, "2025-03-11", None, "2025-03-11", "PENDING"),
        (False, "2025-03-10", None, "2025-03-10", "ACTIVE"),
        (False, "2025-01-01", "2025-03-09", "2025-03-10", "ACTIVE"),
        (False, "2025-01-01", "2025-03-10", None, "ACTIVE"),
        (False, "2025-01-01", "2025-03-09", None, "COMPLETED"),
    ],
)
async def test_the_status_is_what_the_dates_mean_today(
    conn: Connection, *, draft: bool, start: str, end: str | None, due: str | None, status: str
) -> None:
    dates = [day(text) if text else None for text in (start, end, due)]

    found = await conn.fetchval("select billing_schedule_status($1, $2, $3, $4, $5)", draft, *dates, TODAY)

    assert found == status


async def test_a_schedule_knows_how_far_it_is_billed(conn: Connection, account: Principal) -> None:
    made, fee = await kept_schedule(conn, account, end="2025-02-28")
    for bill_date, is_live in (("2025-02-01", True), ("2025-03-01", True)):
        await bill(conn, account, made, fee, bill_date=day(bill_date), is_live=is_live)

    found = await progress.billed(conn, account.account, schedule=made)

    periods = [Period(day("2025-01-04"), day("2025-02-01")), Period(day("2025-02-01"), day("2025-03-01"))]
    assert found == Billed(date(2025, 3, 1), tuple((fee.id, one) for one in periods))
    assert (await schedule.get(conn, account.account, schedule=made.id, today=TODAY)).last_invoice is not None


async def test_what_was_taken_back_is_not_billed_to_the_end(conn: Connection, account: Principal) -> None:
    made, fee = await kept_schedule(conn, account, end="2025-02-28")
    await bill(conn, account, made, fee, bill_date=date(2025, 3, 1), is_live=False)

    found = await progress.billed(conn, account.account, schedule=made)

    assert found == Billed(date(2025, 3, 1), ())


async def bill(
    conn: Connection, account: Principal, made: BillingSchedule, fee: StoredPrice, *, bill_date: date, is_live: bool
) -> None:
    """An invoice of one charge that ends on the bill date."""
    invoice = uuid7()
    await conn.execute(
        "insert into invoice (account, id, customer, schedule, reason, bill_date, status, currency, period_start, "
        "period_end, customer_snapshot, particulars, calculated_at, created_at, updated_at) "
        "values ($1, $2, $3, $4, 'SCHEDULE', $5, 'DRAFT', 'EUR', $5::date - 28, $5, '{}', '{}', now(), now(), now())",
        *(account.account, invoice, made.customer, made.id, bill_date),
    )
    await conn.execute(
        "insert into invoice_charge (account, invoice, schedule, price, service_start, service_end, reason, is_live) "
        "values ($1, $2, $3, $4, $5::date - 28, $5, 'SCHEDULE', $6)",
        *(account.account, invoice, made.id, fee.id, bill_date, is_live),
    )


async def test_a_schedule_of_another_account_does_not_exist(conn: Connection, account: Principal) -> None:
    made, _ = await kept_schedule(conn, account)

    with pytest.raises(NotFound):
        await schedule.get(conn, account.account + 1, schedule=made.id, today=TODAY)


async def test_a_schedule_of_nobody_is_not_made(conn: Connection, account: Principal) -> None:
    with pytest.raises(NotFound) as caught:
        await kept_schedule(conn, account, customer=uuid7())

    assert caught.value.key == "customerId"

"""Billing schedules that are due: how the billing run claims them, moves them on, and sets them aside.

A schedule is due when `next_bill_at` has come: the instant at which `next_bill_date` begins in the account's zone.
Claiming takes row locks (SKIP LOCKED), so several runs share the work; moving on and parking happen in the same
transaction. A parked schedule is not due until its time comes again, and moving it on clears what it was parked for.

Everything here is set-based and spans accounts: the number of queries does not grow with the number of schedules.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import msgspec
import structlog

from rating.error import RatingError
from rating.period import day_start
from rating.schedule import Schedule
from store import phase, price
from store.db import Connection
from store.phase import Phase
from store.schedule import BillingSchedule, TaxChoice, tax_choices, terms

log = structlog.get_logger(__name__)

# A schedule that rating does not read any more waits for a person; it is looked at again after this long.
UNREADABLE_RETRY = timedelta(hours=1)


class StoredSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """A due schedule: its terms, and the date to bill. `version` counts changes of the terms."""

    account: int
    id: UUID
    customer: UUID
    terms: Schedule
    bill_date: date
    auto_issue: bool
    particulars: dict[str, Any]
    is_rolled_up: bool = False
    tax_rates: tuple[TaxChoice, ...] = ()
    version: int = 1
    # Of a bill that is made again: whose usage it rolled up; None: everyone who is below the customer today.
    members: tuple[UUID, ...] | None = None
    # Nothing falls due any more; the bill date is then its first day.
    is_over: bool = False


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule that was billed, and when it falls due next; None: never again."""

    account: int
    id: UUID
    next_bill_date: date | None


# Whether a run has anything to do, by billing_schedule_due; asked all the time.
_IS_DUE = """
select exists (
    select from billing_schedule
    where greatest(next_bill_at, parked_until) <= $1 and next_bill_at is not null and archived_at is null)
"""


async def is_due(conn: Connection, *, now: datetime) -> bool:
    """Whether any schedule is due."""
    found: bool = await conn.fetchval(_IS_DUE, now)
    return found


# Claims due schedules, the longest waiting first, by billing_schedule_due; those of another run are skipped.
_CLAIM = """
select account, id, customer, is_draft, start_date, end_date, recurrence_day, auto_issue, particulars, is_rolled_up,
    tax_rates, next_bill_date, next_bill_at, version, created_at, updated_at
from billing_schedule
where greatest(next_bill_at, parked_until) <= $1 and next_bill_at is not null and archived_at is null
order by greatest(next_bill_at, parked_until)
limit $2
for update skip locked
"""


async def claim(conn: Connection, *, now: datetime, limit: int) -> list[StoredSchedule]:
    """Lock up to `limit` due schedules until the end of the transaction; one that cannot be read is parked instead."""
    return await _read(conn, await conn.fetch(_CLAIM, now, limit), now=now)


# Claims schedules to review and says when to look again, the longest waiting first, by billing_schedule_review; those
# of another run are skipped.
_CLAIM_REVIEWS = """
update billing_schedule set review_at = $2
where (account, id) in (
    select account, id from billing_schedule
    where review_at <= $1 and archived_at is null
    order by review_at
    limit $3
    for update skip locked)
returning account, id, customer, is_draft, start_date, end_date, recurrence_day, auto_issue, particulars, is_rolled_up,
    tax_rates, next_bill_date, next_bill_at, version, created_at, updated_at
"""


async def claim_reviews(conn: Connection, *, now: datetime, again_at: datetime, limit: int) -> list[StoredSchedule]:
    """Lock up to `limit` schedules whose bills are to be compared with their usage; the next time is `again_at`."""
    return await _read(conn, await conn.fetch(_CLAIM_REVIEWS, now, again_at, limit), now=now)


# Nothing is left to compare: no bill of late is a draft, and what follows will look at the others. By the primary key
# and invoice_once.
_END_REVIEWS = """
update billing_schedule set review_at = null
from unnest($1::integer[], $2::uuid[]) as reviewed (account, id)
where billing_schedule.account = reviewed.account and billing_schedule.id = reviewed.id and not exists (
    select from invoice
    where invoice.account = reviewed.account and invoice.schedule = reviewed.id and invoice.status <> 'VOIDED'
        and invoice.bill_date >= $3 and invoice.measured is not null
        and (invoice.status = 'DRAFT' or billing_schedule.next_bill_at is null))
"""


async def end_reviews(conn: Connection, schedules: Sequence[tuple[int, UUID]], *, since: date) -> None:
    """Review these (account, schedule)s no more until they are billed again, if no bill since a date needs it."""
    await conn.execute(_END_REVIEWS, [account for account, _ in schedules], [one for _, one in schedules], since)


# One schedule, locked until the end of the transaction, by the primary key.
_HOLD = """
select account, id, customer, is_draft, start_date, end_date, recurrence_day, auto_issue, particulars, is_rolled_up,
    tax_rates, next_bill_date, next_bill_at, version, created_at, updated_at
from billing_schedule where account = $1 and id = $2
for update
"""


async def hold(conn: Connection, account: int, *, schedule: UUID, now: datetime) -> StoredSchedule | None:
    """Lock one schedule, due or not; None: its terms cannot be read any more."""
    return next(iter(await _read(conn, await conn.fetch(_HOLD, account, schedule), now=now)), None)


async def _read(conn: Connection, rows: Sequence[asyncpg.Record], *, now: datetime) -> list[StoredSchedule]:
    found = await _with_phases(conn, rows)
    prices = await price.load(
        conn, [(account, one) for account, s in found for part in s.phases for one in part.prices]
    )
    claimed: list[StoredSchedule] = []
    for account, one in found:
        try:
            known = {price_id: prices[account, price_id] for part in one.phases for price_id in part.prices}
            claimed.append(_stored(account, one, terms(one, known)))
        except (KeyError, RatingError) as exc:
            await _park_unreadable(conn, account, one.id, why=exc, until=now + UNREADABLE_RETRY)
    return claimed


async def _with_phases(conn: Connection, rows: Sequence[asyncpg.Record]) -> list[tuple[int, BillingSchedule]]:
    phases = await phase.load(conn, [(row["account"], row["id"]) for row in rows])
    return [(row["account"], _schedule(row, phases[row["account"], row["id"]])) for row in rows]


# Moves billed schedules on and clears what they were parked for, by the primary key.
_ADVANCE = """
update billing_schedule set next_bill_date = moved.next_bill_date, next_bill_at = moved.next_bill_at, updated_at = $5,
    parked_reason = null, parked_detail = null, parked_until = null, review_at = $6
from unnest($1::integer[], $2::uuid[], $3::date[], $4::timestamptz[])
    as moved (account, id, next_bill_date, next_bill_at)
where billing_schedule.account = moved.account and billing_schedule.id = moved.id
"""

# The zones in which these accounts' dates become instants, by the primary key.
_ZONES = "select account, time_zone from account where account = any($1::integer[])"


async def advance(conn: Connection, moves: Sequence[Move], *, now: datetime, review_at: datetime | None = None) -> None:
    """Make each schedule due next on its date, from that day's first instant in its account's zone on."""
    accounts = [move.account for move in moves]
    zones = {row["account"]: ZoneInfo(row["time_zone"]) for row in await conn.fetch(_ZONES, list(set(accounts)))}
    days = [move.next_bill_date for move in moves]
    instants = [day and day_start(day, zones[move.account]) for move, day in zip(moves, days, strict=True)]
    await conn.execute(_ADVANCE, accounts, [move.id for move in moves], days, instants, now, review_at)


# Sets schedules aside, by the primary key.
_PARK = """
update billing_schedule set parked_reason = $3, parked_detail = $4, parked_until = $5
from unnest($1::integer[], $2::uuid[]) as parked (account, id)
where billing_schedule.account = parked.account and billing_schedule.id = parked.id
"""


async def park(
    conn: Connection, schedules: Sequence[tuple[int, UUID]], *, reason: str, detail: str, until: datetime
) -> None:
    """Set (account, schedule)s aside until then; the reason is shown with the schedule."""
    accounts, ids = [account for account, _ in schedules], [schedule for _, schedule in schedules]
    await conn.execute(_PARK, accounts, ids, reason, detail, until)


async def _park_unreadable(conn: Connection, account: int, schedule: UUID, *, why: Exception, until: datetime) -> None:
    # Its terms were good when they were accepted; rules that became stricter since must not stop the others.
    detail = str(why) if isinstance(why, RatingError) else f"A price of this schedule cannot be read: {why}."
    log.error("schedule parked", action="park", schedule=str(schedule), reason="UNREADABLE_TERMS", detail=detail)
    await park(conn, [(account, schedule)], reason="UNREADABLE_TERMS", detail=detail, until=until)


def _schedule(row: asyncpg.Record, phases: tuple[Phase, ...]) -> BillingSchedule:
    fields = {name: value for name, value in row.items() if name != "account"}
    decoded = {"particulars": msgspec.json.decode(row["particulars"]), "tax_rates": tax_choices(row["tax_rates"])}
    return BillingSchedule(**fields | decoded | {"phases": phases})


def _stored(account: int, schedule: BillingSchedule, known: Schedule) -> StoredSchedule:
    return StoredSchedule(
        account=account,
        id=schedule.id,
        customer=schedule.customer,
        terms=known,
        bill_date=schedule.next_bill_date or schedule.start_date,
        auto_issue=schedule.auto_issue,
        particulars=schedule.particulars,
        is_rolled_up=schedule.is_rolled_up,
        tax_rates=schedule.tax_rates,
        version=schedule.version,
        is_over=schedule.next_bill_date is None,
    )

"""Billing schedules: how they are kept.

    billing_schedule -> billing_phase (store/phase.py) -> price_ids

The API's dates are inclusive and are kept so; `terms` turns them into rating's half-open ones.
What the engine does not read (purchase order number, label, memo ...) is one JSON object, `particulars`. How the
billing run claims, moves on and parks schedules is in store/due.py.
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import msgspec

from rating import schedule as rating
from rating.period import day_start
from rating.price import Price
from store import phase
from store.db import Connection
from store.error import NotFound
from store.page import Listing, Page, both_ways
from store.phase import Phase

_DAY = timedelta(days=1)


class Status(StrEnum):
    """What the dates of a schedule mean today; billing_schedule_status in the database decides it."""

    DRAFT = "DRAFT"
    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    COMPLETED = "COMPLETED"


class TaxChoice(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A tax rate that was chosen by hand for a price."""

    price_id: UUID
    tax_rate_id: UUID


class Parked(msgspec.Struct, frozen=True):
    """Why the billing run set a schedule aside, and until when."""

    reason: str
    detail: str | None
    until: datetime


class BillingSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """A contract as it is kept. `status`, `last_invoice` and `parked` are answers, not inputs."""

    id: UUID
    customer: UUID
    is_draft: bool
    start_date: date
    end_date: date | None
    recurrence_day: int | None
    auto_issue: bool
    particulars: dict[str, Any]
    phases: tuple[Phase, ...]
    created_at: datetime
    updated_at: datetime
    is_rolled_up: bool = False
    tax_rates: tuple[TaxChoice, ...] = ()
    archived_at: datetime | None = None
    next_bill_date: date | None = None
    next_bill_at: datetime | None = None
    parked: Parked | None = None
    status: Status = Status.DRAFT
    last_invoice: UUID | None = None
    version: int = 1


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which schedules a list shows; None means any."""

    today: date
    customers: tuple[UUID, ...] | None = None
    statuses: tuple[str, ...] | None = None
    auto_issue: bool | None = None
    label: str | None = None
    starting_after: date | None = None
    starting_before: date | None = None
    ending_after: date | None = None
    ending_before: date | None = None
    include_open_ended: bool = True
    recurrence_days: tuple[int, ...] | None = None
    include_archived: bool = False


def terms(schedule: BillingSchedule, prices: Mapping[UUID, Price]) -> rating.Schedule:
    """The schedule as rating reads it; raises what rating says is wrong with it."""
    phases = tuple(phase.rated(one, prices) for one in schedule.phases)
    anchor_day = schedule.recurrence_day or schedule.start_date.day
    return rating.Schedule(str(schedule.id), schedule.start_date, _after(schedule.end_date), anchor_day, phases)


def due_on(schedule: BillingSchedule, day: date | None, *, zone: ZoneInfo) -> BillingSchedule:
    """The schedule with its next bill date, due from that day's first instant on."""
    due_at = None if day is None else day_start(day, zone)
    return msgspec.structs.replace(schedule, next_bill_date=day, next_bill_at=due_at)


# Makes a schedule.
_INSERT = """
insert into billing_schedule (account, id, customer, is_draft, start_date, end_date, recurrence_day, auto_issue,
    particulars, is_rolled_up, tax_rates, next_bill_date, next_bill_at, created_at, updated_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
"""


async def create(conn: Connection, account: int, *, schedule: BillingSchedule) -> None:
    """Keep a new schedule with its phases. Call inside a transaction."""
    values = (schedule.id, schedule.customer, *_values(schedule), schedule.created_at, schedule.updated_at)
    try:
        await conn.execute(_INSERT, account, *values)
    except asyncpg.ForeignKeyViolationError as exc:
        raise NotFound(f"There is no customer {schedule.customer}.", key="customerId") from exc
    await phase.put(conn, account, schedule=schedule.id, phases=schedule.phases)


# Changes everything of a schedule but its customer and clears what it was parked for, by the primary key.
_UPDATE = """
update billing_schedule set is_draft = $3, start_date = $4, end_date = $5, recurrence_day = $6, auto_issue = $7,
    particulars = $8, is_rolled_up = $9, tax_rates = $10, next_bill_date = $11, next_bill_at = $12, updated_at = $13,
    archived_at = $14, parked_reason = null, parked_detail = null, parked_until = null
where account = $1 and id = $2
"""


async def update(conn: Connection, account: int, *, schedule: BillingSchedule) -> None:
    """Keep a schedule's new state; the caller has read it for update in this transaction."""
    values = (*_values(schedule), schedule.updated_at, schedule.archived_at)
    await conn.execute(_UPDATE, account, schedule.id, *values)
    await phase.put(conn, account, schedule=schedule.id, phases=schedule.phases)


# Locks one schedule before it is read and changed, by the primary key; a billing run skips it meanwhile.
_LOCK = "select from billing_schedule where account = $1 and id = $2 for update"

# One schedule, by the primary key; its last invoice by invoice_once.
_GET = """
select id, customer, is_draft, start_date, end_date, recurrence_day, auto_issue, particulars, is_rolled_up, tax_rates,
    next_bill_date, next_bill_at, parked_reason, parked_detail, parked_until, created_at, updated_at, archived_at,
    billing_schedule_status(is_draft, start_date, end_date, next_bill_date, $3) as status,
    (select invoice.id from invoice
        where invoice.account = $1 and invoice.schedule = $2 and invoice.status <> 'VOIDED'
        order by invoice.bill_date desc, invoice.id desc limit 1) as last_invoice
from billing_schedule where account = $1 and id = $2
"""


async def get(
    conn: Connection, account: int, *, schedule: UUID, today: date, for_update: bool = False
) -> BillingSchedule:
    """One schedule with its phases, archived or not."""
    if for_update:
        await conn.execute(_LOCK, account, schedule)
    row = await conn.fetchrow(_GET, account, schedule, today)
    if row is None:
        raise NotFound(f"There is no billing schedule {schedule}.")
    phases = await phase.load(conn, [(account, schedule)])
    return _schedule(row, phases[account, schedule])


# Lists schedules, newest or oldest first, by the primary key; the filters are checked row by row.
_LIST = both_ways("""
select id, customer, is_draft, start_date, end_date, recurrence_day, auto_issue, particulars, is_rolled_up, tax_rates,
    next_bill_date, next_bill_at, parked_reason, parked_detail, parked_until, created_at, updated_at, archived_at,
    billing_schedule_status(is_draft, start_date, end_date, next_bill_date, $5) as status,
    (select invoice.id from invoice
        where invoice.account = $1 and invoice.schedule = billing_schedule.id and invoice.status <> 'VOIDED'
        order by invoice.bill_date desc, invoice.id desc limit 1) as last_invoice
from billing_schedule
where account = $1 and ($2::uuid is null or id > $2) and ($3::uuid is null or id < $3)
    and ($6::uuid[] is null or customer = any($6))
    and ($7::text[] is null
        or billing_schedule_status(is_draft, start_date, end_date, next_bill_date, $5) = any($7))
    and ($8::boolean is null or auto_issue = $8)
    and ($9::text is null or position(lower($9) in lower(particulars ->> 'label')) > 0)
    and ($10::date is null or start_date > $10) and ($11::date is null or start_date < $11)
    and (end_date is null and $14 or
        end_date is not null and ($12::date is null or end_date > $12) and ($13::date is null or end_date < $13))
    and ($15::integer[] is null or recurrence_day = any($15))
    and ($16 or archived_at is null)
order by id <direction> limit $4
""")

# How many schedules the same filters leave.
_COUNT = """
select count(*)
from billing_schedule
where account = $1
    and ($3::uuid[] is null or customer = any($3))
    and ($4::text[] is null
        or billing_schedule_status(is_draft, start_date, end_date, next_bill_date, $2) = any($4))
    and ($5::boolean is null or auto_issue = $5)
    and ($6::text is null or position(lower($6) in lower(particulars ->> 'label')) > 0)
    and ($7::date is null or start_date > $7) and ($8::date is null or start_date < $8)
    and (end_date is null and $11 or
        end_date is not null and ($9::date is null or end_date > $9) and ($10::date is null or end_date < $10))
    and ($12::integer[] is null or recurrence_day = any($12))
    and ($13 or archived_at is null)
"""


async def listing(conn: Connection, account: int, *, where: Filter, page: Page) -> Listing[BillingSchedule]:
    """One page of schedules with their phases."""
    wanted = (
        *(where.today, where.customers, where.statuses, where.auto_issue, where.label),
        *(where.starting_after, where.starting_before, where.ending_after, where.ending_before),
        *(where.include_open_ended, where.recurrence_days, where.include_archived),
    )
    rows = await conn.fetch(_LIST[page.reads_down], account, page.above, page.below, page.fetch_limit, *wanted)
    total = await conn.fetchval(_COUNT, account, *wanted)
    phases = await phase.load(conn, [(account, row["id"]) for row in rows])
    return page.cut([_schedule(row, phases[account, row["id"]]) for row in rows], total=total)


def _schedule(row: asyncpg.Record, phases: tuple[Phase, ...]) -> BillingSchedule:
    fields = dict(row)
    reason, detail, until = (fields.pop(f"parked_{name}") for name in ("reason", "detail", "until"))
    answers = {
        "phases": phases,
        "particulars": msgspec.json.decode(fields["particulars"]),
        "tax_rates": tax_choices(fields["tax_rates"]),
        "parked": Parked(reason, detail, until) if reason is not None else None,
        "status": Status(fields["status"]),
    }
    return BillingSchedule(**fields | answers)


def _values(schedule: BillingSchedule) -> tuple[Any, ...]:
    return (
        *(schedule.is_draft, schedule.start_date, schedule.end_date, schedule.recurrence_day, schedule.auto_issue),
        *(_json(schedule.particulars), schedule.is_rolled_up, _json(schedule.tax_rates)),
        *(schedule.next_bill_date, schedule.next_bill_at),
    )


def tax_choices(text: str) -> tuple[TaxChoice, ...]:
    """The tax rates chosen by hand, from their column."""
    return () if text == "[]" else msgspec.json.decode(text, type=tuple[TaxChoice, ...])


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _after(last_day: date | None) -> date | None:
    """Where a half-open range ends whose last day this is."""
    return None if last_day is None else last_day + _DAY

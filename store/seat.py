"""Seat events: how many seats of a type an alias has, from an instant on. Totals are absolute, never differences.

    put        the same id again: the same content changes nothing, other content takes its place
    changes    what bills read: the balance at the start of a range, then each within it, of many bills at once

Theory of operation
    Seat events are few, so they go straight to Postgres, one transaction each, and nothing is counted ahead: a balance
    is read from the events. An alias has a total from one event to its next; of two events at one instant the one
    received last stands. A customer has the sum over its aliases, each while it belongs to the customer
    (store/alias.py): whoever takes over an alias takes over its seats at that instant, and who gives it up has them no
    more.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

import asyncpg
import msgspec

from store.db import Connection
from store.error import NotFound
from store.page import Listing, Page, both_ways

# From an instant on there are so many.
Change: TypeAlias = tuple[datetime, int]


class SeatEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One reported total. `superseded_at`: when a later version of the same id took its place."""

    id: UUID
    customer_event_id: str
    alias: str
    seat_type: str
    event_timestamp: datetime
    total: int
    received_at: datetime
    superseded_at: datetime | None = None

    def says_the_same(self, other: "SeatEvent") -> bool:
        """Whether another version of the id has the same content."""
        mine = (self.alias, self.seat_type, self.event_timestamp, self.total)
        return mine == (other.alias, other.seat_type, other.event_timestamp, other.total)


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events a list shows; None means any. Customers stand for all their aliases, each in its time."""

    aliases: tuple[str, ...] | None = None
    customers: tuple[UUID, ...] | None = None
    seat_types: tuple[str, ...] | None = None
    customer_event_id: str | None = None
    before: datetime | None = None
    after: datetime | None = None
    include_superseded: bool = False


# Two who send one id at the same moment come one after the other.
_LOCK_ID = "select pg_advisory_xact_lock($1, hashtext($2))"

_COLUMNS = "id, customer_event_id, alias, seat_type, event_timestamp, total, received_at, superseded_at"

# The version of an id that stands, by seat_event_standing.
# ruff: noqa: S608 - built from constants
_STANDING = f"""
select {_COLUMNS} from seat_event where account = $1 and customer_event_id = $2 and superseded_at is null
"""

# By the primary key.
_SUPERSEDE = "update seat_event set superseded_at = $3 where account = $1 and id = $2"

_INSERT = """
insert into seat_event (account, id, customer_event_id, alias, seat_type, event_timestamp, total, received_at)
values ($1, $2, $3, $4, $5, $6, $7, $8)
"""


async def put(conn: Connection, account: int, *, event: SeatEvent) -> SeatEvent:
    """Keep an event and answer the one that stands for its id now. Call inside a transaction."""
    await conn.execute(_LOCK_ID, account, event.customer_event_id)
    row = await conn.fetchrow(_STANDING, account, event.customer_event_id)
    if row is not None:
        standing = _event(row)
        if standing.says_the_same(event):
            return standing
        await conn.execute(_SUPERSEDE, account, standing.id, event.received_at)
    await conn.execute(_INSERT, account, *msgspec.structs.astuple(event)[:-1])
    return event


# One version, by the primary key.
_GET = f"select {_COLUMNS} from seat_event where account = $1 and id = $2"


async def get(conn: Connection, account: int, *, event: UUID) -> SeatEvent:
    """One version, whether it stands or not."""
    row = await conn.fetchrow(_GET, account, event)
    if row is None:
        raise NotFound(f"There is no seat event {event}.")
    return _event(row)


_WHERE = """
account = $1 and ($2::text[] is null or alias = any($2))
    and ($3::uuid[] is null or exists (
        select from customer_alias as owner
        where owner.account = $1 and owner.customer = any($3) and owner.value = seat_event.alias
            and (owner.valid_from is null or owner.valid_from <= event_timestamp)
            and (owner.valid_to is null or event_timestamp < owner.valid_to)))
    and ($4::text[] is null or seat_type = any($4)) and ($5::text is null or customer_event_id = $5)
    and ($6::timestamptz is null or event_timestamp < $6) and ($7::timestamptz is null or event_timestamp > $7)
    and ($8 or superseded_at is null)
"""

# In the order of receipt, by the primary key.
_LIST_BY_ID = both_ways(f"""
select {_COLUMNS} from seat_event where {_WHERE}
    and ($9::uuid is null or id > $9) and ($10::uuid is null or id < $10)
order by id <direction> limit $11
""")

# In the order of event time, by seat_event_time; the cursor's row is never deleted.
_LIST_BY_TIME = both_ways(f"""
select {_COLUMNS} from seat_event where {_WHERE}
    and ($9::uuid is null or (event_timestamp, id)
        > (select event_timestamp, id from seat_event as edge where edge.account = $1 and edge.id = $9))
    and ($10::uuid is null or (event_timestamp, id)
        < (select event_timestamp, id from seat_event as edge where edge.account = $1 and edge.id = $10))
order by event_timestamp <direction>, id <direction> limit $11
""")

# How many events the same filters leave.
_COUNT = f"select count(*) from seat_event where {_WHERE}"


async def listing(
    conn: Connection, account: int, *, where: Filter, page: Page, by_time: bool = False
) -> Listing[SeatEvent]:
    """One page of events, by receipt or by event time."""
    wanted = (
        *(account, where.aliases, where.customers, where.seat_types),
        *(where.customer_event_id, where.before, where.after, where.include_superseded),
    )
    statements = _LIST_BY_TIME if by_time else _LIST_BY_ID
    rows = await conn.fetch(statements[page.reads_down], *wanted, page.above, page.below, page.fetch_limit)
    return page.cut([_event(row) for row in rows], total=await conn.fetchval(_COUNT, *wanted))


class Question(msgspec.Struct, frozen=True):
    """The seats of one type of these customers together, over a half-open range of instants."""

    customers: tuple[UUID, ...]
    seat_type: str
    start: datetime
    end: datetime


# Totals of the aliases of many customers: for each span in which an alias is theirs, the one that stands when the
# range or the span begins, each one until either ends, and zero where the span ends first. By customer_alias_customer
# and seat_event_alias.
_CHANGES = """
with span as (
    select place, seat_type, owner.id, value, greatest(first, valid_from) as start, least(last, valid_to) as stop,
        valid_to < last as ends
    from unnest($2::integer[], $3::uuid[], $4::text[], $5::timestamptz[], $6::timestamptz[])
        as asked (place, customer, seat_type, first, last)
    join customer_alias as owner on owner.account = $1 and owner.customer = asked.customer
        and (valid_from is null or valid_from < last) and (valid_to is null or valid_to > first)
)
select place, id, start as at, opening.total
from span, lateral (
    select total from seat_event
    where account = $1 and alias = value and seat_event.seat_type = span.seat_type and superseded_at is null
        and event_timestamp <= start
    order by event_timestamp desc, event_no desc limit 1
) as opening
union all
select place, span.id, event_timestamp, later.total
from span, lateral (
    select distinct on (event_timestamp) event_timestamp, total from seat_event
    where account = $1 and alias = value and seat_event.seat_type = span.seat_type and superseded_at is null
        and event_timestamp > start and event_timestamp < stop
    order by event_timestamp, event_no desc
) as later
union all
select place, id, stop, 0 from span where ends
"""


async def changes(conn: Connection, account: int, questions: Sequence[Question]) -> list[tuple[Change, ...]]:
    """In the order of the questions: the balance at `start`, then each change before `end`, in the order of time."""
    asked = [
        (place, customer, question.seat_type, question.start, question.end)
        for place, question in enumerate(questions)
        for customer in question.customers
    ]
    totals: defaultdict[int, list[tuple[datetime, UUID, int]]] = defaultdict(list)
    if asked:
        for row in await conn.fetch(_CHANGES, account, *map(list, zip(*asked, strict=True))):
            totals[row["place"]].append((row["at"], row["id"], row["total"]))
    return [tuple(_sum(totals[place], question.start)) for place, question in enumerate(questions)]


def _sum(totals: Iterable[tuple[datetime, UUID, int]], start: datetime) -> Iterable[Change]:
    """The totals of several aliases as one balance: a change where their sum changes."""
    by_alias: dict[UUID, int] = {}
    balances: dict[datetime, int] = {start: 0}
    for at, alias, total in sorted(totals):
        by_alias[alias] = total
        balances[at] = sum(by_alias.values())
    return _steps(balances)


def _steps(balances: Mapping[datetime, int]) -> Iterable[Change]:
    before: int | None = None
    for at, balance in balances.items():
        if balance != before:
            yield at, balance
        before = balance


def _event(row: asyncpg.Record) -> SeatEvent:
    return SeatEvent(**dict(row))

"""Usage events as people read them: one, its versions, and lists that stay fast however many there are.

    get(conn, account, key=)         the version of an id that stands: live, or cancelled
    is_dropped(conn, account, key=)  whether there was one whose raw row is not kept any more
    versions(conn, account, key=)    all of them, the last received first
    listing(conn, account, ...)      a page of events, each id once

Theory of a page
    A page is a walk along an index from an edge: in order of receipt over all events, or by event time inside of each
    of some aliases. A filter that the index does not know (`is_selective`) could make the walk arbitrarily long, so a
    page looks at WALK_MAX events and no more: it may be shorter than was asked for, or empty, and the list goes on
    from where the walk stopped as long as there is a next edge. Totals are not counted: that would be such a walk.

    In the order of receipt a range of event time leaves out the months of receipt that were over before it began, as no
    event is received before it happens. What was received since may all be late: store/event_hour.py says where among
    it events of an hour stand, and the page walks there alone, unless the range is very long.

    An index by event time over all aliases would cost every event a third of its way into the table, and one by type
    more, so there is none: by event time a list is a walk in each alias, as long as there are no more than
    WALKED_ALIASES_MAX; else there is the order of receipt. A BRIN index by event time costs nothing to keep, but it has
    no order, so a page would read and sort all that its range has; and one late event in a hundred is enough for the
    plain kind to exclude no block at all (3 M events, one hour: 861 ms; with minmax_multi 129 ms).
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from store import event_hour, event_version, partition, usage_alias
from store.db import Connection
from store.event_hour import EVERYWHERE, Places
from store.page import both_ways

WALK_MAX = 20_000
# The walk of one alias among many is shorter, but not so short that it gets nowhere.
_ALIAS_WALK_MIN = 200
# Beyond so many aliases, walking past all events is quicker than looking into each alias.
WALKED_ALIASES_MAX = 500


class Sort(StrEnum):
    """What a list is ordered by; the order of receipt breaks ties. By timestamp: within aliases only."""

    TIMESTAMP = "eventTimestamp"
    RECEIPT = "receivedAt"


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One version of an event. `order` is its place in the order of receipt."""

    key: UUID
    event_no: int
    customer_event_id: str
    customer_alias: str
    event_type: str
    timestamp: datetime
    received_at: datetime
    properties: str
    state: str
    order: tuple[int, int, int]


class Edge(msgspec.Struct, frozen=True, order=True):
    """Between two events of a list: an instant, which an order of receipt does not look at, and an event number."""

    at: datetime
    number: int


FIRST = Edge(datetime(1, 1, 1, tzinfo=UTC), -1)
LAST = Edge(datetime(9999, 12, 31, tzinfo=UTC), (1 << 63) - 1)


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events a list shows; None means any. Both ends of the time are outside."""

    aliases: tuple[str, ...] | None = None
    is_unmapped: bool = False
    event_type: str | None = None
    start: datetime | None = None
    end: datetime | None = None


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """Where a page starts and how long it is. At most one of `after` and `before` is set."""

    limit: int
    sort: Sort
    is_descending: bool = True
    after: Edge | None = None
    before: Edge | None = None
    offset: int = 0

    @property
    def reads_down(self) -> bool:
        return self.is_descending == (self.before is None)

    @property
    def edges(self) -> tuple[Edge, Edge]:
        """Between which the rest of the list lies, on the side that is read."""
        start = self.after or self.before
        if start is None:
            return FIRST, LAST
        return (FIRST, start) if self.reads_down else (start, LAST)


class EventListing(msgspec.Struct, frozen=True):
    """One page, and the edges from which the list goes on either way."""

    items: tuple[StoredEvent, ...]
    before: Edge | None
    after: Edge | None


_COLUMNS = """
e.key, e.event_no, e.customer_event_id, alias.value as customer_alias, e.event_type, e.event_timestamp, e.received_at,
e.properties, e.state, e.entry_ms, e.entry_sequence, e.entry_index
"""

# The version that an id stands for, by the primary keys of event_key and of every partition.
# ruff: noqa: S608 - built from constants
_GET = f"""
select {_COLUMNS}
from event_key as k
join usage_event as e on e.account = k.account and e.event_no = k.event_no and e.key = k.key
join usage_alias as alias on alias.account = e.account and alias.alias = e.alias
where k.account = $1 and k.key = $2 and e.state in ('live', 'cancelled')
"""

# Its other rows by their numbers, as the history of the id has them; by the primary key of every partition.
_ROWS = f"""
select {_COLUMNS}
from usage_event as e join usage_alias as alias using (account, alias)
where e.account = $1 and e.event_no = any($2::bigint[]) and e.key = $3
"""


async def get(conn: Connection, account: int, *, key: UUID) -> StoredEvent | None:
    """The version that stands; None: no event of this id is counted."""
    row = await conn.fetchrow(_GET, account, key)
    return _event(row) if row else None


# An id that stands for content names its row for ever; by the primary keys.
_IS_DROPPED = """
select exists (
    select from event_key as k
    where k.account = $1 and k.key = $2 and k.digest <> 0 and not exists (
        select from usage_event as e where e.account = k.account and e.event_no = k.event_no and e.key = k.key))
"""


async def is_dropped(conn: Connection, account: int, *, key: UUID) -> bool:
    """Whether an event of this id was counted, and its raw row is not kept any more."""
    found: bool = await conn.fetchval(_IS_DROPPED, account, key)
    return found


async def versions(conn: Connection, account: int, *, key: UUID) -> list[tuple[int, StoredEvent]]:
    """All versions of an id that are kept, the last received first, each with its number: the first received is 1.

    An id that was sent once has no history, only its row.
    """
    items = (await event_version.read(conn, [(account, key)])).get((account, key), [])
    # Content that was received again is the same row: it stands where it was received last.
    orders = {item.event_no: item.order for item in items if item.event_no is not None}
    found = {row["event_no"]: _event(row) for row in await conn.fetch(_ROWS, account, list(orders), key)}
    standing = await get(conn, account, key=key)
    if standing is not None:
        found[standing.event_no] = standing
        orders.setdefault(standing.event_no, standing.order)
    # Rows that were dropped are versions all the same.
    ranked = sorted(orders, key=lambda event_no: orders[event_no])
    numbered = [(place, found[event_no]) for place, event_no in enumerate(ranked, 1) if event_no in found]
    return numbered[::-1]


# What the index of a walk does not know. Each id is shown once, as what it stands for.
_SHOWN = """
e.state in ('live', 'cancelled')
    and ($6::integer[] is null or e.alias = any($6)) and ($7::text is null or e.event_type = $7)
    and (not $8 or not exists (
        select from customer_alias as mapping join usage_alias as name
            on name.account = mapping.account and name.value = mapping.value
        where mapping.account = e.account and name.account = e.account and name.alias = e.alias
            and (mapping.valid_from is null or mapping.valid_from <= e.event_timestamp)
            and (mapping.valid_to is null or e.event_timestamp < mapping.valid_to)))
    and ($12::timestamptz is null or e.event_timestamp > $12)
    and ($13::timestamptz is null or e.event_timestamp < $13)
"""

_BY_TIME = "(event_timestamp, event_no) > ($2, $3) and (event_timestamp, event_no) < ($4, $5)"
# $2 is the beginning of a month: it leaves whole partitions out, and looks at no row.
_BY_NUMBER = "event_no > low and event_no < high and received_at >= $2 and $4::timestamptz is not null"
# One after the other, so that what is sorted is the rows of one at a time.
_STRETCHES = "unnest($3::bigint[], $5::bigint[]) with ordinality as stretch (low, high, place)"
_TIME_ORDER = "event_timestamp <direction>, event_no <direction>"
_NUMBER_ORDER = "event_no <direction>"


# The inner limits below bound the walk, and keep the planner from any other way than along the index.

# A page by receipt, by the primary key of every partition: a walk in each stretch of numbers.
_PAGE = both_ways(f"""
select {_COLUMNS} from (
    select found.* from {_STRETCHES}, lateral (
        select * from (
            select * from usage_event where account = $1 and {_BY_NUMBER} order by {_NUMBER_ORDER} limit $11
        ) as e
        where {_SHOWN} limit $9::bigint + $10::bigint
    ) as found
    order by place, {_NUMBER_ORDER} limit $9::bigint offset $10::bigint
) as e join usage_alias as alias using (account, alias)
order by {_NUMBER_ORDER}
""")
# The event at which its walk stops.
_STOP = both_ways(f"""
select found.* from {_STRETCHES}, lateral (
    select event_timestamp, event_no from usage_event where account = $1 and {_BY_NUMBER}
    order by {_NUMBER_ORDER} limit $6
) as found
order by place, {_NUMBER_ORDER} offset $6 - 1 limit 1
""")

# A page of some aliases by event time: a walk of usage_event_alias_time in each, then the nearest of all.
_ALIAS_PAGE = both_ways(f"""
select {_COLUMNS} from (
    select found.* from unnest($6::integer[]) as wanted (number), lateral (
        select * from (
            select * from usage_event where account = $1 and alias = wanted.number and {_BY_TIME}
            order by {_TIME_ORDER} limit $11
        ) as e
        where {_SHOWN} limit $9::bigint + $10::bigint
    ) as found
    order by {_TIME_ORDER} limit $9::bigint offset $10::bigint
) as e join usage_alias as alias using (account, alias)
order by {_TIME_ORDER}
""")
# The nearest event at which the walk of any alias stops.
_ALIAS_STOP = both_ways(f"""
select found.event_timestamp, found.event_no from unnest($7::integer[]) as wanted (number), lateral (
    select event_timestamp, event_no from usage_event where account = $1 and alias = wanted.number and {_BY_TIME}
    order by {_TIME_ORDER} offset $6 - 1 limit 1
) as found
order by {_TIME_ORDER} limit 1
""")

# The planner knows how many events an alias has on average; sorting those of the largest one could take minutes.
_ALONG_INDEXES = """
select set_config('enable_sort', 'off', true), set_config('enable_seqscan', 'off', true),
    set_config('enable_bitmapscan', 'off', true)
"""


async def listing(conn: Connection, account: int, *, where: Filter, page: EventPage) -> EventListing:
    """One page of events. Call inside a transaction."""
    await conn.execute(_ALONG_INDEXES)
    aliases = await _aliases(conn, account, where)
    places = EVERYWHERE
    if page.sort is Sort.RECEIPT and (where.start or where.end):
        between = page.edges[0].number, page.edges[1].number
        hours = await event_hour.extent(conn, account, start=where.start, end=where.end)
        places = await event_hour.read(conn, account, hours=hours, between=between, is_down=page.reads_down)
    walk = _Walk(conn, account, where=where, page=page, aliases=aliases, places=places)
    stop = await walk.stop() if walk.is_selective else None
    found = await walk.read(stop)
    if len(found) <= page.limit and not walk.is_selective:
        # The end of the list, or a long run of versions that are not shown.
        stop = await walk.stop()
    return _cut(found, page, stop)


async def _aliases(conn: Connection, account: int, where: Filter) -> tuple[int, ...] | None:
    if where.aliases is None:
        return None
    return tuple((await usage_alias.numbers(conn, account, aliases=where.aliases)).values())


class _Walk:
    """One walk: which statements, and their parameters."""

    def __init__(
        self,
        conn: Connection,
        account: int,
        *,
        where: Filter,
        page: EventPage,
        aliases: tuple[int, ...] | None,
        places: Places,
    ) -> None:
        self._conn, self._account, self._where, self._page, self._aliases = conn, account, where, page, aliases
        self._places = places
        self._is_by_alias = aliases is not None and page.sort is Sort.TIMESTAMP
        self._page_sql = (_ALIAS_PAGE if self._is_by_alias else _PAGE)[page.reads_down]
        self._stop_sql = (_ALIAS_STOP if self._is_by_alias else _STOP)[page.reads_down]
        share = WALK_MAX // max(len(aliases or ()), 1)
        self._length = max(share, _ALIAS_WALK_MIN) if self._is_by_alias else WALK_MAX

    @property
    def is_selective(self) -> bool:
        """Whether there is a filter that the index does not know."""
        where = self._where
        if where.event_type is not None or where.is_unmapped:
            return True
        is_bare = where.aliases is None and where.start is None and where.end is None
        return not self._is_by_alias and not is_bare

    async def stop(self) -> Edge | None:
        """Where the walk stops; None: it reaches the end."""
        if self._aliases == ():
            return None
        extra = [list(self._aliases or ())] if self._is_by_alias else []
        row = await self._conn.fetchrow(self._stop_sql, self._account, *self._edges(None), self._length, *extra)
        if row is not None:
            return Edge(row["event_timestamp"], row["event_no"])
        return None if self._places.onward is None else Edge(FIRST.at, self._places.onward)

    async def read(self, stop: Edge | None) -> list[StoredEvent]:
        """The events up to where the walk stops, one more than the page holds."""
        if self._aliases == ():
            return []
        aliases = None if self._aliases is None else list(self._aliases)
        rows = await self._conn.fetch(
            self._page_sql,
            *(self._account, *self._edges(stop), aliases, self._where.event_type, self._where.is_unmapped),
            *(self._page.limit + 1, self._page.offset, self._length, self._where.start, self._where.end),
        )
        return [_event(row) for row in rows]

    def _edges(self, stop: Edge | None) -> tuple[Any, ...]:
        """The range between two edges, as parameters of the statements."""
        page, where = self._page, self._where
        low, high = page.edges
        if stop is not None and page.reads_down:
            low = Edge(stop.at, stop.number - 1)
        if stop is not None and not page.reads_down:
            high = Edge(stop.at, stop.number + 1)
        if page.sort is Sort.TIMESTAMP:
            low = max(low, Edge(where.start, LAST.number)) if where.start else low
            high = min(high, Edge(where.end, -1)) if where.end else high
            return low.at, low.number, high.at, high.number
        # What was received in months before the range cannot be in it.
        since = partition.month_before(where.start) if where.start else FIRST.at
        stretches = [(max(low.number, first - 1), min(high.number, last + 1)) for first, last in self._places.stretches]
        lows, highs = zip(*stretches, strict=True) if stretches else ((), ())
        return since, lows, high.at, highs


def _cut(found: Sequence[StoredEvent], page: EventPage, stop: Edge | None) -> EventListing:
    items = tuple(found[: page.limit])
    onward = _edge(items[-1]) if len(found) > page.limit else stop
    if page.before is not None:
        items = items[::-1]
        return EventListing(items, before=onward, after=_edge(items[-1]) if items else page.before)
    return EventListing(items, before=(_edge(items[0]) if items else page.after) if page.after else None, after=onward)


def _edge(event: StoredEvent) -> Edge:
    return Edge(event.timestamp, event.event_no)


def _event(row: asyncpg.Record) -> StoredEvent:
    return StoredEvent(
        key=row["key"],
        event_no=row["event_no"],
        customer_event_id=row["customer_event_id"] or str(row["key"]),
        customer_alias=row["customer_alias"],
        event_type=row["event_type"],
        timestamp=row["event_timestamp"],
        received_at=row["received_at"],
        properties=row["properties"],
        state=row["state"],
        order=(row["entry_ms"], row["entry_sequence"], row["entry_index"]),
    )

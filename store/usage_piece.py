"""Reading what answers a question: counters by day and quarter hour, distinct values, and raw events at the edges.

Each statement takes many pieces at once and answers with their places. Lateral keeps it one walk of an index per
piece, whatever the planner thinks of arrays.
"""

from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec

from rating.metric import Aggregation
from store import bucket, partition
from store.db import Connection
from store.error import QueryTooLarge, RawEventDropped
from store.part import Carry, Part, Parts
from store.span import span_of

__all__ = ["Reading", "read", "read_members", "span_of"]

# How many raw events a question may read that the counters cannot answer.
RAW_EVENTS_MAX = 200_000

# Counters over days, and over quarter hours, by group, with its values; by the primary keys of usage_day, usage_slot
# and usage_group. Together in one trip: while events come in, every trip waits for its turn.
_CELLS = """
select found.*, named.value as group_value from (
    select part.place, found.group_no, found.events::bigint, found.total, found.most, found.least
    from unnest($2::integer[], $3::integer[], $4::integer[], $5::date[], $6::date[])
        as part (place, metric, alias, start, stop),
    lateral (
        select group_no, sum(events) as events, sum(total) as total, max(total) as most, min(total) as least
        from usage_day
        where account = $1 and metric = part.metric and alias = part.alias and day >= part.start and day < part.stop
        group by group_no
    ) as found
    union all
    select part.place, found.group_no, found.events::bigint, found.total, found.most, found.least
    from unnest($7::integer[], $8::integer[], $9::integer[], $10::integer[], $11::integer[])
        as part (place, metric, alias, start, stop),
    lateral (
        select group_no, sum(events) as events, sum(total) as total, max(total) as most, min(total) as least
        from usage_slot
        where account = $1 and metric = part.metric and alias = part.alias and slot >= part.start and slot < part.stop
        group by group_no
    ) as found
) as found left join usage_group as named on named.account = $1 and named.group_no = found.group_no
"""

# What has an order in time is put together by the reader; by the same keys.
_SPANS = """
select part.place, found.*
from unnest($2::integer[], $3::integer[], $4::integer[], $5::date[], $6::date[])
    as part (place, metric, alias, start, stop),
lateral (
    select group_no, events, total, first_at, last_at, last_no, level from usage_day
    where account = $1 and metric = part.metric and alias = part.alias and day >= part.start and day < part.stop
) as found
union all
select part.place, found.*
from unnest($7::integer[], $8::integer[], $9::integer[], $10::integer[], $11::integer[])
    as part (place, metric, alias, start, stop),
lateral (
    select group_no, events, total, first_at, last_at, last_no, level from usage_slot
    where account = $1 and metric = part.metric and alias = part.alias and slot >= part.start and slot < part.stop
) as found
"""

# The last level of each group before a quarter hour: in earlier ones of its day, else in earlier days.
_CARRIES = """
select part.place, found.*
from unnest($2::integer[], $3::integer[], $4::integer[], $5::date[], $6::integer[], $7::integer[])
    as part (place, metric, alias, day, first_slot, slot),
lateral (
    select distinct on (group_no) group_no, last_at, last_no, level from (
        select group_no, last_at, last_no, level from usage_slot
        where account = $1 and metric = part.metric and alias = part.alias
            and slot >= part.first_slot and slot < part.slot
        union all
        select group_no, last_at, last_no, level from usage_day
        where account = $1 and metric = part.metric and alias = part.alias and day < part.day
    ) as every
    order by group_no, last_at desc
) as found
"""

# Distinct values of many pieces together with those that raw edges added; by the primary key of usage_unique.
_MEMBERS = """
select question, target, count(distinct value) as members from (
    select part.question, wanted.target, found.value
    from unnest($2::integer[], $3::integer[], $4::integer[], $5::integer[], $6::integer[])
        as part (question, metric, alias, start, stop)
    cross join lateral (
        select group_no, value from usage_unique
        where account = $1 and metric = part.metric and alias = part.alias and slot >= part.start and slot < part.stop
    ) as found
    join unnest($7::integer[], $8::integer[], $9::integer[]) as wanted (question, group_no, target)
        on wanted.question = part.question and wanted.group_no = found.group_no
    union all
    select * from unnest($10::integer[], $11::integer[], $12::text[])
) as every (question, target, value)
group by question, target
"""

# Raw events, by usage_event_alias_time: of edges shorter than a quarter hour, and of what no counter keeps apart.
_EDGES = """
select part.place, found.event_no, found.event_timestamp, found.properties
from unnest($2::integer[], $3::text[], $4::integer[], $5::timestamptz[], $6::timestamptz[])
    as part (place, event_type, alias, start, stop),
lateral (
    select event_no, event_timestamp, properties from usage_event
    where account = $1 and alias = part.alias and event_timestamp >= part.start and event_timestamp < part.stop
        and event_type = part.event_type and state = 'live'
) as found
limit $7
"""

# Whether anything was counted in these quarter hours, by the primary key of usage_slot.
_HAS_COUNTED = """
select exists (
    select from unnest($2::integer[], $3::integer[], $4::integer[], $5::integer[]) as part (metric, alias, start, stop),
    lateral (
        select from usage_slot
        where account = $1 and metric = part.metric and alias = part.alias
            and slot >= part.start and slot < part.stop
        limit 1
    ) as found
)
"""

_ORDERED = frozenset({Aggregation.LATEST, Aggregation.WEIGHTED})


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What the tables hold of the pieces, each row with its piece."""

    cells: list[tuple[Part, asyncpg.Record]]
    spans: list[tuple[Part, asyncpg.Record]]
    carries: list[tuple[Carry, asyncpg.Record]]
    carry_edges: list[tuple[Part, asyncpg.Record]]
    # With the place of the piece, so that the events of one edge are known to belong together.
    edges: list[tuple[int, Part, asyncpg.Record]]


async def read(conn: Connection, account: int, parts: Parts) -> Reading:
    """Read all pieces but distinct values. Raw ones have no bound of their own, so there is one for all."""
    days, slots = _kinds(parts.days), _kinds(parts.slots)
    carries = await _fetch(conn, _CARRIES, account, parts.carries, _carry_columns(parts.carries))
    carry_edges = await _edges(conn, account, parts.carry_edges, is_bounded=bool(parts.raws))
    edges = parts.edges + parts.raws
    rows = await _edges(conn, account, edges, is_bounded=bool(parts.raws))
    return Reading(
        cells=await _counters(conn, _CELLS, account, days[0], slots[0]),
        spans=await _counters(conn, _SPANS, account, days[1], slots[1]),
        carries=carries,
        carry_edges=[(parts.carry_edges[row["place"]], row) for row in carry_edges],
        edges=[(row["place"], edges[row["place"]], row) for row in rows],
    )


async def read_members(
    conn: Connection,
    account: int,
    parts: Sequence[Part],
    *,
    targets: Sequence[tuple[int, int, int]],
    edges: Sequence[tuple[int, int, str]],
) -> dict[tuple[int, int], int]:
    """How many different values (question, target) has. `targets` are (question, group number, target), `edges` are
    values that were found outside of the counters.
    """
    if not edges and not (parts and targets):
        return {}
    pieces = _transposed([(one.question, one.metric.number, one.alias, one.start, one.end) for one in parts], width=5)
    rows = await conn.fetch(_MEMBERS, account, *pieces, *_transposed(targets, width=3), *_transposed(edges, width=3))
    return {(row["question"], row["target"]): row["members"] for row in rows}


def _kinds(parts: Sequence[Part]) -> tuple[list[Part], list[Part]]:
    """Those whose counters are put together by SQL, and those that have an order."""
    ordered = [one for one in parts if one.metric.aggregation in _ORDERED]
    return [one for one in parts if one.metric.aggregation not in _ORDERED], ordered


async def _counters(
    conn: Connection, statement: str, account: int, days: Sequence[Part], slots: Sequence[Part]
) -> list[tuple[Part, asyncpg.Record]]:
    columns = (*_columns(days), *_columns(slots, first=len(days)))
    return await _fetch(conn, statement, account, [*days, *slots], columns)


async def _fetch(
    conn: Connection, statement: str, account: int, parts: Sequence[Any], columns: tuple[Any, ...]
) -> list[tuple[Any, asyncpg.Record]]:
    if not parts:
        return []
    return [(parts[row["place"]], row) for row in await conn.fetch(statement, account, *columns)]


async def _edges(conn: Connection, account: int, parts: Sequence[Part], *, is_bounded: bool) -> list[asyncpg.Record]:
    if not parts:
        return []
    await _refuse_dropped(conn, account, parts)
    places, _, aliases, starts, ends = _columns(parts)
    types = [one.metric.event_type for one in parts]
    limit = RAW_EVENTS_MAX + 1 if is_bounded else None
    rows = await conn.fetch(_EDGES, account, places, types, aliases, starts, ends, limit)
    if is_bounded and len(rows) > RAW_EVENTS_MAX:
        raise QueryTooLarge
    return list(rows)


async def _refuse_dropped(conn: Connection, account: int, parts: Sequence[Part]) -> None:
    """Refuse edges where events were counted whose raw rows may be gone: what is left would be a wrong answer."""
    kept = await partition.kept_from(conn)
    old = [] if kept is None else [one for one in parts if one.start < kept]
    if kept is None or not old:
        return
    wanted = [
        (one.metric.number, one.alias, bucket.slot_until(one.start), bucket.slot_from(min(one.end, kept)))
        for one in old
    ]
    if await conn.fetchval(_HAS_COUNTED, account, *_transposed(wanted, width=4)):
        raise RawEventDropped(
            f"Raw events are kept from {kept:%Y-%m-%dT%H:%M:%SZ} on. Before, ask for whole quarter hours, for groups"
            " and filters that the metric keeps apart."
        )


def _columns(parts: Sequence[Part], *, first: int = 0) -> tuple[list[Any], ...]:
    return _transposed(
        [(place, one.metric.number, one.alias, one.start, one.end) for place, one in enumerate(parts, first)], width=5
    )


def _carry_columns(carries: Sequence[Carry]) -> tuple[list[Any], ...]:
    return _transposed(
        [(place, one.metric.number, one.alias, one.day, one.first_slot, one.slot) for place, one in enumerate(carries)],
        width=6,
    )


def _transposed(rows: Sequence[tuple[Any, ...]], *, width: int) -> tuple[list[Any], ...]:
    return tuple([row[index] for row in rows] for index in range(width))

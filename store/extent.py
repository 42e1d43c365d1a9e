"""The first and the last event that a metric counted in a range, by event time.

Counters say which quarter hours hold any; only the raw events of the outermost ones are walked, from the range's ends
inwards and no further than to the first that counts: a quarter hour may hold millions. At a ragged edge a quarter hour
may hold events that all lie outside of the range, so up to three are looked at from either end.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from rating import metric
from store import bucket, partition
from store.db import Connection
from store.usage import Question

_SLOTS_MAX = 3
# Nearly always the first event counts; where it does not, each step is longer than the one before.
_STEP_EVENTS = 20
_STEP_GROWTH = 10
_MICROSECOND = timedelta(microseconds=1)

# Quarter hours in which the metric counted anything, from either end of each segment, by the primary key of usage_slot;
# with what else the walk must know.
_SLOTS = """
select segment.place, segment.alias, found.is_last, found.first_slot, found.last_slot,
    (select dropped_before from usage_retention) as dropped_before
from (
    select place, alias, start, stop
    from unnest($3::integer[], $4::text[], $5::integer[], $6::integer[]) as named (place, value, start, stop)
    join usage_alias on usage_alias.account = $1 and usage_alias.value = named.value
) as segment,
lateral (
    select false as is_last, min(slot) as first_slot, max(slot) as last_slot from (
        select slot from usage_slot
        where account = $1 and metric = $2 and alias = segment.alias and slot between segment.start and segment.stop
        order by slot limit $7
    ) as first
    union all
    select true, min(slot), max(slot) from (
        select slot from usage_slot
        where account = $1 and metric = $2 and alias = segment.alias and slot between segment.start and segment.stop
        order by slot desc limit $7
    ) as last
) as found
where found.first_slot is not null
"""

# The next events of each walk, forwards and backwards, by usage_event_alias_time. Sorted by nothing but that index: an
# order of events that share an instant would read and sort all of a quarter hour.
_NEXT = """
select walk.place, found.* from unnest($3::integer[], $4::integer[], $5::timestamptz[], $6::timestamptz[])
    as walk (place, alias, start, stop),
lateral (
    select key, event_timestamp, event_no, properties from usage_event
    where account = $1 and alias = walk.alias and event_timestamp >= walk.start and event_timestamp < walk.stop
        and event_type = $2 and state = 'live'
    order by event_timestamp limit $11
) as found
union all
select walk.place, found.* from unnest($7::integer[], $8::integer[], $9::timestamptz[], $10::timestamptz[])
    as walk (place, alias, start, stop),
lateral (
    select key, event_timestamp, event_no, properties from usage_event
    where account = $1 and alias = walk.alias and event_timestamp >= walk.start and event_timestamp < walk.stop
        and event_type = $2 and state = 'live'
    order by event_timestamp desc limit $11
) as found
"""


class _Walk(msgspec.Struct, frozen=True):
    """From one end of a half-open range inwards."""

    is_last: bool
    alias: int
    start: datetime
    stop: datetime


class _Ends(msgspec.Struct):
    """The events found from either end: when, number, key. `are_gone`: ends behind which something was dropped."""

    first: list[tuple[datetime, int, UUID]] = []
    last: list[tuple[datetime, int, UUID]] = []
    are_gone: set[bool] = set()

    def of(self, walk: _Walk) -> list[tuple[datetime, int, UUID]]:
        """Those of a walk's end."""
        return self.last if walk.is_last else self.first


async def extent(conn: Connection, account: int, question: Question) -> tuple[UUID | None, UUID | None]:
    """The keys of the first and the last event; None: nothing was counted, or the raw event may be gone."""
    walks, kept = await _walks(conn, account, question)
    rule, found, limit = metric.rule(question.metric), _Ends(), _STEP_EVENTS
    while walks:
        rows = await _next(conn, account, question, walks=walks, limit=limit)
        onward: list[_Walk] = []
        for walk, seen in zip(walks, rows, strict=True):
            counted = [row for row in seen if rule(metric.decode_properties(row["properties"])) is not None]
            # Further on may be more of the instant at which the first one counts.
            if len(seen) == limit and (not counted or seen[-1]["event_timestamp"] == counted[0]["event_timestamp"]):
                onward.append(_behind(walk, (counted or seen[-1:])[0]["event_timestamp"]))
                continue
            found.of(walk).extend((row["event_timestamp"], row["event_no"], row["key"]) for row in counted)
            if kept is not None and walk.start < kept and not (walk.is_last and counted):
                found.are_gone.add(walk.is_last)
        walks, limit = onward, limit * _STEP_GROWTH
    first = min(found.first)[2] if found.first and False not in found.are_gone else None
    last = max(found.last)[2] if found.last and True not in found.are_gone else None
    return first, last


async def _walks(conn: Connection, account: int, question: Question) -> tuple[list[_Walk], datetime | None]:
    """Where to look: in the outermost quarter hours, as far as they lie in the range; since when events are kept."""
    segments = question.segments
    rows = await conn.fetch(
        _SLOTS,
        *(account, question.metric.number, list(range(len(segments)))),
        [segment.alias for segment in segments],
        [bucket.slot_until(segment.start) for segment in segments],
        [bucket.slot_until(segment.end) for segment in segments],
        _SLOTS_MAX,
    )
    walks = []
    for row in rows:
        segment = segments[row["place"]]
        start = max(segment.start, bucket.slot_start(row["first_slot"]))
        stop = min(segment.end, bucket.slot_start(row["last_slot"] + 1))
        walks.append(_Walk(row["is_last"], row["alias"], start, stop))
    return walks, partition.kept_after(rows[0]["dropped_before"]) if rows else None


async def _next(
    conn: Connection, account: int, question: Question, *, walks: Sequence[_Walk], limit: int
) -> list[list[asyncpg.Record]]:
    """The next events of each walk, in its direction."""
    columns: list[list[Any]] = []
    for is_last in (False, True):
        some = [(place, one.alias, one.start, one.stop) for place, one in enumerate(walks) if one.is_last is is_last]
        columns += ([row[column] for row in some] for column in range(4))
    found: list[list[asyncpg.Record]] = [[] for _ in walks]
    for row in await conn.fetch(_NEXT, account, question.metric.event_type, *columns, limit):
        found[row["place"]].append(row)
    return found


def _behind(walk: _Walk, at: datetime) -> _Walk:
    """The same from an instant on, which is looked at again."""
    return msgspec.structs.replace(walk, **({"stop": at + _MICROSECOND} if walk.is_last else {"start": at}))

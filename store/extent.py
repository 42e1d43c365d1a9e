"""The first and the last event that a metric counted in a range, by event time.

Counters say which quarter hours hold any; only the raw events of the outermost ones are read. At a ragged edge a
quarter hour may hold events that all lie outside of the range, so up to three are looked at from either end.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeAlias
from uuid import UUID

from rating import metric
from store import bucket, partition, usage_alias
from store.db import Connection
from store.usage import Question

_SLOTS_MAX = 3

# When an event happened, its number and its key.
_Place: TypeAlias = tuple[datetime, int, UUID]
# Of a quarter hour whose raw events may have been dropped.
_GONE: _Place = (datetime(1, 1, 1, tzinfo=UTC), -1, UUID(int=0))

# Quarter hours in which the metric counted anything, from either end, by the primary key of usage_slot.
_FIRST_SLOTS = """
select slot from usage_slot
where account = $1 and metric = $2 and alias = $3 and slot between $4 and $5 order by slot limit $6
"""
_LAST_SLOTS = _FIRST_SLOTS.replace("order by slot", "order by slot desc")

# The raw events of one quarter hour, by usage_event_alias_time.
_EVENTS = """
select key, event_timestamp, event_no, properties from usage_event
where account = $1 and alias = $2 and event_timestamp >= $3 and event_timestamp < $4
    and event_type = $5 and state = 'live'
"""


async def extent(conn: Connection, account: int, question: Question) -> tuple[UUID | None, UUID | None]:
    """The keys of the first and the last event; None: nothing was counted, or the raw event may be gone."""
    aliases = await usage_alias.numbers(conn, account, aliases=[segment.alias for segment in question.segments])
    kept = await partition.kept_from(conn)
    ends: list[UUID | None] = []
    for slots_sql, outermost in ((_FIRST_SLOTS, min), (_LAST_SLOTS, max)):
        found: list[Sequence[_Place]] = []
        for segment in question.segments:
            if segment.alias in aliases:
                where = (question.metric, aliases[segment.alias], segment.start, segment.end)
                found.append(await _outermost(conn, account, slots_sql, where, kept=kept))
        places = [place for some in found for place in some]
        ends.append(outermost(places)[2] if places and _GONE not in places else None)
    return ends[0], ends[1]


async def _outermost(
    conn: Connection,
    account: int,
    slots_sql: str,
    where: tuple[metric.Metric, int, datetime, datetime],
    *,
    kept: datetime | None,
) -> Sequence[_Place]:
    """The counted events of the outermost quarter hour that has any inside of the range."""
    of, alias, start, end = where
    borders = (bucket.slot_until(start), bucket.slot_until(end))
    for row in await conn.fetch(slots_sql, account, of.number, alias, *borders, _SLOTS_MAX):
        first, last = bucket.slot_start(row["slot"]), bucket.slot_start(row["slot"] + 1)
        if kept is not None and first < kept:
            return [_GONE]
        events = await conn.fetch(_EVENTS, account, alias, max(first, start), min(last, end), of.event_type)
        counted = [
            (event["event_timestamp"], event["event_no"], event["key"])
            for event in events
            if metric.counted(of, metric.decode_properties(event["properties"])) is not None
        ]
        if counted:
            return counted
    return []

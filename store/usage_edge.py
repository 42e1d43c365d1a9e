"""Ragged edges, which do not fill their quarter hour, answered from the cheaper side.

    settle(conn, account, parts, kept=) -> [(edge, row), ...]      what is to be taken away from the counters again

Whoever asks "until now" asks for a part of the quarter hour that runs, and of a large customer that part may hold
millions of events, while what lies between now and its end holds none, or what a clock that is ahead has sent. So the
rest of the quarter hour is looked at first. Where it is empty the counter of the whole quarter hour is the answer;
where it holds a few events a metric that adds up is the counter without them. What remains is read event by event; so
is what lies before the raw events that are kept, or refused.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime

import asyncpg
import msgspec

from rating.metric import Aggregation
from store import bucket
from store.db import Connection
from store.part import Part, Parts

# Reading more than this from the rest may cost more than the edge itself.
REST_EVENTS_MAX = 1_000

# Events of any type and state, by usage_event_alias_time: what does not count is few, and without a filter the walk has
# an end that nothing can move.
_RESTS = """
select rest.place, found.event_no, found.event_timestamp, found.properties, found.event_type, found.state
from unnest($2::integer[], $3::integer[], $4::timestamptz[], $5::timestamptz[]) as rest (place, alias, start, stop),
lateral (
    select event_no, event_timestamp, properties, event_type, state from usage_event
    where account = $1 and alias = rest.alias and event_timestamp >= rest.start and event_timestamp < rest.stop
    limit $6
) as found
"""

_ADDS_UP = frozenset({Aggregation.COUNT, Aggregation.SUM, Aggregation.AVERAGE})


async def settle(
    conn: Connection, account: int, parts: Parts, *, kept: datetime | None
) -> list[tuple[Part, asyncpg.Record]]:
    """Let counters answer the edges that they can; answers the events that these counters have too many. `kept`: from
    when on every raw event is there, see partition.py.
    """
    if not parts.edges:
        return []
    rests = [(place, edge.alias, *span) for place, edge in enumerate(parts.edges) for span in _rests(edge)]
    found: defaultdict[int, list[asyncpg.Record]] = defaultdict(list)
    columns = ([row[column] for row in rests] for column in range(4))
    for row in await conn.fetch(_RESTS, account, *columns, REST_EVENTS_MAX + 1):
        found[row["place"]].append(row)
    edges, parts.edges = parts.edges, []
    taken: list[tuple[Part, asyncpg.Record]] = []
    for place, edge in enumerate(edges):
        rest = [row for row in found[place] if row["state"] == "live" and row["event_type"] == edge.metric.event_type]
        slot = bucket.slot_until(edge.start)
        is_whole = kept is None or bucket.slot_start(slot) >= kept
        is_clear = len(found[place]) <= REST_EVENTS_MAX and (not rest or edge.metric.aggregation in _ADDS_UP)
        if not is_whole or not is_clear:
            parts.edges.append(edge)
            continue
        whole = msgspec.structs.replace(edge, start=slot, end=slot + 1)
        parts.slots.append(whole)
        if edge.metric.aggregation is Aggregation.UNIQUE:
            parts.members.append(whole)
        taken += [(edge, row) for row in rest]
    return taken


def _rests(edge: Part) -> Iterator[tuple[datetime, datetime]]:
    """What its quarter hour has before and after an edge."""
    slot = bucket.slot_until(edge.start)
    first, last = bucket.slot_start(slot), bucket.slot_start(slot + 1)
    if first < edge.start:
        yield first, edge.start
    if edge.end < last:
        yield edge.end, last

"""Counters that do not add up: MAX, MIN, LATEST and WEIGHTED (rating/span.py), by quarter hour and by day.

What a batch brings is joined to what is stored. Where that cannot be told, a quarter hour is counted again from its
raw events: when a value was taken back that was the answer, and when WEIGHTED gets an event that is older than what it
has. A day is then put together again from its quarter hours.

Theory of operation
    Rows are locked first, in the order of their primary keys, by an upsert that changes nothing; a row that was not
    there is made with no events. Under the lock raw events show all that was committed, and what this transaction has
    stored: whoever else has stored events here, and waits for the lock, adds them afterwards. Where raw events may have
    been dropped, their number says whether they are all there; if not, nothing can be counted again.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import asyncpg
import msgspec

from rating import metric as metrics_
from rating import span
from rating.metric import Aggregation, Metric
from rating.span import Point, Span
from store import bucket, cell, partition
from store.db import Connection
from store.error import RawEventDropped

Key: TypeAlias = tuple[int, int, int, Any, int]
Points: TypeAlias = Mapping[Key, tuple[list[Point], list[Point]]]

# Locks cells in the order given, by the primary key, and answers them; what was not there has no events.
_LOCK_SLOTS = """
insert into usage_slot (account, metric, alias, slot, group_no, events)
select *, 0 from unnest($1::integer[], $2::integer[], $3::integer[], $4::integer[], $5::integer[])
on conflict (alias, metric, slot, group_no, account) do update set events = usage_slot.events
returning account, metric, alias, slot as at, group_no, events, total, first_at, last_at, last_no, level
"""
_LOCK_DAYS = """
insert into usage_day (account, metric, alias, day, group_no, events)
select *, 0 from unnest($1::integer[], $2::integer[], $3::integer[], $4::date[], $5::integer[])
on conflict (alias, metric, day, group_no, account) do update set events = usage_day.events
returning account, metric, alias, day as at, group_no, events, total, first_at, last_at, last_no, level
"""

# Writes locked cells. An upsert although they are there: nothing else is sure to walk the primary key.
_WRITE_SLOTS = """
insert into usage_slot (account, metric, alias, slot, group_no, events, total, first_at, last_at, last_no, level)
select * from unnest($1::integer[], $2::integer[], $3::integer[], $4::integer[], $5::integer[], $6::bigint[],
    $7::numeric[], $8::bigint[], $9::bigint[], $10::bigint[], $11::numeric[])
on conflict (alias, metric, slot, group_no, account) do update
set events = excluded.events, total = excluded.total, first_at = excluded.first_at, last_at = excluded.last_at,
    last_no = excluded.last_no, level = excluded.level
"""
_WRITE_DAYS = """
insert into usage_day (account, metric, alias, day, group_no, events, total, first_at, last_at, last_no, level)
select * from unnest($1::integer[], $2::integer[], $3::integer[], $4::date[], $5::integer[], $6::bigint[],
    $7::numeric[], $8::bigint[], $9::bigint[], $10::bigint[], $11::numeric[])
on conflict (alias, metric, day, group_no, account) do update
set events = excluded.events, total = excluded.total, first_at = excluded.first_at, last_at = excluded.last_at,
    last_no = excluded.last_no, level = excluded.level
"""

# Locked cells that stand for no event any more, by the primary key.
_DROP_SLOTS = """
delete from usage_slot
using unnest($1::integer[], $2::integer[], $3::integer[], $4::integer[], $5::integer[])
    as old (account, metric, alias, slot, group_no)
where (usage_slot.account, usage_slot.metric, usage_slot.alias, usage_slot.slot, usage_slot.group_no)
    = (old.account, old.metric, old.alias, old.slot, old.group_no)
"""
_DROP_DAYS = """
delete from usage_day using unnest($1::integer[], $2::integer[], $3::integer[], $4::date[], $5::integer[])
    as old (account, metric, alias, day, group_no)
where (usage_day.account, usage_day.metric, usage_day.alias, usage_day.day, usage_day.group_no)
    = (old.account, old.metric, old.alias, old.day, old.group_no)
"""

# The raw events of quarter hours, by usage_event_alias_time.
_EVENTS = """
select wanted.place, found.event_no, found.event_timestamp, found.properties
from unnest($1::integer[], $2::integer[], $3::integer[], $4::text[], $5::timestamptz[], $6::timestamptz[])
    as wanted (place, account, alias, event_type, start, stop),
lateral (
    select event_no, event_timestamp, properties from usage_event
    where account = wanted.account and alias = wanted.alias and event_timestamp >= wanted.start
        and event_timestamp < wanted.stop and event_type = wanted.event_type and state = 'live'
) as found
"""

# The quarter hours of days, in their order, by the primary key.
_SLOTS = """
select wanted.place, found.events, found.total, found.first_at, found.last_at, found.last_no, found.level
from unnest($1::integer[], $2::integer[], $3::integer[], $4::integer[], $5::integer[], $6::integer[], $7::integer[])
    as wanted (place, account, metric, alias, start, stop, group_no),
lateral (
    select slot, events, total, first_at, last_at, last_no, level from usage_slot
    where account = wanted.account and metric = wanted.metric and alias = wanted.alias
        and slot >= wanted.start and slot < wanted.stop and group_no = wanted.group_no and events > 0
) as found
order by wanted.place, found.slot
"""


async def merge(
    conn: Connection,
    points: Points,
    *,
    metrics: Mapping[int, Metric],
    zones: Mapping[int, ZoneInfo],
    groups: Mapping[tuple[int, str], int],
) -> None:
    """Let these points come and go. `metrics` by number; `groups` has the numbers of all groups in the keys."""
    stored = await _lock(conn, _LOCK_SLOTS, points)
    after: dict[Key, Span | None] = {}
    unclear: list[Key] = []
    for key, old in stored.items():
        aggregation, (came, went) = metrics[key[1]].aggregation, points[key]
        if old is not None and went and span.is_answer(aggregation, old, went):
            unclear.append(key)
            continue
        after[key] = _changed(aggregation, old, came, went)
        if after[key] is None and came:
            unclear.append(key)
    recounted = await _recounted(conn, unclear, metrics=metrics, groups=groups)
    await _refuse_dropped(conn, stored, points, recounted)
    after |= recounted
    await _write(conn, after, write_sql=_WRITE_SLOTS, drop_sql=_DROP_SLOTS)
    await _merge_days(conn, points, unclear=set(unclear), metrics=metrics, zones=zones)


def span_of(row: asyncpg.Record) -> Span:
    """The span in a row of counters."""
    return Span(
        events=row["events"],
        total=row["total"],
        first_at=row["first_at"],
        last_at=row["last_at"],
        last_no=row["last_no"],
        level=row["level"],
    )


def _changed(aggregation: Aggregation, old: Span | None, came: Sequence[Point], went: Sequence[Point]) -> Span | None:
    """A span after its points came and went, none of which is its answer. None: it is empty, or cannot be told."""
    if old is not None and went:
        # What went may have come in the same batch, to a row that was not there before; those are counted again.
        old = msgspec.structs.replace(old, events=old.events - len(went))
    if not came:
        return old
    new = span.span(aggregation, came)
    return new if old is None else span.join(aggregation, old, new)


async def _merge_days(
    conn: Connection,
    points: Points,
    *,
    unclear: set[Key],
    metrics: Mapping[int, Metric],
    zones: Mapping[int, ZoneInfo],
) -> None:
    slots: defaultdict[Key, list[Key]] = defaultdict(list)
    for key in sorted(points):
        account, metric, alias, slot, group = key
        slots[account, metric, alias, bucket.day_of(slot, zones[account]), group].append(key)
    after: dict[Key, Span | None] = {}
    again: list[Key] = []
    for key, old in (await _lock(conn, _LOCK_DAYS, slots)).items():
        aggregation = metrics[key[1]].aggregation
        if any(slot in unclear or points[slot][1] for slot in slots[key]):
            again.append(key)
            continue
        after[key] = _changed(aggregation, old, [point for slot in slots[key] for point in points[slot][0]], ())
        if after[key] is None:
            again.append(key)
    after |= await _rebuilt(conn, again, metrics=metrics, zones=zones)
    await _write(conn, after, write_sql=_WRITE_DAYS, drop_sql=_DROP_DAYS)


async def _lock(conn: Connection, statement: str, keys: Iterable[Key]) -> dict[Key, Span | None]:
    """Lock these cells and answer what they hold; None: nothing."""
    rows = await conn.fetch(statement, *zip(*sorted(keys, key=cell.rank), strict=True))
    return {
        (row["account"], row["metric"], row["alias"], row["at"], row["group_no"]): span_of(row)
        if row["events"]
        else None
        for row in rows
    }


async def _write(conn: Connection, after: Mapping[Key, Span | None], *, write_sql: str, drop_sql: str) -> None:
    ranked = [(key, after[key]) for key in sorted(after, key=cell.rank)]
    if kept := [(key, one) for key, one in ranked if one is not None]:
        spans = [(one.events, one.total, one.first_at, one.last_at, one.last_no, one.level) for _, one in kept]
        await conn.execute(write_sql, *zip(*(key for key, _ in kept), strict=True), *zip(*spans, strict=True))
    if empty := [key for key, one in ranked if one is None]:
        await conn.execute(drop_sql, *zip(*empty, strict=True))


async def _recounted(
    conn: Connection, keys: Sequence[Key], *, metrics: Mapping[int, Metric], groups: Mapping[tuple[int, str], int]
) -> dict[Key, Span | None]:
    """Quarter hours as their raw events make them."""
    after: dict[Key, Span | None] = dict.fromkeys(keys)
    if not keys:
        return after
    wanted = sorted({key[:4] for key in keys})
    found: defaultdict[Key, list[Point]] = defaultdict(list)
    for row in await conn.fetch(_EVENTS, *_ranges(wanted, metrics)):
        account, number, alias, slot = wanted[row["place"]]
        of, properties = metrics[number], metrics_.decode_properties(row["properties"])
        value = metrics_.counted(of, properties)
        # Not counted, or not yet: the loop that folds history will come to it.
        if value is None or isinstance(value, str) or of.folded_to <= row["event_no"] < of.born_no:
            continue
        group = groups.get((account, metrics_.group(of.group_by, properties)), 0) if of.group_by else 0
        at = bucket.microseconds(row["event_timestamp"])
        found[account, number, alias, slot, group].append((at, row["event_no"], value))
    return after | {key: span.span(metrics[key[1]].aggregation, found[key]) for key in keys if found.get(key)}


async def _refuse_dropped(
    conn: Connection, stored: Mapping[Key, Span | None], points: Points, recounted: Mapping[Key, Span | None]
) -> None:
    """Refuse what was counted again without events that were counted before."""
    missing = []
    for key, found in recounted.items():
        old, (came, went) = stored[key], points[key]
        if (found.events if found else 0) != (old.events if old else 0) + len(came) - len(went):
            missing.append(key)
    kept = await partition.kept_from(conn) if missing else None
    if kept is not None and any(bucket.slot_start(key[3]) < kept for key in missing):
        raise RawEventDropped


def _ranges(wanted: Sequence[tuple[int, int, int, Any]], metrics: Mapping[int, Metric]) -> tuple[list[Any], ...]:
    return (
        list(range(len(wanted))),
        [account for account, _, _, _ in wanted],
        [alias for _, _, alias, _ in wanted],
        [metrics[number].event_type for _, number, _, _ in wanted],
        [bucket.slot_start(slot) for _, _, _, slot in wanted],
        [bucket.slot_start(slot + 1) for _, _, _, slot in wanted],
    )


async def _rebuilt(
    conn: Connection, keys: Sequence[Key], *, metrics: Mapping[int, Metric], zones: Mapping[int, ZoneInfo]
) -> dict[Key, Span | None]:
    """Days as their quarter hours make them."""
    after: dict[Key, Span | None] = dict.fromkeys(keys)
    if not keys:
        return after
    wanted = [
        (place, account, metric, alias, *bucket.day_slots(day, zones[account]), group)
        for place, (account, metric, alias, day, group) in enumerate(keys)
    ]
    for row in await conn.fetch(_SLOTS, *zip(*wanted, strict=True)):
        key = keys[row["place"]]
        old, new = after[key], span_of(row)
        after[key] = new if old is None else span.join(metrics[key[1]].aggregation, old, new)
    return after

"""Counters: what each metric has counted, by quarter hour and by day, and the distinct values of UNIQUE metrics.

    cell     (account, metric, alias, slot, group) -> [events, total]   total: None where nothing is summed
    member   (account, metric, alias, slot, group, value) -> events

`merge` adds differences, which are negative where a correction takes something back. Statements touch their rows in
the order of their keys, slots before days before members before what does not add up (store/span.py), so that two
aggregators cannot deadlock. A row whose events have all been taken back is gone: the counters are at any time what a
fresh count would make them.
"""

import hashlib
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from rating import number
from rating.span import Point
from store import bucket, span, usage_group
from store.counting import Counting
from store.db import Connection

Sum: TypeAlias = int | Decimal
# The group is 0 where nothing is grouped, else its text until it is interned, and its number from then on.
Slot: TypeAlias = tuple[int, int, int, int, Any]
Day: TypeAlias = tuple[int, int, int, date, int]
Member: TypeAlias = tuple[int, int, int, int, Any, str]
Cells: TypeAlias = Mapping[Slot, list[Any]]
Members: TypeAlias = Mapping[Member, int]


class Deltas:
    """Differences that wait to be merged. Points are what does not add up: those that came, those that were taken."""

    def __init__(self) -> None:
        self.cells: dict[Slot, list[Any]] = {}
        self.members: dict[Member, int] = {}
        self.points: dict[Slot, tuple[list[Point], list[Point]]] = {}
        self.groups: set[tuple[int, str]] = set()


# An index row has room for about 2,700 bytes. Longer values are known by their hash, and so is whatever looks like one.
_VALUE_BYTES_MAX = 512
_HASHED = "sha256:"

# Adds to quarter hours, by the primary key; only columns outside of it change, so updates stay on their page.
_MERGE_SLOTS = """
insert into usage_slot (account, metric, alias, slot, group_no, events, total)
select * from unnest($1::integer[], $2::integer[], $3::integer[], $4::integer[], $5::integer[], $6::bigint[],
    $7::numeric[])
on conflict (account, metric, alias, slot, group_no) do update
set events = usage_slot.events + excluded.events, total = usage_slot.total + excluded.total
"""

# The same by day.
_MERGE_DAYS = """
insert into usage_day (account, metric, alias, day, group_no, events, total)
select * from unnest($1::integer[], $2::integer[], $3::integer[], $4::date[], $5::integer[], $6::bigint[],
    $7::numeric[])
on conflict (account, metric, alias, day, group_no) do update
set events = usage_day.events + excluded.events, total = usage_day.total + excluded.total
"""

# The same by distinct value.
_MERGE_MEMBERS = """
insert into usage_unique (account, metric, alias, slot, group_no, value, events)
select * from unnest($1::integer[], $2::integer[], $3::integer[], $4::integer[], $5::integer[], $6::text[],
    $7::bigint[])
on conflict (account, metric, alias, slot, group_no, value) do update
set events = usage_unique.events + excluded.events
"""

# After something was taken back: what stands for no event any more, by the primary key.
_DROP_SLOTS = """
delete from usage_slot
using unnest($1::integer[], $2::integer[], $3::integer[], $4::integer[], $5::integer[])
    as old (account, metric, alias, slot, group_no)
where (usage_slot.account, usage_slot.metric, usage_slot.alias, usage_slot.slot, usage_slot.group_no)
    = (old.account, old.metric, old.alias, old.slot, old.group_no) and events = 0
"""
_DROP_DAYS = """
delete from usage_day using unnest($1::integer[], $2::integer[], $3::integer[], $4::date[], $5::integer[])
    as old (account, metric, alias, day, group_no)
where (usage_day.account, usage_day.metric, usage_day.alias, usage_day.day, usage_day.group_no)
    = (old.account, old.metric, old.alias, old.day, old.group_no) and events = 0
"""
_DROP_MEMBERS = """
delete from usage_unique
using unnest($1::integer[], $2::integer[], $3::integer[], $4::integer[], $5::integer[], $6::text[])
    as old (account, metric, alias, slot, group_no, value)
where (usage_unique.account, usage_unique.metric, usage_unique.alias, usage_unique.slot, usage_unique.group_no,
        usage_unique.value)
    = (old.account, old.metric, old.alias, old.slot, old.group_no, old.value) and events = 0
"""


async def merge(conn: Connection, deltas: Deltas, *, counting: Mapping[int, Counting]) -> None:
    """Add these differences to the stored counters. `counting` has every account in them."""
    zones = {account: one.zone for account, one in counting.items()}
    cells, members, points = deltas.cells, deltas.members, deltas.points
    groups = await usage_group.intern(conn, deltas.groups)
    if groups:
        cells, members, points = _numbered(cells, groups), _numbered(members, groups), _numbered(points, groups)
    await _merge_cells(conn, cells, merge_sql=_MERGE_SLOTS, drop_sql=_DROP_SLOTS)
    await _merge_cells(conn, _by_day(cells, zones), merge_sql=_MERGE_DAYS, drop_sql=_DROP_DAYS)
    await _merge_members(conn, members)
    if points:
        metrics = {metric.number: metric for one in counting.values() for metric in one.metrics}
        await span.merge(conn, points, metrics=metrics, zones=zones, groups=groups)


def _numbered(by_key: Mapping[Any, Any], groups: Mapping[tuple[int, str], int]) -> dict[Any, Any]:
    """The same with numbers instead of the texts of groups."""
    return {
        (*key[:4], groups[key[0], key[4]], *key[5:]) if isinstance(key[4], str) else key: value
        for key, value in by_key.items()
    }


def member_value(text: str) -> str:
    """How a distinct value is kept: as it is, or by its hash if it is too long for an index."""
    encoded = text.encode()
    if len(encoded) <= _VALUE_BYTES_MAX and not text.startswith(_HASHED):
        return text
    return _HASHED + hashlib.sha256(encoded).hexdigest()


def _by_day(cells: Cells, zones: Mapping[int, ZoneInfo]) -> dict[Day, list[Any]]:
    days: dict[Day, list[Any]] = {}
    for (account, metric, alias, slot, group), (events, total) in cells.items():
        key = (account, metric, alias, bucket.day_of(slot, zones[account]), group)
        cell = days.get(key)
        if cell is None:
            days[key] = [events, total]
        else:
            cell[0] += events
            cell[1] = add(cell[1], total)
    return days


def add(one: Sum | None, other: Sum | None) -> Sum | None:
    """Two sums, exactly; None is no sum at all, on both sides."""
    if one is None or other is None:
        return None
    if isinstance(one, int) and isinstance(other, int):
        return one + other
    return number.add(one, other)


async def _merge_cells(conn: Connection, cells: Mapping[Any, list[Any]], *, merge_sql: str, drop_sql: str) -> None:
    changed = sorted(key for key, (events, total) in cells.items() if events or total)
    if not changed:
        return
    events = [cells[key][0] for key in changed]
    totals = [None if (total := cells[key][1]) is None else Decimal(total) for key in changed]
    await conn.execute(merge_sql, *zip(*changed, strict=True), events, totals)
    if taken := [key for key in changed if cells[key][0] < 0]:
        await conn.execute(drop_sql, *zip(*taken, strict=True))


async def _merge_members(conn: Connection, members: Members) -> None:
    changed = sorted(key for key, events in members.items() if events)
    if not changed:
        return
    await conn.execute(_MERGE_MEMBERS, *zip(*changed, strict=True), [members[key] for key in changed])
    if taken := [key for key in changed if members[key] < 0]:
        await conn.execute(_DROP_MEMBERS, *zip(*taken, strict=True))

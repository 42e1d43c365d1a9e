"""Cells: the counters of quarter hours and of days.

    cell    (account, metric, alias, slot, group) -> [events, total]   total: None where nothing is summed

    merge(conn, cells, zones=)    adds differences to quarter hours, and to the days that they belong to

Few cells travel as arrays. Many go by COPY through a table of the session, from which Postgres puts days together by
itself: an array costs ten times as much for each of its elements.

Rows are touched in one order, `rank`, whatever the way: two who merge the same cells wait for each other, never
deadlock.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from operator import itemgetter
from struct import Struct
from typing import Any, Final, TypeAlias
from zoneinfo import ZoneInfo

import asyncpg

from rating import number
from store import bucket, copy
from store.db import Connection

Sum: TypeAlias = int | Decimal
# The group is 0 where nothing is grouped, else its text until it is interned, and its number from then on.
Key: TypeAlias = tuple[int, int, int, int, Any]
Cells: TypeAlias = Mapping[Key, list[Any]]

# Of a key, of a quarter hour or of a day: where it stands in the primary key.
rank: Final = itemgetter(2, 1, 3, 4, 0)

_FEW = 500
_ROWS_AT_ONCE = 1_000

# Adds to quarter hours, by the primary key; only columns outside of it change, so updates stay on their page.
_MERGE_SLOTS = """
insert into usage_slot (account, metric, alias, slot, group_no, events, total)
select * from unnest($1::integer[], $2::integer[], $3::integer[], $4::integer[], $5::integer[], $6::bigint[],
    $7::numeric[])
on conflict (alias, metric, slot, group_no, account) do update
set events = usage_slot.events + excluded.events, total = usage_slot.total + excluded.total
"""
# The same by day.
_MERGE_DAYS = """
insert into usage_day (account, metric, alias, day, group_no, events, total)
select * from unnest($1::integer[], $2::integer[], $3::integer[], $4::date[], $5::integer[], $6::bigint[],
    $7::numeric[])
on conflict (alias, metric, day, group_no, account) do update
set events = usage_day.events + excluded.events, total = usage_day.total + excluded.total
"""

# Where many differences wait to be merged. Totals are texts: their binary form is ours to build. The name changes with
# the columns, as a pooler may keep a session longer than a version of Usance.
STAGE = """
create temp table if not exists cell_difference (
    account integer, metric integer, alias integer, slot integer, day date, group_no integer, events bigint, total text
) on commit delete rows
"""
# All of it: nearly always nothing.
_UNSTAGE = "delete from pg_temp.cell_difference"
_STAGED = ("account", "metric", "alias", "slot", "day", "group_no", "events", "total")
# The same two from there, if nobody else makes one of these rows meanwhile, at four fifths of the cost: an upsert locks
# a row, and logs that, before it changes it. The join goes along the sorted side, by the primary key: see _ALONG_KEYS.
_MERGE_STAGED_SLOTS = """
merge into usage_slot as counter using (
    select account, metric, alias, slot, group_no, events, total::numeric as total from pg_temp.cell_difference
    order by alias, metric, slot, group_no, account
) as difference
on counter.alias = difference.alias and counter.metric = difference.metric and counter.slot = difference.slot
    and counter.group_no = difference.group_no and counter.account = difference.account
when matched then update
set events = counter.events + difference.events, total = counter.total + difference.total
when not matched then insert (account, metric, alias, slot, group_no, events, total)
values (difference.account, difference.metric, difference.alias, difference.slot, difference.group_no,
    difference.events, difference.total)
"""
_MERGE_STAGED_DAYS = """
merge into usage_day as counter using (
    select account, metric, alias, day, group_no, sum(events)::bigint as events, sum(total::numeric) as total
    from pg_temp.cell_difference
    group by alias, metric, day, group_no, account
    order by alias, metric, day, group_no, account
) as difference
on counter.alias = difference.alias and counter.metric = difference.metric and counter.day = difference.day
    and counter.group_no = difference.group_no and counter.account = difference.account
when matched then update
set events = counter.events + difference.events, total = counter.total + difference.total
when not matched then insert (account, metric, alias, day, group_no, events, total)
values (difference.account, difference.metric, difference.alias, difference.day, difference.group_no,
    difference.events, difference.total)
"""
# Any other join would read all of a table, or touch its rows in another order; estimates of millions of rows would have
# the server compile what takes a tenth of a second.
_ALONG_KEYS = """
set local enable_hashjoin = off; set local enable_mergejoin = off; set local enable_material = off;
set local enable_memoize = off; set local enable_seqscan = off; set local jit = off
"""
_ANY_WAY = """
set local enable_hashjoin = default; set local enable_mergejoin = default; set local enable_material = default;
set local enable_memoize = default; set local enable_seqscan = default; set local jit = default
"""
# The same two whoever makes such rows meanwhile, by the primary key.
_UPSERT_STAGED_SLOTS = """
insert into usage_slot (account, metric, alias, slot, group_no, events, total)
select account, metric, alias, slot, group_no, events, total::numeric from pg_temp.cell_difference
order by alias, metric, slot, group_no, account
on conflict (alias, metric, slot, group_no, account) do update
set events = usage_slot.events + excluded.events, total = usage_slot.total + excluded.total
"""
_UPSERT_STAGED_DAYS = """
insert into usage_day (account, metric, alias, day, group_no, events, total)
select account, metric, alias, day, group_no, sum(events)::bigint, sum(total::numeric) from pg_temp.cell_difference
group by alias, metric, day, group_no, account
order by alias, metric, day, group_no, account
on conflict (alias, metric, day, group_no, account) do update
set events = usage_day.events + excluded.events, total = usage_day.total + excluded.total
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


async def merge(
    conn: Connection,
    cells: Cells,
    *,
    zones: Mapping[int, ZoneInfo],
    is_contended: bool = False,
) -> None:
    """Add these differences to the stored cells; `zones` are those of the accounts. Call inside a transaction.

    `is_contended`: others are making the same cells right now, so the sure way is the cheaper one.
    """
    changed = [key for key, (events, total) in cells.items() if events or total]
    if len(changed) > _FEW:
        await _stage(conn, cells, changed, zones)
        await (_upsert if is_contended else _merge)(conn)
    elif changed:
        await conn.execute(_MERGE_SLOTS, *_columns({key: cells[key] for key in changed}))
        await conn.execute(_MERGE_DAYS, *_columns(_by_day({key: cells[key] for key in changed}, zones)))
    if taken := sorted([key for key in changed if cells[key][0] < 0], key=rank):
        await conn.execute(_DROP_SLOTS, *zip(*taken, strict=True))
        days = sorted({_day_key(key, zones) for key in taken}, key=rank)
        await conn.execute(_DROP_DAYS, *zip(*days, strict=True))


def add(one: Sum | None, other: Sum | None) -> Sum | None:
    """Two sums, exactly; None is no sum at all, on both sides."""
    if one is None or other is None:
        return None
    if isinstance(one, int) and isinstance(other, int):
        return one + other
    return number.add(one, other)


async def _merge(conn: Connection) -> None:
    """Merge what is staged."""
    try:
        async with conn.transaction():
            await conn.execute(f"{_ALONG_KEYS}; {_MERGE_STAGED_SLOTS}; {_MERGE_STAGED_DAYS}; {_ANY_WAY}")
    except asyncpg.UniqueViolationError:
        # Somebody else has made one of these rows, and committed.
        await _upsert(conn)


async def _upsert(conn: Connection) -> None:
    await conn.execute(_UPSERT_STAGED_SLOTS)
    await conn.execute(_UPSERT_STAGED_DAYS)


def _columns(cells: Mapping[Any, Sequence[Any]]) -> list[Sequence[Any]]:
    """Cells as arrays, in their order."""
    keys = sorted(cells, key=rank)
    totals = [None if (total := cells[key][1]) is None else Decimal(total) for key in keys]
    return [*zip(*keys, strict=True), [cells[key][0] for key in keys], totals]


def _by_day(cells: Cells, zones: Mapping[int, ZoneInfo]) -> dict[Any, list[Any]]:
    days: dict[Any, list[Any]] = {}
    for key, (events, total) in cells.items():
        day = _day_key(key, zones)
        found = days.get(day)
        if found is None:
            days[day] = [events, total]
        else:
            found[0] += events
            found[1] = add(found[1], total)
    return days


def _day_key(key: Key, zones: Mapping[int, ZoneInfo]) -> tuple[int, int, int, date, int]:
    account, metric, alias, slot, group = key
    return account, metric, alias, bucket.day_of(slot, zones[account]), group


# The number of columns, then each column as its length and its value, big-endian.
_CELL = Struct(">h" + "ii" * 6 + "iq").pack
# Postgres counts days from here.
_EPOCH = date(2000, 1, 1).toordinal()


async def _stage(conn: Connection, cells: Cells, changed: Sequence[Key], zones: Mapping[int, ZoneInfo]) -> None:
    await conn.execute(STAGE)
    # A transaction may merge more than once: an entry counted event by event, a backfill piece by piece.
    await conn.execute(_UNSTAGE)
    # No file: asyncpg makes a class for each one that it reads, and classes stay until somebody looks for cycles.
    pieces = _pieces(cells, changed, zones)
    await conn.copy_to_table("cell_difference", source=pieces, columns=_STAGED, schema_name="pg_temp", format="binary")


async def _pieces(cells: Cells, changed: Sequence[Key], zones: Mapping[int, ZoneInfo]) -> AsyncIterator[bytes]:
    """The COPY in pieces: Postgres reads one while the next is made."""
    days = {
        (account, slot): bucket.day_of(slot, zones[account]).toordinal() - _EPOCH
        for account, slot in {(key[0], key[3]) for key in changed}
    }
    rows = [copy.HEAD]
    for place, key in enumerate(changed, 1):
        account, metric, alias, slot, group = key
        events, total = cells[key]
        day = days[account, slot]
        rows.append(_CELL(8, 4, account, 4, metric, 4, alias, 4, slot, 4, day, 4, group, 8, events))
        rows.append(copy.NULL if total is None else _text(total))
        if place % _ROWS_AT_ONCE == 0:
            yield b"".join(rows)
            rows = []
    yield b"".join([*rows, copy.END])


def _text(total: Sum) -> bytes:
    return copy.text(str(total) if isinstance(total, int) else number.plain(total))

"""Monthly partitions of raw events, by receipt.

Made two months ahead of time; what falls outside of them is caught by the default partition, never lost, and found by
`has_stray`. Two who make them at once wait for each other on an advisory lock.

Making one needs the default partition for itself, for as long as it takes to write a few rows of the catalog. Whoever
reads raw events may be in the way, and everybody who counts waits behind who waits: so it waits no longer than
`_WAIT_MAX`, and there is another day to try again.

Dropped, where that is wanted, a whole month at a time. Keys and counters stay, so what was counted stays counted, and
an id stays an id; what can be told from raw events alone can be told no more. `kept_from` says from when on in event
time every raw event is there; whoever reads older ones must not take what is left for all.

A drop needs the whole table for itself, and waits no longer either. It holds metrics still meanwhile: one whose history
is not counted yet keeps every month that there is.
"""

import contextlib
import re
from datetime import UTC, datetime, timedelta

import asyncpg

from store import counting, event_hour
from store.db import Connection

MONTHS_AHEAD = 2
# No event is further ahead of its receipt, so what was received later is no older than this.
AHEAD_MAX = timedelta(minutes=5)
# No event is older.
_FIRST = datetime(2000, 1, 1, tzinfo=UTC)

# Holds for tables and for advisory locks.
_WAIT_MAX = "set local lock_timeout = '1s'"

_LOCK = "select pg_advisory_xact_lock(hashtext('usance.partition'))"

# Whether a partition is there already. Not to_regclass: it may remember from before the wait for the lock.
_EXISTS = """
select exists (
    select from pg_inherits join pg_class on oid = inhrelid where inhparent = 'usage_event'::regclass and relname = $1)
"""

# Rows here mean that partitions were not made in time. One row is enough to know.
_STRAY = "select exists (select from usage_event_default)"


async def ensure(conn: Connection, *, now: datetime) -> list[str]:
    """Make the partitions of this month and the next ones; answers the names of new ones.

    asyncpg.LockNotAvailableError: somebody is in the way; try again later.
    """
    made = []
    for month in range(MONTHS_AHEAD + 1):
        start, end = _month(now, month), _month(now, month + 1)
        name = _name(start)
        if await conn.fetchval(_EXISTS, name):
            continue
        # The default partition has events of this month already: they stay there, and so do the others.
        with contextlib.suppress(asyncpg.CheckViolationError):
            async with conn.transaction():
                await conn.execute(_WAIT_MAX)
                await conn.execute(_LOCK)
                if not await conn.fetchval(_EXISTS, name):
                    # Names and borders cannot be parameters; both are made of numbers alone.
                    await conn.execute(
                        f"create table {name} partition of usage_event "
                        f"for values from ('{start.isoformat()}') to ('{end.isoformat()}')"
                    )
                    made.append(name)
    return made


async def has_stray(conn: Connection) -> bool:
    """Whether events lie in the default partition, because theirs was not made in time."""
    found: bool = await conn.fetchval(_STRAY)
    return found


# The names of all partitions; there are as many as months.
_NAMES = "select inhrelid::regclass::text as name from pg_inherits where inhparent = 'usage_event'::regclass order by 1"

# Moves the border, or draws it for the first time.
_DROPPED = """
insert into usage_retention (dropped_before, dropped_below) values ($1, $2)
on conflict (is_only) do update
set dropped_before = greatest(usage_retention.dropped_before, excluded.dropped_before),
    dropped_below = greatest(usage_retention.dropped_below, excluded.dropped_below)
"""


async def drop(conn: Connection, *, now: datetime, months: int) -> list[str]:
    """Drop the partitions of everything received more than so many whole months ago; answers their names.

    Each in a transaction of its own. asyncpg.LockNotAvailableError: somebody is in the way; try again later.
    """
    kept = _name(_month(now, -months))
    names = [row["name"] for row in await conn.fetch(_NAMES)]
    dropped: list[str] = []
    for name in names:
        if not re.fullmatch(r"usage_event_\d{4}_\d{2}", name) or name >= kept:
            continue
        async with conn.transaction():
            await conn.execute(_WAIT_MAX)
            await counting.hold(conn, ())
            await conn.execute(_LOCK)
            if await counting.unfinished(conn) is not None:
                return dropped
            if await conn.fetchval(_EXISTS, name):
                end = _month(datetime.strptime(name, "usage_event_%Y_%m").replace(tzinfo=UTC), 1)
                await conn.execute(_DROPPED, end, await _numbers_end(conn, name))
                await conn.execute(f"drop table {name}")
                await event_hour.trim(conn)
                dropped.append(name)
    return dropped


def month_before(at: datetime) -> datetime:
    """The beginning of the month of receipt before which no event of this time, or of a later one, was received."""
    return _month(max(at, _FIRST) - AHEAD_MAX, 0)


# From when on in receipt nothing was dropped; no row: everything is kept.
_DROPPED_BEFORE = "select dropped_before from usage_retention"


async def kept_from(conn: Connection) -> datetime | None:
    """From when on, in event time, every raw event is there; None: nothing was ever dropped."""
    return kept_after(await conn.fetchval(_DROPPED_BEFORE))


def kept_after(dropped_before: datetime | None) -> datetime | None:
    """The same for who knows from when on in receipt nothing was dropped."""
    return None if dropped_before is None else dropped_before + AHEAD_MAX


async def _numbers_end(conn: Connection, name: str) -> int:
    """One more than the largest event number of a partition, by its primary key, account by account."""
    # The name is the catalog's.
    found: int | None = await conn.fetchval(
        f"""
        select max(last.event_no) from account, lateral (
            select event_no from {name} as one where one.account = account.account order by event_no desc limit 1
        ) as last
        """  # noqa: S608
    )
    return 0 if found is None else found + 1


def _name(start: datetime) -> str:
    return f"usage_event_{start:%Y_%m}"


def _month(now: datetime, later: int) -> datetime:
    year, month = divmod(now.year * 12 + now.month - 1 + later, 12)
    return datetime(year, month + 1, 1, tzinfo=UTC)

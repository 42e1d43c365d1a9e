"""Monthly partitions of raw events, by receipt.

Made two months ahead of time; what falls outside of them is caught by the default partition, never lost, and found by
`count_stray`. Two who make them at once wait for each other on an advisory lock.
"""

from datetime import UTC, datetime

from store.db import Connection

MONTHS_AHEAD = 2

_LOCK = "select pg_advisory_xact_lock(hashtext('usance.partition'))"

# Whether a partition is there already; to_regclass answers null where it is not.
_EXISTS = "select to_regclass($1) is not null"

# Rows here mean that partitions were not made in time. One row is enough to know.
_STRAY = "select exists (select from usage_event_default)"


async def ensure(conn: Connection, *, now: datetime) -> list[str]:
    """Make the partitions of this month and the next ones; answers the names of new ones."""
    made = []
    for month in range(MONTHS_AHEAD + 1):
        start, end = _month(now, month), _month(now, month + 1)
        name = f"usage_event_{start:%Y_%m}"
        async with conn.transaction():
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


def _month(now: datetime, later: int) -> datetime:
    year, month = divmod(now.year * 12 + now.month - 1 + later, 12)
    return datetime(year, month + 1, 1, tzinfo=UTC)

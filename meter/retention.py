"""How long counted entries stay in a stream, and raw events in the database.

Entries stay so that a database restored from a backup catches up from the stream by itself; so nothing is dropped at
once, but nothing is kept without bound either: beyond a size the older half of what is counted goes, and again, until
the rest fits. Only what is behind the position is ever dropped.

Raw events stay for ever unless a setting says for how many months. Then whole months go, once a day, in the aggregator
(store/partition.py has what that means for others).
"""

from datetime import datetime, timedelta

import asyncpg
import msgspec
import structlog
from redis.asyncio import Redis

from meter import stream
from store import partition, stream_position
from store.db import Connection
from store.stream_position import START

log = structlog.get_logger(__name__)


# More than it takes to halve the milliseconds of three hundred years until one is left.
_HALVES_MAX = 50


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """Counted entries go when they are this old, or when the stream is larger than this."""

    seconds: float
    entries_max: int
    bytes_max: int


async def trim(redis: Redis, name: str, *, position: str, retention: Retention, now: datetime) -> int:
    """Drop counted entries that need not stay; answers how many went. `position` is committed."""
    if not await stream.has(redis, name, position):
        # Another stream than was counted: nothing in it is known to be counted, however old its ids are.
        return 0
    old = int((now - timedelta(seconds=retention.seconds)).timestamp() * 1000)
    dropped = await stream.trim(redis, name, before=min(position, f"{old}-0", key=stream_position.order))
    # Each time at least the oldest goes; it may be the only one in the older half of the time.
    for _ in range(_HALVES_MAX):
        entries, used = await stream.size(redis, name)
        if entries <= retention.entries_max and used <= retention.bytes_max:
            break
        before = await _middle(redis, name, position)
        if before == START:
            break
        dropped += await stream.trim(redis, name, before=before)
    return dropped


async def _middle(redis: Redis, name: str, position: str) -> str:
    """An id in the middle of the time of what is counted, with the oldest before it; START: nothing is left to drop."""
    first = await stream.first_id(redis, name)
    if first is None or stream_position.order(first) >= stream_position.order(position):
        return START
    oldest, newest = stream_position.order(first)[0], stream_position.order(position)[0]
    return position if newest - oldest <= 1 else f"{(oldest + newest) // 2}-0"


async def prepare_raw(conn: Connection, *, now: datetime, months: int | None) -> None:
    """Make the partitions of raw events that are needed soon, and drop those that were received more than so many
    whole months ago. Where somebody is in the way it is done another day.
    """
    try:
        if made := await partition.ensure(conn, now=now):
            log.info("partitions made", action="prepare", partitions=made)
        if months is not None and (dropped := await partition.drop(conn, now=now, months=months)):
            log.info("raw events dropped", action="prepare", partitions=dropped)
    except asyncpg.LockNotAvailableError:
        log.warning("the partitions of raw events are busy, they are made and dropped tomorrow", action="prepare")
    if await partition.has_stray(conn):
        log.error("raw events lie in the default partition, theirs was not made in time", action="prepare")

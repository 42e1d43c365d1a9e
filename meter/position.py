"""Positions: how far streams are counted, for those who wait for it.

    await wait(pool, text, ...)     until the events that stand there are counted and can be read
    await ends(pool, redis, ...)    where to wait for everything that is accepted by now

To callers a position is "<stream number>/<entry id>", the header `Usance-Position` of every success.

Several positions are one text, joined by commas: `countedUpTo` has one of each stream, and whoever has several replies
to wait for may join theirs. Of one stream the furthest counts.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence

from redis.asyncio import Redis
from redis.exceptions import RedisError

from meter import stream
from meter.error import InvalidValue
from store import stream_position
from store.db import Pool

# The waiting side looks at a row for each stream; whoever waits for longer than this should rather look again.
WAIT_SECONDS_MAX = 10.0
# As many as there can be streams.
POSITIONS_MAX = 1_024
_POLL_SECONDS = 0.02
_CONNECTION_SECONDS_MAX = 5.0
_POSITION = re.compile(r"(\d{1,4})/(\d{1,20}-\d{1,20})", re.ASCII)


async def wait(pool: Pool, text: str, *, redis: Redis, streams: int, seconds: float = WAIT_SECONDS_MAX) -> bool:
    """Wait until everything at these positions is counted; answers whether it is."""
    wanted = parse(text)
    ours = frozenset(stream.names(streams))
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        async with pool.acquire(timeout=_CONNECTION_SECONDS_MAX) as conn:
            counted = await stream_position.read(conn)
        # A stream that is written to no more may still be counted, so its row is as good as the setting.
        if not wanted.keys() <= ours | counted.keys():
            raise _refused()
        if all(_is_counted(counted.get(name), entry_id) for name, entry_id in wanted.items()) and (
            await _hold(redis, {name: counted[name] for name in wanted if name in counted})
        ):
            return True
        if asyncio.get_running_loop().time() >= deadline:
            return False
        await asyncio.sleep(_POLL_SECONDS)


def parse(text: str) -> dict[str, str]:
    """The streams and the ids of the furthest entries that these positions name."""
    wanted: dict[str, str] = {}
    parts = text.split(",")
    if len(parts) > POSITIONS_MAX:
        raise _refused()
    for part in parts:
        found = _POSITION.fullmatch(part)
        if found is None:
            raise _refused()
        name = stream.name(int(found[1]))
        wanted[name] = max(wanted.get(name, stream_position.START), found[2], key=stream_position.order)
    return wanted


async def ends(pool: Pool, redis: Redis, *, streams: Sequence[str]) -> Mapping[str, str]:
    """The end of each stream: once it is counted so far, all that was accepted before this call is."""
    async with pool.acquire(timeout=_CONNECTION_SECONDS_MAX) as conn:
        counted = await stream_position.read(conn)
    return {name: await _end(pool, redis, name, counted.get(name, stream_position.START)) for name in streams}


async def _end(pool: Pool, redis: Redis, name: str, position: str) -> str:
    last = await stream.last_id(redis, name)
    if not await stream.holds(redis, name, position):
        async with pool.acquire(timeout=_CONNECTION_SECONDS_MAX) as conn, conn.transaction():
            # Whoever counts at this moment may have read the stream that was.
            await stream.overtake(redis, name, await stream_position.wait(conn, name))
        last = await stream.last_id(redis, name)
    return last or stream_position.START


async def _hold(redis: Redis, positions: Mapping[str, str]) -> bool:
    """Whether these positions are those of the streams that are there."""
    try:
        return all([await stream.holds(redis, name, position) for name, position in positions.items()])
    except (RedisError, OSError, TimeoutError):
        # Who knows what comes back.
        return False


def _is_counted(position: str | None, entry_id: str) -> bool:
    return stream_position.order(position or stream_position.START) >= stream_position.order(entry_id)


def _refused() -> InvalidValue:
    message = "`after` must be a position as `Usance-Position` or `countedUpTo` shows it, or several with commas."
    return InvalidValue(message, key="after")

"""Positions as callers see them: "<stream number>/<entry id>", the header `Usance-Position` of every success.

await wait(pool, text, ...)     until the events that stand there are counted and can be read
"""

import asyncio
import re

from meter import stream
from meter.error import InvalidValue
from store import usage
from store.db import Pool

# The waiting side looks at one row; whoever waits for longer than this should rather look again.
WAIT_SECONDS_MAX = 10.0
_POLL_SECONDS = 0.02
_CONNECTION_SECONDS_MAX = 5.0
_POSITION = re.compile(r"(\d{1,4})/(\d{1,20}-\d{1,20})", re.ASCII)


async def wait(pool: Pool, text: str, *, streams: int, seconds: float = WAIT_SECONDS_MAX) -> bool:
    """Wait until a position is counted; answers whether it is."""
    name, entry_id = parse(text, streams=streams)
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        async with pool.acquire(timeout=_CONNECTION_SECONDS_MAX) as conn:
            if await usage.counted_past(conn, {name: entry_id}):
                return True
        if asyncio.get_running_loop().time() >= deadline:
            return False
        await asyncio.sleep(_POLL_SECONDS)


def parse(text: str, *, streams: int) -> tuple[str, str]:
    """The stream and the id of the entry that a position names."""
    found = _POSITION.fullmatch(text)
    if found is None or int(found[1]) >= streams:
        raise InvalidValue("`after` must be a position as `Usance-Position` of a reply shows it.", key="after")
    return stream.names(streams)[int(found[1])], found[2]

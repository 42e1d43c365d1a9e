"""Positions as callers see them: "<stream number>/<entry id>", the header `Usance-Position` of every success.

    await wait(pool, text, ...)     until the events that stand there are counted and can be read

Several positions are one text, joined by commas: `countedUpTo` has one of each stream, and whoever has several replies
to wait for may join theirs. Of one stream the furthest counts.
"""

import asyncio
import re

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


async def wait(pool: Pool, text: str, *, streams: int, seconds: float = WAIT_SECONDS_MAX) -> bool:
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
        if all(_is_counted(counted.get(name), entry_id) for name, entry_id in wanted.items()):
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


def _is_counted(position: str | None, entry_id: str) -> bool:
    return stream_position.order(position or stream_position.START) >= stream_position.order(entry_id)


def _refused() -> InvalidValue:
    message = "`after` must be a position as `Usance-Position` or `countedUpTo` shows it, or several with commas."
    return InvalidValue(message, key="after")

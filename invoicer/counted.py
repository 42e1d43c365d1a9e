"""Counted: waiting until everything that was accepted is counted, so that no bill misses usage sent before it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from store import usage
from store.db import Connection

# Answers the last id of every stream; the composition root hands over meter.stream's.
Ends: TypeAlias = Callable[[], Awaitable[Mapping[str, str]]]

POLL_SECONDS = 0.02


async def wait(conn: Connection, ends: Ends, *, seconds: float) -> bool:
    """Wait, bounded, until everything that the streams hold at this moment is counted; False: it is not."""
    try:
        async with asyncio.timeout(seconds):
            wanted = await ends()
            # Another process moves the positions, so there is no event of ours to wait for.
            while not await usage.counted_past(conn, wanted):  # noqa: ASYNC110
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        return False
    return True

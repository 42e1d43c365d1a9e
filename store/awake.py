"""Awake: a transaction that holds rows while the work for them is done elsewhere says now and then that it lives.

The server sends away who is silent in a transaction for long (store/db.py), so that the rows of a process that is dead
or cut off are soon somebody else's. One that reads on another connection, or calculates, is neither.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from store.db import Connection

# Well below the half minute after which who is silent is sent away.
PING_SECONDS = 5.0

# Nothing; that it is asked is the message.
_PING = "select"


@asynccontextmanager
async def awake(conn: Connection) -> AsyncIterator[None]:
    """Speak up for a connection that is inside a transaction; nobody else uses it inside this block."""
    done = asyncio.Event()
    pinging = asyncio.create_task(_ping(conn, done), name="awake")
    try:
        yield
    finally:
        # Not cancelled: that would cancel a ping on its way, and the transaction with it.
        done.set()
        await pinging


async def _ping(conn: Connection, done: asyncio.Event) -> None:
    while not done.is_set():
        try:
            async with asyncio.timeout(PING_SECONDS):
                await done.wait()
        except TimeoutError:
            await conn.execute(_PING)

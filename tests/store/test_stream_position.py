"""The lease of a stream is not lost with a process that hangs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import pytest
from redis.asyncio import Redis

from store import copy, db, stream_position
from store.account import Principal
from tests.usage import NOW, accept, aggregator, called

NAME = "events:{0}"
COPYING = """
select exists (
    select from pg_stat_activity
    where datname = current_database() and state = 'active' and wait_event = 'ClientRead' and query ilike 'copy%'
)
"""


@pytest.fixture
async def goes_on(database_url: str, conn: db.Connection) -> AsyncIterator[asyncio.Event]:
    """An aggregator has the lease, and does not go on with its rows; when this is set it does, a little."""
    await stream_position.ensure(conn, [NAME])
    other = await asyncpg.connect(database_url)
    goes_on = asyncio.Event()
    task = asyncio.create_task(_hang(other, goes_on))
    async with asyncio.timeout(10):
        while not await conn.fetchval(COPYING):  # noqa: ASYNC110 another session
            await asyncio.sleep(0.01)
    yield goes_on
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, asyncpg.PostgresError, asyncpg.InterfaceError):
        await task
    other.terminate()


async def _hang(conn: db.Connection, goes_on: asyncio.Event) -> None:
    async with conn.transaction():
        await stream_position.lock(conn, NAME)
        await conn.copy_to_table("dead_letter", source=_rows(goes_on), format="binary")


async def _rows(goes_on: asyncio.Event) -> AsyncIterator[bytes]:
    yield copy.HEAD[:11]
    await goes_on.wait()
    yield copy.HEAD[11:]
    await asyncio.Event().wait()


@asynccontextmanager
async def _leased(conn: db.Connection) -> AsyncIterator[bool]:
    async with conn.transaction():
        yield await stream_position.lock(conn, NAME) is not None


@pytest.mark.usefixtures("goes_on")
async def test_whoever_hangs_in_the_middle_of_its_rows_loses_the_lease(conn: db.Connection) -> None:
    async with _leased(conn) as is_ours:
        assert not is_ours
    [wait] = await stream_position.waits(conn)
    assert await stream_position.evict(conn, [wait]) == 1

    async with asyncio.timeout(10):
        while await stream_position.waits(conn):  # noqa: ASYNC110 another session
            await asyncio.sleep(0.01)
    async with _leased(conn) as is_ours:
        assert is_ours


async def test_whoever_is_slow_keeps_the_lease(conn: db.Connection, goes_on: asyncio.Event) -> None:
    """However long a statement takes, its next piece makes another wait of it."""
    before = await stream_position.waits(conn)
    goes_on.set()
    async with asyncio.timeout(10):
        while (after := await stream_position.waits(conn)) in (before, []):  # noqa: ASYNC110 another session
            await asyncio.sleep(0.01)

    assert await stream_position.evict(conn, before) == 0
    assert await stream_position.waits(conn) == after != []
    async with _leased(conn) as is_ours:
        assert not is_ours


async def test_whoever_is_between_two_statements_keeps_the_lease(conn: db.Connection, pool: db.Pool) -> None:
    await stream_position.ensure(conn, [NAME])
    async with pool.acquire() as other, other.transaction():
        await stream_position.lock(other, NAME)

        assert await stream_position.waits(conn) == []


@pytest.mark.usefixtures("goes_on")
async def test_an_aggregator_takes_the_lease_of_one_that_hangs_for_a_minute(
    pool: db.Pool, conn: db.Connection, redis: Redis, account: Principal
) -> None:
    await accept(redis, account, called("a"))
    other = aggregator(pool, redis)

    for seconds in (0, 50):
        assert await other.step(NOW + timedelta(seconds=seconds)) == 0
        assert len(await stream_position.waits(conn)) == 1
    assert await other.step(NOW + timedelta(seconds=61)) == 0

    async with asyncio.timeout(10):
        while not await other.step(NOW):  # noqa: ASYNC110 another session
            await asyncio.sleep(0.01)

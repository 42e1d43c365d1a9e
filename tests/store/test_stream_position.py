"""The lease of a stream is not lost with a process that hangs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import pytest

from store import db, stream_position

NAME = "events:{0}"
COPYING = """
select exists (
    select from pg_stat_activity
    where datname = current_database() and state = 'active' and wait_event = 'ClientRead' and query ilike 'copy%'
)
"""


@pytest.fixture
async def hanging(database_url: str, conn: db.Connection) -> AsyncIterator[asyncio.Task[None]]:
    """An aggregator that has the lease, and does not go on with its rows."""
    await stream_position.ensure(conn, [NAME])
    other = await asyncpg.connect(database_url)
    task = asyncio.create_task(_hang(other))
    async with asyncio.timeout(10):
        while not await conn.fetchval(COPYING):  # noqa: ASYNC110 another session
            await asyncio.sleep(0.01)
    yield task
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, asyncpg.PostgresError, asyncpg.InterfaceError):
        await task
    other.terminate()


async def _hang(conn: db.Connection) -> None:
    async with conn.transaction():
        await stream_position.lock(conn, NAME)
        await conn.copy_to_table("dead_letter", source=_rows(), format="binary")


async def _rows() -> AsyncIterator[bytes]:
    yield b"PGCOPY"
    await asyncio.Event().wait()


@asynccontextmanager
async def _leased(conn: db.Connection) -> AsyncIterator[bool]:
    async with conn.transaction():
        yield await stream_position.lock(conn, NAME) is not None


@pytest.mark.usefixtures("hanging")
async def test_whoever_hangs_in_the_middle_of_its_rows_loses_the_lease(conn: db.Connection) -> None:
    async with _leased(conn) as is_ours:
        assert not is_ours
    assert await stream_position.evict(conn, silent=timedelta(0)) == 1

    async with asyncio.timeout(10):
        while await stream_position.evict(conn, silent=timedelta(0)):  # noqa: ASYNC110 another session
            await asyncio.sleep(0.01)
    async with _leased(conn) as is_ours:
        assert is_ours


async def test_whoever_is_slow_keeps_the_lease(conn: db.Connection, hanging: asyncio.Task[None]) -> None:
    assert await stream_position.evict(conn, silent=timedelta(minutes=1)) == 0

    assert not hanging.done()
    async with _leased(conn) as is_ours:
        assert not is_ours


async def test_whoever_is_between_two_statements_keeps_the_lease(conn: db.Connection, pool: db.Pool) -> None:
    await stream_position.ensure(conn, [NAME])
    async with pool.acquire() as other, other.transaction():
        await stream_position.lock(other, NAME)

        assert await stream_position.evict(conn, silent=timedelta(0)) == 0

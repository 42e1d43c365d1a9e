"""A transaction that holds rows while the work for them is done elsewhere."""

import asyncpg
import pytest

from store import awake, db

HOLD = "select from account for update"
# Elsewhere takes five times as long as the server waits for who is silent.
WORK = "select pg_sleep(1)"


async def test_who_works_elsewhere_keeps_what_it_holds(
    database_url: str, conn: db.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(awake, "PING_SECONDS", 0.05)
    pool = await db.connect_pool(f"{database_url}&idle_in_transaction_session_timeout=200ms", max_size=1)

    async with pool.acquire() as holder, holder.transaction():
        await holder.execute(HOLD)
        async with awake.awake(holder):
            await conn.execute(WORK)
        assert await holder.fetchval("select 1") == 1

    await pool.close()


async def test_a_connection_that_is_lost_meanwhile_is_told(
    database_url: str, conn: db.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(awake, "PING_SECONDS", 0.05)
    pool = await db.connect_pool(database_url, max_size=1)

    async def works_elsewhere() -> None:
        async with pool.acquire() as holder, holder.transaction(), awake.awake(holder):
            await conn.execute("select pg_terminate_backend($1)", holder.get_server_pid())
            await conn.execute(WORK)

    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await works_elsewhere()

    pool.terminate()

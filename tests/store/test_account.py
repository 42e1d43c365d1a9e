"""Accounts and keys: the first start makes them once, whatever starts at the same time."""

import asyncio
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from uuid_utils.compat import uuid7

from store import account as accounts
from store.account import AccountChange, Principal
from store.db import Connection, Pool

NOW = datetime(2025, 3, 10, 12, tzinfo=UTC)


async def ensure(pool: Pool) -> int:
    async with pool.acquire() as conn, conn.transaction():
        return await accounts.ensure_first(conn, account_id=uuid7(), company_name="A", time_zone="UTC", now=NOW)


async def test_processes_that_start_at_once_make_one_first_account(pool: Pool) -> None:
    made = await asyncio.gather(*(ensure(pool) for _ in range(5)))

    assert len(set(made)) == 1
    assert await pool.fetchval("select count(*) from account") == 1


async def test_a_key_finds_its_account_by_the_hash_alone(conn: Connection, account: Principal) -> None:
    assert await accounts.create_key(conn, account.account, client_id="id", secret="secret", now=NOW)

    key = await accounts.find_key(conn, "id")

    assert key is not None
    assert key.principal == Principal(account.account, account.account_id, "id", "UTC")
    assert key.secret_sha256 == accounts.hash_secret("secret")
    assert await accounts.count_keys(conn, account.account) == 1


async def test_a_client_id_is_taken_once(conn: Connection, account: Principal) -> None:
    await accounts.create_key(conn, account.account, client_id="id", secret="first", now=NOW)

    assert not await accounts.create_key(conn, account.account, client_id="id", secret="second", now=NOW)
    key = await accounts.find_key(conn, "id")
    assert key is not None
    assert key.secret_sha256 == accounts.hash_secret("first")


async def test_unknown_and_revoked_keys_are_not_found(conn: Connection, account: Principal) -> None:
    await accounts.create_key(conn, account.account, client_id="id", secret="secret", now=NOW)
    await conn.execute("update api_key set revoked_at = now()")

    assert await accounts.find_key(conn, "id") is None
    assert await accounts.find_key(conn, "nobody") is None
    assert await accounts.count_keys(conn, account.account) == 0


async def test_an_account_has_a_zone(conn: Connection, account: Principal) -> None:
    await conn.execute("update account set time_zone = 'Asia/Kathmandu'")

    assert await accounts.time_zone(conn, account.account) == ZoneInfo("Asia/Kathmandu")


async def test_a_change_leaves_out_what_it_does_not_name(conn: Connection, account: Principal) -> None:
    changed = await accounts.update(conn, account.account, change=AccountChange(country="DE"), now=NOW)

    assert (changed.company_name, changed.country, changed.updated_at) == ("Test", "DE", NOW)
    assert await accounts.get(conn, account.account) == changed

"""The aggregator is killed while it closes and reverts a backfill: nobody ever sees half of either."""

import asyncio
import random
import signal
import sys
from typing import Any

import pytest

from store.account import Principal
from store.db import Connection
from tests.usage import aggregator, called, definition, differences, drain, make_metric, measured, used

LIVE, LOADED, PER_REQUEST = 2_000, 20_000, 5_000
KILLS = 3
# A deadline, not a promise: the machine may be busy with other things.
SECONDS_MAX = 600
BEFORE, AFTER = used("2000", LIVE), used("40000", LOADED)

# Whether somebody is in the middle of a close or a revert: the lease of store/backfill.py.
FINISHING = """
select exists (
    select from pg_locks
    where locktype = 'advisory' and granted
        and (classid::bigint << 32 | objid::bigint) = hashtext('usance.backfill')::bigint)
"""


@pytest.mark.slow
async def test_killing_the_aggregator_leaves_no_half_of_a_backfill(
    api: Any, pool: Any, redis: Any, conn: Connection, account: Principal, database_url: str, redis_url: str
) -> None:
    tokens = await make_metric(conn, account, definition("SUM", "tokens"))
    await api.made("/usage-events", [called(f"live{n}", tokens=1) for n in range(LIVE)])
    await drain(aggregator(pool, redis))
    backfill = await loaded(api)
    command = [sys.executable, "-m", "usance.cli", "aggregate"]
    command += ["--database-url", database_url, "--redis-url", redis_url]
    dice = random.Random(7)  # noqa: S311 a fixed seed, so that a failure can be looked at again

    async with asyncio.timeout(SECONDS_MAX):
        for verb, was, will_be, status in (
            ("close", BEFORE, AFTER, "CLOSED"),
            ("revert", AFTER, BEFORE, "REVERTED"),
        ):
            assert (await api.post(f"/usage-backfills/{backfill}/{verb}")).status == 202
            interrupted = 0
            for _ in range(KILLS):
                await kill_in_the_middle(command, conn, dice)
                found = await measured(conn, account, tokens)
                assert found in (was, will_be)
                interrupted += found == was
            assert interrupted
            await until_finished(command, api, backfill, status)
            assert await measured(conn, account, tokens) == will_be
            assert await differences(conn) == []


async def loaded(api: Any) -> str:
    """An open backfill that replaces everything there is."""
    asked = {"customerAliases": ["acme"], "from": "2025-03-01T00:00:00Z", "to": "2025-03-08T00:00:00Z", "replace": True}
    backfill = (await api.made("/usage-backfills", asked))["id"]
    for first in range(0, LOADED, PER_REQUEST):
        events = [called(f"new{n}", tokens=2) for n in range(first, first + PER_REQUEST)]
        reply = await api.post("/usage-events", events, headers={"Usance-Backfill": backfill})
        assert (reply.status, reply.body["accepted"]) == (202, PER_REQUEST)
    return str(backfill)


async def kill_in_the_middle(command: list[str], conn: Connection, dice: random.Random) -> None:
    """Start the aggregator, and kill it some moment after it has begun, but do not wait for ever: it may be done."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    for _ in range(1_000):
        if await conn.fetchval(FINISHING):
            break
        await asyncio.sleep(0.005)
    await asyncio.sleep(dice.uniform(0, 0.2))  # the random moment that this test is about
    process.send_signal(signal.SIGKILL)
    await process.wait()


async def until_finished(command: list[str], api: Any, backfill: str, status: str) -> None:
    """Let it finish, and stop in order."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    while (await api.get(f"/usage-backfills/{backfill}")).body["status"] != status:  # noqa: ASYNC110 another process
        await asyncio.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0

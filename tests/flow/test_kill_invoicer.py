"""The invoicer is killed at random moments of a billing run; every charge is billed exactly once afterwards."""

import asyncio
import random
import sys
from typing import Any

import pytest

from store.db import Connection
from tests import company

CUSTOMERS = 400
MONTHS = 12
KILLS = 8
RUNS_MAX = 60

# A doubled or lost line shows in the sum: the two prices have nothing in common.
FACTS = """
select count(distinct invoice.id) as invoices, count(line.id) as lines, sum(line.net_minor)::bigint as total
from invoice left join invoice_line line on line.account = invoice.account and line.invoice = invoice.id
"""


# Whether somebody holds the lock that a claim takes.
CLAIMING = """
select exists (select from pg_locks where relation = 'billing_schedule'::regclass and mode = 'RowShareLock')
"""


@pytest.mark.slow
async def test_killing_the_invoicer_loses_and_doubles_nothing(
    api: Any, conn: Connection, database_url: str, redis_url: str
) -> None:
    prices = [await company.price(api, company.fixed(amount)) for amount in ("100", "7")]
    for n in range(CUSTOMERS):
        customer = await company.customer(api, f"customer-{n}")
        await company.schedule(api, customer, prices, start="2024-03-01")
    command = [sys.executable, "-m", "usance.cli", "invoice", "--once", "--now", "2025-03-10T00:00:00Z"]
    command += ["--database-url", database_url, "--redis-url", redis_url]
    dice = random.Random(5)  # noqa: S311 a fixed seed, so that a failure can be looked at again

    kills = await _kill_at_random(command, kills=KILLS, dice=dice, conn=conn)
    await _finish(command)

    facts = await conn.fetchrow(FACTS)
    assert kills == KILLS
    assert facts is not None
    assert dict(facts) == {
        "invoices": CUSTOMERS * MONTHS,
        "lines": CUSTOMERS * MONTHS * 2,
        "total": CUSTOMERS * MONTHS * 107_00,
    }
    assert await conn.fetchval("select count(*) from invoice_charge where is_live") == CUSTOMERS * MONTHS * 2


async def _kill_at_random(command: list[str], *, kills: int, dice: random.Random, conn: Connection) -> int:
    """Start the run again and again, each time killing it some moment after it has begun to write."""
    done = 0
    for _ in range(RUNS_MAX):
        if done == kills:
            break
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
        await _until_working(process, conn)
        await asyncio.sleep(dice.uniform(0, 0.15))  # the random moment that this test is about
        if process.returncode is None:
            process.kill()
            done += 1
        await process.wait()
    return done


async def _until_working(process: asyncio.subprocess.Process, conn: Connection) -> None:
    while process.returncode is None and not await conn.fetchval(CLAIMING):  # noqa: ASYNC110 another process's lock
        await asyncio.sleep(0.005)


async def _finish(command: list[str]) -> None:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0

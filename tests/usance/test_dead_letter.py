"""`usance dead-letters` lists what waits and replays it, in the order in which it came."""

import asyncio
import subprocess
import sys
from pathlib import Path

from redis.asyncio import Redis

from meter import entry
from meter.aggregate import Aggregator
from store.account import Principal
from store.db import Connection, Pool
from tests.meter.test_dead_letter import good, put, spoilt
from tests.usage import aggregator, drain

ROOT = Path(__file__).parents[2]


async def run(database_url: str, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "usance.cli", "dead-letters", *arguments, "--database-url", database_url]
    done = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


async def test_letters_are_listed_and_replayed(
    pool: Pool, conn: Connection, redis: Redis, account: Principal, database_url: str
) -> None:
    counting: Aggregator = aggregator(pool, redis)
    await put(redis, spoilt(account, "a", "bad"))
    await drain(counting)

    code, said = await run(database_url, "list")
    assert (code, "bad" in said, "UNCOUNTABLE" in said) == (0, True, True)
    assert await run(database_url, "replay") == (1, await stays(conn))
    await conn.execute("update dead_letter set content = $1", entry.join([entry.encode_block(good(account, "bad"))]))
    assert await run(database_url, "replay") == (0, "1 counted, 0 stay.")
    assert await run(database_url, "list") == (0, "No dead letters wait.")
    assert await conn.fetchval("select count(*) from usage_event") == 2


async def stays(conn: Connection) -> str:
    row = await conn.fetchrow("select id, reason from dead_letter")
    assert row is not None
    message = f"{row['id']} stays: The dead letter cannot be counted still, so it stays in the list. {row['reason']}"
    return " ".join(f"{message} 0 counted, 1 stay.".split())

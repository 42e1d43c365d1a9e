"""`usance dead-letters` lists what waits and replays it, in the order in which it came."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from redis.asyncio import Redis

from meter import entry
from meter.aggregate import Aggregator
from store.account import Principal
from store.db import Connection, Pool
from tests.meter.test_dead_letter import good, put, spoilt
from tests.usage import aggregator, drain

# Each command is a process.
pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


async def run(database_url: str, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "usance.cli", "dead-letters", *arguments, "--database-url", database_url]
    # Wide enough that no word is folded.
    env = os.environ | {"COLUMNS": "300"}
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
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


async def test_one_letter_is_replayed_by_its_id_and_the_others_wait(
    pool: Pool, conn: Connection, redis: Redis, account: Principal, database_url: str
) -> None:
    await put(redis, spoilt(account, "a", "bad"))
    await put(redis, spoilt(account, "b", "worse"))
    await drain(aggregator(pool, redis))
    first, second = [row["id"] for row in await conn.fetch("select id from dead_letter order by id")]
    for id_, name in ((first, "bad"), (second, "worse")):
        content = entry.join([entry.encode_block(good(account, name))])
        await conn.execute("update dead_letter set content = $2 where id = $1", id_, content)

    assert await run(database_url, "replay", str(second)) == (0, "1 counted, 0 stay.")

    _, waits = await run(database_url, "list")
    _, both = await run(database_url, "list", "--all")
    assert (str(first) in waits, str(second) in waits) == (True, False)
    assert (str(first) in both, str(second) in both, both.count("Replayed")) == (True, True, 1)
    nobody = "0193f000-0000-7000-8000-00000000000f"
    assert await run(database_url, "replay", nobody) == (
        1,
        f"{nobody} stays: There is no dead letter {nobody}. 0 counted, 1 stay.",
    )


async def test_a_letter_is_discarded_with_a_reason(
    pool: Pool, conn: Connection, redis: Redis, account: Principal, database_url: str
) -> None:
    await put(redis, spoilt(account, "a", "bad"))
    # Nobody can read whose it is.
    await redis.xadd("events:{0}", {"blocks.1": b"\xc1"})
    await drain(aggregator(pool, redis))
    ids = [str(row["id"]) for row in await conn.fetch("select id from dead_letter")]

    without_reason, _ = await run(database_url, "discard", ids[0])
    assert await run(database_url, "discard", *ids, "--reason", "a test") == (0, "2 discarded, 0 stay.")

    assert without_reason == 2
    assert await run(database_url, "list") == (0, "No dead letters wait.")
    assert await run(database_url, "replay") == (0, "0 counted, 0 stay.")
    _, said = await run(database_url, "list", "--all")
    assert said.count("(command line): a test") == 2
    code, said = await run(database_url, "replay", ids[0])
    assert (code, "It was discarded at" in said) == (1, True)

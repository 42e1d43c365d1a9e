"""The aggregator is killed at random moments while events are posted; every counter is exact afterwards."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from redis.asyncio import Redis

from meter import stream
from store import usage
from store.account import Principal
from store.db import Connection
from store.usage import Usage
from tests.usage import called, definition, differences, make_metric, measured

REQUESTS, EVENTS_PER_REQUEST = 200, 500
# 50 of each 500 events were sent before, some of them with other content.
NEW_PER_REQUEST = 450
ALIASES = 20
KILLS = 8
# A deadline, not a promise: the machine may be busy with other things.
SECONDS_MAX = 600

Batch = list[dict[str, Any]]

# Whether somebody is in the middle of a batch.
COUNTING = """
select exists (select from pg_locks where relation = 'stream_position'::regclass and mode = 'RowShareLock')
"""


@pytest.mark.slow
async def test_killing_the_aggregator_loses_and_doubles_nothing(
    api: Any, conn: Connection, redis: Redis, account: Principal, database_url: str, redis_url: str
) -> None:
    tokens = await make_metric(conn, account, definition("SUM", "tokens"), name="tokens")
    users = await make_metric(conn, account, definition("UNIQUE", "user"), name="users")
    batches = traffic(random.Random(3))  # noqa: S311 a fixed seed, so that a failure can be looked at again
    command = [
        sys.executable,
        "-m",
        "usance.cli",
        "aggregate",
        "--database-url",
        database_url,
        "--redis-url",
        redis_url,
    ]

    async with asyncio.timeout(SECONDS_MAX):
        posting = asyncio.create_task(post(api, batches))
        kills = await kill_at_random(command, conn)
        await posting
        await count_the_rest(command, conn, redis)

    last = {one["customerEventId"]: one for batch in batches for one in batch}
    assert kills == KILLS
    for alias in (f"customer-{n}" for n in range(ALIASES)):
        mine = [one["eventProperties"] for one in last.values() if one["customerAlias"] == alias]
        assert await measured(conn, account, tokens, alias) == total([one["tokens"] for one in mine])
        assert await measured(conn, account, users, alias) == distinct([one["user"] for one in mine])
    assert await conn.fetchval("select count(*) from event_key") == len(last) == REQUESTS * NEW_PER_REQUEST
    assert await differences(conn) == []


def traffic(dice: random.Random) -> list[Batch]:
    """Requests in which every tenth event repeats an earlier one; every other repeat is a correction."""
    batches: list[Batch] = []
    for request in range(REQUESTS):
        first = request * NEW_PER_REQUEST
        batch = [one(number) for number in range(first, first + NEW_PER_REQUEST)]
        for place in range(EVENTS_PER_REQUEST - NEW_PER_REQUEST):
            number = dice.randrange(first + NEW_PER_REQUEST)
            batch.append(one(number, version=place % 2))
        batches.append(batch)
    return batches


def one(number: int, *, version: int = 0) -> dict[str, Any]:
    return called(
        f"e{number}",
        alias=f"customer-{number % ALIASES}",
        when=f"2025-03-{1 + number % 9:02}T{number % 24:02}:{number % 60:02}:00Z",
        tokens=number % 1_000 + version,
        user=f"user-{(number + version) % 701}",
    )


async def post(api: Any, batches: Sequence[Batch]) -> None:
    for batch in batches:
        reply = await api.post("/usage-events", batch)
        assert (reply.status, reply.body["accepted"]) == (202, EVENTS_PER_REQUEST)


async def kill_at_random(command: list[str], conn: Connection) -> int:
    """Start the aggregator again and again, each time killing it some moment after it has begun to count."""
    dice = random.Random(7)  # noqa: S311 as above
    kills = 0
    while kills < KILLS:
        process = await started(command)
        await until_counting(conn)
        await asyncio.sleep(dice.uniform(0, 0.15))  # the random moment that this test is about
        process.send_signal(signal.SIGKILL)
        kills += await process.wait() == -signal.SIGKILL
    return kills


async def until_counting(conn: Connection) -> None:
    """Wait for a batch, but not for ever: on a fast machine there may be none left."""
    for _ in range(1_000):
        if await conn.fetchval(COUNTING):
            return
        await asyncio.sleep(0.005)


async def count_the_rest(command: list[str], conn: Connection, redis: Redis) -> None:
    """Let it count to the end, and stop in order."""
    process = await started(command)
    while not await usage.counted_past(conn, await stream.ends(redis, stream.names(1))):  # noqa: ASYNC110 another process
        await asyncio.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0


async def started(command: list[str]) -> asyncio.subprocess.Process:
    # Small batches: more transactions to be killed in.
    environment = os.environ | {"USANCE_BATCH_EVENTS_MAX": "1000"}
    return await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.DEVNULL)


def total(numbers: Sequence[int]) -> Usage:
    return Usage(Decimal(sum(numbers)), len(numbers))


def distinct(texts: Sequence[str]) -> Usage:
    return Usage(Decimal(len(set(texts))), len(texts))

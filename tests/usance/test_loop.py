"""What every process looks at before it does anything, and what becomes of one that hangs."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from redis.asyncio import Redis

from meter import stream
from runtime import embedded
from runtime.errors import SettingsError
from runtime.settings import Settings
from store import counting
from store.account import Principal
from store.db import Connection
from tests.usage import accept, called
from usance import loop

# Many databases or processes: left out of the inner loop.
pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("settings", "is_refused"),
    [
        (Settings(), True),
        (Settings(redis_check="warn"), False),
        (Settings(redis_wait_aof="yes"), False),
    ],
)
async def test_a_redis_that_loses_events_is_refused_or_loudly_complained_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: Settings, *, is_refused: bool
) -> None:
    server = embedded.start_valkey(tmp_path)
    redis = stream.connect(server.url)
    await redis.config_set("appendfsync", "everysec")

    if is_refused:
        with pytest.raises(SettingsError, match=r"USANCE_REDIS_URL: .*appendfsync everysec.*USANCE_REDIS_CHECK=warn"):
            await loop.check_promises(settings, redis)
    else:
        await loop.check_promises(settings, redis)

    assert ("may be lost" in capsys.readouterr().out) == (settings.redis_check == "warn")
    await redis.aclose()
    server.stop()


async def test_a_redis_that_is_away_is_complained_of_and_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    redis = stream.connect(f"unix://{tmp_path}/nowhere")

    await loop.check_promises(Settings(), redis)

    assert "is unknown" in capsys.readouterr().out
    await redis.aclose()


async def test_what_is_begun_keeps_nobody_waiting_when_the_aggregator_stops(
    database_url: str, redis_url: str, conn: Connection, redis: Redis, account: Principal
) -> None:
    """Some of the loops that end with it wait for everybody who counts."""
    for number in range(200):
        await accept(redis, account, called(f"a{number}"), called(f"b{number}"))
    stop = asyncio.Event()
    settings = Settings(
        database_url=database_url, redis_url=redis_url, redis_check="warn", batch_events_max=2, ahead_events_min=1
    )
    aggregating = asyncio.create_task(loop.aggregate(settings, stop))
    async with asyncio.timeout(20):
        while not await conn.fetchval("select count(*) from usage_event"):  # noqa: ASYNC110 another session
            await asyncio.sleep(0.01)

    stopping = asyncio.create_task(_wait_for_all_who_count(conn))
    stop.set()

    async with asyncio.timeout(10):
        await stopping
        await aggregating


async def _wait_for_all_who_count(conn: Connection) -> None:
    async with conn.transaction():
        await counting.stop(conn)


HANGING = """
import sys, time
from meter.aggregate import Aggregator
from runtime import process
from runtime.settings import Settings
from usance import loop

async def computes(self):
    while True:
        time.sleep(0.01)

Aggregator.step = computes
process.watch.__kwdefaults__["turn_seconds_max"] = 1.0
settings = Settings(database_url=sys.argv[1], redis_url=sys.argv[2])
process.run(lambda stop: loop.aggregate(settings, stop), stop_seconds=0.1)
"""


async def test_an_aggregator_that_computes_for_ever_ends(database_url: str, redis_url: str) -> None:
    """Whoever started it starts it again."""
    program = [sys.executable, "-c", HANGING, database_url, redis_url]

    done = await asyncio.to_thread(subprocess.run, program, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 1
    assert "in computes" in done.stderr

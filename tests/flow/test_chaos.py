"""Every part is killed, cut off or robbed of its past while events come in; what was promised is counted exactly once.

The short form has one round of each fault; `make chaos` runs the same with many (`--chaos`).
"""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys

import pytest

from tests.fleet import AGGREGATORS, ROOT, Fleet, counted_exactly, counted_once, kill, some_time
from tests.load import Load, loaded

pytestmark = pytest.mark.slow

BACKEND = """
select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() order by random()
limit 1
"""


async def test_processes_killed_at_random_lose_and_double_nothing(fleet: Fleet, load: Load, rounds: int) -> None:
    async with loaded(load):
        for _ in range(rounds):
            await _kill_worker(fleet)
            await _kill_aggregator(fleet)
            await _kill_valkey(fleet)
            await _kill_backend(fleet)
            await _kill_postgres(fleet)
        await some_time()

    await counted_exactly(fleet)
    assert load.accepted


async def _kill_worker(fleet: Fleet) -> None:
    await some_time()
    number = random.randrange(len(fleet.workers))  # noqa: S311
    await kill(fleet.workers[number])
    fleet.workers[number] = await fleet.worker(number)
    await fleet.answers(number)


async def _kill_aggregator(fleet: Fleet) -> None:
    await some_time()
    number = random.randrange(len(fleet.aggregators))  # noqa: S311
    await kill(fleet.aggregators[number])
    fleet.aggregators[number] = await fleet.connected_aggregator()


async def _kill_valkey(fleet: Fleet) -> None:
    await some_time()
    os.kill(fleet.valkey.pid, signal.SIGKILL)
    fleet.valkey.stop()
    fleet.start_valkey()


async def _kill_backend(fleet: Fleet) -> None:
    await some_time()
    async with fleet.connected() as conn:
        pid = await conn.fetchval(BACKEND)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)


async def _kill_postgres(fleet: Fleet) -> None:
    await some_time()
    os.kill(fleet.postgres.pid, signal.SIGKILL)
    fleet.postgres.stop()
    fleet.start_postgres()


async def test_the_streams_of_dead_aggregators_are_taken_over(fleet: Fleet, load: Load, rounds: int) -> None:
    for _ in range(rounds):
        async with loaded(load):
            await some_time()
            for _ in range(AGGREGATORS - 1):
                await kill(fleet.aggregators.pop(0))
            await some_time()
        # One is left, and counts what was theirs.
        await counted_once(fleet)
        async with loaded(load):
            fleet.aggregators += [await fleet.aggregator() for _ in range(AGGREGATORS - 1)]
            await some_time()
            await _stop_in_order(fleet.aggregators.pop(0))
            await some_time()
        await counted_once(fleet)
        fleet.aggregators.append(await fleet.aggregator())
    await counted_exactly(fleet)


async def _stop_in_order(process: asyncio.subprocess.Process) -> None:
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0


async def test_a_network_that_is_cut_anywhere_loses_and_doubles_nothing(fleet: Fleet, load: Load, rounds: int) -> None:
    pairs = [*fleet.proxies.values(), *fleet.doors[:1]]
    async with loaded(load):
        for _ in range(rounds):
            for proxy in pairs:
                proxy.pause()
                await some_time()
                proxy.flow()
                await some_time()
                proxy.pause()
                await some_time()
                proxy.cut()
                await some_time()
                proxy.flow()
            await some_time()

    await counted_exactly(fleet)


async def test_redis_with_an_empty_disk_counts_nothing_again_and_goes_on(fleet: Fleet, load: Load, rounds: int) -> None:
    for _ in range(rounds):
        async with loaded(load):
            await some_time()
        await counted_once(fleet)
        fleet.valkey.stop()
        shutil.rmtree(fleet.folder / "valkey/data")
        fleet.start_valkey()
        async with loaded(load):
            await some_time()
        await counted_once(fleet)
    await counted_exactly(fleet)


async def test_postgres_restored_from_a_base_backup_catches_up_from_the_streams(
    fleet: Fleet, load: Load, rounds: int
) -> None:
    for _ in range(rounds):
        async with loaded(load):
            await some_time()
            fleet.postgres.stop()
            fleet.copy_database("backup")
            fleet.start_postgres()
            await some_time()
        # Names that the backup does not know, counted and remembered by every aggregator.
        await counted_once(fleet)
        fleet.postgres.stop()
        fleet.restore_database("backup")
        fleet.start_postgres()

        # Without a new event: the database is behind, and somebody has to notice.
        await counted_once(fleet)
        async with loaded(load):
            await some_time()
        await counted_once(fleet)
    await counted_exactly(fleet)

    command = [sys.executable, "-m", "usance.cli", "verify", "--database-url", fleet.postgres.url]
    verified = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stdout

"""What is full refuses or waits, loses nothing, and goes on as soon as there is room: streams, tables, a log.

A full disk is a limit on the size of files: whoever writes beyond it is refused by the kernel.
"""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.fleet import SECONDS, SETTINGS, WORKERS, Fleet, Shape, counted_exactly, counted_once, some_time
from tests.load import Load, loaded

pytestmark = pytest.mark.slow

# Above a segment of the write-ahead log, below the table of events once it is filled.
FILE_BYTES = 17 << 20
FILL_EVENTS = 50_000
# Inside of every segment of the write-ahead log.
LOG_BYTES = 1 << 20
ROUNDS_MAX = 5
ENTRIES_MAX = 400
# A deadline, not a promise: the machine may be busy with other things.
SECONDS_MAX = 600


@pytest.fixture(scope="module")
def shape(streams: int) -> Shape:
    """Streams that are soon full."""
    return Shape(streams=streams, settings=SETTINGS | {"USANCE_STREAM_ENTRIES_MAX": str(ENTRIES_MAX)})


async def test_a_full_disk_under_postgres_stops_counting_and_loses_nothing(
    fleet: Fleet, load: Load, rounds: int
) -> None:
    filling = fleet.load(seed=6, padding=400)
    for number in range(FILL_EVENTS // 5_000):
        await filling.batch(5_000, door=number % WORKERS)
    await fleet.count()
    for _ in range(rounds):
        fleet.limit_files(FILE_BYTES)
        await filling.batch(5_000)
        async with loaded(load):
            await asyncio.sleep(SECONDS * 3)
        assert not await fleet.is_counted()
        fleet.limit_files(None)
        await counted_once(fleet)

    await counted_exactly(fleet)
    assert set(load.statuses) <= {201, 202, 503}
    assert load.accepted


async def test_a_stream_at_its_limit_refuses_and_recovers(fleet: Fleet, load: Load, rounds: int) -> None:
    flood = fleet.load(seed=7)
    for _ in range(rounds):
        _signal_all(fleet, signal.SIGSTOP)
        await _fill(flood, 0)
        async with loaded(load):
            await some_time()
            _signal_all(fleet, signal.SIGCONT)
            await some_time()
        await counted_once(fleet)

    # It goes on as soon as there is room.
    flood.statuses.clear()
    async with asyncio.timeout(SECONDS_MAX):
        while 202 not in flood.statuses:
            await flood.batch(10)
            await asyncio.sleep(0.1)
    await counted_exactly(fleet)


async def test_a_stream_that_stays_full_refuses_all_the_while(fleet: Fleet, load: Load, is_long: bool) -> None:
    """For a minute in the long form."""
    flood = fleet.load(seed=8)
    _signal_all(fleet, signal.SIGSTOP)
    try:
        for door in range(WORKERS):
            await _fill(flood, door)
        async with loaded(load):
            await asyncio.sleep(60 if is_long else 3)
    finally:
        _signal_all(fleet, signal.SIGCONT)

    assert set(load.statuses) == {503}
    assert load.statuses[503] > WORKERS
    assert {hint is not None and int(hint) > 0 for hint in flood.hints | load.hints} == {True}
    await counted_exactly(fleet)
    assert not load.accepted
    async with loaded(load), asyncio.timeout(SECONDS_MAX):
        while 202 not in load.statuses:  # noqa: ASYNC110 other processes
            await asyncio.sleep(0.1)
    await counted_exactly(fleet)


async def _fill(flood: Load, door: int) -> None:
    flood.statuses.clear()
    async with asyncio.timeout(SECONDS_MAX):
        while 503 not in flood.statuses:
            await flood.batch(1, door)


def _signal_all(fleet: Fleet, number: signal.Signals) -> None:
    for process in fleet.aggregators:
        process.send_signal(number)


async def test_a_full_disk_under_the_log_of_postgres_ends_it_and_loses_nothing(
    fleet: Fleet, load: Load, rounds: int
) -> None:
    """Postgres may not go on without its log: it panics, fails to recover as long as there is no room, and ends."""
    for _ in range(min(rounds, ROUNDS_MAX)):
        async with loaded(load):
            await some_time()
            fleet.limit_files(LOG_BYTES)
            await _until_ended(fleet)
            await some_time()
            assert "PANIC:  could not write to log file" in _said(fleet)
            fleet.start_postgres()
            await some_time()
        await counted_once(fleet)

    await counted_exactly(fleet)
    assert set(load.statuses) <= {201, 202, 503}
    assert load.accepted


async def _until_ended(fleet: Fleet) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        while fleet.postgres.is_alive():  # noqa: ASYNC110 another process
            await asyncio.sleep(0.05)


def _said(fleet: Fleet) -> str:
    log: Path = fleet.postgres.plan.place.folder / "server.log"
    return log.read_text(errors="replace")

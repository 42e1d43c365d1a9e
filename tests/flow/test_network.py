"""Networks that swallow everything until the time-outs strike, and processes that hang: others go on, nothing is lost.

The short form has time-outs of Postgres that it can wait for; those of Redis are what they are (5 s). The long form has
the product's own.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.fleet import SETTINGS, Fleet, Shape, counted_exactly, counted_once, kill, some_time
from tests.load import Load, loaded

pytestmark = pytest.mark.slow

# Above every time-out of Redis (5 s) and, in the long form, that of a connect to Postgres (10 s).
PAUSE_SECONDS, LONG_PAUSE_SECONDS = 6, 12
# idle_in_transaction_session_timeout. It does not see who hangs in the middle of a statement: aggregators do, after a
# minute.
IDLE_SECONDS, LONG_IDLE_SECONDS, TAKEN_OVER_SECONDS = 2, 30, 90
# The longest time-out of all is that of a statement, 300 s; asyncpg waits as long again before it gives the line up.
LINE_SECONDS = 2 * 300 + 120
# Beyond the streams' limits nothing waits.
BACKLOG_SECONDS, ENTRIES_MAX = 400, 3_000

# Somebody is in the middle of a batch, and stands still: it wants what the test holds.
WAITING = """
select exists (select from pg_locks where relation = 'event_key'::regclass and not granted)
"""


@pytest.fixture(scope="module")
def shape(streams: int, *, is_long: bool) -> Shape:
    options = "" if is_long else f"?idle_in_transaction_session_timeout={IDLE_SECONDS}s"
    # As much in all, however many there are.
    entries = ENTRIES_MAX // streams
    return Shape(
        streams=streams,
        postgres_options=options,
        settings=SETTINGS | {"USANCE_STREAM_ENTRIES_MAX": str(entries)},
    )


@asynccontextmanager
async def paused(fleet: Fleet, *names: str) -> AsyncIterator[None]:
    """Nothing goes either way on these lines while the block runs."""
    for name in names:
        fleet.proxies[name].pause()
    try:
        yield
    finally:
        for name in names:
            fleet.proxies[name].flow()


async def test_pauses_beyond_the_time_outs_lose_and_double_nothing(fleet: Fleet, load: Load, *, is_long: bool) -> None:
    seconds = LONG_PAUSE_SECONDS if is_long else PAUSE_SECONDS
    async with loaded(load):
        await some_time()
        async with paused(fleet, "worker-valkey", "aggregator-postgres"):
            await asyncio.sleep(seconds)
        assert 503 in load.statuses
        await _until_accepted(load)
        load.statuses.clear()
        # Keys are remembered, so the way in does without Postgres.
        async with paused(fleet, "worker-postgres", "aggregator-valkey"):
            await asyncio.sleep(seconds)
        assert set(load.statuses) == {201, 202}

    await counted_exactly(fleet)


async def test_each_line_may_be_silent_for_long(fleet: Fleet, load: Load, *, is_long: bool) -> None:
    """One line at a time, the clients' too; in the long form beyond every time-out but a statement's."""
    async with loaded(load):
        for proxy in (*fleet.proxies.values(), fleet.doors[0]):
            proxy.pause()
            await asyncio.sleep(LONG_IDLE_SECONDS + 5 if is_long else 1)
            proxy.flow()
            await some_time()

    # What waits after minutes of silence is as much as the streams take.
    await counted_exactly(fleet, BACKLOG_SECONDS)


async def test_lines_to_redis_that_die_unseen_are_replaced(fleet: Fleet, load: Load, rounds: int) -> None:
    for _ in range(min(rounds, 3)):
        async with loaded(load):
            await some_time()
            fleet.proxies["worker-valkey"].lose()
            fleet.proxies["aggregator-valkey"].lose()
            await asyncio.sleep(PAUSE_SECONDS)
            load.statuses.clear()
            await _until_accepted(load)
        await counted_once(fleet)
    await counted_exactly(fleet)


async def test_lines_to_postgres_that_die_unseen_are_replaced(fleet: Fleet, load: Load, *, is_long: bool) -> None:
    """The kernel's keepalive would notice within half a minute, but here it lives, on both sides: what is left is the
    time-out of a statement.
    """
    if not is_long:
        pytest.skip("takes ten minutes: make chaos")
    async with loaded(load):
        await some_time()
    await fleet.count()
    async with loaded(load):
        await some_time()
        fleet.proxies["worker-postgres"].lose()
        fleet.proxies["aggregator-postgres"].lose()
        await some_time()

    await counted_exactly(fleet, LINE_SECONDS)


async def _until_accepted(load: Load) -> None:
    async with asyncio.timeout(LONG_IDLE_SECONDS):
        while 202 not in load.statuses:  # noqa: ASYNC110 other processes
            await asyncio.sleep(0.05)


async def test_the_stream_of_an_aggregator_that_hangs_is_taken_over(fleet: Fleet, load: Load, *, is_long: bool) -> None:
    while len(fleet.aggregators) > 1:
        await kill(fleet.aggregators.pop())
    if not is_long:
        # It hangs between two statements when it knows them all: otherwise in the middle of one, which takes a minute.
        async with loaded(load):
            await some_time()
        await fleet.count()
    [hung] = fleet.aggregators
    async with fleet.connected() as conn, conn.transaction():
        # It holds the lease of a stream when it comes here.
        await conn.execute("lock table event_key in access exclusive mode")
        await load.batch(100)
        async with asyncio.timeout(LONG_IDLE_SECONDS):
            while not await conn.fetchval(WAITING):  # noqa: ASYNC110 another process
                await asyncio.sleep(0.01)
        hung.send_signal(signal.SIGSTOP)
    fleet.aggregators += [await fleet.aggregator() for _ in range(2)]

    await counted_exactly(fleet, TAKEN_OVER_SECONDS)
    # What it finds when it comes round is that it was not needed.
    hung.send_signal(signal.SIGCONT)
    async with loaded(load):
        await some_time()
    await counted_exactly(fleet)
    assert hung.returncode is None

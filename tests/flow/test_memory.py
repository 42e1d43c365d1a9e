"""No process takes more memory the more events it has seen: ten million in the long form, a hundred thousand in CI.

Memory is looked at when everything that was sent is counted, many times over. After a warm-up (code, caches and
connections come in) the last third of the looks must not be above the first. Neighbours may come and go: PSS is
reported, and judged without the code that is shared with them. How much an aggregator reads at once depends on how much
waits, and so on everybody's speed: batches are small here, so that they are full and a leak is not lost among them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import aiohttp
import msgspec
import pytest
from aiohttp import encode_basic_auth

from tests import memory
from tests.fleet import FIGURES, Fleet, Shape
from tests.load import CLIENT_ID, SECRET
from tests.memory import MIB, Memory, Sample

pytestmark = pytest.mark.slow

STREAM_BYTES_MAX = 64 * MIB
# shared_buffers; beside it each server process has its own catalogue caches and sorts.
POSTGRES_SHARED = 256 * MIB
POSTGRES_OWN = 40 * MIB
# The stream, what is read of it at once, a child that rewrites the file, the server itself.
VALKEY_MAX = 2 * STREAM_BYTES_MAX + 32 * MIB
SECONDS_MAX = 1_800
SENDERS = 4
ALIASES = 1_000
STEPS = 25
# A fifth.
WARM_UP = 5


class Plan(msgspec.Struct, frozen=True):
    """How much is sent, and by how much memory may differ between the first third and the last."""

    events: int
    batch: int
    growth: float


LONG = Plan(events=10_000_000, batch=1_000, growth=0.15)
SHORT = Plan(events=100_000, batch=100, growth=0.03)


@pytest.fixture(scope="module")
def shape() -> Shape:
    settings = {
        "USANCE_STREAM_BYTES_MAX": str(STREAM_BYTES_MAX),
        "USANCE_BATCH_EVENTS_MAX": "20000",
        "USANCE_LOG_LEVEL": "error",
        # What it remembers has a bound that the short form would not reach.
        "USANCE_RECENT_IDS": "5000",
    }
    return Shape(workers=1, aggregators=1, streams=1, settings=settings, is_direct=True)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": encode_basic_auth(CLIENT_ID, SECRET), "Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as one:
        yield one


async def test_memory_stays_flat(
    fleet: Fleet, session: aiohttp.ClientSession, record_property: Callable[[str, object], None], *, is_long: bool
) -> None:
    plan = LONG if is_long else SHORT
    samples: list[Sample] = []
    step = plan.events // STEPS
    for sent in range(0, plan.events, step):
        await _send(fleet, session, range(sent, sent + step), plan)
        await fleet.count(SECONDS_MAX)
        samples.append((sent + step, _memories(fleet)))
    record_property(FIGURES, "\n" + memory.table(samples))

    async with fleet.connected() as conn:
        assert await conn.fetchval("select count(*) from event_key") == plan.events
    warm = samples[WARM_UP:]
    for name in ("worker", "aggregator"):
        for kind in ("rss", "own"):
            first, last = memory.growth(warm, lambda found, n=name, k=kind: getattr(found[n], k))
            assert last <= first * (1 + plan.growth), (name, kind)
    assert max(found["valkey"].pss for _, found in warm) <= VALKEY_MAX
    for _, found in warm:
        assert found["postgres"].pss <= POSTGRES_SHARED + POSTGRES_OWN * found["postgres"].processes


def _memories(fleet: Fleet) -> Mapping[str, Memory]:
    pids = {
        "worker": fleet.workers[0].pid,
        "aggregator": fleet.aggregators[0].pid,
        "valkey": fleet.valkey.pid,
        "postgres": fleet.postgres.pid,
    }
    return {name: memory.of_tree(pid) for name, pid in pids.items()}


async def _send(fleet: Fleet, session: aiohttp.ClientSession, numbers: range, plan: Plan) -> None:
    batches = iter(range(numbers.start, numbers.stop, plan.batch))

    async def work() -> None:
        for first in batches:
            await _post(fleet, session, _body(range(first, first + plan.batch), plan.events))

    async with asyncio.timeout(SECONDS_MAX):
        await asyncio.gather(*(work() for _ in range(SENDERS)))


async def _post(fleet: Fleet, session: aiohttp.ClientSession, body: bytes) -> None:
    """Until it is accepted: a full stream is part of the trial."""
    url = f"http://127.0.0.1:{fleet.ports[0]}/api/usage-events"
    while True:
        async with session.post(url, data=body) as reply:
            assert reply.status in {202, 503}, await reply.text()
            if reply.status == 202:
                return
        await asyncio.sleep(0.2)


def _body(numbers: range, total: int) -> bytes:
    """Time goes by: four weeks in all."""
    return b"[%s]" % b",".join(
        b'{"customerEventId":"event-%d","customerAlias":"customer-%d","eventType":"call",'
        b'"eventTimestamp":"2025-03-%02dT10:00:00Z","eventProperties":{"tokens":%d,"user":"user-%d"}}'
        % (n, n % ALIASES, 1 + n * 28 // total, n % 1_000, n % 7)
        for n in numbers
    )

"""Random lives of events with backfills in between, against a model that keeps a list of what was received.

A backfill that is closed appends to that list, one that is reverted is struck out of it; what counts follows from the
list by walking it naively.
"""

import random
from collections.abc import Sequence

import msgspec
import pytest
from redis.asyncio import Redis

from store.account import Principal
from store.db import Connection, Pool
from tests.backfill import Loading
from tests.server import Server
from tests.usage import aggregator, called, definition, differences, make_metric, measured, used

# Many databases or processes: left out of the inner loop.
pytestmark = pytest.mark.slow

IDS = [f"e{number}" for number in range(6)]
STEPS = 60
CANCELLED = -1
LIVE = "live"


class Received(msgspec.Struct, frozen=True):
    """What was received of an id: tokens, or CANCELLED; live, or by closing a backfill."""

    id: str
    tokens: int
    by: str = LIVE


class Model:
    """The list, and the loads that are not in it yet."""

    def __init__(self, *, is_sharded: bool) -> None:
        self.is_sharded = is_sharded
        self.received: list[Received] = []
        self.loads: dict[str, list[Received]] = {}
        self.replacing: set[str] = set()

    def receive(self, one: Received) -> None:
        content, _ = standing(self.received, one.id)
        # A plain retry leaves no trace, unless several streams are read in no order.
        if one.tokens != content or (self.is_sharded and one.by == LIVE):
            self.received.append(one)

    def close(self, backfill: str) -> None:
        load = self.loads.pop(backfill)
        if backfill in self.replacing:
            for id_ in sorted(set(self.counted()) - {one.id for one in load}):
                self.receive(Received(id_, CANCELLED, backfill))
        for one in load:
            self.receive(one)

    def revert(self, backfill: str) -> None:
        self.received = [one for one in self.received if one.by != backfill]

    def counted(self) -> dict[str, int]:
        """Tokens by id, of what counts."""
        found = {id_: standing(self.received, id_) for id_ in IDS}
        return {id_: tokens for id_, (tokens, is_live) in found.items() if is_live and tokens is not None}


def standing(received: Sequence[Received], id_: str) -> tuple[int | None, bool]:
    """The last content of an id, and whether it counts."""
    content: int | None = None
    is_live = False
    for one in received:
        if one.id != id_:
            continue
        if one.tokens == CANCELLED:
            is_live = False
        elif one.tokens != content:
            content, is_live = one.tokens, True
    return content, is_live


@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("seed", range(100, 104))
async def test_what_counts_follows_from_what_was_received_and_not_struck_out(
    api: Server, pool: Pool, redis: Redis, conn: Connection, account: Principal, *, seed: int, streams: int
) -> None:
    dice = random.Random(seed)  # noqa: S311 a fixed seed, so that a failure can be looked at again
    loading, model, closed = Loading(api, pool, redis), Model(is_sharded=streams > 1), list[str]()
    loading.counting = aggregator(pool, redis, streams=streams)
    tokens = await make_metric(conn, account, definition("SUM", "tokens"), name="tokens")
    highest = await make_metric(conn, account, definition("MAX", "tokens"), name="highest")

    for _ in range(STEPS):
        await step(dice, loading, model, closed)
        expected = model.counted().values()
        assert await measured(conn, account, tokens) == used(str(sum(expected)), len(expected))
        assert await measured(conn, account, highest) == used(str(max(expected, default=0)), len(expected))
        assert await differences(conn) == []


async def step(dice: random.Random, loading: Loading, model: Model, closed: list[str]) -> None:
    """One thing that happens."""
    id_, tokens = dice.choice(IDS), dice.randrange(4)
    match dice.choice(["send", "send", "cancel", "open", "load", "load", "close", "revert"]):
        case "send":
            await loading.live(called(id_, tokens=tokens))
            model.receive(Received(id_, tokens))
        case "cancel":
            await loading.cancel(id_)
            model.receive(Received(id_, CANCELLED))
        case "open":
            is_replacing = dice.random() < 0.5
            backfill = await loading.open(replace=is_replacing)
            model.loads[backfill] = []
            model.replacing |= {backfill} if is_replacing else set()
        case "load" if model.loads:
            backfill = dice.choice(list(model.loads))
            load = [Received(dice.choice(IDS), dice.randrange(4), backfill) for _ in range(4)]
            await loading.load(backfill, *(called(one.id, tokens=one.tokens) for one in load))
            model.loads[backfill] += load
        case "close" if model.loads:
            backfill = dice.choice(list(model.loads))
            assert (await loading.close(backfill))["status"] == "CLOSED"
            model.close(backfill)
            closed.append(backfill)
        case "revert" if closed:
            backfill = closed.pop(dice.randrange(len(closed)))
            assert (await loading.revert(backfill))["status"] == "REVERTED"
            model.revert(backfill)

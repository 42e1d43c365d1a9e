"""Whatever is interleaved with whatever, wherever a process dies: counters are what a fresh fold makes them."""

import asyncio
import contextlib
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from meter import entry, event
from meter.history import History
from meter.stream import Stream
from rating import metric as metrics_
from store import usage
from store.account import Principal
from store.db import Connection, Pool
from store.metric import StoredMetric
from store.usage import Question, Segment
from tests.usage import NOW, UNBOUNDED, accept, aggregator, at, called, definition, differences, drain, make_metric

# Many databases or processes: left out of the inner loop.
pytestmark = pytest.mark.slow

AGGREGATIONS = ["COUNT", "SUM", "UNIQUE", "MAX", "MIN", "LATEST", "AVERAGE", "WEIGHTED"]
TIMES = ["2025-03-01T10:14:59Z", "2025-03-01T10:14:59Z", "2025-03-01T10:15:00Z", "2025-03-02T00:00:00Z"]
TABLES = (
    "stream_position, event_key, usage_event, usage_alias, usage_group, usage_slot, usage_day, usage_unique,"
    " usage_metric, usage_metric_version, event_version"
)

IDS = st.sampled_from("abcdef")
SEND = st.builds(
    called,
    IDS,
    alias=st.sampled_from(["acme", "beta"]),
    when=st.sampled_from(TIMES),
    n=st.sampled_from([1, 5, "2.5", -3, "many"]),
    model=st.sampled_from(["x", "y", None]),
)
ACTIONS = st.one_of(
    st.tuples(st.just("send"), st.lists(SEND, min_size=1, max_size=4)),
    st.tuples(st.just("send"), st.lists(SEND, min_size=1, max_size=4)),
    st.tuples(st.just("cancel"), IDS),
    st.tuples(st.just("count"), st.none()),
    st.tuples(st.just("crash"), st.integers(0, 60)),
    st.tuples(st.just("metric"), st.tuples(st.sampled_from(AGGREGATIONS), st.booleans())),
    st.tuples(st.just("fold"), st.integers(1, 4)),
    st.tuples(st.just("crashing fold"), st.integers(0, 40)),
)


class World:
    """What was done, in the order of receipt, and the metrics that exist."""

    def __init__(self, pool: Pool, conn: Connection, redis: Redis, account: Principal) -> None:
        self.pool, self.conn, self.redis, self.account = pool, conn, redis, account
        self.counting = aggregator(pool, redis)
        self.live: dict[str, dict[str, Any]] = {}
        self.cancelled: set[str] = set()
        # The order in which what lives came to be: of two at one instant the later is the last.
        self.metrics: list[StoredMetric] = []

    async def act(self, what: str, how: Any) -> None:
        match what:
            case "send":
                await accept(self.redis, self.account, *how)
                for one in how:
                    self.sent(one)
            case "cancel":
                await self.cancel(how)
            case "count":
                await drain(self.counting)
            case "crash":
                await killed(self.counting.step(NOW), turns=how)
                self.counting = aggregator(self.pool, self.redis)
            case "metric":
                aggregation, is_grouped = how
                changes = {"group_by": ("model",)} if is_grouped else {}
                of = None if aggregation == "COUNT" else "n"
                how_ = definition(aggregation, of, **changes)
                made = await make_metric(self.conn, self.account, how_, name=f"m{len(self.metrics)}")
                self.metrics.append(made)
            case "fold":
                await History(self.pool, piece_events_max=how).step()
            case "crashing fold":
                await killed(History(self.pool, piece_events_max=2).step(), turns=how)

    def sent(self, one: dict[str, Any]) -> None:
        """The last received wins; the same content again is no event, also after a cancellation."""
        id_ = one["customerEventId"]
        if self.live.get(id_) != one:
            self.live.pop(id_, None)
            self.live[id_] = one
            self.cancelled.discard(id_)

    async def cancel(self, id_: str) -> None:
        received_at = event.microseconds(NOW)
        one = event.cancellation(id_, received_at=received_at)
        block = entry.block([one], account=self.account.account, received_at=received_at)
        stream = Stream(self.redis, name="events:{0}", limit=UNBOUNDED)
        await stream.append(entry.encode_block(block))
        if id_ in self.live:
            self.cancelled.add(id_)

    async def settle(self) -> None:
        await drain(self.counting)
        while await History(self.pool, piece_events_max=3).step():
            pass

    def naive(self, aggregation: str, group: tuple[str | None, ...] | None) -> Decimal:
        mine = [
            one
            for id_, one in self.live.items()
            if id_ not in self.cancelled
            and one["customerAlias"] == "acme"
            and (group is None or (one["eventProperties"]["model"],) == group)
        ]
        return naive(aggregation, mine)


def naive(aggregation: str, events: Sequence[dict[str, Any]]) -> Decimal:
    values = [metrics_.number_of(plain(one["eventProperties"]["n"])) for one in events]
    numbers = [Decimal(value) for value in values if value is not None]
    match aggregation:
        case "COUNT":
            return Decimal(len(events))
        case "UNIQUE":
            return Decimal(len({metrics_.text_of(plain(one["eventProperties"]["n"])) for one in events}))
        case "SUM":
            return sum(numbers, Decimal(0))
        case "AVERAGE":
            return (sum(numbers, Decimal(0)) / max(1, len(numbers))).quantize(Decimal("1e-24"))
        case "MAX":
            return max(numbers, default=Decimal(0))
        case _:
            return min(numbers, default=Decimal(0))


def plain(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


async def killed(step: Any, *, turns: int) -> None:
    """Let a step go on for so many turns of the loop, then stop it wherever it is."""
    task = asyncio.create_task(step)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=st.lists(ACTIONS, min_size=3, max_size=14), first=st.sampled_from([1, 5_000]))
async def test_any_interleaving_ends_as_a_fresh_fold(
    pool: Pool,
    conn: Connection,
    redis: Redis,
    account: Principal,
    actions: list[tuple[str, Any]],
    first: int,
) -> None:
    await redis.flushall()
    await conn.execute(f"truncate {TABLES} cascade")
    world = World(pool, conn, redis, account)
    with first_piece(first):
        for what, how in actions:
            await world.act(what, how)
            assert await differences(conn) == [], (what, how)
    await world.settle()

    assert await differences(conn) == []
    segments = (Segment("acme", at("2025-03-01"), at("2025-04-01")),)
    for one in world.metrics:
        # What LATEST and WEIGHTED come to depends on which of two at one instant is the last: the recount knows.
        if one.definition.aggregation in {"LATEST", "WEIGHTED"}:
            continue
        by = one.definition.group_by
        terms = msgspec.structs.replace(one.terms, folded_to=0, born_no=0)
        [groups] = await usage.measure_groups(conn, account.account, [Question(terms, segments, by)])
        for group, found in groups.items():
            assert found.value == world.naive(one.definition.aggregation, group if by else None), (one.name, group)


@contextlib.contextmanager
def first_piece(events: int) -> Any:
    """How much of a history is folded at once: little, so that the loop has something to do, or all."""
    from meter import history  # noqa: PLC0415 - to be changed

    before, history.FIRST_EVENTS_MAX = history.FIRST_EVENTS_MAX, events
    try:
        yield
    finally:
        history.FIRST_EVENTS_MAX = before

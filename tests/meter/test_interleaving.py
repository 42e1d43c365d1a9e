"""Whatever is interleaved with whatever, wherever a process dies: counters are what a fresh fold makes them, and each
customer's usage is what a plain list of what was received says (tests/model.py).

`--chaos` runs the long form.
"""

import asyncio
from collections.abc import Awaitable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest
import uvloop
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from redis.asyncio import Redis

from meter import stream, timestamp
from meter.history import History
from runtime.server import Server
from store import db
from store.account import Principal
from store.backfill import State
from store.db import Connection, Pool
from tests import usage
from tests.database import url_of
from tests.model import Content, Metric
from tests.world import POISON, World

# Many databases or processes: left out of the inner loop.
pytestmark = pytest.mark.slow

AGGREGATIONS = ["COUNT", "SUM", "UNIQUE", "MAX", "MIN", "LATEST", "AVERAGE", "WEIGHTED"]
ACCOUNT = UUID("0193f000-0000-7000-8000-000000000001")
TIMES = [timestamp.microseconds(usage.at(f"2025-03-0{text}")) for text in ("1T10:14:59", "1T10:15:00", "2T00:00:00")]
ENDS = [usage.at(f"2025-03-0{text}") for text in ("1T10:14:59.000002", "1T10:20:00", "2T00:00:00")]
IDS = "abcd"

METRICS_MAX = 4

# Which of what there is then: what is drawn must not depend on where a crash fell.
INDEX = st.integers(0, 99)
ALIASES = st.sampled_from(["acme", "beta"])


@st.composite
def contents(draw: st.DrawFn, *, is_timed: bool = False) -> tuple[str, Content]:
    """An id with something; times of different ids differ, as the last of two at one instant is anybody's guess."""
    id_ = draw(st.sampled_from(IDS))
    time = draw(st.sampled_from(TIMES if is_timed else [*TIMES, None]))
    at = None if time is None else time + IDS.index(id_)
    # Few values, so that repeats are frequent.
    n = draw(st.sampled_from([1, 5, "2.5", -3, "many"]))
    return id_, Content(draw(ALIASES), at, n, draw(st.sampled_from(["x", None])))


METRICS = st.builds(
    Metric,
    aggregation=st.sampled_from(AGGREGATIONS),
    is_grouped=st.booleans(),
    only=st.sampled_from([(), (), ("x",)]),
    is_negated=st.booleans(),
)


def picked(some: Sequence[Any], index: int) -> Any:
    """One of these, counted from the last; None if there is none."""
    return some[-1 - index % len(some)] if some else None


class Servers:
    """One database and one loop for all examples."""

    def __init__(self, postgres: Server, valkey: Server) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._urls = url_of(postgres.url, "postgres"), url_of(postgres.url, "interleaving")
        self.pool: Pool
        self.conn: Connection
        self.redis: Redis
        self.account: Principal
        self.run(self._open(valkey.url))

    def run(self, work: Awaitable[Any]) -> Any:
        async def done() -> Any:
            return await work

        return self._runner.run(done())

    async def _open(self, redis_url: str) -> None:
        admin, url = self._urls
        conn = await asyncpg.connect(admin)
        await conn.execute("create database interleaving strategy file_copy")
        await conn.close()
        await db.migrate(url)
        self.pool = await db.connect_pool(url)
        self.conn = await asyncpg.connect(url, server_settings={"timezone": "UTC"})
        self.redis = stream.connect(redis_url)
        number = await self.conn.fetchval(
            "insert into account (id, company_name, created_at, updated_at) values ($1, 'Test', $2, $2)"
            " returning account",
            *(ACCOUNT, datetime(2025, 1, 1, tzinfo=UTC)),
        )
        self.account = Principal(account=number, account_id=ACCOUNT, client_id="test", time_zone="UTC")

    async def _close(self) -> None:
        await self.redis.aclose()
        await self.conn.close()
        await self.pool.close()
        conn = await asyncpg.connect(self._urls[0])
        await conn.execute("drop database interleaving with (force)")
        await conn.close()

    def close(self) -> None:
        self.run(self._close())
        self._runner.close()


class Interleaving(RuleBasedStateMachine):
    """Everything that may happen to usage, in any order."""

    def __init__(self, servers: Servers) -> None:
        super().__init__()
        self.servers = servers
        self.world: World

    def run(self, work: Awaitable[Any]) -> Any:
        return self.servers.run(work)

    def in_state(self, state: State) -> list[str]:
        return [name for name, one in self.world.backfills.items() if one is state]

    @initialize(streams=st.sampled_from([1, 2]), of=METRICS, at=st.sampled_from([None, *ENDS]))
    def begin(self, streams: int, of: Metric, at: datetime | None) -> None:
        one = self.servers
        self.world = World(one.pool, one.conn, one.redis, account=one.account, streams=streams)
        self.run(self.world.prepare())
        self.run(self.world.define(of, instead=None, first=1))
        if at:
            # One alias that had two owners.
            self.map("acme", 0, at)
            self.map("acme", 0, at)
            self.map("acme", 1, at)

    # Duplicates and corrections in one batch, resends and corrections across batches: ids are few.
    @rule(events=st.lists(contents(), min_size=1, max_size=4), stream=INDEX, is_later=st.booleans())
    def send(self, events: list[tuple[str, Content]], stream: int, *, is_later: bool) -> None:
        self.run(self.world.send(events, stream=stream, is_later=is_later))

    @rule(which=INDEX, stream=INDEX, is_later=st.booleans())
    def resend(self, which: int, stream: int, *, is_later: bool) -> None:
        if one := picked(self.world.model.received, which):
            self.run(self.world.send([(one.id, one.content)], stream=stream, is_later=is_later))

    @rule(
        id_=st.sampled_from(IDS), one=contents(), stream=INDEX, n=st.sampled_from([2, "0.25"]), is_later=st.booleans()
    )
    def correct(self, id_: str, one: tuple[str, Content], stream: int, n: Any, *, is_later: bool) -> None:
        at = None if one[1].at is None else TIMES[0] + IDS.index(id_)
        self.run(self.world.send([(id_, Content(one[1].alias, at, n, "x"))], stream=stream, is_later=is_later))

    @rule(id_=st.sampled_from(IDS), stream=INDEX, is_later=st.booleans())
    def cancel(self, id_: str, stream: int, *, is_later: bool) -> None:
        self.run(self.world.send([(id_, None)], stream=stream, is_later=is_later))

    @rule(older=contents(), newer=contents(), stream=INDEX, is_later=st.booleans())
    def overtake(self, older: tuple[str, Content], newer: tuple[str, Content], stream: int, *, is_later: bool) -> None:
        """Two versions of an id in two streams, and the later one is counted first."""
        id_, one = older
        at = None if newer[1].at is None else TIMES[1] + IDS.index(id_)
        self.run(self.world.send([(id_, one)], stream=stream, is_later=True))
        self.run(
            self.world.send([(id_, msgspec.structs.replace(newer[1], at=at))], stream=stream + 1, is_later=is_later)
        )
        self.run(self.world.count(stream + 1))

    @rule(stream=INDEX)
    def count(self, stream: int) -> None:
        self.run(self.world.count(stream))

    @rule(turns=st.integers(0, 90), is_killed=st.booleans())
    def crash_counting(self, turns: int, *, is_killed: bool) -> None:
        self.run(self.world.crash(self.world.counting.step(usage.NOW), turns=turns, is_killed=is_killed))

    @rule(
        poison=contents(),
        events=st.lists(contents(), max_size=3),
        place=INDEX,
        stream=INDEX,
        crash=st.sampled_from([None, None, (10, False), (40, True), (80, False), (80, True)]),
    )
    def poison(
        self,
        poison: tuple[str, Content],
        events: list[tuple[str, Content]],
        place: int,
        stream: int,
        crash: tuple[int, bool] | None,
    ) -> None:
        """Something that cannot be counted now arrives among others, perhaps of the same id."""
        bad = (poison[0], msgspec.structs.replace(poison[1], n=POISON))
        at = place % (len(events) + 1)
        self.run(self.world.poison([*events[:at], bad, *events[at:]], stream=stream, crash=crash))

    @rule(which=INDEX, is_cured=st.booleans())
    def replay(self, which: int, *, is_cured: bool) -> None:
        if letter := picked(list(self.world.letters), which):
            self.run(self.world.replay(letter, is_cured=is_cured))

    @rule(which=INDEX)
    def discard(self, which: int) -> None:
        if letter := picked(list(self.world.letters), which):
            self.run(self.world.discard(letter))

    @rule(of=METRICS, which=INDEX, is_new=st.booleans(), first=st.sampled_from([1, 5_000]))
    def metric(self, of: Metric, which: int, first: int, *, is_new: bool) -> None:
        is_new = is_new and len(self.world.metrics) < METRICS_MAX
        instead = None if is_new else picked(list(self.world.metrics), which)
        self.run(self.world.define(of, instead=instead, first=first))

    @rule(events=st.integers(1, 4))
    def fold(self, events: int) -> None:
        self.run(self.world.fold(events))

    @rule(turns=st.integers(0, 40), is_killed=st.booleans())
    def crash_folding(self, turns: int, *, is_killed: bool) -> None:
        step = History(self.world.pool, piece_events_max=2).step()
        self.run(self.world.crash(step, turns=turns, is_killed=is_killed))

    @rule(alias=ALIASES, customer=st.integers(0, 1), at=st.sampled_from(ENDS))
    def map(self, alias: str, customer: int, at: datetime) -> None:
        """An alias that nobody has is mapped; one that somebody has is taken away, so that it can be another's next."""
        if self.world.model.is_mapped(alias):
            self.run(self.world.end(alias, at))
        else:
            self.run(self.world.map(alias, customer))

    @rule(
        aliases=st.sampled_from([("acme",), ("acme", "beta")]),
        is_replacing=st.booleans(),
        is_closed=st.booleans(),
        events=st.lists(contents(is_timed=True), max_size=3),
        again=st.lists(INDEX, max_size=2),
    )
    def open(
        self,
        aliases: tuple[str, ...],
        events: list[tuple[str, Content]],
        again: list[int],
        *,
        is_replacing: bool,
        is_closed: bool,
    ) -> None:
        """A backfill with a first load of new and known events; half of them are closed at once."""
        name = self.run(self.world.open(aliases, is_replacing=is_replacing))
        known = [one for index in again if (one := picked(self.world.model.received, index))]
        repeats = [(one.id, one.content) for one in known if one.content is not None]
        self.run(self.world.load(name, [*events, *repeats]))
        if is_closed:
            self.run(self.world.close(name, is_finished=True))

    @rule(which=INDEX, events=st.lists(contents(is_timed=True), min_size=1, max_size=5))
    def load(self, which: int, events: list[tuple[str, Content]]) -> None:
        if name := picked(self.in_state(State.OPEN), which):
            self.run(self.world.load(name, events))

    @rule(which=INDEX, is_finished=st.booleans())
    def close(self, which: int, *, is_finished: bool) -> None:
        if name := picked(self.in_state(State.OPEN), which):
            self.run(self.world.close(name, is_finished=is_finished))

    @rule(which=INDEX, is_finished=st.booleans())
    def revert(self, which: int, *, is_finished: bool) -> None:
        if name := picked(self.in_state(State.CLOSED), which):
            self.run(self.world.revert(name, is_finished=is_finished))

    @rule()
    def finish(self) -> None:
        self.run(self.world.step())

    @rule(turns=st.integers(0, 150), is_killed=st.booleans())
    def crash_finishing(self, turns: int, *, is_killed: bool) -> None:
        self.run(self.world.crash(self.world.backfiller.step(usage.NOW), turns=turns, is_killed=is_killed))
        self.run(self.world.finish())

    @invariant()
    def counters_are_what_was_received(self) -> None:
        if hasattr(self, "world") and self.world.has_changed:
            self.run(self.world.matches())
            self.world.has_changed = False

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.run(self.world.settle())
            self.run(self.world.matches())


@pytest.fixture(scope="module")
def servers(postgres_server: Server, valkey_server: Server) -> Iterator[Servers]:
    one = Servers(postgres_server, valkey_server)
    yield one
    one.close()


def test_any_interleaving_ends_as_a_fresh_fold(servers: Servers, request: pytest.FixtureRequest) -> None:
    is_long = request.config.getoption("--chaos")
    how = settings(
        max_examples=500 if is_long else 25,
        stateful_step_count=50 if is_long else 20,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )

    run_state_machine_as_test(lambda: Interleaving(servers), settings=how)

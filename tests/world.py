"""The product beside its model (tests/model.py): whatever is done is done to both, on real servers.

`matches` says whether the lookups agree with the model, and whether the counters agree with a fresh count.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import msgspec
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from meter import dead_letter, entry, event, history, load, stream, timestamp
from meter.aggregate import Aggregator
from meter.backfill import Backfiller
from meter.error import DeadLetterStays
from meter.history import History
from runtime.settings import Settings
from store import alias, backfill, counting, metric, stream_position, usage_query
from store.account import Principal
from store.alias import NewAlias
from store.backfill import Backfill, State
from store.db import Connection, Pool
from store.dead_letter import WHOLE
from store.definition import Definition
from store.part import Segment
from store.usage_query import Query
from tests import model, usage
from tests.model import Content, Metric, Model, Receipt
from tests.store.rows import kept_customer

START, END = datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 3, 8, tzinfo=UTC)
# The second one sits on no border of a quarter hour.
RANGES = (
    (START, datetime(2025, 4, 1, tzinfo=UTC)),
    (usage.at("2025-03-01T10:14:59.5"), usage.at("2025-03-02T00:00:01")),
)
TABLES = (
    *("usage_event", "event_key", "event_version", "usage_alias", "usage_group", "usage_slot", "usage_day"),
    *("usage_unique", "usage_metric_version", "usage_metric", "usage_backfill_event", "usage_backfill_replaced"),
    *("usage_backfill", "dead_letter", "stream_position", "customer_alias", "customer"),
)
# What a connection that is cut may look like.
CUT = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
PRECISION = Fraction(1, 10**20)
# Postgres takes no row with this number as long as the cause is there.
POISON = 7
CAUSE = f"""
alter table usage_event add constraint poison check (properties not like '%"n":{POISON}%') not valid
"""
CURE = "alter table usage_event drop constraint poison"
LETTERS = """
select id, stream, entry_ms, entry_sequence, entry_index from dead_letter
where replayed_at is null and discarded_at is null order by id
"""
BACKEND = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> $1"


class World:
    """Servers, what was done with them, and what must have come of it."""

    def __init__(self, pool: Pool, conn: Connection, redis: Redis, *, account: Principal, streams: int) -> None:
        self.pool, self.conn, self.redis, self.account = pool, conn, redis, account
        self.names = stream.names(streams)
        self.model = Model()
        self.metrics: dict[UUID, Metric] = {}
        self.customers: list[UUID] = []
        self.aliases: dict[str, UUID] = {}
        self.backfills: dict[str, State] = {}
        # Dead letters that wait, and their places; an entry that cannot be read is not in the model.
        self.letters: dict[UUID, model.Order] = {}
        # Whether something happened that lookups may show.
        self.has_changed = True
        self._ms = timestamp.microseconds(usage.NOW) // 1_000
        self._asked = usage.NOW
        self._start()

    async def prepare(self) -> None:
        await self.redis.flushall()
        for table in TABLES:
            await self.conn.execute(f"delete from {table}")
        await self.conn.execute("update event_version_forgotten set entry_ms = 0")
        await self.counting.step(usage.NOW)
        self.customers = [(await kept_customer(self.conn, self.account)).id for _ in range(2)]

    def _start(self) -> None:
        """New processes, which remember nothing. Where there is one stream, small batches are begun ahead, and ids are
        soon forgotten.
        """
        how = {"batch_events_max": 50} if len(self.names) > 1 else {"batch_events_max": 5, "recent_ids": 8}
        self.counting: Aggregator = usage.aggregator(
            self.pool, self.redis, streams=len(self.names), ahead_events_min=1, **how
        )
        self.backfiller = Backfiller(self.pool, self.redis, settings=Settings(), piece_events_max=3)

    async def send(self, events: Sequence[tuple[str, Content | None]], *, stream: int, is_later: bool) -> None:
        """One entry of a stream: events by id, None to cancel. Several streams may have entries of one id."""
        name = self.names[stream % len(self.names)]
        self._ms += is_later
        # Of two that came at one instant by two streams the last is anybody's guess.
        received_at = self._ms * 1_000 + 100 * self.names.index(name)
        taken = [_event(id_, one, received_at + place) for place, (id_, one) in enumerate(events)]
        # Each has its own time of receipt, as if it had come by itself and shared the flush.
        blocks = [
            entry.encode_block(entry.block([one], account=self.account.account, received_at=received_at + place))
            for place, one in enumerate(taken)
        ]
        id_ = (await self.redis.xadd(name, {"blocks.1": entry.join(blocks)}, id=f"{self._ms}-*")).decode()
        for place, (which, content) in enumerate(events):
            order = (*stream_position.order(id_), self.names.index(name) * 1_000 + place)
            at = received_at + place
            self.model.receive(Receipt(order=order, id=which, content=content, received_at=at, by=name))

    async def count(self, stream: int) -> None:
        """One stream, while somebody else has the others."""
        name = self.names[stream % len(self.names)]
        self.has_changed = True
        async with self.pool.acquire() as conn, conn.transaction():
            for other in self.names:
                if other != name:
                    await stream_position.lock(conn, other)
            await self.counting.step(usage.NOW)

    async def poison(
        self, events: Sequence[tuple[str, Content | None]], *, stream: int, crash: tuple[int, bool] | None
    ) -> None:
        """An entry of which not everything can be counted, and one that cannot be read; `crash` on the way."""
        await self.send(events, stream=stream, is_later=True)
        self._ms += 1
        await self.redis.xadd(self.names[stream % len(self.names)], {"blocks.1": b"\xc1"}, id=f"{self._ms}-*")
        async with self._spoilt():
            if crash is not None:
                turns, is_killed = crash
                await self.crash(self.counting.step(usage.NOW), turns=turns, is_killed=is_killed)
            await usage.drain(self.counting)
        await self._look_at_letters()

    async def replay(self, letter: UUID, *, is_cured: bool) -> None:
        is_legible = self.letters[letter][2] != WHOLE
        await self._wait_for_nobody()
        async with contextlib.nullcontext() if is_cured else self._spoilt():
            with contextlib.suppress(DeadLetterStays):
                await dead_letter.replay(self.conn, self.account.account, letter=letter, now=usage.NOW)
        await self._look_at_letters()
        assert letter not in self.letters or not is_cured or not is_legible

    async def discard(self, letter: UUID) -> None:
        await dead_letter.discard(self.conn, None, letter=letter, by="test", reason="a test", now=usage.NOW)
        self.model.discard(self.letters[letter])
        await self._look_at_letters()
        assert letter not in self.letters

    @contextlib.asynccontextmanager
    async def _spoilt(self) -> AsyncIterator[None]:
        await self._wait_for_nobody()
        await self.conn.execute(CAUSE)
        try:
            yield
        finally:
            await self.conn.execute(CURE)

    async def _wait_for_nobody(self) -> None:
        """Whoever counts would end soon what is begun; here nobody counts until somebody says so."""
        await self.counting.aclose()

    async def _look_at_letters(self) -> None:
        """What is set aside has to do with the poison, and counts no more than if it had not been received."""
        self.has_changed = True
        self.letters = {row["id"]: self._place(row) for row in await self.conn.fetch(LETTERS)}
        self.model.aside = set(self.letters.values())
        poisoned = {one.id for one in self.model.received if one.content and one.content.n == POISON}
        assert {one.id for one in self.model.received if one.order in self.model.aside} <= poisoned

    def _place(self, row: asyncpg.Record) -> model.Order:
        index = row["entry_index"]
        if index != WHOLE:
            index = self.names.index(row["stream"]) * 1_000 + index % stream_position.INDEXES_PER_STREAM
        return row["entry_ms"], row["entry_sequence"], index

    async def define(self, of: Metric, *, instead: UUID | None, first: int) -> None:
        """A new metric, or a new version of one; so many events of its history are folded at once."""
        self.has_changed = True
        await self._wait_for_nobody()
        before, history.FIRST_EVENTS_MAX = history.FIRST_EVENTS_MAX, first
        try:
            if instead is None:
                made = await usage.make_metric(self.conn, self.account, _definition(of), name=f"m{len(self.metrics)}")
                self.metrics[made.id] = of
            else:
                await self._change(instead, _definition(of))
                self.metrics[instead] = of
        finally:
            history.FIRST_EVENTS_MAX = before

    async def _change(self, id_: UUID, how: Definition) -> None:
        async with self.conn.transaction():
            await counting.stop(self.conn)
            before = await metric.get(self.conn, self.account.account, metric=id_, for_update=True)
            changed = msgspec.structs.replace(before, definition=how)
            after = await metric.update(self.conn, self.account.account, metric=changed, now=usage.NOW)
            if after.version != before.version:
                await history.begin(self.conn, self.account.account, after)

    async def map(self, value: str, customer: int) -> None:
        new = NewAlias(uuid7(), value)
        owner = self.customers[customer]
        await alias.create(self.conn, self.account.account, customer=owner, aliases=[new], now=usage.NOW)
        self.aliases[value] = new.id
        self.model.map(value, str(owner))
        self.has_changed = True

    async def end(self, value: str, at: datetime) -> None:
        await alias.end(self.conn, self.account.account, alias=self.aliases[value], now=at)
        self.model.end(value, timestamp.microseconds(at))
        self.has_changed = True

    async def open(self, aliases: Sequence[str], *, is_replacing: bool) -> str:
        made = Backfill(
            id=uuid7(),
            name=None,
            customer=None,
            segments=tuple(Segment(one, START, END) for one in aliases),
            range_start=START,
            range_end=END,
            replaces=is_replacing,
            created_at=usage.NOW,
            updated_at=usage.NOW,
        )
        await backfill.create(self.conn, self.account.account, backfill=made)
        name = str(made.id)
        self.backfills[name], self.model.loads[name] = State.OPEN, []
        if is_replacing:
            times = timestamp.microseconds(START), timestamp.microseconds(END)
            self.model.replacing[name] = [(one, *times) for one in aliases]
        return name

    async def load(self, name: str, events: Sequence[tuple[str, Content]]) -> None:
        loads = load.Loads(self.pool, events_max=1_000)
        into = await loads.open(self.account.account, name)
        fit = [(id_, one) for id_, one in events if one.alias in into.ranges and one.at is not None]
        taken = [load.check(into, _event(id_, one, timestamp.microseconds(usage.NOW))) for id_, one in fit]
        if taken:
            await loads.keep(into, taken, received_at=usage.NOW)
            self.model.loads[name] += fit

    async def ask(self, name: str, verb: Callable[..., Awaitable[Backfill]], **more: Any) -> None:
        """Ask for a close or a revert; a loop does it later."""
        await self._wait_for_nobody()
        self._asked += timedelta(seconds=1)
        async with self.conn.transaction():
            found = await verb(self.conn, self.account.account, backfill=UUID(name), now=self._asked, **more)
        # They are done in the order in which they were asked for.
        del self.backfills[name]
        self.backfills[name] = found.state
        # What comes from here on comes later.
        self._ms += 1

    async def close(self, name: str, *, is_finished: bool) -> None:
        """Ask for a close; with `is_finished` wait for it."""
        await self.ask(name, backfill.close, ends=await stream.ends(self.redis, self.names))
        if is_finished:
            await usage.drain(self.counting)
            await self.step()

    async def revert(self, name: str, *, is_finished: bool) -> None:
        await self.ask(name, backfill.revert)
        if is_finished:
            await self.step()

    async def step(self) -> None:
        """What can be closed and reverted by now."""
        await self._wait_for_nobody()
        await self.backfiller.step(usage.NOW)
        await self.finish()

    async def fold(self, events: int) -> None:
        """A piece of a young metric's history."""
        await self._wait_for_nobody()
        await History(self.pool, piece_events_max=events).step()
        self.has_changed = True

    async def finish(self) -> None:
        """Let the model do what was done with backfills since."""
        self.has_changed = True
        positions = await self.positions()
        for name, before in list(self.backfills.items()):
            found = await backfill.get(self.conn, self.account.account, backfill=UUID(name))
            assert found.problem is None
            self.backfills[name] = found.state
            match before, found.state:
                case State.CLOSING, State.CLOSED:
                    self.model.close(name, place=found.order, positions=positions)
                case State.REVERTING, State.REVERTED:
                    self.model.revert(name)

    async def crash(self, step: Awaitable[int], *, turns: int, is_killed: bool) -> None:
        """Stop a step at some await, or cut its connection to Postgres there."""
        self.has_changed = True
        task = asyncio.ensure_future(step)
        for _ in range(turns):
            await asyncio.sleep(0)
        if is_killed:
            await self.conn.execute(BACKEND, self.conn.get_server_pid())
        else:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError, *CUT):
            await task
        await self.counting.aclose()
        await self.pool.expire_connections()
        self._start()

    async def settle(self) -> None:
        """Everything that waits."""
        await usage.drain(self.counting)
        while await self.backfiller.step(usage.NOW):
            pass
        await self.finish()
        while await History(self.pool, piece_events_max=3).step():
            pass
        for letter in list(self.letters):
            await self.replay(letter, is_cured=True)
        assert {place[2] for place in self.letters.values()} <= {WHOLE}
        assert set(self.backfills.values()) <= {State.OPEN, State.CLOSED, State.REVERTED}

    async def positions(self) -> dict[str, tuple[int, int]]:
        found = await stream_position.read(self.conn)
        return {name: stream_position.order(found[name]) for name in self.names}

    async def matches(self) -> None:
        assert await usage.differences(self.conn) == []
        events = list(self.model.counted(await self.positions()).values())
        for start, end in RANGES:
            bounds = timestamp.microseconds(start), timestamp.microseconds(end)
            for customer in self.customers:
                segments = self.model.segments(str(customer), *bounds)
                await self._compare(events, segments, start=start, end=end, customer=customer)
            every = [(one, *bounds) for one in ("acme", "beta")]
            await self._compare(events, every, start=start, end=end, aliases=("acme", "beta"))

    async def _compare(self, events: Sequence[model.Standing], segments: Sequence[model.Segment], **asked: Any) -> None:
        known = [(await metric.get(self.conn, self.account.account, metric=id_)) for id_ in self.metrics]
        ready = [one for one in known if one.history.is_complete]
        if not ready:
            return
        query = Query(metrics=tuple(one.id for one in ready), zone=ZoneInfo("UTC"), **asked)
        async with self.conn.transaction(isolation="repeatable_read", readonly=True):
            found = await usage_query.answer(self.conn, self.account.account, query)
        answers = {one.metric: (one.value, one.event_count) for one in found.items}
        for one in ready:
            value, count = answers.get(one.id, (Decimal(0), 0))
            expected, events_count = model.usage(self.metrics[one.id], events, segments)
            assert abs(Fraction(value) - expected) < PRECISION, (self.metrics[one.id], segments, value, expected)
            assert count == events_count, (self.metrics[one.id], segments)


def _event(id_: str, one: Content | None, received_at: int) -> event.Event:
    if one is None:
        return event.cancellation(id_, received_at=received_at)
    properties = {"n": one.n, "model": one.model}
    when = timestamp.instant(one.at).isoformat() if one.at is not None else ""
    sent = usage.called(id_, alias=one.alias, when=when, **properties)
    return event.decode(msgspec.json.encode(sent), received_at=received_at, new_id=uuid7)


def _definition(of: Metric) -> Definition:
    changes: dict[str, Any] = {"group_by": ("model",)} if of.is_grouped else {}
    if of.only:
        changes |= {"property_filters": {"model": list(of.only)}}
    if of.is_negated:
        changes |= {"properties_to_negate": ("model",)}
    return usage.definition(of.aggregation, None if of.aggregation == "COUNT" else "n", **changes)

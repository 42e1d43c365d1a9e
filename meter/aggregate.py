"""The loop that counts: streams -> counters, exactly once.

    Aggregator(pool, redis, settings=...).step() -> how many events it counted
    Aggregator(...).aclose()                         lets go of what was begun

A step does, for each stream: look whether anything is there -> lock the stream's position -> read after it -> count
-> move the position -> commit. A crash anywhere rolls all of it back. Under load the next batch is begun meanwhile
(ahead.py): then it is prepared before the position is locked. Any number of aggregators may run; each works
on the streams whose position it could lock, and a lock falls with the connection of a dead process.

There is nothing to catch up with after an outage but the stream itself: Postgres away is a failed step, and the next
one that works goes on where the last commit ended. What is remembered between steps holds for one life of the
database: a server that was started anew, or restored, is learnt anew.

What cannot be counted is set aside, event by event (dead_letter.py).
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial

import structlog
from redis.asyncio import Redis

from meter import count, dead_letter, live, retention, stream
from meter.ahead import Ahead, Begun
from meter.batch import Batch
from meter.count import Numbers, Outcome, Prepared
from meter.reader import Reader
from meter.recent import Recent
from meter.retention import Retention
from runtime import process, telemetry
from runtime.settings import Settings
from store import event, stream_position
from store.db import Connection, Pool
from store.dead_letter import NewLetter
from store.stream_position import Lease

log = structlog.get_logger(__name__)

# Names are cheap to look up again, memory is not.
_NAMES_MAX = 2_000_000
# How often a quiet stream is asked whether it is still the one that was counted.
_QUIET_LOOKS = 64
# At full load tens of megabytes come in a second.
_TRIM_EVERY = timedelta(seconds=0.5)


class Aggregator:
    """Counts the streams. `step` is one bounded batch per stream; `runtime.process.serve` repeats it."""

    def __init__(self, pool: Pool, redis: Redis, *, settings: Settings) -> None:
        self._pool = pool
        self._redis = redis
        self._streams = stream.names(settings.streams)
        self._reader = Reader(
            redis,
            events_max=min(settings.batch_events_max, event.NUMBERS_PER_BLOCK // 2),
            ahead_min=settings.ahead_events_min,
        )
        self._letters_max = settings.dead_letters_max
        self._raw_months = settings.raw_event_retention_months
        # Half of what a stream may hold: the other half is for what still waits to be counted.
        self._retention = Retention(
            seconds=settings.stream_retention_seconds,
            entries_max=settings.stream_entries_max // 2,
            bytes_max=settings.stream_bytes_max // 2,
        )
        self._numbers: Numbers = defaultdict(dict)
        self._recent = Recent(ids_max=settings.recent_ids)
        self._ahead = Ahead(pool, self._reader, prepare=self._prepare_batch)
        self._names = 0
        self._incarnation = ""
        self._is_sharded = False
        self._positions: dict[str, str] = {}
        self._quiet: defaultdict[str, int] = defaultdict(int)
        # Entries that are counted and still there; exact since the stream was first seen counted to its end.
        self._counted: defaultdict[str, int] = defaultdict(int)
        self._trimmed_at: dict[str, datetime] = {}
        self._prepared_on: date | None = None

    async def step(self, now: datetime | None = None) -> int:
        """Count one batch of each stream; answers how many events were in them. `now` replaces the clock in tests."""
        now = now or datetime.now(UTC)
        if self._prepared_on != now.date():
            await self._prepare(now)
        return sum([await self._step(name, now) for name in self._streams])

    async def aclose(self) -> None:
        """Roll back what was begun and will not be counted here."""
        await self._ahead.discard()

    async def _prepare(self, now: datetime) -> None:
        """Once a day, and first of all: the rows and partitions that counting needs."""
        # Whoever makes partitions waits for all who store events.
        await self._ahead.discard()
        async with self._pool.acquire() as conn:
            await stream_position.ensure(conn, self._streams)
            await retention.prepare_raw(conn, now=now, months=self._raw_months)
            positions = await stream_position.read(conn)
        self._positions |= {name: positions[name] for name in self._streams}
        self._prepared_on = now.date()

    async def _step(self, name: str, now: datetime) -> int:
        try:
            return await self._count_news(name, now)
        except BaseException:
            # What was begun follows something that is not counted, and holds ids that the next attempt wants.
            await self._ahead.discard(name)
            raise

    async def _count_news(self, name: str, now: datetime) -> int:
        if not await self._has_news(name, now):
            return 0
        try:
            return await self._count(name, now)
        except Exception as exc:
            if not dead_letter.is_poison(exc):
                raise
            poison = process.describe(exc)
        log.error(
            "a batch cannot be counted as a whole, its events are tried", action="isolate", stream=name, error=poison
        )
        await self._ahead.discard(name)
        return await self._count(name, now, is_isolating=True)

    async def _count(self, name: str, now: datetime, *, is_isolating: bool = False) -> int:
        """One transaction. With `is_isolating` what cannot be counted becomes dead letters instead of an exception."""
        letters: list[NewLetter] = []
        begun = await self._ahead.take(name)
        async with begun.scope:
            found = await self._lease(begun, name, unreadable=letters if is_isolating else None)
            if found is None:
                return 0
            conn = begun.transaction.conn
            if is_isolating:
                outcomes = await self._isolate(conn, found, letters)
            else:
                outcomes = [await self._complete(conn, name, begun.prepared or await self._prepare_batch(conn, found))]
                letters += dead_letter.dropped(found, outcomes[0])
            if letters:
                await dead_letter.keep(conn, letters, stream=name, letters_max=self._letters_max, now=now)
            await stream_position.move(conn, name, position=found.end, now=now)
            self._ahead.lapse(name)
            begun.transaction.keep()
        self._remember(name, found, outcomes=outcomes, letters=letters)
        telemetry.BATCH_SECONDS.observe(asyncio.get_running_loop().time() - begun.started)
        await live.tell(self._redis, {placed.block.account for placed in found.blocks})
        await self._trim(name, now)
        return found.events

    async def _lease(self, begun: Begun, name: str, *, unreadable: list[NewLetter] | None) -> Batch | None:
        """Lock the position, and read what follows it: what is prepared, if something is. None: nothing to count."""
        conn, prepared = begun.transaction.conn, begun.prepared
        lease = await stream_position.lock(conn, name)
        if lease is None:
            # Somebody else's turn; or the database was restored to before this stream.
            self._reader.forget(name)
            if prepared is None:
                await stream_position.ensure(conn, [name])
                begun.transaction.keep()
            return None
        is_other = self._forget_if_other(lease)
        self._is_sharded = lease.is_one_of_many or len(self._streams) > 1
        found = await self._reader.read(name, lease.position, unreadable=unreadable)
        if found is None:
            # Somebody else has counted it.
            self._positions[name] = lease.position
        is_fit = prepared is None or (found is prepared.batch and not is_other and not self._is_sharded)
        # It may be prepared for another position, or for another world.
        return found if is_fit else None

    async def _prepare_batch(self, conn: Connection, found: Batch) -> Prepared:
        recent = None if self._is_sharded else self._recent
        return await count.prepare(conn, found, numbers=self._numbers, recent=recent)

    async def _complete(self, conn: Connection, name: str, prepared: Prepared) -> Outcome:
        # With several streams another process may want the same ids, and everybody takes them in one order.
        look_ahead = self._reader.look_ahead if self._is_sharded else self._ahead.begin
        return await count.complete(
            conn, prepared, is_sharded=self._is_sharded, meanwhile=partial(look_ahead, name, prepared.batch)
        )

    async def _isolate(self, conn: Connection, found: Batch, letters: list[NewLetter]) -> Sequence[Outcome]:
        isolated = await dead_letter.isolate(conn, found, numbers=self._numbers, letters_max=self._letters_max)
        letters += isolated.letters
        return isolated.outcomes

    def _forget_if_other(self, lease: Lease) -> bool:
        """Whether it is another database. Numbers of aliases that were learnt from one that is no more are worse than
        none.
        """
        is_other = lease.incarnation != self._incarnation
        if is_other:
            self._forget_names()
            self._incarnation = lease.incarnation
        return is_other

    def _forget_names(self) -> None:
        # Not cleared: a batch that is being prepared goes on with what it has.
        self._numbers, self._names = defaultdict(dict), 0

    async def _has_news(self, name: str, now: datetime) -> bool:
        """Whether there may be something to count: a look that costs Postgres nothing, or next to nothing."""
        if self._quiet[name] and self._quiet[name] % _QUIET_LOOKS == 0:
            async with self._pool.acquire() as conn:
                positions = await stream_position.read(conn)
            # Further on if somebody else counted; back if the database was restored.
            self._positions[name] = positions.get(name, stream_position.START)
            # A stream that is full of what is counted takes nothing in, so no batch would ever trim it.
            await self._trim(name, now)
        position = self._positions[name]
        if self._reader.is_ahead(name, position) or await stream.read(self._redis, name, after=position, limit=1):
            self._quiet[name] = 0
            return True
        if self._quiet[name] == 0:
            self._counted[name], _ = await stream.size(self._redis, name)
            telemetry.STREAM_DEPTH.labels(name).set(0)
        self._quiet[name] += 1
        is_due = self._quiet[name] % _QUIET_LOOKS == 1
        # What another stream than was counted holds may bear ids below the position.
        return is_due and not await stream.holds(self._redis, name, self._positions[name])

    def _remember(self, name: str, found: Batch, *, outcomes: Sequence[Outcome], letters: Sequence[NewLetter]) -> None:
        """What is true since the commit."""
        self._positions[name] = found.end
        self._counted[name] += found.entries
        for outcome in outcomes:
            self._learn(outcome)
            telemetry.EVENTS_COUNTED.inc(outcome.counted)
            telemetry.EVENTS_DUPLICATE.inc(outcome.duplicates)
        for letter in letters:
            telemetry.DEAD_LETTERS.inc()
            log.error("set aside", action="dead_letter", letter=str(letter.id), code=letter.code, reason=letter.reason)
        log.debug(
            "batch counted",
            action="count",
            stream=name,
            position=found.end,
            events=found.events,
            duplicates=sum(outcome.duplicates for outcome in outcomes),
            corrections=sum(outcome.corrections for outcome in outcomes),
        )

    def _learn(self, outcome: Outcome) -> None:
        if self._names + len(outcome.aliases) > _NAMES_MAX:
            self._forget_names()
        self._names += len(outcome.aliases)
        for (account, alias), number in outcome.aliases.items():
            self._numbers[account][alias] = number

    async def _trim(self, name: str, now: datetime) -> None:
        if name in self._trimmed_at and now - self._trimmed_at[name] < _TRIM_EVERY:
            return
        self._trimmed_at[name] = now
        position = self._positions[name]
        self._counted[name] -= await retention.trim(
            self._redis, name, position=position, retention=self._retention, now=now
        )
        entries, _ = await stream.size(self._redis, name)
        telemetry.STREAM_DEPTH.labels(name).set(max(0, entries - self._counted[name]))

"""Backfills, closed and reverted: the loop that makes a load visible as a whole, and takes it back as a whole.

    Backfiller(pool, redis, settings=...).step() -> how many backfills it has closed, reverted or given up

Theory of operation
    A load does not travel the streams. Its events go straight to Postgres, into a table that nothing else reads
    (load.py), so they are invisible by construction, and their ids are their own. Asking to close gives the backfill
    its place in the order of receipt: behind everything that the streams held at that instant. It waits until that
    is counted.

    Closing then is counting: the load becomes batches with entries at that place, and goes through the same `count`
    as everything else, which settles ids and corrections, stores rows and adds to the counters. What it replaces is
    cancelled there in the same way. So a close needs no rules of its own, and nothing can disagree with it: what is
    received later than the place wins, what was received earlier loses.

    Reverting is the other way round (revert.py): what was received at that place is taken out of the history of each
    id, and what is left decides.

    Either is one transaction, so it is visible as a whole or not at all, and a process that is killed in the middle has
    done nothing: another one begins again. Nobody counts meanwhile (store/counting.py), as live events may be about the
    same ids; they wait in the streams, accepted. That is why a load has a limit (`backfill_events_max`): pieces with
    transactions of their own would be visible one by one. A load that is larger is refused as it comes, and what a
    close would replace beyond the limit gives it up.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import structlog
from redis.asyncio import Redis

from meter import batch, count, entry, live, revert, timestamp
from meter.count import Outcome
from meter.entry import Block
from meter.revert import Unrevertible
from runtime.settings import Settings
from store import backfill, backfill_event, counting, usage
from store.backfill import Backfill, Counts, State
from store.backfill_event import Loaded
from store.db import Connection, Pool
from store.error import BackfillTooLarge, RawEventDropped
from store.event_version import CANCELLATION

log = structlog.get_logger(__name__)

# Memory is bounded by a piece, time by the whole.
PIECE_EVENTS_MAX = 50_000
_SHOW_SECONDS_MAX = 1.0


class Backfiller:
    """Closes and reverts. `step` does all that can be done now; `runtime.process.serve` repeats it."""

    def __init__(
        self, pool: Pool, redis: Redis, *, settings: Settings, piece_events_max: int = PIECE_EVENTS_MAX
    ) -> None:
        self._pool = pool
        self._redis = redis
        self._events_max = settings.backfill_events_max
        self._piece_events_max = piece_events_max

    async def step(self, now: datetime | None = None) -> int:
        """Close and revert what waits and can be; answers how many. `now` replaces the clock in tests."""
        now = now or datetime.now(UTC)
        async with self._pool.acquire() as conn:
            waiting = await backfill.waiting(conn)
        done, failure = 0, None
        held: set[int] = set()
        for account, found in waiting:
            # What was asked for earlier may only be waiting for the streams, and comes first when they are counted.
            if account in held:
                continue
            try:
                is_done = await self._step(account, found, now)
            except Exception as exc:  # noqa: BLE001 - whatever it is, it holds up nobody else, and it comes out below
                failure = exc
                continue
            done += is_done
            if not is_done:
                held.add(account)
        if failure is not None:
            raise failure
        return done

    async def _step(self, account: int, found: Backfill, now: datetime) -> bool:
        try:
            async with self._pool.acquire() as conn, conn.transaction():
                is_done = await self._finish(conn, account, found, now)
        except (BackfillTooLarge, RawEventDropped, Unrevertible) as exc:
            # Everything was rolled back; asking for it again would come to the same.
            log.warning("backfill given up", action="backfill", backfill=str(found.id), reason=str(exc))
            async with self._pool.acquire() as conn:
                await backfill.give_up(conn, account, backfill=found, problem=str(exc), now=now)
            return True
        if is_done:
            await live.tell(self._redis, {account})
            log.info("backfill done", action="backfill", backfill=str(found.id), was=found.state)
        return is_done

    async def _finish(self, conn: Connection, account: int, found: Backfill, now: datetime) -> bool:
        """Take the second step of a backfill, unless it is somebody else's turn or something is not counted yet."""
        if not await backfill.lease(conn) or not await usage.counted_past(conn, found.ends):
            return False
        await counting.stop(conn)
        # Read again: somebody else may have finished it meanwhile.
        one = await backfill.get(conn, account, backfill=found.id)
        if one.state is not found.state:
            return False
        if one.state is State.CLOSING:
            await self._close(conn, account, one, now)
        else:
            await revert.revert(conn, account, of=one, piece_events_max=self._piece_events_max)
            await backfill.finish_revert(conn, account, backfill=one.id, now=now)
        return True

    async def _close(self, conn: Connection, account: int, of: Backfill, now: datetime) -> None:
        cancelled = await self._replace(conn, account, of, now) if of.replaces else []
        loaded: list[Outcome] = []
        numbers: list[tuple[int, int]] = []
        place, handled = 0, sum(cancelled)
        while found := await backfill_event.staged(conn, account, of=of.id, after=place, limit=self._piece_events_max):
            piece = len(cancelled) + len(loaded)
            outcome = await _count(conn, of, _block(account, [one.event for one in found], now), piece=piece)
            loaded.append(outcome)
            numbers.append((outcome.first_no, outcome.first_no + len(found)))
            place, handled = found[-1].place, handled + len(found)
            await self._show(account, of, handled)
        await backfill_event.remember_repeats(conn, account, of=of, numbers=numbers)
        await backfill_event.unstage(conn, account, of=of.id)
        counts = Counts(
            counted=sum(one.counted for one in loaded),
            duplicates=sum(one.duplicates for one in loaded),
            corrections=sum(one.corrections for one in loaded),
            replaced=sum(cancelled),
        )
        await backfill.finish_close(conn, account, backfill=of.id, counts=counts, numbers=numbers, now=now)

    async def _replace(self, conn: Connection, account: int, of: Backfill, now: datetime) -> list[int]:
        """Cancel what the load takes the place of; answers how many events that were, by piece."""
        if await backfill_event.replace(conn, account, of=of, events_max=self._events_max) > self._events_max:
            raise BackfillTooLarge(
                f"It would take back more than {self._events_max} live events. Replace a shorter range at once."
            )
        pieces: list[int] = []
        after: UUID | None = None
        while keys := await backfill_event.replaced(conn, account, of=of.id, after=after, limit=self._piece_events_max):
            await _count(conn, of, _cancellations(account, keys, now), piece=len(pieces))
            pieces.append(len(keys))
            after = keys[-1]
            await self._show(account, of, sum(pieces))
        return pieces

    async def _show(self, account: int, of: Backfill, handled: int) -> None:
        """Say how far it is, on a connection of its own if there is one."""
        try:
            async with self._pool.acquire(timeout=_SHOW_SECONDS_MAX) as conn:
                await backfill.set_handled(conn, account, backfill=of.id, handled=handled)
        except TimeoutError:
            # A pool of one. Progress is for people who watch.
            return


async def _count(conn: Connection, of: Backfill, block: Block, *, piece: int) -> Outcome:
    """Count a block at the backfill's place in the order of receipt; everything before that is counted."""
    if piece >= backfill.PIECES_MAX:
        raise AssertionError(f"piece {piece} of a backfill")
    milliseconds, first = of.order
    entries = [(f"{milliseconds}-{first + piece}", [block])]
    outcome = await count.count(conn, batch.batch(entries), numbers=defaultdict(dict), is_sharded=False)
    if outcome.dropped:
        raise RawEventDropped("It corrects or cancels events that are not kept as raw events any more.")
    return outcome


def _block(account: int, events: Sequence[Loaded], now: datetime) -> Block:
    return entry.pack(
        account=account,
        received_at=timestamp.microseconds(now),
        keys=b"".join([one.key.bytes for one in events]),
        digests=[one.digest for one in events],
        ids={place: id_ for place, one in enumerate(events) if (id_ := one.customer_event_id) is not None},
        aliases=[one.alias for one in events],
        types=[one.event_type for one in events],
        timestamps=[timestamp.microseconds(one.event_timestamp) for one in events],
        untimed=[],
        lines=entry.lines([one.properties.encode() for one in events]),
    )


def _cancellations(account: int, keys: Sequence[UUID], now: datetime) -> Block:
    """As meter/event.py writes them, for ids that are keys already."""
    at = timestamp.microseconds(now)
    return entry.pack(
        account=account,
        received_at=at,
        keys=b"".join([key.bytes for key in keys]),
        digests=[CANCELLATION] * len(keys),
        ids={},
        aliases=[""] * len(keys),
        types=[""] * len(keys),
        timestamps=[at] * len(keys),
        untimed=[],
        lines=b"{}\n" * len(keys),
    )

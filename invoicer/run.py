"""The billing run: claim what is due, gather, rate, save.

The order of a step, and why:

1. Is anything due? One look at an index; most steps end here, or with a review.
2. Claim due schedules (row locks, SKIP LOCKED: several invoicers share a run).
3. Hold the credit grants of their customers, so that no other run draws on them meanwhile.
4. Note the end of every stream and wait until the counted positions have passed it. Only after the claim: whoever sent
   events and then made a schedule must find them on its first invoice. On timeout the schedules are parked as
   USAGE_NOT_COUNTED for a moment.
5. Gather on a second connection in one REPEATABLE READ snapshot; it is younger than 3 and 4, so it has all that usage
   and every draw of earlier runs. The same snapshot says which earlier bills would come to something else today
   (invoicer/late.py). The claiming connection stays awake meanwhile (store/awake.py).
6. Rate: pure, no clock, no ids made up on the way. Schedules of one customer share its grants, so each finds what those
   before it have left; a schedule's earlier bills come before the one that is due.
7. Save the invoices and move the schedules on in the claiming transaction. A kill before the commit leaves nothing.

A review is the same without a bill that is due: drafts are made again when their usage has changed, and differences of
a schedule on which nothing follows become an invoice of their own.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import asyncpg
import structlog
from uuid_utils.compat import uuid7

from invoicer import counted, gather, late, outcome
from invoicer.counted import Ends
from invoicer.gather import Known
from invoicer.grant import Left
from invoicer.late import Late
from invoicer.outcome import UNCOUNTED, UNCOUNTED_RETRY, Parked, Rated
from rating.schedule import next_bill_date
from runtime import telemetry
from store import credit, customer, draft, due
from store.awake import awake
from store.db import Connection
from store.due import StoredSchedule

__all__ = ["UNCOUNTED_RETRY", "Invoicer"]

log = structlog.get_logger(__name__)

# The credit grants that a run may draw on: (account, grant).
_Held = Sequence[tuple[int, UUID]]
# By schedule the earlier bills that would come to something else today.
_Late = Mapping[UUID, Sequence[Late]]

SCHEDULES_PER_STEP_MAX = 1_000
# How often drafts, and the last bills of schedules that are over, are compared with their usage. No setting: who cannot
# wait calculates a draft again by a request, and the next bill of a schedule always looks.
REVIEW_INTERVAL = timedelta(hours=1)


class Invoicer:
    """Bills what is due. `step` is one bounded batch; `runtime.process.serve` repeats it."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        ends: Ends,
        counted_wait_seconds: float = 30.0,
        late_usage_days: int = 95,
    ) -> None:
        self._pool = pool
        self._ends = ends
        self._counted_wait_seconds = counted_wait_seconds
        # How far back bills are compared with their usage; the last bill of a schedule always is.
        self._window = timedelta(days=late_usage_days)
        # Nothing is billed more often than daily.
        self._bills_max = late_usage_days + 1

    async def step(self, now: datetime | None = None) -> int:
        """Bill up to a thousand due schedules, one bill date each, or review as many when none is due.

        Answers how many were claimed. `now` replaces the clock in tests and replays.
        """
        now = now or datetime.now(UTC)
        async with self._pool.acquire() as conn:
            if not await due.is_due(conn, now=now):
                return await self._review(conn, now=now)
            async with conn.transaction():
                claimed = await due.claim(conn, now=now, limit=SCHEDULES_PER_STEP_MAX)
                held = await credit.hold(conn, {(s.account, s.customer) for s in claimed})
                if await counted.wait(conn, self._ends, seconds=self._counted_wait_seconds):
                    await self._bill(conn, claimed, held=held, now=now)
                else:
                    await _park(conn, claimed, parked=UNCOUNTED, until=now + UNCOUNTED_RETRY)
        return len(claimed)

    async def _bill(self, conn: Connection, claimed: Sequence[StoredSchedule], *, held: _Held, now: datetime) -> None:
        async with (
            awake(conn),
            self._pool.acquire() as reader,
            reader.transaction(isolation="repeatable_read", readonly=True),
        ):
            known = await gather.known(reader, claimed, held=held)
            since = [(of, of.bill_date - self._window) for of in claimed]
            earlier = await late.find(reader, since, held=held, limit=self._bills_max)
        rated: list[Rated] = []
        left = Left()
        for of in claimed:
            match outcome.rate(of, known, earlier.get(of.id, ()), left=left):
                case Parked() as parked:
                    await _park(conn, [of], parked=parked, until=now + parked.retry)
                case one:
                    rated.append(one)
        await _save(conn, rated, known, earlier, now=now)

    async def _review(self, conn: Connection, *, now: datetime) -> int:
        """Compare bills with their usage although nothing is due."""
        async with conn.transaction():
            claimed = await due.claim_reviews(
                conn, now=now, again_at=now + REVIEW_INTERVAL, limit=SCHEDULES_PER_STEP_MAX
            )
            if not claimed:
                return 0
            held = await credit.hold(conn, {(s.account, s.customer) for s in claimed})
            async with (
                awake(conn),
                self._pool.acquire() as reader,
                reader.transaction(isolation="repeatable_read", readonly=True),
            ):
                since = [(of, now.date() - self._window) for of in claimed]
                drafts_only = [s.id for s in claimed if not s.is_over]
                earlier = await late.find(reader, since, held=held, limit=self._bills_max, drafts_only=drafts_only)
                snapshots = await customer.snapshots(reader, list({(s.account, s.customer) for s in claimed}))
            left = Left()
            for of in claimed:
                one = Rated(of, None, None, outcome.rate_again(earlier.get(of.id, ()), left=left))
                await _save_review(conn, one, Known({}, frozenset(), snapshots, {}), now=now)
            ids = [(of.account, of.id) for of in claimed]
            await due.end_reviews(conn, ids, since=now.date() - self._window)
        return len(claimed)


async def _park(conn: Connection, schedules: Sequence[StoredSchedule], *, parked: Parked, until: datetime) -> None:
    for of in schedules:
        log.warning("schedule parked", action="park", schedule=str(of.id), reason=parked.reason, detail=parked.detail)
    await due.park(
        conn, [(s.account, s.id) for s in schedules], reason=parked.reason, detail=parked.detail, until=until
    )
    telemetry.SCHEDULES_PARKED.inc(len(schedules))


async def _save(conn: Connection, rated: Sequence[Rated], known: Known, earlier: _Late, *, now: datetime) -> None:
    """Save all at once; if one offends a unique index, save one by one so that only that one is parked."""
    try:
        async with conn.transaction():
            await _save_batch(conn, rated, known, now=now)
    except asyncpg.UniqueViolationError:
        left = Left()
        for one in rated:
            # Rated again: what the offender would have drawn from a grant is there for the others.
            trial = left.copy()
            again = outcome.rate(one.schedule, known, earlier.get(one.schedule.id, ()), left=trial)
            if isinstance(again, Rated) and await _is_saved(conn, again, known, now=now):
                left.become(trial)


async def _is_saved(conn: Connection, one: Rated, known: Known, *, now: datetime) -> bool:
    """Save one, or park it if something live has billed the same."""
    try:
        async with conn.transaction():
            await _save_batch(conn, [one], known, now=now)
    except asyncpg.UniqueViolationError as error:
        parked = Parked("ALREADY_BILLED", f"A live invoice has billed this already: {error.detail}")
        await _park(conn, [one.schedule], parked=parked, until=now + parked.retry)
        return False
    return True


async def _save_batch(
    conn: Connection, rated: Sequence[Rated], known: Known, *, now: datetime, on: date | None = None
) -> None:
    """Keep invoices and drafts made again, and move billed schedules on. `on` is the bill date of a review."""
    invoices = [
        made for one in rated for made in outcome.invoices(one, known, on=on or one.schedule.bill_date, new_id=uuid7)
    ]
    await draft.save(conn, invoices, new_id=uuid7, now=now)
    for again in (again for one in rated for again in one.late.replaced):
        # One that was finalized or voided meanwhile stays; the next run has its difference.
        await draft.replace(conn, outcome.replacement(again), new_id=uuid7, now=now)
    await due.advance(conn, list(_moves(rated)), now=now, review_at=now + REVIEW_INTERVAL)
    telemetry.INVOICES_CREATED.inc(len(invoices))
    if invoices:
        log.info("invoices created", action="bill", invoices=len(invoices))


async def _save_review(conn: Connection, one: Rated, known: Known, *, now: datetime) -> None:
    """Keep what a review found. A second invoice of differences on one day waits for the next day."""
    if not one.late.is_empty():
        try:
            async with conn.transaction():
                await _save_batch(conn, [one], known, on=now.date(), now=now)
        except asyncpg.UniqueViolationError:
            log.info("review put off", action="review", schedule=str(one.schedule.id))


def _moves(rated: Sequence[Rated]) -> Iterator[due.Move]:
    for one in rated:
        if one.bill is not None:
            next_date = next_bill_date(one.schedule.terms, one.schedule.bill_date)
            yield due.Move(account=one.schedule.account, id=one.schedule.id, next_bill_date=next_date)

"""The billing run: claim what is due, gather, rate, save.

The order of a step, and why:

1. Is anything due? One look at an index; most steps end here.
2. Claim due schedules (row locks, SKIP LOCKED: several invoicers share a run).
3. Note the end of every stream and wait until the counted positions have passed it. Only after the claim: whoever sent
   events and then made a schedule must find them on its first invoice. On timeout the schedules are parked as
   USAGE_NOT_COUNTED for a moment.
4. Gather on a second connection in one REPEATABLE READ snapshot; it is younger than 3, so it has all that usage.
5. Rate: pure, no clock, no ids made up on the way.
6. Save the invoices and move the schedules on in the claiming transaction. A kill before the commit leaves nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import msgspec
import structlog
from uuid_utils.compat import uuid7

from invoicer import gather
from rating import bill
from rating.error import RatingError
from rating.invoice import Bill
from rating.schedule import next_bill_date
from runtime import telemetry
from store import customer, due, invoice, product, usage
from store.db import Connection
from store.due import StoredSchedule
from store.invoice import NewInvoice

log = structlog.get_logger(__name__)

# Answers the last id of every stream; the composition root hands over meter.stream's.
Ends = Callable[[], Awaitable[Mapping[str, str]]]

SCHEDULES_PER_STEP_MAX = 1_000
COUNTED_POLL_SECONDS = 0.02
# A schedule that cannot be billed is looked at again after this long; a person may have repaired the cause.
PARKED_RETRY = timedelta(hours=1)
# Usage that is not counted yet soon will be: the aggregator is behind, or being restarted.
UNCOUNTED_RETRY = timedelta(seconds=5)


class Invoicer:
    """Bills what is due. `step` is one bounded batch; `runtime.process.serve` repeats it."""

    def __init__(self, pool: asyncpg.Pool, *, ends: Ends, counted_wait_seconds: float = 30.0) -> None:
        self._pool = pool
        self._ends = ends
        self._counted_wait_seconds = counted_wait_seconds

    async def step(self, now: datetime | None = None) -> int:
        """Bill up to a thousand due schedules, one bill date each; answer how many were claimed, 0 when none is due.

        `now` replaces the clock in tests and replays.
        """
        now = now or datetime.now(UTC)
        async with self._pool.acquire() as conn:
            if not await due.is_due(conn, now=now):
                return 0
            async with conn.transaction():
                claimed = await due.claim(conn, now=now, limit=SCHEDULES_PER_STEP_MAX)
                if await self._wait_until_counted(conn):
                    await self._bill(conn, claimed, now=now)
                else:
                    await _park_all(conn, claimed, parked=_UNCOUNTED, until=now + UNCOUNTED_RETRY)
        return len(claimed)

    async def _wait_until_counted(self, conn: Connection) -> bool:
        """Wait, bounded, until everything that the streams hold at this moment is counted."""
        try:
            async with asyncio.timeout(self._counted_wait_seconds):
                ends = await self._ends()
                # Another process moves the positions, so there is no event of ours to wait for.
                while not await usage.counted_past(conn, ends):  # noqa: ASYNC110
                    await asyncio.sleep(COUNTED_POLL_SECONDS)
        except TimeoutError:
            return False
        return True

    async def _bill(self, conn: Connection, claimed: Sequence[StoredSchedule], *, now: datetime) -> None:
        async with self._pool.acquire() as reader, reader.transaction(isolation="repeatable_read", readonly=True):
            inputs = await gather.inputs(reader, claimed)
            snapshots = await customer.snapshots(reader, [(s.account, s.customer) for s in claimed])
            titles = await product.names(reader, _products(claimed))
        rated: list[_Rated] = []
        for of in claimed:
            match _rate(inputs.get(of.id)):
                case _Parked() as parked:
                    await _park_all(conn, [of], parked=parked, until=now + parked.retry)
                case draft:
                    rated.append(_Rated(of, draft, snapshots[of.account, of.customer], titles))
        await _save(conn, rated, now=now)


class _Parked(msgspec.Struct, frozen=True):
    """Why a schedule was set aside: a code for programs and a sentence for people."""

    reason: str
    detail: str
    retry: timedelta = PARKED_RETRY


_COUNTING = _Parked(
    "METRIC_COUNTING", "A usage metric of this schedule is new or was changed, and counts its history.", UNCOUNTED_RETRY
)
_UNCOUNTED = _Parked(
    "USAGE_NOT_COUNTED", "Usage accepted before this run is not counted yet; is an aggregator running?"
)


class _Rated(msgspec.Struct, frozen=True):
    schedule: StoredSchedule
    draft: Bill
    snapshot: customer.Snapshot
    titles: Mapping[tuple[int, UUID], str]


def _rate(known: bill.BillInput | gather.Counting | None) -> Bill | _Parked:
    if isinstance(known, gather.Counting):
        return _COUNTING
    if known is None:
        return _Parked("METRIC_MISSING", "A price of this schedule names a usage metric that does not exist.")
    try:
        return bill.bill(known)
    except RatingError as error:
        # Refused by a rule: this schedule waits for a person, the run goes on.
        return _Parked(error.code, str(error))


async def _park_all(conn: Connection, schedules: Sequence[StoredSchedule], *, parked: _Parked, until: datetime) -> None:
    for of in schedules:
        log.warning("schedule parked", action="park", schedule=str(of.id), reason=parked.reason, detail=parked.detail)
    await due.park(
        conn, [(s.account, s.id) for s in schedules], reason=parked.reason, detail=parked.detail, until=until
    )
    telemetry.SCHEDULES_PARKED.inc(len(schedules))


async def _save(conn: Connection, rated: Sequence[_Rated], *, now: datetime) -> None:
    """Save all at once; if one offends a unique index, save one by one so that only that one is parked."""
    try:
        async with conn.transaction():
            await _save_batch(conn, rated, now=now)
    except asyncpg.UniqueViolationError:
        for one in rated:
            await _save_or_park(conn, one, now=now)


async def _save_or_park(conn: Connection, one: _Rated, *, now: datetime) -> None:
    try:
        async with conn.transaction():
            await _save_batch(conn, [one], now=now)
    except asyncpg.UniqueViolationError as error:
        parked = _Parked("ALREADY_BILLED", f"A live invoice has billed this already: {error.detail}")
        await _park_all(conn, [one.schedule], parked=parked, until=now + PARKED_RETRY)


async def _save_batch(conn: Connection, rated: Sequence[_Rated], *, now: datetime) -> None:
    await invoice.save(conn, [_invoice(one) for one in rated], new_id=uuid7, now=now)
    await due.advance(conn, list(_moves(rated)), now=now)
    telemetry.INVOICES_CREATED.inc(len(rated))
    if rated:
        log.info("invoices created", action="bill", invoices=len(rated))


def _invoice(one: _Rated) -> NewInvoice:
    return NewInvoice(
        account=one.schedule.account,
        id=uuid7(),
        customer=one.schedule.customer,
        schedule=one.schedule.id,
        reason="SCHEDULE",
        bill=one.draft,
        snapshot=one.snapshot,
        titles=_titles(one),
        particulars=one.schedule.particulars,
    )


def _titles(one: _Rated) -> dict[str, str]:
    return {g.product_id: one.titles[one.schedule.account, UUID(g.product_id)] for g in one.draft.groups}


def _products(claimed: Sequence[StoredSchedule]) -> set[tuple[int, UUID]]:
    return {(s.account, UUID(price.product_id)) for s in claimed for phase in s.terms.phases for price in phase.prices}


def _moves(rated: Sequence[_Rated]) -> Iterator[due.Move]:
    for one in rated:
        next_date = next_bill_date(one.schedule.terms, one.schedule.bill_date)
        yield due.Move(account=one.schedule.account, id=one.schedule.id, next_bill_date=next_date)

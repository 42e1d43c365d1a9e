"""The billing run: claim what is due, gather, rate, save.

The order of a step, and why:

1. Is anything due? One look at an index; most steps end here.
2. Claim due schedules (row locks, SKIP LOCKED: several invoicers share a run).
3. Hold the credit grants of their customers, so that no other run draws on them meanwhile.
4. Note the end of every stream and wait until the counted positions have passed it. Only after the claim: whoever sent
   events and then made a schedule must find them on its first invoice. On timeout the schedules are parked as
   USAGE_NOT_COUNTED for a moment.
5. Gather on a second connection in one REPEATABLE READ snapshot; it is younger than 3 and 4, so it has all that usage
   and every draw of earlier runs.
6. Rate: pure, no clock, no ids made up on the way. Schedules of one customer share its grants, so each finds what those
   before it have left.
7. Save the invoices and move the schedules on in the claiming transaction. A kill before the commit leaves nothing.
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
from invoicer.gather import Known
from invoicer.grant import Left
from rating import bill
from rating.error import RatingError
from rating.invoice import Bill
from rating.schedule import next_bill_date
from runtime import telemetry
from store import credit, due, invoice, usage
from store.db import Connection
from store.due import StoredSchedule
from store.error import RawEventDropped
from store.invoice import NewInvoice

log = structlog.get_logger(__name__)

# Answers the last id of every stream; the composition root hands over meter.stream's.
Ends = Callable[[], Awaitable[Mapping[str, str]]]
# The credit grants that a run may draw on: (account, grant).
_Held = tuple[int, UUID]

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
                held = await credit.hold(conn, {(s.account, s.customer) for s in claimed})
                if await self._wait_until_counted(conn):
                    await self._bill(conn, claimed, held=held, now=now)
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

    async def _bill(
        self, conn: Connection, claimed: Sequence[StoredSchedule], *, held: Sequence[_Held], now: datetime
    ) -> None:
        async with self._pool.acquire() as reader, reader.transaction(isolation="repeatable_read", readonly=True):
            known, left, gone = await _known(reader, claimed, held=held)
        outcomes = _rate_all(left, known)
        if gone:
            await _park_all(conn, gone, parked=_DROPPED, until=now + PARKED_RETRY)
        for of, parked in outcomes.parked:
            await _park_all(conn, [of], parked=parked, until=now + parked.retry)
        await _save(conn, outcomes.rated, known, now=now)


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


_DROPPED = _Parked(
    RawEventDropped.code,
    "Usage of this schedule begins or ends inside a quarter hour whose raw events are not kept any more.",
)


class _Rated(msgspec.Struct, frozen=True):
    schedule: StoredSchedule
    draft: Bill


class _Outcomes(msgspec.Struct, frozen=True):
    rated: list[_Rated]
    parked: list[tuple[StoredSchedule, _Parked]]


async def _known(
    reader: Connection, claimed: Sequence[StoredSchedule], *, held: Sequence[_Held]
) -> tuple[Known, Sequence[StoredSchedule], Sequence[StoredSchedule]]:
    """What the run knows of the schedules that can be billed, those, and the ones that need dropped raw events."""
    try:
        return await gather.known(reader, claimed, held=held), claimed, ()
    except RawEventDropped:
        gone = [of for of in claimed if await _is_gone(reader, of, held=held)]
    ids = {of.id for of in gone}
    left = [of for of in claimed if of.id not in ids]
    return await gather.known(reader, left, held=held), left, gone


async def _is_gone(reader: Connection, of: StoredSchedule, *, held: Sequence[_Held]) -> bool:
    try:
        await gather.known(reader, [of], held=held)
    except RawEventDropped:
        return True
    return False


def _rate_all(schedules: Sequence[StoredSchedule], known: Known) -> _Outcomes:
    outcomes = _Outcomes([], [])
    left = Left()
    for of in schedules:
        match _COUNTING if of.id in known.counting else _rate(known.inputs.get(of.id), left):
            case _Parked() as parked:
                outcomes.parked.append((of, parked))
            case draft:
                left.draw(draft)
                outcomes.rated.append(_Rated(of, draft))
    return outcomes


def _rate(given: bill.BillInput | None, left: Left) -> Bill | _Parked:
    if given is None:
        return _Parked("METRIC_MISSING", "A price of this schedule names a usage metric that does not exist.")
    try:
        return bill.bill(left.of(given))
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


async def _save(conn: Connection, rated: Sequence[_Rated], known: Known, *, now: datetime) -> None:
    """Save all at once; if one offends a unique index, save one by one so that only that one is parked."""
    try:
        async with conn.transaction():
            await _save_batch(conn, rated, known, now=now)
    except asyncpg.UniqueViolationError:
        left = Left()
        for one in rated:
            # Rated again: what the offender would have drawn from a grant is there for the others.
            again = _Rated(one.schedule, bill.bill(left.of(known.inputs[one.schedule.id])))
            if await _is_saved(conn, again, known, now=now):
                left.draw(again.draft)


async def _is_saved(conn: Connection, one: _Rated, known: Known, *, now: datetime) -> bool:
    """Save one, or park it if something live has billed the same."""
    try:
        async with conn.transaction():
            await _save_batch(conn, [one], known, now=now)
    except asyncpg.UniqueViolationError as error:
        parked = _Parked("ALREADY_BILLED", f"A live invoice has billed this already: {error.detail}")
        await _park_all(conn, [one.schedule], parked=parked, until=now + PARKED_RETRY)
        return False
    return True


async def _save_batch(conn: Connection, rated: Sequence[_Rated], known: Known, *, now: datetime) -> None:
    # A day on demand without usage has no lines: the schedule moves on and there is no invoice.
    invoices = [_invoice(one, known) for one in rated if one.draft.groups]
    await invoice.save(conn, invoices, new_id=uuid7, now=now)
    await due.advance(conn, list(_moves(rated)), now=now)
    telemetry.INVOICES_CREATED.inc(len(invoices))
    if invoices:
        log.info("invoices created", action="bill", invoices=len(invoices))


def _invoice(one: _Rated, known: Known) -> NewInvoice:
    of = one.schedule
    return NewInvoice(
        account=of.account,
        id=uuid7(),
        customer=of.customer,
        schedule=of.id,
        reason="SCHEDULE",
        bill=one.draft,
        snapshot=known.snapshots[of.account, of.customer],
        titles=_titles(one, known),
        particulars=of.particulars,
    )


def _titles(one: _Rated, known: Known) -> dict[str, str]:
    ids = (group.product_id for group in one.draft.groups if group.product_id is not None)
    return {product_id: known.products[one.schedule.account, UUID(product_id)].name for product_id in ids}


def _moves(rated: Sequence[_Rated]) -> Iterator[due.Move]:
    for one in rated:
        next_date = next_bill_date(one.schedule.terms, one.schedule.bill_date)
        yield due.Move(account=one.schedule.account, id=one.schedule.id, next_bill_date=next_date)

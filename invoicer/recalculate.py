"""Recalculation: a draft made again on request, with what holds today: terms, rates of tax, metrics and usage.

It is the same function with new input. What the draft had drawn from grants is there for it again; differences of
earlier bills that stand on it stay.
"""

from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from invoicer import counted, gather, late, outcome
from invoicer.counted import Ends
from invoicer.error import CannotRecalculate, UsageNotCounted
from rating import bill
from rating.bill import BillInput
from rating.error import RatingError
from rating.invoice import Bill
from store import credit, draft, draw, due, issue
from store.awake import awake
from store.db import Connection
from store.due import StoredSchedule
from store.error import InvoiceStatus, MetricCounting
from store.issue import Issue

COUNTED_SECONDS_MAX = 10.0
CONNECTION_SECONDS_MAX = 5.0


async def again(pool: asyncpg.Pool, ends: Ends, account: int, invoice: UUID, now: datetime) -> None:
    """Calculate a draft again, or say why not."""
    async with pool.acquire(timeout=CONNECTION_SECONDS_MAX) as conn, conn.transaction():
        found = await issue.get(conn, account, invoice=invoice)
        of = await _held(conn, account, found, now=now)
        held = await credit.hold(conn, {(account, found.customer)})
        if not await counted.wait(conn, ends, seconds=COUNTED_SECONDS_MAX):
            raise UsageNotCounted
        async with (
            awake(conn),
            pool.acquire(timeout=CONNECTION_SECONDS_MAX) as reader,
            reader.transaction(isolation="repeatable_read", readonly=True),
        ):
            known = await gather.known(reader, [of], held=held)
            given = known.inputs.get(of.id)
            if given is None:
                raise (
                    MetricCounting if of.id in known.counting else CannotRecalculate(outcome.no_input(known, of).detail)
                )
            bills = await draw.of_bills(reader, account, bills=[(of.id, of.bill_date)])
            given = await late.refilled(reader, of, given, draws=bills[of.id, of.bill_date].draws, held=held)
        made = outcome.remade(of, known, given, _rated(given), invoice=invoice)
        if not await draft.replace(conn, made, new_id=uuid7, now=now):
            raise InvoiceStatus("Only a DRAFT is calculated again.")


async def _held(conn: Connection, account: int, found: Issue, *, now: datetime) -> StoredSchedule:
    """The schedule of the invoice, locked, due on the invoice's day."""
    if found.status != "DRAFT":
        raise InvoiceStatus(f"This invoice is {found.status}. Only a DRAFT is calculated again.")
    if found.schedule is None or found.reason != "SCHEDULE":
        raise CannotRecalculate("Only an invoice of what fell due on a billing schedule is calculated again.")
    of = await due.hold(conn, account, schedule=found.schedule, now=now)
    if of is None:
        raise CannotRecalculate("The billing schedule cannot be read; `parked` of it says why.")
    return msgspec.structs.replace(of, bill_date=found.bill_date)


def _rated(given: BillInput) -> Bill:
    try:
        return bill.bill(given)
    except RatingError as error:
        raise CannotRecalculate(f"{error.code}: {error}") from error

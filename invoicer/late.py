"""Late usage: bills that were made and would come to something else today.

    bills of the last days -> what they measured, measured again -> those that differ -> made again

A bill is made again with the terms, the metric versions and the tax rates that it was made with, and with its own
credit back. A draft is replaced by it. What is final never changes: `rating.difference` says what is still owed, or
was too much, and that stands on a later invoice as lines of the old service period. What was billed so far has all
earlier differences in it, so looking again finds nothing new, however often a run is killed and repeated.

On a ladder over several periods the later bills measured the earlier periods too, so they differ as well and each
has a difference of its own.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any
from uuid import UUID

import msgspec

from invoicer import gather
from invoicer.gather import Known
from invoicer.grant import with_own
from rating import bill
from rating.bill import BillInput
from rating.invoice import Draw, LineKind
from rating.tax import Tax
from store import credit, draw, price, schedule_version, settled
from store.db import Connection
from store.due import StoredSchedule
from store.settled import Billed, Settled

_DIGEST_BYTES = 8


class Late(msgspec.Struct, frozen=True):
    """A bill to be made again: of which schedule with which terms, from what, and what was billed for it so far."""

    settled: Settled
    schedule: StoredSchedule
    given: BillInput
    billed: Billed
    known: Known


def measured(given: BillInput) -> int | None:
    """A digest of all usage and seats that a bill reads; None when it reads none."""
    if not given.usage and not given.seats:
        return None
    usage = sorted(
        (key.metric_id, key.service, found.quantity, _sorted(found.groups), _sorted(found.amounts))
        for key, found in given.usage.items()
    )
    seats = sorted(given.seats.items())
    digest = hashlib.blake2b(msgspec.json.encode((usage, seats)), digest_size=_DIGEST_BYTES).digest()
    return int.from_bytes(digest, "big", signed=True)


def versions(given: BillInput) -> dict[str, int]:
    """The version of each metric that a bill reads."""
    return {key.metric_id: found.metric_version for key, found in given.usage.items()}


def members(given: BillInput) -> tuple[UUID, ...] | None:
    """Whose usage a roll-up bills; None when it is no roll-up."""
    for found in given.usage.values():
        if found.customers is not None:
            return tuple(UUID(one) for one in found.customers)
    return None


async def find(
    conn: Connection,
    schedules: Sequence[tuple[StoredSchedule, date]],
    *,
    held: Sequence[tuple[int, UUID]],
    limit: int,
    drafts_only: Iterable[UUID] = (),
) -> dict[UUID, list[Late]]:
    """By schedule its bills since a date that differ today, the oldest first; of some schedules only the drafts.

    Of each schedule at most the `limit` last bills are looked at.
    `conn` holds the snapshot in which the next bills are gathered, too.
    """
    wanted = [(of.account, of.id, since) for of, since in schedules]
    found = await settled.since(conn, wanted, limit=limit)
    skipped = set(drafts_only)
    bills = [one for some in found.values() for one in some if one.is_draft or one.schedule not in skipped]
    if not bills:
        return {}
    again = await _again(conn, {of.id: of for of, _ in schedules}, bills)
    late: dict[UUID, list[Late]] = {}
    for some in _alike(bills):
        members = [again[one.invoice] for one in some if one.invoice in again]
        known = await gather.known(conn, members, held=held, versions=_merged(some))
        for one in some:
            given = known.inputs.get(one.invoice)
            if given is not None and measured(given) != one.measured:
                late.setdefault(one.schedule, []).append(await _late(conn, one, again[one.invoice], known, held=held))
    return {schedule: sorted(some, key=lambda one: one.settled.bill_date) for schedule, some in late.items()}


async def refilled(
    conn: Connection, of: StoredSchedule, given: BillInput, *, draws: Sequence[Draw], held: Sequence[tuple[int, UUID]]
) -> BillInput:
    """The input with all grants of the customer, and with what the bill itself has drawn back in them."""
    grants = await credit.load(conn, of.account, grants=[grant for account, grant in held if account == of.account])
    own = [credit.rated(one) for one in grants if one.customer == of.customer]
    needs = bill.needs(given.schedule, given.bill_date)
    full = with_own(given, draws, own)
    return msgspec.structs.replace(full, grants=tuple(one for one in full.grants if gather.can_pay(one, needs)))


async def _late(
    conn: Connection, one: Settled, of: StoredSchedule, known: Known, *, held: Sequence[tuple[int, UUID]]
) -> Late:
    billed = await settled.billed(conn, one)
    drawn = await draw.drawn(conn, one.account, schedules=[one.schedule])
    given = msgspec.structs.replace(known.inputs[one.invoice], drawn=drawn[one.schedule])
    given = await refilled(conn, of, given, draws=billed.bill.draws, held=held)
    if not one.is_draft:
        given = msgspec.structs.replace(given, tax=_tax(one, given, billed))
    return Late(one, of, given, billed, known)


async def _again(
    conn: Connection, schedules: Mapping[UUID, StoredSchedule], bills: Sequence[Settled]
) -> dict[UUID, StoredSchedule]:
    """By invoice the schedule as it was then, due on its day; the invoice's id stands for it where inputs are named."""
    old = [(one.account, one.schedule, one.schedule_version) for one in bills]
    kept = await schedule_version.load(conn, [key for key in set(old) if key[2] != schedules[key[1]].version])
    wanted = {(key[0], one) for key, of in kept.items() for part in of.phases for one in part.prices}
    loaded = await price.load(conn, wanted)
    found: dict[UUID, StoredSchedule] = {}
    for one, key in zip(bills, old, strict=True):
        now = schedules[one.schedule]
        terms, is_rolled_up = now.terms, now.is_rolled_up
        if key in kept:
            prices = {of: terms_ for (account, of), terms_ in loaded.items() if account == one.account}
            terms, is_rolled_up = kept[key].terms(prices), kept[key].is_rolled_up
        found[one.invoice] = msgspec.structs.replace(
            now, id=one.invoice, terms=terms, bill_date=one.bill_date, is_rolled_up=is_rolled_up, members=one.members
        )
    return found


def _alike(bills: Sequence[Settled]) -> list[list[Settled]]:
    """The bills in as few lots as can be, none of which reads two versions of one metric. Nearly always one."""
    lots: list[tuple[dict[str, int], list[Settled]]] = []
    for one in bills:
        for known, members in lots:
            if all(known.get(metric, version) == version for metric, version in one.metrics.items()):
                known.update(one.metrics)
                members.append(one)
                break
        else:
            lots.append((dict(one.metrics), [one]))
    return [members for _, members in lots]


def _merged(bills: Sequence[Settled]) -> dict[str, int]:
    return {metric: version for one in bills for metric, version in one.metrics.items()}


def _tax(one: Settled, given: BillInput, billed: Billed) -> Tax:
    """The rates that the lines were billed with; today's only for prices that had no line."""
    rates = dict(given.tax.rates) if given.tax else {}
    for line in billed.bill.lines():
        of = line.price_id
        if line.kind is LineKind.CHARGE and line.grant_id is not None:
            # What a grant costs is taxed by the id of its terms, without the day of issue.
            of = line.grant_id.partition("@")[0]
        if of is not None and line.tax_rate is None:
            rates.pop(of, None)
        elif of is not None and line.tax_rate is not None:
            rates[of] = line.tax_rate
    return Tax(one.tax_status, rates)


def _sorted(found: Mapping[Any, Any] | None) -> list[tuple[str, object]] | None:
    return None if found is None else sorted((str(key), value) for key, value in found.items())

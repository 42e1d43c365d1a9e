"""Outcomes: what a run makes of one schedule. Either it is set aside with a reason, or there are invoices to keep.

    SCHEDULE      what falls due, with the differences of earlier bills that are still owed
    LATE_USAGE    differences alone: those below zero, which a person turns into a credit note, and all of them when
                  nothing else falls due
    replaced      drafts of earlier bills, made again

An earlier bill that cannot be made again does not stop the next one; the invoice says so in a warning.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from uuid import UUID

import msgspec

from invoicer import late
from invoicer.gather import Known
from invoicer.grant import Left
from invoicer.late import Late
from rating import bill
from rating.bill import BillInput
from rating.difference import difference
from rating.error import RatingError
from rating.invoice import Bill, BillWarning
from rating.period import Period
from store import draft
from store.draft import Correction, NewInvoice
from store.due import StoredSchedule
from store.error import RawEventDropped

# A schedule that cannot be billed is looked at again after this long; a person may have repaired the cause.
PARKED_RETRY = timedelta(hours=1)
# Usage that is not counted yet soon will be: the aggregator is behind, or being restarted.
UNCOUNTED_RETRY = timedelta(seconds=5)


class Parked(msgspec.Struct, frozen=True):
    """Why a schedule was set aside: a code for programs and a sentence for people."""

    reason: str
    detail: str
    retry: timedelta = PARKED_RETRY


COUNTING = Parked(
    "METRIC_COUNTING", "A usage metric of this schedule is new or was changed, and counts its history.", UNCOUNTED_RETRY
)
UNCOUNTED = Parked("USAGE_NOT_COUNTED", "Usage accepted before this run is not counted yet; is an aggregator running?")
DROPPED = Parked(
    RawEventDropped.code,
    "Usage of this schedule begins or ends inside a quarter hour whose raw events are not kept any more.",
)
MISSING = Parked("METRIC_MISSING", "A price of this schedule names a usage metric that does not exist.")


def no_input(known: Known, of: StoredSchedule) -> Parked:
    """Why there is nothing to bill from."""
    if of.id in known.counting:
        return COUNTING
    return DROPPED if of.id in known.dropped else MISSING


class Again(msgspec.Struct, frozen=True):
    """A draft's bill, made again."""

    of: Late
    bill: Bill


class Earlier(msgspec.Struct, frozen=True):
    """What came of the earlier bills of a schedule."""

    owed: tuple[Correction, ...] = ()
    credited: tuple[Correction, ...] = ()
    replaced: tuple[Again, ...] = ()
    warnings: tuple[BillWarning, ...] = ()

    def is_empty(self) -> bool:
        return not (self.owed or self.credited or self.replaced)


class Rated(msgspec.Struct, frozen=True):
    """The bill of a schedule, None in a review, and what came of its earlier bills."""

    schedule: StoredSchedule
    given: BillInput | None
    bill: Bill | None
    late: Earlier


def rate(of: StoredSchedule, known: Known, earlier: Sequence[Late], *, left: Left) -> Rated | Parked:
    """The bill that is due, after those that are made again; what all of them draw is taken off `left`."""
    given = known.inputs.get(of.id)
    if given is None:
        return no_input(known, of)
    trial = left.copy()
    found = rate_again(earlier, left=trial)
    try:
        due = bill.bill(trial.of(given))
    except RatingError as error:
        # Refused by a rule: this schedule waits for a person, the run goes on.
        return Parked(error.code, str(error))
    trial.draw(due.draws)
    left.become(trial)
    return Rated(of, given, due, found)


def rate_again(earlier: Sequence[Late], *, left: Left) -> Earlier:
    """Make earlier bills again, the oldest first, as older charges are paid first."""
    owed: list[Correction] = []
    replaced: list[Again] = []
    warnings: list[BillWarning] = []
    for one in earlier:
        try:
            now = bill.bill(left.of(one.given))
            found = difference(one.billed.bill, now)
        except RatingError as error:
            warnings.append(_refused(one, error))
            continue
        left.draw(found.draws)
        if one.settled.is_draft:
            replaced.append(Again(one, now))
        elif found.lines or found.draws:
            names = {**one.billed.names, **draft.draw_names(now)}
            owed.append(Correction(bill_date=one.settled.bill_date, lines=found.lines, draws=found.draws, names=names))
            warnings += (two for two in now.warnings if two not in warnings)
    return Earlier(
        owed=tuple(one for one in owed if not _is_credit(one)),
        credited=tuple(one for one in owed if _is_credit(one)),
        replaced=tuple(replaced),
        warnings=tuple(warnings),
    )


def invoices(one: Rated, known: Known, *, on: date, new_id: Callable[[], UUID]) -> Iterator[NewInvoice]:
    """The invoices to make: none for a day on demand without usage, if nothing is late either."""
    found = one.late
    if one.bill is None or not one.bill.groups:
        both = sorted((*found.owed, *found.credited), key=lambda of: of.bill_date)
        if both:
            yield _late_invoice(one, known, both, on=on, new_id=new_id)
        return
    warned = msgspec.structs.replace(one.bill, warnings=(*one.bill.warnings, *found.warnings))
    assert one.given is not None, "what is due was rated from its input"  # noqa: S101 our own bug
    made = remade(one.schedule, known, one.given, warned, invoice=new_id())
    yield msgspec.structs.replace(made, corrections=found.owed)
    if found.credited:
        yield _late_invoice(one, known, found.credited, on=on, new_id=new_id)


def replacement(one: Again) -> NewInvoice:
    """The draft that a bill made again makes of an earlier one."""
    of = one.of.settled
    then = msgspec.structs.replace(
        one.of.schedule, id=of.schedule, version=of.schedule_version, particulars=dict(of.particulars)
    )
    return remade(then, one.of.known, one.of.given, one.bill, invoice=of.invoice)


def remade(of: StoredSchedule, known: Known, given: BillInput, made: Bill, *, invoice: UUID) -> NewInvoice:
    """The invoice that a bill made of this input comes to."""
    return NewInvoice(
        account=of.account,
        id=invoice,
        customer=of.customer,
        schedule=of.id,
        reason="SCHEDULE",
        bill=made,
        snapshot=known.snapshots[of.account, of.customer],
        titles=_titles(of.account, made, known),
        particulars=of.particulars,
        schedule_version=of.version,
        metrics=late.versions(given),
        measured=late.measured(given),
        members=late.members(given),
    )


def _late_invoice(
    one: Rated, known: Known, corrections: Sequence[Correction], *, on: date, new_id: Callable[[], UUID]
) -> NewInvoice:
    of = one.schedule
    services = [line.service for correction in corrections for line in correction.lines]
    period = Period(min(service.start for service in services), max(service.end for service in services))
    warnings = one.late.warnings
    if sum(_gross(correction) for correction in corrections) < 0:
        warnings = (
            *warnings,
            BillWarning("CREDIT_DUE", "Less is due than was billed. Credit it; it cannot be issued."),
        )
    return NewInvoice(
        account=of.account,
        id=new_id(),
        customer=of.customer,
        schedule=of.id,
        reason="LATE_USAGE",
        bill=Bill(of.terms.currency, on, period, (), (), (), warnings),
        snapshot=known.snapshots[of.account, of.customer],
        titles={},
        particulars=of.particulars,
        corrections=tuple(corrections),
    )


def _titles(account: int, of: Bill, known: Known) -> dict[str, str]:
    ids = (group.product_id for group in of.groups if group.product_id is not None)
    return {product_id: known.products[account, UUID(product_id)].name for product_id in ids}


def _is_credit(one: Correction) -> bool:
    return _gross(one) < 0


def _gross(one: Correction) -> int:
    return sum(line.net_minor + line.tax_minor for line in one.lines)


def _refused(one: Late, error: RatingError) -> BillWarning:
    message = f"Late usage of the bill of {one.settled.bill_date} cannot be billed: {error}"
    return BillWarning("LATE_USAGE_REFUSED", message)

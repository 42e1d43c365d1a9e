"""What may change of a billing schedule that runs (spec section 12.4). What is billed stays as it is.

    phases that are over     nothing
    the phase that runs      its end, within the future; prices in arrears, for periods that are not billed; discounts,
                             minimums, credit grants that nothing is drawn from, the plan minimum
    phases to come           anything; phases may be added and taken away
    the schedule             its end, and what is printed or done with its invoices

A change takes effect with the bills to come; earlier bills keep the terms they were made with (store/schedule_version).
It is refused where a day would be billed twice or never:

    an end earlier   what was billed in advance beyond it stays billed; it is not paid back here
    an end later     refused if a partial period up to the old end is billed: the rest of that period would be lost
    credit grants    those that cost something are issued from the start of their phase, so it must not be billed yet
    other prices     refused if the period that is open began before the last bill, unless the new price has the same
"""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta

from api import error
from rating.phase import running
from rating.price import BillingType
from rating.schedule import Charge, ChargeReason, Schedule, charges_due, next_bill_date
from store.phase import Phase
from store.progress import Billed
from store.schedule import BillingSchedule, Status

_DAY = timedelta(days=1)
# No period is longer than a year, so whatever touches the last bill falls due within this.
_HORIZON = timedelta(days=367)
# Bill dates within the horizon on both sides: a schedule billed daily has two years of them.
_DATES_MAX = 2 * 367


def check(before: BillingSchedule, after: BillingSchedule, *, terms: Schedule, today: date) -> None:
    """Refuse a change that a running schedule does not allow, whatever is billed; `terms` are those before."""
    if before.status is Status.COMPLETED:
        raise error.ScheduleCompleted
    _check_same("startDate", before.start_date, after.start_date)
    _check_same("recurrenceDayOfMonth", before.recurrence_day, after.recurrence_day)
    _check_same("rollUpBilling", before.is_rolled_up, after.is_rolled_up)
    _check_ends("endDate", before.end_date, after.end_date, today=today)
    real = running(terms.phases)
    for index, old in enumerate(before.phases):
        if index >= len(real) or real[index].start > today:
            break
        place = f"phases[{index}]"
        if index >= len(after.phases):
            raise error.ScheduleRunning(f"`{place}` has begun and stays.", key="phases")
        end = real[index].end
        if end is not None and end <= today:
            _check_past(old, after.phases[index], place=place)
        else:
            advance = frozenset(one.id for one in terms.phases[index].prices if one.billing_type is _IN_ADVANCE)
            _check_active(old, after.phases[index], place=place, advance=advance, today=today)


_IN_ADVANCE = BillingType.IN_ADVANCE


def check_billed(before: Schedule, after: Schedule, *, billed: Billed) -> None:
    """Refuse terms under which a day would be billed twice, or never."""
    last = billed.last_date
    if last is None or before == after:
        return
    if after.end is not None and after.end < last:
        raise error.EndDateBilled(f"This schedule is billed up to {last}. End it later.", key="endDate")
    earlier = [one for one in _charges(after, since=last - _HORIZON, until=last) if one.service.end > last]
    later = list(_charges(after, since=last, until=last + _HORIZON))
    _check_unpaid(before, after, last=last)
    _check_lost(earlier, billed=billed)
    _check_twice(later, billed=billed)
    _check_open(list(_charges(before, since=last, until=last + _HORIZON)), later, last=last)


def _charges(terms: Schedule, *, since: date, until: date) -> Iterator[Charge]:
    """The charges that fall due after a date, up to and including another."""
    due = next_bill_date(terms, since)
    for _ in range(_DATES_MAX):
        if due is None or due > until:
            return
        yield from charges_due(terms, due)
        due = next_bill_date(terms, due)


def _check_lost(charges: Sequence[Charge], *, billed: Billed) -> None:
    """A charge that would have been due already must be billed in full; what a grant costs always is."""
    for one in charges:
        if one.reason is ChargeReason.CREDIT_GRANT:
            continue
        live = [period for price, period in billed.periods if str(price) == one.price.id]
        touched = [period for period in live if period.start < one.service.end and one.service.start < period.end]
        if touched and max(period.end for period in touched) < one.service.end:
            end = max(period.end for period in touched)
            message = f"A partial period up to {end - _DAY} is billed. Go on with a new schedule from {end}."
            raise error.EndDateBilled(message, key="endDate")


def _check_twice(charges: Sequence[Charge], *, billed: Billed) -> None:
    """A charge to come must not have days for which its price is billed."""
    for one in charges:
        for price, period in billed.periods:
            if str(price) == one.price.id and period.start < one.service.end and one.service.start < period.end:
                message = f"{one.price.name} is billed for {period.start} to {period.end - _DAY} already."
                raise error.EndDateBilled(f"{message} Let the change begin where its periods meet.", key="endDate")


def _check_unpaid(before: Schedule, after: Schedule, *, last: date) -> None:
    """A grant is issued from the start of its phase on, so one that costs something comes with a phase to be billed."""
    known = {grant.id for phase in before.phases for grant in phase.grants}
    for index, phase in enumerate(running(after.phases)):
        for place, grant in enumerate(phase.grants):
            if grant.cost and grant.id not in known and phase.start <= last:
                message = f"The credit would be issued on {phase.start}, which is billed. Issue it with a new phase."
                raise error.ScheduleRunning(message, key=f"phases[{index}].creditGrants[{place}].costOfCredit")


def _check_open(before: Sequence[Charge], after: Sequence[Charge], *, last: date) -> None:
    """Prices come and go where their periods meet, or share the period that is open."""
    old, new = _first_starts(before), _first_starts(after)
    gone = {old[one] for one in old.keys() - new.keys() if old[one] < last}
    come = {new[one] for one in new.keys() - old.keys() if new[one] < last}
    if gone != come:
        day = min(gone ^ come)
        message = f"A period that began on {day} is not billed yet. Change prices when it is over."
        raise error.ScheduleRunning(message, key="phases")


def _first_starts(charges: Sequence[Charge]) -> dict[tuple[str, int], date]:
    """Where the next period of each price in each phase begins."""
    found: dict[tuple[str, int], date] = {}
    for one in charges:
        found.setdefault((one.price.id, one.phase), one.service.start)
    return found


def _check_past(old: Phase, new: Phase, *, place: str) -> None:
    _check_same(f"{place}.priceIds", old.prices, new.prices)
    _check_same(f"{place}.startDate", old.start_date, new.start_date)
    _check_same(f"{place}.endDate", old.end_date, new.end_date)
    _check_same(f"{place}.recurrencePreference", old.recurrence, new.recurrence)
    _check_same(f"{place}.discounts", old.terms.discounts, new.terms.discounts)
    _check_same(f"{place}.minimums", old.terms.minimums, new.terms.minimums)
    _check_same(f"{place}.creditGrants", old.terms.grants, new.terms.grants)
    _check_same(f"{place}.planMinimum", old.terms.plan_minimum, new.terms.plan_minimum)
    _check_same(f"{place}.milestone", old.terms.milestone, new.terms.milestone)


def _check_active(old: Phase, new: Phase, *, place: str, advance: frozenset[str], today: date) -> None:
    """What is charged in advance is charged already."""
    _check_same(f"{place}.startDate", old.start_date, new.start_date)
    _check_same(f"{place}.recurrencePreference", old.recurrence, new.recurrence)
    _check_same(f"{place}.milestone", old.terms.milestone, new.terms.milestone)
    _check_ends(f"{place}.endDate", old.end_date, new.end_date, today=today)
    kept = [price for price in old.prices if str(price) in advance]
    _check_same(f"{place}.priceIds", kept, [price for price in new.prices if price in kept])


def _check_ends(field: str, old: date | None, new: date | None, *, today: date) -> None:
    if old != new and new is not None and new < today:
        raise error.EndDateBilled(f"`{field}` must be today, {today}, or later: days before are over.", key=field)


def _check_same(field: str, old: object, new: object) -> None:
    if old != new:
        message = f"`{field}` does not change while a schedule runs. Add a phase, or end this one and make another."
        raise error.ScheduleRunning(message, key=field)

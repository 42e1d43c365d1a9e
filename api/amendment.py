"""What may change of a billing schedule that runs: its end, and what is printed or done with its invoices.

Prices and dates that were agreed do not change under a contract that is being billed; the way to change them is to end
the schedule and make another. The end may move within the future, as long as nothing that is billed already would have
to be billed differently:

    earlier   what was billed in advance beyond the new end stays billed; it is not paid back here
    later     refused if a partial period up to the old end is billed: the rest of that period would be lost
"""

from datetime import date, timedelta

from api import error
from rating.schedule import Schedule, charges_due
from store.phase import Phase
from store.schedule import Billed, BillingSchedule, Status

_DAY = timedelta(days=1)


def check(before: BillingSchedule, after: BillingSchedule, *, today: date) -> None:
    """Refuse a change that a running schedule does not allow, whatever is billed."""
    if before.status is Status.COMPLETED:
        raise error.ScheduleCompleted
    _check_same("startDate", before.start_date, after.start_date)
    _check_same("recurrenceDayOfMonth", before.recurrence_day, after.recurrence_day)
    _check_same("rollUpBilling", before.is_rolled_up, after.is_rolled_up)
    _check_same("phases", len(before.phases), len(after.phases))
    for index, (old, new) in enumerate(zip(before.phases, after.phases, strict=True)):
        _check_phase(old, new, place=f"phases[{index}]")
    if before.end_date != after.end_date and after.end_date is not None and after.end_date < today:
        raise error.EndDateBilled(f"endDate must be today, {today}, or later: days before are over.", key="endDate")


def check_end(before: BillingSchedule, after: BillingSchedule, *, terms: Schedule, billed: Billed) -> None:
    """Refuse another end if something billed contradicts it; `terms` are those with the new end."""
    if before.end_date == after.end_date:
        return
    if terms.end is not None and billed.last_date is not None and terms.end < billed.last_date:
        raise error.EndDateBilled(f"This schedule is billed up to {billed.last_date}. End it later.", key="endDate")
    if before.end_date is None or (after.end_date is not None and after.end_date < before.end_date):
        return
    old_end = before.end_date + _DAY
    continued = {charge.price.id for charge in charges_due(terms, old_end)}
    if any(str(price) not in continued for price in billed.prices_to_end):
        message = f"A partial period up to {before.end_date} is billed. Go on with a new schedule from {old_end}."
        raise error.EndDateBilled(message, key="endDate")


def _check_phase(old: Phase, new: Phase, *, place: str) -> None:
    """A phase keeps its prices and terms; its end moves with that of the schedule."""
    _check_same(f"{place}.priceIds", old.prices, new.prices)
    _check_same(f"{place}.startDate", old.start_date, new.start_date)
    _check_same(f"{place}.recurrencePreference", old.recurrence, new.recurrence)
    _check_same(f"{place}.discounts", old.terms.discounts, new.terms.discounts)
    _check_same(f"{place}.minimums", old.terms.minimums, new.terms.minimums)
    _check_same(f"{place}.creditGrants", old.terms.grants, new.terms.grants)
    _check_same(f"{place}.planMinimum", old.terms.plan_minimum, new.terms.plan_minimum)
    _check_same(f"{place}.milestone", old.terms.milestone, new.terms.milestone)


def _check_same(field: str, old: object, new: object) -> None:
    if old != new:
        message = f"`{field}` does not change while a schedule runs. End this one and make another."
        raise error.ScheduleRunning(message, key=field)

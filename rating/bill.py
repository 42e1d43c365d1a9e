"""THE pipeline: everything known about one schedule and one date goes in, what is owed comes out.

The order of the steps is written here and nowhere else:

    1. due       which charges fall due on the date                     rating.schedule
    2. quantity  what was used in the service period of each            rating.usage
    3. price     quantity -> parts with exact amounts                   rating.tariff
    4. round     each part becomes a line; its amount is rounded here,
                 once, half away from zero                              rating.money
    5. group     the lines of one product stand together
    6. totals    are sums of lines, derived and never kept              rating.invoice

`bill` is a function of its input and of nothing else: no clock, no ids, no I/O, no ambient decimal context. The
same input gives the same bytes, so recalculating is calling it again. What cannot be billed is refused with a
RatingError that names the schedule, the price and the rule.
"""

from collections.abc import Mapping
from datetime import date

import msgspec

from rating import money
from rating.error import NothingDue, RatingError
from rating.invoice import Bill, Group, Line
from rating.period import Period
from rating.price import BillingType, metric_of
from rating.schedule import Charge, Schedule, charges_due
from rating.tariff import Part, parts
from rating.usage import Usage, UsageKey

# Whoever calls needs these four nouns and two verbs.
__all__ = ["Bill", "BillInput", "Usage", "UsageKey", "bill", "usage_needed"]


class BillInput(msgspec.Struct, frozen=True):
    """All that a bill depends on. `usage` answers every key of `usage_needed`."""

    schedule: Schedule
    bill_date: date
    usage: Mapping[UsageKey, Usage]


def bill(given: BillInput) -> Bill:
    """What the schedule owes on the date."""
    schedule, bill_date = given.schedule, given.bill_date
    charges = charges_due(schedule, bill_date)
    if not charges:
        raise NothingDue(f"nothing falls due on {bill_date}").at(schedule_id=schedule.id)
    try:
        lines = [line for charge in charges for line in _lines(charge, given.usage)]
    except RatingError as error:
        error.at(schedule_id=schedule.id)
        raise
    return Bill(schedule.currency, bill_date, _billing_period(charges), _grouped(lines), charges)


def usage_needed(schedule: Schedule, bill_date: date) -> tuple[UsageKey, ...]:
    """The questions to ask the meter before `bill` can answer; each once, however many prices read it."""
    keys = (
        UsageKey(metric_id, charge.service)
        for charge in charges_due(schedule, bill_date)
        if (metric_id := metric_of(charge.price.structure)) is not None
    )
    return tuple(dict.fromkeys(keys))


def _lines(charge: Charge, usage: Mapping[UsageKey, Usage]) -> list[Line]:
    try:
        return [_rounded(part, charge) for part in parts(charge, usage)]
    except RatingError as error:
        error.at(price_id=charge.price.id)
        raise


def _rounded(part: Part, charge: Charge) -> Line:
    price = charge.price
    net_minor = money.round_minor(part.amount, price.currency)
    return Line(
        price_id=price.id,
        product_id=price.product_id,
        title=price.name,
        description=part.description,
        quantity=part.quantity,
        rate=money.major(net_minor, price.currency) if part.rate is None else part.rate,
        rate_display=part.rate_display,
        net_minor=net_minor,
        service=charge.service,
        explanation=part.explanation,
    )


def _grouped(lines: list[Line]) -> tuple[Group, ...]:
    """One group for each product, in the order in which the products appear."""
    by_product: dict[str, list[Line]] = {}
    for line in lines:
        by_product.setdefault(line.product_id, []).append(line)
    return tuple(Group(product_id, tuple(members)) for product_id, members in by_product.items())


def _billing_period(charges: tuple[Charge, ...]) -> Period:
    """The shortest period that has just ended, or, when nothing is in arrears, the shortest that begins."""
    ended = [charge.service for charge in charges if charge.price.billing_type is BillingType.IN_ARREARS]
    begun = [charge.service for charge in charges if charge.price.billing_type is BillingType.IN_ADVANCE]
    return min(ended or begun, key=lambda period: period.days)

"""THE pipeline: everything known about one schedule and one date goes in, what is owed comes out.

The order of the steps is written here and nowhere else:

     1. due        which charges fall due on the date                       rating.schedule
     2. quantity   what was used in the service period of each              rating.usage, rating.seat
     3. price      quantity -> parts with exact amounts; each becomes an
                   item, whose line is rounded once, half away from zero    rating.tariff, rating.item
                   what a price charges above its maximum comes off         rating.maximum
     4. discounts  of prices, then of the phase; in each level percentages
                   before amounts, each on what is left                     rating.discount
     5. true-up    minimums look at what is left to pay; last the minimum
                   of the whole bill                                        rating.minimum
     6. credits    grants of units on their metric, then grants of money    rating.credit
     7. tax        on what is left of each item                             rating.tax
     8. totals     lines in groups; totals are sums of lines, derived and
                   never kept                                               rating.layout, rating.invoice

`bill` is a function of its input and of nothing else: no clock, no ids, no I/O, no ambient decimal context. The
same input gives the same bytes, so recalculating is calling it again. What cannot be billed is refused with a
RatingError that names the schedule, the price and the rule.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal

import msgspec

from rating import credit, money, tax
from rating.credit import Grant
from rating.discount import take_discounts
from rating.error import AmountTooLarge, NothingDue, RatingError
from rating.invoice import Bill, LineKind
from rating.item import Draft, Item
from rating.layout import grouped
from rating.maximum import take_maximums
from rating.minimum import add_true_ups
from rating.needs import Needs, needs
from rating.period import Period
from rating.phase import running
from rating.price import BillingType
from rating.schedule import Charge, ChargeReason, Due, Schedule, charges_due
from rating.seat import SeatChange
from rating.tariff import parts
from rating.tax import Tax
from rating.usage import Usage, UsageKey

# Whoever calls needs these nouns and verbs.
__all__ = ["Bill", "BillInput", "Needs", "Usage", "UsageKey", "bill", "needs", "usage_needed"]

# Members that are compared in every bill, looked up once: an enum's attribute costs as much as a multiplication.
_CHARGE, _IN_ARREARS, _OVERAGE = LineKind.CHARGE, BillingType.IN_ARREARS, ChargeReason.OVERAGE
_CREDIT_GRANT = ChargeReason.CREDIT_GRANT


class BillInput(msgspec.Struct, frozen=True, gc=False):
    """All that a bill depends on. `needs(schedule, bill_date)` says what must be in it.

    schedule   the contract, with its phases, prices, discounts, minimums and grants
    bill_date  the day on which charges fall due
    due        those charges, when `needs(...).due` has found them already; another schedule or date does not read them
    usage      an answer to every key of `needs(...).usage`, with `groups` and `amounts` where needs asks for them
    seats      by seat metric id the balance when the earliest period of `needs(...).seats` begins, then all changes
               before the last one ends, in the order of time
    grants     credit grants beside those of the schedule's phases, each with what is left of it
    drawn      by id of a phase's grant (`terms-id@2025-02-01`) what other bills have drawn from it
    tax        the customer's tax status and the rates by price id; None: tax is not computed
    """

    schedule: Schedule
    bill_date: date
    usage: Mapping[UsageKey, Usage]
    seats: Mapping[str, Sequence[SeatChange]] = {}
    grants: tuple[Grant, ...] = ()
    drawn: Mapping[str, Decimal] = {}
    tax: Tax | None = None
    due: Due | None = None


def bill(given: BillInput) -> Bill:
    """What the schedule owes on the date."""
    schedule = given.schedule
    try:
        draft = _due(given)
        for charge in draft.charges:
            _price(draft, charge, given)
        take_maximums(draft)
        take_discounts(draft)
        add_true_ups(draft)
        _check_size(draft)
        credit.draw(draft, _grants(given))
        tax.add_tax(draft)
    except RatingError as error:
        error.at(schedule_id=schedule.id)
        raise
    return Bill(
        currency=draft.currency,
        bill_date=given.bill_date,
        period=_billing_period(draft.charges),
        groups=grouped(draft),
        charges=draft.charges,
        draws=credit.draws(draft),
        warnings=tuple(tax.warnings(given.tax, draft)),
    )


def usage_needed(schedule: Schedule, bill_date: date) -> tuple[UsageKey, ...]:
    """The questions to ask the meter before `bill` can answer; each once, however many prices read it."""
    return needs(schedule, bill_date).usage


def _due(given: BillInput) -> Draft:
    schedule = given.schedule
    charges = (given.due.of if given.due is not None else charges_due)(schedule, given.bill_date)
    if not charges:
        raise NothingDue(f"nothing falls due on {given.bill_date}")
    phases = running(schedule.phases)
    return Draft(schedule.currency, schedule.start, phases[-1].end, phases, charges)


def _price(draft: Draft, charge: Charge, given: BillInput) -> None:
    """Each part of a charge as an item, rounded."""
    price = charge.price
    ids, title, currency = (price.id,), price.name, price.currency
    # What a credit costs is no price of the phase and of no product.
    price_id, product_id = (None, None) if charge.reason is _CREDIT_GRANT else (price.id, price.product_id)
    try:
        rate = tax.rate_of(given.tax, price)
        draft.note(rate)
        for part in parts(charge, given.usage, given.seats):
            exact, amount = part.exact, part.amount
            net = money.round_minor(amount, currency) if exact is None else money.round_ratio(*exact, currency)
            draft.items.append(
                Item(
                    _CHARGE,
                    title,
                    charge,
                    part,
                    ids,
                    price_id,
                    product_id,
                    rate,
                    currency,
                    amount,
                    net,
                    net,
                    part.units,
                )
            )
    except RatingError as error:
        error.at(price_id=price.id)
        raise


def _check_size(draft: Draft) -> None:
    """Each line fits, and so must their sum: an invoice shows it."""
    if sum([abs(item.net_minor) for item in draft.items]) > money.MINOR_MAX:
        raise AmountTooLarge("The charges together do not fit into 63 bits of minor units; check the prices.")


def _grants(given: BillInput) -> tuple[Grant, ...]:
    if not [phase for phase in given.schedule.phases if phase.grants]:
        return given.grants
    return given.grants + credit.issued(given.schedule, until=given.bill_date, drawn=given.drawn)


def _billing_period(charges: tuple[Charge, ...]) -> Period:
    """The shortest period that has just ended, or, when nothing is in arrears, the shortest that begins."""
    ended = [one.service for one in charges if one.price.billing_type is _IN_ARREARS or one.reason is _OVERAGE]
    # All of them end on the bill date, so the shortest began last; or all begin on it, and the shortest ends first.
    return max(ended) if ended else min([charge.service for charge in charges])

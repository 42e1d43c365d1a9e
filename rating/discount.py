"""Discounts: what is taken off, of which items, for which days (spec section 15, cases 36 to 38).

First the discounts of prices, then those of the whole phase; in each level percentages before amounts, each on what is
left by then, never below zero.

A percentage follows the charge: in a partial period it is a percentage of the prorated amount, and where its validity
ends inside a period it counts for its days (10 % for 15 of 30 days is 5 %).

An amount is due once in each period of the price that sets its pace (`terms.pace_setter`) and is taken off everything
that it covers on that bill. It is due in full in a stub made by the schedule's own start or end; where its validity or
a phase border cuts a period that goes on, it is scaled by days: repeated in both phases it is still given once.
"""

from collections.abc import Iterable
from decimal import Decimal

from rating import money
from rating.currency import digits
from rating.explanation import DiscountShare, DiscountTaken
from rating.invoice import LineKind
from rating.item import Draft, Item, Taking, by_tax_rate, left_of, take
from rating.number import EXACT, multiply, plain, quotient, share
from rating.part import SeatScope
from rating.period import Frequency
from rating.phase import Phase
from rating.schedule import Charge
from rating.terms import Discount, DiscountType, SeatDiscountType, covered, pace_setter


# Members that are compared in every bill, looked up once: an enum's attribute costs as much as a multiplication.
_NOMINAL, _PERCENTAGE, _ONE_TIME = DiscountType.NOMINAL, DiscountType.PERCENTAGE, Frequency.ONE_TIME


def take_discounts(draft: Draft, *, of_prices: bool) -> None:
    """Take off the discounts of one level of every phase."""
    for index, phase in enumerate(draft.phases):
        if not phase.discounts:
            continue
        chosen = [discount for discount in phase.discounts if bool(discount.restrict_to_prices) is of_prices]
        for discount in sorted(chosen, key=lambda one: one.type is _NOMINAL):
            items = [item for item in draft.items if item.charge.phase == index and _is_target(discount, item)]
            if discount.type is _PERCENTAGE:
                _take_percentage(draft, discount, items)
            else:
                _take_nominal(draft, discount, items, phase=phase, index=index)


def _is_target(discount: Discount, item: Item) -> bool:
    if item.left_minor <= 0:
        return False
    if discount.restrict_to_prices and item.charge.price.id not in discount.restrict_to_prices:
        return False
    scope = item.part.seat_scope
    if scope is None:
        return True
    match discount.seat_discount_type:
        case SeatDiscountType.INCLUDED_SEATS_ONLY:
            return scope is SeatScope.INCLUDED
        case SeatDiscountType.OVERAGE_SEATS_ONLY:
            return scope is SeatScope.OVERAGE
        case SeatDiscountType.ALL_SEATS:
            return True


def _take_percentage(draft: Draft, discount: Discount, items: Iterable[Item]) -> None:
    alike: dict[tuple[int, int], list[Item]] = {}
    for item in items:
        days, full_days = _valid_days(discount, item.charge)
        if days:
            alike.setdefault((days, full_days), []).append(item)
    for (days, full_days), members in alike.items():
        if discount.separate_line_item:
            base = left_of(members)
            off = money.whole(_percent(discount, Decimal(base), days=days, full_days=full_days))
            _take_off(draft, discount, members, off, days=(days, full_days))
            continue
        for item in members:
            _reduce(discount, item, days=days, full_days=full_days)


def _reduce(discount: Discount, item: Item, *, days: int, full_days: int) -> None:
    """Take a percentage off what an item says, exactly: (amount - taken) x percent / 100 x days / full days."""
    numerator, denominator = item.exact or item.part.exact or item.amount.as_integer_ratio()
    scale = 10 ** digits(item.currency)
    base = max(numerator * scale - (item.net_minor - item.left_minor) * denominator, 0)
    percent, hundred = discount.amount.as_integer_ratio()
    by, factor = base * percent * days, scale * hundred * 100 * full_days
    told = _share(discount, days=days, full_days=full_days, taken=quotient(by, denominator * factor))
    item.reduce((numerator * factor - by, denominator * factor), told)


def _take_nominal(draft: Draft, discount: Discount, items: list[Item], *, phase: Phase, index: int) -> None:
    pace = pace_setter(covered(phase.prices, discount.restrict_to_prices))
    charge = draft.charge_of(pace.id, phase=index) if pace is not None else None
    if charge is None or not items:
        return
    days, full_days = _due_days(discount, charge, draft)
    off = money.round_minor(share(discount.amount, part=days, whole=full_days), draft.currency)
    off = min(off, left_of(items))
    if off <= 0:
        return
    if discount.separate_line_item:
        _take_off(draft, discount, items, off, days=(days, full_days))
        return
    # What is taken from an item here is put back at once: the item's own amount falls instead.
    scale = 10 ** digits(draft.currency)
    for item, part in take(items, off):
        item.left_minor += part
        taken = money.major(part, draft.currency)
        told = _share(discount, days=days, full_days=full_days, taken=taken)
        item.reduce((item.net_minor - part, scale), told)


def _take_off(draft: Draft, discount: Discount, items: list[Item], off: int, *, days: tuple[int, int]) -> None:
    """One negative line for each product (of a phase's discount: one in all) and tax rate."""
    if off <= 0:
        return
    base = left_of(items)
    of_products: dict[str | None, list[tuple[Item, int]]] = {}
    for item, part in take(items, off):
        product_id = item.product_id if discount.restrict_to_prices else None
        of_products.setdefault(product_id, []).append((item, part))
    lines = [(product_id, line) for product_id, found in of_products.items() for line in by_tax_rate(found)]
    for product_id, shares in lines:
        taken = money.major(sum(part for _, part in shares), draft.currency)
        told = _share(discount, days=days[0], full_days=days[1], taken=taken)
        why = DiscountTaken(told, money.major(base, draft.currency))
        text = _description(discount, days=days[0], full_days=days[1])
        tax_rate = shares[0][0].tax_rate
        draft.takings.append(Taking(LineKind.DISCOUNT, discount.message, text, product_id, tax_rate, why, shares))


def _valid_days(discount: Discount, charge: Charge) -> tuple[int, int]:
    """The days of the service period on which a percentage holds. A one-time fee has one day: the first."""
    service = charge.service
    if discount.start is None and discount.end is None:
        return service.days, service.days
    days = service.days_within(start=discount.start, end=discount.end)
    if charge.price.billing_frequency is not _ONE_TIME:
        return days, service.days
    starts_in_time = discount.start is None or discount.start <= service.start
    return (1, 1) if starts_in_time and (discount.end is None or service.start < discount.end) else (0, 1)


def _due_days(discount: Discount, charge: Charge, draft: Draft) -> tuple[int, int]:
    """The days that an amount is due for, of those of the period as the schedule itself leaves it (case 36)."""
    if charge.price.billing_frequency is Frequency.ONE_TIME:
        return _valid_days(discount, charge)
    period = charge.full.cut(start=draft.start, end=draft.end)
    return charge.service.days_within(start=discount.start, end=discount.end), period.days


def _percent(discount: Discount, base: Decimal, *, days: int, full_days: int) -> Decimal:
    return share(EXACT.scaleb(multiply(base, discount.amount), -2), part=days, whole=full_days)


def _share(discount: Discount, *, days: int, full_days: int, taken: Decimal) -> DiscountShare:
    return DiscountShare(discount.id, discount.type, discount.amount, discount.message, days, full_days, taken)


def _description(discount: Discount, *, days: int, full_days: int) -> str | None:
    """Line titles carry the message; the description says what it can not."""
    what = f"{plain(discount.amount)} %" if discount.type is _PERCENTAGE else None
    when = f"{days} of {full_days} days" if days != full_days else None
    return ", ".join(word for word in (what, when) if word) or None

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
from rating.item import Draft, Item, Shares, Taking, by_tax_rate, left_of, take
from rating.number import nearest, plain, quotient, share
from rating.part import SeatScope
from rating.period import Frequency
from rating.phase import Phase
from rating.schedule import Charge, ChargeReason
from rating.terms import Discount, DiscountType, SeatDiscountType, covered, pace_setter

# Members that are compared in every bill, looked up once: an enum's attribute costs as much as a multiplication.
_NOMINAL, _PERCENTAGE, _ONE_TIME = DiscountType.NOMINAL, DiscountType.PERCENTAGE, Frequency.ONE_TIME
_CREDIT_GRANT = ChargeReason.CREDIT_GRANT


def take_discounts(draft: Draft) -> None:
    """Take off the discounts of every phase, each from the items of its own phase."""
    for index, phase in enumerate(draft.phases):
        for discount in sorted(phase.discounts, key=_order):
            items = _targets(discount, draft, index=index)
            if discount.type is _PERCENTAGE:
                _take_percentage(draft, discount, items)
            else:
                _take_nominal(draft, discount, items, phase=phase, index=index)


def _order(discount: Discount) -> tuple[bool, bool]:
    """Of prices before of the whole phase; percentages before amounts."""
    return not discount.restrict_to_prices, discount.type is _NOMINAL


def _targets(discount: Discount, draft: Draft, *, index: int) -> list[Item]:
    """The items of the phase that the discount is for and that have something left. What a credit costs is no price."""
    wanted, seats = discount.restrict_to_prices, discount.seat_discount_type
    found: list[Item] = []
    charge, is_meant = None, False
    for item in draft.items:
        if item.charge is not charge:
            charge = item.charge
            is_meant = charge.phase == index and (
                charge.price.id in wanted if wanted else charge.reason is not _CREDIT_GRANT
            )
        if is_meant and item.left_minor > 0:
            scope = item.part.seat_scope
            if scope is None or _is_for(seats, scope):
                found.append(item)
    return found


def _is_for(seats: SeatDiscountType, scope: SeatScope) -> bool:
    match seats:
        case SeatDiscountType.INCLUDED_SEATS_ONLY:
            return scope is SeatScope.INCLUDED
        case SeatDiscountType.OVERAGE_SEATS_ONLY:
            return scope is SeatScope.OVERAGE
        case SeatDiscountType.ALL_SEATS:
            return True


def _take_percentage(draft: Draft, discount: Discount, items: Iterable[Item]) -> None:
    for (days, full_days), members in _alike(discount, items):
        if discount.separate_line_item:
            base = left_of(members)
            percent, hundred = discount.amount.as_integer_ratio()
            off = nearest(base * percent * days, hundred * 100 * full_days)
            _take_off(draft, discount, members, off, base=base, days=(days, full_days))
            continue
        for item in members:
            _reduce(discount, item, days=days, full_days=full_days)


def _alike(discount: Discount, items: Iterable[Item]) -> Iterable[tuple[tuple[int, int], list[Item]]]:
    """The items by the days on which the discount holds for them, of the days that they are for."""
    found: dict[tuple[int, int], list[Item]] = {}
    charge, days = None, (0, 0)
    for item in items:
        if item.charge is not charge:
            charge = item.charge
            days = _valid_days(discount, charge)
        if days[0]:
            found.setdefault(days, []).append(item)
    return found.items()


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
    base = left_of(items)
    off = min(off, base)
    if off <= 0:
        return
    if discount.separate_line_item:
        _take_off(draft, discount, items, off, base=base, days=(days, full_days))
        return
    # What is taken from an item here is put back at once: the item's own amount falls instead.
    scale = 10 ** digits(draft.currency)
    for item, part in take(items, off):
        item.left_minor += part
        taken = money.major(part, draft.currency)
        told = _share(discount, days=days, full_days=full_days, taken=taken)
        item.reduce((item.net_minor - part, scale), told)


def _take_off(
    draft: Draft, discount: Discount, items: list[Item], off: int, *, base: int, days: tuple[int, int]
) -> None:
    """One negative line for each product (of a phase's discount: one in all) and tax rate."""
    if off <= 0:
        return
    on = money.major(base, draft.currency)
    text = _description(discount, days=days[0], full_days=days[1])
    for product_id, found, of_product in _by_product(discount, take(items, off), off):
        for shares, part in by_tax_rate(draft, found, of_product):
            told = _share(discount, days=days[0], full_days=days[1], taken=money.major(part, draft.currency))
            why, tax_rate = DiscountTaken(told, on), shares[0][0].tax_rate
            line = (LineKind.DISCOUNT, discount.message, text, product_id, tax_rate, why, shares, part)
            draft.takings.append(Taking(*line))


def _by_product(discount: Discount, shares: Shares, off: int) -> list[tuple[str | None, Shares, int]]:
    """The shares and their sum, apart for each product; a discount of the whole phase has none."""
    products = {item.product_id for item, _ in shares} if discount.restrict_to_prices else {None}
    if len(products) == 1:
        return [(products.pop(), shares, off)]
    found: dict[str | None, Shares] = {}
    for item, part in shares:
        found.setdefault(item.product_id, []).append((item, part))
    return [(product_id, some, sum([part for _, part in some])) for product_id, some in found.items()]


def _valid_days(discount: Discount, charge: Charge) -> tuple[int, int]:
    """The days of the service period on which a percentage holds. A one-time fee has one day: the first."""
    service = charge.service
    full_days = service.days
    if discount.start is None and discount.end is None:
        return full_days, full_days
    if charge.price.billing_frequency is not _ONE_TIME:
        return service.days_within(start=discount.start, end=discount.end), full_days
    starts_in_time = discount.start is None or discount.start <= service.start
    return (1, 1) if starts_in_time and (discount.end is None or service.start < discount.end) else (0, 1)


def _due_days(discount: Discount, charge: Charge, draft: Draft) -> tuple[int, int]:
    """The days that an amount is due for, of those of the period as the schedule itself leaves it (case 36)."""
    if charge.price.billing_frequency is Frequency.ONE_TIME:
        return _valid_days(discount, charge)
    period = charge.full.cut(start=draft.start, end=draft.end)
    return charge.service.days_within(start=discount.start, end=discount.end), period.days


def _share(discount: Discount, *, days: int, full_days: int, taken: Decimal) -> DiscountShare:
    return DiscountShare(discount.id, discount.type, discount.amount, discount.message, days, full_days, taken)


def _description(discount: Discount, *, days: int, full_days: int) -> str | None:
    """Line titles carry the message; the description says what it can not."""
    when = f"{days} of {full_days} days" if days != full_days else None
    if discount.type is not _PERCENTAGE:
        return when
    what = f"{plain(discount.amount)} %"
    return f"{what}, {when}" if when else what

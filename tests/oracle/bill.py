"""Bill: what is taken off and added, in the order of the design, for the charges of one date.

product-level discounts, schedule-level discounts, minimums, credits in units, credits in money, tax (spec sections 10,
15, 21 and 22; cases 15, 16, 36 to 43). A Thing is a line to be; an Off is a negative line with its share of each Thing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction

from rating.credit import Grant
from rating.currency import MINOR_DIGITS
from rating.invoice import LineKind
from rating.part import SeatScope
from rating.period import MONTHS, Frequency
from rating.price import BillingType, Price, metric_of
from rating.schedule import Schedule
from rating.tax import Tax, TaxStatus
from rating.terms import CreditUnit, Discount, DiscountType, Minimum, SeatDiscountType
from tests.oracle import day as days
from tests.oracle.contract import Contract
from tests.oracle.due import Owed, Stretch
from tests.oracle.price import pieces
from tests.oracle.share import rounded, split

# From the shortest to the longest; a one-time price paces only what has nothing else (rating.terms.pace_setter).
PACES = [Frequency.DAILY, Frequency.WEEKLY, *MONTHS, Frequency.ONE_TIME]


@dataclass(eq=False)
class Thing:
    """Something owed: `exact` before rounding, `net` on its line, `left` after what was taken off."""

    kind: LineKind
    charge: Owed
    prices: tuple[str, ...]
    product: str | None
    rate: Fraction | None
    exact: Fraction
    net: int
    left: int
    units: Fraction | None = None
    scope: SeatScope | None = None
    tax: int = 0

    def pay(self, amount: int) -> None:
        self.left -= amount


@dataclass(eq=False)
class Off:
    kind: LineKind
    product: str | None
    shares: list[tuple[Thing, int]]
    grant: str | None = None
    used: Fraction = Fraction(0)
    tax: int = 0

    @property
    def net(self) -> int:
        return -sum(amount for _, amount in self.shares)


@dataclass
class Page:
    """A bill in the making."""

    schedule: Schedule
    last: date | None
    charges: list[Owed]
    digits: int
    things: list[Thing] = field(default_factory=list)
    offs: list[Off] = field(default_factory=list)

    def of(self, stretch: Stretch) -> list[Thing]:
        return [thing for thing in self.things if thing.charge.stretch.number == stretch.number]

    def charge_of(self, price: Price, stretch: Stretch) -> Owed | None:
        found = [one for one in self.charges if one.price.id == price.id and one.stretch.number == stretch.number]
        return next((one for one in found if not one.is_overage), None)

    def minor(self, amount: Fraction) -> int:
        return rounded(amount * 10**self.digits)


def page(
    given: Contract,
    stretches: Sequence[Stretch],
    charges: list[Owed],
    grants: Sequence[Grant],
    left: dict[str, Fraction],
) -> Page:
    """The whole bill."""
    schedule = given.schedule
    made = Page(schedule, stretches[-1].last, charges, MINOR_DIGITS[schedule.currency])
    for charge in charges:
        for piece in pieces(charge, given.facts):
            net = made.minor(piece.amount)
            price, rate = charge.price, _tax_rate(given.tax, charge.price)
            kind = LineKind.CHARGE
            made.things.append(
                Thing(
                    kind,
                    charge,
                    (price.id,),
                    price.product_id or None,
                    rate,
                    piece.amount,
                    net,
                    net,
                    piece.units,
                    piece.scope,
                )
            )
        _cap(made, charge)
    for of_prices in (True, False):
        for stretch in stretches:
            _discounts(
                made, stretch, [one for one in stretch.terms.discounts if bool(one.restrict_to_prices) is of_prices]
            )
    for stretch in stretches:
        _minimums(made, stretch)
    for unit in (CreditUnit.METRIC, CreditUnit.CURRENCY):
        usable = [grant for grant in grants if grant.unit is unit and left[grant.id] > 0]
        for grant in sorted(usable, key=lambda one: (one.end or date.max, one.start)):
            (_draw_units if unit is CreditUnit.METRIC else _draw_money)(made, grant, left[grant.id])
    _tax(made)
    return made


def _tax_rate(tax: Tax | None, price: Price) -> Fraction | None:
    if tax is None or (tax.status is TaxStatus.TAXED and price.id not in tax.rates):
        return None
    return Fraction(tax.rates[price.id]) if tax.status is TaxStatus.TAXED else Fraction(0)


def _cap(made: Page, charge: Owed) -> None:
    """What a price charges above its maximum, by days, comes off before anything else (an extension)."""
    if charge.price.maximum is None:
        return
    owed = [thing for thing in made.things if thing.charge is charge and thing.left > 0]
    over = sum(thing.left for thing in owed) - made.minor(_by_days(charge.price.maximum, charge))
    if over > 0:
        made.offs.append(Off(LineKind.MAXIMUM, charge.price.product_id, _take(owed, over)))


def _by_days(amount: Decimal, charge: Owed) -> Fraction:
    return Fraction(amount) * charge.days / charge.full_days


def _take(things: Sequence[Thing], amount: int) -> list[tuple[Thing, int]]:
    """An amount off several in proportion to what is left of each."""
    shares = split(amount, [thing.left for thing in things])
    for thing, share in zip(things, shares, strict=True):
        thing.pay(share)
    return [(thing, share) for thing, share in zip(things, shares, strict=True) if share]


def _apart(shares: list[tuple[Thing, int]], key: Callable[[Thing], object]) -> list[list[tuple[Thing, int]]]:
    """Shares with the same key together, in the order of their first."""
    found: dict[object, list[tuple[Thing, int]]] = {}
    for thing, share in shares:
        found.setdefault(key(thing), []).append((thing, share))
    return list(found.values())


def _discounts(made: Page, stretch: Stretch, discounts: list[Discount]) -> None:
    for discount in [one for one in discounts if one.type is DiscountType.PERCENTAGE]:
        _percentage(made, discount, _targets(made, stretch, discount))
    for discount in [one for one in discounts if one.type is DiscountType.NOMINAL]:
        _nominal(made, stretch, discount, _targets(made, stretch, discount))


def _targets(made: Page, stretch: Stretch, discount: Discount) -> list[Thing]:
    other = {
        SeatDiscountType.INCLUDED_SEATS_ONLY: SeatScope.OVERAGE,
        SeatDiscountType.OVERAGE_SEATS_ONLY: SeatScope.INCLUDED,
        SeatDiscountType.ALL_SEATS: "none",
    }[discount.seat_discount_type]
    wanted = discount.restrict_to_prices
    meant = [thing for thing in made.of(stretch) if not _is_bought(thing)]
    found = [thing for thing in meant if not wanted or thing.charge.price.id in wanted]
    return [thing for thing in found if thing.left > 0 and thing.scope is not other]


def _percentage(made: Page, discount: Discount, targets: list[Thing]) -> None:
    """Of the charge as it is, for the days on which the discount is valid; charges of the same days together."""
    groups: dict[tuple[int, int], list[Thing]] = {}
    for thing in targets:
        groups.setdefault(_valid_days(discount, thing.charge), []).append(thing)
    for (valid, whole), things in groups.items():
        factor = Fraction(discount.amount) / 100 * valid / whole
        if discount.separate_line_item:
            _separate(made, discount, things, rounded(factor * sum(thing.left for thing in things)))
            continue
        for thing in things if valid else []:
            taken = Fraction(thing.net - thing.left, 10**made.digits)
            _reduce(made, thing, factor * max(thing.exact - taken, Fraction(0)))


def _reduce(made: Page, thing: Thing, by: Fraction) -> None:
    """The line itself falls, and is rounded from its exact amount."""
    taken = thing.net - thing.left
    thing.exact -= by
    thing.net = made.minor(thing.exact)
    thing.left = thing.net - taken


def _valid_days(discount: Discount, charge: Owed) -> tuple[int, int]:
    """A one-time fee has one day, its first."""
    last = charge.first if charge.price.billing_frequency is Frequency.ONE_TIME else charge.last
    valid = days.count(charge.first, last, valid_from=discount.start, valid_until=discount.end)
    is_always = discount.start is None and discount.end is None
    if charge.price.billing_frequency is Frequency.ONE_TIME and is_always:
        return charge.days, charge.days
    return valid, days.count(charge.first, last)


def _nominal(made: Page, stretch: Stretch, discount: Discount, targets: list[Thing]) -> None:
    """Once in each period of the price that sets the pace, on everything it is for; scaled where it or a phase ends."""
    wanted = discount.restrict_to_prices
    pace = _pace([price for price in stretch.terms.prices if not wanted or price.id in wanted])
    charge = made.charge_of(pace, stretch) if pace else None
    if charge is None or not targets:
        return
    if charge.price.billing_frequency is Frequency.ONE_TIME:
        valid, whole = _valid_days(discount, charge)
    else:
        valid = days.count(charge.first, charge.last, valid_from=discount.start, valid_until=discount.end)
        first, last = charge.full
        end = None if made.last is None else made.last + days.ONE
        whole = days.count(first, last, valid_from=made.schedule.start, valid_until=end)
    off = min(made.minor(Fraction(discount.amount) * valid / whole), sum(thing.left for thing in targets))
    if discount.separate_line_item:
        _separate(made, discount, targets, off)
        return
    for thing, share in zip(targets, split(off, [thing.left for thing in targets]), strict=True):
        if share:
            _reduce(made, thing, thing.exact - Fraction(thing.net - share, 10**made.digits))


def _pace(prices: Sequence[Price]) -> Price | None:
    """The shortest frequency, in advance before in arrears, then the first."""
    for frequency in PACES:
        for billing_type in (BillingType.IN_ADVANCE, BillingType.IN_ARREARS):
            for price in prices:
                if (price.billing_frequency, price.billing_type) == (frequency, billing_type):
                    return price
    return None


def _separate(made: Page, discount: Discount, things: Sequence[Thing], off: int) -> None:
    """A negative line for each product (of a phase's discount: one in all) and tax rate."""
    if off > 0:
        for shares in _apart(_take(things, off), lambda one: one.product if discount.restrict_to_prices else None):
            for line in _apart(shares, lambda one: one.rate):
                product = line[0][0].product if discount.restrict_to_prices else None
                made.offs.append(Off(LineKind.DISCOUNT, product, line))


def _minimums(made: Page, stretch: Stretch) -> None:
    """Of single prices, then of several, then of the phase, then of the whole bill; each sees those before as paid."""
    metered = [price for price in stretch.terms.prices if metric_of(price.structure) is not None]
    usual = [price for price in metered if price.billing_frequency is not Frequency.ON_DEMAND]
    floors = [(price.minimum, [price]) for price in usual if price.minimum is not None]
    some = sorted((one for one in stretch.terms.minimums if one.restrict_to_prices), key=_breadth)
    for one in [*some, *(one for one in stretch.terms.minimums if not one.restrict_to_prices)]:
        wanted = one.restrict_to_prices or [price.id for price in usual]
        floors.append((one.amount, [price for price in usual if price.id in wanted]))
    for amount, prices in floors:
        charge = next((found for price in prices if (found := made.charge_of(price, stretch))), None)
        ids = {price.id for price in prices}
        paid = [thing for thing in made.of(stretch) if set(thing.prices) <= ids]
        if charge is not None:
            _reach(made, charge, _by_days(amount, charge), paid, tuple(price.id for price in prices))
    pace = _pace(stretch.terms.prices)
    charge = made.charge_of(pace, stretch) if pace else None
    if charge is not None and stretch.terms.plan_minimum is not None:
        _reach(made, charge, _by_days(stretch.terms.plan_minimum, charge), made.of(stretch), ())


def _breadth(minimum: Minimum) -> int:
    return len(minimum.restrict_to_prices)


def _reach(made: Page, charge: Owed, floor: Fraction, paid: list[Thing], ids: tuple[str, ...]) -> None:
    missing = made.minor(floor) - sum(thing.left for thing in paid)
    if missing <= 0:
        return
    products = {thing.product for thing in paid} if ids else set()
    product = products.pop() if len(products) == 1 else None
    prices = ids or tuple(sorted({one for thing in paid for one in thing.prices}))
    by_rate: dict[Fraction | None, int] = {}
    for thing in paid:
        by_rate[thing.rate] = by_rate.get(thing.rate, 0) + max(thing.left, 0)
    shares = split(missing, list(by_rate.values())) if by_rate else [missing]
    for rate, share in zip(by_rate or [None], shares, strict=True):
        if share:
            exact = Fraction(share, 10**made.digits)
            made.things.append(Thing(LineKind.TRUE_UP, charge, prices, product, rate, exact, share, share))


def _draw_units(made: Page, grant: Grant, balance: Fraction) -> None:
    """Units pay what their units cost after discounts, in the order of the lines."""
    for thing in _paid_by(made, grant):
        metric = metric_of(thing.charge.price.structure)
        if thing.kind is not LineKind.CHARGE or not thing.units or thing.units < 0 or not balance:
            continue
        if grant.metric_id is not None and grant.metric_id != metric:
            continue
        used = min(balance, thing.units)
        off = rounded(thing.left * used / thing.units)
        thing.units -= used
        balance -= used
        thing.pay(off)
        made.offs.append(Off(LineKind.CREDIT, thing.product, [(thing, off)], grant.id, used))


def _draw_money(made: Page, grant: Grant, balance: Fraction) -> None:
    """Money pays whatever is left."""
    if grant.currency != made.schedule.currency:
        return
    things = _paid_by(made, grant)
    off = min(int(balance * 10**made.digits), sum(thing.left for thing in things))
    if off > 0:
        for line in _apart(_take(things, off), lambda one: one.rate):
            used = Fraction(sum(share for _, share in line), 10**made.digits)
            made.offs.append(Off(LineKind.CREDIT, None, line, grant.id, used))


def _paid_by(made: Page, grant: Grant) -> list[Thing]:
    """What is left to pay on a day on which the grant is valid, of the prices that it is for."""
    found = [thing for thing in made.things if thing.left > 0 and not _is_bought(thing)]
    if grant.restrict_to_prices:
        found = [thing for thing in found if set(thing.prices) <= set(grant.restrict_to_prices)]
    return [
        thing
        for thing in found
        if days.count(thing.charge.pay_day, thing.charge.pay_day, valid_from=grant.start, valid_until=grant.end)
    ]


def _is_bought(thing: Thing) -> bool:
    """Whether it is what a credit costs, which is not paid with credit; nor does a discount lower it."""
    return thing.charge.is_credit


def _tax(made: Page) -> None:
    """A line shows the tax on its own amount, a negative line what it changed of it: the sum is the tax on the rest."""
    left = {id(thing): thing.net for thing in made.things}
    for thing in made.things:
        thing.tax = rounded(thing.net * (thing.rate or 0))
    for off in made.offs:
        for thing, share in off.shares:
            before = rounded(left[id(thing)] * (thing.rate or 0))
            left[id(thing)] -= share
            off.tax += rounded(left[id(thing)] * (thing.rate or 0)) - before

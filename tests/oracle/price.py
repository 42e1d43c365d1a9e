"""Price: what a charge comes to before anything is taken off, in fractions, one function for each kind of price.

Spec sections 7, 9 and 14; cases 1 to 13 and 18 to 34. Each piece becomes one line, in the order of rating's own lines.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from rating.currency import MINOR_DIGITS
from rating.part import SeatScope
from rating.period import Frequency
from rating.price import Fixed, Graduated, Linear, OneTime, Package, SeatBased, Volume, metric_of
from rating.tier import AnyTier, VolumeTier
from tests.oracle import day as days
from tests.oracle.due import Owed
from tests.oracle.seat import seats
from tests.oracle.share import rounded
from tests.oracle.usage import Event, Facts

ZERO = Fraction(0)


@dataclass(frozen=True)
class Piece:
    """An exact amount, the units of a metric that it prices (fees have none), and the seats that it is about."""

    amount: Fraction
    units: Fraction | None = None
    scope: SeatScope | None = None


def pieces(charge: Owed, facts: Facts) -> list[Piece]:
    """What the charge consists of."""
    match charge.price.structure:
        case OneTime(price=price):
            return [Piece(Fraction(price))]
        case Fixed(price=price):
            return [Piece(sum((Fraction(price) / charge.full_days for _ in range(charge.days)), ZERO))]
        case SeatBased() as structure:
            return [Piece(amount, None, scope) for amount, scope in seats(structure, charge, facts)]
        case Linear() as structure:
            found = _linear(structure, charge, facts)
        case Package() as structure:
            found = _package(structure, charge, facts)
        case Graduated() as structure:
            found = _graduated(structure, charge, facts)
        case Volume() as structure:
            found = _volume(structure, charge, facts)
    if _is_idle(charge, facts):
        return []
    _refuse_below_zero(charge, facts)
    return list(found)


class BelowZero(Exception):
    """Corrections have taken back more than there was, and nothing below the first tier has a price."""


def _refuse_below_zero(charge: Owed, facts: Facts) -> None:
    structure = charge.price.structure
    if isinstance(structure, Package | Graduated | Volume):
        days_before = (charge.ladder, charge.first - days.ONE)
        for first, last in (days_before, (charge.ladder, charge.last)):
            if facts.quantity(structure.usage_metric_id, first, last) < 0:
                raise BelowZero


def _is_idle(charge: Owed, facts: Facts) -> bool:
    """On demand a day that adds nothing bills nothing."""
    metric = metric_of(charge.price.structure)
    assert metric is not None, "only usage is billed on demand"
    added = [quantity for on, quantity in facts.daily(metric, charge.ladder, charge.last) if on >= charge.first]
    return charge.price.billing_frequency is Frequency.ON_DEMAND and sum(added, ZERO) == 0


def _linear(structure: Linear, charge: Owed, facts: Facts) -> Iterator[Piece]:
    """Every event at the rate; with rates by group one piece for each group."""
    rate, rates = Fraction(structure.price_per_unit), charge.price.prices_by_group
    quantity = facts.quantity(structure.usage_metric_id, charge.first, charge.last)
    if charge.price.commitment is not None:
        yield from _committed(charge, quantity, rate)
    elif rates is None:
        yield Piece(quantity * rate, quantity)
    else:
        events = facts.within(structure.usage_metric_id, charge.first, charge.last)
        for group in sorted({event.group for event in events} or {""}):
            units = sum((Fraction(event.amount) for event in events if event.group == group), ZERO)
            yield Piece(units * Fraction(rates.get(group, structure.price_per_unit)), units)


def _committed(charge: Owed, quantity: Fraction, rate: Fraction) -> Iterator[Piece]:
    """The committed amount at least, by days; units worth more at the overage rate (an extension)."""
    terms = charge.price.commitment
    assert terms is not None
    committed = Fraction(terms.amount) * charge.days / charge.full_days
    if quantity * rate <= committed:
        yield Piece(quantity * rate, quantity)
        # Missing to what the line of the usage says: both lines together are the commitment.
        scale = 10 ** MINOR_DIGITS[charge.price.currency]
        said = Fraction(rounded(quantity * rate * scale), scale)
        if said < committed:
            yield Piece(committed - said)
        return
    # Quantities on lines have 18 decimals (rating.number.rate); amounts come from the exact ones.
    inside = committed / rate
    shown = Fraction(rounded(inside * 10**18), 10**18)
    yield Piece(committed, shown)
    yield Piece((quantity - inside) * Fraction(terms.overage_rate), quantity - shown)


def _package(structure: Package, charge: Owed, facts: Facts) -> Iterator[Piece]:
    """Packages that were begun in these days, each in full."""
    size, begun = Fraction(structure.package_size), [ZERO, ZERO]
    for on, quantity in facts.daily(structure.usage_metric_id, charge.ladder, charge.last):
        begun[1] += quantity
        if on < charge.first:
            begun[0] += quantity
    packages = ceil(begun[1] / size) - ceil(begun[0] / size)
    yield Piece(packages * Fraction(structure.price_per_package), begun[1] - begun[0])


def _graduated(structure: Graduated, charge: Owed, facts: Facts) -> Iterator[Piece]:
    """The units of each day are poured onto the ladder, from the bottom up; what is corrected flows off from the top.

    A tier's fee is due when it has something at the end that had nothing before, and comes back when it is empty again.
    Whoever has a ladder is on its first tier from the beginning; on demand from the first usage.
    """
    tiers = structure.tiers
    before, now = [ZERO] * len(tiers), [ZERO] * len(tiers)
    for on, quantity in facts.daily(structure.usage_metric_id, charge.ladder, charge.last):
        _pour(tiers, now, quantity)
        if on < charge.first:
            _pour(tiers, before, quantity)
    began = charge.ladder < charge.first and (charge.price.billing_frequency is not Frequency.ON_DEMAND or sum(before))
    found: list[Piece] = []
    for number, tier in enumerate(tiers):
        was, is_now = began and _is_on(number, before), _is_on(number, now)
        moved = now[number] - before[number]
        if bool(was) is not is_now or moved:
            found.append(Piece(moved * Fraction(tier.price), moved))
        if bool(was) is not is_now and tier.fee:
            found.append(Piece(Fraction(tier.fee) if is_now else -Fraction(tier.fee)))
    yield from found or [Piece(ZERO, ZERO)]


def _is_on(number: int, filled: Sequence[Fraction]) -> bool:
    return number == 0 or filled[number] > 0


def _pour(tiers: Sequence[AnyTier], filled: list[Fraction], quantity: Fraction) -> None:
    """Onto what is there, or off its top; on a day between it may be less than nothing, which the first tier bears."""
    while quantity:
        level = sum(filled, ZERO)
        number = _tier_after(tiers, level) if quantity > 0 else _tier_of(tiers, level)
        edge = tiers[number].upper_bound if quantity > 0 else tiers[number - 1].upper_bound if number else None
        room = quantity if edge is None else Fraction(edge) - level
        units = min(quantity, room) if quantity > 0 else max(quantity, room)
        filled[number] += units
        quantity -= units


def _volume(structure: Volume, charge: Owed, facts: Facts) -> Iterator[Piece]:
    """Everything at the rate of the tier that is reached, and its fee; on demand less what the days before came to."""
    metric = structure.usage_metric_id
    amount, fee, units = _whole_volume(structure, facts.within(metric, charge.ladder, charge.last), charge, facts)
    earlier = facts.within(metric, charge.ladder, charge.first - days.ONE)
    if earlier and facts.quantity(metric, charge.ladder, earlier[-1].on):
        before = _whole_volume(structure, earlier, charge, facts)
        amount, fee, units = amount - before[0], fee - before[1], units - before[2]
    yield Piece(amount, units)
    if fee:
        yield Piece(fee)


def _whole_volume(
    structure: Volume, events: Sequence[Event], charge: Owed, facts: Facts
) -> tuple[Fraction, Fraction, Fraction]:
    last = max((event.on for event in events), default=charge.first)
    metric = structure.usage_metric_id
    quantity = facts.quantity(metric, charge.ladder, last) if events else ZERO
    tier = structure.tiers[_tier_of(structure.tiers, quantity)]
    fee = Fraction(tier.fee or 0)
    if all(one.min_price is None and one.max_price is None for one in structure.tiers):
        return quantity * Fraction(tier.price), fee, quantity
    return sum((_event_fee(tier, event) for event in events), ZERO), fee, quantity


def _event_fee(tier: VolumeTier, event: Event) -> Fraction:
    """Bounds clamp the fee of each event (case 4)."""
    fee = Fraction(event.amount) * Fraction(tier.price)
    if tier.min_price is not None:
        fee = max(fee, Fraction(tier.min_price))
    return fee if tier.max_price is None else min(fee, Fraction(tier.max_price))


def _tier_of(tiers: Sequence[AnyTier], quantity: Fraction) -> int:
    """The tier that a quantity reaches: bounds are inclusive at the top."""
    return sum(tier.upper_bound is not None and quantity > Fraction(tier.upper_bound) for tier in tiers)


def _tier_after(tiers: Sequence[AnyTier], level: Fraction) -> int:
    """The tier into which the next unit falls."""
    return sum(tier.upper_bound is not None and level >= Fraction(tier.upper_bound) for tier in tiers)

"""Seat: what seats come to, seat by seat and day by day (spec section 7, cases 18 to 23).

Seat number n is charged for the days on which there were n seats or more. Neighbours on the same tier with the same
days, both within the contracted minimum or both above it, share a line.
"""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate, groupby

from rating.part import SeatScope
from rating.price import BillingType, OveragesFrequency, SeatBased, SeatProrationStrategy
from tests.oracle import day as days
from tests.oracle.due import Owed
from tests.oracle.usage import Facts


def seats(structure: SeatBased, charge: Owed, facts: Facts) -> Iterator[tuple[Fraction, SeatScope]]:
    """The seats, then the flat fees of the tiers that they enter for the first time in the billing period."""
    bottom = _base(structure, charge, facts) if charge.is_overage else 0
    counted = [max(here, _floor(structure, charge, facts)) for here in _charged(structure, charge, facts)]
    tiers = structure.tiers
    # Seats: (tier, days, scope) of each, and neighbours that are alike together.
    each = [
        (_tier(structure, seat), sum(seat <= here for here in counted), _scope(structure, seat))
        for seat in range(bottom + 1, max(counted) + 1)
    ]
    for (tier, there, scope), alike in groupby(each):
        price = tiers[tier].price if tiers else structure.price_per_seat
        yield len(list(alike)) * Fraction(price) * there / charge.full_days, scope
    if not charge.is_overage and max(counted) == 0:
        yield Fraction(0), SeatScope.INCLUDED
    yield from _fees(structure, charge, facts, peak=max(counted))


def _charged(structure: SeatBased, charge: Owed, facts: Facts) -> list[int]:
    """The seats of each day, after the strategy."""
    metric = structure.seat_metric_id
    service = list(days.walk(charge.first, charge.last))
    if not charge.is_overage and _has_overages_apart(structure, charge):
        return [_base(structure, charge, facts)] * len(service)
    match structure.proration_strategy:
        case SeatProrationStrategy.USE_MAXIMUM:
            return [max(facts.balance(metric, charge.first), _most(charge, metric, facts))] * len(service)
        case SeatProrationStrategy.PRORATE_ALL_CHANGES:
            return [facts.balance(metric, day) for day in service]
        case SeatProrationStrategy.PRORATE_INCREMENTS:
            since = charge.base[0] if charge.is_overage else charge.first
            peaks = accumulate((facts.balance(metric, day) for day in days.walk(since, charge.last)), max)
            return list(peaks)[-len(service) :]


def _most(charge: Owed, metric: str, facts: Facts) -> int:
    totals = [change.total for change in facts.seats[metric] if charge.first <= change.on <= charge.last]
    return max(totals, default=0)


def _has_overages_apart(structure: SeatBased, charge: Owed) -> bool:
    named = structure.overages_billing_frequency
    is_apart = named not in {None, OveragesFrequency.NONE} and str(named) != str(charge.price.billing_frequency)
    return charge.price.billing_type is BillingType.IN_ADVANCE or is_apart


def _base(structure: SeatBased, charge: Owed, facts: Facts) -> int:
    """What the price's own charge settles: in advance the first day's balance, at least the contracted minimum."""
    if charge.price.billing_type is BillingType.IN_ADVANCE:
        return max(facts.balance(structure.seat_metric_id, charge.base[0]), structure.contracted_minimum_seats)
    return structure.contracted_minimum_seats


def _floor(structure: SeatBased, charge: Owed, facts: Facts) -> int:
    return _base(structure, charge, facts) if charge.is_overage else structure.contracted_minimum_seats


def _fees(structure: SeatBased, charge: Owed, facts: Facts, *, peak: int) -> Iterator[tuple[Fraction, SeatScope]]:
    """A tier's flat fee is due when it is entered, once in a billing period (design: cumulative tiers)."""
    before = _entered_before(structure, charge, facts)
    share = Fraction(days.count(*charge.base), charge.full_days) if structure.prorate_flat_fees else Fraction(1)
    lower: Decimal | int = 0
    for number, tier in enumerate(structure.tiers):
        is_entered = number == 0 or peak > lower
        was_entered = before is not None and (number == 0 or before > lower)
        if tier.fee and is_entered and not was_entered:
            yield Fraction(tier.fee) * share, _scope(structure, int(lower) + 1)
        lower = tier.upper_bound if tier.upper_bound is not None else lower


def _entered_before(structure: SeatBased, charge: Owed, facts: Facts) -> int | None:
    """The most seats that earlier charges of the same billing period have charged; None: this is the first."""
    if not charge.is_overage:
        return None
    base = _base(structure, charge, facts)
    if charge.first == charge.base[0]:
        return base
    earlier = _replaced(charge, charge.base[0], charge.first - days.ONE)
    return max(base, *_charged(structure, earlier, facts))


def _replaced(charge: Owed, first: date, last: date) -> Owed:
    return Owed(**{**vars(charge), "first": first, "last": last})


def _tier(structure: SeatBased, seat: int) -> int:
    return sum(tier.upper_bound is not None and seat > tier.upper_bound for tier in structure.tiers)


def _scope(structure: SeatBased, seat: int) -> SeatScope:
    return SeatScope.INCLUDED if seat <= structure.contracted_minimum_seats else SeatScope.OVERAGE

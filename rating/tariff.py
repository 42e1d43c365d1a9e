"""Tariffs: from a charge to the parts it consists of, one small function for each kind of price.

A part is a quantity at a rate with its exact amount and its explanation. Nothing is rounded here; `rating.bill` turns
parts into lines. Seats have a module of their own, `rating.seat`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import assert_never

from rating.commitment import committed
from rating.error import NegativeUsage
from rating.explanation import (
    EventFees,
    FixedFee,
    LinearUsage,
    OneTimeFee,
    PackageUsage,
    TierFee,
    TierUsage,
    VolumeUsage,
)
from rating.number import ONE, ZERO, ceiling, exact_share, fused, multiply, plain, share, subtract
from rating.part import Part, display
from rating.period import Frequency, Period
from rating.price import Fixed, Graduated, Linear, OneTime, Package, SeatBased, Volume, metric_of
from rating.reading import Reading
from rating.schedule import Charge
from rating.seat import SeatChange, seat_parts
from rating.tier import Step, VolumeTier, climb, highest
from rating.usage import Usage, UsageKey, by_amount, by_group, find, read

__all__ = ["Part", "parts", "usage_keys"]

# Members that are compared in every bill, looked up once: an enum's attribute costs as much as a multiplication.
_ON_DEMAND = Frequency.ON_DEMAND


def parts(charge: Charge, usage: Mapping[UsageKey, Usage], seats: Mapping[str, Sequence[SeatChange]]) -> Iterable[Part]:
    """At least one part for every charge, also when nothing was used: the line says so.

    Only what is billed on demand, and overages of seats, have none when there is nothing to bill.
    """
    found: Iterable[Part]
    match charge.price.structure:
        case Fixed() as price:
            found = (_fixed(price, charge),)
        case Graduated() as price:
            found = _graduated(price, charge, usage)
        case Linear() as price:
            found = _linear(price, charge, usage)
        case Volume() as price:
            found = _volume(price, charge, usage)
        case Package() as price:
            found = _package(price, charge, usage)
        case SeatBased() as price:
            found = seat_parts(price, charge, seats)
        case OneTime() as price:
            found = (Part(ONE, price.price, price.price, OneTimeFee(price.price, price.price)),)
        case never:
            assert_never(never)
    return found


def usage_keys(charge: Charge) -> tuple[UsageKey, ...]:
    """What this charge reads: its usage so far on the ladder and, when the ladder began earlier, the usage before it.

    Both are read over the whole ladder, never added up, so that a count of different values stays one.
    """
    metric_id = metric_of(charge.price.structure)
    if metric_id is None:
        return ()
    start = charge.ladder_start
    if start is None or start == charge.service.start:
        return (UsageKey(metric_id, charge.service),)
    return (
        UsageKey(metric_id, Period(start, charge.service.end)),
        UsageKey(metric_id, Period(start, charge.service.start)),
    )


def _fixed(price: Fixed, charge: Charge) -> Part:
    """The price, or its share of days in a partial period (spec section 14, rule 1; case 25)."""
    days, full_days = charge.service.days, charge.full.days
    amount = share(price.price, part=days, whole=full_days)
    explanation = FixedFee(price.price, days, full_days, amount)
    if days == full_days:
        return Part(ONE, price.price, amount, explanation)
    exact = exact_share(price.price, part=days, whole=full_days)
    return Part(ONE, None, amount, explanation, f"{days} of {full_days} days", exact=exact)


def _linear(price: Linear, charge: Charge, usage: Mapping[UsageKey, Usage]) -> Iterable[Part]:
    """Quantity x rate; a percentage is a rate on a quantity of money (cases 2 and 3)."""
    (key,) = usage_keys(charge)
    reading = read(usage, key)
    terms = charge.price
    if _is_idle(charge, reading):
        return ()
    if terms.commitment is not None:
        return committed(price, terms.commitment, charge, reading)
    if terms.prices_by_group is not None:
        return _by_group(price, terms.prices_by_group, reading, usage=usage, key=key)
    return (_at_rate(reading, price.price_per_unit, is_percentage=price.is_price_percentage),)


def _by_group(
    price: Linear, rates: Mapping[str, Decimal], reading: Reading, *, usage: Mapping[UsageKey, Usage], key: UsageKey
) -> Iterator[Part]:
    """Each group at a rate of its own, or at the structure's."""
    groups, events = by_group(usage, key), usage[key].group_events or {}
    for group in sorted(groups) or [""]:
        quantity, count = groups.get(group, ZERO), events.get(group, reading.event_count)
        of_group = Reading(reading.metric_id, reading.metric_version, reading.period, count, quantity, group)
        rate = rates.get(group, price.price_per_unit)
        yield _at_rate(of_group, rate, is_percentage=price.is_price_percentage, description=group or None)


def _at_rate(reading: Reading, rate: Decimal, *, is_percentage: bool, description: str | None = None) -> Part:
    amount = multiply(reading.quantity, rate)
    shown = display(is_percentage)
    explanation = LinearUsage(reading, rate, amount)
    return Part(reading.quantity, rate, amount, explanation, description, shown, units=reading.quantity)


def _package(price: Package, charge: Charge, usage: Mapping[UsageKey, Usage]) -> Iterable[Part]:
    """Packages begun x price; a partial package is charged in full (case 11)."""
    reading, before = _readings(charge, usage_keys(charge), usage)
    if _is_idle(charge, reading, before):
        return ()
    if reading.quantity < ZERO or (before is not None and before < ZERO):
        raise NegativeUsage(f"packages begin at zero, the quantity is {min(reading.quantity, before or ZERO):f}")
    size, rate = price.package_size, price.price_per_package
    begun = ceiling(reading.quantity, size=size)
    packages = begun if before is None else subtract(begun, ceiling(before, size=size))
    amount = multiply(packages, rate)
    units = reading.quantity if before is None else subtract(reading.quantity, before)
    explanation = PackageUsage(reading, size, packages, rate, amount, before)
    return (Part(packages, rate, amount, explanation, f"packages of {plain(size)}", units=units),)


def _graduated(price: Graduated, charge: Charge, usage: Mapping[UsageKey, Usage]) -> Iterable[Part]:
    """For every tier entered its units x its rate, and its flat fee as a part of its own (cases 9 and 13).

    On a ladder over several periods only what is new since the periods before (cases 14 and 34).
    """
    reading, before = _readings(charge, usage_keys(charge), usage)
    if _is_idle(charge, reading, before):
        return ()
    found: list[Part] = []
    steps = climb(price.tiers, before=before, now=reading.quantity)
    for step in steps or [_unmoved(highest(price.tiers, reading.quantity))]:
        found.append(_tier_usage(step, reading, before=before))
        fee = step.tier.fee
        if fee and step.fees:
            found.append(_flat_fee(step, reading, fee=fee if step.fees > 0 else fee.copy_negate(), before=before))
        # The breakdown by customer is told once.
        reading = _without_customers(reading)
    return found


def _tier_usage(step: Step, reading: Reading, *, before: Decimal | None) -> Part:
    tier, units = step.tier, step.units
    rate = tier.price
    amount = multiply(units, rate)
    explanation = TierUsage(reading, step.number, step.over, tier.upper_bound, units, rate, amount, before)
    shown = display(tier.is_price_percentage)
    return Part(units, rate, amount, explanation, step.reach, shown, units)


def _flat_fee(step: Step, reading: Reading, *, fee: Decimal, before: Decimal | None) -> Part:
    explanation = TierFee(_without_customers(reading), step.number, step.over, step.tier.upper_bound, fee, before)
    return Part(ONE, fee, fee, explanation, f"flat fee, {step.reach}" if step.reach else "flat fee")


def _volume(price: Volume, charge: Charge, usage: Mapping[UsageKey, Usage]) -> Iterable[Part]:
    """All units at the rate of the tier that they reach, plus only that tier's flat fee (cases 6, 7 and 8).

    On demand the whole ladder is priced again each day and what the days before came to is taken off.
    """
    keys = usage_keys(charge)
    reading, before = _readings(charge, keys, usage)
    if _is_idle(charge, reading, before):
        return ()
    step = highest(price.tiers, reading.quantity)
    amount, explanation = _volume_amount(price, step, reading, _amounts(price, usage, keys[0]))
    quantity, rate = reading.quantity, None if isinstance(explanation, EventFees) else step.tier.price
    fee = step.tier.fee or ZERO
    if before is not None:
        earlier = Reading(reading.metric_id, reading.metric_version, reading.period, 0, before)
        step_before = highest(price.tiers, before)
        amount_before, _ = _volume_amount(price, step_before, earlier, _amounts(price, usage, keys[1]))
        amount, quantity, rate = subtract(amount, amount_before), subtract(quantity, before), None
        fee = subtract(fee, step_before.tier.fee or ZERO)
        explanation = _since(explanation, before=before, amount_before=amount_before)
    shown = display(step.tier.is_price_percentage and rate is not None)
    shown_quantity = quantity if rate is not None else ONE
    part = Part(shown_quantity, rate, amount, explanation, step.reach, shown, units=quantity)
    return (part, _flat_fee(step, reading, fee=fee, before=before)) if fee else (part,)


def _volume_amount(
    price: Volume, step: Step, reading: Reading, amounts: Mapping[Decimal, int] | None
) -> tuple[Decimal, VolumeUsage | EventFees]:
    tier = price.tiers[step.number - 1]
    if amounts is None:
        amount = multiply(reading.quantity, tier.price)
        return amount, VolumeUsage(reading, step.number, step.over, tier.upper_bound, tier.price, amount)
    return _event_fees(tier, reading, amounts, number=step.number)


def _event_fees(
    tier: VolumeTier, reading: Reading, amounts: Mapping[Decimal, int], *, number: int
) -> tuple[Decimal, EventFees]:
    """The bounds clamp the fee of each event, then the fees are added (case 4)."""
    total, events, at_min, at_max = ZERO, 0, 0, 0
    for amount, count in amounts.items():
        fee = multiply(amount, tier.price)
        events += count
        if tier.min_price is not None and fee < tier.min_price:
            fee = tier.min_price
            at_min += count
        elif tier.max_price is not None and fee > tier.max_price:
            fee = tier.max_price
            at_max += count
        total = fused(fee, Decimal(count), total)
    bounds = (tier.min_price, tier.max_price)
    return total, EventFees(reading, number, tier.price, *bounds, events, at_min, at_max, total)


def _since(explanation: VolumeUsage | EventFees, *, before: Decimal, amount_before: Decimal) -> VolumeUsage | EventFees:
    match explanation:
        case VolumeUsage(reading, tier, over, up_to, rate, amount):
            return VolumeUsage(reading, tier, over, up_to, rate, amount, before, amount_before)
        case EventFees(reading, tier, rate, low, high, events, at_min, at_max, amount):
            counts = (events, at_min, at_max)
            return EventFees(reading, tier, rate, low, high, *counts, amount, before, amount_before)
        case never:
            assert_never(never)


def _amounts(price: Volume, usage: Mapping[UsageKey, Usage], key: UsageKey) -> Mapping[Decimal, int] | None:
    return by_amount(usage, key) if price.bounds_events() else None


def _readings(
    charge: Charge, keys: Sequence[UsageKey], usage: Mapping[UsageKey, Usage]
) -> tuple[Reading, Decimal | None]:
    """The quantity now, and the quantity before on the same ladder if the ladder began earlier."""
    now = read(usage, keys[0])
    if len(keys) == 1:
        return now, None
    before = find(usage, keys[1]).quantity
    if charge.price.billing_frequency is _ON_DEMAND and before == 0:
        # On demand nothing is billed, and no tier entered, before the first usage.
        return now, None
    return now, before


def _is_idle(charge: Charge, reading: Reading, before: Decimal | None = None) -> bool:
    """On demand a day that adds no usage has nothing to bill (case 34)."""
    return charge.price.billing_frequency is _ON_DEMAND and reading.quantity == (before or ZERO)


def _unmoved(step: Step) -> Step:
    return Step(step.number, step.over, ZERO, step.tier, step.reach, 0)


def _without_customers(reading: Reading) -> Reading:
    if not reading.customers:
        return reading
    return Reading(
        reading.metric_id, reading.metric_version, reading.period, reading.event_count, reading.quantity, reading.group
    )

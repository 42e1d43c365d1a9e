"""Tariffs: from a charge to the parts it consists of, one small function for each kind of price.

A part is a quantity at a rate with its exact amount and its explanation. Nothing is rounded here; `rating.bill` turns
parts into lines.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import assert_never

import msgspec

from rating.explanation import Explanation, FixedFee, LinearUsage, Reading, TierFee, TierUsage
from rating.invoice import RateDisplay
from rating.number import ONE, multiply, plain, share
from rating.price import Fixed, Graduated, Linear
from rating.schedule import Charge
from rating.tier import Step, walk
from rating.usage import Usage, UsageKey, read


class Part(msgspec.Struct, frozen=True):
    """Something of a charge that becomes one line. Without a rate it is a lump sum: one, at the rounded amount."""

    quantity: Decimal
    rate: Decimal | None
    amount: Decimal
    explanation: Explanation
    description: str | None = None
    rate_display: RateDisplay = RateDisplay.ABSOLUTE


def parts(charge: Charge, usage: Mapping[UsageKey, Usage]) -> Iterator[Part]:
    """At least one part for every charge, also when nothing was used: the line says so."""
    match charge.price.structure:
        case Fixed() as price:
            yield _fixed(price, charge)
        case Linear() as price:
            yield _linear(price, read(usage, UsageKey(price.usage_metric_id, charge.service)))
        case Graduated() as price:
            yield from _graduated(price, read(usage, UsageKey(price.usage_metric_id, charge.service)))
        case never:
            assert_never(never)


def _fixed(price: Fixed, charge: Charge) -> Part:
    """The price, or its share of days in a partial period (spec section 14, rule 1; case 25)."""
    days, full_days = charge.service.days, charge.full.days
    amount = share(price.price, part=days, whole=full_days)
    explanation = FixedFee(price.price, days, full_days, amount)
    if days == full_days:
        return Part(ONE, price.price, amount, explanation)
    return Part(ONE, None, amount, explanation, f"{days} of {full_days} days")


def _linear(price: Linear, reading: Reading) -> Part:
    """Quantity x rate; a percentage is a rate on a quantity of money (cases 2 and 3)."""
    rate = price.price_per_unit
    amount = multiply(reading.quantity, rate)
    display = _display(is_percentage=price.is_price_percentage)
    return Part(reading.quantity, rate, amount, LinearUsage(reading, rate, amount), rate_display=display)


def _graduated(price: Graduated, reading: Reading) -> Iterator[Part]:
    """For every tier entered its units x its rate, and its flat fee as a part of its own (cases 9 and 13)."""
    for step in walk(price.tiers, reading.quantity):
        reach = _reach(step)
        yield _tier_usage(step, reading, reach=reach)
        if step.tier.fee:
            yield _tier_fee(step, reading, fee=step.tier.fee, reach=reach)


def _tier_usage(step: Step, reading: Reading, *, reach: str | None) -> Part:
    tier = step.tier
    amount = multiply(step.units, tier.price)
    explanation = TierUsage(reading, step.number, step.over, tier.upper_bound, step.units, tier.price, amount)
    return Part(step.units, tier.price, amount, explanation, reach, _display(is_percentage=tier.is_price_percentage))


def _tier_fee(step: Step, reading: Reading, *, fee: Decimal, reach: str | None) -> Part:
    explanation = TierFee(reading, step.number, step.over, step.tier.upper_bound, fee)
    return Part(ONE, fee, fee, explanation, f"flat fee, {reach}" if reach else "flat fee")


def _reach(step: Step) -> str | None:
    """The tier's bounds in words; the only tier of a ladder has none to tell."""
    bound = step.tier.upper_bound
    if bound is None:
        return f"above {plain(step.over)}" if step.over else None
    return f"above {plain(step.over)}, up to {plain(bound)}" if step.over else f"up to {plain(bound)}"


def _display(*, is_percentage: bool) -> RateDisplay:
    return RateDisplay.PERCENTAGE if is_percentage else RateDisplay.ABSOLUTE

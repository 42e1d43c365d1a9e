"""Tiers: a ladder of prices. Each tier reaches from the bound below it up to and including its own.

0-100 @ 1.00 + 20, then 0.75 + 50 means: the units up to 100 cost 1.00 each, those above 0.75; whoever is in the first
tier owes the flat fee 20, whoever goes above 100 owes 50 as well (spec section 9, cases 6, 9, 13).
"""

from collections.abc import Iterator
from decimal import Decimal

import msgspec

from rating.error import InvalidTiers, NegativeUsage
from rating.number import ZERO, check, check_price, subtract

TIERS_MAX = 100


class Tier(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """One rung: a price per unit and a flat fee due once when the tier is entered. No upper bound: open at the top."""

    price: Decimal
    is_price_percentage: bool
    upper_bound: Decimal | None = None
    fee: Decimal | None = None


class Step(msgspec.Struct, frozen=True):
    """What a quantity uses of one tier, counted from 1: the units above `over`, up to and including its bound."""

    number: int
    over: Decimal
    units: Decimal
    tier: Tier


def check_tiers(tiers: tuple[Tier, ...], *, key: str) -> None:
    """Refuse a ladder that leaves a quantity without a price, or gives it two."""
    if not 1 <= len(tiers) <= TIERS_MAX:
        raise InvalidTiers(f"give between 1 and {TIERS_MAX} tiers, not {len(tiers)}", key=key)
    lower = ZERO
    for index, tier in enumerate(tiers):
        _check_numbers(tier, key=f"{key}[{index}]")
        if (tier.upper_bound is None) != (index == len(tiers) - 1):
            message = "the last tier must have no upperBound, every other tier must have one"
            raise InvalidTiers(message, key=f"{key}[{index}].upperBound")
        if tier.upper_bound is not None:
            if tier.upper_bound <= lower:
                message = f"upperBound {tier.upper_bound:f} must be above {lower:f}, where the tier begins"
                raise InvalidTiers(message, key=f"{key}[{index}].upperBound")
            lower = tier.upper_bound


def walk(tiers: tuple[Tier, ...], quantity: Decimal) -> Iterator[Step]:
    """The tiers that a quantity enters, lowest first. The first is entered even at zero."""
    if quantity < 0:
        raise NegativeUsage(f"tiers begin at zero, the quantity is {quantity:f}")
    over = ZERO
    for number, tier in enumerate(tiers, start=1):
        if number > 1 and quantity <= over:
            return
        bound = tier.upper_bound
        reached = quantity if bound is None or quantity < bound else bound
        yield Step(number, over, subtract(reached, over), tier)
        over = reached


def _check_numbers(tier: Tier, *, key: str) -> None:
    check_price(tier.price, key=f"{key}.price")
    if tier.fee is not None:
        check_price(tier.fee, key=f"{key}.fee")
    if tier.upper_bound is not None:
        check(tier.upper_bound, key=f"{key}.upperBound")

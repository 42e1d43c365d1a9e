"""Tiers: a ladder of prices. Each tier reaches from the bound below it up to and including its own.

0-100 @ 1.00 + 20, then 0.75 + 50 means: the units up to 100 cost 1.00 each, those above 0.75; whoever is in the first
tier owes the flat fee 20, whoever goes above 100 owes 50 as well (spec section 9, cases 6, 9, 13).

`walk` goes from zero to a quantity. `climb` goes from one quantity to another on the same ladder, which is how
cumulative prices and added seats are charged (spec section 9, usageCalculationMode; cases 14 and 34).
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import lru_cache
from itertools import zip_longest
from typing import ClassVar, TypeAlias

import msgspec

from rating.error import InvalidPrice, InvalidTiers, NegativeUsage
from rating.number import ZERO, check, check_price, plain, subtract

TIERS_MAX = 100
# A catalog has some hundred prices, which many customers share; the ladders of this many are remembered.
LADDERS_KEPT = 2**12


class _Tier(
    msgspec.Struct, frozen=True, cache_hash=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True
):
    pass


class Tier(_Tier, frozen=True):
    """One rung: a price per unit and a flat fee due once when the tier is entered. No upper bound: open at the top."""

    price: Decimal
    is_price_percentage: bool
    upper_bound: Decimal | None = None
    fee: Decimal | None = None


class VolumeTier(_Tier, frozen=True):
    """A rung whose price holds for all units, with bounds for the fee of a single event (cases 4 and 8)."""

    price: Decimal
    is_price_percentage: bool
    upper_bound: Decimal | None = None
    fee: Decimal | None = None
    min_price: Decimal | None = None
    max_price: Decimal | None = None


class SeatTier(_Tier, frozen=True):
    """A rung of seats: the price of one seat for a full billing period (case 18)."""

    is_price_percentage: ClassVar[bool] = False

    price: Decimal
    upper_bound: Decimal | None = None
    fee: Decimal | None = None


AnyTier: TypeAlias = Tier | VolumeTier | SeatTier


class Step(msgspec.Struct, frozen=True, gc=False):
    """What a quantity uses of one tier, counted from 1: the units above `over`, up to and including its bound.

    `fees` says how often the flat fee is due: once when the tier is entered, not at all when it was entered before,
    minus once when the quantity fell out of it again. `reach` are the tier's bounds in words; the only tier has none.
    """

    number: int
    over: Decimal
    units: Decimal
    tier: AnyTier
    reach: str | None
    fees: int = 1


def check_tiers(tiers: Sequence[AnyTier], *, key: str) -> None:
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


def check_event_bounds(tiers: Sequence[VolumeTier], *, key: str) -> None:
    """Refuse bounds of a single event's fee that leave no fee between them."""
    for index, tier in enumerate(tiers):
        for name, bound in (("minPrice", tier.min_price), ("maxPrice", tier.max_price)):
            if bound is not None:
                check_price(bound, key=f"{key}[{index}].{name}")
        if tier.min_price is not None and tier.max_price is not None and tier.min_price > tier.max_price:
            message = f"minPrice {tier.min_price:f} must not be above maxPrice {tier.max_price:f}"
            raise InvalidPrice(message, key=f"{key}[{index}].minPrice")


def walk(tiers: tuple[AnyTier, ...], quantity: Decimal) -> list[Step]:
    """The tiers that a quantity enters, lowest first. The first is entered even at zero."""
    if quantity < ZERO:
        raise NegativeUsage(f"tiers begin at zero, the quantity is {quantity:f}")
    entered: list[Step] = []
    for full in _ladder(tiers):
        bound = full.tier.upper_bound
        if bound is None or quantity <= bound:
            entered.append(Step(full.number, full.over, subtract(quantity, full.over), full.tier, full.reach))
            break
        entered.append(full)
    return entered


@lru_cache(maxsize=LADDERS_KEPT)
def _ladder(tiers: tuple[AnyTier, ...]) -> tuple[Step, ...]:
    """Every tier filled to its bound, derived once for all who have the price; the top one, open, holds nothing."""
    lower = (ZERO, *(tier.upper_bound or ZERO for tier in tiers))
    return tuple(
        Step(number, over, subtract(tier.upper_bound or over, over), tier, _reach(over, tier.upper_bound))
        for number, (over, tier) in enumerate(zip(lower, tiers, strict=False), start=1)
    )


def _reach(over: Decimal, bound: Decimal | None) -> str | None:
    if bound is None:
        return f"above {plain(over)}" if over else None
    return f"above {plain(over)}, up to {plain(bound)}" if over else f"up to {plain(bound)}"


def climb(tiers: tuple[AnyTier, ...], *, before: Decimal | None, now: Decimal) -> list[Step]:
    """The steps from one quantity to another: what lies in each tier now, less what lay there before.

    Without a before nothing was entered yet. Tiers in which nothing happens are left out.
    """
    return walk(tiers, now) if before is None else list(_moved(tiers, before=before, now=now))


def _moved(tiers: tuple[AnyTier, ...], *, before: Decimal, now: Decimal) -> Iterator[Step]:
    for new, old in zip_longest(walk(tiers, now), walk(tiers, before)):
        if old is None:
            yield new
        elif new is None:
            yield Step(old.number, old.over, old.units.copy_negate(), old.tier, old.reach, -1)
        elif new.units != old.units:
            yield Step(new.number, new.over, subtract(new.units, old.units), new.tier, new.reach, 0)


def highest(tiers: tuple[AnyTier, ...], quantity: Decimal) -> Step:
    """The highest tier that a quantity enters."""
    return walk(tiers, quantity)[-1]


def _check_numbers(tier: AnyTier, *, key: str) -> None:
    check_price(tier.price, key=f"{key}.price")
    if tier.fee is not None:
        check_price(tier.fee, key=f"{key}.fee")
    if tier.upper_bound is not None:
        check(tier.upper_bound, key=f"{key}.upperBound")

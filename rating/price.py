"""Prices: what a customer pays for a product, how often, and before or after the period.

A price has a structure (rating.structure) and, beside it, terms that hold for several kinds of price: the window of a
periodic ladder as in the reference, and four extensions of ours (minimum, maximum, commitment, pricesByGroup).
Everything is checked when it is constructed, so a Price that exists can be billed (spec sections 8 and 9).
"""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum

import msgspec

from rating import currency as currencies
from rating.error import InvalidFrequency, InvalidPrice, InvalidTerms, UnsupportedTerms, UsageInAdvance
from rating.number import check_price
from rating.period import DAYS, MONTHS, Frequency
from rating.structure import (
    Fixed,
    Graduated,
    Linear,
    OneTime,
    OveragesFrequency,
    Package,
    PricingType,
    SeatBased,
    SeatProrationStrategy,
    Structure,
    UsageCalculationMode,
    Volume,
    decode_structure,
    metric_of,
)

# A price and its kinds are one subject to whoever calls.
__all__ = [
    "BillingType",
    "Commitment",
    "Fixed",
    "Graduated",
    "Linear",
    "OneTime",
    "OveragesFrequency",
    "Package",
    "Price",
    "PricingType",
    "SeatBased",
    "SeatProrationStrategy",
    "Structure",
    "UsageCalculationMode",
    "UsageCalculationPeriod",
    "Volume",
    "decode_structure",
    "metric_of",
]

INTERVAL_MAX = 100
GROUPS_MAX = 1000


class BillingType(StrEnum):
    """When a charge falls due: on the first day of its period, or on the day after its last."""

    IN_ADVANCE = "IN_ADVANCE"
    IN_ARREARS = "IN_ARREARS"


class UsageCalculationPeriod(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The window of a PERIODIC ladder: `interval` times MONTHLY, QUARTERLY, HALF_YEARLY or YEARLY."""

    frequency: Frequency
    interval: int


class Commitment(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """An extension: at least `amount` is paid each period; usage worth more is charged at `overage_rate` per unit."""

    amount: Decimal
    overage_rate: Decimal


class Price(msgspec.Struct, frozen=True):
    """One price point of a product. It never changes: another amount is another price.

    `minimum` is a floor under what is paid for the price in a period, as if a minimum covered it alone; `maximum` caps
    what the price charges, before discounts. Both follow the days of a partial period. `prices_by_group` gives groups
    of a linear price's metric rates of their own; groups that it does not name pay the structure's rate.
    """

    id: str
    product_id: str
    name: str
    currency: str
    structure: Structure
    billing_frequency: Frequency
    billing_type: BillingType
    usage_calculation_period: UsageCalculationPeriod | None = None
    minimum: Decimal | None = None
    maximum: Decimal | None = None
    commitment: Commitment | None = None
    prices_by_group: Mapping[str, Decimal] | None = None

    def __post_init__(self) -> None:
        currencies.digits(self.currency)
        try:
            _check_frequency(self)
            _check_window(self)
            _check_bounds(self)
            _check_linear_extensions(self)
        except (InvalidTerms, UnsupportedTerms) as error:
            error.at(price_id=self.id)
            raise


def _check_frequency(price: Price) -> None:
    frequency, structure = price.billing_frequency, price.structure
    if frequency is Frequency.PER_EVENT:
        raise UnsupportedTerms("billingFrequency PER_EVENT is not billed", key="billingFrequency")
    is_metered = metric_of(structure) is not None
    if is_metered and price.billing_type is BillingType.IN_ADVANCE:
        raise UsageInAdvance(key="billingType")
    match structure:
        case OneTime():
            is_possible = frequency is Frequency.ONE_TIME
        case Fixed():
            is_possible = frequency is not Frequency.ON_DEMAND
        case SeatBased():
            is_possible = frequency not in {Frequency.ONE_TIME, Frequency.ON_DEMAND}
            _check_overages(structure, frequency=frequency)
        case _:
            is_possible = frequency is not Frequency.ONE_TIME
    if not is_possible:
        kind = type(structure).__struct_config__.tag
        raise InvalidFrequency(f"a {kind} price cannot be billed {frequency}", key="billingFrequency")


def _check_overages(structure: SeatBased, *, frequency: Frequency) -> None:
    overages = structure.overages()
    if overages is not None and (frequency not in MONTHS or MONTHS[overages] > MONTHS[frequency]):
        message = f"overages cannot be billed {overages} when seats are billed {frequency}"
        raise InvalidFrequency(message, key="structure.overagesBillingFrequency")


def _check_window(price: Price) -> None:
    """A PERIODIC ladder needs a window of whole billing periods (spec section 9, case 14); others ignore it."""
    if not isinstance(price.structure, Graduated):
        return
    if price.structure.usage_calculation_mode is not UsageCalculationMode.PERIODIC:
        return
    window = price.usage_calculation_period
    if window is None or window.frequency not in MONTHS or not 1 <= window.interval <= INTERVAL_MAX:
        message = f"PERIODIC needs a window: a frequency of {', '.join(MONTHS)} and an interval of 1 to {INTERVAL_MAX}"
        raise InvalidPrice(message, key="usageCalculationPeriod")
    months, frequency = MONTHS[window.frequency] * window.interval, price.billing_frequency
    fits = months % MONTHS[frequency] == 0 if frequency in MONTHS else DAYS[frequency] == 1
    if not fits:
        message = f"a window of {months} months does not hold whole periods billed {frequency}"
        raise InvalidPrice(message, key="usageCalculationPeriod")


def _check_bounds(price: Price) -> None:
    for name, amount in (("minimum", price.minimum), ("maximum", price.maximum)):
        if amount is None:
            continue
        check_price(amount, key=name)
        if metric_of(price.structure) is None or price.billing_frequency is Frequency.ON_DEMAND:
            raise InvalidPrice(f"only usage prices with billing periods have a {name}", key=name)
    if price.minimum is not None and price.maximum is not None and price.minimum > price.maximum:
        raise InvalidPrice("the minimum must not be above the maximum", key="minimum")


def _check_linear_extensions(price: Price) -> None:
    commitment, by_group = price.commitment, price.prices_by_group
    if commitment is not None:
        check_price(commitment.amount, key="commitment.amount")
        check_price(commitment.overage_rate, key="commitment.overageRate")
    for group, amount in (by_group or {}).items():
        check_price(amount, key=f"pricesByGroup.{group}")
    if by_group is not None and not 1 <= len(by_group) <= GROUPS_MAX:
        raise InvalidPrice(f"give between 1 and {GROUPS_MAX} prices by group", key="pricesByGroup")
    key = "pricesByGroup" if by_group is not None else "commitment"
    if commitment is not None and by_group is not None:
        raise InvalidPrice("a price has either a commitment or prices by group", key=key)
    if commitment is not None or by_group is not None:
        if not isinstance(price.structure, Linear):
            raise UnsupportedTerms(f"{key} is billed with LINEAR prices only", key=key)
        if commitment is not None and price.billing_frequency is Frequency.ON_DEMAND:
            raise InvalidPrice("a commitment needs billing periods", key=key)

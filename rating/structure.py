"""Structures: the kinds of price, one tagged union by `pricingType` with the reference's field names.

    {"pricingType": "ONE_TIME", "price": "500.00"}
    {"pricingType": "FIXED", "price": "10.00"}
    {"pricingType": "LINEAR", "pricePerUnit": "0.10", "usageMetricId": "...", "isPricePercentage": false}
    {"pricingType": "PACKAGE", "packageSize": "250", "pricePerPackage": "10.00", "usageMetricId": "..."}
    {"pricingType": "GRADUATED", "tiers": [...], "usageMetricId": "...", "usageCalculationMode": "BILLING_PERIOD"}
    {"pricingType": "VOLUME", "tiers": [...], "usageMetricId": "..."}
    {"pricingType": "SEAT_BASED", "seatMetricId": "...", "pricePerSeat": "15", "prorationStrategy": "USE_MAXIMUM",
     "contractedMinimumSeats": 100, "overagesBillingFrequency": "MONTHLY", "tiers": [], "prorateFlatFees": false}

Everything is checked when it is constructed. A percentage is a plain factor: 1 is 100 % of a quantity that is itself
money (spec sections 7 and 9). What each kind costs is in tariff.py and seat.py.
"""

from decimal import Decimal
from enum import StrEnum
from typing import ClassVar

import msgspec

from rating.error import InvalidPrice
from rating.number import check_price
from rating.period import Frequency
from rating.tier import SeatTier, Tier, VolumeTier, check_event_bounds, check_tiers

SEATS_MAX = 10**9


class PricingType(StrEnum):
    """All kinds of price of the reference."""

    ONE_TIME = "ONE_TIME"
    FIXED = "FIXED"
    LINEAR = "LINEAR"
    PACKAGE = "PACKAGE"
    GRADUATED = "GRADUATED"
    VOLUME = "VOLUME"
    SEAT_BASED = "SEAT_BASED"


class UsageCalculationMode(StrEnum):
    """Where the ladder of a graduated price begins at zero: in every period, with the phase, or with each window."""

    BILLING_PERIOD = "BILLING_PERIOD"
    CUMULATIVE = "CUMULATIVE"
    PERIODIC = "PERIODIC"


class SeatProrationStrategy(StrEnum):
    """Which seats of a period are charged: the most there ever were, those added by the day, or all by the day."""

    USE_MAXIMUM = "USE_MAXIMUM"
    PRORATE_INCREMENTS = "PRORATE_INCREMENTS"
    PRORATE_ALL_CHANGES = "PRORATE_ALL_CHANGES"


class OveragesFrequency(StrEnum):
    """How often seats above those billed in advance are billed; NONE is the price's own frequency."""

    NONE = "NONE"
    MONTHLY = "MONTHLY"
    QUARTERLY = "QUARTERLY"
    HALF_YEARLY = "HALF_YEARLY"
    YEARLY = "YEARLY"


class _Structure(
    msgspec.Struct,
    frozen=True,
    tag_field="pricingType",
    rename="camel",
    forbid_unknown_fields=True,
    kw_only=True,
    omit_defaults=True,
):
    pass


class _Flat(_Structure, frozen=True):
    """What does not depend on events reads no usage metric."""

    usage_metric_id: ClassVar[None] = None


class OneTime(_Flat, frozen=True, tag="ONE_TIME"):
    """An amount that is charged once and never prorated (case 1)."""

    price: Decimal

    def __post_init__(self) -> None:
        check_price(self.price, key="structure.price")


class Fixed(_Flat, frozen=True, tag="FIXED"):
    """The same amount each period, prorated in a partial one (cases 1 and 25)."""

    price: Decimal

    def __post_init__(self) -> None:
        check_price(self.price, key="structure.price")


class Linear(_Structure, frozen=True, tag="LINEAR"):
    """Every unit at one rate (cases 2 and 3)."""

    price_per_unit: Decimal
    usage_metric_id: str
    is_price_percentage: bool

    def __post_init__(self) -> None:
        check_price(self.price_per_unit, key="structure.pricePerUnit")


class Package(_Structure, frozen=True, tag="PACKAGE"):
    """So many units at one price; a package that is begun is charged in full (case 11)."""

    package_size: Decimal
    price_per_package: Decimal
    usage_metric_id: str

    def __post_init__(self) -> None:
        check_price(self.price_per_package, key="structure.pricePerPackage")
        check_price(self.package_size, key="structure.packageSize")
        if self.package_size == 0:
            raise InvalidPrice("a package must hold more than 0 units", key="structure.packageSize")


class Graduated(_Structure, frozen=True, tag="GRADUATED"):
    """Each unit at the rate of the tier it falls in (case 9)."""

    tiers: tuple[Tier, ...]
    usage_metric_id: str
    usage_calculation_mode: UsageCalculationMode

    def __post_init__(self) -> None:
        check_tiers(self.tiers, key="structure.tiers")


class Volume(_Structure, frozen=True, tag="VOLUME"):
    """All units at the rate of the tier that their sum reaches, and its flat fee (cases 6 and 8)."""

    tiers: tuple[VolumeTier, ...]
    usage_metric_id: str

    def __post_init__(self) -> None:
        check_tiers(self.tiers, key="structure.tiers")
        check_event_bounds(self.tiers, key="structure.tiers")

    def bounds_events(self) -> bool:
        """Whether a single event's fee has bounds, so that the amount of every event must be known."""
        return bool([tier for tier in self.tiers if tier.min_price is not None or tier.max_price is not None])


class SeatBased(_Flat, frozen=True, tag="SEAT_BASED"):
    """Seats at a price for a full period; `tiers` are the prices, `price_per_seat` counts only without them."""

    seat_metric_id: str
    price_per_seat: Decimal
    proration_strategy: SeatProrationStrategy
    contracted_minimum_seats: int
    tiers: tuple[SeatTier, ...]
    overages_billing_frequency: OveragesFrequency | None = None
    prorate_flat_fees: bool = False

    def __post_init__(self) -> None:
        check_price(self.price_per_seat, key="structure.pricePerSeat")
        if not 0 <= self.contracted_minimum_seats <= SEATS_MAX:
            message = f"the contracted minimum must lie between 0 and {SEATS_MAX} seats"
            raise InvalidPrice(message, key="structure.contractedMinimumSeats")
        if self.tiers:
            check_tiers(self.tiers, key="structure.tiers")

    def ladder(self) -> tuple[SeatTier, ...]:
        """The tiers, or the one that `price_per_seat` makes."""
        return self.tiers or (SeatTier(self.price_per_seat),)

    def overages(self) -> Frequency | None:
        """The frequency of overages when it is named."""
        named = self.overages_billing_frequency
        return None if named in {None, OveragesFrequency.NONE} else Frequency(str(named))


Structure = OneTime | Fixed | Linear | Package | Graduated | Volume | SeatBased


def decode_structure(raw: bytes | str | msgspec.Raw) -> Structure:
    """The structure in the reference's JSON. What is malformed raises msgspec's errors, for the edge to translate."""
    return _DECODER.decode(raw)


def metric_of(structure: Structure) -> str | None:
    """The usage metric that this price reads, if it reads one."""
    return structure.usage_metric_id


_DECODER: msgspec.json.Decoder[Structure] = msgspec.json.Decoder(Structure)

"""Prices: what a customer pays for a product, how often, and before or after the period.

A price has a structure, one of a tagged union by `pricingType` with the reference's field names:

    {"pricingType": "FIXED", "price": "10.00"}
    {"pricingType": "LINEAR", "pricePerUnit": "0.10", "usageMetricId": "...", "isPricePercentage": false}
    {"pricingType": "GRADUATED", "tiers": [...], "usageMetricId": "...", "usageCalculationMode": "BILLING_PERIOD"}

Everything is checked when it is constructed, so a Price that exists can be billed. A percentage is a plain factor: 1 is
100 % of a quantity that is itself money (spec sections 8 and 9).
"""

from decimal import Decimal
from enum import StrEnum
from typing import assert_never

import msgspec

from rating import currency as currencies
from rating.error import UnsupportedTerms, UsageInAdvance
from rating.number import check_price
from rating.period import MONTHS, Frequency
from rating.tier import Tier, check_tiers


class BillingType(StrEnum):
    """When a charge falls due: on the first day of its period, or on the day after its last."""

    IN_ADVANCE = "IN_ADVANCE"
    IN_ARREARS = "IN_ARREARS"


class PricingType(StrEnum):
    """All kinds of price of the reference; those without a structure below are not billed yet."""

    ONE_TIME = "ONE_TIME"
    FIXED = "FIXED"
    LINEAR = "LINEAR"
    PACKAGE = "PACKAGE"
    GRADUATED = "GRADUATED"
    VOLUME = "VOLUME"
    SEAT_BASED = "SEAT_BASED"


class UsageCalculationMode(StrEnum):
    """Where the ladder of a graduated price begins; only BILLING_PERIOD, at zero in every period, is billed yet."""

    BILLING_PERIOD = "BILLING_PERIOD"
    CUMULATIVE = "CUMULATIVE"
    PERIODIC = "PERIODIC"


class _Structure(
    msgspec.Struct, frozen=True, tag_field="pricingType", rename="camel", forbid_unknown_fields=True, kw_only=True
):
    pass


class Fixed(_Structure, frozen=True, tag="FIXED"):
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


class Graduated(_Structure, frozen=True, tag="GRADUATED"):
    """Each unit at the rate of the tier it falls in (case 9)."""

    tiers: tuple[Tier, ...]
    usage_metric_id: str
    usage_calculation_mode: UsageCalculationMode

    def __post_init__(self) -> None:
        check_tiers(self.tiers, key="structure.tiers")
        if self.usage_calculation_mode is not UsageCalculationMode.BILLING_PERIOD:
            message = f"usageCalculationMode {self.usage_calculation_mode} is not billed yet; use BILLING_PERIOD"
            raise UnsupportedTerms(message, key="structure.usageCalculationMode")


Structure = Fixed | Linear | Graduated


class Price(msgspec.Struct, frozen=True):
    """One price point of a product. It never changes: another amount is another price."""

    id: str
    product_id: str
    name: str
    currency: str
    structure: Structure
    billing_frequency: Frequency
    billing_type: BillingType

    def __post_init__(self) -> None:
        currencies.digits(self.currency)
        if self.billing_frequency not in MONTHS:
            message = f"billingFrequency {self.billing_frequency} is not billed yet; use one of {', '.join(MONTHS)}"
            raise UnsupportedTerms(message, key="billingFrequency").at(price_id=self.id)
        if self.billing_type is BillingType.IN_ADVANCE and metric_of(self.structure) is not None:
            raise UsageInAdvance(key="billingType").at(price_id=self.id)


def decode_structure(raw: bytes | msgspec.Raw) -> Structure:
    """The structure in the reference's JSON. What is malformed raises msgspec's errors, for the edge to translate."""
    try:
        return _DECODER.decode(raw)
    except msgspec.ValidationError:
        _refuse_unsupported(raw)
        raise


def metric_of(structure: Structure) -> str | None:
    """The usage metric that this price reads, if it reads one."""
    match structure:
        case Fixed():
            return None
        case Linear() | Graduated():
            return structure.usage_metric_id
        case never:
            assert_never(never)


class _Kind(msgspec.Struct):
    kind: PricingType = msgspec.field(name="pricingType")


_DECODER: msgspec.json.Decoder[Structure] = msgspec.json.Decoder(Structure)
_KIND_DECODER = msgspec.json.Decoder(_Kind)
_SUPPORTED = frozenset({PricingType.FIXED, PricingType.LINEAR, PricingType.GRADUATED})


def _refuse_unsupported(raw: bytes | msgspec.Raw) -> None:
    kind = _KIND_DECODER.decode(raw).kind
    if kind not in _SUPPORTED:
        message = f"pricingType {kind} is not billed yet; use one of {', '.join(sorted(_SUPPORTED))}"
        raise UnsupportedTerms(message, key="structure.pricingType")

"""Explanations: how the amount of a line came about, as data for the portal, the PDF and a person with a pencil.

A tagged union by `kind`, kept as JSON beside the line (camelCase, Decimals as plain strings, periods half-open):

    {"kind": "FIXED", "price": "500", "days": 18, "fullDays": 31, "amount": "290.322580645161290322580645"}
    {"kind": "ONE_TIME", "price": "500", "amount": "500"}
    {"kind": "LINEAR", "reading": {...}, "rate": "0.1", "amount": "55"}
    {"kind": "TIER", "reading": {...}, "tier": 2, "over": "100", "upTo": null, "units": "25", ...}
    {"kind": "TIER_FEE", "reading": {...}, "tier": 2, "over": "100", "upTo": null, "amount": "50"}
    {"kind": "PACKAGE", "reading": {...}, "size": "250", "packages": "3", "rate": "10", "amount": "30"}
    {"kind": "VOLUME", "reading": {...}, "tier": 2, "over": "100", "upTo": null, "rate": "0.75", "amount": "93.75"}
    {"kind": "EVENT_FEES", "reading": {...}, "tier": 1, "rate": "0.02", "min": "1", "max": "10", ...}
    {"kind": "COMMITTED" | "OVERAGE" | "SHORTFALL", "reading": {...}, "commitment": "500", ..., "amount": "500"}
    {"kind": "SEATS", "metricId": "...", "over": 0, "upTo": 27, "tier": 1, "units": "27", "price": "15", ...}
    {"kind": "SEAT_FEE", "metricId": "...", "tier": 1, "fee": "50", "days": 30, "fullDays": 30, "amount": "50"}
    {"kind": "MAXIMUM", "maximum": "1000", "days": 31, "fullDays": 31, "charged": "1200"}
    {"kind": "DISCOUNT", "discount": {"type": "PERCENTAGE", "amount": "10", ...}, "base": "500"}
    {"kind": "REDUCED", "before": {"kind": "FIXED", ...}, "discounts": [...], "amount": "475"}
    {"kind": "TRUE_UP", "minimum": "500", "days": 31, "fullDays": 31, "paid": "300", "priceIds": [...]}
    {"kind": "CREDIT", "grantId": "...", "unit": "METRIC", "before": "1732", "used": "1732"}
    {"kind": "LATE_USAGE", "billed": "100", "due": "120"}

    reading: {"metricId": "...", "metricVersion": 1, "period": {...}, "eventCount": 50, "quantity": "125"}

`amount` is what the arithmetic gave before the line's one rounding. What is kept once can be read for ever: fields are
only added, and those that do not apply are left out.
"""

from decimal import Decimal
from typing import TypeAlias

import msgspec

from rating.number import to_json
from rating.reading import Reading


class _Explanation(msgspec.Struct, frozen=True, gc=False, tag_field="kind", rename="camel", omit_defaults=True):
    pass


class _OfUsage(_Explanation, frozen=True):
    reading: Reading


class _OnTier(_OfUsage, frozen=True):
    """On one tier, counted from 1: what lies above `over`, up to and including `up_to`."""

    tier: int
    over: Decimal
    up_to: Decimal | None


class _OfCommitment(_OfUsage, frozen=True):
    commitment: Decimal


class OneTimeFee(_Explanation, frozen=True, tag="ONE_TIME"):
    """The price, once."""

    price: Decimal
    amount: Decimal


class FixedFee(_Explanation, frozen=True, tag="FIXED"):
    """price x days / full days."""

    price: Decimal
    days: int
    full_days: int
    amount: Decimal


class LinearUsage(_OfUsage, frozen=True, tag="LINEAR"):
    """quantity x rate."""

    rate: Decimal
    amount: Decimal


class PackageUsage(_OfUsage, frozen=True, tag="PACKAGE"):
    """Packages begun x price; `before` is what an earlier period of the same ladder had used."""

    size: Decimal
    packages: Decimal
    rate: Decimal
    amount: Decimal
    before: Decimal | None = None


class TierUsage(_OnTier, frozen=True, tag="TIER"):
    """The units of the quantity that lie above `over`, up to and including `up_to`, x the tier's rate.

    `before` is the quantity of earlier periods of the same ladder, whose units are billed already.
    """

    units: Decimal
    rate: Decimal
    amount: Decimal
    before: Decimal | None = None


class TierFee(_OnTier, frozen=True, tag="TIER_FEE"):
    """The flat fee of a tier that the quantity entered."""

    amount: Decimal
    before: Decimal | None = None


class VolumeUsage(_OnTier, frozen=True, tag="VOLUME"):
    """All units x the rate of the tier they reach, less what `before`, on its own tier, had cost."""

    rate: Decimal
    amount: Decimal
    before: Decimal | None = None
    amount_before: Decimal | None = None


class EventFees(_OfUsage, frozen=True, tag="EVENT_FEES"):
    """The sum over events of amount x rate, each not below `min` and not above `max`."""

    tier: int
    rate: Decimal
    min: Decimal | None
    max: Decimal | None
    events: int
    at_min: int
    at_max: int
    amount: Decimal
    before: Decimal | None = None
    amount_before: Decimal | None = None


class CommittedUsage(_OfCommitment, frozen=True, tag="COMMITTED"):
    """Usage at the price's rate, as far as the commitment reaches."""

    rate: Decimal
    amount: Decimal


class CommitmentShortfall(_OfCommitment, frozen=True, tag="SHORTFALL"):
    """What is missing to the committed amount."""

    used: Decimal
    amount: Decimal


class CommitmentOverage(_OfCommitment, frozen=True, tag="OVERAGE"):
    """Usage worth more than the commitment, at the overage rate."""

    rate: Decimal
    overage_rate: Decimal
    amount: Decimal


class Seats(_Explanation, frozen=True, tag="SEATS"):
    """Seats above `over`, up to `up_to`, that lie in one tier x price x days they were there / full days."""

    metric_id: str
    over: int
    up_to: int
    tier: int
    units: Decimal
    price: Decimal
    days: int
    full_days: int
    amount: Decimal


class SeatFee(_Explanation, frozen=True, tag="SEAT_FEE"):
    """The flat fee of a tier of seats."""

    metric_id: str
    tier: int
    fee: Decimal
    days: int
    full_days: int
    amount: Decimal


class MaximumReached(_Explanation, frozen=True, tag="MAXIMUM"):
    """What the price charged above its maximum is taken off."""

    maximum: Decimal
    days: int
    full_days: int
    charged: Decimal


class DiscountShare(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """One discount and the days of the period that it was valid for; `taken` is what it took off."""

    discount_id: str
    type: str
    amount: Decimal
    message: str
    days: int
    full_days: int
    taken: Decimal


class DiscountTaken(_Explanation, frozen=True, tag="DISCOUNT"):
    """A discount as a line of its own, on the base that was left for it."""

    discount: DiscountShare
    base: Decimal


class Reduced(_Explanation, frozen=True, tag="REDUCED"):
    """A line whose rate was reduced by discounts; `before` explains what it was without them."""

    before: "Explanation"
    discounts: tuple[DiscountShare, ...]
    amount: Decimal


class TrueUp(_Explanation, frozen=True, tag="TRUE_UP"):
    """What was missing to a minimum; without price ids the minimum of the whole bill."""

    minimum: Decimal
    days: int
    full_days: int
    paid: Decimal
    price_ids: tuple[str, ...] = ()


class CreditUsed(_Explanation, frozen=True, tag="CREDIT"):
    """What a grant held before and what of it was used here: units of its metric, or money."""

    grant_id: str
    unit: str
    before: Decimal
    used: Decimal


class LateUsage(_Explanation, frozen=True, tag="LATE_USAGE"):
    """What was billed for the period and what is due by now; the line is the difference."""

    billed: Decimal
    due: Decimal


Explanation: TypeAlias = (
    OneTimeFee
    | FixedFee
    | LinearUsage
    | PackageUsage
    | TierUsage
    | TierFee
    | VolumeUsage
    | EventFees
    | CommittedUsage
    | CommitmentShortfall
    | CommitmentOverage
    | Seats
    | SeatFee
    | MaximumReached
    | DiscountTaken
    | Reduced
    | TrueUp
    | CreditUsed
    | LateUsage
)

_DECODER: msgspec.json.Decoder[Explanation] = msgspec.json.Decoder(Explanation)


def encode(explanation: Explanation) -> bytes:
    """As it is kept and shown."""
    return to_json(explanation)


def decode(raw: bytes | str) -> Explanation:
    """What `encode` wrote, as it was."""
    return _DECODER.decode(raw)

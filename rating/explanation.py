"""Explanations: how the amount of a line came about, as data for the portal, the PDF and a person with a pencil.

A tagged union by `kind`, kept as JSON beside the line (camelCase, Decimals as plain strings, periods half-open):

    {"kind": "FIXED", "price": "500", "days": 18, "fullDays": 31, "amount": "290.322580645161290322580645"}
    {"kind": "LINEAR", "reading": {...}, "rate": "0.1", "amount": "55"}
    {"kind": "TIER", "reading": {...}, "tier": 2, "over": "100", "upTo": null, "units": "25", "rate": "0.75",
     "amount": "18.75"}
    {"kind": "TIER_FEE", "reading": {...}, "tier": 2, "over": "100", "upTo": null, "amount": "50"}

    reading: {"metricId": "...", "metricVersion": 1, "period": {"start": "2025-01-01", "end": "2025-02-01"},
              "eventCount": 50, "quantity": "125"}

`amount` is what the arithmetic gave before the line's one rounding. What is kept once can be read for ever: fields are
only added.
"""

from decimal import Decimal

import msgspec

from rating.number import to_json
from rating.period import Period


class Reading(msgspec.Struct, frozen=True, rename="camel"):
    """The usage a line was priced on: which version of which metric, over which days, and what it said."""

    metric_id: str
    metric_version: int
    period: Period
    event_count: int
    quantity: Decimal


class _Explanation(msgspec.Struct, frozen=True, tag_field="kind", rename="camel"):
    pass


class FixedFee(_Explanation, frozen=True, tag="FIXED"):
    """price x days / full days."""

    price: Decimal
    days: int
    full_days: int
    amount: Decimal


class LinearUsage(_Explanation, frozen=True, tag="LINEAR"):
    """quantity x rate."""

    reading: Reading
    rate: Decimal
    amount: Decimal


class TierUsage(_Explanation, frozen=True, tag="TIER"):
    """The units of the quantity that lie above `over`, up to and including `up_to`, x the tier's rate."""

    reading: Reading
    tier: int
    over: Decimal
    up_to: Decimal | None
    units: Decimal
    rate: Decimal
    amount: Decimal


class TierFee(_Explanation, frozen=True, tag="TIER_FEE"):
    """The flat fee of a tier that the quantity entered."""

    reading: Reading
    tier: int
    over: Decimal
    up_to: Decimal | None
    amount: Decimal


Explanation = FixedFee | LinearUsage | TierUsage | TierFee

_DECODER: msgspec.json.Decoder[Explanation] = msgspec.json.Decoder(Explanation)


def encode(explanation: Explanation) -> bytes:
    """As it is kept and shown."""
    return to_json(explanation)


def decode(raw: bytes | str) -> Explanation:
    """What `encode` wrote, as it was."""
    return _DECODER.decode(raw)

"""Readings: what the meter said, in the form that the explanation of a line keeps."""

from decimal import Decimal

import msgspec

from rating.period import Period


class CustomerShare(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What one customer of a roll-up used (spec section 16)."""

    customer_id: str
    quantity: Decimal


class Reading(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """The usage a line was priced on: which version of which metric, over which days, and what it said."""

    metric_id: str
    metric_version: int
    period: Period
    event_count: int
    quantity: Decimal
    group: str | None = None
    customers: tuple[CustomerShare, ...] = ()

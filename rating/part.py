"""Parts: what a charge consists of before it is rounded. Each becomes one line.

Part(quantity=25, rate=0.75, amount=18.75, explanation=TierUsage(...), description="above 100", units=25)
"""

from decimal import Decimal
from enum import StrEnum

import msgspec

from rating.explanation import Explanation


class RateDisplay(StrEnum):
    """How to print a rate: 0.005 as it is, or as 0.5 %."""

    ABSOLUTE = "ABSOLUTE"
    PERCENTAGE = "PERCENTAGE"


# Members that are compared in every bill, looked up once: an enum's attribute costs as much as a multiplication.
_ABSOLUTE, _PERCENTAGE = RateDisplay


class SeatScope(StrEnum):
    """Which seats a part is about: those of the contracted minimum, or those above it."""

    INCLUDED = "INCLUDED"
    OVERAGE = "OVERAGE"


class Part(msgspec.Struct, frozen=True, gc=False):
    """Something of a charge that becomes one line. Without a rate it is a lump sum: one, at the rounded amount.

    `units` are the units of the metric that the part prices, for credits in units; fees have none. `exact` is the
    amount as a ratio of whole numbers where it is a quotient, which `amount` tells to 24 decimals.
    """

    quantity: Decimal
    rate: Decimal | None
    amount: Decimal
    explanation: Explanation
    description: str | None = None
    rate_display: RateDisplay = RateDisplay.ABSOLUTE
    units: Decimal | None = None
    seat_scope: SeatScope | None = None
    exact: tuple[int, int] | None = None


def display(is_percentage: bool) -> RateDisplay:
    return _PERCENTAGE if is_percentage else _ABSOLUTE

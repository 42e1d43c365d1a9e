"""What a bill says, before anybody stored, numbered or taxed it: lines, grouped by product.

    Bill(USD, 1 Feb, January)
      Group(product "API")
        Line("Calls", 100 x 1.00 = 10000 minor, explained by TierUsage)
        Line("Calls", flat fee  =  2000 minor, explained by TierFee)

Every line was rounded once and stands for quantity x rate; the total is the sum of the lines and is kept nowhere.
"""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from enum import StrEnum

import msgspec

from rating.explanation import Explanation
from rating.money import Money
from rating.period import Period
from rating.schedule import Charge


class RateDisplay(StrEnum):
    """How to print a rate: 0.005 as it is, or as 0.5 %."""

    ABSOLUTE = "ABSOLUTE"
    PERCENTAGE = "PERCENTAGE"


class Line(msgspec.Struct, frozen=True):
    """One line item. `title` is the price's name; `description` tells the lines of one price apart."""

    price_id: str
    product_id: str
    title: str
    description: str | None
    quantity: Decimal
    rate: Decimal
    rate_display: RateDisplay
    net_minor: int
    service: Period
    explanation: Explanation


class Group(msgspec.Struct, frozen=True):
    """The lines of one product, whose name is the group's title (the caller knows it)."""

    product_id: str
    lines: tuple[Line, ...]


class Bill(msgspec.Struct, frozen=True):
    """All that one schedule owes on one date. `charges` are what it settles, each exactly once."""

    currency: str
    bill_date: date
    period: Period
    groups: tuple[Group, ...]
    charges: tuple[Charge, ...]

    def lines(self) -> Iterator[Line]:
        return (line for group in self.groups for line in group.lines)

    def total(self) -> Money:
        return Money(sum(line.net_minor for line in self.lines()), self.currency)

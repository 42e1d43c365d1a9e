"""What a bill says, before anybody stored or numbered it: lines, grouped by product.

    Bill(USD, 1 Feb, January)
      Group(product "API")
        Line("Calls", 100 x 1.00 = 10000 minor, explained by TierUsage)
        Line("Calls", flat fee  =  2000 minor, explained by TierFee)

      Group("Credits")
        Line("Prepaid", 1 x -50.00 = -5000 minor, explained by CreditUsed)

Every line was rounded once and stands for quantity x rate; the total is the sum of the lines and is kept nowhere.
Discounts with a line of their own, maximums and credits are negative lines. What concerns one product stands in its
group; what concerns the whole bill has a group of its own, with a title and no product.
"""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from enum import StrEnum

import msgspec

from rating.explanation import Explanation
from rating.money import Money
from rating.part import RateDisplay
from rating.period import Period
from rating.schedule import Charge
from rating.terms import CreditUnit


class LineKind(StrEnum):
    """What a line is: a part of a charge, or what the rules of the contract add and take off."""

    CHARGE = "CHARGE"
    MAXIMUM = "MAXIMUM"
    DISCOUNT = "DISCOUNT"
    TRUE_UP = "TRUE_UP"
    CREDIT = "CREDIT"
    LATE_USAGE = "LATE_USAGE"


class Line(msgspec.Struct, frozen=True, gc=False):
    """One line item. `title` is the price's name; `description` tells the lines of one price apart.

    Without a price or a product it concerns several. A `tax_rate` of None means that no rate is known.
    """

    price_id: str | None
    product_id: str | None
    title: str
    description: str | None
    quantity: Decimal
    rate: Decimal
    rate_display: RateDisplay
    net_minor: int
    service: Period
    explanation: Explanation
    kind: LineKind = LineKind.CHARGE
    tax_rate: Decimal | None = None
    tax_minor: int = 0
    grant_id: str | None = None


class Group(msgspec.Struct, frozen=True, gc=False):
    """The lines of one product, whose name is the group's title (the caller knows it), or those under a `title`."""

    product_id: str | None
    lines: tuple[Line, ...]
    title: str | None = None


class Draw(msgspec.Struct, frozen=True, gc=False):
    """What a bill takes from a credit grant: `amount` in the grant's own unit, and what that took off net and tax."""

    grant_id: str
    unit: CreditUnit
    amount: Decimal
    net_minor: int
    tax_minor: int


class BillWarning(msgspec.Struct, frozen=True, gc=False):
    """Something that a person must look at before the bill is issued."""

    code: str
    message: str
    price_id: str | None = None


class Bill(msgspec.Struct, frozen=True, gc=False):
    """All that one schedule owes on one date. `charges` are what it settles, each exactly once.

    There may be nothing to say: a day on demand without usage, or a period without additional seats, has no lines.
    """

    currency: str
    bill_date: date
    period: Period
    groups: tuple[Group, ...]
    charges: tuple[Charge, ...]
    draws: tuple[Draw, ...] = ()
    warnings: tuple[BillWarning, ...] = ()

    def lines(self) -> Iterator[Line]:
        return (line for group in self.groups for line in group.lines)

    def total(self) -> Money:
        """Before tax."""
        return Money(sum(line.net_minor for line in self.lines()), self.currency)

    def tax(self) -> Money:
        return Money(sum(line.tax_minor for line in self.lines()), self.currency)

    def gross(self) -> Money:
        return self.total() + self.tax()

"""Items: lines in the making, and what is taken from them. The workbench of the pipeline in rating.bill.

    Item      something that is owed: a part of a charge, or a true-up. Its line will say `net_minor`.
    Taking    something that is taken off again as a negative line of its own: a discount, a credit, a maximum reached.
              Each taking knows its share of every item, so that what is left of an item is always known.

    left_minor = net_minor - everything taken

Discounts that reduce rates change an item's exact amount, and it is rounded again from there; so each line is rounded
once, from exact numbers. Nothing takes more than is left: no item goes below zero, hence no bill.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal

import msgspec

from rating import money
from rating.explanation import DiscountShare, Explanation
from rating.invoice import BillWarning, LineKind
from rating.number import quotient
from rating.part import Part
from rating.phase import Phase
from rating.schedule import Charge, ChargeReason

_SCHEDULE = ChargeReason.SCHEDULE


class Item(msgspec.Struct):
    """Something owed. `price_ids` are the prices that it counts for; one unless it is a true-up over several.

    `taxed` is what was left, and the tax on it, as far as takings have been taxed. `exact` is the amount as a ratio of
    whole numbers once a discount has reduced it: a quotient that was cut off may miss a half by a hair.
    """

    kind: LineKind
    title: str
    charge: Charge
    part: Part
    price_ids: tuple[str, ...]
    product_id: str | None
    tax_rate: Decimal | None
    currency: str
    amount: Decimal
    net_minor: int
    left_minor: int
    units_left: Decimal | None = None
    tax_minor: int = 0
    taxed: tuple[int, int] = (0, 0)
    reductions: tuple[DiscountShare, ...] = ()
    exact: tuple[int, int] | None = None

    def reduce(self, to: tuple[int, int], share: DiscountShare) -> None:
        """Change what the line says to an exact amount."""
        taken_minor = self.net_minor - self.left_minor
        self.exact, self.amount = to, quotient(*to)
        self.net_minor = money.round_ratio(*to, self.currency)
        self.left_minor = self.net_minor - taken_minor
        self.reductions = (*self.reductions, share)


class Taking(msgspec.Struct):
    """A negative line in the making, with its share of each item, all of one tax rate."""

    kind: LineKind
    title: str
    description: str | None
    product_id: str | None
    tax_rate: Decimal | None
    explanation: Explanation
    shares: list[tuple[Item, int]]
    quantity: Decimal | None = None
    grant_id: str | None = None
    tax_minor: int = 0
    net_minor: int = 0

    def __post_init__(self) -> None:
        self.net_minor = -sum([amount for _, amount in self.shares])


class Draft(msgspec.Struct):
    """A bill in the making. `start` and `end` are those of the schedule as it really runs."""

    currency: str
    start: date
    end: date | None
    phases: tuple[Phase, ...]
    charges: tuple[Charge, ...]
    items: list[Item] = []
    takings: list[Taking] = []
    warnings: list[BillWarning] = []

    def charge_of(self, price_id: str, *, phase: int) -> Charge | None:
        """The price's own charge on this bill, if it has one."""
        for charge in self.charges:
            if charge.price.id == price_id and charge.phase == phase and charge.reason is _SCHEDULE:
                return charge
        return None


def left_of(items: Iterable[Item]) -> int:
    """What is left of all of them together."""
    return sum([item.left_minor for item in items])


def take(items: Sequence[Item], amount_minor: int) -> list[tuple[Item, int]]:
    """Take an amount off items in proportion to what is left of each, losing no unit."""
    if len(items) == 1:
        items[0].left_minor -= amount_minor
        return [(items[0], amount_minor)]
    shares = money.allocate(amount_minor, [item.left_minor for item in items])
    taken = [pair for pair in zip(items, shares, strict=True) if pair[1]]
    for item, share in taken:
        item.left_minor -= share
    return taken


def by_tax_rate(shares: Sequence[tuple[Item, int]]) -> list[list[tuple[Item, int]]]:
    """The shares of a taking, apart for each tax rate: each becomes a line."""
    first = shares[0][0].tax_rate
    # Nearly always there is one rate, and comparing is ten times faster than hashing decimals.
    if not [item for item, _ in shares if item.tax_rate is not first and item.tax_rate != first]:
        return [list(shares)]
    lines: dict[Decimal | None, list[tuple[Item, int]]] = {}
    for item, share in shares:
        lines.setdefault(item.tax_rate, []).append((item, share))
    return list(lines.values())

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
from typing import TypeAlias

import msgspec

from rating import money
from rating.explanation import DiscountShare, Explanation
from rating.invoice import LineKind
from rating.number import quotient
from rating.part import Part
from rating.phase import Phase
from rating.schedule import Charge, ChargeReason

_SCHEDULE = ChargeReason.SCHEDULE


class Item(msgspec.Struct, gc=False):
    """Something owed. `price_ids` are the prices that it counts for; one unless it is a true-up over several. Its line
    names `price_id`, where it stands with a product and counts for one.

    `taxed` is what was left, and the tax on it, as far as takings have been taxed. `exact` is the amount as a ratio of
    whole numbers once a discount has reduced it: a quotient that was cut off may miss a half by a hair.
    """

    kind: LineKind
    title: str
    charge: Charge
    part: Part
    price_ids: tuple[str, ...]
    price_id: str | None
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


Shares: TypeAlias = list[tuple[Item, int]]


class Taking(msgspec.Struct, gc=False):
    """A negative line in the making: `off_minor` with its share of each item, all of one tax rate."""

    kind: LineKind
    title: str
    description: str | None
    product_id: str | None
    tax_rate: Decimal | None
    explanation: Explanation
    shares: Shares
    off_minor: int
    quantity: Decimal | None = None
    grant_id: str | None = None
    tax_minor: int = 0


class Draft(msgspec.Struct, gc=False):
    """A bill in the making. `start` and `end` are those of the schedule as it really runs.

    `is_taxed_alike`: all items have one tax rate, as nearly always, so that no taking needs to be told apart by it.
    """

    currency: str
    start: date
    end: date | None
    phases: tuple[Phase, ...]
    charges: tuple[Charge, ...]
    items: list[Item] = []
    takings: list[Taking] = []
    is_taxed_alike: bool = True

    def note(self, tax_rate: Decimal | None) -> None:
        """Before items of this rate are added: whether they are taxed like the others."""
        if self.items:
            first = self.items[0].tax_rate
            if tax_rate is not first and tax_rate != first:
                self.is_taxed_alike = False

    def charge_of(self, price_id: str, *, phase: int) -> Charge | None:
        """The price's own charge on this bill, if it has one."""
        for charge in self.charges:
            if charge.price.id == price_id and charge.phase == phase and charge.reason is _SCHEDULE:
                return charge
        return None


def left_of(items: Iterable[Item]) -> int:
    """What is left of all of them together."""
    return sum([item.left_minor for item in items])


def take(items: Sequence[Item], amount_minor: int) -> Shares:
    """Take an amount off items in proportion to what is left of each, losing no unit."""
    shares = money.allocate(amount_minor, [item.left_minor for item in items])
    taken = [(item, share) for item, share in zip(items, shares, strict=True) if share]
    for item, share in taken:
        item.left_minor -= share
    return taken


def by_tax_rate(draft: Draft, shares: Shares, off_minor: int) -> list[tuple[Shares, int]]:
    """The shares of a taking and their sum, apart for each tax rate: each becomes a line."""
    if draft.is_taxed_alike:
        return [(shares, off_minor)]
    lines: dict[Decimal | None, Shares] = {}
    for item, share in shares:
        lines.setdefault(item.tax_rate, []).append((item, share))
    return [(line, sum([share for _, share in line])) for line in lines.values()]

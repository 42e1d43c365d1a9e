"""Grants shared by the bills of one run: what the bills before have left for those that follow.

A customer's grants pay for all of its schedules. Bills of one batch are computed from one snapshot and saved together,
so what an earlier one draws is not in the snapshot of a later one; it is taken off here. Other runs wait, because the
grants are held (store.credit.hold). Grants of phases belong to one schedule, whose bills of one batch share them.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Self

import msgspec

from rating.bill import BillInput
from rating.credit import Grant
from rating.invoice import Draw
from rating.number import ZERO, add, subtract

# The id of a phase's grant ends with its day of issue (rating.credit.issued).
_OF_PHASE = "@"


class Left:
    """What is left of the grants, in the order in which bills are computed."""

    def __init__(self) -> None:
        self.drawn: dict[str, Decimal] = {}

    def of(self, given: BillInput) -> BillInput:
        """The same input, with the grants as the bills before have left them."""
        if not self.drawn:
            return given
        issued = {id_: amount for id_, amount in self.drawn.items() if _OF_PHASE in id_}
        drawn = {**given.drawn, **{id_: add(given.drawn.get(id_, ZERO), amount) for id_, amount in issued.items()}}
        grants = tuple(self._left(grant) for grant in given.grants)
        return msgspec.structs.replace(given, grants=grants, drawn=drawn)

    def draw(self, draws: Iterable[Draw]) -> None:
        """Remember what a bill took, or gave back."""
        for one in draws:
            self.drawn[one.grant_id] = add(self.drawn.get(one.grant_id, ZERO), one.amount)

    def copy(self) -> Self:
        """The same, to try something that may be given up."""
        other = type(self)()
        other.become(self)
        return other

    def become(self, other: "Left") -> None:
        """What was tried is done."""
        self.drawn = dict(other.drawn)

    def _left(self, grant: Grant) -> Grant:
        balance = subtract(grant.balance, self.drawn.get(grant.id, ZERO))
        return msgspec.structs.replace(grant, balance=balance)


def with_own(given: BillInput, draws: Sequence[Draw], grants: Sequence[Grant]) -> BillInput:
    """The input of a bill made again: what the bill itself has drawn is there for it.

    `grants` are all that the customer has, also those with nothing left.
    """
    own = {one.grant_id: one.amount for one in draws}
    back = (msgspec.structs.replace(one, balance=add(one.balance, own.get(one.id, ZERO))) for one in grants)
    drawn = {id_: subtract(amount, own.get(id_, ZERO)) for id_, amount in given.drawn.items()}
    return msgspec.structs.replace(given, grants=tuple(back), drawn=drawn)

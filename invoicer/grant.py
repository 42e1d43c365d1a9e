"""Grants shared by the bills of one run: what the bills before have left for those that follow.

A customer's grants pay for all of its schedules. Bills of one batch are computed from one snapshot and saved together,
so what an earlier one draws is not in the snapshot of a later one; it is taken off here. Other runs wait, because the
grants are held (store.credit.hold). Grants of phases belong to one schedule, which has one bill in a batch.
"""

from decimal import Decimal

import msgspec

from rating.bill import BillInput
from rating.credit import Grant
from rating.invoice import Bill
from rating.number import ZERO, add, subtract


class Left:
    """What is left of the grants, in the order in which bills are computed."""

    def __init__(self) -> None:
        self._drawn: dict[str, Decimal] = {}

    def of(self, given: BillInput) -> BillInput:
        """The same input, with the grants as the bills before have left them."""
        if not any(grant.id in self._drawn for grant in given.grants):
            return given
        return msgspec.structs.replace(given, grants=tuple(self._left(grant) for grant in given.grants))

    def draw(self, bill: Bill) -> None:
        """Remember what a bill took."""
        for one in bill.draws:
            self._drawn[one.grant_id] = add(self._drawn.get(one.grant_id, ZERO), one.amount)

    def _left(self, grant: Grant) -> Grant:
        balance = subtract(grant.balance, self._drawn.get(grant.id, ZERO))
        return msgspec.structs.replace(grant, balance=balance)

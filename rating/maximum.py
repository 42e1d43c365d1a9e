"""Maximums: what a price charges above its maximum in a period is taken off again (an extension, spec section 10).

The maximum belongs to the price, so it comes before discounts. In a partial period it follows the days.
"""

from collections.abc import Iterable

from rating import money
from rating.explanation import MaximumReached
from rating.invoice import LineKind
from rating.item import Draft, Item, Taking, left_of, take
from rating.number import share
from rating.schedule import Charge


def take_maximums(draft: Draft) -> None:
    """Cap every charge whose price has a maximum."""
    for charge in draft.charges:
        if charge.price.maximum is not None:
            _cap(draft, charge, [item for item in draft.items if item.charge is charge])


def _cap(draft: Draft, charge: Charge, items: Iterable[Item]) -> None:
    price, days, full_days = charge.price, charge.service.days, charge.full.days
    assert price.maximum is not None, "only called for prices with a maximum"  # noqa: S101 our own bug
    owed = [item for item in items if item.left_minor > 0]
    maximum = share(price.maximum, part=days, whole=full_days)
    charged = left_of(owed)
    over = charged - money.round_minor(maximum, draft.currency)
    if over <= 0:
        return
    why = MaximumReached(price.maximum, days, full_days, money.major(charged, draft.currency))
    shares = take(owed, over)
    draft.takings.append(
        Taking(LineKind.MAXIMUM, price.name, "maximum reached", price.product_id, owed[0].tax_rate, why, shares, over)
    )

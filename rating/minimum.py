"""Minimums: a floor under what is paid, and the true-up that reaches it (spec section 10, cases 15 and 16).

A minimum looks at what is left to pay for the prices it covers after discounts, once in each period of theirs. In a
partial period it follows the days like a fixed fee. Minimums of single prices come first, then those of several, then
those of the whole phase, and each counts the true-ups below it as paid; last the minimum of the whole bill.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from rating import money
from rating.explanation import TrueUp
from rating.invoice import LineKind
from rating.item import Draft, Item, left_of
from rating.number import ONE, share
from rating.part import Part
from rating.phase import Phase
from rating.schedule import Charge, ChargeReason
from rating.terms import Minimum, is_minimum_price, pace_setter

TITLE = "True-up charge"
# Members that are compared in every bill, looked up once: an enum's attribute costs as much as a multiplication.
_SCHEDULE, _TRUE_UP = ChargeReason.SCHEDULE, LineKind.TRUE_UP


def add_true_ups(draft: Draft) -> None:
    """Reach every minimum of every phase."""
    for index, phase in enumerate(draft.phases):
        for minimum in _in_order(phase):
            charges = _covered(draft, minimum.restrict_to_prices, phase=index)
            if charges:
                ids = tuple([charge.price.id for charge in charges])
                _reach(draft, minimum.amount, charges[0], price_ids=ids, items=_paid_for(draft, ids, phase=index))
        if phase.plan_minimum is not None:
            _reach_plan_minimum(draft, phase.plan_minimum, phase, index=index)


def _in_order(phase: Phase) -> list[Minimum]:
    of_prices = [Minimum(price.id, price.minimum, (price.id,)) for price in phase.prices if price.minimum is not None]
    return of_prices + sorted(phase.minimums, key=_breadth)


def _breadth(minimum: Minimum) -> tuple[bool, int]:
    return not minimum.restrict_to_prices, len(minimum.restrict_to_prices)


def _covered(draft: Draft, restriction: tuple[str, ...], *, phase: int) -> list[Charge]:
    """The charges of the usage prices that a minimum is for: they have one frequency, so all are due or none."""
    return [
        charge
        for charge in draft.charges
        if (charge.price.id in restriction if restriction else is_minimum_price(charge.price))
        and charge.phase == phase
        and charge.reason is _SCHEDULE
    ]


def _paid_for(draft: Draft, price_ids: tuple[str, ...], *, phase: int) -> list[Item]:
    known = frozenset(price_ids)
    return [item for item in draft.items if known.issuperset(item.price_ids) and item.charge.phase == phase]


def _reach_plan_minimum(draft: Draft, amount: Decimal, phase: Phase, *, index: int) -> None:
    """The floor under the whole bill before tax, with the periods of the price that sets the pace (case 15)."""
    pace = pace_setter(phase.prices)
    charge = draft.charge_of(pace.id, phase=index) if pace is not None else None
    if charge is not None:
        items = [item for item in draft.items if item.charge.phase == index]
        _reach(draft, amount, charge, price_ids=(), items=items)


def _reach(draft: Draft, amount: Decimal, charge: Charge, *, price_ids: tuple[str, ...], items: list[Item]) -> None:
    days, full_days = charge.service.days, charge.full.days
    paid = left_of(items)
    missing = money.round_minor(share(amount, part=days, whole=full_days), draft.currency) - paid
    if missing <= 0:
        return
    why = TrueUp(amount, days, full_days, money.major(paid, draft.currency), price_ids)
    ids = price_ids or tuple(sorted({one for item in items for one in item.price_ids}))
    product_id = _product(items, price_ids)
    description = f"{days} of {full_days} days" if days != full_days else None
    price_id = ids[0] if product_id is not None and len(ids) == 1 else None
    for tax_rate, part_minor in _by_tax_rate(draft, items, missing):
        draft.note(tax_rate)
        exact = money.major(part_minor, draft.currency)
        part = Part(ONE, exact, exact, why, description)
        whole = (draft.currency, exact, part_minor, part_minor)
        draft.items.append(Item(_TRUE_UP, TITLE, charge, part, ids, price_id, product_id, tax_rate, *whole))


def _by_tax_rate(draft: Draft, items: Sequence[Item], missing: int) -> list[tuple[Decimal | None, int]]:
    """Where the covered prices are taxed differently the true-up is split like what is paid for them."""
    if draft.is_taxed_alike or not items:
        return [(items[0].tax_rate if items else None, missing)]
    paid: dict[Decimal | None, int] = {}
    for item in items:
        paid[item.tax_rate] = paid.get(item.tax_rate, 0) + max(item.left_minor, 0)
    shares = money.allocate(missing, list(paid.values()))
    return [(tax_rate, part) for tax_rate, part in zip(paid, shares, strict=True) if part]


def _product(items: Iterable[Item], price_ids: tuple[str, ...]) -> str | None:
    """The product of the covered prices when it is one; the minimum of the whole bill has none."""
    products = {item.product_id for item in items} if price_ids else set()
    return products.pop() if len(products) == 1 else None

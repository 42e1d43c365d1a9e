"""Layout: from items and takings to lines in groups, as they stand on the bill.

Each product has a group, in the order in which the products appear: its charges, then what was added and taken off for
it alone. What concerns the whole bill comes behind, in groups with a title: discounts, true-ups, credits (spec
section 18).
"""

from collections import defaultdict
from decimal import Decimal

from rating import money
from rating.explanation import Reduced
from rating.invoice import Group, Line, LineKind
from rating.item import Draft, Item, Taking
from rating.number import ONE, multiply, rate, ratio
from rating.part import RateDisplay
from rating.period import Period
from rating.schedule import ChargeReason
from rating.terms import DiscountType

# Members that are compared in every bill, looked up once: an enum's attribute costs as much as a multiplication.
_ABSOLUTE, _CREDIT_GRANT = RateDisplay.ABSOLUTE, ChargeReason.CREDIT_GRANT
_TITLES = {
    LineKind.CHARGE: "Credit grants",
    LineKind.DISCOUNT: "Discounts",
    LineKind.TRUE_UP: "Minimum",
    LineKind.CREDIT: "Credits",
}


def grouped(draft: Draft) -> tuple[Group, ...]:
    """Every item and every taking as a line of its group."""
    of_products: defaultdict[str, list[Line]] = defaultdict(list)
    of_bill: defaultdict[LineKind, list[Line]] = defaultdict(list)
    for item in draft.items:
        (of_bill[item.kind] if item.product_id is None else of_products[item.product_id]).append(_item_line(item))
    for taking in draft.takings:
        line = _taking_line(taking)
        (of_bill[line.kind] if line.product_id is None else of_products[line.product_id]).append(line)
    groups = [Group(product_id, tuple(lines)) for product_id, lines in of_products.items()]
    if of_bill:
        groups += [Group(None, tuple(of_bill[kind]), title) for kind, title in _TITLES.items() if kind in of_bill]
    return tuple(groups)


def _item_line(item: Item) -> Line:
    part = item.part
    quantity, line_rate, display, why = part.quantity, part.rate, part.rate_display, part.explanation
    if item.reductions:
        quantity, line_rate = _reduced_rate(item)
        why = Reduced(why, item.reductions, item.amount)
    if line_rate is None:
        line_rate, display = money.major(item.net_minor, item.currency), _ABSOLUTE
    return Line(
        item.price_id,
        item.product_id,
        item.title,
        part.description,
        quantity,
        line_rate,
        display,
        item.net_minor,
        item.charge.service,
        why,
        item.kind,
        item.tax_rate,
        item.tax_minor,
        _bought(item) if item.price_id is None else None,
    )


def _bought(item: Item) -> str | None:
    """The credit grant whose cost the item is, by its id and day of issue as in rating.credit."""
    charge = item.charge
    if charge.reason is not _CREDIT_GRANT or item.kind is not LineKind.CHARGE:
        return None
    return f"{charge.price.id}@{charge.service.start}"


def _reduced_rate(item: Item) -> tuple[Decimal, Decimal | None]:
    """The rate less its percentages; an amount taken off leaves a lump sum."""
    part = item.part
    in_percent = all(share.type == DiscountType.PERCENTAGE for share in item.reductions)
    if part.rate is None or not in_percent or not part.amount:
        return ONE, None
    return part.quantity, rate(ratio(part.rate, part=item.amount, whole=part.amount))


def _taking_line(taking: Taking) -> Line:
    item = taking.shares[0][0]
    net_minor = -taking.off_minor
    quantity, line_rate, display = ONE, money.major(net_minor, item.currency), _ABSOLUTE
    if taking.quantity is not None and item.part.rate is not None and _says(taking, item, net_minor=net_minor):
        quantity, line_rate, display = taking.quantity.copy_negate(), item.part.rate, item.part.rate_display
    return Line(
        price_id=_price(taking),
        product_id=taking.product_id,
        title=taking.title,
        description=taking.description,
        quantity=quantity,
        rate=line_rate,
        rate_display=display,
        net_minor=net_minor,
        service=_service(taking),
        explanation=taking.explanation,
        kind=taking.kind,
        tax_rate=taking.tax_rate,
        tax_minor=taking.tax_minor,
        grant_id=taking.grant_id,
    )


def _price(taking: Taking) -> str | None:
    """The price that it concerns, if it stands with its product and concerns one."""
    if taking.product_id is None:
        return None
    prices = {item.price_ids for item, _ in taking.shares}
    ids = prices.pop()
    return ids[0] if not prices and len(ids) == 1 else None


def _says(taking: Taking, item: Item, *, net_minor: int) -> bool:
    """Whether units x the item's rate is what the line comes to; after discounts the units cost less."""
    if taking.quantity is None or item.part.rate is None:
        return False
    return money.round_minor(multiply(taking.quantity, item.part.rate), item.currency) == -net_minor


def _service(taking: Taking) -> Period:
    """From the first day to the last of what it is taken from."""
    charge = taking.shares[0][0].charge
    service = charge.service
    for item, _ in taking.shares:
        if item.charge is not charge:
            charge = item.charge
            service = service.joined(charge.service)
    return service

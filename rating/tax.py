"""Tax: what is due on what is left (spec section 22, case 43).

Rates are resolved before, by the category of the product and the region of the customer, and given for each price. The
tax of an item is its rate x what is left of it after discounts and credits, rounded once. A line shows the tax on its
own net amount, and each negative line takes back what its share changed; so every line has its tax, the lines add up to
the total, and the total is the tax on what is left, to the last minor unit and never below zero.
"""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum

import msgspec

from rating.error import InvalidTax
from rating.invoice import BillWarning
from rating.item import Draft
from rating.number import ONE, ZERO, check, nearest
from rating.price import Price


class TaxStatus(StrEnum):
    """Whether a customer pays tax, is exempt, or accounts for it (reverse charge: rate 0 and a note on the invoice)."""

    TAXED = "TAXED"
    TAX_EXEMPT = "TAX_EXEMPT"
    REVERSE_CHARGED = "REVERSE_CHARGED"


_TAXED = TaxStatus.TAXED


class Tax(msgspec.Struct, frozen=True):
    """The customer's status and, by price id, the rates that apply; 0.2 is 20 %."""

    status: TaxStatus
    rates: Mapping[str, Decimal] = {}

    def __post_init__(self) -> None:
        for price_id, rate in self.rates.items():
            check(rate, key=f"taxRates.{price_id}")
            if not ZERO <= rate <= ONE:
                raise InvalidTax(key=f"taxRates.{price_id}").at(price_id=price_id)


def rate_of(tax: Tax | None, price: Price) -> Decimal | None:
    """The rate of a price; None when there is none, or when tax is not our business."""
    if tax is None:
        return None
    return tax.rates.get(price.id) if tax.status is _TAXED else ZERO


def warnings(tax: Tax | None, draft: Draft) -> list[BillWarning]:
    """A taxed customer's prices without a rate: a person must look before the bill is issued."""
    if tax is None or tax.status is not _TAXED:
        return []
    if draft.is_taxed_alike and draft.items and draft.items[0].tax_rate is not None:
        return []
    ids = dict.fromkeys([one for item in draft.items if item.tax_rate is None for one in item.price_ids])
    message = "No tax rate is known for this price; set one before the invoice is issued."
    return [BillWarning("TAX_RATE_MISSING", message, price_id) for price_id in ids]


def add_tax(draft: Draft) -> None:
    """Give every item and every taking its tax. Whole numbers are several times faster than decimals, and as exact."""
    # Nearly always there is one rate; it becomes a ratio once. Where none is known nothing is due yet.
    known, numerator, denominator = None, 0, 1
    for item in draft.items:
        if item.tax_rate is not known:
            known = item.tax_rate
            numerator, denominator = (known or ZERO).as_integer_ratio()
        net = item.net_minor
        item.tax_minor = tax = nearest(net * numerator, denominator)
        item.taxed = net, tax
    for taking in draft.takings:
        if taking.tax_rate is not known:
            known = taking.tax_rate
            numerator, denominator = (known or ZERO).as_integer_ratio()
        twice, whole, back = 2 * numerator, 2 * denominator, 0
        for item, amount in taking.shares:
            net, tax_before = item.taxed
            net -= amount
            # `nearest`, written out: nothing is taken from what is below zero.
            tax = (net * twice + denominator) // whole
            item.taxed = net, tax
            back += tax - tax_before
        taking.tax_minor = back

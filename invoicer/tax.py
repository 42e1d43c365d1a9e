"""Which tax rate applies to a price: the one chosen by hand on the schedule, else the one found by country.

    found       published and not archived, of the customer's country; of its state, or of no region; of the product's
                category, or of none
    best        one of the category before one of none, then one of the state before one of none

Where two are equally good, or none fits, no rate is known: the bill says so, and a person decides (spec section 22).
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from uuid import UUID

from rating.tax import Tax, TaxStatus
from store.customer import Address
from store.tax import TaxRate


def resolve(
    status: TaxStatus,
    prices: Mapping[UUID, UUID | None],
    *,
    chosen: Mapping[UUID, TaxRate],
    published: Sequence[TaxRate],
    address: Address,
) -> Tax:
    """The tax of a customer's bill; `prices` maps each price to the tax category of its product."""
    if status is not TaxStatus.TAXED:
        return Tax(status)
    local = [rate for rate in published if _is_local(rate, address)]
    rates: dict[str, Decimal] = {}
    for price, category in prices.items():
        rate = chosen.get(price) or _best(local, category)
        if rate is not None:
            rates[str(price)] = rate.amount
    return Tax(status, rates)


def _is_local(rate: TaxRate, address: Address) -> bool:
    return rate.country == address.country and (rate.region is None or rate.region == address.state)


def _best(rates: Iterable[TaxRate], category: UUID | None) -> TaxRate | None:
    fitting = [rate for rate in rates if rate.tax_category is None or rate.tax_category == category]
    if not fitting:
        return None
    first = max(fitting, key=_fit)
    return first if [_fit(rate) for rate in fitting].count(_fit(first)) == 1 else None


def _fit(rate: TaxRate) -> tuple[bool, bool]:
    return rate.tax_category is not None, rate.region is not None

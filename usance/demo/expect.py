"""What every invoice must come to, computed from the price list and the ledger alone.

The rules are written down a second time on purpose, in the shortest form: nothing of rating/ is used, so that one
mistake cannot be made on both sides.
"""

from decimal import ROUND_HALF_UP, Decimal

from usance.demo import company
from usance.demo.traffic import Ledger

CENT = Decimal("0.01")


def usage(ledger: Ledger, customer: int, month: int) -> dict[str, int]:
    """Price key -> units used."""
    return {price.key: ledger.usage(customer, month, price.metric) for price in company.PRICES}


def amounts(ledger: Ledger, customer: int, month: int) -> dict[str, Decimal]:
    """Price key (a plan's name for its fee) -> the sum of its lines."""
    plan = company.CUSTOMERS[customer].plan
    used = usage(ledger, customer, month)
    return {plan: company.PLAN_FEES[plan]} | {price.key: _cost(price, used[price.key]) for price in company.PRICES}


def _cost(price: company.Price, units: int) -> Decimal:
    """Each tier is a line, and each line is rounded."""
    cost, lower = Decimal(0), Decimal(0)
    for bound, per_unit in price.tiers:
        upper = Decimal(units) if bound is None else min(Decimal(units), bound)
        if upper > lower:
            cost += ((upper - lower) * per_unit).quantize(CENT, ROUND_HALF_UP)
            lower = upper
    return cost

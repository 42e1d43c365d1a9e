"""Small words for tests: `usd("12.34")`, `month("2025-02")`, `graduated("0-10 @ 0.50, then 0.40")`. Never random.

Dates are ISO text and ends are half-open, as inside the product.
"""

import re
from datetime import date
from decimal import Decimal

import msgspec

from rating import bill as billing
from rating.bill import Bill, BillInput, Usage
from rating.money import Money
from rating.period import Frequency, Period
from rating.price import BillingType, Fixed, Graduated, Linear, Price, Structure, UsageCalculationMode
from rating.schedule import Phase, Schedule
from rating.tier import Tier

METRIC = "calls"
_TIER = re.compile(r"(?:[\d.]+-(?P<bound>[\d.]+) @|then) (?P<price>[\d.]+)(?: \+ (?P<fee>[\d.]+))?")


def day(text: str) -> date:
    return date.fromisoformat(text)


def days(start: str, end: str) -> Period:
    return Period(day(start), day(end))


def month(text: str) -> Period:
    """month("2025-02") is the whole of February 2025."""
    year, number = map(int, text.split("-"))
    return Period(date(year, number, 1), date(year + number // 12, number % 12 + 1, 1))


def usd(text: str) -> Money:
    return Money(int(Decimal(text).scaleb(2)), "USD")


def fixed(price: str) -> Fixed:
    return Fixed(price=Decimal(price))


def linear(price: str, *, metric: str = METRIC, percentage: bool = False) -> Linear:
    return Linear(price_per_unit=Decimal(price), usage_metric_id=metric, is_price_percentage=percentage)


def graduated(text: str, *, metric: str = METRIC) -> Graduated:
    """Tiers as people write them; a flat fee follows a plus: "0-100 @ 1.00 + 20, then 0.75 + 50"."""
    mode = UsageCalculationMode.BILLING_PERIOD
    return Graduated(tiers=tiers(text), usage_metric_id=metric, usage_calculation_mode=mode)


def tiers(text: str) -> tuple[Tier, ...]:
    return tuple(_tier(part) for part in text.split(", "))


def price(structure: Structure, **changes: object) -> Price:
    """A monthly price in USD, in arrears; `changes` replaces any field."""
    plain = Price(
        id="price",
        product_id="product",
        name="Price",
        currency="USD",
        structure=structure,
        billing_frequency=Frequency.MONTHLY,
        billing_type=BillingType.IN_ARREARS,
    )
    return msgspec.structs.replace(plain, **changes)


def schedule(*prices: Price, start: str = "2025-01-01", end: str | None = None, anchor_day: int = 1) -> Schedule:
    first, last = day(start), day(end) if end else None
    return Schedule("schedule", first, last, anchor_day, (Phase(first, last, prices),))


def billed(contract: Schedule, bill_date: str, **quantities: str) -> Bill:
    """The bill of a date, with the same quantity of a metric in every period asked for: billed(..., calls="125")."""
    on = day(bill_date)
    usage = {key: Usage(Decimal(quantities[key.metric_id]), 1, 1) for key in billing.usage_needed(contract, on)}
    return billing.bill(BillInput(contract, on, usage))


def _tier(text: str) -> Tier:
    found = _TIER.fullmatch(text)
    assert found, f"not a tier: {text!r}"
    bound, fee = found["bound"], found["fee"]
    return Tier(Decimal(found["price"]), False, Decimal(bound) if bound else None, Decimal(fee) if fee else None)

"""Small words for tests: `usd("12.34")`, `month("2025-02")`, `graduated("0-10 @ 0.50, then 0.40")`. Never random.

Dates are ISO text and ends are half-open, as inside the product.
"""

import re
from datetime import date
from decimal import Decimal

import msgspec

from rating import bill as billing
from rating.bill import Bill, BillInput, Usage, UsageKey
from rating.credit import Grant
from rating.money import Money
from rating.period import Frequency, Period
from rating.price import (
    BillingType,
    Fixed,
    Graduated,
    Linear,
    OneTime,
    OveragesFrequency,
    Package,
    Price,
    SeatBased,
    SeatProrationStrategy,
    Structure,
    UsageCalculationMode,
    Volume,
)
from rating.schedule import Phase, Schedule
from rating.seat import SeatChange
from rating.terms import CreditUnit, Discount, DiscountType, Minimum, SeatDiscountType
from rating.tier import SeatTier, Tier, VolumeTier

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


def graduated(text: str, *, metric: str = METRIC, mode: str = "BILLING_PERIOD") -> Graduated:
    """Tiers as people write them; a flat fee follows a plus: "0-100 @ 1.00 + 20, then 0.75 + 50"."""
    return Graduated(tiers=tiers(text), usage_metric_id=metric, usage_calculation_mode=UsageCalculationMode(mode))


def volume(text: str, *, metric: str = METRIC, low: str | None = None, high: str | None = None) -> Volume:
    """Tiers as in `graduated`; `low` and `high` bound the fee of each event in every tier."""
    bounds = (Decimal(low) if low else None, Decimal(high) if high else None)
    rungs = tuple(VolumeTier(t.price, t.is_price_percentage, t.upper_bound, t.fee, *bounds) for t in tiers(text))
    return Volume(tiers=rungs, usage_metric_id=metric)


def package(text: str, *, metric: str = METRIC) -> Package:
    """package("250 @ 10") is 250 units for 10."""
    size, amount = text.split(" @ ")
    return Package(package_size=Decimal(size), price_per_package=Decimal(amount), usage_metric_id=metric)


def one_time(amount: str) -> OneTime:
    return OneTime(price=Decimal(amount))


def seats(
    text: str,
    *,
    strategy: str = "PRORATE_INCREMENTS",
    minimum: int = 0,
    overages: str | None = None,
    prorate_fees: bool = False,
    metric: str = "seats",
) -> SeatBased:
    """seats("15") is 15 each; seats("0-15 @ 12, then 15") has tiers."""
    is_ladder = "then" in text
    rungs = tuple(SeatTier(t.price, t.upper_bound, t.fee) for t in tiers(text)) if is_ladder else ()
    return SeatBased(
        seat_metric_id=metric,
        price_per_seat=Decimal(0 if is_ladder else text),
        proration_strategy=SeatProrationStrategy(strategy),
        contracted_minimum_seats=minimum,
        tiers=rungs,
        overages_billing_frequency=OveragesFrequency(overages) if overages else None,
        prorate_flat_fees=prorate_fees,
    )


def balances(text: str) -> tuple[SeatChange, ...]:
    """balances("2025-01-01 100, 2025-01-18 127"): the totals from these days on."""
    pairs = (change.split() for change in text.split(", ") if text)
    return tuple(SeatChange(day(on), int(total)) for on, total in pairs)


def discount(
    text: str,
    *prices: str,
    separate: bool = True,
    start: str | None = None,
    end: str | None = None,
    seats: str = "ALL_SEATS",
) -> Discount:
    """discount("10 %") or discount("50"), of these prices or of all."""
    kind = DiscountType.PERCENTAGE if text.endswith("%") else DiscountType.NOMINAL
    return Discount(
        id=text,
        type=kind,
        amount=Decimal(text.removesuffix(" %")),
        message=f"{text} off",
        separate_line_item=separate,
        restrict_to_prices=prices,
        seat_discount_type=SeatDiscountType(seats),
        start=day(start) if start else None,
        end=day(end) if end else None,
    )


def minimum(amount: str, *prices: str) -> Minimum:
    return Minimum(f"minimum {amount}", Decimal(amount), prices)


def units(balance: str, *, id: str = "units", metric: str = METRIC, **changes: object) -> Grant:  # noqa: A002
    """A grant of units of a metric, valid from 2025 on."""
    plain = Grant(id, id, CreditUnit.METRIC, Decimal(balance), date(2025, 1, 1), metric_id=metric)
    return msgspec.structs.replace(plain, **changes)


def cash(balance: str, *, id: str = "cash", **changes: object) -> Grant:  # noqa: A002
    """A grant of US dollars, valid from 2025 on."""
    plain = Grant(id, id, CreditUnit.CURRENCY, Decimal(balance), date(2025, 1, 1), currency="USD")
    return msgspec.structs.replace(plain, **changes)


def tiers(text: str) -> tuple[Tier, ...]:
    return tuple(_tier(part) for part in text.split(", "))


def price(structure: Structure, **changes: object) -> Price:
    """A monthly (or one-time) price in USD, in arrears; `changes` replaces any field."""
    is_once = isinstance(structure, OneTime)
    plain = {
        "id": "price",
        "product_id": "product",
        "name": "Price",
        "currency": "USD",
        "structure": structure,
        "billing_frequency": Frequency.ONE_TIME if is_once else Frequency.MONTHLY,
        "billing_type": BillingType.IN_ARREARS,
    }
    return Price(**(plain | changes))  # type: ignore[arg-type]


def schedule(
    *prices: Price, start: str = "2025-01-01", end: str | None = None, anchor_day: int = 1, **terms: object
) -> Schedule:
    """A schedule of one phase; `terms` are the phase's discounts, minimums and so on."""
    first, last = day(start), day(end) if end else None
    return Schedule("schedule", first, last, anchor_day, (phase(*prices, start=start, end=end, **terms),))


def phase(*prices: Price, start: str, end: str | None = None, **terms: object) -> Phase:
    return msgspec.structs.replace(Phase(day(start), day(end) if end else None, prices), **terms)


def phased(*phases: Phase, anchor_day: int = 1) -> Schedule:
    """A schedule that starts with its first phase and ends with its last."""
    return Schedule("schedule", phases[0].start, phases[-1].end, anchor_day, phases)


def billed(contract: Schedule, bill_date: str, **given: object) -> Bill:
    """The bill of a date. Given are quantities by metric, the same in every period asked for, or by day:

    billed(..., calls="125"), billed(..., calls={"2025-01-03": "80"}); and seats, grants, drawn, tax as in BillInput.
    """
    on = day(bill_date)
    facts = {name: given.pop(name) for name in ("grants", "drawn", "tax", "usage") if name in given}
    history = balances(str(given.pop("seats", "")))
    usage = {key: _usage(given[key.metric_id], key) for key in billing.usage_needed(contract, on)}
    plain = BillInput(contract, on, usage, seats={"seats": history})
    return billing.bill(msgspec.structs.replace(plain, **facts))


def _usage(given: object, key: UsageKey) -> Usage:
    if isinstance(given, Usage):
        return given
    if isinstance(given, dict):
        found = [Decimal(amount) for on, amount in given.items() if key.service.start <= day(on) < key.service.end]
        return Usage(sum(found, Decimal(0)), len(found), 1)
    return Usage(Decimal(str(given)), 1, 1)


def _tier(text: str) -> Tier:
    found = _TIER.fullmatch(text)
    assert found, f"not a tier: {text!r}"
    bound, fee = found["bound"], found["fee"]
    return Tier(Decimal(found["price"]), False, Decimal(bound) if bound else None, Decimal(fee) if fee else None)

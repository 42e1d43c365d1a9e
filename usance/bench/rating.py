"""How many bills one core makes in a second, from facts in memory to lines with their explanations.

The workload, one month of one customer: a fee in advance, three graduated tiers with a flat fee, a linear, a package
and a volume price; 10 % off one of them on a line of its own, a minimum over two that is not reached, a cash grant and
20 % tax. That is twelve lines, each explained.

Beside it stands a limit, measured in the same run: a bare loop that multiplies and rounds as often as such a bill must,
and does nothing else. The ratio of the two hardly depends on the machine or on who else uses it.
"""

import cProfile
import pstats
import time
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from io import StringIO
from pathlib import Path

import msgspec

from rating import bill, money, number
from rating.bill import BillInput, Usage, UsageKey
from rating.credit import Grant
from rating.period import Frequency
from rating.price import BillingType, Fixed, Graduated, Linear, Package, Price, Structure, UsageCalculationMode, Volume
from rating.schedule import Phase, Schedule
from rating.tax import Tax, TaxStatus
from rating.terms import CreditUnit, Discount, DiscountType, Minimum
from rating.tier import Tier, VolumeTier

BILLS = 2_000
ROUNDS = 5
PROFILE_ROWS = 30
BILL_DATE = date(2025, 3, 1)


class Result(msgspec.Struct, frozen=True, rename="camel"):
    """The best of several rounds, and the size of what is kept: a line as JSON, with its explanation."""

    bills: int
    rounds: int
    bills_per_second: float
    limit_per_second: float
    limit_ratio: float
    lines_per_bill: int
    line_bytes_mean: float
    line_bytes_max: int


def run(*, bills: int, json: Path | None) -> None:
    """Measure, and say it; for machines in a file."""
    result = measure(bills=bills)
    print(f"{result.bills_per_second:,.0f} bills/s on one core, {result.lines_per_bill} explained lines each")
    limit = f"{result.limit_per_second:,.0f} bills/s"
    print(f"{limit} if multiplying and rounding were all: {result.limit_ratio:.1f} times as many")
    print(f"{result.line_bytes_mean:,.0f} bytes per kept line, {result.line_bytes_max:,} at most")
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")


def measure(*, bills: int = BILLS, rounds: int = ROUNDS) -> Result:
    """Bills per second of processor time, the best of some rounds; the limit takes turns with it."""
    inputs = workload(bills)
    lines = list(bill.bill(inputs[0]).lines())
    pairs = [(_seconds(inputs), _limit_seconds(inputs, lines=len(lines))) for _ in range(rounds)]
    seconds, limit_seconds = (min(column) for column in zip(*pairs, strict=True))
    sizes = [len(number.to_json(line)) for line in lines]
    return Result(
        bills=bills,
        rounds=rounds,
        bills_per_second=len(inputs) / seconds,
        limit_per_second=len(inputs) / limit_seconds,
        limit_ratio=seconds / limit_seconds,
        lines_per_bill=len(lines),
        line_bytes_mean=sum(sizes) / len(sizes),
        line_bytes_max=max(sizes),
    )


def profile(*, bills: int = BILLS) -> str:
    """Where the time goes, as a table."""
    inputs = workload(bills)
    profiler = cProfile.Profile()
    profiler.runcall(_seconds, inputs)
    table = StringIO()
    pstats.Stats(profiler, stream=table).sort_stats("tottime").print_stats(PROFILE_ROWS)
    return table.getvalue()


def workload(bills: int) -> Sequence[BillInput]:
    """The same contract with a little more usage each time."""
    contract = _contract()
    prices = contract.phases[0].prices
    tax = Tax(TaxStatus.TAXED, dict.fromkeys((price.id for price in prices), Decimal("0.2")))
    grants = (Grant("grant", "Prepaid", CreditUnit.CURRENCY, Decimal(50), date(2025, 1, 1), currency="USD"),)
    keys = bill.usage_needed(contract, BILL_DATE)
    return [
        BillInput(contract, BILL_DATE, {key: _usage(key, number) for key in keys}, grants=grants, tax=tax)
        for number in range(bills)
    ]


def _seconds(inputs: Sequence[BillInput]) -> float:
    start = time.process_time()
    for given in inputs:
        bill.bill(given)
    return time.process_time() - start


def _limit_seconds(inputs: Sequence[BillInput], *, lines: int) -> float:
    """Each line's amount multiplied and rounded, and its tax."""
    rate, tax = Decimal("0.015"), Decimal("0.2")
    start = time.process_time()
    for given in inputs:
        quantity = next(iter(given.usage.values())).quantity
        for _ in range(lines):
            amount = number.multiply(quantity, rate)
            money.round_minor(amount, "USD")
            money.round_minor(number.multiply(amount, tax), "USD")
    return time.process_time() - start


_USED = {"requests": 12_000, "storage": 550, "mails": 600, "jobs": 125}


def _usage(key: UsageKey, number: int) -> Usage:
    return Usage(Decimal(_USED[key.metric_id] + number), 100, 1)


def _contract() -> Schedule:
    usual = UsageCalculationMode.BILLING_PERIOD
    tiers = (
        Tier(Decimal(0), False, Decimal(1000), Decimal(25)),
        Tier(Decimal("0.02"), False, Decimal(10_000)),
        Tier(Decimal("0.015"), False),
    )
    rungs = (
        VolumeTier(Decimal(1), False, Decimal(100), Decimal(20)),
        VolumeTier(Decimal("0.75"), False, None, Decimal(50)),
    )
    prices = (
        _price("fee", Fixed(price=Decimal(99))),
        _price("requests", Graduated(tiers=tiers, usage_metric_id="requests", usage_calculation_mode=usual)),
        _price(
            "storage",
            Linear(price_per_unit=Decimal("0.10"), usage_metric_id="storage", is_price_percentage=False),
        ),
        _price(
            "mails",
            Package(package_size=Decimal(250), price_per_package=Decimal(10), usage_metric_id="mails"),
        ),
        _price("jobs", Volume(tiers=rungs, usage_metric_id="jobs")),
    )
    off = Discount("discount", DiscountType.PERCENTAGE, Decimal(10), "10 % off", True, ("requests",))
    floor = Minimum("minimum", Decimal(500), ("requests", "storage"))
    phase = Phase(date(2025, 1, 1), None, prices, discounts=(off,), minimums=(floor,))
    return Schedule("schedule", date(2025, 1, 1), None, 1, (phase,))


def _price(name: str, structure: Structure) -> Price:
    billing_type = BillingType.IN_ADVANCE if isinstance(structure, Fixed) else BillingType.IN_ARREARS
    return Price(name, name, name, "USD", structure, Frequency.MONTHLY, billing_type)

"""How many bills one core makes in a second, from facts in memory to lines with their explanations.

The workload is one month of many customers, each with a contract, usage, a credit balance and a tax rate of its own: a
fee in advance, three graduated tiers with a flat fee, a linear, a package and a volume price; 10 % off one of them on a
line of its own, a minimum over two, a cash grant and tax. That is about twelve lines, each explained. Contracts share
what they share in life, the prices of a catalog; billing days, ages and quantities differ, and some months are partial.

Beside it stands a limit, measured in the same run: a bare loop that multiplies and rounds as often as such bills must,
and does nothing else. The ratio of the two depends less on the machine than each alone; it grows where others use the
machine too, because bills need the caches and the loop does not.
"""

import cProfile
import pstats
import time
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from io import StringIO
from itertools import product
from math import inf
from pathlib import Path
from typing import TypeAlias

import msgspec

from rating import bill, money, number
from rating.bill import Bill, BillInput, Needs, Usage, UsageKey
from rating.credit import Grant
from rating.period import Frequency
from rating.price import BillingType, Fixed, Graduated, Linear, Package, Price, Structure, UsageCalculationMode, Volume
from rating.schedule import Phase, Schedule, next_bill_date
from rating.tax import Tax, TaxStatus
from rating.terms import CreditUnit, Discount, DiscountType, Minimum
from rating.tier import Tier, VolumeTier

BILLS = 2_000
ROUNDS = 10
# Timed together.
PIECE = 50
PROFILE_ROWS = 30
# Five prices each.
PLANS = 60
OLDEST = date(2023, 1, 10)
MONTH = date(2025, 2, 1)


Work: TypeAlias = Callable[[Sequence[BillInput]], object]


class Result(msgspec.Struct, frozen=True, rename="camel"):
    """The best of several rounds, piece by piece, and the size of what is kept: a line as JSON, with its explanation.

    `needs_per_second`: for how many bills what must be known is found out in a second, which goes before each bill.
    """

    bills: int
    rounds: int
    bills_per_second: float
    limit_per_second: float
    limit_ratio: float
    needs_per_second: float
    lines_per_bill: float
    line_bytes_mean: float
    line_bytes_max: int


def run(*, bills: int, json: Path | None) -> None:
    """Measure, and say it; for machines in a file."""
    result = measure(bills=bills)
    print(f"{result.bills_per_second:,.0f} bills/s on one core, {result.lines_per_bill:.1f} explained lines each")
    limit = f"{result.limit_per_second:,.0f} bills/s"
    print(f"{limit} if multiplying and rounding were all: {result.limit_ratio:.1f} times as many")
    print(f"{result.needs_per_second:,.0f} bills/s are asked what must be known for them")
    print(f"{result.line_bytes_mean:,.0f} bytes per kept line, {result.line_bytes_max:,} at most")
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")


def measure(*, bills: int = BILLS, rounds: int = ROUNDS) -> Result:
    """Bills per second of processor time; the limit takes turns with it."""
    inputs = workload(bills)
    lines = [line for made in _bills(inputs) for line in made.lines()]
    sizes = [len(number.to_json(line)) for line in lines]
    limit = partial(_limit, lines=round(len(lines) / bills))
    seconds, limit_seconds, needs_seconds = _best_seconds((_bills, limit, _needs), inputs, rounds=rounds)
    return Result(
        bills=bills,
        rounds=rounds,
        bills_per_second=bills / seconds,
        limit_per_second=bills / limit_seconds,
        limit_ratio=seconds / limit_seconds,
        needs_per_second=bills / needs_seconds,
        lines_per_bill=len(lines) / bills,
        line_bytes_mean=sum(sizes) / len(sizes),
        line_bytes_max=max(sizes),
    )


def profile(*, bills: int = BILLS) -> str:
    """Where the time goes, as a table."""
    inputs = workload(bills)
    profiler = cProfile.Profile()
    profiler.runcall(_bills, inputs)
    table = StringIO()
    pstats.Stats(profiler, stream=table).sort_stats("tottime").print_stats(PROFILE_ROWS)
    return table.getvalue()


def workload(bills: int) -> Sequence[BillInput]:
    """The next bill of each of so many customers."""
    catalog = [_plan(number) for number in range(PLANS)]
    return [_input(catalog[number % PLANS], number) for number in range(bills)]


def _best_seconds(works: Sequence[Work], inputs: Sequence[BillInput], *, rounds: int) -> list[float]:
    """Of each piece the best of all rounds, added up: whoever else uses the core slows down some pieces of each round,
    and others in the next. Everything made in a round is kept until it ends, as a run keeps it until it is saved.
    """
    pieces = [inputs[start : start + PIECE] for start in range(0, len(inputs), PIECE)]
    best = [[inf] * len(pieces) for _ in works]
    for _, (work, seconds) in product(range(rounds), list(zip(works, best, strict=True))):
        kept: list[object] = []
        for at, piece in enumerate(pieces):
            start = time.process_time()
            kept.append(work(piece))
            seconds[at] = min(seconds[at], time.process_time() - start)
    return [sum(seconds) for seconds in best]


def _bills(inputs: Sequence[BillInput]) -> list[Bill]:
    return [bill.bill(given) for given in inputs]


def _needs(inputs: Sequence[BillInput]) -> list[Needs]:
    return [bill.needs(given.schedule, given.bill_date) for given in inputs]


def _limit(inputs: Sequence[BillInput], *, lines: int) -> None:
    """Each line's amount multiplied and rounded, and its tax."""
    rate, tax = Decimal("0.015"), Decimal("0.2")
    for given in inputs:
        quantity = next(iter(given.usage.values())).quantity
        for _ in range(lines):
            amount = number.multiply(quantity, rate)
            money.round_minor(amount, "USD")
            money.round_minor(number.multiply(amount, tax), "USD")


# The least that is used of each metric, and how far above it the others are.
_USED = {"requests": (2_000, 20_000), "storage": (100, 900), "mails": (0, 2_000), "jobs": (50, 150)}
_TAX_RATES = tuple(map(Decimal, ("0.2", "0.19", "0.21", "0.077", "0.25")))


def _input(prices: tuple[Price, ...], number: int) -> BillInput:
    contract = _contract(prices, number)
    due = next_bill_date(contract, MONTH + timedelta(days=number % 28))
    assert due is not None, "the contract has no end"  # noqa: S101 our own bug
    rate = _TAX_RATES[number % len(_TAX_RATES)]
    tax = Tax(TaxStatus.TAXED, {price.id: rate for price in prices})
    balance = Decimal(20 + number % 80)
    grants = (Grant(f"grant-{number}", "Prepaid", CreditUnit.CURRENCY, balance, OLDEST, currency="USD"),)
    asked = bill.needs(contract, due)
    usage = {key: _usage(key, number) for key in asked.usage}
    return BillInput(contract, due, usage, grants=grants, tax=tax, due=asked.due)


def _usage(key: UsageKey, number: int) -> Usage:
    metric, _, _ = key.metric_id.partition("-")
    least, spread = _USED[metric]
    # Multiples of a prime, in an order that looks like none.
    some = number * 7919 % spread
    quantity = Decimal(least + some) + (Decimal(some % 8) / 8 if metric == "storage" else 0)
    return Usage(quantity, 100 + some, 1)


def _contract(prices: tuple[Price, ...], number: int) -> Schedule:
    """Begun some time in the last two years, billed on any day of the month."""
    fee, requests, storage, *_ = (price.id for price in prices)
    del fee
    start = OLDEST + timedelta(days=number * 389 % 750)
    off = Discount(f"discount-{number}", DiscountType.PERCENTAGE, Decimal(5 + number % 10), "Loyal", True, (requests,))
    floor = Minimum(f"minimum-{number}", Decimal(300 + number % 400), (requests, storage))
    phase = Phase(start, None, prices, discounts=(off,), minimums=(floor,))
    return Schedule(f"schedule-{number}", start, None, 1 + number % 31, (phase,))


def _plan(number: int) -> tuple[Price, ...]:
    """Five prices of the catalog, a little dearer with each plan."""
    usual = UsageCalculationMode.BILLING_PERIOD
    tiers = (
        Tier(Decimal(0), False, Decimal(1000 + 10 * number), Decimal(25)),
        Tier(Decimal("0.02"), False, Decimal(10_000 + 100 * number)),
        Tier(Decimal("0.015") + Decimal(number) / 10_000, False),
    )
    rungs = (
        VolumeTier(Decimal(1) + Decimal(number) / 100, False, Decimal(100), Decimal(20)),
        VolumeTier(Decimal("0.75"), False, None, Decimal(50)),
    )
    metrics = {name: f"{name}-{number}" for name in _USED}
    package = Package(
        package_size=Decimal(250), price_per_package=Decimal(10 + number), usage_metric_id=metrics["mails"]
    )
    linear = Linear(price_per_unit=Decimal("0.10"), usage_metric_id=metrics["storage"], is_price_percentage=False)
    graduated = Graduated(tiers=tiers, usage_metric_id=metrics["requests"], usage_calculation_mode=usual)
    return (
        _price(f"fee-{number}", Fixed(price=Decimal(99 + number))),
        _price(metrics["requests"], graduated),
        _price(metrics["storage"], linear),
        _price(metrics["mails"], package),
        _price(metrics["jobs"], Volume(tiers=rungs, usage_metric_id=metrics["jobs"])),
    )


def _price(name: str, structure: Structure) -> Price:
    billing_type = BillingType.IN_ADVANCE if isinstance(structure, Fixed) else BillingType.IN_ARREARS
    return Price(name, name, name, "USD", structure, Frequency.MONTHLY, billing_type)

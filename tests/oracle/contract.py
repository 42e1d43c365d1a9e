"""Contracts made up by a seeded generator: every kind of price and term, often on a border (clamped anchors, inclusive
bounds, halves of a cent), together with the events and seats of their life. The same seed makes the same contract.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from random import Random

from rating.credit import Grant
from rating.period import DAYS, MONTHS, Frequency
from rating.phase import Milestone, Phase, RecurrencePreference
from rating.price import BillingType, Commitment, Price, UsageCalculationMode, UsageCalculationPeriod, metric_of
from rating.schedule import Schedule
from rating.seat import SeatChange
from rating.structure import (
    Fixed,
    Graduated,
    Linear,
    OneTime,
    OveragesFrequency,
    Package,
    SeatBased,
    SeatProrationStrategy,
    Structure,
    Volume,
)
from rating.tax import Tax, TaxStatus
from rating.terms import (
    CreditUnit,
    Discount,
    DiscountType,
    GrantTerms,
    Minimum,
    RolloverMode,
    SeatDiscountType,
    is_minimum_price,
    pace_setter,
)
from rating.tier import SeatTier, Tier, VolumeTier
from tests.oracle.usage import Event, Facts

METRICS = ("calls", "bytes", "users")
UNIQUE = frozenset({"users"})
SEATS = "seats"
CURRENCIES = ("USD", "USD", "EUR", "JPY", "KWD")
LIFE_DAYS = (20, 45, 90, 200, 400, 800)
DAILY_LIFE_DAYS = 70


@dataclass(frozen=True)
class Contract:
    """A schedule, what happened, and what the customer has; bills are made up to a day."""

    schedule: Schedule
    facts: Facts
    grants: tuple[Grant, ...]
    tax: Tax | None
    rolls_up: bool
    until: date


def contract(seed: int) -> Contract:
    """The contract of a number."""
    draw = Random(seed)  # noqa: S311 - to be repeated, not to be secret
    is_daily = draw.random() < 0.15
    start = date(2023, 1, 1) + timedelta(days=draw.randrange(800))
    days = draw.randrange(10, DAILY_LIFE_DAYS) if is_daily else draw.choice(LIFE_DAYS) + draw.randrange(40)
    end = start + timedelta(days=days)
    schedule = _schedule(draw, start, end, is_daily=is_daily)
    rolls_up = draw.random() < 0.2
    customers = ("one", "two", "three")[: draw.randrange(1, 4) if rolls_up else 1]
    facts = Facts(
        events={metric: _events(draw, metric, start, days, customers) for metric in METRICS},
        unique=UNIQUE,
        customers=customers,
        seats={SEATS: _seats(draw, start, days)},
    )
    prices = [price for phase in schedule.phases for price in phase.prices]
    taxed = [price.id for price in prices] + [terms.id for phase in schedule.phases for terms in phase.grants]
    return Contract(schedule, facts, _grants(draw, prices, start, days), _tax(draw, taxed), rolls_up, end)


def _schedule(draw: Random, start: date, end: date, *, is_daily: bool) -> Schedule:
    """One to three phases; now and then open at the end, or with a milestone that came early or late."""
    cuts = sorted({start + timedelta(days=draw.randrange(5, (end - start).days)) for _ in range(draw.randrange(3))})
    borders = [start, *cuts, end]
    is_open = draw.random() < 0.3
    currency = draw.choice(CURRENCIES)
    reused = [_price(draw, n, currency, is_daily=is_daily) for n in range(draw.randrange(1, 5))]
    phases = []
    for number, (first, last) in enumerate(pairwise(borders)):
        kept = [price for price in reused if number == 0 or draw.random() < 0.6]
        new = [_price(draw, 10 * number + 10 + n, currency, is_daily=is_daily) for n in range(draw.randrange(2))]
        prices = tuple([*kept, *new] or [_price(draw, 10 * number + 19, currency, is_daily=is_daily)])
        is_last = number == len(borders) - 2
        phases.append(_phase(draw, first, None if is_last and is_open else last, prices))
    phases = _with_milestone(draw, phases) if draw.random() < 0.2 else phases
    anchor_day = draw.choice((1, start.day, draw.randrange(1, 32), 28, 29, 30, 31))
    return Schedule("schedule", start, phases[-1].end, anchor_day, tuple(phases))


def _with_milestone(draw: Random, phases: list[Phase]) -> list[Phase]:
    """The first of several phases, or the only one, ends when something is reached; those behind it move."""
    first = phases[0]
    reached = first.start + timedelta(days=draw.randrange(40)) if draw.random() < 0.8 else None
    return [_changed(first, end=None, milestone=Milestone("pilot", reached)), *phases[1:]]


def _changed(phase: Phase, **changes: object) -> Phase:
    return Phase(**{**{name: getattr(phase, name) for name in phase.__struct_fields__}, **changes})


def _price(draw: Random, number: int, currency: str, *, is_daily: bool) -> Price:
    structure = draw.choice((_one_time, _fixed, _linear, _package, _graduated, _graduated, _volume, _seat_based))(draw)
    frequency = _frequency(draw, structure, is_daily=is_daily)
    if (isinstance(structure, SeatBased) and frequency not in MONTHS) or (
        isinstance(structure, SeatBased) and MONTHS.get(structure.overages() or frequency, 0) > MONTHS[frequency]
    ):
        structure = _without_overages(structure)
    is_metered = metric_of(structure) is not None
    is_bounded = is_metered and frequency is not Frequency.ON_DEMAND
    extension = draw.random() if isinstance(structure, Linear) else 1
    low = _amount(draw, 400) if is_bounded and draw.random() < 0.15 else None
    high = _amount(draw, 400) if is_bounded and draw.random() < 0.15 else None
    return Price(
        id=f"price-{number}",
        product_id=f"product-{draw.randrange(3)}",
        name="Price",
        currency=currency,
        structure=structure,
        billing_frequency=frequency,
        billing_type=BillingType.IN_ARREARS if is_metered or draw.random() < 0.5 else BillingType.IN_ADVANCE,
        usage_calculation_period=_window(draw, structure, frequency),
        minimum=low if high is None or low is None else min(low, high),
        maximum=high if high is None or low is None else max(low, high),
        commitment=Commitment(_amount(draw, 300), _rate(draw)) if is_bounded and extension < 0.2 else None,
        prices_by_group={"eu": _rate(draw), "us": _rate(draw)} if _is_grouped(structure, extension) else None,
    )


def _is_grouped(structure: Structure, extension: float) -> bool:
    return metric_of(structure) not in UNIQUE and 0.2 <= extension < 0.4


def _frequency(draw: Random, structure: Structure, *, is_daily: bool) -> Frequency:
    if isinstance(structure, OneTime):
        return Frequency.ONE_TIME
    if isinstance(structure, Fixed) and draw.random() < 0.1:
        return Frequency.ONE_TIME
    short = [Frequency.DAILY, Frequency.WEEKLY]
    if metric_of(structure) is not None:
        short += [Frequency.ON_DEMAND, Frequency.ON_DEMAND]
    if isinstance(structure, Graduated) and structure.usage_calculation_mode is UsageCalculationMode.PERIODIC:
        short.remove(Frequency.WEEKLY)
    return draw.choice(short) if is_daily else draw.choice([*MONTHS, Frequency.MONTHLY, Frequency.MONTHLY])


def _window(draw: Random, structure: Structure, frequency: Frequency) -> UsageCalculationPeriod | None:
    """A window of whole billing periods."""
    if not isinstance(structure, Graduated):
        return None
    fitting = [
        UsageCalculationPeriod(of, interval)
        for of in MONTHS
        for interval in (1, 2, 3)
        if frequency in DAYS or MONTHS[of] * interval % MONTHS.get(frequency, 1) == 0
    ]
    return draw.choice(fitting)


def _one_time(draw: Random) -> Structure:
    return OneTime(price=_amount(draw, 900))


def _fixed(draw: Random) -> Structure:
    return Fixed(price=_amount(draw, 900))


def _linear(draw: Random) -> Structure:
    rate = max(_rate(draw), Decimal("0.001"))
    return Linear(price_per_unit=rate, usage_metric_id=draw.choice(METRICS), is_price_percentage=draw.random() < 0.3)


def _package(draw: Random) -> Structure:
    size = Decimal(draw.choice(("1", "7", "10", "12.5", "250")))
    return Package(package_size=size, price_per_package=_amount(draw, 30), usage_metric_id=draw.choice(METRICS))


def _graduated(draw: Random) -> Structure:
    tiers = tuple(Tier(_rate(draw), draw.random() < 0.2, bound, _fee(draw)) for bound in _bounds(draw))
    mode = draw.choice(list(UsageCalculationMode))
    return Graduated(tiers=tiers, usage_metric_id=draw.choice(METRICS), usage_calculation_mode=mode)


def _volume(draw: Random) -> Structure:
    metric = draw.choice(METRICS)
    is_clamped = metric not in UNIQUE and draw.random() < 0.4
    tiers = []
    for bound in _bounds(draw):
        low, high = sorted((_amount(draw, 2), _amount(draw, 20)))
        low_price = low if is_clamped and draw.random() < 0.7 else None
        high_price = high if is_clamped and draw.random() < 0.7 else None
        tiers.append(VolumeTier(_rate(draw), draw.random() < 0.2, bound, _fee(draw), low_price, high_price))
    return Volume(tiers=tuple(tiers), usage_metric_id=metric)


def _seat_based(draw: Random) -> Structure:
    bounds = sorted(draw.sample(range(1, 40), draw.randrange(3)))
    ladder = tuple(SeatTier(_amount(draw, 40), bound, _fee(draw)) for bound in [*map(Decimal, bounds), None])
    return SeatBased(
        seat_metric_id=SEATS,
        price_per_seat=_amount(draw, 40),
        proration_strategy=draw.choice(list(SeatProrationStrategy)),
        contracted_minimum_seats=draw.choice((0, 0, 5, 15, 30)),
        tiers=ladder if draw.random() < 0.6 else (),
        overages_billing_frequency=draw.choice((None, *OveragesFrequency)),
        prorate_flat_fees=draw.random() < 0.5,
    )


def _without_overages(structure: SeatBased) -> SeatBased:
    fields = {name: getattr(structure, name) for name in structure.__struct_fields__}
    return SeatBased(**{**fields, "overages_billing_frequency": None})


def _bounds(draw: Random) -> list[Decimal | None]:
    steps = draw.sample((10, 25, 50, 100, 125, 250, 1000), draw.randrange(4))
    return [*map(Decimal, sorted(steps)), None]


def _fee(draw: Random) -> Decimal | None:
    return _amount(draw, 60) if draw.random() < 0.5 else None


def _rate(draw: Random) -> Decimal:
    """From free to a few, often with the half cents that rounding is about."""
    return draw.choice(
        (Decimal(draw.randrange(400)).scaleb(-2), Decimal(draw.randrange(900) * 5).scaleb(-3), Decimal(0))
    )


def _amount(draw: Random, most: int) -> Decimal:
    return Decimal(draw.randrange(most * 100)).scaleb(-2) if draw.random() < 0.5 else Decimal(draw.randrange(most))


def _phase(draw: Random, first: date, end: date | None, prices: tuple[Price, ...]) -> Phase:
    is_paced = pace_setter(prices) is not None
    return Phase(
        start=first,
        end=end,
        prices=prices,
        discounts=tuple(
            _discount(draw, n, first, prices, is_paced=is_paced) for n in range(draw.choice((0, 1, 1, 2, 3)))
        ),
        minimums=tuple(_minimums(draw, prices)),
        grants=tuple(_terms(draw, n, prices) for n in range(draw.choice((0, 0, 1, 2)))),
        recurrence=draw.choice(list(RecurrencePreference)),
        plan_minimum=_amount(draw, 900) if is_paced and draw.random() < 0.2 else None,
    )


def _some(draw: Random, prices: tuple[Price, ...]) -> tuple[str, ...]:
    return tuple(price.id for price in prices if draw.random() < 0.5)


def _discount(draw: Random, number: int, start: date, prices: tuple[Price, ...], *, is_paced: bool) -> Discount:
    restriction = _some(draw, prices)
    targets = [price for price in prices if not restriction or price.id in restriction]
    is_nominal = is_paced and pace_setter(targets) is not None and draw.random() < 0.5
    valid_from = start + timedelta(days=draw.randrange(-20, 60)) if draw.random() < 0.3 else None
    valid_to = (valid_from or start) + timedelta(days=draw.randrange(1, 120)) if draw.random() < 0.4 else None
    return Discount(
        id=f"discount-{number}",
        type=DiscountType.NOMINAL if is_nominal else DiscountType.PERCENTAGE,
        amount=_amount(draw, 100),
        message="less",
        separate_line_item=draw.random() < 0.5,
        restrict_to_prices=restriction,
        seat_discount_type=draw.choice(list(SeatDiscountType)),
        start=valid_from,
        end=valid_to,
    )


def _minimums(draw: Random, prices: tuple[Price, ...]) -> list[Minimum]:
    """Over prices of one frequency; over all where all have one."""
    usable = [price for price in prices if is_minimum_price(price)]
    found = []
    for number in range(draw.choice((0, 1, 2)) if usable else 0):
        frequency = draw.choice(usable).billing_frequency
        covered = [price for price in usable if price.billing_frequency is frequency and draw.random() < 0.7]
        is_global = len({price.billing_frequency for price in usable}) == 1 and draw.random() < 0.4
        if covered or is_global:
            ids = () if is_global else tuple(price.id for price in covered)
            found.append(Minimum(f"minimum-{number}", _amount(draw, 500), ids))
    return found


def _terms(draw: Random, number: int, prices: tuple[Price, ...]) -> GrantTerms:
    is_money = draw.random() < 0.5
    return GrantTerms(
        id=f"terms-{number}",
        name="Included",
        unit=CreditUnit.CURRENCY if is_money else CreditUnit.METRIC,
        amount=_amount(draw, 200),
        currency=prices[0].currency if is_money else None,
        metric_id=None if is_money else draw.choice((*METRICS, None)),
        refresh=draw.choice((None, *MONTHS)),
        rollover=draw.choice(list(RolloverMode)),
        restrict_to_prices=_some(draw, prices) if draw.random() < 0.4 else (),
        cost=_amount(draw, 100) if draw.random() < 0.4 else Decimal(0),
    )


def _grants(draw: Random, prices: list[Price], start: date, days: int) -> tuple[Grant, ...]:
    return tuple(_grant(draw, n, prices, start, days) for n in range(draw.choice((0, 0, 1, 2, 3))))


def _grant(draw: Random, number: int, prices: list[Price], start: date, days: int) -> Grant:
    terms = _terms(draw, number, tuple(prices))
    first = start + timedelta(days=draw.randrange(-30, days))
    return Grant(
        id=f"grant-{number}",
        name="Prepaid",
        unit=terms.unit,
        balance=terms.amount,
        start=first,
        end=first + timedelta(days=draw.randrange(1, 300)) if draw.random() < 0.5 else None,
        currency=terms.currency,
        metric_id=terms.metric_id,
        restrict_to_prices=terms.restrict_to_prices,
    )


def _tax(draw: Random, taxed: list[str]) -> Tax | None:
    if draw.random() < 0.1:
        return None
    rates = [Decimal("0.2"), Decimal("0.19"), Decimal("0.0825"), Decimal(0)]
    known = draw.sample(rates, draw.choice((1, 1, 2, 3)))
    status = draw.choice((TaxStatus.TAXED, TaxStatus.TAXED, TaxStatus.TAXED, *TaxStatus))
    return Tax(status, {one: draw.choice(known) for one in sorted(set(taxed)) if draw.random() < 0.95})


def _events(draw: Random, metric: str, start: date, days: int, customers: tuple[str, ...]) -> list[Event]:
    """A few events, some before and after the contract; amounts that meet bounds now and then."""
    found = [
        Event(
            on=start + timedelta(days=draw.randrange(-20, days + 20)),
            customer=draw.choice(customers),
            group=draw.choice(("eu", "us", "ap", "")),
            amount=Decimal(draw.randrange(20)) if metric in UNIQUE else _quantity(draw),
        )
        for _ in range(draw.choice((0, 20, 60, 150)))
    ]
    return sorted(found, key=lambda event: event.on)


def _quantity(draw: Random) -> Decimal:
    return draw.choice(
        (Decimal(draw.randrange(60)), Decimal(25), Decimal(50), Decimal(draw.randrange(9000)).scaleb(-2))
    )


def _seats(draw: Random, start: date, days: int) -> tuple[SeatChange, ...]:
    """Balances of up to fifty seats; one day in four sees two."""
    count = draw.choice((0, 1, 4, 12, 30))
    on = sorted(start + timedelta(days=draw.randrange(-30, days + 10)) for _ in range(count))
    return tuple(SeatChange(day, draw.randrange(50)) for day in on for _ in range(draw.choice((1, 1, 1, 2))))

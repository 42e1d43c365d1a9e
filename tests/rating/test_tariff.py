"""Tariffs: the worked cases of every kind of usage price, with both sides of each boundary."""

from collections import Counter
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating import tier
from rating.error import InconsistentUsage, MissingUsage, NegativeUsage
from rating.explanation import EventFees, LinearUsage, PackageUsage, TierUsage, VolumeUsage
from rating.period import Frequency
from rating.price import BillingType, Commitment, UsageCalculationPeriod
from rating.usage import Usage
from tests.build import billed, fixed, graduated, linear, one_time, package, price, schedule, tiers, units, usd, volume

CASE_6_TIERS = "0-100 @ 1.00 + 20, then 0.75 + 50"
FEBRUARY = "2025-02-01"
quantities = st.decimals(0, 10**7, places=3)


def measured(quantity, **details):
    return Usage(Decimal(quantity), 1, 1, **details)


def per_event(*amounts):
    found = [Decimal(amount) for amount in amounts]
    return Usage(sum(found, Decimal(0)), len(found), 1, amounts=Counter(found))


def by_group(**groups):
    found = {group: Decimal(quantity) for group, quantity in groups.items()}
    return measured(sum(found.values()), groups=found)


def totals(contract, dates, **given):
    return [str(billed(contract, on, **given).total()).removesuffix(" USD") for on in dates]


@pytest.mark.parametrize(
    ("structure", "calls", "total"),
    [
        pytest.param(volume(CASE_6_TIERS), "125", "143.75", id="case 6"),
        pytest.param(volume(CASE_6_TIERS), "0", "20.00", id="case 6 at zero"),
        pytest.param(volume(CASE_6_TIERS), "99", "119.00", id="case 6 below the bound"),
        pytest.param(volume(CASE_6_TIERS), "100", "120.00", id="case 6 at the bound"),
        pytest.param(volume(CASE_6_TIERS), "100.01", "125.01", id="case 6 above the bound"),
        pytest.param(volume("0-10000 @ 0.001 + 500, then 0.0005 + 250"), "15000", "257.50", id="case 7, 0.05 %"),
        pytest.param(volume("0-10000 @ 0.01 + 500, then 0.005 + 250"), "15000", "325.00", id="case 7, 0.5 %"),
        pytest.param(package("250 @ 10"), "600", "30.00", id="case 11"),
        pytest.param(package("250 @ 10"), "0", "0.00", id="no package"),
        pytest.param(package("250 @ 10"), "0.001", "10.00", id="a package just begun"),
        pytest.param(package("250 @ 10"), "250", "10.00", id="a package full"),
        pytest.param(package("250 @ 10"), "250.000000000000000001", "20.00", id="the next just begun"),
    ],
)
def test_prices(structure, calls, total):
    assert billed(schedule(price(structure)), FEBRUARY, calls=calls).total() == usd(total)


@pytest.mark.parametrize(
    ("structure", "events", "total"),
    [
        pytest.param(volume("then 0.02", low="1", high="10"), ("25", "100", "750"), "13.00", id="case 4"),
        pytest.param(volume("then 0.02", low="1", high="10"), ("25",), "1.00", id="case 4, the minimum"),
        pytest.param(volume("then 0.02", low="1", high="10"), ("100",), "2.00", id="case 4, between"),
        pytest.param(volume("then 0.02", low="1", high="10"), ("750",), "10.00", id="case 4, the maximum"),
        pytest.param(volume("then 0.02", low="1", high="10"), ("25", "100", "500"), "13.00", id="case 4, in prose"),
        pytest.param(volume("then 0.005", low="1", high="10"), ("100",), "1.00", id="case 5 at 100"),
        pytest.param(volume("then 0.005", low="1", high="10"), ("1000",), "5.00", id="case 5 at 1000"),
        pytest.param(volume("then 0.005", low="1", high="10"), ("5000",), "10.00", id="case 5 at 5000"),
        pytest.param(volume("then 0.002", high="5"), ("1000",), "2.00", id="case 8 at 1000"),
        pytest.param(volume("then 0.002", high="5"), ("4000",), "5.00", id="case 8 at 4000"),
        pytest.param(volume("then 0.02", low="1", high="10"), (), "0.00", id="no event"),
    ],
)
def test_bounds_clamp_the_fee_of_each_event(structure, events, total):
    bill = billed(schedule(price(structure)), FEBRUARY, calls=per_event(*events))

    assert bill.total() == usd(total)


def test_the_explanation_of_event_fees_counts_the_events_at_their_bounds():
    structure = volume("then 0.02", low="1", high="10")
    (line,) = billed(schedule(price(structure)), FEBRUARY, calls=per_event("25", "25", "100", "750")).lines()

    assert isinstance(line.explanation, EventFees)
    assert (line.explanation.events, line.explanation.at_min, line.explanation.at_max) == (4, 2, 1)


def test_events_that_were_not_given_are_not_made_up():
    contract = schedule(price(volume("then 0.02", low="1")))
    with pytest.raises(MissingUsage, match=r"schedule schedule, price price: .* not given by event"):
        billed(contract, FEBRUARY, calls="100")


def test_events_and_groups_that_do_not_add_up_are_refused():
    events = schedule(price(volume("then 0.02", low="1")))
    groups = schedule(price(linear("1"), prices_by_group={"eu": Decimal(2)}))
    with pytest.raises(InconsistentUsage, match="events of metric calls add up to 5, its quantity is 6"):
        billed(events, FEBRUARY, calls=measured("6", amounts={Decimal(5): 1}))
    with pytest.raises(InconsistentUsage, match="groups of metric calls add up to 5, its quantity is 6"):
        billed(groups, FEBRUARY, calls=measured("6", groups={"eu": Decimal(5)}))


def test_groups_have_rates_of_their_own_and_the_others_pay_the_structures():
    contract = schedule(price(linear("1"), prices_by_group={"eu": Decimal("0.5"), "us": Decimal("0.25")}))
    bill = billed(contract, FEBRUARY, calls=by_group(eu="10", us="20", apac="3"))

    assert [(line.description, str(line.quantity), str(line.rate), line.net_minor) for line in bill.lines()] == [
        ("apac", "3", "1", 300),
        ("eu", "10", "0.5", 500),
        ("us", "20", "0.25", 500),
    ]
    assert all(isinstance(line.explanation, LinearUsage) for line in bill.lines())
    assert [line.explanation.reading.group for line in bill.lines()] == ["apac", "eu", "us"]


def test_no_group_used_still_makes_a_line():
    contract = schedule(price(linear("1"), prices_by_group={"eu": Decimal(2)}))

    assert billed(contract, FEBRUARY, calls=measured("0", groups={})).total() == usd("0")
    with pytest.raises(MissingUsage, match="not given by group"):
        billed(contract, FEBRUARY, calls="0")


@pytest.mark.parametrize(
    ("calls", "start", "lines"),
    [
        pytest.param("3000", "2025-01-01", [30000, 20000], id="below"),
        pytest.param("5000", "2025-01-01", [50000], id="reached"),
        pytest.param("8000", "2025-01-01", [50000, 24000], id="beyond"),
        pytest.param("0", "2025-01-01", [0, 50000], id="nothing used"),
        pytest.param("1000", "2025-01-17", [10000, 14194], id="15 of 31 days"),
        pytest.param("0.25", "2025-01-01", [3, 49997], id="both in half cents: no cent more than the commitment"),
    ],
)
def test_a_commitment_is_paid_and_what_goes_beyond_it_has_a_rate_of_its_own(calls, start, lines):
    commitment = Commitment(Decimal(500), Decimal("0.08"))
    contract = schedule(price(linear("0.10"), commitment=commitment), start=start)

    assert [line.net_minor for line in billed(contract, FEBRUARY, calls=calls).lines()] == lines


def test_a_commitment_of_a_share_of_days_is_exact_in_amounts_and_in_units():
    # (100.05 x 0.1 - 20 x 15 / 31) x 3.1 / 0.1 is 10.155, although 20 x 15 / 31 never ends.
    commitment = Commitment(Decimal(20), Decimal("3.1"))
    contract = schedule(price(linear("0.1"), commitment=commitment), start="2025-01-17")
    within, beyond = billed(contract, FEBRUARY, calls="100.05").lines()

    assert (within.net_minor, beyond.net_minor) == (968, 1016)
    assert within.quantity + beyond.quantity == Decimal("100.05")


def test_a_commitment_of_units_that_cost_nothing_is_paid_as_it_is():
    contract = schedule(price(linear("0"), commitment=Commitment(Decimal(500), Decimal(1))))

    assert billed(contract, FEBRUARY, calls="100000").total() == usd("500")


@pytest.mark.parametrize(
    ("calls", "start", "total"),
    [
        pytest.param("999", "2025-01-01", "999.00", id="below the maximum"),
        pytest.param("1000", "2025-01-01", "1000.00", id="at the maximum"),
        pytest.param("1001", "2025-01-01", "1000.00", id="above the maximum"),
        pytest.param("499", "2025-01-01", "500.00", id="below the minimum"),
        pytest.param("501", "2025-01-01", "501.00", id="above the minimum"),
        pytest.param("1001", "2025-01-17", "483.87", id="the maximum of 15 of 31 days"),
        pytest.param("1", "2025-01-17", "241.94", id="the minimum of 15 of 31 days"),
    ],
)
def test_a_price_has_a_minimum_and_a_maximum(calls, start, total):
    contract = schedule(price(linear("1"), minimum=Decimal(500), maximum=Decimal(1000)), start=start)

    assert billed(contract, FEBRUARY, calls=calls).total() == usd(total)


def test_a_maximum_reached_is_a_line_of_its_own():
    contract = schedule(price(graduated(CASE_6_TIERS), maximum=Decimal(100)))
    bill = billed(contract, FEBRUARY, calls="125")

    assert [(line.kind, line.net_minor) for line in bill.lines()][-1] == ("MAXIMUM", -8875)
    assert bill.total() == usd("100")


# Cumulative ladders: what lies on the ladder now less what lay there before.

FIRSTS = [f"2025-{month:02}-01" for month in range(2, 6)]
USED = {"2025-01-10": "150", "2025-02-10": "100", "2025-03-10": "0", "2025-04-10": "30"}


@pytest.mark.parametrize(
    ("mode", "window", "expected"),
    [
        pytest.param("BILLING_PERIOD", None, ["207.50", "120.00", "20.00", "50.00"], id="each period from zero"),
        pytest.param("CUMULATIVE", None, ["207.50", "75.00", "0.00", "22.50"], id="on from the phase's start"),
        pytest.param(
            "PERIODIC", ("MONTHLY", 3), ["207.50", "75.00", "0.00", "50.00"], id="case 14: a new window in May"
        ),
        pytest.param("PERIODIC", ("QUARTERLY", 1), ["207.50", "75.00", "0.00", "50.00"], id="a quarter"),
        pytest.param("PERIODIC", ("MONTHLY", 1), ["207.50", "120.00", "20.00", "50.00"], id="windows of one period"),
    ],
)
def test_where_the_ladder_begins(mode, window, expected):
    period = UsageCalculationPeriod(Frequency(window[0]), window[1]) if window else None
    contract = schedule(price(graduated(CASE_6_TIERS, mode=mode), usage_calculation_period=period))

    assert totals(contract, FIRSTS, calls=USED) == expected


def test_a_line_on_a_ladder_says_what_was_billed_before():
    contract = schedule(price(graduated(CASE_6_TIERS, mode="CUMULATIVE")))
    (line,) = billed(contract, "2025-03-01", calls=USED).lines()

    assert isinstance(line.explanation, TierUsage)
    assert (line.quantity, line.explanation.before, line.explanation.reading.quantity) == (100, 150, 250)


def test_a_tiers_flat_fee_is_due_once_when_it_is_first_entered():
    contract = schedule(price(graduated("0-100 @ 0 + 20, 100-200 @ 0 + 30, then 0 + 50", mode="CUMULATIVE")))
    used = {"2025-01-10": "0", "2025-02-10": "100", "2025-03-10": "1", "2025-04-10": "500"}

    assert totals(contract, FIRSTS, calls=used) == ["20.00", "0.00", "30.00", "50.00"]


def test_usage_taken_back_is_given_back_at_the_rates_it_cost():
    contract = schedule(price(graduated(CASE_6_TIERS, mode="CUMULATIVE")))
    used = {"2025-01-10": "150", "2025-02-10": "-60", "2025-03-10": "60"}

    assert totals(contract, FIRSTS[:3], calls=used) == ["207.50", "-97.50", "97.50"]


def test_case_34_on_demand_every_day_goes_on_where_the_day_before_left_off():
    contract = schedule(price(graduated(CASE_6_TIERS), billing_frequency=Frequency.ON_DEMAND))
    used = {"2025-01-10": "80", "2025-01-11": "45"}

    assert totals(contract, ["2025-01-11", "2025-01-12"], calls=used) == ["100.00", "88.75"]


@pytest.mark.parametrize("structure", [graduated(CASE_6_TIERS), volume(CASE_6_TIERS), package("250 @ 10"), linear("1")])
def test_on_demand_a_day_without_any_usage_has_nothing_to_say(structure):
    contract = schedule(price(structure, billing_frequency=Frequency.ON_DEMAND))

    assert list(billed(contract, "2025-01-05", calls="0").lines()) == []


@pytest.mark.parametrize("structure", [graduated(CASE_6_TIERS), volume(CASE_6_TIERS), package("250 @ 10"), linear("1")])
def test_on_demand_a_day_that_adds_nothing_has_nothing_to_say(structure):
    contract = schedule(price(structure, billing_frequency=Frequency.ON_DEMAND))

    assert list(billed(contract, "2025-01-13", calls={"2025-01-10": "80"}).lines()) == []


@pytest.mark.parametrize(
    ("structure", "expected"),
    [
        pytest.param(volume(CASE_6_TIERS), ["100.00", "43.75"], id="volume"),
        pytest.param(package("100 @ 10"), ["10.00", "10.00"], id="package"),
        pytest.param(linear("2"), ["160.00", "90.00"], id="linear"),
    ],
)
def test_on_demand_days_add_up_to_the_phase(structure, expected):
    contract = schedule(price(structure, billing_frequency=Frequency.ON_DEMAND))
    used = {"2025-01-10": "80", "2025-01-11": "45"}

    assert totals(contract, ["2025-01-11", "2025-01-12"], calls=used) == expected


BEGIN_AT_ZERO = pytest.mark.parametrize("structure", [package("250 @ 10"), volume("then 1"), graduated("then 1")])


@BEGIN_AT_ZERO
def test_what_begins_at_zero_has_no_price_for_less(structure):
    with pytest.raises(NegativeUsage):
        billed(schedule(price(structure)), FEBRUARY, calls="-1")


@BEGIN_AT_ZERO
def test_nor_has_what_was_less_before(structure):
    contract = schedule(price(structure, billing_frequency=Frequency.ON_DEMAND))
    with pytest.raises(NegativeUsage):
        billed(contract, "2025-01-12", calls={"2025-01-10": "-1", "2025-01-11": "9"})


@pytest.mark.parametrize(("billing_type", "on"), [("IN_ADVANCE", "2025-01-10"), ("IN_ARREARS", FEBRUARY)])
def test_case_1_a_one_time_fee_is_charged_once_and_never_prorated(billing_type, on):
    fee = price(one_time("500"), billing_type=BillingType(billing_type))

    assert billed(schedule(fee, start="2025-01-10"), on).total() == usd("500")


@pytest.mark.parametrize(
    ("frequency", "on", "total"),
    [
        pytest.param("WEEKLY", "2025-01-08", "70.00", id="a week from the start"),
        pytest.param("WEEKLY", "2025-01-18", "30.00", id="3 of 7 days at the end"),
        pytest.param("DAILY", "2025-01-02", "70.00", id="a day"),
    ],
)
def test_weeks_and_days_begin_with_the_schedule(frequency, on, total):
    contract = schedule(price(fixed("70"), billing_frequency=Frequency(frequency)), end="2025-01-18")

    assert billed(contract, on).total() == usd(total)


@pytest.mark.parametrize(
    ("structure", "kind"), [(package("250 @ 10"), PackageUsage), (volume(CASE_6_TIERS), VolumeUsage)]
)
def test_every_kind_explains_itself(structure, kind):
    line = next(billed(schedule(price(structure)), FEBRUARY, calls="600").lines())

    assert isinstance(line.explanation, kind)


@pytest.mark.parametrize(
    "structure", [package("7 @ 3"), volume(CASE_6_TIERS), graduated(CASE_6_TIERS, mode="CUMULATIVE")]
)
def test_long_quantities_lose_no_digit_whatever_the_callers_context(structure):
    contract = schedule(price(structure), price(linear("0.1"), id="x"))
    expected = billed(contract, FEBRUARY, calls="1234567890123.456", grants=(units("1234567.5"),))
    with localcontext(prec=2):
        found = billed(contract, FEBRUARY, calls="1234567890123.456", grants=(units("1234567.5"),))

    assert found == expected


@pytest.mark.parametrize("fallen_to", ["150", "99.5"])
def test_units_given_back_lose_no_digit_either(fallen_to):
    ladder = tiers(CASE_6_TIERS)
    with localcontext(prec=2):
        found = list(tier.climb(ladder, before=Decimal("1234567.891"), now=Decimal(fallen_to)))

    total = sum((Fraction(step.units) for step in found), Fraction(0))
    assert total == Fraction(fallen_to) - Fraction("1234567.891")


def cents(bill):
    return bill.total().amount_minor


@given(st.lists(quantities, min_size=1, max_size=12))
def test_graduated_in_one_go_is_the_sum_of_its_days(used):
    days = {f"2025-01-{n + 1:02}": str(quantity) for n, quantity in enumerate(used)}
    ladder = "0-100 @ 1.00 + 20, 100-5000.5 @ 0 + 1, then 2.34"
    whole = schedule(price(graduated(ladder)))
    daily = schedule(price(graduated(ladder, mode="CUMULATIVE"), billing_frequency=Frequency.DAILY))
    parts = [billed(daily, f"2025-01-{n + 1:02}", calls=days) for n in range(1, 31)] + [
        billed(daily, FEBRUARY, calls=days)
    ]

    exact = sum(Fraction(line.explanation.amount) for bill in parts for line in bill.lines())
    expected = sum(Fraction(line.explanation.amount) for line in billed(whole, FEBRUARY, calls=days).lines())
    assert exact == expected

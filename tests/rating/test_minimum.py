"""Minimums: cases 15 and 16, over one price or several, partial periods, and what they look at."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating.error import InvalidMinimum, MixedFrequencies
from rating.explanation import TrueUp
from rating.invoice import LineKind
from rating.period import Frequency
from rating.price import BillingType
from tests.build import billed, discount, fixed, linear, minimum, phase, phased, price, schedule, usd

FEBRUARY = "2025-02-01"
ADVANCE = BillingType.IN_ADVANCE


def calls(name="calls", rate="0.10", **changes):
    return price(linear(rate, metric=name), id=name, product_id=name, **changes)


def true_ups(bill):
    return [line.net_minor for line in bill.lines() if line.kind is LineKind.TRUE_UP]


@pytest.mark.parametrize(
    ("used", "total", "expected"),
    [
        pytest.param("3000", "500", [20000], id="case 16 below"),
        pytest.param("4999.9", "500", [1], id="a cent below"),
        pytest.param("5000", "500", [], id="case 16 reached"),
        pytest.param("8000", "800", [], id="case 16 above"),
        pytest.param("0", "500", [50000], id="nothing used"),
    ],
)
def test_case_16_a_monthly_minimum(used, total, expected):
    bill = billed(schedule(calls(), minimums=(minimum("500"),)), FEBRUARY, calls=used)

    assert (bill.total(), true_ups(bill)) == (usd(total), expected)


def test_case_15_the_minimum_of_the_whole_bill():
    fee = price(fixed("500"), id="fee", product_id="fee")
    contract = schedule(fee, calls(), plan_minimum=Decimal(1000))
    bill = billed(contract, FEBRUARY, calls="3450")

    assert (bill.total(), true_ups(bill)) == (usd("1000"), [15500])
    assert bill.groups[-1].title == "Minimum"
    assert bill.groups[-1].lines[0].title == "True-up charge"


def test_a_plan_minimum_is_reached_once_in_each_period():
    contract = schedule(
        price(fixed("100"), id="fee", billing_type=ADVANCE), calls(), end="2025-03-01", plan_minimum=Decimal(1000)
    )

    assert [true_ups(billed(contract, on, calls="10")) for on in ("2025-01-01", FEBRUARY, "2025-03-01")] == [
        [90000],
        [89900],
        [],
    ]


def test_a_true_up_explains_itself():
    bill = billed(schedule(calls(), minimums=(minimum("500", "calls"),)), FEBRUARY, calls="3000")
    (line,) = [line for line in bill.lines() if line.kind is LineKind.TRUE_UP]

    assert line.explanation == TrueUp(Decimal(500), 31, 31, Decimal(300), ("calls",))
    assert (line.price_id, line.product_id, line.quantity) == ("calls", "calls", 1)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [("3000", "1000", [10000]), ("3000", "2000", []), ("0", "6000", [])],
    ids=["missing", "reached together", "reached by one"],
)
def test_a_minimum_over_several_prices_looks_at_their_sum(a, b, expected):
    contract = schedule(calls("a"), calls("b"), minimums=(minimum("500", "a", "b"),))

    assert true_ups(billed(contract, FEBRUARY, a=a, b=b)) == expected


def test_other_prices_do_not_count():
    contract = schedule(calls("a"), calls("b"), price(fixed("900"), id="fee"), minimums=(minimum("500", "a"),))

    assert true_ups(billed(contract, FEBRUARY, a="3000", b="99999")) == [20000]


def test_a_global_minimum_is_for_all_usage_prices():
    contract = schedule(calls("a"), calls("b"), price(fixed("900"), id="fee"), minimums=(minimum("500"),))

    assert true_ups(billed(contract, FEBRUARY, a="1000", b="1000")) == [30000]


def test_a_wider_minimum_counts_the_true_ups_of_a_narrower_one():
    contract = schedule(calls("a"), calls("b"), minimums=(minimum("500"), minimum("300", "a")))

    assert true_ups(billed(contract, FEBRUARY, a="1000", b="1000")) == [20000, 10000]


def test_a_minimum_looks_at_what_is_left_after_discounts():
    terms = {"discounts": (discount("50 %"),), "minimums": (minimum("500"),)}

    assert billed(schedule(calls(), **terms), FEBRUARY, calls="8000").total() == usd("500")
    assert billed(schedule(calls(), **terms), FEBRUARY, calls="12000").total() == usd("600")


def test_in_a_partial_period_a_minimum_is_prorated_by_days():
    contract = schedule(calls(), start="2025-01-17", minimums=(minimum("500"),))

    assert billed(contract, FEBRUARY, calls="0").total() == usd("241.94")


def test_each_phase_has_its_own_minimum():
    contract = phased(
        phase(calls(), start="2025-01-01", end="2025-01-11", minimums=(minimum("310"),)),
        phase(calls(), start="2025-01-11", end="2025-02-01", minimums=(minimum("620"),)),
    )

    assert billed(contract, "2025-01-11", calls="0").total() == usd("100")
    assert billed(contract, FEBRUARY, calls="0").total() == usd("420")


def test_a_price_with_a_minimum_is_a_minimum_over_that_price():
    contract = schedule(calls(minimum=Decimal(500)), discounts=(discount("50 %"),))

    assert true_ups(billed(contract, FEBRUARY, calls="3000")) == [35000]


def test_prices_of_different_frequencies_have_no_minimum_in_common():
    with pytest.raises(MixedFrequencies, match="MONTHLY, QUARTERLY") as refused:
        schedule(calls("a"), calls("b", billing_frequency=Frequency.QUARTERLY), minimums=(minimum("1"),))

    assert (refused.value.key, refused.value.schedule_id) == ("phases[0].minimums[0].restrictToPrices", "schedule")


@pytest.mark.parametrize(
    "wrong",
    [minimum("-1"), minimum("1", "nobody"), minimum("1", "fee"), minimum("1", "calls", "fee"), minimum("1", "demand")],
)
def test_minimums_that_make_no_sense_are_refused(wrong):
    demand = calls("demand", billing_frequency=Frequency.ON_DEMAND)
    with pytest.raises(InvalidMinimum):
        schedule(calls(), price(fixed("1"), id="fee"), demand, minimums=(wrong,))


def test_a_plan_minimum_needs_periods():
    demand = calls("demand", billing_frequency=Frequency.ON_DEMAND)
    with pytest.raises(InvalidMinimum):
        schedule(demand, plan_minimum=Decimal(100))


@given(st.decimals(0, 10**5, places=2), st.decimals(0, 10**4, places=2), st.decimals(0, 100, places=1))
def test_at_least_the_minimum_is_paid_and_no_more_than_needed(used, floor, percent):
    contract = schedule(calls(), discounts=(discount(f"{percent} %"),), minimums=(minimum(str(floor)),))
    bare = schedule(calls(), discounts=(discount(f"{percent} %"),))
    paid = billed(contract, FEBRUARY, calls=str(used)).total().amount_minor

    assert paid == max(int(floor * 100), billed(bare, FEBRUARY, calls=str(used)).total().amount_minor)

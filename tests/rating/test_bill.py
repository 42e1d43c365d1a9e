"""The pipeline: worked cases with numbers, and what holds for every bill."""

from decimal import Decimal, localcontext
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating import bill as billing
from rating.bill import BillInput, Usage, UsageKey
from rating.error import AmountTooLarge, MissingUsage, NegativeUsage, NothingDue
from rating.invoice import RateDisplay
from rating.money import Money
from rating.period import Frequency
from rating.price import BillingType
from rating.tax import Tax, TaxStatus
from tests.build import (
    billed,
    cash,
    day,
    days,
    discount,
    fixed,
    graduated,
    linear,
    minimum,
    month,
    price,
    schedule,
    units,
    usd,
)

CASE_6_TIERS = "0-100 @ 1.00 + 20, then 0.75 + 50"
CASE_13_TIERS = "0-1000 @ 0 + 250, 1000-2500 @ 0.45, then 0.65"
# The reference prints 875 for 0.1 % and 0.05 %, which is what 1 % and 0.5 % come to (case 10; case 7 likewise).
PERCENT_TIERS = "0-10000 @ 0.001 + 500, then 0.0005 + 250"
TEN_TIMES_THAT = "0-10000 @ 0.01 + 500, then 0.005 + 250"
FEBRUARY = "2025-02-01"

quantities = st.decimals(0, 10**9, places=6)


def shown(bill):
    return [f"{line.quantity} x {line.rate} = {line.net_minor}" for line in bill.lines()]


@pytest.mark.parametrize(
    ("structure", "calls", "total"),
    [
        pytest.param(fixed("10"), "0", "10.00", id="case 1"),
        pytest.param(linear("0.10"), "550", "55.00", id="case 2"),
        pytest.param(linear("0.005", percentage=True), "1000", "5.00", id="case 3"),
        pytest.param(linear("0.10"), "0", "0.00", id="nothing used"),
        pytest.param(linear("0.0000025"), "1999", "0.00", id="just below half a cent"),
        pytest.param(linear("0.0000025"), "2000", "0.01", id="half a cent"),
        pytest.param(linear("0.10"), "-12.34", "-1.23", id="money given back"),
        pytest.param(graduated(CASE_6_TIERS), "125", "188.75", id="case 9"),
        pytest.param(graduated(CASE_6_TIERS), "100", "120.00", id="case 6 at the bound"),
        pytest.param(graduated(CASE_6_TIERS), "99", "119.00", id="below the bound"),
        pytest.param(graduated(CASE_6_TIERS), "101", "170.75", id="above the bound"),
        pytest.param(graduated(CASE_6_TIERS), "100.01", "170.01", id="a hundredth above the bound"),
        pytest.param(graduated(CASE_6_TIERS), "0", "20.00", id="flat fee at zero usage"),
        pytest.param(graduated(PERCENT_TIERS), "15000", "762.50", id="case 10"),
        pytest.param(graduated(TEN_TIMES_THAT), "15000", "875.00", id="case 10, as printed"),
        pytest.param(graduated(CASE_13_TIERS), "0", "250.00", id="case 13 at 0"),
        pytest.param(graduated(CASE_13_TIERS), "1000", "250.00", id="case 13 at 1000"),
        pytest.param(graduated(CASE_13_TIERS), "1001", "250.45", id="case 13 at 1001"),
        pytest.param(graduated(CASE_13_TIERS), "2500", "925.00", id="case 13 at 2500"),
        pytest.param(graduated(CASE_13_TIERS), "2501", "925.65", id="case 13 at 2501"),
        pytest.param(graduated(CASE_13_TIERS), "3000", "1250.00", id="case 13 at 3000"),
    ],
)
def test_prices(structure, calls, total):
    assert billed(schedule(price(structure)), FEBRUARY, calls=calls).total() == usd(total)


def test_case_13_a_plan_of_a_fee_and_tiers():
    access = price(fixed("500"), id="access", product_id="access", currency="GBP")
    addon = price(graduated(CASE_13_TIERS), id="addon", product_id="addon", currency="GBP")

    assert billed(schedule(access), FEBRUARY).total() == Money(50000, "GBP")
    assert billed(schedule(access, addon), FEBRUARY, calls="3000").total() == Money(175000, "GBP")


@pytest.mark.parametrize(
    ("frequency", "start", "end", "on", "total"),
    [
        pytest.param("MONTHLY", "2023-03-14", None, "2023-03-14", "290.32", id="case 25"),
        pytest.param("MONTHLY", "2023-03-14", None, "2023-04-01", "500.00", id="case 25, next month"),
        pytest.param("MONTHLY", "2023-03-31", None, "2023-03-31", "16.13", id="one day"),
        pytest.param("MONTHLY", "2023-03-02", None, "2023-03-02", "483.87", id="all but one day"),
        pytest.param("MONTHLY", "2023-03-01", "2023-03-02", "2023-03-01", "16.13", id="one day at the end"),
        pytest.param("MONTHLY", "2024-02-01", "2024-02-29", "2024-02-01", "482.76", id="28 of 29 days"),
        pytest.param("MONTHLY", "2023-03-10", "2023-03-20", "2023-03-10", "161.29", id="both ends in one month"),
        pytest.param("QUARTERLY", "2023-03-14", None, "2023-03-14", "100.00", id="18 of 90 days"),
        pytest.param("QUARTERLY", "2023-01-01", "2023-05-16", "2023-04-01", "247.25", id="45 of 91 days"),
        pytest.param("HALF_YEARLY", "2023-01-01", "2023-02-01", "2023-01-01", "85.64", id="31 of 181 days"),
        pytest.param("YEARLY", "2024-01-01", "2024-12-31", "2024-01-01", "498.63", id="365 of 366 days"),
    ],
)
def test_fixed_fees_are_prorated_by_days_at_both_ends(frequency, start, end, on, total):
    fee = price(fixed("500"), billing_type=BillingType.IN_ADVANCE, billing_frequency=Frequency(frequency))

    assert billed(schedule(fee, start=start, end=end), on).total() == usd(total)


def test_usage_tier_bounds_and_flat_fees_are_not_prorated():
    contract = schedule(price(graduated(CASE_6_TIERS)), start="2025-01-20")

    assert billed(contract, FEBRUARY, calls="125").total() == usd("188.75")


def test_case_56_arrears_with_a_stub_at_both_ends():
    contract = schedule(price(fixed("600")), start="2023-01-16", end="2023-04-16")
    bills = [billed(contract, f"2023-{on}") for on in ("02-01", "03-01", "04-01", "04-16")]

    assert [bill.total() for bill in bills] == [usd("309.68"), usd("600"), usd("600"), usd("300")]


def test_case_30_the_bills_of_three_months():
    fee = price(fixed("100"), id="fee", product_id="fee", billing_type=BillingType.IN_ADVANCE)
    contract = schedule(fee, price(linear("1")), start="2025-01-01", end="2025-04-01")
    totals = [str(billed(contract, f"2025-0{n}-01", calls="7").total()) for n in range(1, 5)]

    assert totals == ["100.00 USD", "107.00 USD", "107.00 USD", "7.00 USD"]


def test_every_tier_and_every_flat_fee_is_a_line_of_its_own():
    bill = billed(schedule(price(graduated(CASE_6_TIERS))), FEBRUARY, calls="125")

    assert shown(bill) == ["100 x 1.00 = 10000", "1 x 20 = 2000", "25 x 0.75 = 1875", "1 x 50 = 5000"]
    assert [line.description for line in bill.lines()] == [
        "up to 100",
        "flat fee, up to 100",
        "above 100",
        "flat fee, above 100",
    ]


def test_a_flat_fee_of_zero_makes_no_line():
    bill = billed(schedule(price(graduated("0-100 @ 1 + 0.00, then 0.75 + 0"))), FEBRUARY, calls="125")

    assert shown(bill) == ["100 x 1 = 10000", "25 x 0.75 = 1875"]


def test_a_prorated_fee_is_one_at_the_rounded_amount():
    bill = billed(schedule(price(fixed("500")), start="2023-03-14"), "2023-04-01")
    (line,) = bill.lines()

    assert (line.quantity, line.rate, line.net_minor) == (Decimal(1), Decimal("290.32"), 29032)
    assert line.description == "18 of 31 days"


@pytest.mark.parametrize(
    ("structure", "expected"),
    [
        (linear("0.005", percentage=True), RateDisplay.PERCENTAGE),
        (linear("0.005"), RateDisplay.ABSOLUTE),
        (fixed("10"), RateDisplay.ABSOLUTE),
    ],
)
def test_percentages_are_shown_as_such(structure, expected):
    (line,) = billed(schedule(price(structure)), FEBRUARY, calls="1").lines()

    assert line.rate_display is expected


def test_nothing_used_still_makes_a_line():
    bill = billed(schedule(price(linear("0.1"))), FEBRUARY, calls="0")

    assert shown(bill) == ["0 x 0.1 = 0"]


def test_each_line_is_rounded_once_and_the_total_adds_the_rounded():
    bill = billed(schedule(price(graduated("0-1 @ 0.005, 1-2 @ 0.005, then 0.005"))), FEBRUARY, calls="3")

    assert [line.net_minor for line in bill.lines()] == [1, 1, 1]
    assert bill.total() == usd("0.03")


def test_lines_of_one_product_stand_together_in_the_order_of_prices():
    prices = [price(fixed("1"), id=f"{product}{n}", product_id=product) for n, product in enumerate("abab")]
    bill = billed(schedule(*prices), FEBRUARY)

    assert [(group.product_id, [line.price_id for line in group.lines]) for group in bill.groups] == [
        ("a", ["a0", "a2"]),
        ("b", ["b1", "b3"]),
    ]


@pytest.mark.parametrize(
    ("on", "expected"),
    [
        pytest.param("2025-01-01", days("2025-01-01", "2025-02-01"), id="only advance: the shortest that begins"),
        pytest.param("2025-03-01", month("2025-02"), id="arrears: the one that ended"),
        pytest.param("2025-04-01", month("2025-03"), id="arrears: the shortest that ended"),
    ],
)
def test_billing_period(on, expected):
    quarter = {"billing_frequency": Frequency.QUARTERLY}
    contract = schedule(
        price(fixed("1"), id="a", billing_type=BillingType.IN_ADVANCE, **quarter),
        price(fixed("1"), id="b", billing_type=BillingType.IN_ADVANCE),
        price(linear("1"), id="c", **quarter),
        price(linear("1"), id="d"),
    )

    assert billed(contract, on, calls="1").period == expected


def test_a_bill_lists_the_charges_it_settles():
    bill = billed(schedule(price(fixed("1")), price(linear("1"), id="x")), FEBRUARY, calls="1")

    assert [(charge.price.id, charge.service) for charge in bill.charges] == [
        ("price", month("2025-01")),
        ("x", month("2025-01")),
    ]


def test_usage_is_asked_for_once_per_metric_and_period():
    prices = [price(linear("1", metric=metric), id=f"{n}") for n, metric in enumerate("abab")]
    contract = schedule(*prices, price(fixed("1"), id="fee"))

    assert billing.usage_needed(contract, day(FEBRUARY)) == (
        UsageKey("a", month("2025-01")),
        UsageKey("b", month("2025-01")),
    )
    assert billing.usage_needed(contract, day("2025-02-02")) == ()


def test_usage_is_read_over_the_partial_period():
    contract = schedule(price(linear("1")), start="2025-01-20")

    assert billing.usage_needed(contract, day(FEBRUARY)) == (UsageKey("calls", days("2025-01-20", "2025-02-01")),)


def test_long_numbers_lose_no_digit_whatever_the_callers_context():
    contract = schedule(price(linear("0.000000000000000001")))
    with localcontext(prec=3):
        bill = billed(contract, FEBRUARY, calls="12345678901234567890.123456789012345678")
    (line,) = bill.lines()

    assert line.explanation.amount == Decimal("12.345678901234567890123456789012345678")
    assert bill.total() == usd("12.35")


@given(quantities, st.decimals(0, 1000, places=6))
def test_linear_is_quantity_times_rate_to_the_cent(quantity, rate):
    bill = billed(schedule(price(linear(str(rate)))), FEBRUARY, calls=str(quantity))

    halves = Fraction(quantity) * Fraction(rate) * 200
    assert bill.total().amount_minor == (halves // 1 + 1) // 2


@given(quantities)
def test_the_total_is_the_sum_of_lines_and_lines_are_their_amounts_rounded(quantity):
    contract = schedule(price(graduated(CASE_6_TIERS)), price(linear("0.1"), id="x"), start="2025-01-14")
    bill = billed(contract, FEBRUARY, calls=str(quantity))

    assert bill.total().amount_minor == sum(line.net_minor for group in bill.groups for line in group.lines)
    for line in bill.lines():
        assert abs(Fraction(line.explanation.amount) * 100 - line.net_minor) <= Fraction(1, 2)
        assert abs(Fraction(line.quantity) * Fraction(line.rate) * 100 - line.net_minor) <= Fraction(1, 2)


@given(quantities)
def test_the_same_input_gives_the_same_bytes(quantity):
    contract = schedule(price(graduated(CASE_6_TIERS)), price(fixed("99.99"), id="x"), start="2025-01-14")

    once, again = (msgspec.json.encode(billed(contract, FEBRUARY, calls=str(quantity))) for _ in range(2))
    assert once == again


percents, small = st.decimals(0, 100, places=2), st.decimals(0, 900, places=2)


@given(st.decimals(0, 10**4, places=3), percents, small, small, st.tuples(small, small), st.booleans())
def test_discounts_minimums_and_credits_together_make_no_negative_total(used, percent, off, floor, grants, separate):
    terms = {
        "discounts": (discount(f"{percent} %", "a", separate=separate), discount(str(off), separate=not separate)),
        "minimums": (minimum(str(floor), "a", "b"),),
        "plan_minimum": floor,
    }
    prices = (price(linear("0.333"), id="a"), price(graduated(CASE_6_TIERS), id="b"), price(fixed("9.99"), id="c"))
    tax = Tax(TaxStatus.TAXED, {"a": Decimal("0.2"), "b": Decimal("0.077"), "c": Decimal(0)})
    given = (units(str(grants[0])), cash(str(grants[1])))
    bill = billed(schedule(*prices, **terms), FEBRUARY, calls=str(used), grants=given, tax=tax)

    paid = sum(draw.net_minor for draw in bill.draws)
    assert bill.total().amount_minor >= max(0, int(floor * 100) - paid)
    assert 0 <= bill.tax().amount_minor <= bill.total().amount_minor
    assert all(draw.amount <= grant.balance for draw in bill.draws for grant in given if grant.id == draw.grant_id)


def test_nothing_due_is_refused():
    with pytest.raises(NothingDue, match="schedule schedule: nothing falls due on 2025-02-02"):
        billed(schedule(price(fixed("1"))), "2025-02-02")


@pytest.mark.parametrize(
    ("structure", "calls", "kind", "message"),
    [
        (graduated(CASE_6_TIERS), "-1", NegativeUsage, "the quantity is -1"),
        (linear("99999999999999999999"), "1", AmountTooLarge, "63 bits"),
    ],
    ids=["negative usage", "too large"],
)
def test_a_refusal_names_schedule_price_and_rule(structure, calls, kind, message):
    with pytest.raises(kind, match=message) as refused:
        billed(schedule(price(structure)), FEBRUARY, calls=calls)

    assert (refused.value.schedule_id, refused.value.price_id) == ("schedule", "price")
    assert str(refused.value).startswith("schedule schedule, price price: ")


def test_usage_that_was_not_given_is_not_taken_as_zero():
    given_usage = {UsageKey("calls", month("2025-02")): Usage(Decimal(1), 1, 1)}
    with pytest.raises(MissingUsage, match="metric calls was given for 2025-01-01 to 2025-02-01"):
        billing.bill(BillInput(schedule(price(linear("1"))), day(FEBRUARY), given_usage))


def test_charges_that_fit_alone_and_not_together_are_refused():
    half = price(fixed("46116860184273879.04"))

    assert billed(schedule(half), "2025-02-01").total().amount_minor == 2**62
    with pytest.raises(AmountTooLarge, match="schedule schedule: The charges together"):
        billed(schedule(half, msgspec.structs.replace(half, id="other")), "2025-02-01")


def test_charges_that_were_found_for_another_date_are_not_read():
    contract = schedule(price(fixed("1"), billing_type=BillingType.IN_ADVANCE), start="2025-01-15")
    due = billing.needs(contract, day("2025-01-15")).due

    bill = billing.bill(BillInput(contract, day("2025-02-01"), {}, due=due))

    assert bill == billed(contract, "2025-02-01")

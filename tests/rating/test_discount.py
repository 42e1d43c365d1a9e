"""Discounts: cases 36 to 38, the order of the levels, scopes, validity and how they stand on the bill."""

from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating import money
from rating import schedule as schedules
from rating.error import InvalidDiscount
from rating.explanation import DiscountTaken, FixedFee, Reduced
from rating.period import Frequency
from rating.price import BillingType
from tests.build import (
    billed,
    day,
    days,
    discount,
    fixed,
    graduated,
    linear,
    one_time,
    phase,
    phased,
    price,
    schedule,
    seats,
    usd,
)

ADVANCE = BillingType.IN_ADVANCE
FEBRUARY = "2025-02-01"
EACH = pytest.mark.parametrize("separate", [True, False], ids=["own line", "reduced rate"])


def fee(amount="500", name="fee", **changes):
    return price(fixed(amount), id=name, product_id=name, **changes)


def paid(contract, count=12, **given):
    found, on = [], schedules.next_bill_date(contract, None)
    while on is not None and len(found) < count:
        found.append(str(billed(contract, str(on), **given).total()).removesuffix(" USD"))
        on = schedules.next_bill_date(contract, on)
    return found


@EACH
def test_case_36_an_amount_that_expires_inside_a_period_is_scaled_by_days(separate):
    off = discount("50", separate=separate, start="2023-06-01", end="2023-09-16")
    contract = schedule(fee(), start="2023-07-01", end="2024-07-01", discounts=(off,))

    assert paid(contract) == ["450.00", "450.00", "475.00", *["500.00"] * 9]


@EACH
def test_case_37_a_percentage_for_the_first_three_months(separate):
    off = discount("10 %", separate=separate, end="2025-04-01")

    assert paid(schedule(fee(), end="2025-06-01", discounts=(off,))) == ["450.00"] * 3 + ["500.00"] * 2


def test_case_58_a_years_fee_and_its_discount_stand_in_one_group():
    terms = {"billing_type": ADVANCE, "billing_frequency": Frequency.YEARLY}
    contract = schedule(price(fixed("1200"), id="a", **terms), start="2024-07-01", discounts=(discount("10 %", "a"),))
    (group,) = billed(contract, "2024-07-01").groups

    assert [line.net_minor for line in group.lines] == [120000, -12000]
    assert {line.service for line in group.lines} == {days("2024-07-01", "2025-07-01")}


@EACH
def test_case_38_discounts_of_two_products_are_independent(separate):
    offs = (
        discount("20 %", "a", separate=separate, end="2025-04-01"),
        discount("30 %", "b", separate=separate, end="2025-07-01"),
    )
    contract = schedule(fee("100", "a"), fee("100", "b"), end="2025-08-01", discounts=offs)

    assert paid(contract) == ["150.00"] * 3 + ["170.00"] * 3 + ["200.00"]


@pytest.mark.parametrize(
    ("terms", "total"),
    [
        pytest.param([discount("10 %"), discount("20 %")], "360.00", id="percentages on what is left"),
        pytest.param([discount("50"), discount("10 %")], "400.00", id="percentages first"),
        pytest.param([discount("10 %"), discount("50", "fee")], "405.00", id="those of prices first"),
        pytest.param([discount("50", "fee"), discount("10 %", "fee")], "400.00", id="in each level"),
        pytest.param([discount("100 %")], "0.00", id="all"),
        pytest.param([discount("0 %")], "500.00", id="nothing"),
        pytest.param([discount("8.25 %")], "458.75", id="a part of a percent"),
        pytest.param([discount("500")], "0.00", id="the whole amount"),
        pytest.param([discount("500.01")], "0.00", id="more than there is"),
        pytest.param([discount("499.99")], "0.01", id="all but a cent"),
        pytest.param([discount("600"), discount("600", "fee"), discount("50 %")], "0.00", id="never below zero"),
    ],
)
@EACH
def test_order(terms, total, separate):
    changed = tuple(discount(one.id, *one.restrict_to_prices, separate=separate) for one in terms)
    # Ids must differ within a phase.
    contract = schedule(fee(), discounts=tuple(_named(one, n) for n, one in enumerate(changed)))

    assert billed(contract, FEBRUARY).total() == usd(total)


def _named(one, number):
    return msgspec.structs.replace(one, id=f"{number}")


@EACH
def test_a_percentage_follows_the_prorated_charge_and_an_amount_does_not(separate):
    half = {"start": "2025-01-17"}

    percent = schedule(fee("310"), **half, discounts=(discount("10 %", separate=separate),))
    amount = schedule(fee("310"), **half, discounts=(discount("50", separate=separate),))
    assert billed(percent, FEBRUARY).total() == usd("135")
    assert billed(amount, FEBRUARY).total() == usd("100")


@EACH
def test_a_percentage_that_expires_inside_a_period_counts_for_its_days(separate):
    off = discount("10 %", separate=separate, end="2025-01-16")

    assert billed(schedule(fee("310"), discounts=(off,)), FEBRUARY).total() == usd("295")


@EACH
def test_an_amount_repeated_over_a_phase_border_is_given_once(separate):
    off = discount("31", separate=separate)
    contract = phased(
        phase(fee("310"), start="2025-01-01", end="2025-01-11", discounts=(off,)),
        phase(fee("310"), start="2025-01-11", end="2025-02-01", discounts=(off,)),
    )

    assert paid(contract) == ["90.00", "189.00"]


@pytest.mark.parametrize(
    ("start", "on", "total"),
    [("2025-01-10", "2025-01-10", "450.00"), ("2025-01-09", "2025-01-09", "500.00")],
    ids=["on its first day", "before"],
)
def test_a_one_time_fee_is_discounted_if_the_discount_holds_on_its_first_day(start, on, total):
    setup = price(one_time("500"), id="setup", billing_type=ADVANCE)
    contract = schedule(setup, start=start, discounts=(discount("10 %", "setup", start="2025-01-10"),))

    assert billed(contract, on).total() == usd(total)


def test_an_amount_over_prices_of_several_kinds_is_given_once_for_each_period():
    prices = (fee("100", "advance", billing_type=ADVANCE), fee("100", "arrears"))
    contract = schedule(*prices, end="2025-04-01", discounts=(discount("150"),))

    # The advance fee sets the pace: 1 Jan, 1 Feb and 1 Mar; on 1 Jan there is less to take from.
    assert paid(contract) == ["0.00", "50.00", "50.00", "100.00"]


def test_an_amount_over_several_frequencies_recurs_with_the_shortest():
    quarterly = fee("300", "quarter", billing_frequency=Frequency.QUARTERLY)
    contract = schedule(quarterly, fee("100", "month"), end="2025-04-01", discounts=(discount("30"),))

    assert paid(contract) == ["70.00", "70.00", "370.00"]


def test_an_own_line_stands_in_the_group_of_its_product_or_in_one_of_its_own():
    offs = (discount("10 %", "fee"), discount("20 %"))
    bill = billed(schedule(fee("100"), discounts=offs), FEBRUARY)

    shown = [(group.product_id, group.title, [line.net_minor for line in group.lines]) for group in bill.groups]
    assert shown == [("fee", None, [10000, -1000]), (None, "Discounts", [-1800])]
    assert isinstance(bill.groups[1].lines[0].explanation, DiscountTaken)
    assert bill.groups[1].lines[0].title == "20 % off"


def test_a_reduced_rate_says_what_it_was():
    (line,) = billed(
        schedule(price(linear("0.10")), discounts=(discount("10 %", separate=False),)), FEBRUARY, calls="550"
    ).lines()

    assert (line.quantity, line.rate, line.net_minor) == (Decimal(550), Decimal("0.09"), 4950)
    assert isinstance(line.explanation, Reduced)
    assert line.explanation.before.amount == 55


def test_a_percentage_of_a_share_of_days_is_rounded_from_the_exact_amount():
    # 77 x 15 / 31 x 0.9145 is 34.0725, although 77 x 15 / 31 never ends.
    terms = {"start": "2025-01-17", "discounts": (discount("8.55 %", separate=False),)}
    contract = schedule(price(fixed("77"), currency="KWD"), **terms)

    assert billed(contract, FEBRUARY).total() == money.Money(34073, "KWD")


def test_an_amount_that_has_expired_leaves_the_line_as_it_was():
    off = discount("50", separate=False, end="2025-01-01")
    (line,) = billed(schedule(fee(), start="2024-01-01", discounts=(off,)), FEBRUARY).lines()

    assert isinstance(line.explanation, FixedFee)


def test_an_amount_off_the_rate_leaves_a_lump_sum():
    (line,) = billed(
        schedule(price(linear("0.10")), discounts=(discount("5", separate=False),)), FEBRUARY, calls="550"
    ).lines()

    assert (line.quantity, line.rate, line.net_minor) == (Decimal(1), Decimal("50.00"), 5000)


def test_every_price_of_a_discount_bears_its_share_to_the_cent():
    prices = [fee("0.33", name) for name in "abc"]
    bill = billed(schedule(*prices, discounts=(discount("0.50", separate=False),)), FEBRUARY)

    assert [line.net_minor for line in bill.lines()] == [16, 16, 17]


@pytest.mark.parametrize(
    ("scope", "total"),
    [("ALL_SEATS", "1350.00"), ("INCLUDED_SEATS_ONLY", "1400.00"), ("OVERAGE_SEATS_ONLY", "1450.00")],
)
def test_seat_discounts_know_included_seats_from_overage(scope, total):
    # 100 contracted seats and 50 more, at 10.
    contract = schedule(price(seats("10", minimum=100)), discounts=(discount("10 %", "price", seats=scope),))

    assert billed(contract, FEBRUARY, seats="2025-01-01 150").total() == usd(total)


def test_additional_seats_billed_later_are_overage():
    structure = price(seats("31", minimum=100), billing_type=ADVANCE)
    contract = schedule(structure, end=FEBRUARY, discounts=(discount("50 %", seats="OVERAGE_SEATS_ONLY"),))

    assert billed(contract, "2025-01-01", seats="2025-01-02 101").total() == usd("3100")
    assert billed(contract, FEBRUARY, seats="2025-01-02 101").total() == usd("15")


def test_money_given_back_is_not_discounted():
    contract = schedule(price(linear("1")), discounts=(discount("10 %"), _named(discount("5"), "five")))

    assert billed(contract, FEBRUARY, calls="-20").total() == usd("-20")


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        (discount("100.01 %"), "amount"),
        (discount("-1"), "amount"),
        (discount("-1 %"), "amount"),
        (discount("10 %", "nobody"), "restrictToPrices"),
        (discount("10 %", start="2025-02-01", end="2025-02-01"), "validTo"),
        (discount("10", "demand"), "restrictToPrices"),
    ],
)
def test_discounts_that_make_no_sense_are_refused_by_field(wrong, key):
    demand = price(linear("1"), id="demand", billing_frequency=Frequency.ON_DEMAND)
    with pytest.raises(InvalidDiscount) as refused:
        schedule(fee(), demand, discounts=(wrong,))

    assert (refused.value.key, refused.value.schedule_id) == (f"phases[0].discounts[0].{key}", "schedule")


amounts = st.decimals(0, 1000, places=2)
percents = st.decimals(0, 100, places=2)
EXAMPLES = st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans(), percents), max_size=5)


def agreed(drawn):
    return tuple(
        _named(discount(f"{amount} %" if is_percent else str(amount), *(["a"] if of_a else []), separate=own), n)
        for n, (is_percent, of_a, own, amount) in enumerate(drawn)
    )


@given(st.lists(amounts, min_size=2, max_size=2), EXAMPLES)
def test_discounts_never_take_more_than_there_is(fees, drawn):
    contract = schedule(fee(str(fees[0]), "a"), fee(str(fees[1]), "b"), discounts=agreed(drawn))
    total = billed(contract, FEBRUARY).total().amount_minor

    assert 0 <= total <= sum(int(amount * 100) for amount in fees)


@given(st.decimals(0, 10**6, places=4), percents, percents)
def test_own_lines_and_reduced_rates_come_to_the_same_up_to_rounding(calls, one, other):
    def total(*, separate):
        offs = agreed([(True, False, separate, one), (True, True, separate, other)])
        contract = schedule(price(linear("0.37"), id="a"), discounts=offs)
        return billed(contract, FEBRUARY, calls=str(calls)).total().amount_minor

    assert abs(total(separate=True) - total(separate=False)) <= 2


@given(amounts, percents)
def test_a_percentage_is_exact_to_the_cent(amount, percent):
    contract = schedule(fee(str(amount)), discounts=(discount(f"{percent} %"),))
    off = Fraction(amount) * Fraction(percent)

    assert billed(contract, FEBRUARY).total().amount_minor == int(amount * 100) - (2 * off + 1) // 2


def test_dates_of_discounts_are_half_open():
    off = discount("10 %", start="2025-01-31", end="2025-02-01")

    assert billed(schedule(graduated_fee(), discounts=(off,)), FEBRUARY, calls="310").total() == usd("309")
    assert off.start == day("2025-01-31")


def graduated_fee():
    return price(graduated("then 1"))

"""Credits: case 40, burn order, validity, restrictions, refresh and roll-over; grants are never overdrawn."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating import credit
from rating.error import InvalidGrant, UnknownCurrency
from rating.explanation import CreditUsed
from rating.invoice import Draw, LineKind
from rating.period import Frequency
from rating.price import BillingType
from rating.schedule import next_bill_date
from rating.terms import CreditUnit, GrantTerms, RolloverMode
from tests.build import (
    billed,
    cash,
    day,
    discount,
    fixed,
    graduated,
    linear,
    minimum,
    package,
    phase,
    phased,
    price,
    schedule,
    units,
    usd,
    volume,
)

FEBRUARY, MARCH, APRIL = "2025-02-01", "2025-03-01", "2025-04-01"
ADVANCE = BillingType.IN_ADVANCE


def credits_of(bill):
    return [line.net_minor for line in bill.lines() if line.kind is LineKind.CREDIT]


def drawn(bill):
    return {draw.grant_id: str(draw.amount) for draw in bill.draws}


def test_case_40_the_balance_of_an_old_system_is_drawn_by_itself():
    bill = billed(schedule(price(linear("0.10"))), APRIL, calls="2000", grants=(units("1732"),))

    assert (bill.total(), credits_of(bill)) == (usd("26.80"), [-17320])
    assert bill.draws == (Draw("units", CreditUnit.METRIC, Decimal(1732), 17320, 0),)


def test_case_65_what_a_grant_pays_comes_off_the_line():
    bill = billed(schedule(price(fixed("1000"))), FEBRUARY, grants=(cash("300"),))

    assert (bill.total(), credits_of(bill)) == (usd("700"), [-30000])


def test_an_offset_line_says_units_and_rate():
    (_, line) = billed(schedule(price(linear("0.10"))), APRIL, calls="2000", grants=(units("1732"),)).lines()

    assert (line.title, line.quantity, line.rate, line.grant_id) == ("units", -1732, Decimal("0.10"), "units")
    assert line.explanation == CreditUsed("units", "METRIC", Decimal(1732), Decimal(1732))


@pytest.mark.parametrize(("balance", "left"), [("1999", "0.10"), ("2000", "0"), ("2001", "0")])
def test_units_pay_no_more_than_was_used(balance, left):
    bill = billed(schedule(price(linear("0.10"))), FEBRUARY, calls="2000", grants=(units(balance),))

    assert bill.total() == usd(left)
    assert Decimal(drawn(bill)["units"]) == min(Decimal(balance), 2000)


@pytest.mark.parametrize(
    ("structure", "calls", "balance", "total"),
    [
        pytest.param(graduated("0-100 @ 1.00 + 20, then 0.75 + 50"), "125", "100", "88.75", id="lowest tier first"),
        pytest.param(graduated("0-100 @ 1.00 + 20, then 0.75 + 50"), "125", "110", "81.25", id="then the next"),
        pytest.param(graduated("0-100 @ 1.00 + 20, then 0.75 + 50"), "125", "999", "70.00", id="no flat fees"),
        pytest.param(graduated("0-100 @ 0, then 1"), "150", "50", "0.00", id="free units cost none"),
        pytest.param(volume("0-100 @ 1, then 0.75"), "200", "100", "75.00", id="volume"),
        pytest.param(package("250 @ 10"), "600", "300", "15.00", id="half of the units of the packages"),
    ],
)
def test_units_pay_for_what_their_units_cost(structure, calls, balance, total):
    assert billed(schedule(price(structure)), FEBRUARY, calls=calls, grants=(units(balance),)).total() == usd(total)


def test_units_pay_what_their_units_cost_after_discounts():
    contract = schedule(price(linear("0.10")), discounts=(discount("50 %"),))

    assert billed(contract, FEBRUARY, calls="2000", grants=(units("1000"),)).total() == usd("50")


def test_units_pay_only_for_their_metric_and_never_for_true_ups():
    contract = schedule(price(linear("1", metric="a"), id="a"), price(linear("1", metric="b"), id="b"))

    assert billed(contract, FEBRUARY, a="10", b="10", grants=(units("99", metric="a"),)).total() == usd("10")
    floor = schedule(price(linear("1")), minimums=(minimum("500"),))
    assert billed(floor, FEBRUARY, calls="100", grants=(units("999"),)).total() == usd("400")


@pytest.mark.parametrize(
    ("balance", "total"), [("0", "500"), ("499.99", "0.01"), ("500", "0"), ("500.01", "0"), ("0.009", "500")]
)
def test_cash_pays_what_is_left_and_never_more(balance, total):
    bill = billed(schedule(price(fixed("500"))), FEBRUARY, grants=(cash(balance),))

    assert bill.total() == usd(total)
    assert sum(draw.net_minor for draw in bill.draws) == 50000 - bill.total().amount_minor


def test_cash_stands_in_a_group_of_its_own():
    bill = billed(schedule(price(fixed("500"))), FEBRUARY, grants=(cash("100"),))

    assert [(group.title, [line.net_minor for line in group.lines]) for group in bill.groups] == [
        (None, [50000]),
        ("Credits", [-10000]),
    ]


def test_units_come_before_cash_then_the_soonest_expiry_then_the_oldest_then_as_given():
    grants = (
        cash("10", id="never"),
        cash("10", id="late", end=day("2026-01-01")),
        cash("10", id="young", end=day("2025-06-01"), start=day("2025-01-02")),
        cash("10", id="old", end=day("2025-06-01")),
        cash("10", id="also old", end=day("2025-06-01")),
        units("1000"),
    )

    def who_pays(calls):
        return list(drawn(billed(schedule(price(linear("0.01"))), FEBRUARY, calls=calls, grants=grants)))

    assert who_pays("500") == ["units"]
    assert who_pays("6000") == ["units", "old", "also old", "young", "late", "never"]
    assert who_pays("2001") == ["units", "old", "also old"]


@pytest.mark.parametrize(
    ("billing_type", "on", "changes", "pays"),
    [
        pytest.param("IN_ARREARS", FEBRUARY, {"end": "2025-02-01"}, True, id="valid on the last day"),
        pytest.param("IN_ARREARS", FEBRUARY, {"end": "2025-01-31"}, False, id="expired before it"),
        pytest.param("IN_ARREARS", FEBRUARY, {"start": "2025-01-31"}, True, id="begun on the last day"),
        pytest.param("IN_ARREARS", FEBRUARY, {"start": "2025-02-01"}, False, id="begun after it"),
        pytest.param("IN_ADVANCE", FEBRUARY, {"start": "2025-02-01"}, True, id="in advance: begun on the first day"),
        pytest.param("IN_ADVANCE", FEBRUARY, {"start": "2025-02-02"}, False, id="in advance: begun after it"),
        pytest.param("IN_ADVANCE", FEBRUARY, {"end": "2025-02-01"}, False, id="in advance: expired before it"),
    ],
)
def test_a_grant_pays_when_it_is_valid_on_the_charges_day(billing_type, on, changes, pays):
    grant = cash("500", **{name: day(value) for name, value in changes.items()})
    contract = schedule(price(fixed("500"), billing_type=BillingType(billing_type)))

    assert billed(contract, on, grants=(grant,)).total() == usd("0" if pays else "500")


def test_a_grant_pays_only_the_prices_it_is_restricted_to():
    contract = schedule(price(fixed("100"), id="a"), price(fixed("100"), id="b"))

    assert billed(contract, FEBRUARY, grants=(cash("150", restrict_to_prices=("a",)),)).total() == usd("100")


def test_money_of_another_currency_pays_nothing():
    assert billed(schedule(price(fixed("1"))), FEBRUARY, grants=(cash("9", currency="EUR"),)).total() == usd("1")


def test_money_given_back_is_not_credited():
    assert billed(schedule(price(linear("1"))), FEBRUARY, calls="-5", grants=(cash("9"),)).total() == usd("-5")


# Grants of phases


def terms(amount="100", refresh=None, rollover="NONE", **changes):
    frequency = Frequency(refresh) if refresh else None
    given = {"unit": CreditUnit.METRIC, "metric_id": "calls"} | changes
    return GrantTerms(
        id="g", name="G", amount=Decimal(amount), refresh=frequency, rollover=RolloverMode(rollover), **given
    )


def two_phases(*grants):
    return phased(
        phase(price(linear("1")), start="2025-01-10", end="2025-04-01", grants=grants),
        phase(price(linear("1")), start="2025-04-01"),
    )


@pytest.mark.parametrize(
    ("refresh", "rollover", "expected"),
    [
        pytest.param(None, "NONE", ["2025-01-10 to 2025-04-01"], id="once, for the phase"),
        pytest.param(None, "ON_GRANT_REFRESH_AND_PHASE", ["2025-01-10 to None"], id="once, for ever"),
        pytest.param(
            "MONTHLY",
            "NONE",
            ["2025-01-10 to 2025-02-01", "2025-02-01 to 2025-03-01", "2025-03-01 to 2025-04-01"],
            id="monthly",
        ),
        pytest.param(
            "MONTHLY",
            "ON_GRANT_REFRESH",
            ["2025-01-10 to 2025-04-01", "2025-02-01 to 2025-04-01", "2025-03-01 to 2025-04-01"],
            id="monthly, rolling over until the phase ends",
        ),
        pytest.param(
            "MONTHLY",
            "ON_GRANT_REFRESH_AND_PHASE",
            ["2025-01-10 to None", "2025-02-01 to None", "2025-03-01 to None"],
            id="monthly, rolling over for ever",
        ),
        pytest.param("QUARTERLY", "NONE", ["2025-01-10 to 2025-02-01", "2025-02-01 to 2025-04-01"], id="quarterly"),
    ],
)
def test_phases_issue_grants_at_their_start_and_at_each_refresh(refresh, rollover, expected):
    found = credit.issued(two_phases(terms(refresh=refresh, rollover=rollover)), until=day("2025-12-31"), drawn={})

    assert [f"{grant.start} to {grant.end}" for grant in found] == expected
    assert [grant.id for grant in found] == [f"g@{grant.start}" for grant in found]


def test_grants_are_not_issued_before_their_day_and_know_what_was_drawn():
    contract = two_phases(terms(refresh="MONTHLY"))
    found = credit.issued(contract, until=day("2025-02-01"), drawn={"g@2025-01-10": Decimal(30)})

    assert [(grant.id, grant.balance) for grant in found] == [("g@2025-01-10", 70), ("g@2025-02-01", 100)]


@pytest.mark.parametrize(
    ("rollover", "totals"),
    [
        pytest.param("NONE", ["0", "50", "0", "100"], id="what is left is lost"),
        pytest.param("ON_GRANT_REFRESH", ["0", "0", "0", "100"], id="what is left stays in the phase"),
        pytest.param("ON_GRANT_REFRESH_AND_PHASE", ["0", "0", "0", "30"], id="what is left stays"),
    ],
)
def test_what_is_left_of_a_month(rollover, totals):
    contract = two_phases(terms(refresh="MONTHLY", rollover=rollover))
    used = {"2025-01-20": "50", "2025-02-10": "150", "2025-03-10": "30", "2025-04-10": "100"}
    so_far: dict[str, Decimal] = {}
    found = []
    for on in (FEBRUARY, MARCH, APRIL, "2025-05-01"):
        bill = billed(contract, on, calls=used, drawn=so_far)
        found.append(bill.total())
        for draw in bill.draws:
            so_far[draw.grant_id] = so_far.get(draw.grant_id, Decimal(0)) + draw.amount

    assert found == [usd(total) for total in totals]
    assert all(amount <= 100 for amount in so_far.values())


def test_grants_beside_the_phases_are_drawn_as_well():
    contract = two_phases(terms("100"))
    bill = billed(contract, FEBRUARY, calls="250", grants=(units("100", end=day("2025-02-15")),))

    assert drawn(bill) == {"units": "100", "g@2025-01-10": "100"}


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (terms("-1"), InvalidGrant),
        (terms(refresh="WEEKLY"), InvalidGrant),
        (terms(unit=CreditUnit.CURRENCY), InvalidGrant),
        (terms(unit=CreditUnit.CURRENCY, currency="XXX"), UnknownCurrency),
        (terms(restrict_to_prices=("nobody",)), InvalidGrant),
    ],
)
def test_grants_that_make_no_sense_are_refused(wrong, kind):
    with pytest.raises(kind, match="schedule schedule"):
        schedule(price(linear("1")), grants=(wrong,))


money = st.decimals(0, 1000, places=3)


@given(money, st.lists(st.tuples(st.booleans(), money, st.booleans()), max_size=6))
def test_no_grant_is_overdrawn_and_no_bill_goes_below_zero(used, granted):
    grants = tuple(
        (units if of_units else cash)(str(balance), id=str(n), restrict_to_prices=("a",) if restricted else ())
        for n, (of_units, balance, restricted) in enumerate(granted)
    )
    prices = (price(linear("0.333"), id="a"), price(linear("1.07"), id="b"), price(fixed("99.99"), id="c"))
    bill = billed(schedule(*prices), FEBRUARY, calls=str(used), grants=grants)
    bare = billed(schedule(*prices), FEBRUARY, calls=str(used))

    assert bill.total().amount_minor >= 0
    assert bill.total().amount_minor == bare.total().amount_minor - sum(draw.net_minor for draw in bill.draws)
    balances = {grant.id: grant.balance for grant in grants}
    assert all(0 < draw.amount <= balances[draw.grant_id] for draw in bill.draws)


def bundle(cost="80", refresh=Frequency.MONTHLY):
    plain = {"id": "bundle", "name": "Bundle", "unit": CreditUnit.CURRENCY, "amount": Decimal(100), "currency": "USD"}
    return GrantTerms(**plain, refresh=refresh, cost=Decimal(cost))


@pytest.mark.parametrize(
    ("refresh", "dates"),
    [
        (None, ["2025-01-31", "2025-05-05"]),
        (Frequency.MONTHLY, ["2025-01-31", "2025-02-28", "2025-03-31", "2025-04-30", "2025-05-05"]),
        (Frequency.QUARTERLY, ["2025-01-31", "2025-04-30", "2025-05-05"]),
    ],
)
def test_a_cost_falls_due_whenever_the_grant_is_issued(refresh, dates):
    fee = price(fixed("7"), billing_frequency=Frequency.YEARLY)
    terms = (bundle(refresh=refresh),)
    contract = schedule(fee, start="2025-01-31", end="2025-05-05", anchor_day=31, grants=terms)
    found, after = [], None
    while (after := next_bill_date(contract, after)) is not None:
        found.append(after)

    issued = [one.id for one in credit.issued(contract, until=day(dates[-1]), drawn={})]
    lines = [line for on in found for line in billed(contract, str(on)).lines() if line.title == "Bundle"]
    bought = [line.grant_id for line in lines if line.kind is LineKind.CHARGE]

    assert [str(on) for on in found] == dates
    assert bought == issued == [f"bundle@{on}" for on in dates[:-1]]
    assert {line.net_minor for line in lines if line.kind is LineKind.CHARGE} == {8000}


def test_no_discount_lowers_what_a_grant_costs_and_no_credit_pays_it():
    fee = price(fixed("10"), billing_type=ADVANCE)
    contract = schedule(fee, discounts=(discount("50 %"),), grants=(bundle(),))

    bill = billed(contract, "2025-01-01", grants=(cash("500"),))

    assert bill.total() == usd("80")
    assert [group.title for group in bill.groups] == [None, "Credit grants", "Discounts", "Credits"]


def test_the_minimum_of_the_whole_bill_counts_what_a_grant_costs():
    fee = price(fixed("10"), billing_type=ADVANCE)
    contract = schedule(fee, plan_minimum=Decimal(100), grants=(bundle(),))

    lines = list(billed(contract, "2025-01-01").lines())

    assert [line.net_minor for line in lines if line.kind is LineKind.TRUE_UP] == [1000]


@pytest.mark.parametrize(("cost", "currency", "key"), [("-1", "USD", "costOfCredit"), ("1", "EUR", "currency")])
def test_a_cost_is_not_negative_and_in_the_currency_of_the_prices(cost, currency, key):
    wrong = msgspec.structs.replace(bundle(cost=cost), currency=currency)

    with pytest.raises(InvalidGrant) as refused:
        schedule(price(fixed("1")), grants=(wrong,))

    assert refused.value.key == f"phases[0].creditGrants[0].{key}"

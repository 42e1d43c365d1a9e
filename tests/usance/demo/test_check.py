"""The demo's checks hold when all is right, and each fails when its claim is wrong."""

from datetime import date
from decimal import Decimal

import msgspec
import pytest

from store.verify import Finding
from usance.demo import check, company, expect
from usance.demo.catalog import Books
from usance.demo.check import Check
from usance.demo.invoices import Group, Invoice, Line
from usance.demo.play import Played
from usance.demo.traffic import Ledger, Months
from usance.verify import Report

MONTHS = Months(first=date(2026, 1, 1), second=date(2026, 2, 1), end=date(2026, 3, 1))
KEYS = [*company.PLAN_FEES, *(price.key for price in company.PRICES)]
BOOKS = Books(
    metrics={},
    prices={key: f"id-{key}" for key in KEYS},
    customers=tuple(str(n) for n in range(len(company.CUSTOMERS))),
    schedules=(),
)


def ledger() -> Ledger:
    made = Ledger()
    for customer in range(len(company.CUSTOMERS)):
        for month in (0, 1):
            made.add(customer, month, model="atlas", tokens=(3_000_000, 700_000), user="user-01")
    made.duplicates = 2
    return made


def line(key: str, *, quantity: str, net: Decimal) -> Line:
    return Line(
        title=key,
        description="",
        price=f"id-{key}",
        quantity=Decimal(quantity),
        rate=Decimal(0),
        net=net,
        explanation={},
    )


def invoice(customer: int, month: int) -> Invoice:
    owed, used = expect.amounts(ledger(), customer, month), expect.usage(ledger(), customer, month)
    lines = tuple(line(key, quantity=str(used.get(key, 1)), net=net) for key, net in owed.items())
    return Invoice(
        id=f"{customer}-{month}",
        customer=customer,
        status="DRAFT",
        number=None,
        start=MONTHS.starts[month],
        end_inclusive=MONTHS.starts[month],
        net=sum(owed.values(), Decimal(0)),
        groups=(Group(title="all", net=Decimal(0), lines=lines),),
    )


def invoices() -> list[Invoice]:
    return [invoice(customer, month) for customer in range(len(company.CUSTOMERS)) for month in (0, 1)]


def changed(**changes: object) -> list[Invoice]:
    """All invoices, the first of them with a changed first line."""
    first, *others = invoices()
    group = first.groups[0]
    lines = (msgspec.structs.replace(group.lines[1], **changes), group.lines[0], *group.lines[2:])
    return [msgspec.structs.replace(first, groups=(msgspec.structs.replace(group, lines=lines),)), *others]


def compared(found: list[Invoice]) -> Check:
    return check.lines(found, BOOKS, ledger(), MONTHS)


def test_right_invoices_pass() -> None:
    assert compared(invoices()).passed
    assert check.closed(invoices(), MONTHS).passed


def test_a_wrong_quantity_fails() -> None:
    assert (
        "Meridian Legal LLP, January, atlas-input: 1 units instead of 3,000,000"
        in compared(changed(quantity=Decimal(1))).wrong
    )


def test_a_wrong_amount_fails() -> None:
    assert compared(changed(net=Decimal("0.01"))).wrong == (
        "Meridian Legal LLP, January, atlas-input: 0.01 instead of 8.20",
    )


def test_a_wrong_total_fails() -> None:
    first, *others = invoices()

    assert not compared([msgspec.structs.replace(first, net=first.net + 1), *others]).passed


def test_a_missing_invoice_fails() -> None:
    assert check.closed(invoices()[1:], MONTHS).wrong == ("no invoice for Meridian Legal LLP, January 2026",)


def test_an_invoice_too_many_fails() -> None:
    assert check.closed([*invoices(), invoices()[0]], MONTHS).wrong == ("1 invoices more than there should be",)


@pytest.mark.parametrize(
    ("sent", "accepted", "counted", "stored"), [(29, 30, 28, 28), (30, 29, 28, 28), (30, 30, 30, 28), (30, 30, 28, 30)]
)
def test_a_duplicate_that_counts_fails(sent: int, accepted: int, counted: int, stored: int) -> None:
    played = Played(sent=sent, accepted=accepted, requests=1, seconds=1)

    assert check.duplicates(Played(sent=30, accepted=30, requests=1, seconds=1), ledger(), counted=28, stored=28).passed
    assert not check.duplicates(played, ledger(), counted=counted, stored=stored).passed


def test_a_difference_that_verify_found_fails() -> None:
    right, wrong = Finding("Days agree", 5, 0, ()), Finding("Days agree", 5, 1, ("calls, acme: 2 instead of 1",))

    assert check.recount(Report(findings=(right,), live_events=1, seconds=1)).passed
    assert check.recount(Report(findings=(wrong,), live_events=1, seconds=1)).wrong == (
        "calls, acme: 2 instead of 1",
        "Days agree: 1 differ",
    )


def test_many_failures_are_shown_by_the_first_few() -> None:
    assert check.shown(Check("x", tuple(map(str, range(9))))) == ("0", "1", "2", "3", "4", "and 4 more")

"""What the demo prints fits a terminal of 80 columns, and explanations are told as arithmetic."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from usance.demo import document, screen
from usance.demo.invoices import Group, Invoice, Line
from usance.demo.traffic import Ledger

READING = {"metricId": "m-1", "metricVersion": 1, "eventCount": 10_588, "quantity": "2402564"}
FIXED = {"kind": "FIXED", "price": "499", "days": 15, "fullDays": 30, "amount": "249.5"}
LINEAR = {"kind": "LINEAR", "reading": READING, "rate": "0.0000025", "amount": "6.00641"}
TIER = {
    "kind": "TIER",
    "reading": READING,
    "tier": 2,
    "over": "1000000",
    "upTo": "5000000",
    "units": "1402564",
    "rate": "0.0000026",
    "amount": "3.6466664",
}


def line(title: str, explanation: dict[str, Any], net: str) -> Line:
    return Line(
        title=title,
        description="",
        price="p-1",
        quantity=Decimal(1),
        rate=Decimal(1),
        net=Decimal(net),
        explanation=explanation,
    )


LINES = (line("Plan", FIXED, "249.50"), line("Tokens", TIER, "3.65"), line("Tokens", LINEAR, "6.01"))
INVOICE = Invoice(
    id="i-1",
    customer=2,
    status="DRAFT",
    number=None,
    start=date(2026, 1, 1),
    end_inclusive=date(2026, 1, 31),
    net=Decimal("259.16"),
    groups=(Group(title="All of it", net=Decimal("259.16"), lines=LINES),),
)


def printed(show: Callable[[Console], None]) -> str:
    out = StringIO()
    show(Console(file=out, width=80))
    return out.getvalue()


@pytest.mark.parametrize(
    ("explanation", "expected"),
    [
        (FIXED, ("15 of 30 days", "499 x 15/30 = 249.5")),
        (LINEAR, ("every unit", "2,402,564 x 0.0000025 = 6.00641")),
        (TIER, ("tier 2, 1,000,000 to 5,000,000", "1,402,564 x 0.0000026 = 3.6466664")),
        (TIER | {"over": "0", "tier": 1}, ("tier 1, up to 5,000,000", "1,402,564 x 0.0000026 = 3.6466664")),
        (TIER | {"upTo": None}, ("tier 2, above 1,000,000", "1,402,564 x 0.0000026 = 3.6466664")),
        (TIER | {"kind": "TIER_FEE", "amount": "20"}, ("tier 2, 1,000,000 to 5,000,000", "flat fee 20")),
        ({"kind": "NEW", "amount": "1"}, ("NEW", "1")),
    ],
)
def test_an_explanation_is_told_as_arithmetic(explanation: dict[str, Any], expected: tuple[str, str]) -> None:
    assert document.explain(explanation) == expected


def test_an_invoice_in_full_shows_every_line_within_80_columns() -> None:
    text = printed(lambda console: document.show(console, INVOICE, units={"m-1": "tokens"}))

    assert "  Tokens: 2,402,564 tokens in 10,588 events" in text
    assert "    tier 2, 1,000,000 to 5,000,000   1,402,564 x 0.0000026 = 3.6466664      3.65" in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_table_of_invoices_fits_80_columns() -> None:
    text = printed(lambda console: screen.table(console, [INVOICE], Ledger(), months=(INVOICE.start, date(2026, 2, 1))))

    assert "Kestrel Logistik GmbH" in text
    assert "259.16" in text
    assert max(map(len, text.splitlines())) <= 80

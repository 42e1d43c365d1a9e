"""Worked cases of the API itself: keys, events, metrics and balances. Their numbers are the reference's."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from store import account as accounts
from store.account import Principal
from store.db import Connection
from tests import company
from tests.api import bodies
from tests.server import Server

MARCH = "customerAliases=acme&periodStart=2025-03-01&periodEnd=2025-03-31"
PAYMENT: dict[str, Any] = {"amount": 500, "currency": "GBP", "method": "bank_transfer"}
SUM: dict[str, Any] = {"aggregationType": "SUM", "aggregationProperty": "amount"}


async def calculated(api: Server, metric_id: str) -> dict[str, Any]:
    return dict((await api.get(f"/usage-metrics/{metric_id}/calculate?{MARCH}")).body)


async def received(api: Server, *events: dict[str, Any]) -> None:
    """Sent one after the other, and counted."""
    for one in events:
        await api.made("/usage-events", one)
    await api.aggregate()


def on_march(day: int, id_: str | None = None, **properties: Any) -> dict[str, Any]:
    return company.event(id_ or f"e{day}", f"2025-03-{day:02}T00:00:00Z", **properties)


async def test_case_44_a_balance_shows_its_grants_and_what_moved_it(api: Server, account: Principal) -> None:
    who = await company.customer(api)
    fee = await company.price(api, company.fixed("9"))
    await company.schedule(api, who, [fee], start="2025-01-01", endDate="2025-01-31")
    dates = {"effectiveDate": "2025-01-01", "expiryDate": "2025-12-31"}
    first = bodies.credit(account.account_id, who, amount=10, costOfCredit="10", **dates)
    grant = await api.made("/credits", first)
    await api.made("/credits", first | {"amount": 49, "expiryDate": None})
    await api.invoice(datetime(2025, 2, 1, tzinfo=UTC))

    (found,) = (await api.get(f"/credits/{who}/balances")).body["items"]

    assert (found["type"], found["balance"]) == ("CASH", "50")
    shown = {name: found["grants"][0][name] for name in ("id", "originalAmount", "currentBalance", "costOfCredit")}
    assert shown == {"id": grant["id"], "originalAmount": "10", "currentBalance": "1", "costOfCredit": "10"}
    moves = [(one["type"], one["amount"]) for one in found["transactions"] if one["grantId"] == grant["id"]]
    assert moves == [("CREDIT", "10"), ("DEBIT", "9")]


async def test_case_54_a_number_is_given_when_an_invoice_is_final_or_void(api: Server) -> None:
    await company.contract(api, [company.fixed("30")], start="2025-01-01")
    await api.invoice(datetime(2025, 3, 1, tzinfo=UTC))
    january, february = await company.invoices(api)

    final = await api.made(f"/invoices/{february['id']}/finalize", None)
    void = await api.made(f"/invoices/{january['id']}/void", None)

    assert (january["invoiceNumber"], february["invoiceNumber"]) == (None, None)
    assert (final["invoiceNumber"], void["invoiceNumber"]) == ("SEQ1", "SEQ2")


async def test_case_66_a_key_is_sent_as_basic_auth(api: Server, conn: Connection, account: Principal) -> None:
    now = datetime(2025, 3, 10, tzinfo=UTC)
    await accounts.create_key(conn, account.account, client_id="key", secret="secret", now=now)

    reply = await api.get("/products", headers={"Authorization": "Basic a2V5OnNlY3JldA=="})

    assert reply.status == 200


async def test_case_68_a_metrics_value_keeps_its_decimals(api: Server) -> None:
    name = {"name": "total_messages_sent", "metricType": "GROUPED", "groupingProperty": "channel", "unit": "bytes"}
    sent = await company.metric(api, **name, eventType="message_sent", **SUM)
    amounts = ("0.035", 50, 25, "74.999", "0.001")
    of = {"type_": "message_sent", "channel": "text"}
    await received(api, *(on_march(n, amount=amount, **of) for n, amount in enumerate(amounts, 1)))

    found = await calculated(api, sent)

    ids = {one["customerEventId"]: one["id"] for one in (await api.get("/usage-events")).body["items"]}
    assert found == {
        "name": "total_messages_sent",
        "metricType": "GROUPED",
        "eventType": "message_sent",
        "aggregationType": "SUM",
        "eventCount": 5,
        "value": Decimal("150.035"),
        "unit": "bytes",
        "minEventId": ids["e1"],
        "maxEventId": ids["e5"],
    }


@pytest.mark.parametrize("is_together", [False, True], ids=["one after the other", "in one request"])
async def test_case_69_of_events_with_one_id_the_last_received_counts(api: Server, is_together: bool) -> None:
    total = await company.metric(api, **SUM)
    events = [on_march(10, "same", amount=amount) for amount in (10, 20, 30)]
    if is_together:
        await api.made("/usage-events", events)
    await received(api, *([] if is_together else events))

    assert (await calculated(api, total))["value"] == 30


@pytest.mark.parametrize(
    ("terms", "value"),
    [
        pytest.param({}, 1, id="COUNT"),
        pytest.param(SUM, 500, id="SUM"),
        pytest.param({"aggregationType": "UNIQUE", "aggregationProperty": "method"}, 1, id="UNIQUE"),
        pytest.param(SUM | {"propertyFilters": {"method": ["card_payment"]}}, 0, id="filtered out"),
        pytest.param(SUM | {"propertyFilters": {"method": ["Bank_Transfer"]}}, 0, id="case matters"),
    ],
)
async def test_case_70_what_each_metric_makes_of_a_payment(api: Server, terms: dict[str, Any], value: int) -> None:
    made = await company.metric(api, **terms)
    await received(api, on_march(10, **PAYMENT))

    assert (await calculated(api, made))["value"] == value


async def test_case_71_a_negated_filter_takes_what_is_neither(api: Server) -> None:
    filters: dict[str, Any] = {"propertyFilters": {"channels": ["text", "email"]}, "propertiesToNegate": ["channels"]}
    others = await company.metric(api, **filters)
    await received(api, *(on_march(n, channels=one) for n, one in enumerate(("text", "email", "push", "Text"), 1)))

    assert (await calculated(api, others))["value"] == 2

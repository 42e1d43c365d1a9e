"""/credits: grants are made, read, drawn on and deleted."""

from datetime import UTC, datetime
from typing import Any

import pytest

from store.account import Principal
from tests import company
from tests.api import bodies
from tests.server import Server

NOWHERE = "00000000-0000-7000-8000-000000000007"


@pytest.fixture
async def owner(api: Server) -> str:
    return await company.customer(api)


async def test_a_grant_is_read_back_as_it_was_made(api: Server, account: Principal, owner: str) -> None:
    body = bodies.credit(account.account_id, owner, amount=10.25, costOfCredit=8, expiryDate="2025-12-31")

    made = await api.made("/credits", body)

    assert made == {
        "id": made["id"],
        "sequenceAccountId": str(account.account_id),
        "customerId": owner,
        "name": "Onboarding credits",
        "creditUnitType": "CURRENCY",
        "currency": "USD",
        "metricId": None,
        "amount": made["amount"],
        "costOfCredit": 8,
        "taxRateId": None,
        "effectiveDate": "2025-01-01",
        "expiryDate": "2025-12-31",
        "createdAt": "2025-03-10T12:00:00Z",
        "creditNoteId": None,
        "integrationIds": [],
    }
    assert str(made["amount"]) == "10.25"
    assert (await api.get(f"/credits/{made['id']}")).body == made
    assert (await api.get("/credits")).body["items"] == [made]


async def test_a_grant_holds_from_today_unless_a_day_is_given(api: Server, account: Principal, owner: str) -> None:
    made = await api.made("/credits", bodies.credit(account.account_id, owner, effectiveDate=None))

    assert (made["effectiveDate"], made["expiryDate"]) == ("2025-03-10", None)


# A change of a good request, and the code and field of its refusal.
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"sequenceAccountId": NOWHERE}, "NOT_FOUND", "sequenceAccountId"),
    ({"customerId": NOWHERE}, "NOT_FOUND", "customerId"),
    ({"creditUnitType": "METRIC"}, "INVALID_GRANT", "metricId"),
    ({"metricId": NOWHERE}, "INVALID_GRANT", "metricId"),
    ({"creditUnitType": "METRIC", "metricId": NOWHERE}, "NOT_FOUND", "metricId"),
    ({"amount": -1}, "INVALID_GRANT", "amount"),
    ({"amount": "1e-19"}, "INEXACT_NUMBER", "amount"),
    ({"costOfCredit": -1}, "INVALID_GRANT", "costOfCredit"),
    ({"expiryDate": "2024-12-31"}, "INVALID_GRANT", "expiryDate"),
    ({"costOfCredit": "92233720368547758.08"}, "INVALID_GRANT", "costOfCredit"),
    ({"expiryDate": "9999-12-31"}, "INVALID_VALUE", "expiryDate"),
    ({"createInvoice": True}, "INVALID_GRANT", "costOfCredit"),
    ({"taxRateId": NOWHERE}, "UNKNOWN_FIELD", "taxRateId"),
]


async def test_what_could_never_pay_is_refused(api: Server, account: Principal, owner: str) -> None:
    for change, code, key in REFUSED:
        reply = await api.post("/credits", bodies.credit(account.account_id, owner, **change))

        assert (reply.codes, reply.keys) == ([code], [key]), change


async def test_a_currency_is_one(api: Server, account: Principal, owner: str) -> None:
    reply = await api.post("/credits", bodies.credit(account.account_id, owner, currency="EURO"))

    assert reply.codes == ["UNKNOWN_CURRENCY"]


async def test_a_grant_that_nothing_is_drawn_from_is_deleted(api: Server, account: Principal, owner: str) -> None:
    made = await api.made("/credits", bodies.credit(account.account_id, owner))

    assert (await api.delete(f"/credits/{made['id']}")).body == made
    assert (await api.get(f"/credits/{made['id']}")).codes == ["NOT_FOUND"]
    assert (await api.get(f"/credits/{owner}/balances")).body == {"items": []}


async def test_a_grant_that_was_drawn_on_stays_with_its_balance(api: Server, account: Principal, owner: str) -> None:
    made = await api.made("/credits", bodies.credit(account.account_id, owner))
    fee = await company.price(api, company.fixed("60"))
    await company.schedule(api, owner, [fee], start="2025-02-01")
    await api.invoice(datetime(2025, 3, 1, tzinfo=UTC))

    reply = await api.delete(f"/credits/{made['id']}")

    (left,) = (await api.get(f"/credits/{owner}/grants")).body["items"]
    (balance,) = (await api.get(f"/credits/{owner}/balances")).body["items"]
    (invoice,) = await company.invoices(api)
    draw = balance["transactions"][1]
    assert (reply.status, reply.codes) == (409, ["GRANT_DRAWN"])
    assert (left["grantAmount"], left["balance"]) == (100, 40)
    assert (balance["type"], balance["name"], balance["balance"]) == ("CASH", "USD", "40")
    assert (draw["type"], draw["amount"], draw["invoiceId"]) == ("DEBIT", "60", invoice["id"])


async def test_a_customer_who_does_not_exist_has_no_balance(api: Server) -> None:
    assert (await api.get(f"/credits/{NOWHERE}/balances")).codes == ["NOT_FOUND"]
    assert (await api.get(f"/credits/{NOWHERE}/grants")).codes == ["NOT_FOUND"]

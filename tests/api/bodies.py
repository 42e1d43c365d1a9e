"""Requests that are right, for tests to send as they are or with one thing changed."""

from typing import Any

from tests.server import Server


def customer(**changes: Any) -> dict[str, Any]:
    return {
        "legalName": "Acme Ltd",
        "address": {"line1": "1 High Street", "town": "London", "postcode": "N1 1AA", "country": "GB"},
        "taxStatus": "TAXED",
        "contacts": [{"name": "Ann", "email": "ann@acme.test", "billingPreference": "PRIMARY"}],
    } | changes


def product(**changes: Any) -> dict[str, Any]:
    return {"name": "Platform"} | changes


def price(product_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "productId": product_id,
        "name": "Platform fee",
        "currency": "EUR",
        "structure": {"pricingType": "FIXED", "price": "100.00"},
        "billingFrequency": "MONTHLY",
        "billingType": "IN_ADVANCE",
    } | changes


def schedule(
    customer_id: str, *price_ids: str, start: str = "2025-01-01", end: str | None = None, **changes: Any
) -> Any:
    return {
        "customerId": customer_id,
        "startDate": start,
        "endDate": end,
        "taxRates": [],
        "autoIssueInvoices": False,
        "isDraft": False,
        "rollUpBilling": False,
        "phases": [{"startDate": start, "endDate": end, "priceIds": list(price_ids)}],
    } | changes


def tax_rate(**changes: Any) -> dict[str, Any]:
    return {
        "isPublished": True,
        "name": "UK Sales Tax",
        "invoiceName": "Value Added Tax",
        "invoiceShortName": "VAT",
        "amount": "0.2",
        "country": "GB",
    } | changes


def credit(account_id: Any, customer_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "sequenceAccountId": str(account_id),
        "customerId": customer_id,
        "name": "Onboarding credits",
        "creditUnitType": "CURRENCY",
        "currency": "USD",
        "amount": 100,
        "effectiveDate": "2025-01-01",
    } | changes


def changed(schedule: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The PUT that leaves a schedule as it is, with one thing changed. A new end is the phase's too."""
    fields = ("startDate", "endDate", "recurrenceDayOfMonth", "autoIssueInvoices", "rollUpBilling", "taxRates", "memo")
    phases = [{key: phase[key] for key in ("startDate", "endDate", "priceIds")} for phase in schedule["phases"]]
    asked = {field: schedule[field] for field in fields} | {"phases": phases} | changes
    asked["phases"][0]["endDate"] = asked["endDate"]
    return asked


async def priced(api: Server, **changes: Any) -> dict[str, Any]:
    """A price of a product of its own."""
    owner = await api.made("/products", product())
    return await api.made("/prices", price(owner["id"], **changes))


async def contracted(api: Server, **changes: Any) -> dict[str, Any]:
    """A schedule of a customer and a price of its own."""
    who, fee = await api.made("/customers", customer()), await priced(api)
    return await api.made("/billing-schedules", schedule(who["id"], fee["id"], **changes))


CLOUD = {
    "specversion": "1.0",
    "source": "https://shop.example/api",
    "id": "1",
    "type": "call",
    "subject": "acme",
    "time": "2025-03-01T10:07:00Z",
}

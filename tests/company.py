"""Small words that set up a company through its API.

await company.contract(api, [company.fixed("100")], start="2025-01-01")
"""

from collections.abc import Sequence
from typing import Any

ADDRESS = {"line1": "1 High Street", "town": "London", "postcode": "N1 1AA", "country": "GB"}
CONTACT = {"name": "Ada", "email": "ada@example.com", "billingPreference": "PRIMARY"}


async def customer(api: Any, alias: str = "acme", **changes: Any) -> str:
    body = {"legalName": f"{alias} Ltd", "address": ADDRESS, "contacts": [CONTACT], "taxStatus": "TAXED"}
    made = await api.made("/customers", {**body, "customerAliases": [alias], **changes})
    return str(made["id"])


async def metric(api: Any, name: str = "calls", **changes: Any) -> str:
    body = {"name": name, "metricType": "SIMPLE", "eventType": name, "aggregationType": "COUNT"}
    return str((await api.made("/usage-metrics", {**body, **changes}))["id"])


def fixed(amount: str) -> dict[str, Any]:
    return {"pricingType": "FIXED", "price": amount}


def linear(rate: str, metric_id: str) -> dict[str, Any]:
    return {"pricingType": "LINEAR", "pricePerUnit": rate, "usageMetricId": metric_id, "isPricePercentage": False}


async def price(api: Any, structure: dict[str, Any], *, billing_type: str = "IN_ARREARS", **changes: Any) -> str:
    product = await api.made("/products", {"name": f"{structure['pricingType'].title()} product"})
    body = {
        "productId": product["id"],
        "name": f"{structure['pricingType'].title()} price",
        "currency": "USD",
        "structure": structure,
        "billingFrequency": "MONTHLY",
        "billingType": billing_type,
    }
    return str((await api.made("/prices", {**body, **changes}))["id"])


async def schedule(api: Any, customer_id: str, prices: Sequence[str], *, start: str, **changes: Any) -> str:
    phase = {"priceIds": list(prices), "startDate": start, "discounts": [], "minimums": []}
    if "endDate" in changes:
        phase["endDate"] = changes["endDate"]
    body = {
        "customerId": customer_id,
        "startDate": start,
        "recurrenceDayOfMonth": 1,
        "taxRates": [],
        "autoIssueInvoices": False,
        "isDraft": False,
        "rollUpBilling": False,
        "phases": [phase],
    }
    return str((await api.made("/billing-schedules", {**body, **changes}))["id"])


def phase(prices: Sequence[str], start: str, end: str | None = None, **terms: Any) -> dict[str, Any]:
    """A phase; dates inclusive."""
    return {"priceIds": list(prices), "startDate": start, "endDate": end, **terms}


async def invoices(api: Any) -> list[dict[str, Any]]:
    """All invoices, in the order in which they were made."""
    return list((await api.get("/invoices?sortOrder=ASC&limit=100")).body["items"])


async def lines(api: Any, invoice: dict[str, Any]) -> list[dict[str, Any]]:
    return list((await api.get(f"/invoices/{invoice['id']}/line-items?limit=100")).body["items"])


async def contract(
    api: Any, structures: Sequence[dict[str, Any]], *, start: str, alias: str = "acme", **changes: Any
) -> str:
    """A customer with a schedule of monthly prices in arrears; answers the schedule's id."""
    customer_id = await customer(api, alias)
    prices = [await price(api, structure) for structure in structures]
    return await schedule(api, customer_id, prices, start=start, **changes)


def event(name: str, at: str, *, alias: str = "acme", type_: str = "calls", **properties: Any) -> dict[str, Any]:
    return {
        "customerEventId": name,
        "customerAlias": alias,
        "eventType": type_,
        "eventTimestamp": at,
        "eventProperties": properties,
    }


async def seat_metric(api: Any, seat_type: str = "admin") -> str:
    return str((await api.made("/seat-metrics", {"seatType": seat_type, "label": seat_type.title()}))["id"])


def seats(metric_id: str, amount: str = "15", **terms: Any) -> dict[str, Any]:
    """Seats at one price; `tiers` and the other terms replace any field."""
    return {
        "pricingType": "SEAT_BASED",
        "seatMetricId": metric_id,
        "pricePerSeat": amount,
        "prorationStrategy": "PRORATE_INCREMENTS",
        "contractedMinimumSeats": 0,
        "tiers": [],
        **terms,
    }


async def reported(api: Any, total: int, at: str, *, alias: str = "acme", type_: str = "admin", **more: Any) -> None:
    """So many seats from that instant on; a day alone is its midnight in UTC."""
    instant = at if "T" in at else f"{at}T00:00:00Z"
    body = {"customerAlias": alias, "seatType": type_, "eventTimestamp": instant, "total": total}
    await api.made("/seat-events", {**body, **more})

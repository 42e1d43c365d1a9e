"""Creates the company through the API: metrics, products, prices, customers with their aliases, schedules as drafts.

What comes back is `Books`: the ids that the server gave to the names of company.py.
"""

import asyncio
from datetime import date
from typing import Any

import msgspec

from usance.client import Client
from usance.demo import company


class Books(msgspec.Struct, frozen=True):
    """Ids by the company's own keys; customers and schedules by their place in company.CUSTOMERS."""

    metrics: dict[str, str]
    prices: dict[str, str]
    customers: tuple[str, ...]
    schedules: tuple[str, ...]

    def price_key(self, price_id: str) -> str:
        return next(key for key, known in self.prices.items() if known == price_id)


async def create(client: Client, *, start: date) -> Books:
    """The whole company, with one draft schedule per customer that starts on `start`."""
    metrics = {metric.key: await _metric(client, metric) for metric in company.METRICS}
    prices = await _prices(client, metrics)
    customers = await asyncio.gather(*(_customer(client, customer) for customer in company.CUSTOMERS))
    schedules = await asyncio.gather(
        *(
            _schedule(client, customer_id, company.CUSTOMERS[n].plan, start=start, prices=prices)
            for n, customer_id in enumerate(customers)
        )
    )
    return Books(metrics=metrics, prices=prices, customers=tuple(customers), schedules=tuple(schedules))


async def activate(client: Client, books: Books) -> None:
    """Every draft schedule becomes a running one; what its start date makes due is billed at once."""
    await asyncio.gather(*(client.put(f"/billing-schedules/{id_}/activate") for id_ in books.schedules))


async def _metric(client: Client, metric: company.Metric) -> str:
    body: dict[str, Any] = {
        "name": metric.name,
        "metricType": "SIMPLE",
        "eventType": company.EVENT_TYPE,
        "aggregationType": metric.aggregation,
        "unit": metric.unit,
    }
    if metric.property:
        body["aggregationProperty"] = metric.property
    if metric.model:
        body["propertyFilters"] = {"model": [metric.model]}
    return str((await client.post("/usage-metrics", body))["id"])


async def _prices(client: Client, metrics: dict[str, str]) -> dict[str, str]:
    names = dict.fromkeys([company.PLATFORM, *(price.product for price in company.PRICES)])
    products = {name: (await client.post("/products", {"name": name}))["id"] for name in names}
    prices = {
        plan: await _price(
            client,
            name=f"{plan} plan",
            product=products[company.PLATFORM],
            structure={"pricingType": "FIXED", "price": str(fee)},
        )
        for plan, fee in company.PLAN_FEES.items()
    }
    for price in company.PRICES:
        structure = _structure(price, metrics[price.metric])
        prices[price.key] = await _price(client, name=price.name, product=products[price.product], structure=structure)
    return prices


async def _price(client: Client, *, name: str, product: str, structure: dict[str, Any]) -> str:
    body = {
        "productId": product,
        "name": name,
        "currency": company.CURRENCY,
        "billingFrequency": "MONTHLY",
        "billingType": "IN_ARREARS",
        "structure": structure,
    }
    return str((await client.post("/prices", body))["id"])


def _structure(price: company.Price, metric_id: str) -> dict[str, Any]:
    if len(price.tiers) == 1:
        per_unit = str(price.tiers[0][1])
        return {
            "pricingType": "LINEAR",
            "pricePerUnit": per_unit,
            "usageMetricId": metric_id,
            "isPricePercentage": False,
        }
    tiers = [
        {"price": format(per_unit, "f"), "isPricePercentage": False}
        | ({} if bound is None else {"upperBound": format(bound, "f")})
        for bound, per_unit in price.tiers
    ]
    return {
        "pricingType": "GRADUATED",
        "usageMetricId": metric_id,
        "usageCalculationMode": "BILLING_PERIOD",
        "tiers": tiers,
    }


async def _customer(client: Client, customer: company.Customer) -> str:
    # "Boston, MA": the state is asked for where taxes may need it.
    town, _, state = customer.town.partition(", ")
    address = {"line1": "1 Market Street", "town": town, "postcode": "10001", "country": customer.country}
    body = {
        "legalName": customer.name,
        "taxStatus": "TAX_EXEMPT",
        "address": address | ({"state": state} if state else {}),
        "contacts": [
            {
                "name": f"Accounts, {customer.name}",
                "email": f"accounts@{customer.aliases[0]}.example",
                "billingPreference": "PRIMARY",
            }
        ],
        "customerAliases": list(customer.aliases),
    }
    return str((await client.post("/customers", body))["id"])


async def _schedule(client: Client, customer_id: str, plan: str, *, start: date, prices: dict[str, str]) -> str:
    used = [prices[plan], *(prices[price.key] for price in company.PRICES)]
    body = {
        "customerId": customer_id,
        "startDate": start.isoformat(),
        "recurrenceDayOfMonth": 1,
        "taxRates": [],
        "autoIssueInvoices": False,
        "isDraft": True,
        "rollUpBilling": False,
        "label": f"{plan} plan",
        "phases": [{"name": plan, "startDate": start.isoformat(), "priceIds": used}],
    }
    return str((await client.post("/billing-schedules", body))["id"])

"""Which tax rate a price has, by unit and from the posted rate to the invoice that is read."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from invoicer import tax
from rating.tax import TaxStatus
from store.customer import Address
from store.tax import TaxRate
from tests import company
from tests.api import bodies
from tests.invoicer.test_case import billed

NOW = datetime(2025, 3, 10, 12, tzinfo=UTC)
PRICE, SOFTWARE, SERVICES = UUID(int=1), UUID(int=2), UUID(int=3)
LONDON = Address(line1="1", town="London", postcode="N1", country="GB")
TEXAS = Address(line1="1", town="Austin", postcode="7", country="US", state="TX")


def rate(amount: str, *, country: str = "GB", region: str | None = None, category: UUID | None = None) -> TaxRate:
    return TaxRate(
        id=UUID(int=9),
        version_id=UUID(int=9),
        version=0,
        is_published=True,
        name="Tax",
        invoice_name="Tax",
        invoice_short_name="Tax",
        description=None,
        amount=Decimal(amount),
        country=country,
        region=region,
        tax_category=category,
        created_at=NOW,
        updated_at=NOW,
    )


# The published rates, where the customer is, and the rate of a price of software.
RATES = [
    pytest.param([rate("0.2")], LONDON, "0.2", id="of the country"),
    pytest.param([rate("0.2", country="FR")], LONDON, None, id="of another country"),
    pytest.param([rate("0.1", country="US", region="TX")], TEXAS, "0.1", id="of the state"),
    pytest.param([rate("0.1", country="US", region="NY")], TEXAS, None, id="of another state"),
    pytest.param([rate("0.2"), rate("0.1", category=SOFTWARE)], LONDON, "0.1", id="the category goes before none"),
    pytest.param([rate("0.2"), rate("0.1", category=SERVICES)], LONDON, "0.2", id="another category"),
    pytest.param(
        [rate("0.3", country="US", category=SOFTWARE), rate("0.1", country="US", region="TX")],
        TEXAS,
        "0.3",
        id="the category goes before the state",
    ),
    pytest.param([rate("0.2"), rate("0.1")], LONDON, None, id="two that fit equally are none"),
    pytest.param([rate("0")], LONDON, "0", id="zero is a rate"),
]


@pytest.mark.parametrize(("published", "address", "expected"), RATES)
def test_the_best_published_rate_is_found(published: list[TaxRate], address: Address, expected: str | None) -> None:
    found = tax.resolve(TaxStatus.TAXED, {PRICE: SOFTWARE}, chosen={}, published=published, address=address)

    assert found.rates == ({} if expected is None else {str(PRICE): Decimal(expected)})


def test_a_rate_chosen_by_hand_goes_before_all_others() -> None:
    chosen = {PRICE: rate("0.05", country="FR")}

    found = tax.resolve(TaxStatus.TAXED, {PRICE: None}, chosen=chosen, published=[rate("0.2")], address=LONDON)

    assert found.rates == {str(PRICE): Decimal("0.05")}


async def contracted(api: Any, *, status: str = "TAXED", **changes: Any) -> str:
    who = await company.customer(api, taxStatus=status)
    fee = await company.price(api, company.fixed("1000"))
    choices = [{"priceId": fee, "taxRateId": one} for one in changes.pop("rates", [])]
    return await company.schedule(api, who, [fee], start="2025-02-01", taxRates=choices)


async def totals(api: Any) -> dict[str, Any]:
    await billed(api, "2025-03-01")
    (found,) = await company.invoices(api)
    return dict(found)


async def test_a_published_rate_of_the_country_is_on_the_invoice(api: Any) -> None:
    await api.made("/tax-rates", bodies.tax_rate())
    await contracted(api)

    found = await totals(api)

    assert (found["netTotal"], found["totalTax"], found["grossTotal"]) == ("1000.00", "200.00", "1200.00")
    assert found["warnings"] == []
    assert [line["taxRate"] for line in await company.lines(api, found)] == ["0.2"]


async def test_a_rate_that_a_schedule_names_is_used_in_its_current_version(api: Any) -> None:
    made = await api.made("/tax-rates", bodies.tax_rate(isPublished=False, country="FR"))
    await contracted(api, rates=[made["id"]])
    await api.put(f"/tax-rates/{made['id']}", bodies.tax_rate(id=made["id"], amount="0.055", country="FR"))

    assert (await totals(api))["totalTax"] == "55.00"


async def test_without_a_rate_the_invoice_warns(api: Any) -> None:
    await contracted(api)

    found = await totals(api)

    assert (found["totalTax"], [one["code"] for one in found["warnings"]]) == ("0.00", ["TAX_RATE_MISSING"])


@pytest.mark.parametrize("status", ["TAX_EXEMPT", "REVERSE_CHARGED"])
async def test_who_is_not_taxed_pays_none_and_nobody_is_warned(api: Any, status: str) -> None:
    await api.made("/tax-rates", bodies.tax_rate())
    await contracted(api, status=status)

    found = await totals(api)

    assert (found["totalTax"], found["warnings"]) == ("0.00", [])


async def test_credit_takes_its_tax_with_it(api: Any, account: Any) -> None:
    await api.made("/tax-rates", bodies.tax_rate())
    await contracted(api)
    who = (await api.get("/customers")).body["items"][0]["id"]
    await api.made("/credits", bodies.credit(account.account_id, who, amount=820))

    found = await totals(api)

    assert (found["netTotal"], found["totalTax"], found["grossTotal"]) == ("180.00", "36.00", "216.00")

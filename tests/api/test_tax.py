"""/tax-rates: made, changed in versions, archived, deleted."""

from decimal import Decimal
from typing import Any

from tests import company
from tests.api import bodies
from tests.server import Server

NOWHERE = "00000000-0000-7000-8000-000000000007"


async def chosen(api: Server, rate: str) -> Any:
    """The answer to a schedule that names the rate."""
    who, fee = await company.customer(api, rate), await company.price(api, company.fixed("5"))
    choice = [{"priceId": fee, "taxRateId": rate}]
    return await api.post("/billing-schedules", bodies.schedule(who, fee, taxRates=choice))


async def test_a_rate_is_read_back_as_it_was_made(api: Server) -> None:
    made = await api.made("/tax-rates", bodies.tax_rate(region="London", description="On sales"))

    assert made == bodies.tax_rate(region="London", description="On sales") | {
        "id": made["id"],
        "versionId": made["versionId"],
        "version": 0,
        "taxCategoryId": None,
        "isArchived": False,
        "updatedAt": "2025-03-10T12:00:00Z",
    }
    assert (await api.get(f"/tax-rates/{made['id']}")).body == made
    assert (await api.get("/tax-rates")).body["items"] == [made]


async def test_a_change_is_a_new_version_and_the_old_one_is_kept(api: Server, conn: Any) -> None:
    made = await api.made("/tax-rates", bodies.tax_rate())

    reply = await api.put(f"/tax-rates/{made['id']}", bodies.tax_rate(id=made["id"], amount="0.175"))

    kept = await conn.fetch("select version, amount from tax_rate_version order by version")
    assert (reply.body["version"], reply.body["amount"]) == (1, "0.175")
    assert reply.body["versionId"] != made["versionId"]
    assert (await api.get(f"/tax-rates/{made['id']}")).body == reply.body
    assert [tuple(row) for row in kept] == [(0, Decimal("0.2")), (1, Decimal("0.175"))]


# A change of a good request, and the code and field of its refusal.
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"amount": "20"}, "INVALID_TAX", "amount"),
    ({"amount": "-0.1"}, "INVALID_TAX", "amount"),
    ({"amount": "NaN"}, "INEXACT_NUMBER", "amount"),
    ({"country": "UK"}, "INVALID_VALUE", "country"),
    ({"invoiceShortName": ""}, "INVALID_VALUE", "invoiceShortName"),
]


async def test_a_rate_that_is_none_is_refused(api: Server) -> None:
    for change, code, key in REFUSED:
        reply = await api.post("/tax-rates", bodies.tax_rate(**change))

        assert (reply.codes, reply.keys) == ([code], [key]), change


async def test_the_id_in_the_body_is_that_of_the_path(api: Server) -> None:
    made = await api.made("/tax-rates", bodies.tax_rate())

    reply = await api.put(f"/tax-rates/{made['id']}", bodies.tax_rate(id=NOWHERE))

    assert (reply.codes, reply.keys) == (["INVALID_VALUE"], ["id"])


async def test_an_archived_rate_is_closed_and_its_schedules_go_on(api: Server) -> None:
    made = await api.made("/tax-rates", bodies.tax_rate())
    contract = (await chosen(api, made["id"])).body

    archived = await api.post(f"/tax-rates/{made['id']}/archive")

    changed = await api.put(f"/tax-rates/{made['id']}", bodies.tax_rate(id=made["id"]))
    refused = await chosen(api, made["id"].upper())
    kept = await api.put(f"/billing-schedules/{contract['id']}", bodies.changed(contract, memo="Thanks"))
    assert (archived.body["isArchived"], archived.body["subRates"]) == (True, [])
    assert (await api.get("/tax-rates")).body["items"] == []
    assert (changed.status, changed.codes) == (409, ["TAX_RATE_ARCHIVED"])
    assert (refused.codes, refused.keys) == (["TAX_RATE_ARCHIVED"], ["taxRates[0].taxRateId"])
    assert kept.body["taxRates"] == contract["taxRates"]


async def test_a_rate_that_a_schedule_names_is_not_deleted(api: Server) -> None:
    used, free = [await api.made("/tax-rates", bodies.tax_rate(name=name)) for name in ("Used", "Free")]
    assert (await chosen(api, used["id"])).status == 201

    refused, deleted = [await api.delete(f"/tax-rates/{one['id']}") for one in (used, free)]

    assert (refused.status, refused.codes) == (409, ["TAX_RATE_IN_USE"])
    assert deleted.body == free
    assert (await api.get(f"/tax-rates/{free['id']}")).codes == ["NOT_FOUND"]


async def test_a_schedule_names_rates_that_exist_each_price_once(api: Server) -> None:
    made = await api.made("/tax-rates", bodies.tax_rate())
    who, fee = await company.customer(api), await company.price(api, company.fixed("5"))
    choice = {"priceId": fee, "taxRateId": made["id"]}

    missing = await chosen(api, NOWHERE)
    twice = await api.post("/billing-schedules", bodies.schedule(who, fee, taxRates=[choice, choice]))

    assert (missing.codes, missing.keys) == (["NOT_FOUND"], ["taxRates[0].taxRateId"])
    assert (twice.codes, twice.keys) == (["INVALID_VALUE"], ["taxRates[1].priceId"])

"""/customers: every field of the reference comes back, every bad one is named."""

from typing import Any

import pytest

from tests.api import bodies
from tests.server import Server

NOWHERE = "00000000-0000-7000-8000-000000000007"


async def test_a_customer_is_shown_with_every_field_of_the_reference(api: Server) -> None:
    made = await api.made("/customers", bodies.customer(label="VIP", customProperties={"tier": "gold"}))
    contact = made["contacts"][0]

    assert contact == bodies.customer()["contacts"][0] | {
        "id": contact["id"],
        "createdAt": "2025-03-10T12:00:00Z",
        "updatedAt": "2025-03-10T12:00:00Z",
        "archivedAt": None,
    }
    assert made == {
        "id": made["id"],
        "createdAt": "2025-03-10T12:00:00Z",
        "organizations": [],
        "parentId": None,
        "legalName": "Acme Ltd",
        "address": bodies.customer()["address"] | {"line2": None, "state": None},
        "url": None,
        "domain": None,
        "label": "VIP",
        "integrationIds": [],
        "archivedAt": None,
        "taxStatus": "TAXED",
        "contacts": [contact],
        "status": "ACTIVE",
        "customProperties": {"tier": "gold"},
    }
    assert (await api.get(f"/customers/{made['id']}")).body == made


async def test_a_change_replaces_contacts_and_keeps_properties_it_leaves_out(api: Server) -> None:
    made = await api.made("/customers", bodies.customer(customProperties={"tier": "gold"}, label="old"))
    contact = {"name": "Bo", "email": "bo@acme.test", "billingPreference": "PRIMARY"}

    changed = await api.put(f"/customers/{made['id']}", bodies.customer(legalName="Acme plc", contacts=[contact]))

    assert changed.body["legalName"] == "Acme plc"
    assert [one["email"] for one in changed.body["contacts"]] == ["bo@acme.test"]
    assert changed.body["customProperties"] == {"tier": "gold"}
    assert changed.body["label"] is None


async def test_aliases_of_a_change_are_added_and_none_is_ended(api: Server) -> None:
    made = await api.made("/customers", bodies.customer(customerAliases=["one"]))

    await api.put(f"/customers/{made['id']}", bodies.customer(customerAliases=["two"]))
    await api.put(f"/customers/{made['id']}", bodies.customer(customerAliases=["one", "two"]))

    found = await api.get(f"/customers/{made['id']}/aliases")
    assert [item["value"] for item in found.body["items"]] == ["one", "two"]


async def test_a_customer_is_found_by_its_alias_and_by_its_own_id(api: Server) -> None:
    made = await api.made("/customers", bodies.customer(customerAliases=["acme/eu"]))

    by_alias = await api.get("/customers/by-alias/acme%2Feu")
    by_id = await api.get(f"/customers/by-alias/{made['id']}")

    assert by_alias.body == by_id.body
    assert by_alias.body["email"] == "ann@acme.test"
    assert by_alias.body["contactName"] == "Ann"
    assert by_alias.body["billingEmails"] == ["ann@acme.test"]


async def test_matching_an_alias_is_case_sensitive(api: Server) -> None:
    await api.made("/customers", bodies.customer(customerAliases=["acme"]))

    assert (await api.get("/customers/by-alias/ACME")).codes == ["NOT_FOUND"]


# A query, and the names it finds.
FILTERS = [
    ("", ["B GmbH", "A Ltd"]),
    ("sortOrder=ASC", ["A Ltd", "B GmbH"]),
    ("legalName=gmbh", ["B GmbH"]),
    ("email=ANN@", ["B GmbH", "A Ltd"]),
    ("label=vip", ["A Ltd"]),
    ("alias=a", ["A Ltd"]),
    ("alias=A", []),
    ("legalName=%25", []),
    ("includeArchived=true", ["gone", "B GmbH", "A Ltd"]),
    ("billingStatus=INACTIVE", ["B GmbH", "A Ltd"]),
    ("billingStatus=ACTIVE", []),
]


async def test_lists_are_filtered(api: Server) -> None:
    await api.made("/customers", bodies.customer(legalName="A Ltd", label="the VIP", customerAliases=["a"]))
    await api.made("/customers", bodies.customer(legalName="B GmbH"))
    gone = await api.made("/customers", bodies.customer(legalName="gone"))
    await api.post(f"/customers/{gone['id']}/archive")

    for query, found in FILTERS:
        reply = await api.get(f"/customers?{query}")

        assert [item["legalName"] for item in reply.body["items"]] == found, query
        assert reply.body["pagination"]["totalResultSize"] == len(found), query


async def test_a_customer_with_a_running_schedule_is_billed(api: Server) -> None:
    contract = await bodies.contracted(api)

    reply = await api.get("/customers?billingStatus=ACTIVE")

    assert [item["id"] for item in reply.body["items"]] == [contract["customerId"]]


async def test_archiving_again_changes_nothing(api: Server) -> None:
    made = await api.made("/customers", bodies.customer())
    first = await api.post(f"/customers/{made['id']}/archive")
    api.clock.now = api.clock.now.replace(hour=13)

    assert first.body["archivedAt"] == "2025-03-10T12:00:00Z"
    assert (await api.post(f"/customers/{made['id']}/archive")).body == first.body


# A change of a good request, and the code and field of its refusal.
BAD_FIELDS: list[tuple[dict[str, Any], str, str | None]] = [
    ({"parentId": NOWHERE}, "NOT_FOUND", "parentId"),
    ({"integrationIds": [{"service": "Xero", "id": "1"}]}, "NOT_OFFERED_YET", "integrationIds"),
    ({"pushToIntegrations": ["Xero"]}, "NOT_OFFERED_YET", "pushToIntegrations"),
    ({"taxStatus": "FREE"}, "INVALID_VALUE", "taxStatus"),
    (
        {"contacts": [{"name": "A", "email": "a", "billingPreference": "NONE"}]},
        "INVALID_VALUE",
        "contacts[0].email",
    ),
    ({"contacts": [{"name": "A", "email": "a@b.c", "billingPreference": "STANDARD"}]}, "INVALID_VALUE", "contacts"),
    ({"customerAliases": ["a", "a"]}, "INVALID_VALUE", "customerAliases"),
    ({"customerAliases": [""]}, "INVALID_VALUE", "customerAliases[0]"),
    ({"customerAliases": ["x" * 256]}, "INVALID_VALUE", "customerAliases[0]"),
    ({"customProperties": {"a": 1}}, "WRONG_TYPE", "customProperties[...]"),
    ({"legalName": ""}, "INVALID_VALUE", "legalName"),
    ({"legalName": "a\0b"}, "INVALID_VALUE", None),
    ({"label": "a\0b"}, "INVALID_VALUE", None),
    ({"customProperties": {"a": "\0"}}, "INVALID_VALUE", None),
]


async def test_a_bad_field_is_named(api: Server) -> None:
    for change, code, key in BAD_FIELDS:
        reply = await api.post("/customers", bodies.customer(**change))

        assert (reply.codes, reply.keys) == ([code], [key]), change


# A change of a good address, and the code and field of its refusal.
BAD_ADDRESSES = [
    ({"country": "UK"}, "INVALID_VALUE", "address.country"),
    ({"country": "US"}, "MISSING_FIELD", "address.state"),
    ({"country": "US", "state": "ON"}, "INVALID_VALUE", "address.state"),
    ({"town": " "}, "INVALID_VALUE", "address.town"),
    ({"city": "London"}, "UNKNOWN_FIELD", "address.city"),
]


async def test_a_bad_address_is_named(api: Server) -> None:
    for change, code, key in BAD_ADDRESSES:
        reply = await api.post("/customers", bodies.customer(address=bodies.customer()["address"] | change))

        assert (reply.codes, reply.keys) == ([code], [key]), change


async def test_a_refused_alias_leaves_no_customer_behind(api: Server) -> None:
    await api.made("/customers", bodies.customer(customerAliases=["taken"]))

    reply = await api.post("/customers", bodies.customer(legalName="Second", customerAliases=["free", "taken"]))

    assert (reply.status, reply.codes) == (409, ["ALIAS_TAKEN"])
    assert (await api.get("/customers?legalName=Second")).body["items"] == []
    assert (await api.get("/customer-aliases?value=free")).body["items"] == []


@pytest.mark.parametrize("path", [f"/customers/{NOWHERE}", "/customers/7", f"/customers/{NOWHERE}/aliases"])
async def test_an_unknown_customer_is_not_found(api: Server, path: str) -> None:
    assert (await api.get(path)).codes == ["NOT_FOUND"]


async def test_text_cannot_break_out_of_a_statement(api: Server) -> None:
    nasty = "'; drop table customer; --"
    made = await api.made("/customers", bodies.customer(legalName=nasty, customerAliases=[nasty]))

    found = await api.get("/customers", params={"legalName": nasty, "alias": nasty})

    assert [item["id"] for item in found.body["items"]] == [made["id"]]

"""/customer-aliases: one owner at a time, and an end that is kept."""

from typing import Any

import pytest

from store.account import Principal
from tests.api import bodies
from tests.server import Server

NOWHERE = "00000000-0000-7000-8000-000000000007"


async def mapped(api: Server, value: str, **changes: Any) -> dict[str, Any]:
    owner = await api.made("/customers", bodies.customer())
    return await api.made("/customer-aliases", {"customerId": owner["id"], "value": value} | changes)


async def test_a_mapping_is_shown_with_every_field_of_the_reference(api: Server, account: Principal) -> None:
    made = await mapped(api, "acme", label="CRM id")

    assert made == {
        "id": made["id"],
        "sequenceAccountId": str(account.account_id),
        "customerId": made["customerId"],
        "value": "acme",
        "createdAt": "2025-03-10T12:00:00Z",
        "deletedAt": None,
        "label": "CRM id",
        "archivedAt": None,
    }


async def test_only_the_label_changes(api: Server) -> None:
    made = await mapped(api, "acme")

    assert (await api.put(f"/customer-aliases/{made['id']}", {"label": "new"})).body == made | {"label": "new"}
    assert (await api.put(f"/customer-aliases/{made['id']}", {"value": "x"})).codes == ["UNKNOWN_FIELD"]


async def test_an_alias_has_one_owner_at_a_time(api: Server) -> None:
    first = await mapped(api, "acme")
    other = await api.made("/customers", bodies.customer())
    again = {"customerId": other["id"], "value": "acme"}

    refused = await api.post("/customer-aliases", again)
    await api.delete(f"/customer-aliases/{first['id']}")
    taken = await api.post("/customer-aliases", again)

    assert (refused.status, refused.codes, refused.keys) == (409, ["ALIAS_TAKEN"], ["value"])
    assert first["customerId"] in refused.body["error"]["message"]
    assert taken.status == 201
    assert (await api.get("/customers/by-alias/acme")).body["id"] == other["id"]


async def test_an_ended_mapping_says_when_and_is_not_listed(api: Server) -> None:
    made = await mapped(api, "acme")

    ended = await api.delete(f"/customer-aliases/{made['id']}")
    api.clock.now = api.clock.now.replace(hour=15)
    again = await api.delete(f"/customer-aliases/{made['id']}")

    assert ended.body["deletedAt"] == "2025-03-10T12:00:00Z"
    assert again.body == ended.body
    assert (await api.get("/customer-aliases?value=acme")).body["items"] == []


async def test_mappings_are_listed_by_value(api: Server) -> None:
    made = await mapped(api, "acme")
    await mapped(api, "other")

    reply = await api.get("/customer-aliases?value=acme")

    assert reply.body["items"] == [made]
    assert (await api.get("/customer-aliases")).body["pagination"]["totalResultSize"] == 2


async def test_a_customers_own_id_is_an_alias_that_never_ends(api: Server) -> None:
    owner = await api.made("/customers", bodies.customer())

    assert (await api.delete(f"/customer-aliases/{owner['id']}")).codes == ["OWN_ALIAS"]
    assert (await api.put(f"/customer-aliases/{owner['id']}", {"label": "x"})).codes == ["OWN_ALIAS"]


@pytest.mark.parametrize(
    ("body", "code", "key"),
    [
        ({"customerId": NOWHERE, "value": "a"}, "NOT_FOUND", "customerId"),
        ({"customerId": "7", "value": "a"}, "INVALID_VALUE", "customerId"),
        ({"customerId": NOWHERE}, "MISSING_FIELD", "value"),
        ({"customerId": NOWHERE, "value": ""}, "INVALID_VALUE", "value"),
    ],
)
async def test_a_bad_mapping_is_refused(api: Server, body: dict[str, str], code: str, key: str) -> None:
    reply = await api.post("/customer-aliases", body)

    assert (reply.codes, reply.keys) == ([code], [key])


async def test_an_unknown_mapping_is_not_found(api: Server) -> None:
    assert (await api.delete(f"/customer-aliases/{NOWHERE}")).codes == ["NOT_FOUND"]

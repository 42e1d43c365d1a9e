"""/sequence-accounts: a key sees its own account and no other."""

from uuid import UUID

import pytest

from store.account import Principal
from tests.server import Server

NOWHERE = UUID(int=7)


async def test_the_list_has_the_one_account_of_the_key(api: Server, account: Principal) -> None:
    reply = await api.get("/sequence-accounts")

    assert [item["id"] for item in reply.body["items"]] == [str(account.account_id)]
    assert reply.body["pagination"]["totalResultSize"] == 1


async def test_an_account_is_shown_with_every_field_of_the_reference(api: Server, account: Principal) -> None:
    reply = await api.get(f"/sequence-accounts/{account.account_id}")

    assert reply.body == {
        "id": str(account.account_id),
        "createdAt": "2025-01-01T00:00:00Z",
        "sequenceOrganisationId": str(account.account_id),
        "companyName": "Test",
        "companyNumber": "",
        "country": "GB",
        "sendCustomerNotifications": False,
        "alertEmailAddresses": [],
    }


async def test_what_a_change_leaves_out_stays(api: Server, account: Principal) -> None:
    path = f"/sequence-accounts/{account.account_id}"
    await api.put(path, {"companyNumber": "42", "country": "DE"})

    reply = await api.put(path, {"companyName": "New Ltd"})

    assert (reply.body["companyName"], reply.body["companyNumber"], reply.body["country"]) == ("New Ltd", "42", "DE")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"sendCustomerNotifications": True}, "NOT_OFFERED_YET"),
        ({"alertEmailAddresses": ["a@b.test"]}, "NOT_OFFERED_YET"),
        ({"country": "Germany"}, "INVALID_VALUE"),
        ({"companyName": ""}, "INVALID_VALUE"),
        ({"timeZone": "Europe/Berlin"}, "UNKNOWN_FIELD"),
    ],
)
async def test_a_change_that_cannot_be_kept_is_refused(
    api: Server, account: Principal, change: dict[str, object], code: str
) -> None:
    reply = await api.put(f"/sequence-accounts/{account.account_id}", change)

    assert (reply.codes, reply.keys) == ([code], list(change))


async def test_another_account_does_not_exist_for_this_key(api: Server) -> None:
    assert (await api.get(f"/sequence-accounts/{NOWHERE}")).codes == ["NOT_FOUND"]
    assert (await api.put(f"/sequence-accounts/{NOWHERE}", {})).codes == ["NOT_FOUND"]

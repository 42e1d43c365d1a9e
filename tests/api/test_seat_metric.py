"""/seat-metrics: how seat types are made, shown, changed and deleted."""

from typing import Any

import pytest

from tests import company
from tests.api import bodies
from tests.server import Server

ADMIN = {"seatType": "admin", "label": "Administrator", "description": "May change everything"}


async def test_a_seat_metric_is_shown_with_every_field_of_the_reference(api: Server) -> None:
    made = await api.made("/seat-metrics", ADMIN)

    assert made == ADMIN | {
        "id": made["id"],
        "createdBy": None,
        "createdAt": "2025-03-10T12:00:00Z",
        "updatedAt": "2025-03-10T12:00:00Z",
    }
    assert (await api.get(f"/seat-metrics/{made['id']}")).body == made


@pytest.mark.parametrize(
    ("changes", "code", "key"),
    [
        ({"seatType": "Admin"}, "INVALID_VALUE", "seatType"),
        ({"seatType": "power user"}, "INVALID_VALUE", "seatType"),
        ({"seatType": "power-user"}, "INVALID_VALUE", "seatType"),
        ({"seatType": "_admin"}, "INVALID_VALUE", "seatType"),
        ({"seatType": "admin_"}, "INVALID_VALUE", "seatType"),
        ({"seatType": "admin\n"}, "INVALID_VALUE", "seatType"),
        ({"seatType": "2nd"}, "INVALID_VALUE", "seatType"),
        ({"seatType": ""}, "INVALID_VALUE", "seatType"),
        ({"seatType": "a" * 256}, "INVALID_VALUE", "seatType"),
        ({"label": ""}, "INVALID_VALUE", "label"),
        ({"label": None}, "WRONG_TYPE", "label"),
        ({"createdBy": "me"}, "UNKNOWN_FIELD", "createdBy"),
    ],
)
async def test_a_seat_type_is_a_key_in_lower_snake_case(
    api: Server, changes: dict[str, Any], code: str, key: str
) -> None:
    reply = await api.post("/seat-metrics", ADMIN | changes)

    assert (reply.status, reply.codes, reply.keys) == (400, [code], [key])


@pytest.mark.parametrize("seat_type", ["a", "power_user", "tier2_support", "v2_3"])
async def test_these_are_keys(api: Server, seat_type: str) -> None:
    assert (await api.made("/seat-metrics", ADMIN | {"seatType": seat_type}))["seatType"] == seat_type


async def test_a_seat_type_is_unique_until_it_is_deleted(api: Server) -> None:
    first = await api.made("/seat-metrics", ADMIN)

    again = await api.post("/seat-metrics", ADMIN)
    await api.delete(f"/seat-metrics/{first['id']}")

    assert (again.status, again.codes, again.keys) == (409, ["SEAT_TYPE_TAKEN"], ["seatType"])
    assert (await api.made("/seat-metrics", ADMIN))["id"] != first["id"]


async def test_label_and_description_change_and_the_type_does_not(api: Server) -> None:
    made = await api.made("/seat-metrics", ADMIN)

    changed = await api.put(f"/seat-metrics/{made['id']}", {"label": "Owner"})
    other_type = await api.put(f"/seat-metrics/{made['id']}", {"label": "Owner", "seatType": "owner"})

    assert changed.body == made | {"label": "Owner", "description": None}
    assert (other_type.status, other_type.codes, other_type.keys) == (400, ["UNKNOWN_FIELD"], ["seatType"])
    assert (await api.get(f"/seat-metrics/{made['id']}")).body == changed.body


async def test_a_deleted_seat_metric_is_answered_once_more_and_then_gone(api: Server) -> None:
    made = await api.made("/seat-metrics", ADMIN)

    deleted = await api.delete(f"/seat-metrics/{made['id']}")

    assert (deleted.status, deleted.body) == (200, made)
    for method in ("GET", "DELETE"):
        assert (await api.ask(method, f"/seat-metrics/{made['id']}")).codes == ["NOT_FOUND"]
    assert (await api.put(f"/seat-metrics/{made['id']}", {"label": "x"})).codes == ["NOT_FOUND"]
    assert (await api.get("/seat-metrics")).body["items"] == []


async def test_a_seat_metric_that_a_price_bills_by_stays(api: Server) -> None:
    made = await api.made("/seat-metrics", ADMIN)
    price = await company.price(api, company.seats(made["id"]))

    reply = await api.delete(f"/seat-metrics/{made['id']}")

    assert (reply.status, reply.codes) == (409, ["SEAT_METRIC_IN_USE"])
    assert (await api.get(f"/seat-metrics/{made['id']}")).body == made
    await api.delete(f"/prices/{price}")
    assert (await api.delete(f"/seat-metrics/{made['id']}")).status == 200


async def test_a_price_takes_no_seat_metric_that_is_deleted(api: Server) -> None:
    made = await api.made("/seat-metrics", ADMIN)
    await api.delete(f"/seat-metrics/{made['id']}")
    owner = await api.made("/products", bodies.product())

    reply = await api.post("/prices", bodies.price(owner["id"], structure=company.seats(made["id"])))

    assert (reply.codes, reply.keys) == (["NOT_FOUND"], ["structure.seatMetricId"])


async def test_lists_are_cut_into_pages(api: Server) -> None:
    for name in ("a", "b", "c"):
        await api.made("/seat-metrics", ADMIN | {"seatType": name})

    first = (await api.get("/seat-metrics?limit=2")).body
    second = (await api.get(f"/seat-metrics?limit=2&after={first['pagination']['after']}")).body

    assert [one["seatType"] for one in first["items"] + second["items"]] == ["c", "b", "a"]
    assert first["pagination"]["totalResultSize"] == 3

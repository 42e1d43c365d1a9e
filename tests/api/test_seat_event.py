"""/seat-events: absolute totals, the same id again, and what the list shows."""

import asyncio
from typing import Any

import pytest

from tests import company
from tests.server import Server

EVENT = {
    "customerEventId": "e1",
    "customerAlias": "acme",
    "seatType": "admin",
    "eventTimestamp": "2025-03-01T00:00:00Z",
    "total": 120,
}


def seats(id_: str, total: int = 1, **changes: Any) -> dict[str, Any]:
    return EVENT | {"customerEventId": id_, "total": total} | changes


async def shown(api: Server, query: str = "") -> list[str]:
    """The ids and totals of a list."""
    return [
        f"{one['customerEventId']}={one['total']}" for one in (await api.get(f"/seat-events?{query}")).body["items"]
    ]


async def test_an_event_is_shown_with_every_field_of_the_reference(api: Server) -> None:
    made = await api.post("/seat-events", EVENT)

    assert made.status == 201
    assert made.body == EVENT | {
        "id": made.body["id"],
        "sequenceAccountId": "0193f000-0000-7000-8000-000000000001",
        "supersededAt": None,
    }
    assert (await api.get(f"/seat-events/{made.body['id']}")).body == made.body
    assert (await api.get("/seat-events")).body["items"] == [made.body]


async def test_an_id_is_made_up_where_none_is_sent(api: Server) -> None:
    first, second = [
        await api.made("/seat-events", {k: v for k, v in EVENT.items() if k != "customerEventId"}) for _ in range(2)
    ]

    assert first["customerEventId"] != second["customerEventId"]


async def test_the_same_again_changes_nothing(api: Server) -> None:
    first, again = await api.made("/seat-events", EVENT), await api.made("/seat-events", EVENT)

    assert again == first
    assert await shown(api, "includeSuperseded=true") == ["e1=120"]


async def test_the_same_id_with_other_content_supersedes(api: Server) -> None:
    old, new = await api.made("/seat-events", EVENT), await api.made("/seat-events", seats("e1", 7))

    assert await shown(api) == ["e1=7"]
    assert await shown(api, "includeSuperseded=true") == ["e1=7", "e1=120"]
    assert (await api.get(f"/seat-events/{old['id']}")).body == old | {"supersededAt": "2025-03-10T12:00:00Z"}
    assert (await api.get(f"/seat-events/{new['id']}")).body["supersededAt"] is None


async def test_one_id_sent_many_times_at_once_stands_once(api: Server) -> None:
    replies = await asyncio.gather(*(api.post("/seat-events", seats("e1", 1 + n % 2)) for n in range(12)))

    assert {reply.status for reply in replies} == {201}
    assert len(await shown(api)) == 1


@pytest.mark.parametrize(
    ("changes", "code", "key"),
    [
        ({"total": -1}, "INVALID_VALUE", "total"),
        ({"total": 1_000_000_001}, "INVALID_VALUE", "total"),
        ({"total": "5"}, "WRONG_TYPE", "total"),
        ({"total": 1.5}, "WRONG_TYPE", "total"),
        ({"total": None}, "WRONG_TYPE", "total"),
        ({"customerAlias": ""}, "INVALID_VALUE", "customerAlias"),
        ({"customerAlias": "a\nb"}, "INVALID_VALUE", "customerAlias"),
        ({"customerAlias": "a" * 256}, "INVALID_VALUE", "customerAlias"),
        ({"seatType": "Admin"}, "INVALID_VALUE", "seatType"),
        ({"customerEventId": ""}, "INVALID_VALUE", "customerEventId"),
        ({"eventTimestamp": "2025-03-01"}, "INVALID_VALUE", "eventTimestamp"),
        ({"eventTimestamp": "2025-03-01T00:00:00"}, "INVALID_VALUE", "eventTimestamp"),
        ({"eventTimestamp": "2025-02-30T00:00:00Z"}, "INVALID_VALUE", "eventTimestamp"),
        ({"eventTimestamp": "1999-12-31T23:59:59Z"}, "INVALID_VALUE", "eventTimestamp"),
        ({"eventTimestamp": "2025-03-10T12:05:01Z"}, "INVALID_VALUE", "eventTimestamp"),
        ({"seats": 3}, "UNKNOWN_FIELD", "seats"),
    ],
)
async def test_what_cannot_be_is_refused(api: Server, changes: dict[str, Any], code: str, key: str) -> None:
    reply = await api.post("/seat-events", EVENT | changes)

    assert (reply.status, reply.codes, reply.keys) == (400, [code], [key])
    assert await shown(api) == []


@pytest.mark.parametrize("field", ["customerAlias", "seatType", "eventTimestamp", "total"])
async def test_a_required_field_is_required(api: Server, field: str) -> None:
    reply = await api.post("/seat-events", {key: value for key, value in EVENT.items() if key != field})

    assert (reply.codes, reply.keys) == (["MISSING_FIELD"], [field])


async def test_digits_beyond_microseconds_are_cut_off(api: Server) -> None:
    made = await api.made("/seat-events", EVENT | {"eventTimestamp": "2025-03-01T01:59:59.9999999+02:00"})

    assert made["eventTimestamp"] == "2025-02-28T23:59:59.999999Z"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["d", "c", "b", "a"]),
        ("sortOrder=ASC", ["a", "b", "c", "d"]),
        ("sortBy=eventTimestamp", ["a", "d", "c", "b"]),
        ("sortBy=eventTimestamp&sortOrder=ASC", ["b", "c", "d", "a"]),
        ("customerAlias=acme", ["c", "a"]),
        ("customerAlias=acme,with%2Ccomma", ["d", "c", "a"]),
        ("seatType=viewer", ["b"]),
        ("seatType=viewer,admin&limit=2", ["d", "c"]),
        ("customerEventId=c", ["c"]),
        ("eventTimestampBefore=2025-03-03T00:00:00Z", ["c", "b"]),
        ("eventTimestampAfter=2025-03-03T00:00:00Z", ["a"]),
        ("eventTimestampAfter=2025-03-01T02:00:00+02:00&eventTimestampBefore=2025-03-04T00:00:00Z", ["d", "c"]),
        ("customerAlias=nobody", []),
    ],
)
async def test_lists_are_filtered_and_sorted(api: Server, query: str, found: list[str]) -> None:
    for id_, alias, day, seat_type in (
        ("a", "acme", 4, "admin"),
        ("b", "beta", 1, "viewer"),
        ("c", "acme", 2, "admin"),
        ("d", "with,comma", 3, "admin"),
    ):
        when = f"2025-03-{day:02}T00:00:00Z"
        await api.made("/seat-events", seats(id_, customerAlias=alias, seatType=seat_type, eventTimestamp=when))

    items = (await api.get(f"/seat-events?{query}")).body["items"]

    assert [one["customerEventId"] for one in items] == found


@pytest.mark.parametrize("order", ["sortBy=id", "sortBy=eventTimestamp", "sortBy=eventTimestamp&sortOrder=ASC"])
async def test_pages_neither_skip_nor_repeat(api: Server, order: str) -> None:
    for number in range(7):
        # Several events at one instant.
        await api.made("/seat-events", seats(f"e{number}", eventTimestamp=f"2025-03-0{1 + number % 3}T00:00:00Z"))
    every = await shown(api, order)

    seen: list[str] = []
    page = f"/seat-events?{order}&limit=2"
    after: str | None = ""
    while after is not None:
        reply = (await api.get(f"{page}&after={after}" if after else page)).body
        seen += [f"{one['customerEventId']}={one['total']}" for one in reply["items"]]
        after = reply["pagination"]["after"]

    assert seen == every
    assert len(set(seen)) == 7


async def test_a_customer_stands_for_all_its_aliases_and_its_id(api: Server) -> None:
    acme = await company.customer(api, "acme", customerAliases=["acme", "acme-eu"])
    other = await company.customer(api, "beta")
    for id_, alias in (("a", "acme"), ("b", "acme-eu"), ("c", acme), ("d", "beta"), ("e", "nobody")):
        await api.made("/seat-events", seats(id_, customerAlias=alias))

    assert await shown(api, f"customerIds={acme}") == ["c=1", "b=1", "a=1"]
    assert await shown(api, f"customerIds={acme},{other}&seatType=admin") == ["d=1", "c=1", "b=1", "a=1"]


@pytest.mark.parametrize(
    ("query", "key"),
    [
        ("customerIds=" + ",".join(["0193f000-0000-7000-8000-000000000001"] * 26), "customerIds"),
        ("seatType=" + ",".join(["admin"] * 26), "seatType"),
        ("customerIds=acme", "customerIds"),
        ("sortBy=total", "sortBy"),
        ("eventTimestampBefore=yesterday", "eventTimestampBefore"),
    ],
)
async def test_filters_have_limits(api: Server, query: str, key: str) -> None:
    reply = await api.get(f"/seat-events?{query}")

    assert (reply.status, reply.codes, reply.keys) == (400, ["INVALID_VALUE"], [key])


async def test_an_event_of_nowhere_is_not_found(api: Server) -> None:
    reply = await api.get("/seat-events/0193f000-0000-7000-8000-000000000007")

    assert (reply.status, reply.codes) == (404, ["NOT_FOUND"])

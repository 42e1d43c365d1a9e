"""/seat-balances: what the events of a customer's aliases come to."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests import company
from tests.server import Server

TYPES = ("admin", "viewer")


@pytest.fixture
async def acme(api: Server) -> str:
    for name in TYPES:
        await api.made("/seat-metrics", {"seatType": name, "label": name.title()})
    return await company.customer(api, "acme", customerAliases=["acme", "acme-eu"])


async def report(api: Server, total: int, day: int, *, alias: str = "acme", seat_type: str = "admin") -> dict[str, Any]:
    when = f"2025-03-{day:02}T00:00:00Z"
    event = {"customerAlias": alias, "seatType": seat_type, "eventTimestamp": when, "total": total}
    return await api.made("/seat-events", event)


async def balances(api: Server, query: str = "") -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await api.get(f"/seat-balances?{query}")).body["items"]
    return items


async def totals(api: Server, query: str = "") -> list[tuple[int, dict[str, int]]]:
    """Of each customer the total and the seats by type."""
    return [
        (one["total"], {balance["seatType"]: balance["total"] for balance in one["balances"]})
        for one in await balances(api, query)
    ]


async def test_case_23_a_balance_is_what_stands_after_changes(api: Server, acme: str) -> None:
    await report(api, 120, 1)
    await report(api, 125, 2)
    await report(api, 124, 2)

    assert await balances(api) == [
        {
            "id": acme,
            "sequenceAccountId": "0193f000-0000-7000-8000-000000000001",
            "legalName": "acme Ltd",
            "customerAliases": ["acme", "acme-eu"],
            "total": 124,
            "changeTimestamp": "2025-03-02T00:00:00Z",
            "balances": [{"seatType": "admin", "total": 124, "changeTimestamp": "2025-03-02T00:00:00Z"}],
        }
    ]


@pytest.mark.usefixtures("acme")
async def test_the_last_instant_stands_not_the_last_received(api: Server) -> None:
    await report(api, 7, 5)
    await report(api, 120, 1)

    assert await totals(api) == [(7, {"admin": 7})]


async def test_types_stand_apart_and_aliases_add_up(api: Server, acme: str) -> None:
    await report(api, 10, 1)
    await report(api, 5, 3, seat_type="viewer")
    await report(api, 3, 2, alias="acme-eu")
    await report(api, 1, 1, alias=acme)

    [found] = await balances(api)

    assert found["balances"] == [
        {"seatType": "admin", "total": 14, "changeTimestamp": "2025-03-02T00:00:00Z"},
        {"seatType": "viewer", "total": 5, "changeTimestamp": "2025-03-03T00:00:00Z"},
    ]
    assert (found["total"], found["changeTimestamp"]) == (19, "2025-03-03T00:00:00Z")


@pytest.mark.usefixtures("acme")
async def test_an_event_that_was_superseded_has_no_say(api: Server) -> None:
    sent = await report(api, 10, 1)
    fields = ("customerEventId", "customerAlias", "seatType", "eventTimestamp")
    await api.made("/seat-events", {name: sent[name] for name in fields} | {"total": 4})

    assert await totals(api) == [(4, {"admin": 4})]


async def test_events_before_their_alias_and_their_type_count_when_those_exist(api: Server) -> None:
    await report(api, 9, 1, alias="late", seat_type="guest")
    assert await totals(api) == []

    await company.customer(api, "late")
    assert await totals(api) == []

    made = await api.made("/seat-metrics", {"seatType": "guest", "label": "Guest"})
    assert await totals(api) == [(9, {"guest": 9})]

    await api.delete(f"/seat-metrics/{made['id']}")
    assert await totals(api) == []


@pytest.mark.usefixtures("acme")
async def test_zero_is_shown_unless_it_is_left_out(api: Server) -> None:
    await report(api, 10, 1)
    await report(api, 0, 2)

    assert await totals(api) == [(0, {"admin": 0})]
    assert await totals(api, "excludeZeroQuantity=true") == []

    await report(api, 3, 1, seat_type="viewer")
    assert await totals(api, "excludeZeroQuantity=true") == [(3, {"viewer": 3})]


@pytest.mark.usefixtures("acme")
async def test_an_alias_that_changes_hands_takes_its_seats_along(api: Server) -> None:
    other = await company.customer(api, "beta")
    await report(api, 10, 1, alias="acme-eu")
    [alias] = (await api.get("/customer-aliases?value=acme-eu")).body["items"]
    await api.delete(f"/customer-aliases/{alias['id']}")
    await api.made("/customer-aliases", {"customerId": other, "value": "acme-eu"})

    api.clock.now = datetime(2025, 3, 11, tzinfo=UTC)
    first, second = sorted(await balances(api), key=lambda one: str(one["legalName"]))

    assert (first["total"], first["changeTimestamp"]) == (0, "2025-03-10T12:00:00Z")
    assert (second["total"], second["changeTimestamp"]) == (10, "2025-03-10T12:00:00Z")


async def test_balances_are_filtered(api: Server, acme: str) -> None:
    other = await company.customer(api, "beta")
    await report(api, 1, 1)
    await report(api, 2, 1, alias="beta")

    assert await totals(api) == [(2, {"admin": 2}), (1, {"admin": 1})]
    assert await totals(api, f"customerIds={acme}") == [(1, {"admin": 1})]
    assert await totals(api, f"customerIds={acme},{other}&sortOrder=ASC") == [(1, {"admin": 1}), (2, {"admin": 2})]
    assert await totals(api, "customerAliases=beta,nobody") == [(2, {"admin": 2})]
    assert await totals(api, f"customerAliases={acme}") == [(1, {"admin": 1})]
    assert await totals(api, "customerAliases=nobody") == []


@pytest.mark.usefixtures("acme")
async def test_balances_come_in_pages(api: Server) -> None:
    await company.customer(api, "beta")
    await report(api, 1, 1)
    await report(api, 2, 1, alias="beta")

    first = (await api.get("/seat-balances?limit=1")).body
    second = (await api.get(f"/seat-balances?limit=1&after={first['pagination']['after']}")).body

    assert [one["total"] for one in first["items"] + second["items"]] == [2, 1]
    assert first["pagination"]["totalResultSize"] == 2


async def test_customer_ids_have_a_limit(api: Server, acme: str) -> None:
    reply = await api.get("/seat-balances?customerIds=" + ",".join([acme] * 26))

    assert (reply.codes, reply.keys) == (["INVALID_VALUE"], ["customerIds"])

"""What many bills need is read together: however many there are, the queries are the same."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from asyncpg.connection import LoggedQuery

from invoicer import gather
from invoicer.gather import Known
from store import due
from store.db import Connection
from store.due import StoredSchedule
from tests import company

NOON = datetime(2025, 3, 10, 12, tzinfo=UTC)


async def test_the_number_of_queries_does_not_depend_on_the_number_of_schedules(api: Any, conn: Connection) -> None:
    await contracts(api)
    async with conn.transaction():
        claimed = await due.claim(conn, now=NOON, limit=10)
        # The first time the driver asks for types as well.
        await gather.known(conn, claimed, held=[])
        one, few = await known(conn, claimed[:1])
        all_, many = await known(conn, claimed)

    assert (len(one.inputs), len(all_.inputs)) == (1, 3)
    assert few == many
    for given in all_.inputs.values():
        (balances,) = given.seats.values()
        assert [change.total for change in balances] == [3, 4]
        assert sorted(given.usage[key].quantity for key in given.usage) == [1, 1, 5]


async def known(conn: Connection, schedules: Sequence[StoredSchedule]) -> tuple[Known, list[str]]:
    """What is gathered, and with which statements."""
    asked: list[str] = []

    def note(query: LoggedQuery) -> None:
        asked.append(query.query)

    conn.add_query_logger(note)
    found = await gather.known(conn, schedules, held=[])
    # The logger is told of a query when the next one is under way.
    await conn.execute("select")
    conn.remove_query_logger(note)
    return found, [query for query in asked if query != "select"]


async def contracts(api: Any) -> None:
    """Three parents with a child each, and prices that ask for seats, groups, events and different values."""
    grouped = await company.metric(api, metricType="GROUPED", groupingProperty="region")
    paid = await company.metric(api, "paid", eventType="calls", aggregationType="SUM", aggregationProperty="paid")
    users = await company.metric(api, "users", eventType="calls", aggregationType="UNIQUE", aggregationProperty="paid")
    tier = {"price": "1", "isPricePercentage": True, "minPrice": "1"}
    prices = [
        await company.price(api, company.seats(await company.seat_metric(api))),
        await company.price(api, company.linear("1", grouped), pricesByGroup={"eu": "2"}),
        await company.price(api, {"pricingType": "VOLUME", "usageMetricId": paid, "tiers": [tier]}),
        await company.price(api, company.linear("1", users)),
    ]
    for name in ("a", "b", "c"):
        parent = await company.customer(api, name)
        await company.customer(api, f"{name}-child", parentId=parent)
        await company.schedule(api, parent, prices, start="2025-02-01", rollUpBilling=True)
        await company.reported(api, 3, "2025-01-10", alias=f"{name}-child")
        await company.reported(api, 1, "2025-02-10", alias=name)
        await api.post("/usage-events", company.event(name, "2025-02-10T10:00:00Z", alias=name, paid=5, region="eu"))
    await api.aggregate()

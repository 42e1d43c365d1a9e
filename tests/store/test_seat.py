"""What bills read of seats: the balance at the start of a period, then each change within it."""

from datetime import datetime
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from store import alias, seat
from store.account import Principal
from store.customer import Customer
from store.db import Connection
from store.seat import Question, SeatEvent
from tests.store import rows
from tests.usage import NOW, at

START, END = at("2025-03-01"), at("2025-04-01")


async def report(
    conn: Connection, account: Principal, total: int, when: str, *, of: str = "acme", seat_type: str = "admin"
) -> None:
    id_ = uuid7()
    event = SeatEvent(
        id=id_,
        customer_event_id=str(id_),
        alias=of,
        seat_type=seat_type,
        event_timestamp=at(when),
        total=total,
        received_at=NOW,
    )
    async with conn.transaction():
        await seat.put(conn, account.account, event=event)


async def changes(
    conn: Connection, account: Principal, customer: UUID, seat_type: str = "admin"
) -> list[tuple[str, int]]:
    """The changes of March, with instants as text."""
    [found] = await seat.changes(conn, account.account, [Question((customer,), seat_type, START, END)])
    return [(shown(instant), total) for instant, total in found]


def shown(instant: datetime) -> str:
    return f"{instant:%m-%dT%H:%M}"


@pytest.fixture
async def acme(conn: Connection, account: Principal) -> Customer:
    return await rows.kept_customer(conn, account, "acme", "acme-eu")


async def test_without_events_the_balance_is_zero(conn: Connection, account: Principal, acme: Customer) -> None:
    assert await changes(conn, account, acme.id) == [("03-01T00:00", 0)]


async def test_the_last_total_before_the_period_is_the_balance_at_its_start(
    conn: Connection, account: Principal, acme: Customer
) -> None:
    await report(conn, account, 5, "2024-01-01T00:00")
    await report(conn, account, 7, "2025-02-28T23:59")

    assert await changes(conn, account, acme.id) == [("03-01T00:00", 7)]


async def test_an_event_at_the_start_is_in_the_balance_and_one_at_the_end_is_not(
    conn: Connection, account: Principal, acme: Customer
) -> None:
    await report(conn, account, 5, "2025-02-01T00:00")
    await report(conn, account, 9, "2025-03-01T00:00")
    await report(conn, account, 11, "2025-04-01T00:00")

    assert await changes(conn, account, acme.id) == [("03-01T00:00", 9)]


async def test_changes_come_in_the_order_of_time_and_the_last_received_of_one_instant_stands(
    conn: Connection, account: Principal, acme: Customer
) -> None:
    await report(conn, account, 124, "2025-03-19T00:00")
    await report(conn, account, 120, "2025-03-18T00:00")
    await report(conn, account, 1, "2025-03-18T00:00")
    await report(conn, account, 119, "2025-03-18T00:00")

    expected = [("03-01T00:00", 0), ("03-18T00:00", 119), ("03-19T00:00", 124)]

    assert await changes(conn, account, acme.id) == expected


async def test_aliases_add_up_and_types_stand_apart(conn: Connection, account: Principal, acme: Customer) -> None:
    await report(conn, account, 10, "2025-02-01T00:00")
    await report(conn, account, 2, "2025-03-05T00:00", of="acme-eu")
    await report(conn, account, 8, "2025-03-06T00:00")
    await report(conn, account, 4, "2025-03-06T00:00", of="acme-eu")
    await report(conn, account, 1, "2025-03-07T00:00", of=str(acme.id))
    await report(conn, account, 99, "2025-03-07T00:00", seat_type="viewer")

    # 10, then 10 + 2, then 8 + 4, which is no change, then 8 + 4 + 1.
    assert await changes(conn, account, acme.id) == [("03-01T00:00", 10), ("03-05T00:00", 12), ("03-07T00:00", 13)]
    assert await changes(conn, account, acme.id, "viewer") == [("03-01T00:00", 0), ("03-07T00:00", 99)]


async def test_an_alias_counts_while_it_is_the_customers(conn: Connection, account: Principal, acme: Customer) -> None:
    other = await rows.kept_customer(conn, account)
    await report(conn, account, 10, "2025-02-01T00:00")
    await report(conn, account, 20, "2025-03-20T00:00")
    [mine, _] = await alias.of_customer(conn, account.account, customer=acme.id)
    await alias.end(conn, account.account, alias=mine.id, now=at("2025-03-10T00:00"))
    await rows.mapped(conn, account, other, "acme")

    assert await changes(conn, account, acme.id) == [("03-01T00:00", 10), ("03-10T00:00", 0)]
    assert await changes(conn, account, other.id) == [("03-01T00:00", 0), ("03-10T00:00", 10), ("03-20T00:00", 20)]


async def test_one_query_answers_for_many_bills_each_with_its_range(
    conn: Connection, account: Principal, acme: Customer
) -> None:
    other = await rows.kept_customer(conn, account, "beta")
    await report(conn, account, 3, "2025-03-02T00:00")
    await report(conn, account, 4, "2025-03-03T00:00", of="beta", seat_type="viewer")
    await report(conn, account, 5, "2025-04-01T00:00")
    asked = [
        Question((acme.id,), "admin", START, END),
        Question((acme.id,), "viewer", START, END),
        Question((other.id,), "viewer", START, END),
        Question((acme.id,), "admin", END, at("2025-05-01")),
        Question((), "admin", START, END),
    ]

    found = await seat.changes(conn, account.account, asked)

    assert [[total for _, total in some] for some in found] == [[0, 3], [0], [0, 4], [5], [0]]
    assert await seat.changes(conn, account.account, []) == []


async def test_the_seats_of_several_customers_add_up(conn: Connection, account: Principal, acme: Customer) -> None:
    child = await rows.kept_customer(conn, account, "child")
    await report(conn, account, 10, "2025-02-01T00:00")
    await report(conn, account, 2, "2025-03-05T00:00", of="child")
    await report(conn, account, 11, "2025-03-06T00:00")

    [found] = await seat.changes(conn, account.account, [Question((acme.id, child.id), "admin", START, END)])

    assert [(shown(instant), total) for instant, total in found] == [
        ("03-01T00:00", 10),
        ("03-05T00:00", 12),
        ("03-06T00:00", 13),
    ]

"""Mappings of aliases: one owner at a time, no gap and no overlap, and nothing that was is forgotten."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from store import alias
from store.account import Principal
from store.alias import NewAlias
from store.db import Connection
from store.error import AliasTaken, NotFound, OwnAlias
from tests.store.rows import kept_customer, mapped

NOW = datetime(2025, 3, 10, 12, tzinfo=UTC)


async def test_an_open_alias_has_one_owner(conn: Connection, account: Principal) -> None:
    first, second = await kept_customer(conn, account, "acme"), await kept_customer(conn, account)

    with pytest.raises(AliasTaken, match=str(first.id)):
        await mapped(conn, account, second, "free", "acme")

    assert await alias.of_customer(conn, account.account, customer=second.id) == []


async def test_a_mapping_ends_once(conn: Connection, account: Principal) -> None:
    owner = await kept_customer(conn, account)
    [mapping] = await mapped(conn, account, owner, "acme")

    ended = await alias.end(conn, account.account, alias=mapping, now=NOW)
    again = await alias.end(conn, account.account, alias=mapping, now=NOW + timedelta(days=1))

    assert ended.valid_to == NOW
    assert again == ended


async def test_a_clock_that_stands_still_makes_no_empty_span(conn: Connection, account: Principal) -> None:
    owner = await kept_customer(conn, account)
    spans = []
    for _ in range(3):
        [mapping] = await mapped(conn, account, owner, "acme")
        ended = await alias.end(conn, account.account, alias=mapping, now=NOW)
        spans.append((ended.valid_from, ended.valid_to))

    assert [start for start, _ in spans] == [None, *(end for _, end in spans[:-1])]
    assert all(start is None or start < end for start, end in spans if end)


async def test_two_owners_at_once_are_impossible_in_the_schema(conn: Connection, account: Principal) -> None:
    owner = await kept_customer(conn, account, "acme")

    with pytest.raises(asyncpg.UniqueViolationError):
        await conn.execute(
            "insert into customer_alias (account, id, customer, value, valid_to, created_at) "
            "values ($1, $2, $3, $4, $5, $5)",
            *(account.account, uuid7(), owner.id, "acme", NOW),
        )


async def test_an_alias_of_nobody_is_not_made(conn: Connection, account: Principal) -> None:
    with pytest.raises(NotFound):
        await alias.create(conn, account.account, customer=uuid7(), aliases=[NewAlias(uuid7(), "acme")], now=NOW)


async def test_a_customers_own_id_never_ends(conn: Connection, account: Principal) -> None:
    owner = await kept_customer(conn, account)

    with pytest.raises(OwnAlias):
        await alias.end(conn, account.account, alias=owner.id, now=NOW)
    with pytest.raises(NotFound):
        await alias.end(conn, account.account, alias=uuid7(), now=NOW)

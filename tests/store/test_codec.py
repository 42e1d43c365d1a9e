import asyncpg
import pytest

from store import cell, codec
from store.db import Connection, Pool
from tests.store.test_statement import statements


async def test_arrays_have_the_numbers_that_postgres_gives_them(conn: Connection) -> None:
    rows = await conn.fetch(
        "select of.typname, of.oid, element.oid as element from pg_type as of join pg_type as element"
        " on element.typarray = of.oid where of.typname = any($1)",
        list(codec.ARRAYS),
    )

    assert {row["typname"]: (row["oid"], row["element"]) for row in rows} == codec.ARRAYS


async def test_no_statement_makes_a_connection_ask_about_types(pool: Pool) -> None:
    asked: list[str] = []

    async with pool.acquire() as conn, conn.transaction():
        await conn.execute(cell.STAGE)
        conn.add_query_logger(lambda query: asked.append(query.query))
        for _, statement in statements():
            # store/recount.py puts the server's best way to ignore case there.
            await conn.prepare(statement.replace(" fold(", " lower("))

    assert asked == ["COMMIT;"]


async def test_an_array_that_is_not_declared_is_asked_about(conn: Connection) -> None:
    asked: list[str] = []

    with conn.query_logger(lambda query: asked.append(query.query)):
        assert await conn.fetchval("select $1::point[]", [(1, 2)]) == [asyncpg.Point(1, 2)]

    assert any("pg_type" in query for query in asked)


@pytest.mark.parametrize("name", codec.ARRAYS)
async def test_declared_arrays_come_back_as_they_went(conn: Connection, name: str) -> None:
    one = await conn.fetchval(f"select array_fill(null::{name[1:]}, array[1])")

    assert one == [None]
    assert await conn.fetchval(f"select $1::{name[1:]}[]", one) == one

"""The schema: replayed from zero, migrated once by many, refused when it is not this code's."""

import asyncio
import sys

import asyncpg
import pytest

from store import db


async def test_migrations_replay_from_zero(empty_database_url: str) -> None:
    before = await db.migrate(empty_database_url)

    assert before == "none"
    assert await revision_of(empty_database_url) == db.head()


async def test_four_migrations_at_once_take_turns(empty_database_url: str) -> None:
    results = await asyncio.gather(*(db.migrate(empty_database_url) for _ in range(4)))

    assert sorted(results) == sorted(["none"] + [db.head()] * 3)


async def test_a_migrated_database_passes(conn: db.Connection) -> None:
    await db.check_schema(conn)


async def test_an_empty_database_is_refused_with_the_command_to_run(empty_database_url: str) -> None:
    conn = await asyncpg.connect(empty_database_url)

    with pytest.raises(db.SchemaMismatch, match="run `usance migrate`"):
        await db.check_schema(conn)
    await conn.close()


async def test_an_older_database_is_refused_with_the_command_to_run(conn: db.Connection) -> None:
    await conn.execute("update alembic_version set version_num = '0001'")

    with pytest.raises(db.SchemaMismatch, match=r"at revision 0001.*run `usance migrate`"):
        await db.check_schema(conn)


async def test_a_newer_database_is_refused_with_the_command_to_run(conn: db.Connection, database_url: str) -> None:
    await conn.execute("update alembic_version set version_num = '9999'")

    with pytest.raises(db.SchemaMismatch, match=r"newer than.*make install"):
        await db.check_schema(conn)
    with pytest.raises(db.SchemaMismatch):
        await db.migrate(database_url)


async def test_a_failing_migration_leaves_nothing(empty_database_url: str) -> None:
    conn = await asyncpg.connect(empty_database_url)
    await conn.execute("create table invoice (id integer)")  # in the way of a later revision

    with pytest.raises(asyncpg.DuplicateTableError):
        await db.migrate(empty_database_url)
    assert await conn.fetchval("select to_regclass('account')") is None
    await conn.close()


def test_every_sql_file_has_its_revision() -> None:
    versions = db.migrations_folder() / "versions"

    assert {path.stem for path in versions.glob("0*.sql")} == {path.stem for path in versions.glob("0*.py")}


async def test_a_migrated_database_needs_no_alembic(database_url: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c"),
        "import asyncio, sys; from store import db; asyncio.run(db.migrate(sys.argv[1])); "
        "sys.exit('alembic' in sys.modules)",
        database_url,
    )

    assert await process.wait() == 0


async def test_connections_speak_utc(pool: db.Pool) -> None:
    assert await pool.fetchval("show timezone") == "UTC"


async def revision_of(url: str) -> str | None:
    conn = await asyncpg.connect(url)
    try:
        return await db.revision(conn)
    finally:
        await conn.close()

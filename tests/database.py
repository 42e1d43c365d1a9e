"""Databases for tests, made once and emptied often: cloning one takes ten times as long as most tests.

    Databases(admin, template).take()   the name of a database like the template
    Databases(...).give_back(name)      emptied for the next test; dropped if the test changed its shape

Empty means: no row, no partition and no connection that the template does not have, every sequence at its start.
"""

from itertools import count
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import msgspec

from store import db

_numbers = count(1)

_HANG_UP = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and pid <> $2"
# What is deleted leaves its pages behind, which slows down whoever scans them; few tests leave that much.
_EMPTY = """
do $$
declare
    one record;
    is_used boolean;
begin
    set local session_replication_role = replica;
    for one in
        select oid::regclass as name, relispartition and relname ~ '[0-9]$' as is_made
        from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' and relname <> 'alembic_version'
        order by 2 desc
    loop
        if one.is_made then
            execute format('drop table %s', one.name);
            continue;
        end if;
        execute format('select exists (select from %s)', one.name) into is_used;
        if not is_used then
            continue;
        end if;
        if pg_relation_size(one.name) > 1000000 then
            execute format('truncate %s cascade', one.name);
        else
            execute format('delete from %s', one.name);
        end if;
    end loop;
    perform setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false)
        from pg_sequences where last_value is not null;
end $$
"""
# Everything in it that a migration makes.
_SHAPE = """
select array_agg(name order by name) from (
    select 'revision ' || version_num from alembic_version
    union all
    select format('column %s %s %s %s', attrelid::regclass, attname, atttypid, attnotnull)
    from pg_attribute join pg_class on pg_class.oid = attrelid where relnamespace = 'public'::regnamespace
    union all
    select 'constraint ' || conname || pg_get_constraintdef(oid)
    from pg_constraint where connamespace = 'public'::regnamespace
    union all
    select 'trigger ' || tgname || tgenabled::text from pg_trigger where not tgisinternal
    union all
    select 'function ' || proname || prosrc from pg_proc where pronamespace = 'public'::regnamespace
) as found (name)
"""
_SETTINGS = (
    "select count(*) from pg_db_role_setting join pg_database on pg_database.oid = setdatabase where datname = $1"
)


_TABLES = "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' order by 1"


class Template(msgspec.Struct, frozen=True):
    """What a fresh database looks like: its shape, and by table, as JSON, the rows that migrations put there."""

    shape: list[str]
    rows: dict[str, str]


async def read_template(url: str) -> Template:
    conn = await asyncpg.connect(url)
    try:
        names = [row["relname"] for row in await conn.fetch(_TABLES)]
        rows = {name: await conn.fetchval(f"select json_agg({name}) from {name}") for name in names}
        del rows["alembic_version"]
        return Template(await conn.fetchval(_SHAPE), {name: found for name, found in rows.items() if found})
    finally:
        await conn.close()


class Databases:
    """The databases of one worker process: as many as its tests used at the same time."""

    def __init__(self, admin: db.Connection, *, url: str, template: str) -> None:
        self._admin = admin
        self._url = url
        self._template = template
        self._free: list[str] = []
        # A connection costs as much as emptying; a test that asks who is connected sees this one.
        self._janitors: dict[str, asyncpg.Connection] = {}
        self._fresh: Template | None = None

    async def take(self) -> str:
        if self._free:
            return self._free.pop()
        name = f"test_{next(_numbers)}"
        await self._admin.execute(f"create database {name} template {self._template} strategy file_copy")
        return name

    async def give_back(self, name: str) -> None:
        if await self._is_empty(name):
            self._free.append(name)
            return
        if janitor := self._janitors.pop(name, None):
            janitor.terminate()
        await self._admin.execute(f"drop database if exists {name} with (force)")

    async def close(self) -> None:
        for janitor in self._janitors.values():
            await janitor.close()

    async def _is_empty(self, name: str) -> bool:
        try:
            if name not in self._janitors:
                self._janitors[name] = await asyncpg.connect(url_of(self._url, name))
            janitor = self._janitors[name]
            await self._admin.execute(_HANG_UP, name, janitor.get_server_pid())
            await janitor.execute(_EMPTY)
            self._fresh = self._fresh or await read_template(url_of(self._url, self._template))
            for table, rows in self._fresh.rows.items():
                await janitor.execute(
                    f"insert into {table} select * from json_populate_recordset(null::{table}, $1)", rows
                )
            shape = await janitor.fetchval(_SHAPE)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            # Whatever the test did to it, the next one gets another.
            return False
        return shape == self._fresh.shape and not await self._admin.fetchval(_SETTINGS, name)


def url_of(url: str, database: str) -> str:
    """The same server's other database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))

"""Aliases as events bear them, interned to integers.

The meter knows aliases, not customers: a name that no customer has yet gets a number all the same, and its events are
counted under it. Who owns the alias is looked up when usage is read (store/alias.py).
"""

from collections.abc import Collection, Mapping, Sequence

import asyncpg

from store.db import Connection

# Numbers new names, by the unique index (account, value). Sorted, so that two aggregators cannot wait for each other.
_INSERT = """
insert into usage_alias (account, value)
select account, value from unnest($1::integer[], $2::text[]) as new (account, value)
on conflict (account, value) do nothing
"""

# Reads the numbers, by the same index.
_FIND = """
select account, alias, value from usage_alias
join unnest($1::integer[], $2::text[]) as wanted (account, value) using (account, value)
"""

# The numbers of one account's names, by the same index.
_NUMBERS = "select value, alias from usage_alias where account = $1 and value = any($2::text[])"


async def intern(conn: Connection, names: Collection[tuple[int, str]]) -> dict[tuple[int, str], int]:
    """The numbers of (account, alias) pairs; new ones are valid only if the caller's transaction commits."""
    if not names:
        return {}
    found = await _find(conn, names)
    if missing := sorted(set(names) - found.keys()):
        accounts, values = zip(*missing, strict=True)
        await conn.execute(_INSERT, accounts, values)
        # Read again instead of RETURNING: another aggregator may have numbered some of them meanwhile.
        found |= await _find(conn, missing)
    return found


async def numbers(conn: Connection, account: int, *, aliases: Sequence[str]) -> Mapping[str, int]:
    """The numbers of one account's aliases; an alias that no event ever bore has none."""
    return {row["value"]: row["alias"] for row in await conn.fetch(_NUMBERS, account, aliases)}


# Aliases that nobody has now: who owned one before still owns its events of then. By the primary key.
_UNMAPPED = """
select value from usage_alias as name where account = $1 and not exists (
    select from customer_alias as mapping
    where mapping.account = $1 and mapping.value = name.value and mapping.valid_to is null
) limit $2
"""


async def unmapped(conn: Connection, account: int, *, aliases_max: int) -> tuple[str, ...] | None:
    """The aliases that nobody has now; None: they are more."""
    return _few(await conn.fetch(_UNMAPPED, account, aliases_max + 1), aliases_max)


# All names that events ever bore, by the primary key.
_EVERY = "select value from usage_alias where account = $1 limit $2"


async def every(conn: Connection, account: int, *, aliases_max: int) -> tuple[str, ...] | None:
    """All aliases; None: they are more."""
    return _few(await conn.fetch(_EVERY, account, aliases_max + 1), aliases_max)


def _few(rows: Sequence[asyncpg.Record], aliases_max: int) -> tuple[str, ...] | None:
    return tuple(row["value"] for row in rows) if len(rows) <= aliases_max else None


async def _find(conn: Connection, names: Collection[tuple[int, str]]) -> dict[tuple[int, str], int]:
    accounts, values = zip(*names, strict=True)
    return {(row["account"], row["value"]): row["alias"] for row in await conn.fetch(_FIND, accounts, values)}

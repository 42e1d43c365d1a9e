"""Accounts and the keys that open them.

An account is one legal entity's workspace. Inside it is a small integer that stands first in every key; outside it is a
UUID. A key is a client id and a secret; only the secret's SHA-256 is kept: 32 random bytes need no slow hash.
"""

import hashlib
from collections.abc import Collection
from datetime import datetime
from enum import StrEnum
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import msgspec

from store.db import Connection
from store.error import NotFound
from store.page import Listing, Page


class Scope(StrEnum):
    """What a key may be limited to."""

    USAGE_WRITE = "usage:write"
    READ = "read"
    WRITE = "write"


ALL_SCOPES = frozenset(Scope)


class Principal(msgspec.Struct, frozen=True):
    """Who asks: the account a key opens, and what every request needs to know of it.

    `customer`: a usage token's, which reads the usage of this one customer and does nothing else; with
    `includes_children` that of everyone below it, too.
    """

    account: int
    account_id: UUID
    client_id: str
    time_zone: str
    scopes: frozenset[Scope] = ALL_SCOPES
    customer: UUID | None = None
    includes_children: bool = False


class Key(msgspec.Struct, frozen=True):
    """A key as it is kept: whom it opens for, and the hash to compare with."""

    principal: Principal
    secret_sha256: bytes


class Account(msgspec.Struct, frozen=True):
    """One legal entity's workspace."""

    id: UUID
    company_name: str
    company_number: str | None
    country: str
    time_zone: str
    created_at: datetime
    updated_at: datetime


class AccountChange(msgspec.Struct, frozen=True):
    """What a reader may change of an account; None leaves a field as it is."""

    company_name: str | None = None
    company_number: str | None = None
    country: str | None = None


def hash_secret(secret: str) -> bytes:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).digest()


# The account's zone, by its primary key.
_TIME_ZONE = "select time_zone from account where account = $1"


async def time_zone(conn: Connection, account: int) -> ZoneInfo:
    """The zone in which the account's dates become instants."""
    return ZoneInfo(await conn.fetchval(_TIME_ZONE, account))


# Serves every request whose key is not cached, by the primary key of api_key.
_FIND_KEY = """
select account.account, account.id as account_id, api_key.client_id, account.time_zone, api_key.secret_sha256,
    api_key.scopes
from api_key join account using (account)
where api_key.client_id = $1 and api_key.revoked_at is null
"""


async def find_key(conn: Connection, client_id: str) -> Key | None:
    """The key with this client id, unless it is unknown or revoked."""
    row = await conn.fetchrow(_FIND_KEY, client_id)
    if row is None:
        return None
    scopes = ALL_SCOPES if row["scopes"] is None else frozenset(map(Scope, row["scopes"]))
    principal = Principal(row["account"], row["account_id"], row["client_id"], row["time_zone"], scopes)
    return Key(principal, row["secret_sha256"])


# Two processes that start at once must not make two first accounts: the second waits and finds the first's.
_LOCK_FIRST = "select pg_advisory_xact_lock(hashtext('usance.account.first'))"

# The oldest account, by the primary key.
_FIRST = "select account from account order by account limit 1"

# Makes an account.
_INSERT = """
insert into account (id, company_name, time_zone, created_at, updated_at) values ($1, $2, $3, $4, $4)
returning account
"""


async def ensure_first(conn: Connection, *, account_id: UUID, company_name: str, time_zone: str, now: datetime) -> int:
    """The oldest account; made from the arguments if there is none. Call inside a transaction."""
    await conn.execute(_LOCK_FIRST)
    first: int | None = await conn.fetchval(_FIRST)
    if first is not None:
        return first
    made: int = await conn.fetchval(_INSERT, account_id, company_name, time_zone, now)
    return made


# Makes a key, or leaves the one of that name as it is, by the primary key.
_INSERT_KEY = """
insert into api_key (client_id, account, secret_sha256, created_at, scopes) values ($1, $2, $3, $4, $5)
on conflict (client_id) do nothing
returning client_id
"""


async def create_key(
    conn: Connection,
    account: int,
    *,
    client_id: str,
    secret: str,
    now: datetime,
    scopes: Collection[Scope] | None = None,
) -> bool:
    """Make a key; without `scopes` it may do everything. False: the client id is taken, and nothing changed."""
    limited = None if scopes is None else sorted(scopes)
    return await conn.fetchval(_INSERT_KEY, client_id, account, hash_secret(secret), now, limited) is not None


# What a usage token is checked with, and whom it opens for, by the primary key.
_SIGNER = "select id as account_id, time_zone, token_secret from account where account = $1"


class Signer(msgspec.Struct, frozen=True):
    """What signs the usage tokens of an account."""

    account_id: UUID
    time_zone: str
    secret: bytes


async def find_signer(conn: Connection, account: int) -> Signer | None:
    """The signer of an account, if there is such an account."""
    row = await conn.fetchrow(_SIGNER, account)
    return None if row is None else Signer(row["account_id"], row["time_zone"], row["token_secret"])


# Tells a first start from a later one; the table holds a handful of rows.
_COUNT_KEYS = "select count(*) from api_key where account = $1 and revoked_at is null"


async def count_keys(conn: Connection, account: int) -> int:
    """How many keys open this account."""
    count: int = await conn.fetchval(_COUNT_KEYS, account)
    return count


# One account, by its primary key.
_GET = """
select id, company_name, company_number, country, time_zone, created_at, updated_at from account where account = $1
"""


async def get(conn: Connection, account: int) -> Account:
    """The account behind a principal; it always exists."""
    return _account(await conn.fetchrow(_GET, account))


async def listing(conn: Connection, account: int, *, page: Page) -> Listing[Account]:
    """A key opens exactly one account, so that is the whole list, or nothing beyond a cursor."""
    found = await get(conn, account)
    is_inside = (page.below is None or found.id < page.below) and (page.above is None or found.id > page.above)
    return page.cut((found,) if is_inside else (), total=1)


# Changes what the account's owner may change; null leaves a field as it is. By the primary key.
_UPDATE = """
update account set company_name = coalesce($2, company_name), company_number = coalesce($3, company_number),
    country = coalesce($4, country), updated_at = $5
where account = $1
returning id, company_name, company_number, country, time_zone, created_at, updated_at
"""


async def update(conn: Connection, account: int, *, change: AccountChange, now: datetime) -> Account:
    """Change an account and return it."""
    row = await conn.fetchrow(_UPDATE, account, change.company_name, change.company_number, change.country, now)
    return _account(row)


def _account(row: asyncpg.Record | None) -> Account:
    if row is None:
        raise NotFound("This account does not exist any more.")
    return Account(**dict(row))

"""Keys: the first one, preset by settings or made up and shown once, and further ones with scopes."""

import hmac
import secrets
from collections.abc import Callable, Collection
from datetime import datetime

import asyncpg
from uuid_utils.compat import uuid7

from runtime.errors import SettingsError
from runtime.settings import Settings
from store import account, db
from store.account import Scope
from store.db import Connection

Say = Callable[[str], None]

_COMPANY_NAME = "My company"
_TIME_ZONE = "UTC"
_SHOWN = """
API key, shown this once:
  USANCE_CLIENT_ID={client_id}
  USANCE_CLIENT_SECRET={secret}
"""


async def ensure_first(conn: Connection, settings: Settings, *, now: datetime, say: Say) -> None:
    """See to it that there is an account and a key that opens it."""
    async with conn.transaction():
        number = await account.ensure_first(
            conn, account_id=uuid7(), company_name=_COMPANY_NAME, time_zone=_TIME_ZONE, now=now
        )
        if settings.client_id is not None and settings.client_secret is not None:
            await _preset(conn, number, client_id=settings.client_id, secret=settings.client_secret, now=now)
        elif await account.count_keys(conn, number) == 0:
            await _make_up(conn, number, scopes=None, now=now, say=say)


async def add(settings: Settings, *, scopes: Collection[str], now: datetime, say: Say) -> None:
    """Make up another key for the oldest account; without scopes it may do everything."""
    unknown = sorted(set(scopes) - set(Scope))
    if unknown:
        raise SettingsError(f"--scope: {', '.join(unknown)} is not allowed; give {', '.join(Scope)}")
    conn = await asyncpg.connect(settings.database_url)
    try:
        await db.check_schema(conn)
        async with conn.transaction():
            number = await account.ensure_first(
                conn, account_id=uuid7(), company_name=_COMPANY_NAME, time_zone=_TIME_ZONE, now=now
            )
            await _make_up(conn, number, scopes=[Scope(one) for one in scopes] or None, now=now, say=say)
    finally:
        await conn.close()


async def _make_up(conn: Connection, number: int, *, scopes: Collection[Scope] | None, now: datetime, say: Say) -> None:
    client_id, secret = f"usance-{secrets.token_hex(6)}", secrets.token_urlsafe(32)
    await account.create_key(conn, number, client_id=client_id, secret=secret, now=now, scopes=scopes)
    # Before the commit: shown and then lost is repaired by the next start, lost before it was shown by nobody.
    say(_SHOWN.format(client_id=client_id, secret=secret))


async def _preset(conn: Connection, number: int, *, client_id: str, secret: str, now: datetime) -> None:
    if await account.create_key(conn, number, client_id=client_id, secret=secret, now=now):
        return
    found = await account.find_key(conn, client_id)
    if found is None or not hmac.compare_digest(found.secret_sha256, account.hash_secret(secret)):
        raise SettingsError(
            f"USANCE_CLIENT_ID: a key {client_id} exists with another secret, or was revoked; "
            "give its secret, or another client id"
        )

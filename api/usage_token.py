"""/usage-tokens: short-lived tokens that let a browser read the usage of one customer, and nothing else.

    ut_<account, customer, expiry, whether its children too>.<HMAC-SHA256 with the account's secret>

A token comes as `Authorization: Bearer`, as the cookie `usance_usage_token` or as `?token=`, because the browser's
EventSource can send no headers. It is checked without the database, except for the account's secret, which is
remembered as keys are. Nothing is stored of a token: it ends by itself, or with a new secret.
"""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

import msgspec
import structlog
from aiohttp import web
from msgspec import Meta

from api import error, status, wire
from store import account, customer
from store.account import Principal, Signer
from store.db import Pool

log = structlog.get_logger(__name__)

PREFIX = "ut_"
COOKIE = "usance_usage_token"
LIFE_MAX = timedelta(hours=24)
FRESH_SECONDS = 60.0
LOOKUP_SECONDS_MAX = 2.0
_CHARACTERS_MAX = 512


def routes() -> list[web.RouteDef]:
    """The routes of this resource, below /api."""
    return [web.post("/usage-tokens", _create)]


class _TokenRequest(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    customer_id: UUID
    expires_at: Annotated[datetime, Meta(tz=True)]
    include_children: bool = False


class _Claim(msgspec.Struct, frozen=True, array_like=True):
    """What a token says."""

    account: int
    customer: UUID
    expires: int
    includes_children: bool = False


async def _create(request: web.Request) -> web.Response:
    who, now, asked = wire.principal(request), wire.now(request), await wire.read(request, _TokenRequest)
    expires_at = _checked(asked.expires_at, now)
    async with wire.connection(request) as conn:
        found = await customer.get(conn, who.account, customer=asked.customer_id, key="customerId")
        signer = await account.find_signer(conn, who.account)
    if signer is None:
        raise error.Unauthenticated
    claim = _Claim(who.account, found.id, int(expires_at.timestamp()), asked.include_children)
    made = {
        "token": sign(claim, signer),
        "customerId": found.id,
        "includeChildren": claim.includes_children,
        "expiresAt": expires_at,
    }
    return wire.reply(made, 201)


def sent(request: web.Request) -> str | None:
    """The token that comes with a request which has no Authorization header."""
    return request.cookies.get(COOKIE) or request.query.get("token")


def sign(claim: _Claim, signer: Signer) -> str:
    """A claim as a token."""
    payload = _encode(_PACKER.encode(claim))
    return f"{PREFIX}{payload}.{_encode(_mac(payload, signer))}"


class Tokens:
    """Checks tokens; remembers the secrets of accounts."""

    def __init__(self, pool: Pool, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._monotonic = monotonic
        self._known: dict[int, tuple[Signer, float]] = {}

    async def principal(self, token: str, *, now: datetime) -> Principal:
        """Whom this token speaks for."""
        payload, claim, mac = _split(token)
        if claim.expires <= now.timestamp():
            raise error.Unauthenticated("The usage token has expired. Get another one.")
        signer = await self._signer(claim.account)
        if signer is None or not hmac.compare_digest(mac, _mac(payload, signer)):
            raise error.Unauthenticated("The usage token is not valid. Get another one.")
        return Principal(
            account=claim.account,
            account_id=signer.account_id,
            client_id=f"{PREFIX}{claim.customer}",
            time_zone=signer.time_zone,
            scopes=frozenset(),
            customer=claim.customer,
            includes_children=claim.includes_children,
        )

    async def _signer(self, number: int) -> Signer | None:
        known = self._known.get(number)
        if known is not None and self._monotonic() - known[1] < FRESH_SECONDS:
            return known[0]
        try:
            async with self._pool.acquire(timeout=LOOKUP_SECONDS_MAX) as conn:
                found = await account.find_signer(conn, number)
        except Exception as exc:
            if known is None or not status.is_database_away(exc):
                raise
            log.warning("token's account not checked again: database is away", action="authenticate", account=number)
            return known[0]
        if found is not None:
            self._known[number] = (found, self._monotonic())
        return found


def _checked(expires_at: datetime, now: datetime) -> datetime:
    # Whole seconds, so that the token ends when the reply says it does.
    expires_at = expires_at.astimezone(UTC).replace(microsecond=0)
    if not now < expires_at <= now + LIFE_MAX:
        raise error.InvalidValue("`expiresAt` must lie within the next 24 hours.", key="expiresAt")
    return expires_at


def _split(token: str) -> tuple[str, _Claim, bytes]:
    payload, dot, mac = token.removeprefix(PREFIX).partition(".")
    if not token.startswith(PREFIX) or not dot or len(token) > _CHARACTERS_MAX:
        raise error.Unauthenticated("This is no usage token.")
    try:
        return payload, _UNPACKER.decode(_decode(payload)), _decode(mac)
    except (binascii.Error, ValueError, msgspec.DecodeError) as exc:
        raise error.Unauthenticated("This is no usage token.") from exc


def _mac(payload: str, signer: Signer) -> bytes:
    return hmac.digest(signer.secret, f"usance.usage_token.{payload}".encode(), hashlib.sha256)


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


_PACKER = msgspec.msgpack.Encoder()
_UNPACKER = msgspec.msgpack.Decoder(_Claim)

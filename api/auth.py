"""Who asks: API keys, as HTTP Basic or as `Bearer <client id>:<client secret>`; browsers with usage tokens.

A key that was seen once is remembered, so the path of a usage event needs no Postgres. After `FRESH_SECONDS` it is
looked up again, by one request while the others go on with what is known; if Postgres is away then, the remembered key
goes on working. A key that is not remembered gets DATABASE_UNAVAILABLE while Postgres is away: 401 would tell a client
with a good key to give up.
"""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable

import msgspec
import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from api import error, scope, status, usage_token, wire
from api.rate import Rates
from api.usage_token import Tokens
from store import account
from store.account import Scope
from store.db import Pool

log = structlog.get_logger(__name__)

FRESH_SECONDS = 60.0
LOOKUP_SECONDS_MAX = 2.0
CREDENTIALS_CHARACTERS_MAX = 1024
# One key may be written in several ways.
OPENED_MAX = 10_000

OPEN_PATHS = frozenset({"/health", "/ready", "/metrics"})


class _Known(msgspec.Struct):
    key: account.Key
    checked_at: float
    may_send: bool


class Keys:
    """The keys this process knows: client id -> key. Bounded by the number of keys that exist."""

    def __init__(self, pool: Pool, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._monotonic = monotonic
        self._known: dict[str, _Known] = {}
        # Digests of headers that opened -> what they opened. Not the headers: they hold secrets.
        self._opened: dict[bytes, _Known] = {}

    def sender(self, header: str) -> account.Principal | None:
        """Who sends events with this header, if it opened lately and may: asks nobody, awaits nothing."""
        known = self._opened.get(_digest(header))
        if known is None or not known.may_send or self._known.get(known.key.principal.client_id) is not known:
            return None
        return known.key.principal if self._is_fresh(known) else None

    def remember(self, header: str, who: account.Principal) -> None:
        """Note that a header has opened for this caller."""
        known = self._known.get(who.client_id)
        # Not if the key was read anew meanwhile: its secret may be another one now.
        if known is None or known.key.principal is not who:
            return
        if len(self._opened) >= OPENED_MAX:
            self._opened.clear()
        self._opened[_digest(header)] = known

    async def principal(self, *, client_id: str, secret: str) -> account.Principal:
        """Whom this key opens for."""
        key = await self._find(client_id)
        if key is None or not hmac.compare_digest(key.secret_sha256, account.hash_secret(secret)):
            raise error.Unauthenticated
        return key.principal

    async def _find(self, client_id: str) -> account.Key | None:
        known = self._known.get(client_id)
        if known is None:
            return await self._look_up(client_id)
        if self._is_fresh(known):
            return known.key
        # Said before the look-up is awaited: the others go on with what is known instead of all asking at once.
        known.checked_at = self._monotonic()
        try:
            return await self._look_up(client_id)
        except Exception as exc:
            if not status.is_database_away(exc):
                raise
            log.warning("key not checked again: database is away", action="authenticate", client_id=client_id)
            return known.key

    def _is_fresh(self, known: _Known) -> bool:
        return self._monotonic() - known.checked_at < FRESH_SECONDS

    async def _look_up(self, client_id: str) -> account.Key | None:
        async with self._pool.acquire(timeout=LOOKUP_SECONDS_MAX) as conn:
            key = await account.find_key(conn, client_id)
        if key is None:
            self._known.pop(client_id, None)
        else:
            self._known[client_id] = _Known(key, self._monotonic(), Scope.USAGE_WRITE in key.principal.scopes)
        return key


def authenticate(keys: Keys, tokens: Tokens, rates: Rates) -> Middleware:
    """The middleware that puts the principal on the request, if it may make it. A route not listed open is closed."""

    @web.middleware
    async def middleware(request: web.Request, handler: status.Handler) -> web.StreamResponse:
        if not _is_open(request):
            who = await _principal(request, keys, tokens)
            if rates.is_on:
                await rates.check(request, who)
            scope.check(request, who)
            request[wire.PRINCIPAL] = who
        return await handler(request)

    return middleware


async def _principal(request: web.Request, keys: Keys, tokens: Tokens) -> account.Principal:
    header = request.headers.get("Authorization", "")
    token = _bearer_token(header) if header else usage_token.sent(request)
    if token is not None:
        return await tokens.principal(token, now=wire.now(request))
    client_id, secret = credentials(header)
    who = await keys.principal(client_id=client_id, secret=secret)
    keys.remember(header, who)
    return who


def _digest(header: str) -> bytes:
    # In its place a look at what sha256 is would cost as much as the digest.
    return hashlib.blake2b(header.encode(errors="surrogateescape"), digest_size=32).digest()


def _bearer_token(header: str) -> str | None:
    """A usage token, which no key looks like: keys have a colon."""
    scheme, _, value = header.partition(" ")
    value = value.strip()
    is_token = scheme.lower() == "bearer" and value.startswith(usage_token.PREFIX) and ":" not in value
    return value if is_token else None


def credentials(header: str) -> tuple[str, str]:
    """Client id and secret from an Authorization header."""
    scheme, _, value = header.partition(" ")
    value = value.strip()
    if len(value) > CREDENTIALS_CHARACTERS_MAX:
        raise error.Unauthenticated
    match scheme.lower():
        case "basic":
            pair = _from_base64(value)
        case "bearer":
            pair = value
        case _:
            raise error.Unauthenticated
    client_id, colon, secret = pair.partition(":")
    if not (client_id and colon and secret) or "\0" in pair:
        raise error.Unauthenticated
    return client_id, secret


def _from_base64(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, ValueError) as exc:
        raise error.Unauthenticated from exc


def _is_open(request: web.Request) -> bool:
    if request.path in OPEN_PATHS:
        return True
    # A path that is nowhere is said to be nowhere; below /api only to those with a key.
    is_nowhere = request.match_info.http_exception is not None
    return is_nowhere and not request.path.startswith("/api/")

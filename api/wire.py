"""Requests become structs, structs become JSON.

Reading is strict: a field nobody knows is refused, so that a misspelt one is never ignored in silence. Each way to be
wrong has its own code (api/error.py), a message that says what to do, and in `key` the path of the field:
`phases[0].startDate`.

Replies carry every field of their resource: what has no value is null. Instants are RFC 3339 in UTC, dates are
yyyy-MM-dd, money and quantities are decimal strings without an exponent.
"""

import functools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar, cast
from uuid import UUID

import msgspec
from aiohttp import web
from asyncpg.pool import PoolAcquireContext

from api import error
from store.account import Principal
from store.db import Pool

Clock = Callable[[], datetime]

POOL: web.AppKey[Pool] = web.AppKey("pool")
CLOCK: web.AppKey[Clock] = web.AppKey("clock")
PRINCIPAL = web.RequestKey("principal", Principal)
BODY_BYTES_MAX = 1024 * 1024
CONNECTION_SECONDS_MAX = 5.0

T = TypeVar("T")
V = TypeVar("V")

_JSON_TYPES = {"application/json"}
_ENCODER = msgspec.json.Encoder()


async def read(request: web.Request, shape: type[T]) -> T:
    """The body as `shape`."""
    return decode(await read_body(request), shape)


async def read_body(request: web.Request) -> bytes:
    """The body's bytes, after a look at type, encoding and size."""
    if request.content_type not in _JSON_TYPES:
        raise error.UnsupportedMedia(f"{_seen_type(request)} Send `Content-Type: application/json`.")
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise error.UnsupportedMedia("This request is not read compressed. Send it without Content-Encoding.")
    if (request.content_length or 0) > BODY_BYTES_MAX:
        raise error.BodyTooLarge(f"The body may have {BODY_BYTES_MAX} bytes. Send less at once.")
    body = await request.read()
    if len(body) > BODY_BYTES_MAX:
        raise error.BodyTooLarge(f"The body may have {BODY_BYTES_MAX} bytes. Send less at once.")
    return body


def decode(body: bytes, shape: type[T]) -> T:
    """JSON text as `shape`; every failure is an ApiError."""
    with explained():
        decoded: T = _decoder(cast("Any", shape)).decode(body)
    return decoded


@contextmanager
def explained(inside: str = "") -> Iterator[None]:
    """Turn msgspec's complaints into ours; `inside` is the path of the field that is being read."""
    try:
        yield
    except msgspec.ValidationError as exc:
        raise problem(str(exc), inside=inside) from exc
    except msgspec.DecodeError as exc:
        raise error.MalformedJson(f"The body is not JSON: {exc}. Send one JSON value.") from exc
    except UnicodeDecodeError as exc:
        raise error.MalformedJson("The body is not valid UTF-8. Encode it as UTF-8.") from exc
    except RecursionError as exc:
        raise error.MalformedJson("The body is nested too deeply. Send a flatter value.") from exc


def read_query(request: web.Request, shape: type[T]) -> T:
    """The query string as `shape`, whose fields are the parameters this route knows."""
    parameters = dict(request.query)
    if len(parameters) != len(request.query):
        raise error.InvalidValue("A query parameter is given twice. Give each once; lists are comma-separated.")
    if principal(request).customer is not None:
        # Not the route's, but how a browser says who it is.
        parameters.pop("token", None)
    with explained():
        return msgspec.convert(parameters, shape, strict=False)


def refuse_if_given(**fields: object) -> None:
    """Refuse fields of the reference that are not offered yet. Empty is as good as absent: some clients send it."""
    for key, value in fields.items():
        if value not in (None, "", (), [], {}, False):
            raise error.NotOfferedYet(f"`{key}` is not offered yet. Leave it out.", key=key)


def split(text: str | None, read_one: Callable[[str], V], *, key: str) -> tuple[V, ...] | None:
    """A comma-separated query parameter; None if it was not given."""
    if text is None:
        return None
    try:
        return tuple(read_one(part) for part in text.split(","))
    except ValueError as exc:
        raise error.InvalidValue(f"`{key}`: {exc}. Send one value or several, comma-separated.", key=key) from exc


def path_id(request: web.Request, name: str = "id") -> UUID:
    """An id from the path. What is not a UUID names nothing, so it is not found rather than wrong."""
    text = request.match_info[name]
    try:
        return UUID(text)
    except ValueError as exc:
        raise error.NotFound(f"`{text[:64]}` is not an id (a UUID), so there is nothing with it.", key=name) from exc


def principal(request: web.Request) -> Principal:
    """Who asks; api/auth.py put it there."""
    return request[PRINCIPAL]


def connection(request: web.Request) -> "PoolAcquireContext[Any]":
    """A connection for a handler's one visit to the database; DATABASE_UNAVAILABLE if none is free in time."""
    return request.app[POOL].acquire(timeout=CONNECTION_SECONDS_MAX)


def now(request: web.Request) -> datetime:
    """The instant this request is handled at."""
    return request.app[CLOCK]()


def reply(body: Any, status: int = 200) -> web.Response:
    """A JSON reply."""
    return web.Response(body=_ENCODER.encode(body), status=status, content_type="application/json")


@functools.lru_cache(maxsize=256)
def _decoder(shape: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(shape)


def _seen_type(request: web.Request) -> str:
    if "Content-Type" not in request.headers:
        return "The request has no content type."
    return f"The content type `{request.content_type}` is not read here."


_MISSING = re.compile(r"missing required field `(?P<field>[^`]*)`")
_UNKNOWN = re.compile(r"contains unknown field `(?P<field>[^`]*)`")
_WRONG_TYPE = re.compile(r"Expected `(?P<wanted>[^`]*)`, got `(?P<got>[^`]*)`")
_PATH = re.compile(r" - at (?:`key` in )?`\$\.?(?P<path>[^`]*)`$")


def problem(text: str, *, inside: str = "") -> error.ApiError:
    """One of our errors from a sentence of msgspec, whose wording tests/api/test_wire.py pins."""
    at = _PATH.search(text)
    path = _join(inside, at["path"] if at else "")
    says = text[: at.start()] if at else text
    if found := _MISSING.search(says):
        key = _join(path, found["field"])
        return error.MissingField(f"`{key}` is required. Send it; docs/routes.md lists the fields.", key=key)
    if found := _UNKNOWN.search(says):
        key = _join(path, found["field"])
        return error.UnknownField(f"`{key}` is not known here. Remove it or check its spelling.", key=key)
    if found := _WRONG_TYPE.search(says):
        wanted, got = found["wanted"].replace(" | ", " or "), found["got"]
        return error.WrongType(f"`{path or 'The body'}` must be {wanted}, but is {got}.", key=path or None)
    return error.InvalidValue(f"`{path or 'The body'}`: {says}. Send a value that fits.", key=path or None)


def _join(path: str, field: str) -> str:
    return f"{path}.{field}" if path and field and field[0] != "[" else path + field

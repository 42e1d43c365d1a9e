"""The one table from error code to HTTP status, and the middleware that turns an exception into a reply.

Packages raise exceptions with a `code`; none of them knows HTTP. Every reply that is not a success has the shape

    {"error": {"type": "INVALID_REQUEST", "message": "what is wrong and what to do",
               "errors": [{"code": "MISSING_FIELD", "message": "...", "key": "address.country"}]}}

`type` is the family (it follows from the status), `code` is exact. docs/errors.md explains every code; a test compares
the two, and compares the table with the codes that the packages' exceptions bear.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, cast

import asyncpg
import structlog
from aiohttp import web

from api import error, problem, wire
from rating.error import RatingError

log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

RETRY_AFTER_SECONDS = 1

FAMILIES = {
    400: "INVALID_REQUEST",
    401: "UNAUTHENTICATED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    409: "CONFLICT",
    410: "GONE",
    413: "TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    422: "REFUSED",
    429: "TOO_MANY_REQUESTS",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "TIMED_OUT",
}

STATUS = {
    # The request itself.
    "MALFORMED_JSON": 400,
    "UNKNOWN_FIELD": 400,
    "MISSING_FIELD": 400,
    "WRONG_TYPE": 400,
    "INVALID_VALUE": 400,
    "INEXACT_NUMBER": 400,
    "INVALID_CURSOR": 400,
    "EMPTY_BATCH": 400,
    "NOTHING_ACCEPTED": 400,
    "EVENTS_REFUSED": 400,
    "BAD_COMPRESSION": 400,
    "BAD_FILE": 400,
    "BAD_ROW": 400,
    "EVENT_TOO_LARGE": 413,
    "BATCH_TOO_LARGE": 413,
    "BODY_TOO_LARGE": 413,
    "BACKFILL_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "UNAUTHENTICATED": 401,
    "FORBIDDEN_SCOPE": 403,
    "RATE_LIMITED": 429,
    "UNKNOWN_PATH": 404,
    "METHOD_NOT_ALLOWED": 405,
    "NOT_FOUND": 404,
    # Understood, and refused: it cannot be billed, or not yet.
    "NOT_OFFERED_YET": 422,
    "OUTSIDE_BACKFILL": 422,
    "UNSUPPORTED_TERMS": 422,
    "UNKNOWN_CURRENCY": 422,
    "MIXED_CURRENCIES": 422,
    "NEGATIVE_PRICE": 422,
    "INVALID_TIERS": 422,
    "USAGE_IN_ADVANCE": 422,
    "INVALID_SCHEDULE": 422,
    "INVALID_TERMS": 422,
    "INVALID_PRICE": 422,
    "INVALID_FREQUENCY": 422,
    "MIXED_FREQUENCIES": 422,
    "INVALID_DISCOUNT": 422,
    "INVALID_MINIMUM": 422,
    "INVALID_GRANT": 422,
    "INVALID_TAX": 422,
    # What is stored says no.
    "ALIAS_TAKEN": 409,
    "OWN_ALIAS": 409,
    "CUSTOMER_UNUSABLE": 409,
    "PRODUCT_ARCHIVED": 409,
    "PRICE_UNUSABLE": 409,
    "PRICE_IN_USE": 409,
    "SCHEDULE_ARCHIVED": 409,
    "SCHEDULE_RUNNING": 409,
    "SCHEDULE_COMPLETED": 409,
    "END_DATE_BILLED": 409,
    "MILESTONE_CLOSED": 409,
    "CUSTOMER_CYCLE": 409,
    "NOT_A_PARENT": 409,
    "GRANT_BILLED": 409,
    "GRANT_DRAWN": 409,
    "TAX_RATE_IN_USE": 409,
    "TAX_RATE_ARCHIVED": 409,
    "METRIC_IN_USE": 409,
    "METRIC_NAME_TAKEN": 409,
    "QUERY_TOO_LARGE": 422,
    "NO_BILLING_PERIOD": 422,
    "SEAT_TYPE_TAKEN": 409,
    "SEAT_METRIC_IN_USE": 409,
    "BACKFILL_NOT_OPEN": 409,
    "BACKFILL_CLOSING": 409,
    "DEAD_LETTER_STAYS": 409,
    "INVOICE_STATUS": 409,
    "INVOICE_NEGATIVE": 409,
    "CANNOT_RECALCULATE": 409,
    "RAW_EVENT_DROPPED": 410,
    # The world, now: try again.
    "NOT_COUNTED_YET": 504,
    "STREAM_FULL": 503,
    "STREAM_UNAVAILABLE": 503,
    "DATABASE_UNAVAILABLE": 503,
    "METRIC_COUNTING": 503,
    "TOO_MANY_STREAMS": 503,
    # Us.
    "INTERNAL": 500,
}


class Refusal(Protocol):
    """An exception that the table knows. It may have a `key`, `problems` if it stands for several, and `headers`."""

    code: str


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every exception below becomes a reply of the documented shape."""
    try:
        return await handler(request)
    except web.HTTPException as exc:
        return _from_framework(exc, request)
    except Exception as exc:  # noqa: BLE001 the edge of the process: whatever it is, the caller gets an answer
        return refuse(_known(exc, request), path=request.path)


def refuse(exc: Refusal, *, path: str) -> web.Response:
    """The error shape that the clients of this path read."""
    status = STATUS[exc.code]
    body = shape(exc)
    if problem.is_wanted(path):
        response = problem.reply(status, code=exc.code, message=_message(exc), errors=body["error"]["errors"])
    else:
        response = wire.reply(body, status)
    response.headers.update(getattr(exc, "headers", {}))
    if status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if status == 429:
        response.headers["Retry-After"] = str(getattr(exc, "retry_after", RETRY_AFTER_SECONDS))
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Basic realm="usance", charset="UTF-8"'
    return response


def shape(exc: Refusal) -> dict[str, Any]:
    """The body of an error."""
    problems: Sequence[Refusal] = getattr(exc, "problems", ()) or (exc,)
    errors = [{"code": p.code, "message": _message(p), "key": getattr(p, "key", None)} for p in problems]
    return {"error": {"type": FAMILIES[STATUS[exc.code]], "message": _message(exc), "errors": errors}}


def is_database_away(exc: BaseException) -> bool:
    """Whether this says that Postgres cannot be reached, as opposed to a statement that is wrong."""
    if isinstance(exc, asyncpg.InterfaceError):
        # asyncpg has one class for its own closed connections and for our misuse; only the text tells.
        return "clos" in str(exc)
    return isinstance(exc, _AWAY)


# OSError covers refused connections and time-outs alike.
_AWAY: tuple[type[BaseException], ...] = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)


def _known(exc: Exception, request: web.Request) -> Refusal:
    """The exception itself if the table has its code, else what it amounts to for the caller."""
    if getattr(exc, "code", None) in STATUS:
        return cast("Refusal", exc)
    match exc:
        case asyncpg.CharacterNotInRepertoireError() | asyncpg.UntranslatableCharacterError():
            return error.InvalidValue("A text contains the character U+0000. Remove it.")
        case UnicodeEncodeError():
            return error.InvalidValue("A text contains half of a surrogate pair. Send whole characters.")
        case web.RequestPayloadError():
            return error.MalformedJson("The body ended early or is badly framed. Send it again, whole.")
    if is_database_away(exc):
        log.warning("database is away", action="answer", path=request.path, error=repr(exc))
        return error.DatabaseUnavailable()
    log.error("request failed", action="answer", method=request.method, path=request.path, exc_info=exc)
    return error.Internal()


def _from_framework(exc: web.HTTPException, request: web.Request) -> web.StreamResponse:
    match exc:
        case web.HTTPNotFound():
            return refuse(error.UnknownPath(), path=request.path)
        case web.HTTPMethodNotAllowed():
            response = refuse(error.MethodNotAllowed(), path=request.path)
            response.headers["Allow"] = exc.headers["Allow"]
            return response
        case web.HTTPRequestEntityTooLarge():
            return refuse(error.BodyTooLarge(), path=request.path)
        case _:
            return exc


def _message(exc: Refusal) -> str:
    # Rating's sentence alone: the places it adds are ids that a caller who is just making something has never seen.
    return exc.message if isinstance(exc, RatingError) else str(exc)

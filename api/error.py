"""What the API refuses, as a tree of exceptions, each with the code that the caller sees.

ApiError
|- BadInput               the caller's data
|  |- MalformedJson       MALFORMED_JSON
|  |- UnknownField        UNKNOWN_FIELD
|  |- MissingField        MISSING_FIELD
|  |- WrongType           WRONG_TYPE
|  |- InvalidValue        INVALID_VALUE
|  |- InvalidCursor       INVALID_CURSOR
|  |- BodyTooLarge        BODY_TOO_LARGE
|  |- UnsupportedMedia    UNSUPPORTED_MEDIA_TYPE
|  |- NotOfferedYet       NOT_OFFERED_YET
|- Unauthenticated        UNAUTHENTICATED
|- ForbiddenScope         FORBIDDEN_SCOPE
|- RateLimited            RATE_LIMITED
|- UnknownPath            UNKNOWN_PATH
|- MethodNotAllowed       METHOD_NOT_ALLOWED
|- NotFound               NOT_FOUND
|- Conflict               what is stored now says no
|  |- ScheduleRunning     SCHEDULE_RUNNING
|  |- ScheduleCompleted   SCHEDULE_COMPLETED
|  |- EndDateBilled       END_DATE_BILLED
|  |- MilestoneClosed     MILESTONE_CLOSED
|- NotCountedYet          NOT_COUNTED_YET
|- TooManyStreams         TOO_MANY_STREAMS
|- DatabaseUnavailable    DATABASE_UNAVAILABLE
|- Internal               INTERNAL

No exception carries an HTTP status: api/status.py holds the one table from code to status, for every package's codes.
`key` is the path of the field in the request, such as `phases[0].startDate`.
"""


class ApiError(Exception):
    """The request was refused."""

    code = "INTERNAL"

    def __init__(self, message: str | None = None, *, key: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)
        self.key = key


class BadInput(ApiError):
    """The request says something that cannot be taken as it is."""


class MalformedJson(BadInput):
    """The body is not JSON in UTF-8. Send one JSON value."""

    code = "MALFORMED_JSON"


class UnknownField(BadInput):
    """The request has a field that is not known. Remove it or check its spelling."""

    code = "UNKNOWN_FIELD"


class MissingField(BadInput):
    """A required field is missing. Send it."""

    code = "MISSING_FIELD"


class WrongType(BadInput):
    """A field has the wrong JSON type."""

    code = "WRONG_TYPE"


class InvalidValue(BadInput):
    """A field has the right type, but its value is not possible."""

    code = "INVALID_VALUE"


class InvalidCursor(BadInput):
    """The cursor is not one of ours. Send `pagination.after` or `pagination.before` of an earlier reply, unchanged."""

    code = "INVALID_CURSOR"


class BodyTooLarge(BadInput):
    """The body is larger than this request may be. Send less at once."""

    code = "BODY_TOO_LARGE"


class UnsupportedMedia(BadInput):
    """The body has a type or encoding that is not read here. Send `Content-Type: application/json`, uncompressed."""

    code = "UNSUPPORTED_MEDIA_TYPE"


class NotOfferedYet(BadInput):
    """The reference knows this, this version does not do it yet. Leave it out."""

    code = "NOT_OFFERED_YET"


class Unauthenticated(ApiError):
    """No valid API key. Send `Authorization: Basic base64(clientId:clientSecret)` or `Bearer clientId:clientSecret`."""

    code = "UNAUTHENTICATED"


class ForbiddenScope(ApiError):
    """The key is good, but not for this."""

    code = "FORBIDDEN_SCOPE"


class RateLimited(ApiError):
    """Too many requests with this key. Nothing was done; send the same again after `Retry-After` seconds."""

    code = "RATE_LIMITED"

    def __init__(self, *, retry_after: int = 1) -> None:
        super().__init__()
        self.retry_after = retry_after


class UnknownPath(ApiError):
    """There is nothing at this path. The API stands below /api; docs/routes.md lists every route."""

    code = "UNKNOWN_PATH"


class MethodNotAllowed(ApiError):
    """The path exists, but not with this method. The Allow header names those it has."""

    code = "METHOD_NOT_ALLOWED"


class NotFound(ApiError):
    """There is nothing with this id in this account."""

    code = "NOT_FOUND"


class Conflict(ApiError):
    """The request contradicts what is stored now."""


class ScheduleRunning(Conflict):
    """A running schedule keeps what has begun. Add a phase that begins later, or end it and make another."""

    code = "SCHEDULE_RUNNING"


class ScheduleCompleted(Conflict):
    """The schedule is over and billed. Make a new one."""

    code = "SCHEDULE_COMPLETED"


class EndDateBilled(Conflict):
    """The end date contradicts days that are over or billed."""

    code = "END_DATE_BILLED"


class MilestoneClosed(Conflict):
    """The milestone is completed already, or its phase has not begun."""

    code = "MILESTONE_CLOSED"


class TooManyStreams(ApiError):
    """As many usage streams are open here as may be. Connect again later."""

    code = "TOO_MANY_STREAMS"


class NotCountedYet(ApiError):
    """What stands at `after` is accepted, but not counted yet, and we have waited. Ask again."""

    code = "NOT_COUNTED_YET"


class DatabaseUnavailable(ApiError):
    """The database cannot be reached right now. Nothing was changed; try again."""

    code = "DATABASE_UNAVAILABLE"


class Internal(ApiError):
    """Something went wrong on our side; it is in the log under the time of this reply. Try again, or report it."""

    code = "INTERNAL"

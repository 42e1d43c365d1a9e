"""What ingest refuses, as a tree of exceptions, each with the code that the caller sees.

MeterError
|- EventRefused         the caller's event; in a batch the others are kept
|  |- MalformedJson       MALFORMED_JSON
|  |- UnknownField        UNKNOWN_FIELD
|  |- MissingField        MISSING_FIELD
|  |- WrongType           WRONG_TYPE
|  |- InvalidValue        INVALID_VALUE
|  |- InexactNumber       INEXACT_NUMBER
|  |- EventTooLarge       EVENT_TOO_LARGE
|  |- OutsideBackfill     OUTSIDE_BACKFILL
|  `- BadRow              BAD_ROW
|- BodyRefused          the caller's request, as a whole
|  |- EmptyBatch          EMPTY_BATCH
|  |- BatchTooLarge       BATCH_TOO_LARGE
|  |- BodyTooLarge        BODY_TOO_LARGE
|  |- UnsupportedMedia    UNSUPPORTED_MEDIA_TYPE
|  |- BadCompression      BAD_COMPRESSION
|  |- BadFile             BAD_FILE
|  |- SomeRefused         EVENTS_REFUSED: some events of a batch were refused, the others are kept
|  `- NothingAccepted     NOTHING_ACCEPTED: every event of a batch was refused; `problems` has each reason
|- StreamError          the world, now: try again, the ids make it safe
|  |- StreamFull          STREAM_FULL
|  `- StreamUnavailable   STREAM_UNAVAILABLE
|- UnreadableEntry      UNREADABLE_ENTRY: our bug or damaged data; it becomes a dead letter
|- DeadLetterStays      DEAD_LETTER_STAYS: replayed, and cannot be counted still
`- DeadLettersFull      DEAD_LETTERS_FULL: counting stops here rather than set aside everything that comes

`key` is the path of the field in the request, such as `eventProperties.tokens` or `[7].eventType`.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar


class MeterError(Exception):
    """Metering refused something."""

    code: ClassVar[str] = "METER"

    def __init__(self, message: str | None = None, *, key: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)
        self.key = key


class EventRefused(MeterError):
    """The event cannot be taken as it is."""

    code = "INVALID_VALUE"


class MalformedJson(EventRefused):
    """The body, or one event of it, is not JSON in UTF-8. Send one JSON object, or an array of them."""

    code = "MALFORMED_JSON"


class UnknownField(EventRefused):
    """The event has a field that is not known. Remove it or check its spelling."""

    code = "UNKNOWN_FIELD"


class MissingField(EventRefused):
    """A required field is missing. Send it."""

    code = "MISSING_FIELD"


class WrongType(EventRefused):
    """A field has the wrong JSON type."""

    code = "WRONG_TYPE"


class InvalidValue(EventRefused):
    """A field has the right type, but its value is not possible."""

    code = "INVALID_VALUE"


class InexactNumber(EventRefused):
    """A number must be below 1e20 in size with at most 18 decimals, so that it can be kept exactly."""

    code = "INEXACT_NUMBER"


class EventTooLarge(EventRefused):
    """An event may have 8 KiB. Send less with it."""

    code = "EVENT_TOO_LARGE"


class BadRow(EventRefused):
    """A row of a file is not CSV, or has not as many cells as the header."""

    code = "BAD_ROW"


class OutsideBackfill(EventRefused):
    """The event does not belong to the backfill that the request names: another alias, or another time."""

    code = "OUTSIDE_BACKFILL"


class BodyRefused(MeterError):
    """The request cannot be taken as a whole."""


class EmptyBatch(BodyRefused):
    """The array is empty. Send at least one event."""

    code = "EMPTY_BATCH"


class BatchTooLarge(BodyRefused):
    """A request may have 10,000 events. Send them in several requests."""

    code = "BATCH_TOO_LARGE"


class BodyTooLarge(BodyRefused):
    """The body may have 8 MiB. Send the events in several requests."""

    code = "BODY_TOO_LARGE"


class UnsupportedMedia(BodyRefused):
    """Events are read as JSON, NDJSON or CloudEvents, plain, gzip or zstd. docs/events.md lists what goes where."""

    code = "UNSUPPORTED_MEDIA_TYPE"


class BadCompression(BodyRefused):
    """The body is not whole, valid gzip or zstd. Send it again; part of it would be part of the events."""

    code = "BAD_COMPRESSION"


class BadFile(BodyRefused):
    """The file is no CSV with the columns that are needed."""

    code = "BAD_FILE"


class SomeRefused(BodyRefused):
    """Some events were refused. The others are kept, so sending all of them again is harmless."""

    code = "EVENTS_REFUSED"

    def __init__(self, problems: Sequence[EventRefused], *, headers: Mapping[str, str]) -> None:
        super().__init__()
        self.problems = tuple(problems)
        # Where the others stand.
        self.headers = headers


class NothingAccepted(BodyRefused):
    """Every event of the batch was refused; nothing was stored."""

    code = "NOTHING_ACCEPTED"

    def __init__(self, problems: Sequence[EventRefused]) -> None:
        super().__init__()
        self.problems = tuple(problems)


class StreamError(MeterError):
    """Events cannot be taken right now."""


class StreamFull(StreamError):
    """Too many events wait to be counted. Nothing was accepted; send the same again later."""

    code = "STREAM_FULL"


class StreamUnavailable(StreamError):
    """The event stream did not confirm. Send the same again with the same ids: what arrived is not counted twice."""

    code = "STREAM_UNAVAILABLE"


class UnreadableEntry(MeterError):
    """A stream entry cannot be read."""

    code = "UNREADABLE_ENTRY"


class DeadLetterStays(MeterError):
    """The dead letter cannot be counted still, so it stays in the list."""

    code = "DEAD_LETTER_STAYS"


class DeadLettersFull(MeterError):
    """More dead letters than allowed: counting has stopped, nothing is lost. Mend the cause, or raise the limit."""

    code = "DEAD_LETTERS_FULL"

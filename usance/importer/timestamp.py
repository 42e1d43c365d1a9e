"""Times as files write them, turned into what the API takes: RFC 3339 with an offset and at most microseconds.

`parse("2023-11-16 18:17:03.9799600", zone)` is `Stamp("2023-11-16T18:17:03.979960+00:00", zoneless=True)`. Digits
beyond the microsecond are cut, never rounded: 23:59:59.9999999 stays in its day and so in its billing period.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import ClassVar
from zoneinfo import ZoneInfo

import msgspec

_TIME = re.compile(
    r"(?P<date>\d{4}-\d{2}-\d{2})"
    r"(?:[T ](?P<clock>\d{2}:\d{2}(?::\d{2})?)(?:[.,](?P<fraction>\d{1,18}))?)?"
    r" ?(?P<offset>Z|[+-]\d{2}:?\d{2})?",
    re.IGNORECASE,
)


class TimestampError(ValueError):
    """A time that cannot be read."""

    code: ClassVar[str] = "BAD_TIMESTAMP"


class Stamp(msgspec.Struct, frozen=True):
    """A time as the API takes it, and whether the file left its zone out."""

    text: str
    zoneless: bool


def parse(text: str, zone: ZoneInfo | None) -> Stamp:
    """The instant that `text` names; without an offset it is a time of `zone`, or of UTC."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise TimestampError(f"'{text[:40]}' is not a time such as 2026-01-31 23:59:59.5 or 2026-01-31T23:59:59Z.")
    date, clock, fraction, offset = match.group("date", "clock", "fraction", "offset")
    wall = f"{date}T{clock or '00:00'}{'' if clock and len(clock) == 8 else ':00'}"
    digits = f".{fraction[:6]}" if fraction else ""
    if offset is not None:
        _check(f"{wall}{_colon(offset)}", text)
        return Stamp(f"{wall}{digits}{_colon(offset)}", zoneless=False)
    local = _check(f"{wall}+00:00", text).replace(tzinfo=zone or UTC)
    return Stamp(f"{wall}{digits}{_offset_of(local, text)}", zoneless=True)


def _check(iso: str, text: str) -> datetime:
    try:
        return datetime.fromisoformat(iso)
    except ValueError as exc:
        raise TimestampError(f"'{text[:40]}' is not a time that exists ({exc}).") from exc


def _colon(offset: str) -> str:
    if offset in {"Z", "z"}:
        return "+00:00"
    return offset if ":" in offset else f"{offset[:3]}:{offset[3:]}"


def _offset_of(local: datetime, text: str) -> str:
    """The zone's offset at that wall time; where a clock shows it twice, the first."""
    offset = local.utcoffset() or timedelta()
    if (local.astimezone(UTC).astimezone(local.tzinfo)).replace(tzinfo=None) != local.replace(tzinfo=None):
        raise TimestampError(f"'{text[:40]}' does not exist in {local.tzinfo}: clocks go forward over it.")
    minutes = int(offset.total_seconds() // 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"

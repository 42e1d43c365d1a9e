"""What a process may be told from outside. The only module that reads the environment.

    Settings.read(environ) -> Settings      every key is USANCE_ + the field's name in capitals

Read once at the top, cast, frozen, passed down. An override (a command line option) wins over the environment; None
means "not given". Unknown USANCE_ keys are left alone: other programs have settings of that prefix too. No secret has a
default.
A wrong value is a SettingsError that names the key and what is allowed.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_type_hints

import msgspec
from msgspec import Meta

from runtime.errors import SettingsError

_PREFIX = "USANCE_"

# The description is what an error says is allowed.
Port = Annotated[int, Meta(ge=0, le=65535, description="a port number; 0 takes any free one")]
Count = Annotated[int, Meta(ge=1, le=1024, description="a whole number from 1 to 1024")]
Amount = Annotated[int, Meta(ge=1, le=2**53, description="a whole number from 1")]
Ordinal = Annotated[int, Meta(ge=0, le=1023, description="a whole number from 0 to 1023")]
Seconds = Annotated[float, Meta(gt=0, le=31_536_000, description="seconds, above 0 and at most a year")]
Descriptor = Annotated[int, Meta(ge=0, description="the number of an open, listening socket")]
ClientId = Annotated[str, Meta(pattern="^[A-Za-z0-9._~-]{1,128}$", description="1 to 128 of A-Z a-z 0-9 . _ ~ -")]
Secret = Annotated[str, Meta(min_length=16, max_length=255, description="16 to 255 characters")]
PostgresUrl = Annotated[str, Meta(pattern="^postgres(ql)?://", description="postgresql://user:password@host/name")]
RedisUrl = Annotated[str, Meta(pattern="^(redis|rediss|unix)://", description="redis://, rediss:// or unix://")]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"], Meta(description="one of debug, info, warning, error")
]
Months = Annotated[int, Meta(ge=1, le=1_200, description="a whole number of months, from 1 to 1200")]
Days = Annotated[int, Meta(ge=1, le=3_660, description="a whole number of days, from 1 to 3660")]
YesNo = Annotated[Literal["no", "yes"], Meta(description="yes or no")]
RedisCheck = Annotated[Literal["refuse", "warn"], Meta(description="refuse or warn")]
RateLimit = Annotated[
    str,
    Meta(pattern="^[1-9][0-9]{0,8}/(second|minute|hour|day)$", description="requests per unit, such as 12000/minute"),
]
LogFormat = Annotated[Literal["auto", "console", "json"], Meta(description="one of auto, console, json")]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One process's settings; docs/settings.md explains each to the person who sets it."""

    data_dir: Annotated[Path, Meta(description="a folder")] = Path(".usance")
    host: Annotated[str, Meta(min_length=1, description="an address to listen on")] = "127.0.0.1"
    port: Port = 8080
    database_url: PostgresUrl | None = None
    redis_url: RedisUrl | None = None
    redis_check: RedisCheck = "refuse"
    redis_wait_aof: YesNo = "no"
    client_id: ClientId | None = None
    client_secret: Secret | None = None
    http_workers: Count | None = None
    database_connections_max: Count = 8
    streams: Count = 1
    stream_bytes_max: Amount = 1 << 29
    stream_entries_max: Amount = 1_000_000
    stream_retention_seconds: Seconds = 86_400.0
    raw_event_retention_months: Months | None = None
    rate_limit_ingest: RateLimit | None = None
    rate_limit_api: RateLimit | None = None
    batch_events_max: Amount = 100_000
    ahead_events_min: Amount = 10_000
    recent_ids: Amount = 200_000
    dead_letters_max: Amount = 1_000
    backfill_events_max: Amount = 500_000
    late_usage_days: Days = 95
    stop_seconds: Seconds = 2.0
    log_level: LogLevel = "info"
    log_format: LogFormat = "auto"
    # Set by `usance up` for its children, not by people.
    http_worker: Ordinal = 0
    listen_fd: Descriptor | None = None
    metrics_dir: Annotated[Path, Meta(description="a folder")] | None = None

    @classmethod
    def read(cls, environ: Mapping[str, str] | None = None, **overrides: object) -> Self:
        """Cast the environment (this process's own, unless another is given) and the overrides that are not None."""
        environ = os.environ if environ is None else environ
        types = get_type_hints(cls, include_extras=True)
        values: dict[str, Any] = {}
        for field in cls.__struct_fields__:
            given = overrides.pop(field, None)
            if given is None:
                given = environ.get(key_of(field)) or None
            if given is not None:
                values[field] = _cast(field, types[field], given)
        if overrides:
            raise TypeError(f"no such settings: {sorted(overrides)}")
        settings = cls(**values)
        _check(settings)
        return settings

    def environment(self, *, process: str | None = None) -> dict[str, str]:
        """The variables from which a child of that name reads these same settings."""
        own = {
            key_of(field): str(value) for field in self.__struct_fields__ if (value := getattr(self, field)) is not None
        }
        others = {key: value for key, value in os.environ.items() if not key.startswith(_PREFIX)}
        shared = {}
        if self.metrics_dir is not None and process is not None:
            # prometheus_client reads the second one itself, when it is imported.
            shared = {_PREFIX + "PROCESS": process, "PROMETHEUS_MULTIPROC_DIR": str(self.metrics_dir)}
        return others | own | shared


def process_name() -> str | None:
    """The name under which this process shares its metrics; None for one that was started by hand."""
    return os.environ.get(_PREFIX + "PROCESS")


def key_of(field: str) -> str:
    """The environment variable of a field."""
    return _PREFIX + field.upper()


def _cast(field: str, type_: Any, given: object) -> Any:
    try:
        return msgspec.convert(given, type_, strict=False, dec_hook=_path)
    except msgspec.ValidationError as exc:
        # The value is repeated so that a mistyped variable is recognised, but never a secret's.
        shown = "the value given" if "secret" in field or field.endswith("_url") else repr(given)
        raise SettingsError(f"{key_of(field)}: {shown} is not allowed; give {_allowed(type_)}") from exc


def _path(type_: type, value: object) -> object:
    if type_ is not Path:
        raise NotImplementedError
    return Path(str(value)).expanduser()


def _allowed(type_: Any) -> str:
    for part in (type_, *getattr(type_, "__args__", ())):
        for meta in getattr(part, "__metadata__", ()):
            if meta.description:
                return str(meta.description)
    raise AssertionError(f"{type_} says nowhere what it allows")


def _check(settings: Settings) -> None:
    if (settings.client_id is None) != (settings.client_secret is None):
        raise SettingsError("USANCE_CLIENT_ID and USANCE_CLIENT_SECRET come together: give both or none")

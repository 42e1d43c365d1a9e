"""What a process says about itself: log lines as fields, and the closed list of metrics.

Elsewhere: `log = structlog.get_logger(__name__)` and `log.info("what happened", action="verb", ...ids)`. One line per
batch or request. JSON, unless a person is watching.

The list is closed: a metric that is not here does not exist, and each help text says what to conclude from it.
docs/metrics.md repeats it for people. Under `usance up` the processes share a folder through which the HTTP process
shows the metrics of all of them.
"""

import logging
import sys
from typing import Any

import orjson
import structlog
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector

from runtime.settings import Settings, process_name

if (_NAME := process_name()) is not None:
    # Files by name instead of by process id: a process that restarts goes on counting in its own, and the folder does
    # not grow with every restart. The supervisor starts no second one of a name before the first has ended.
    values.ValueClass = values.MultiProcessValue(process_identifier=lambda: _NAME)  # type: ignore[no-untyped-call]

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

EVENTS_ACCEPTED = Counter(
    "usance_events_accepted",
    "Events answered with success, on disk in the stream. None while clients send: look at the requests by status.",
)
EVENTS_REFUSED = Counter(
    "usance_events_refused",
    "Events answered with an error, by code. A sudden rise is a client's new release; INTERNAL is our bug.",
    ["code"],
)
EVENTS_COUNTED = Counter(
    "usance_events_counted",
    "Events committed to Postgres for the first time. Accepted minus counted minus duplicates is what still waits.",
)
EVENTS_DUPLICATE = Counter(
    "usance_events_duplicate",
    "Events whose id was known with the same content; they changed nothing. A rise means that a client retries.",
)
DEAD_LETTERS = Counter(
    "usance_dead_letters",
    "Events and entries set aside, because they cannot be counted: our bug or damaged data. See `usance dead-letters`.",
)
BATCH_SECONDS = Histogram(
    "usance_batch_seconds",
    "One aggregator transaction, from its begin to its commit. Near 1 s all the time: the aggregator is at its limit.",
    buckets=_FAST,
)
STREAM_DEPTH = Gauge(
    "usance_stream_depth",
    "Entries waiting to be counted, by stream. Grows without end: no aggregator runs, or Postgres is away.",
    ["stream"],
    multiprocess_mode="mostrecent",
)
INVOICES_CREATED = Counter(
    "usance_invoices_created",
    "Invoices made by the billing run. None on a bill date: look at SCHEDULES_PARKED and the invoicer's log.",
)
SCHEDULES_PARKED = Counter(
    "usance_schedules_parked",
    "Schedules set aside because they could not be billed; each names its reason. Anything above zero wants a person.",
)
REQUEST_SECONDS = Histogram(
    "usance_request_seconds",
    "Answering a request, by method, route and status. 503 on ingest: the stream is full or away; 500: our bug.",
    ["method", "route", "status"],
    buckets=_FAST,
)
STEPS_FAILED = Counter(
    "usance_steps_failed",
    "Steps of a loop that failed and will be repeated, by loop. Keeps rising: the log says why.",
    ["loop"],
)


def exposition() -> bytes:
    """All metrics in Prometheus' text format: of this process, or of all processes that share the folder."""
    registry = REGISTRY
    if _NAME is not None:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def configure_logging(settings: Settings, *, process: str) -> None:
    """Log to stderr; every line names the process."""
    people = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    level = getattr(logging, settings.log_level.upper())
    first: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    last: Any = structlog.dev.ConsoleRenderer() if people else _as_json
    structlog.configure(
        processors=[*first, last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    _adopt_standard_logging(first, last)


def _adopt_standard_logging(first: list[Any], last: Any) -> None:
    # What libraries log, asyncio's "exception was never retrieved" first of all, in the same shape.
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*first, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def _as_json(_logger: Any, _method: str, event: dict[str, Any]) -> str:
    return orjson.dumps(event, default=str).decode()

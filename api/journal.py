"""One measurement and one log line per request.

Nothing that a caller sends is logged but the method and the path: headers carry keys, queries and bodies carry
customers' data. Success is logged at debug level, because ingest answers tens of thousands of requests a second.
"""

import functools
import logging
import time

import structlog
from aiohttp import hdrs, web
from prometheus_client import Histogram

from api.status import Handler
from runtime import telemetry

log = structlog.get_logger(__name__)


@web.middleware
async def keep(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Measure and log whatever the handler answers. Stands outside of the middleware that answers errors."""
    started = time.perf_counter()
    response = await handler(request)
    note(method(request), route(request), request.path, response.status, time.perf_counter() - started)
    return response


def note(method_: str, route_: str, path: str, status: int, seconds: float) -> None:
    """Measure and log one answer."""
    _measure(method_, route_, status).observe(seconds)
    level = logging.DEBUG if status < 400 else logging.INFO if status < 500 else logging.WARNING
    # Asked first: to round a number that nobody will see costs as much as a look into a cache.
    if log.is_enabled_for(level):
        milliseconds = round(seconds * 1000, 3)
        log.log(level, "request", action="answer", method=method_, path=path, status=status, milliseconds=milliseconds)


@functools.lru_cache(maxsize=4_096)
def _measure(method_: str, route_: str, status: int) -> Histogram:
    return telemetry.REQUEST_SECONDS.labels(method_, route_, str(status))


def method(request: web.Request) -> str:
    """The method as a label: a caller may make up any, a metric's labels must be a bounded set."""
    return request.method if request.method in hdrs.METH_ALL else "OTHER"


def route(request: web.Request) -> str:
    """The route's template: a bounded set, unlike paths, as a metric's label must be."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"

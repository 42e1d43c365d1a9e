"""One measurement and one log line per request.

Nothing that a caller sends is logged but the method and the path: headers carry keys, queries and bodies carry
customers' data. Success is logged at debug level, because ingest answers tens of thousands of requests a second.
"""

import time

import structlog
from aiohttp import hdrs, web

from api.status import Handler
from runtime import telemetry

log = structlog.get_logger(__name__)


@web.middleware
async def keep(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Measure and log whatever the handler answers. Stands outside of the middleware that answers errors."""
    started = time.perf_counter()
    response = await handler(request)
    seconds = time.perf_counter() - started
    telemetry.REQUEST_SECONDS.labels(method(request), route(request), str(response.status)).observe(seconds)
    write = log.debug if response.status < 400 else log.info if response.status < 500 else log.warning
    write(
        "request",
        action="answer",
        method=request.method,
        path=request.path,
        status=response.status,
        milliseconds=round(seconds * 1000, 3),
    )
    return response


def method(request: web.Request) -> str:
    """The method as a label: a caller may make up any, a metric's labels must be a bounded set."""
    return request.method if request.method in hdrs.METH_ALL else "OTHER"


def route(request: web.Request) -> str:
    """The route's template: a bounded set, unlike paths, as a metric's label must be."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"

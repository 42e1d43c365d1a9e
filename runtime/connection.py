"""HTTP connections with a short way for the commonest request: two callbacks instead of two tasks.

    app[SHORTCUT] = take        take(message, body, answer) -> bool, asked about a request before the application is
    Runner(app)                 serves an application that may have one

True means that `answer` will be called with a whole reply, later and once; False that the application answers, as if
nobody had been asked. Reading is aiohttp's own: the parser and its limits, keep-alive, shutdown. A request is only
offered when its connection has nothing else under way, so that replies keep the order of their requests.

This stands on a few attributes of aiohttp's RequestHandler that are not documented; tests/runtime/test_connection.py
shows what they are relied on for.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeAlias, cast

from aiohttp import EMPTY_PAYLOAD, HttpVersion11, web
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import SERVER_SOFTWARE, HttpRequestParser, RawRequestMessage

Answer: TypeAlias = Callable[[bytes], None]
Shortcut: TypeAlias = Callable[[RawRequestMessage, bytes, Answer], bool]

SHORTCUT: web.AppKey[Shortcut] = web.AppKey("shortcut")


class Runner(web.AppRunner):
    """Serves an application, by its shortcut where that applies."""

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        shortcut = self.app.get(SHORTCUT)
        if shortcut is None:
            return server
        return _Server(shortcut, server.request_handler, request_factory=server.request_factory, **server._kwargs)  # noqa: SLF001


def head(status: int, headers: Mapping[str, str]) -> bytes:
    """The head of a reply up to the length of its body; many replies may share it."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{lines}"
        f"Date: {rfc822_formatted_time()}\r\nServer: {SERVER_SOFTWARE}\r\nContent-Length: "
    ).encode("latin-1")


def reply(head_: bytes, body: bytes) -> bytes:
    """A whole reply."""
    return b"%b%d\r\n\r\n%b" % (head_, len(body), body)


class _Server(web.Server):
    def __init__(self, shortcut: Shortcut, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._shortcut = shortcut

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, self._shortcut, loop=self._loop, **self._kwargs)


class _Connection(web.RequestHandler):
    __slots__ = ("_shortcut",)

    def __init__(self, manager: web.Server, shortcut: Shortcut, **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self._shortcut = shortcut

    async def start(self) -> None:
        """Answer by the application, one request after the other."""
        if self._request_in_progress:
            # The first request came before this task began, and is under way. Those behind it wait for its answer.
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        await super().start()

    def data_received(self, data: bytes) -> None:
        """Read; then decide who answers."""
        waiter = self._waiter
        is_idle = self._request_count == 0 if waiter is None else not waiter.done()
        # The application's loop sleeps until the waiter is set. Without it what comes is only parsed and queued.
        self._waiter = None
        super().data_received(data)
        self._waiter = waiter
        if self._messages and is_idle and not self._request_in_progress and not self._is_taken():
            self._wake()

    def _is_taken(self) -> bool:
        message, payload = self._messages[0]
        if (
            len(self._messages) > 1
            or not isinstance(message, RawRequestMessage)
            or message.version != HttpVersion11
            or message.should_close
            or message.upgrade
            or message.chunked
            or self.writing_paused
            or payload is EMPTY_PAYLOAD
            or not payload.is_eof()
            # In parts: it came in several packets. Only looked at: the application may have to read it yet.
            or len(payload._buffer) != 1  # noqa: SLF001
            or not self._shortcut(message, payload._buffer[0], self._answer)  # noqa: SLF001
        ):
            return False
        self._messages.popleft()
        # Both are there for as long as the connection is.
        cast("HttpRequestParser", self._parser).message_consumed()
        cast("web.Server", self._manager).requests_count += 1
        # A shutdown waits for the answer, as for the application's; and an idle connection is one that asks nothing.
        self._request_in_progress = True
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        return True

    def _answer(self, whole: bytes) -> None:
        self._request_in_progress = False
        if self.transport is not None:
            self.transport.write(whole)
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)
        elif self._messages:
            self._wake()

    def _wake(self) -> None:
        """Let the application answer; it looks by itself if it is at work, or has not begun."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

"""One kept-alive HTTP connection that is asked one thing at a time: as little client as can measure a server.

line = await open_line(target); reply = await line.ask("POST", "/api/usage/query", body)
"""

import asyncio
from typing import cast

import msgspec

from usance.bench.load import Target


class Reply(msgspec.Struct, frozen=True):
    """What was answered."""

    status: int
    body: bytes


class Line(asyncio.Protocol):
    """A connection; made by `open_line`."""

    def __init__(self, target: Target) -> None:
        self._head = (
            f"Host: {target.host}\r\nAuthorization: {target.authorization}\r\nContent-Type: application/json\r\n"
        )
        self._seen = b""
        self._reply: asyncio.Future[Reply] | None = None

    def ask(self, method: str, path: str, body: bytes = b"") -> "asyncio.Future[Reply]":
        """Send a request; its reply is awaited before the next one is sent."""
        self._reply = asyncio.get_running_loop().create_future()
        head = f"{method} {path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)
        return self._reply

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The protocol's: it begins."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """The protocol's: a piece of a reply."""
        self._seen += data
        head, blank, body = self._seen.partition(b"\r\n\r\n")
        if not blank:
            return
        # Usance says the length of all that a benchmark asks for.
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        if len(body) >= length and self._reply is not None:
            reply, self._reply, self._seen = self._reply, None, b""
            reply.set_result(Reply(int(head[9:12]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        """The protocol's: it ends."""
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(exc or ConnectionResetError("the server closed the connection"))


async def open_line(target: Target) -> Line:
    """Connect."""
    _, line = await asyncio.get_running_loop().create_connection(lambda: Line(target), target.host, target.port)
    return line

"""A server that does nothing but answer: how fast the load generator is when nobody keeps it waiting.

python -m usance.bench.responder      prints its port, serves until it is told to stop
"""

import asyncio
import signal
from typing import cast

import uvloop

_REPLY = b"HTTP/1.1 202 Accepted\r\nUsance-Position: 0/1-0\r\nContent-Length: 2\r\n\r\n{}"
_LENGTH = b"Content-Length: "


def main() -> None:
    """Serve."""
    uvloop.run(_serve())


async def _serve() -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    server = await loop.create_server(_Responder, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    server.close()


class _Responder(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if not self._missing:
            start = data.index(_LENGTH) + len(_LENGTH)
            end = data.index(b"\r\n\r\n", start)
            self._missing = int(data[start:end]) + end + 4
        self._missing -= len(data)
        if not self._missing:
            self._transport.write(_REPLY)


if __name__ == "__main__":
    main()

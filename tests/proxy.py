"""A small TCP proxy between two processes, which a test can pause and cut.

flow    bytes go both ways
pause   connections stay and new ones are taken, but nothing goes either way: a network that swallows packets
cut     connections are reset and new ones refused: a network that is gone, or a server that is
lose    connections that stand are dead and neither side is told, new ones work: a router that forgot them
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Self

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_CHUNK_BYTES = 65_536


class Proxy:
    def __init__(self, connect: Callable[[], Awaitable[Streams]]) -> None:
        self._connect = connect
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._is_cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def to_socket(cls, path: str) -> Self:
        """To a server that listens on a Unix socket."""
        return await cls(lambda: asyncio.open_unix_connection(path))._start()

    @classmethod
    async def to_port(cls, port: int) -> Self:
        """To a server that listens on a port of this machine."""
        return await cls(lambda: asyncio.open_connection("127.0.0.1", port))._start()

    async def _start(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    def pause(self) -> None:
        self._flowing.clear()

    def cut(self) -> None:
        self._is_cut = True
        self._abort()

    def lose(self) -> None:
        self._flowing.clear()
        # Theirs stays cleared for ever.
        self._flowing = asyncio.Event()
        self._flowing.set()

    def flow(self) -> None:
        self._is_cut = False
        self._flowing.set()

    async def close(self) -> None:
        self.cut()
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        if not await self._greet((reader, writer), (far_reader, far_writer)):
            writer.close()
            far_writer.close()
            return
        self._writers |= {writer, far_writer}
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._copy(source, sink, self._flowing))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _greet(self, _near: Streams, _far: Streams) -> bool:
        """Whether the two may speak; for a proxy that looks at the first bytes."""
        return True

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, flowing: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            while chunk := await source.read(_CHUNK_BYTES):
                await flowing.wait()
                sink.write(chunk)
                await sink.drain()
        # A goodbye takes the same way.
        await flowing.wait()
        # One side that ends ends both: none of our protocols closes half of a connection.
        self._writers.discard(sink)
        sink.transport.abort() if self._is_cut else sink.close()

"""A pooler in front of Postgres, as far as its first word goes: it refuses parameters in the way of PgBouncer."""

import asyncio
import struct
from urllib.parse import urlsplit, urlunsplit

from tests.proxy import Proxy, Streams

# How long a client's question is whether the server speaks TLS; no other first packet is so short.
_TLS_WISH = 4
_REFUSAL = b"SFATAL\0C08P01\0Munsupported startup parameter: %b\0\0"


class Pooler(Proxy):
    """Set `refused` to the parameter that it does not take."""

    refused: bytes | None = None
    refusals = 0

    def url(self, database_url: str) -> str:
        """The same database, through here."""
        netloc = f"usance@127.0.0.1:{self.port}"
        return urlunsplit(urlsplit(database_url)._replace(netloc=netloc, query=""))

    async def _greet(self, near: Streams, far: Streams) -> bool:
        """Pass the first packet on, or refuse it."""
        packet = await _packet(near[0])
        if len(packet) == _TLS_WISH:
            near[1].write(b"N")
            packet = await _packet(near[0])
        if self.refused is not None and self.refused + b"\0" in packet:
            self.refusals += 1
            message = _REFUSAL % self.refused
            near[1].write(b"E" + struct.pack(">i", len(message) + 4) + message)
            return False
        far[1].write(struct.pack(">i", len(packet) + 4) + packet)
        return True


async def _packet(reader: asyncio.StreamReader) -> bytes:
    [size] = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(size - 4)

"""Which of the accepted events are counted: the load generator's look at Postgres.

A reply says where its events stand; the committed positions of the streams say how far is counted. So one small query
tells it of all requests, and no event needs to be marked or looked for.
"""

import time

import asyncpg

from store import stream_position


class Counted:
    """Which of the accepted events are counted, and how long each request waited for that."""

    def __init__(self, url: str | None) -> None:
        self._url = url
        self._conn: asyncpg.Connection[asyncpg.Record] | None = None
        # By position as the reply said it: events, and when each request was answered.
        self._waiting: dict[bytes, tuple[list[int], list[float]]] = {}
        self.events = 0
        self.seconds: list[float] = []

    async def connect(self) -> None:
        if self._url is not None:
            self._conn = await asyncpg.connect(self._url, server_settings={"timezone": "UTC"})

    def accepted(self, position: bytes, events: int, now: float) -> None:
        if self._conn is None:
            self.events += events
            return
        found = self._waiting.get(position)
        if found is None:
            self._waiting[position] = found = ([], [])
        found[0].append(events)
        found[1].append(now)

    async def look(self) -> None:
        """Ask Postgres how far the streams are counted."""
        if self._conn is None:
            return
        positions = await stream_position.read(self._conn)
        now = time.monotonic()
        ends = {name[8:-1]: stream_position.order(position) for name, position in positions.items()}
        done = [one for one in self._waiting if _is_counted(one, ends)]
        for one in done:
            events, answered = self._waiting.pop(one)
            self.events += sum(events)
            self.seconds += [now - at for at in answered]


def _is_counted(position: bytes, ends: dict[str, tuple[int, int]]) -> bool:
    stream, _, entry = position.decode().partition("/")
    return stream_position.order(entry) <= ends.get(stream, (0, 0))

"""Turns of the event loop: heavy work waits its turn, so that light work never waits for much of it.

    turns = Turns(room=...)
    await turns.take(size)      returns in a turn that has room for work of this size
    turns.enter(size)           whether this turn has room for it; if it has, it is taken

A loop runs everything that is ready before it looks what has come meanwhile. Sixteen bodies that arrive together are
sixteen pieces of work in one turn, and a look-up whose every statement ends in a turn like that takes as many times
longer. Here a turn takes what it has room for and leaves the rest, in the order of arrival, to the next ones; whoever
is light asks for nothing, and has every turn.

Sizes are in whatever unit predicts the time. Work that is larger than the room has a turn for itself: who can, cuts it.
"""

import asyncio
from collections import deque

import msgspec


class Turns:
    """Of one loop."""

    def __init__(self, *, room: int) -> None:
        self._room = room
        self._used = 0
        self._waiting: deque[_Waiting] = deque()

    async def take(self, size: int) -> None:
        """Wait for a turn that has room; at once if this one does."""
        if self.enter(size):
            return
        admitted = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(size, admitted))
        await admitted

    def enter(self, size: int) -> bool:
        """Take this turn if it has room and nobody waits for one."""
        if self._waiting or not self._fits(size):
            return False
        self._use(size)
        return True

    def _fits(self, size: int) -> bool:
        return self._used == 0 or self._used + size <= self._room

    def _use(self, size: int) -> None:
        if self._used == 0:
            asyncio.get_running_loop().call_soon(self._next)
        # What has no size has had its turn all the same.
        self._used += max(size, 1)

    def _next(self) -> None:
        """The turn after one in which something worked."""
        self._used = 0
        while self._waiting and self._fits(self._waiting[0].size):
            one = self._waiting.popleft()
            # Whoever was cancelled needs no room.
            if not one.admitted.done():
                one.admitted.set_result(None)
                self._use(one.size)


class _Waiting(msgspec.Struct, frozen=True):
    size: int
    admitted: "asyncio.Future[None]"

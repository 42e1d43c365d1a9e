"""The next batch of a stream, prepared in a transaction of its own while the one before it is completed.

    Ahead(pool, reader, prepare=...).begin(name, found)   begins with what follows a batch, if that is much
    Ahead(...).lapse(name)                                before that batch is committed
    await Ahead(...).take(name) -> Begun                  once it is; if nothing is begun, a new transaction
    await Ahead(...).discard(name)                        as if nothing had been begun

Postgres works for one transaction on one core, and most of its work for a batch does not depend on the batch before
(count.py), so it need not wait for it. What is begun holds ids, and no position: whoever takes it locks the position,
commits if it is still where the batch begins, and rolls back if it is not.

Another process that took the stream between the two would only wait for those ids. So what is begun says so while the
batch before has the lease, and others pass the stream by (store/stream_position.py). If it comes too late to say so it
needs the lease itself.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec
import structlog

from meter.batch import Batch
from meter.count import Prepared
from meter.reader import Reader
from runtime import process
from store import db, stream_position
from store.db import Connection, Pool, Transaction

log = structlog.get_logger(__name__)

Prepare: TypeAlias = Callable[[Connection, Batch], Awaitable[Prepared]]


class Begun(msgspec.Struct, frozen=True, eq=False):
    """A transaction, which leaving `scope` ends, since when it goes on, and what is prepared in it."""

    scope: contextlib.AsyncExitStack
    transaction: Transaction
    started: float
    prepared: Prepared | None = None


class Ahead:
    """What is begun, by stream."""

    def __init__(self, pool: Pool, reader: Reader, *, prepare: Prepare) -> None:
        self._pool = pool
        self._reader = reader
        self._prepare = prepare
        self._begun: dict[str, asyncio.Task[Begun | None]] = {}
        # Streams whose lease is ours, and will be for a while.
        self._held: set[str] = set()

    def begin(self, name: str, found: Batch) -> None:
        """Begin with what follows a batch that is prepared itself, and has the lease."""
        if self._reader.look_ahead(name, found):
            self._held.add(name)
            self._begun[name] = asyncio.create_task(self._begin_ahead(name), name=f"begin ahead {name}")

    def lapse(self, name: str) -> None:
        """The batch before is about to commit: whatever has not said that it is begun comes too late."""
        self._held.discard(name)

    async def take(self, name: str) -> Begun:
        """What was begun, once it is prepared, or a new transaction; the caller leaves its scope."""
        if (task := self._begun.get(name)) is not None:
            begun = await task
            # Not before: whoever is cancelled here discards it.
            self._begun.pop(name, None)
            if begun is not None:
                if not begun.transaction.is_lost:
                    return begun
                await begun.scope.aclose()
        return await self._begin()

    async def discard(self, name: str | None = None) -> None:
        """Roll back what was begun of a stream, or of all."""
        for one in [*self._begun] if name is None else [name]:
            self._reader.forget(one)
            if task := self._begun.pop(one, None):
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled() and (begun := task.result()):
                    await begun.scope.aclose()

    async def _begin(self) -> Begun:
        async with contextlib.AsyncExitStack() as scope:
            transaction = await scope.enter_async_context(db.begin(self._pool))
            return Begun(scope.pop_all(), transaction, asyncio.get_running_loop().time())

    async def _begin_ahead(self, name: str) -> Begun | None:
        """None: there is not enough, or it does not succeed."""
        found = await self._reader.peek(name)
        if found is None:
            return None
        try:
            begun = await self._begin()
            async with begun.scope as scope:
                conn = begun.transaction.conn
                await stream_position.begin_ahead(conn, name)
                if name in self._held or await stream_position.lock(conn, name):
                    prepared = await self._prepare(conn, found)
                    return msgspec.structs.replace(begun, scope=scope.pop_all(), prepared=prepared)
        except Exception as exc:  # noqa: BLE001 it is tried again as the next batch, and fails again if it must
            log.debug("nothing is begun ahead", action="begin", stream=name, error=process.describe(exc))
        return None

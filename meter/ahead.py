"""The next batch of a stream, prepared in a transaction of its own while the one before it is completed.

    Ahead(pool, reader, prepare=...).begin(name, found)   begins with what follows a batch, if that is much
    await Ahead(...).take(name) -> Begun                  once that batch is committed; else a new transaction
    await Ahead(...).discard(name)                        as if nothing had been begun

Postgres works for one transaction on one core, and most of its work for a batch does not depend on the batch before
(count.py), so it need not wait for it. What is begun holds ids, and no position: whoever takes it locks the position,
commits if it is still where the batch begins, and rolls back if it is not.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec

from meter.batch import Batch
from meter.count import Prepared
from meter.reader import Reader
from store import db
from store.db import Connection, Pool, Transaction

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

    def begin(self, name: str, found: Batch) -> None:
        """Begin with what follows a batch that is prepared itself."""
        if self._reader.look_ahead(name, found):
            self._begun[name] = asyncio.create_task(self._begin_prepared(name), name=f"begin ahead {name}")

    async def take(self, name: str) -> Begun:
        """What was begun, once it is prepared, or a new transaction; the caller leaves its scope."""
        begun = self._begun.pop(name, None)
        return (await begun if begun else None) or await self._begin()

    async def discard(self, name: str | None = None) -> None:
        """Roll back what was begun of a stream, or of all."""
        for one in [*self._begun] if name is None else [name]:
            self._reader.forget(one)
            if begun := self._begun.pop(one, None):
                begun.cancel()
                await asyncio.wait([begun])
                if not begun.cancelled() and begun.exception() is None and (found := begun.result()):
                    await found.scope.aclose()

    async def _begin(self) -> Begun:
        async with contextlib.AsyncExitStack() as scope:
            transaction = await scope.enter_async_context(db.begin(self._pool))
            return Begun(scope.pop_all(), transaction, asyncio.get_running_loop().time())

    async def _begin_prepared(self, name: str) -> Begun | None:
        """None: there is not enough, or it does not succeed. Then it is tried again, and fails again if it must."""
        found = await self._reader.peek(name)
        if found is None:
            return None
        begun = await self._begin()
        async with begun.scope as scope:
            with contextlib.suppress(Exception):
                prepared = await self._prepare(begun.transaction.conn, found)
                return msgspec.structs.replace(begun, scope=scope.pop_all(), prepared=prepared)
        return None

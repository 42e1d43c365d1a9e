"""Who waits for usage to change learns of it at once: aggregators publish after their commit, HTTP workers listen.

    await tell(redis, accounts)         after a commit
    live = Live(redis); live.run(stop)  one subscription for a whole process
    with live.watch(account) as changed: await changed.wait()

A message says which accounts were counted, not what: who hears it looks. It may get lost with a connection, so
whoever waits looks again by itself after a while, and everybody is woken when a lost subscription stands again.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import Any, TypeAlias

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from runtime import process

log = structlog.get_logger(__name__)

CHANNEL = "usance.counted"
_LISTEN_SECONDS = 1.0

# redis-py types replies as unions that nothing narrows.
_Reply: TypeAlias = Any


async def tell(redis: Redis, accounts: Collection[int]) -> None:
    """Say that usage of these accounts has changed. Nothing is lost if nobody hears it."""
    if not accounts:
        return
    client: _Reply = redis
    try:
        await client.publish(CHANNEL, ",".join(map(str, sorted(accounts))))
    except (RedisError, OSError, TimeoutError) as exc:
        log.warning("nobody was told", action="publish", error=repr(exc))


class Live:
    """The ear of one process."""

    def __init__(self, redis: Redis) -> None:
        self._redis: _Reply = redis
        self._waiting: defaultdict[int, set[asyncio.Event]] = defaultdict(set)

    @contextlib.contextmanager
    def watch(self, account: int) -> Iterator[asyncio.Event]:
        """An event that is set whenever the account's usage has changed."""
        changed = asyncio.Event()
        self._waiting[account].add(changed)
        try:
            yield changed
        finally:
            self._waiting[account].discard(changed)
            if not self._waiting[account]:
                del self._waiting[account]

    async def run(self, stop: asyncio.Event) -> None:
        """Listen until `stop`; a lost connection is taken up again."""
        failures = 0
        while not stop.is_set():
            try:
                async with self._redis.pubsub() as listening:
                    await listening.subscribe(CHANNEL)
                    self._wake(list(self._waiting))
                    failures = 0
                    while not stop.is_set():
                        await self._hear(listening)
            except (RedisError, OSError, TimeoutError) as exc:
                failures += 1
                log.warning("not listening", action="subscribe", error=repr(exc))
                await process.wait_for_any(stop, seconds=process.backoff_seconds(failures))

    async def _hear(self, listening: _Reply) -> None:
        message = await listening.get_message(ignore_subscribe_messages=True, timeout=_LISTEN_SECONDS)
        if message is not None:
            self._wake([int(number) for number in message["data"].split(b",")])

    def _wake(self, accounts: Collection[int]) -> None:
        for account in accounts:
            for changed in self._waiting.get(account, ()):
                changed.set()

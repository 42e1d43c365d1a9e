"""Redis streams: append with group commit, read after a position, trim what is counted.

Theory of operation
    A stream is the only place where an accepted event is before it is counted, so the reply to a sender waits until
    XADD has returned, and the server answers XADD after its fsync. While one XADD is under way, the blocks of other
    requests gather; the next XADD takes them all as one entry. So the number of fsyncs does not grow with the number of
    requests, and nobody waits for a timer.

    An XADD of unknown fate (time-out, connection lost) is answered STREAM_UNAVAILABLE and never repeated here: the
    sender repeats, and the ids make that harmless. Therefore no client of ours retries by itself.

    Nothing is acknowledged. Reading is XREAD after the position that Postgres holds. Counted entries stay for a
    while, so that a database restored from a backup catches up by itself, and are trimmed only behind the position.

    A server that lost its disk begins a stream anew, and if its clock is set back the new ids lie below the position
    though nobody has counted them. So a position says what is counted only of a stream that holds it (`holds`); of
    another one whoever notices lets the ids go on above (`overtake`), and all of it is counted.

    Streams are named events:{0} .. events:{n-1}; the braces put each into a slot of its own in a cluster.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError
from redis.maint_notifications import MaintNotificationsConfig

from meter import entry
from meter.error import StreamError, StreamFull, StreamUnavailable
from store import stream_position
from store.stream_position import START

log = structlog.get_logger(__name__)

ENTRY_BYTES_MAX = 8 * 1024 * 1024
# What may wait for its flush in this process.
WAITING_BYTES_MAX = 64 * 1024 * 1024
_FIELD = b"blocks.1"
_SOCKET_SECONDS_MAX = 5.0
_CONNECT_SECONDS_MAX = 2.0
# Below the socket's time-out, so that the answer is the server's.
_AOF_MILLISECONDS_MAX = 4_000
# How old a look at the stream's size may be: appends in between are added up, so it only has to notice trimming.
_SIZE_SECONDS_MAX = 0.5

# redis-py types stream replies as unions that nothing narrows; here they are Any, once.
_Reply: TypeAlias = Any


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """How large a stream may become; beyond it nothing is accepted."""

    entries_max: int
    bytes_max: int


class Entry(msgspec.Struct, frozen=True):
    """One entry: where it stands, and its blocks as bytes."""

    id: str
    payload: bytes


class _Waiting(msgspec.Struct, frozen=True):
    block: bytes
    position: "asyncio.Future[str]"


def connect(url: str) -> Redis:
    """A client that never repeats a command by itself: an XADD sent twice would be two entries."""
    return Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=_SOCKET_SECONDS_MAX,
        socket_connect_timeout=_CONNECT_SECONDS_MAX,
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )


def names(streams: int) -> tuple[str, ...]:
    """The names of so many streams."""
    return tuple(map(name, range(streams)))


def name(number: int) -> str:
    """The name of one stream."""
    return f"events:{{{number}}}"


class Stream:
    """The writing end of one stream in one process."""

    def __init__(self, redis: Redis, *, name: str, limit: Limit, waits_for_aof: bool = False) -> None:
        self.name = name
        self._waits_for_aof = waits_for_aof
        self._redis: _Reply = redis
        self._limit = limit
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._flusher: asyncio.Task[None] | None = None
        self._entries = 0
        self._bytes = 0
        self._sized_at: float | None = None

    async def append(self, block: bytes) -> str:
        """Append a block; answers the id of its entry once that is on disk."""
        if self._waiting_bytes + len(block) > WAITING_BYTES_MAX:
            raise StreamFull
        position: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(block, position))
        self._waiting_bytes += len(block)
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush(), name=f"flush {self.name}")
        return await position

    async def _flush(self) -> None:
        # One turn of the loop lets the requests that were read together share the first entry too.
        await asyncio.sleep(0)
        while self._waiting:
            taken = self._take()
            try:
                entry_id = await self._add(entry.join([one.block for one in taken]))
            except StreamError as exc:
                _refuse(taken, exc)
                continue
            except BaseException:
                # Nobody would answer those who wait: this task ends here.
                _refuse([*taken, *self._waiting], StreamUnavailable())
                self._waiting, self._waiting_bytes = [], 0
                raise
            for one in taken:
                if not one.position.done():
                    one.position.set_result(entry_id)

    def _take(self) -> list[_Waiting]:
        """What fits into one entry, in order of arrival; at least one block."""
        size = count = 0
        for one in self._waiting:
            size += len(one.block)
            if count and size > ENTRY_BYTES_MAX:
                size -= len(one.block)
                break
            count += 1
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        self._waiting_bytes -= size
        return taken

    async def _add(self, payload: bytes) -> str:
        try:
            await self._refuse_when_full()
            entry_id: bytes = await (self._add_and_wait(payload) if self._waits_for_aof else self._xadd(payload))
        except OutOfMemoryError as exc:
            raise StreamFull from exc
        except (RedisError, OSError, TimeoutError) as exc:
            log.warning("append failed", action="append", stream=self.name, error=repr(exc))
            raise StreamUnavailable from exc
        self._entries += 1
        self._bytes += len(payload)
        return entry_id.decode()

    async def _xadd(self, payload: bytes) -> bytes:
        entry_id: bytes = await self._redis.xadd(self.name, {_FIELD: payload})
        return entry_id

    async def _add_and_wait(self, payload: bytes) -> bytes:
        """For servers that answer before their fsync: ask for it, on the same connection."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.xadd(self.name, {_FIELD: payload})
            pipe.execute_command("WAITAOF", 1, 0, _AOF_MILLISECONDS_MAX)
            entry_id, (synced, _) = await pipe.execute()
        if not synced:
            raise StreamUnavailable
        return bytes(entry_id)

    async def _refuse_when_full(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._sized_at is None or now - self._sized_at > _SIZE_SECONDS_MAX:
            self._entries, self._bytes = await size(self._redis, self.name)
            self._sized_at = now
        if self._entries >= self._limit.entries_max or self._bytes >= self._limit.bytes_max:
            raise StreamFull


def _refuse(taken: Sequence[_Waiting], exc: StreamError) -> None:
    for one in taken:
        if not one.position.done():
            # One exception per waiter: each gets its own traceback.
            one.position.set_exception(type(exc)())


async def read(redis: Redis, name: str, *, after: str, limit: int) -> list[Entry]:
    """Up to `limit` entries after a position, in order. Foreign entries are skipped, loudly."""
    client: _Reply = redis
    reply = await client.xread({name: after}, count=limit)
    if not reply:
        return []
    [(_, found)] = reply.items() if isinstance(reply, dict) else reply
    return [Entry(id_.decode(), _payload(name, id_, fields)) for id_, fields in found]


def _payload(name: str, id_: bytes, fields: Mapping[bytes, bytes]) -> bytes:
    payload = fields.get(_FIELD)
    if payload is None:
        # Not ours, so nothing that anybody was told is accepted.
        log.error("foreign stream entry skipped", action="read", stream=name, entry=id_.decode())
        return entry.join([])
    return payload


async def size(redis: Redis, name: str) -> tuple[int, int]:
    """How many entries a stream has, and about how many bytes it takes."""
    client: _Reply = redis
    async with client.pipeline(transaction=False) as pipe:
        # samples=0 looks at every node: the default looks at the oldest few, and says 2 MB of a stream of 120.
        entries, used = await pipe.xlen(name).memory_usage(name, samples=0).execute()
    return int(entries), int(used or 0)


async def last_id(redis: Redis, name: str) -> str | None:
    """The id given last; it outlives trimming. None: there is no such stream."""
    client: _Reply = redis
    try:
        info = await client.xinfo_stream(name)
    except ResponseError as exc:
        if "no such key" in str(exc):
            return None
        raise
    found: bytes | str = info["last-generated-id"]
    return found.decode() if isinstance(found, bytes) else found


async def ends(redis: Redis, streams: Sequence[str]) -> dict[str, str]:
    """The last id of each stream: whatever was accepted before this call stands at or before it."""
    return {name: await last_id(redis, name) or START for name in streams}


async def holds(redis: Redis, name: str, position: str) -> bool:
    """Whether this is the stream that was counted up to a position: trimming always leaves the entry there.

    One that does not exist holds nothing that is not counted.
    """
    client: _Reply = redis
    return position == START or await has(redis, name, position) or not await client.exists(name)


async def has(redis: Redis, name: str, entry_id: str) -> bool:
    """Whether an entry is there."""
    client: _Reply = redis
    return bool(await client.xrange(name, entry_id, entry_id))


async def overtake(redis: Redis, name: str, position: str) -> None:
    """Let whatever the stream takes in from here on come after a position, however far back its clock is."""
    client: _Reply = redis
    try:
        await client.xadd(name, {_FIELD: entry.join([])}, id=stream_position.after(position))
    except ResponseError as exc:
        # It has come that far by itself.
        if "equal or smaller" not in str(exc):
            raise


async def trim(redis: Redis, name: str, *, before: str) -> int:
    """Drop the entries before this id. Never call it with an id that is not counted yet."""
    client: _Reply = redis
    # Exactly: by whole nodes of a stream nothing may go at all.
    dropped: int = await client.xtrim(name, minid=before, approximate=False)
    return dropped


async def first_id(redis: Redis, name: str) -> str | None:
    """The id of the oldest entry that is still there."""
    client: _Reply = redis
    found = await client.xrange(name, count=1)
    return found[0][0].decode() if found else None


class Promises(msgspec.Struct, frozen=True):
    """What a server's settings do not keep of "a success reply means on disk", as sentences."""

    broken: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


async def promises(redis: Redis, *, waits_for_aof: bool = False) -> Promises:
    """Look at the settings that decide whether an accepted event can be lost."""
    client: _Reply = redis
    wanted = {"appendonly": "yes", "maxmemory-policy": "noeviction"}
    if not waits_for_aof:
        wanted["appendfsync"] = "always"
    try:
        found = await client.config_get(*wanted)
    except (RedisError, OSError) as exc:
        refused = f"whether accepted events survive a crash of Redis is unknown: CONFIG GET fails ({exc})"
        return Promises(unknown=(refused,))
    return Promises(
        broken=tuple(
            f"Redis has {name} {found.get(name)}, so accepted events can be lost: set it to {value}"
            for name, value in wanted.items()
            if found.get(name) != value
        )
    )

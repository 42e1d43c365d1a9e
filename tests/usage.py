"""Small words about usage for tests: events that were sent, metrics that count them, counters that came of it.

`Sent` keeps what was sent as well, and says naively what must have been counted: per id the last content, event by
event.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from meter import entry, event, history, timestamp
from meter.aggregate import Aggregator
from meter.stream import Limit, Stream
from rating.metric import Aggregation
from runtime.settings import Settings
from store import counting, metric, usage, verify
from store.account import Principal
from store.db import Connection, Pool
from store.definition import Definition
from store.metric import StoredMetric
from store.usage import Question, Segment, Usage

NOW = datetime(2025, 3, 10, 12, tzinfo=UTC)
_ENCODER = msgspec.json.Encoder(decimal_format="number")
UNBOUNDED = Limit(entries_max=1 << 40, bytes_max=1 << 50)


def at(text: str) -> datetime:
    """at("2025-03-01T10:07") is that instant in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def called(
    id_: str = "e1", *, alias: str = "acme", when: str = "2025-03-01T10:07:00Z", **properties: Any
) -> dict[str, Any]:
    """An event of type `call`; without `when` it carries no timestamp."""
    fields = {"customerEventId": id_, "customerAlias": alias, "eventType": "call", "eventProperties": properties}
    return fields | ({"eventTimestamp": when} if when else {})


def definition(aggregation: str = "COUNT", of: str | None = None, **changes: Any) -> Definition:
    """How a metric over `call` events counts."""
    plain = Definition(
        event_type="call",
        aggregation=Aggregation(aggregation),
        aggregation_property=of,
        property_filters={},
        is_case_sensitive=True,
        properties_to_negate=(),
    )
    return msgspec.structs.replace(plain, **changes)


async def make_metric(
    conn: Connection, account: Principal, how: Definition | None = None, *, name: str = "calls"
) -> StoredMetric:
    """A metric, with its history folded, as the API makes it."""
    new = StoredMetric(
        id=uuid7(),
        name=name,
        description=None,
        unit=None,
        definition=how or definition(),
        version=1,
        number=0,
        created_at=NOW,
        updated_at=NOW,
    )
    async with conn.transaction():
        await counting.stop(conn)
        born = await metric.create(conn, account.account, metric=new)
        return await history.begin(conn, account.account, born)


async def another_account(conn: Connection) -> Principal:
    """An account of its own."""
    row = await conn.fetchrow(
        "insert into account (id, company_name, created_at, updated_at) values (gen_random_uuid(), 'Other', $1, $1)"
        " returning account, id",
        NOW,
    )
    assert row is not None
    return Principal(account=row["account"], account_id=row["id"], client_id="other", time_zone="UTC")


def block_of(account: Principal, *events: Mapping[str, Any], now: datetime = NOW) -> bytes:
    """These events as the stream takes them."""
    received_at = timestamp.microseconds(now)
    decoded = [event.decode(_ENCODER.encode(one), received_at=received_at, new_id=uuid7) for one in events]
    return entry.encode_block(entry.block(decoded, account=account.account, received_at=received_at))


async def accept(
    redis: Redis, account: Principal, *events: Mapping[str, Any], now: datetime = NOW, name: str = "events:{0}"
) -> str:
    """Let these events in as one request; answers where they stand."""
    return await Stream(redis, name=name, limit=UNBOUNDED).append(block_of(account, *events, now=now))


def aggregator(pool: Pool, redis: Redis, **settings: Any) -> Aggregator:
    return Aggregator(pool, redis, settings=Settings(**settings))


async def drain(counting: Aggregator, now: datetime = NOW) -> int:
    """Count until nothing is left; answers how many events there were."""
    total = 0
    while done := await counting.step(now):
        total += done
    return total


async def measured(
    conn: Connection,
    account: Principal,
    of: StoredMetric,
    *aliases: str,
    start: str = "2025-03-01",
    end: str = "2025-04-01",
) -> Usage:
    """What a metric says of a range."""
    segments = tuple(Segment(alias, at(start), at(end)) for alias in aliases or ("acme",))
    [found] = await usage.measure(conn, account.account, [Question(of.terms, segments)])
    return found


def used(value: str, events: int) -> Usage:
    """used("5.25", 2) is a value that came of two events."""
    return Usage(Decimal(value), events)


async def states(conn: Connection) -> list[str]:
    """The states of all stored versions."""
    return [row["state"] for row in await conn.fetch("select state from usage_event order by state")]


async def differences(conn: Connection) -> list[str]:
    """What an independent recount in SQL finds wrong."""
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        findings = await verify.examine(conn, samples_max=5)
    return [f"{one.says}: {one.samples}" for one in findings if one.differences]

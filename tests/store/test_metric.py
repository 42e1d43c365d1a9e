"""Metrics as they are kept: versions, names, deletion, and the order between counting and a birth."""

import asyncio
from datetime import timedelta
from uuid import UUID

import msgspec
import pytest
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from meter import history
from rating.metric import Aggregation, Filter
from store import counting, metric
from store.account import Principal
from store.db import Connection, Pool
from store.definition import Definition
from store.error import MetricInUse, MetricNameTaken, NotFound
from store.metric import StoredMetric
from store.page import Page
from tests.usage import NOW, accept, aggregator, called, definition, differences, drain, make_metric, measured

LATER = NOW + timedelta(hours=1)
ALL = metric.Filter()


async def change(conn: Connection, account: Principal, of: StoredMetric, **fields: object) -> StoredMetric:
    """A metric's change, with its history folded, as the API makes it."""
    async with conn.transaction():
        await counting.stop(conn)
        after = await metric.update(conn, account.account, metric=msgspec.structs.replace(of, **fields), now=LATER)
        if after.version != of.version:
            after = await history.begin(conn, account.account, after)
    return after


async def names(conn: Connection, account: Principal, where: metric.Filter) -> list[str]:
    found = await metric.listing(conn, account.account, where=where, page=Page(limit=10))
    assert found.total == len(found.items)
    return [one.name for one in found.items]


async def test_a_metric_is_kept_as_it_was_made(conn: Connection, account: Principal) -> None:
    how = Definition(
        event_type="call",
        aggregation=Aggregation.SUM,
        aggregation_property="tokens",
        property_filters={"plan": ["pro", "team"]},
        is_case_sensitive=False,
        properties_to_negate=("plan",),
    )

    made = await make_metric(conn, account, how)

    assert await metric.get(conn, account.account, metric=made.id) == made
    assert made.terms.filters == (Filter("plan", frozenset(["pro", "team"]), is_negated=True),)
    assert await metric.load(conn, account.account, [made.id, uuid7()]) == {made.id: made.terms}


async def test_a_name_is_taken_while_its_metric_lives(conn: Connection, account: Principal) -> None:
    first = await make_metric(conn, account, name="calls")
    other = await make_metric(conn, account, name="others")
    with pytest.raises(MetricNameTaken):
        await make_metric(conn, account, name="calls")
    with pytest.raises(MetricNameTaken):
        await change(conn, account, other, name="calls")

    await metric.delete(conn, account.account, metric=first.id, now=LATER)

    assert (await change(conn, account, other, name="calls")).name == "calls"


async def test_a_new_name_is_no_new_version(conn: Connection, account: Principal) -> None:
    made = await make_metric(conn, account)

    after = await change(conn, account, made, name="renamed", description="why", unit="calls")

    assert (after.version, after.number, after.updated_at) == (made.version, made.number, LATER)
    assert await metric.get(conn, account.account, metric=made.id) == after


async def test_a_new_definition_is_a_new_version_with_its_history(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    counting = aggregator(pool, redis)
    made = await make_metric(conn, account)
    await accept(redis, account, called("a", tokens=5), called("b", tokens=7))
    await drain(counting)

    after = await change(conn, account, made, definition=definition("SUM", "tokens"))
    await accept(redis, account, called("c", tokens=1))
    await drain(counting)

    assert after.version == 2
    assert (await measured(conn, account, after)).value == 13
    # What was billed with the first version can still be explained by it.
    assert (await measured(conn, account, made)).value == 3
    assert await differences(conn) == []


async def test_a_deleted_metric_is_gone_and_counts_no_more(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    made = await make_metric(conn, account)

    deleted = await metric.delete(conn, account.account, metric=made.id, now=LATER)
    await accept(redis, account, called("a"))
    await drain(aggregator(pool, redis))

    assert deleted.deleted_at == LATER
    assert await conn.fetchval("select count(*) from usage_slot") == 0
    assert await metric.load(conn, account.account, [made.id]) == {}
    assert await differences(conn) == []
    with pytest.raises(NotFound):
        await metric.get(conn, account.account, metric=made.id)


async def test_a_metric_that_a_price_reads_cannot_be_deleted(conn: Connection, account: Principal) -> None:
    made = await make_metric(conn, account)
    await price_of(conn, account, made.id)

    with pytest.raises(MetricInUse):
        await metric.delete(conn, account.account, metric=made.id, now=LATER)


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (ALL, ["users", "tokens", "calls"]),
        (metric.Filter(name="KEN"), ["tokens"]),
        (metric.Filter(event_types=("call",)), ["users", "tokens", "calls"]),
        (metric.Filter(event_types=("x,y", "call2")), []),
        (metric.Filter(properties=("tokens", "user")), ["users", "tokens"]),
        (metric.Filter(aggregations=("COUNT", "UNIQUE")), ["users", "calls"]),
        (metric.Filter(id="zz"), []),
    ],
)
async def test_lists_are_filtered(conn: Connection, account: Principal, where: metric.Filter, found: list[str]) -> None:
    await make_metric(conn, account, name="calls")
    await make_metric(conn, account, definition("SUM", "tokens"), name="tokens")
    await make_metric(conn, account, definition("UNIQUE", "user"), name="users")

    assert await names(conn, account, where) == found


async def test_a_metric_is_found_by_a_part_of_its_id(conn: Connection, account: Principal) -> None:
    made = await make_metric(conn, account, name="calls")

    assert await names(conn, account, metric.Filter(id=str(made.id)[9:].upper())) == ["calls"]


async def test_other_accounts_have_other_metrics(conn: Connection, account: Principal) -> None:
    made = await make_metric(conn, account)

    assert await metric.load(conn, account.account + 1, [made.id]) == {}


async def test_a_birth_waits_for_those_who_count_and_then_lets_nobody_count(pool: Pool) -> None:
    async with pool.acquire() as one, pool.acquire() as two, pool.acquire() as born:
        current, waiting = one.transaction(), two.transaction()
        await current.start()
        await counting.hold(one, [])
        birth = asyncio.create_task(give_birth(born))
        await blocked(pool, 1)
        await waiting.start()
        next_batch = asyncio.create_task(counting.hold(two, []))
        await blocked(pool, 2)

        await current.commit()
        await birth
        await next_batch
        await waiting.rollback()


async def give_birth(conn: Connection) -> None:
    async with conn.transaction():
        await counting.stop(conn)


async def blocked(pool: Pool, wanted: int) -> None:
    """Wait until so many wait for an advisory lock."""
    async with asyncio.timeout(10), pool.acquire() as conn:
        while await conn.fetchval("select count(*) from pg_locks where locktype = 'advisory' and not granted") < wanted:
            pass


async def price_of(conn: Connection, account: Principal, metric_id: UUID) -> None:
    product = await conn.fetchval(
        "insert into product (account, id, name, created_at, updated_at) values ($1, gen_random_uuid(), 'P', $2, $2)"
        " returning id",
        account.account,
        NOW,
    )
    structure = msgspec.json.encode({"pricingType": "LINEAR", "pricePerUnit": "1", "usageMetricId": str(metric_id)})
    await conn.execute(
        "insert into price (account, id, product, name, currency, structure, billing_frequency, billing_type, status,"
        " created_at, updated_at)"
        " values ($1, gen_random_uuid(), $2, 'P', 'USD', $3, 'MONTHLY', 'IN_ARREARS', 'ACTIVE', $4, $4)",
        account.account,
        product,
        structure.decode(),
        NOW,
    )

"""Prices: kept as JSON, read back as rating's, and held while a schedule takes them."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from rating.price import Structure
from store import price, product, seat_metric
from store.account import Principal
from store.db import Connection, Pool
from store.error import NotFound, PriceInUse, ProductArchived, SeatMetricInUse
from store.price import StoredPrice
from store.seat_metric import SeatMetric
from tests.build import fixed, graduated, seats
from tests.store.rows import kept_price, priced

NOW = datetime(2025, 3, 10, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "structure", [fixed("0.000000000000000001"), graduated("0-100 @ 0.10 + 5, then 0.05", metric=str(UUID(int=7)))]
)
async def test_terms_come_back_exactly(conn: Connection, account: Principal, structure: Structure) -> None:
    made = await kept_price(conn, account, structure)

    assert (await price.get(conn, account.account, price=made.id)).terms == made.terms
    assert await price.load(conn, [(account.account, made.id)]) == {(account.account, made.id): made.terms}


def test_numbers_are_kept_as_they_were_written() -> None:
    assert bytes(price.structure_json(fixed("10.00"))) == b'{"pricingType":"FIXED","price":"10.00"}'
    assert bytes(price.structure_json(fixed("1e-7"))) == b'{"pricingType":"FIXED","price":"0.0000001"}'


async def test_prices_come_in_the_order_asked_for(conn: Connection, account: Principal) -> None:
    first, second = await kept_price(conn, account), await kept_price(conn, account)

    found = await price.get_all(conn, account.account, prices=[second.id, first.id])

    assert [one.id for one in found] == [second.id, first.id]


async def test_a_price_that_is_not_there_is_named_by_its_place(conn: Connection, account: Principal) -> None:
    made = await kept_price(conn, account)

    with pytest.raises(NotFound) as caught:
        await price.get_all(conn, account.account, prices=[made.id, uuid7()], key="priceIds")

    assert caught.value.key == "priceIds[1]"


async def test_a_price_that_rating_does_not_read_any_more_is_left_out(conn: Connection, account: Principal) -> None:
    good, bad = await kept_price(conn, account), await kept_price(conn, account)
    await conn.execute("""update price set structure = '{"pricingType": "GONE"}' where id = $1""", bad.id)

    found = await price.load(conn, [(account.account, good.id), (account.account, bad.id)])

    assert list(found) == [(account.account, good.id)]


async def test_an_archived_product_takes_no_price(conn: Connection, account: Principal) -> None:
    made = await kept_price(conn, account)
    owner = UUID(made.terms.product_id)
    await product.archive(conn, account.account, product=owner, now=NOW)

    with pytest.raises(ProductArchived):
        await price.create(conn, account.account, price=priced(owner, fixed("1")))


async def test_deleting_waits_for_a_schedule_that_is_taking_the_price(pool: Pool, account: Principal) -> None:
    async with pool.acquire() as taker, pool.acquire() as deleter:
        made = await kept_price(taker, account)
        async with taker.transaction():
            await price.get_all(taker, account.account, prices=[made.id], hold=True)
            deletion = asyncio.create_task(deleted(deleter, account, made))
            await until_waiting(taker)
            await put_into_schedule(taker, account, made)

        with pytest.raises(PriceInUse):
            await deletion


async def test_deleting_a_seat_metric_waits_for_a_price_that_is_being_made(pool: Pool, account: Principal) -> None:
    admin = SeatMetric(id=uuid7(), seat_type="admin", label="A", description=None, created_at=NOW, updated_at=NOW)
    async with pool.acquire() as maker, pool.acquire() as deleter:
        await seat_metric.create(maker, account.account, metric=admin)
        made = await kept_price(maker, account)
        async with maker.transaction():
            await seat_metric.hold(maker, account.account, metric=admin.id)
            deletion = asyncio.create_task(seat_metric_deleted(deleter, account, admin))
            await until_waiting(maker)
            by_seats = priced(UUID(made.terms.product_id), seats("15", metric=str(admin.id)))
            await price.create(maker, account.account, price=by_seats)

        with pytest.raises(SeatMetricInUse):
            await deletion

        assert await seat_metric.get(maker, account.account, metric=admin.id) == admin


async def seat_metric_deleted(conn: Connection, account: Principal, made: SeatMetric) -> SeatMetric:
    async with conn.transaction():
        return await seat_metric.delete(conn, account.account, metric=made.id, now=NOW)


async def deleted(conn: Connection, account: Principal, made: StoredPrice) -> StoredPrice:
    async with conn.transaction():
        return await price.delete(conn, account.account, price=made.id)


async def until_waiting(conn: Connection) -> None:
    async with asyncio.timeout(5):
        while not await conn.fetchval("select exists (select from pg_locks where not granted)"):  # noqa: ASYNC110 no event tells
            await asyncio.sleep(0.01)


async def put_into_schedule(conn: Connection, account: Principal, made: StoredPrice) -> None:
    await conn.execute(
        """
        with who as (
            insert into customer (account, id, legal_name, tax_status, status, address, contacts, custom_properties,
                created_at, updated_at)
            values ($1, $2, 'A', 'TAXED', 'ACTIVE', '{}', '[]', '{}', now(), now()) returning id)
        insert into billing_schedule (account, id, customer, is_draft, start_date, auto_issue, particulars, created_at,
            updated_at)
        select $1, $2, id, true, '2025-01-01', false, '{}', now(), now() from who
        """,
        account.account,
        made.id,
    )
    await conn.execute(
        "insert into billing_phase (account, id, schedule, position, start_date, price_ids, created_at) "
        "values ($1, $2, $2, 0, '2025-01-01', array[$2::uuid], now())",
        account.account,
        made.id,
    )


async def test_the_schema_refuses_a_price_without_product(conn: Connection, account: Principal) -> None:
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await conn.execute(
            "insert into price (account, id, product, name, currency, structure, billing_frequency, billing_type, "
            "status, created_at, updated_at) "
            "values ($1, $2, $2, 'A', 'EUR', '{}', 'MONTHLY', 'IN_ARREARS', 'ACTIVE', now(), now())",
            account.account,
            uuid7(),
        )

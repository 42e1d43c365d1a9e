"""Prices: how they are kept.

    price -> structure as JSON in the reference's field names, checked by rating.price on the way in
    price -> conditions, what it says beside its structure: usageCalculationPeriod and our extensions

rating.price.Price is made of it on the way out. Nothing but a price's name and status ever changes: another amount is
another price.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import structlog

from rating.error import RatingError
from rating.number import to_json
from rating.period import Frequency
from rating.price import BillingType, Commitment, Price, UsageCalculationPeriod, decode_structure
from store.db import Connection
from store.error import NotFound, PriceInUse, ProductArchived
from store.page import Listing, Page, both_ways

log = structlog.get_logger(__name__)


class PriceStatus(StrEnum):
    """A draft cannot be billed until it is approved."""

    ACTIVE = "ACTIVE"
    DRAFT = "DRAFT"


class StoredPrice(msgspec.Struct, frozen=True, kw_only=True):
    """A price with what the catalogue knows besides; `structure` is its JSON as it is shown."""

    id: UUID
    terms: Price
    structure: msgspec.Raw
    status: PriceStatus
    created_at: datetime
    updated_at: datetime


class _Conditions(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What a price says beside its structure, as it is kept."""

    usage_calculation_period: UsageCalculationPeriod | None = None
    minimum: Decimal | None = None
    maximum: Decimal | None = None
    commitment: Commitment | None = None
    prices_by_group: dict[str, Decimal] | None = None


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which prices a list shows; None means any. The name is found anywhere, in any case."""

    product: UUID | None = None
    currency: str | None = None
    name: str | None = None
    frequency: Frequency | None = None


# Holds the product still until the price exists: archiving waits, and a price never joins an archived product.
_HOLD_PRODUCT = "select archived_at is null from product where account = $1 and id = $2 for share"

# Makes a price.
_INSERT = """
insert into price (account, id, product, name, currency, structure, billing_frequency, billing_type, conditions, status,
    created_at, updated_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
"""


async def create(conn: Connection, account: int, *, price: StoredPrice) -> None:
    """Keep a new price of a product that is not archived. Call inside a transaction."""
    terms = price.terms
    is_open = await conn.fetchval(_HOLD_PRODUCT, account, UUID(terms.product_id))
    if is_open is None:
        raise NotFound(f"There is no product {terms.product_id}.", key="productId")
    if not is_open:
        raise ProductArchived(key="productId")
    values = (
        *(price.id, UUID(terms.product_id), terms.name, terms.currency, bytes(price.structure).decode()),
        *(terms.billing_frequency, terms.billing_type, _conditions(terms)),
        *(price.status, price.created_at, price.updated_at),
    )
    await conn.execute(_INSERT, account, *values)


# Prices by the primary key.
_GET = """
select id, product, name, currency, structure, billing_frequency, billing_type, conditions, status, created_at,
    updated_at
from price where account = $1 and id = any($2::uuid[])
"""

# The same, held until the end of the transaction, so that a price is not deleted while a schedule takes it.
_HOLD = f"{_GET} for key share"


async def get_all(
    conn: Connection, account: int, *, prices: Sequence[UUID], hold: bool = False, key: str | None = None
) -> list[StoredPrice]:
    """These prices in this order; `key` names the field of the request they came from."""
    rows = await conn.fetch(_HOLD if hold else _GET, account, list(prices))
    found = {row["id"]: _stored_price(row) for row in rows}
    for index, price in enumerate(prices):
        if price not in found:
            raise NotFound(f"There is no price {price}.", key=f"{key}[{index}]" if key else None)
    return [found[price] for price in prices]


async def get(conn: Connection, account: int, *, price: UUID) -> StoredPrice:
    """One price."""
    return (await get_all(conn, account, prices=[price]))[0]


# The prices of schedules of any accounts, by the primary key. Serves billing.
_LOAD = """
select account, id, product, name, currency, structure, billing_frequency, billing_type, conditions
from unnest($1::integer[], $2::uuid[]) as wanted (account, id) join price using (account, id)
"""


async def load(conn: Connection, prices: Iterable[tuple[int, UUID]]) -> dict[tuple[int, UUID], Price]:
    """What rating must know of each (account, price), in one query. What it does not read is left out, and logged."""
    wanted = list(set(prices))
    found: dict[tuple[int, UUID], Price] = {}
    for row in await conn.fetch(_LOAD, [account for account, _ in wanted], [price for _, price in wanted]):
        try:
            found[row["account"], row["id"]] = _terms(row)
        except (RatingError, msgspec.ValidationError) as exc:
            log.warning("price not readable", action="load", price=str(row["id"]), error=str(exc))
    return found


# Changes what may change of a price, by the primary key; a null status leaves it as it is.
_UPDATE = """
update price set name = $3, status = coalesce($4, status), updated_at = $5 where account = $1 and id = $2
returning id, product, name, currency, structure, billing_frequency, billing_type, conditions, status, created_at,
    updated_at
"""


async def update(
    conn: Connection, account: int, *, price: UUID, name: str, status: PriceStatus | None, now: datetime
) -> StoredPrice:
    """Rename a price or approve it. Its amounts never change."""
    row = await conn.fetchrow(_UPDATE, account, price, name, status, now)
    if row is None:
        raise NotFound(f"There is no price {price}.")
    return _stored_price(row)


# Waits for a schedule that is just taking the price: it holds the row with `for key share`.
_LOCK = "select from price where account = $1 and id = $2 for update"

# Whether a schedule has the price, or had it; reads the account's phases, deleting prices is rare.
_IS_USED = """
select exists (select from billing_phase where account = $1 and price_ids @> array[$2::uuid])
    or exists (select from billing_schedule_version where account = $1 and price_ids @> array[$2::uuid])
"""

# Deletes a price, by the primary key.
_DELETE = """
delete from price where account = $1 and id = $2
returning id, product, name, currency, structure, billing_frequency, billing_type, conditions, status, created_at,
    updated_at
"""


async def delete(conn: Connection, account: int, *, price: UUID) -> StoredPrice:
    """Delete a price that no schedule has, and return what it was. Call inside a transaction."""
    await conn.execute(_LOCK, account, price)
    if await conn.fetchval(_IS_USED, account, price):
        raise PriceInUse
    row = await conn.fetchrow(_DELETE, account, price)
    if row is None:
        raise NotFound(f"There is no price {price}.")
    return _stored_price(row)


# Lists prices, newest or oldest first, by the primary key, those of one product by price_product.
_LIST = both_ways("""
select id, product, name, currency, structure, billing_frequency, billing_type, conditions, status, created_at,
    updated_at
from price
where account = $1 and ($2::uuid is null or id > $2) and ($3::uuid is null or id < $3)
    and ($5::uuid is null or product = $5) and ($6::text is null or currency = $6)
    and ($7::text is null or position(lower($7) in lower(name)) > 0) and ($8::text is null or billing_frequency = $8)
order by id <direction> limit $4
""")

# How many prices the same filters leave.
_COUNT = """
select count(*) from price
where account = $1 and ($2::uuid is null or product = $2) and ($3::text is null or currency = $3)
    and ($4::text is null or position(lower($4) in lower(name)) > 0) and ($5::text is null or billing_frequency = $5)
"""


async def listing(conn: Connection, account: int, *, where: Filter, page: Page) -> Listing[StoredPrice]:
    """One page of prices."""
    wanted = (where.product, where.currency, where.name, where.frequency)
    rows = await conn.fetch(_LIST[page.reads_down], account, page.above, page.below, page.fetch_limit, *wanted)
    total = await conn.fetchval(_COUNT, account, *wanted)
    return page.cut([_stored_price(row) for row in rows], total=total)


def structure_json(structure: msgspec.Struct) -> msgspec.Raw:
    """A structure as it is kept and shown: numbers as plain strings, with the zeros their author wrote."""
    return msgspec.Raw(msgspec.json.encode(_plain(msgspec.to_builtins(structure, builtin_types=(Decimal,)))))


def _plain(value: Any) -> Any:
    match value:
        case Decimal():
            return format(value, "f")
        case dict():
            return {name: _plain(item) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value


def _stored_price(row: asyncpg.Record) -> StoredPrice:
    return StoredPrice(
        id=row["id"],
        terms=_terms(row),
        structure=msgspec.Raw(row["structure"].encode()),
        status=PriceStatus(row["status"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _conditions(terms: Price) -> str:
    said = _Conditions(
        terms.usage_calculation_period,
        terms.minimum,
        terms.maximum,
        terms.commitment,
        None if terms.prices_by_group is None else dict(terms.prices_by_group),
    )
    return to_json(said).decode()


def _terms(row: asyncpg.Record) -> Price:
    said = msgspec.json.decode(row["conditions"], type=_Conditions)
    return Price(
        id=str(row["id"]),
        product_id=str(row["product"]),
        name=row["name"],
        currency=row["currency"],
        structure=decode_structure(row["structure"].encode()),
        billing_frequency=Frequency(row["billing_frequency"]),
        billing_type=BillingType(row["billing_type"]),
        usage_calculation_period=said.usage_calculation_period,
        minimum=said.minimum,
        maximum=said.maximum,
        commitment=said.commitment,
        prices_by_group=said.prices_by_group,
    )

"""Products: what is sold. Prices belong to them, and invoices group their lines by them."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from store.db import Connection
from store.error import NotFound
from store.page import Listing, Page, both_ways


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is sold."""

    id: UUID
    name: str
    label: str | None
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None = None
    tax_category: UUID | None = None


class Brief(msgspec.Struct, frozen=True):
    """What a bill must know of a product."""

    name: str
    tax_category: UUID | None


# Makes a product.
_INSERT = """
insert into product (account, id, name, label, tax_category, created_at, updated_at)
values ($1, $2, $3, $4, $5, $6, $7)
"""


async def create(conn: Connection, account: int, *, product: Product) -> None:
    """Keep a new product."""
    values = (product.id, product.name, product.label, product.tax_category, product.created_at, product.updated_at)
    await conn.execute(_INSERT, account, *values)


# One product, by the primary key.
_GET = """
select id, name, label, created_at, updated_at, archived_at, tax_category from product where account = $1 and id = $2
"""


async def get(conn: Connection, account: int, *, product: UUID) -> Product:
    """One product, archived or not."""
    return _product(await conn.fetchrow(_GET, account, product), product)


# What bills must know of products, of several accounts at once, by the primary key.
_BRIEFS = """
select product.account, product.id, product.name, product.tax_category
from unnest($1::integer[], $2::uuid[]) as wanted (account, id) join product using (account, id)
"""


async def briefs(conn: Connection, products: Collection[tuple[int, UUID]]) -> dict[tuple[int, UUID], Brief]:
    """Name and tax category of each (account, product), archived or not."""
    rows = await conn.fetch(_BRIEFS, [account for account, _ in products], [product for _, product in products])
    return {(row["account"], row["id"]): Brief(row["name"], row["tax_category"]) for row in rows}


# Changes what may change of a product, by the primary key.
_UPDATE = """
update product set name = $3, label = $4, tax_category = $5, updated_at = $6 where account = $1 and id = $2
returning id, name, label, created_at, updated_at, archived_at, tax_category
"""


async def update(conn: Connection, account: int, *, product: Product, now: datetime) -> Product:
    """Change name, label and tax category; invoices made from now on show the new name."""
    values = (product.id, product.name, product.label, product.tax_category, now)
    return _product(await conn.fetchrow(_UPDATE, account, *values), product.id)


# Archives a product once, by the primary key.
_ARCHIVE = """
update product set updated_at = case when archived_at is null then $3 else updated_at end,
    archived_at = coalesce(archived_at, $3)
where account = $1 and id = $2
returning id, name, label, created_at, updated_at, archived_at, tax_category
"""


async def archive(conn: Connection, account: int, *, product: UUID, now: datetime) -> Product:
    """Close a product to new prices; those it has go on."""
    return _product(await conn.fetchrow(_ARCHIVE, account, product, now), product)


# Lists products that are not archived, newest or oldest first, by the primary key.
_LIST = both_ways("""
select id, name, label, created_at, updated_at, archived_at, tax_category from product
where account = $1 and ($2::uuid is null or id > $2) and ($3::uuid is null or id < $3)
    and ($5::text is null or position(lower($5) in lower(name)) > 0) and archived_at is null
order by id <direction> limit $4
""")

# How many products the same filter leaves.
_COUNT = """
select count(*) from product
where account = $1 and ($2::text is null or position(lower($2) in lower(name)) > 0) and archived_at is null
"""


async def listing(conn: Connection, account: int, *, name: str | None, page: Page) -> Listing[Product]:
    """One page of products; `name` is found anywhere, in any case."""
    rows = await conn.fetch(_LIST[page.reads_down], account, page.above, page.below, page.fetch_limit, name)
    total = await conn.fetchval(_COUNT, account, name)
    return page.cut([Product(**dict(row)) for row in rows], total=total)


def _product(row: asyncpg.Record | None, product: UUID) -> Product:
    if row is None:
        raise NotFound(f"There is no product {product}.")
    return Product(**dict(row))

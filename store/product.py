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


# Makes a product.
_INSERT = """
insert into product (account, id, name, label, created_at, updated_at) values ($1, $2, $3, $4, $5, $6)
"""


async def create(conn: Connection, account: int, *, product: Product) -> None:
    """Keep a new product."""
    values = (product.id, product.name, product.label, product.created_at, product.updated_at)
    await conn.execute(_INSERT, account, *values)


# One product, by the primary key.
_GET = """
select id, name, label, created_at, updated_at, archived_at from product where account = $1 and id = $2
"""


async def get(conn: Connection, account: int, *, product: UUID) -> Product:
    """One product, archived or not."""
    return _product(await conn.fetchrow(_GET, account, product), product)


# The names of products, of several accounts at once, by the primary key.
_NAMES = """
select product.account, product.id, product.name
from unnest($1::integer[], $2::uuid[]) as wanted (account, id) join product using (account, id)
"""


async def names(conn: Connection, products: Collection[tuple[int, UUID]]) -> dict[tuple[int, UUID], str]:
    """The name of each (account, product), archived or not."""
    rows = await conn.fetch(_NAMES, [account for account, _ in products], [product for _, product in products])
    return {(row["account"], row["id"]): row["name"] for row in rows}


# Changes what may change of a product, by the primary key.
_UPDATE = """
update product set name = $3, label = $4, updated_at = $5 where account = $1 and id = $2
returning id, name, label, created_at, updated_at, archived_at
"""


async def update(
    conn: Connection, account: int, *, product: UUID, name: str, label: str | None, now: datetime
) -> Product:
    """Rename a product; invoices made from now on show the new name."""
    return _product(await conn.fetchrow(_UPDATE, account, product, name, label, now), product)


# Archives a product once, by the primary key.
_ARCHIVE = """
update product set updated_at = case when archived_at is null then $3 else updated_at end,
    archived_at = coalesce(archived_at, $3)
where account = $1 and id = $2
returning id, name, label, created_at, updated_at, archived_at
"""


async def archive(conn: Connection, account: int, *, product: UUID, now: datetime) -> Product:
    """Close a product to new prices; those it has go on."""
    return _product(await conn.fetchrow(_ARCHIVE, account, product, now), product)


# Lists products that are not archived, newest or oldest first, by the primary key.
_LIST = both_ways("""
select id, name, label, created_at, updated_at, archived_at from product
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

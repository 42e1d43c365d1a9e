"""Families: which customers are parents, children and grandchildren of which.

A customer has at most one parent. What a schedule that rolls up bills is the usage of its customer and of everyone
below. That nobody is below themselves is checked when a parent is set, one change at a time for each account.
"""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from store.db import Connection
from store.error import CustomerCycle, NotFound


class Member(msgspec.Struct, frozen=True):
    """A customer as others of its organization see it."""

    id: UUID
    name: str


class Organization(msgspec.Struct, frozen=True):
    """A parent and its children; it bears the parent's id."""

    id: UUID
    owner: Member
    members: tuple[Member, ...]


# Parents of an account are set one after the other: two at once could make a cycle that neither sees.
_LOCK = "select from account where account = $1 for no key update"

# A customer and everyone above, by the primary key; `union` ends even if there were a cycle.
_ANCESTORS = """
with recursive line as (
    select id, parent from customer where account = $1 and id = $2
    union
    select above.id, above.parent from line join customer as above on above.account = $1 and above.id = line.parent
)
select id from line
"""


async def check_parent(conn: Connection, account: int, *, customer: UUID, parent: UUID) -> None:
    """Refuse a parent that does not exist or stands below the customer. Call in the transaction that sets it."""
    await conn.execute(_LOCK, account)
    above = {row["id"] for row in await conn.fetch(_ANCESTORS, account, parent)}
    if customer == parent or customer in above:
        raise CustomerCycle(key="parentId")
    if not above:
        raise NotFound(f"There is no customer {parent}.", key="parentId")


# Everyone below these customers, by customer_parent.
_DESCENDANTS = """
with recursive line as (
    select top.id as top, child.id from unnest($2::uuid[]) as top (id)
        join customer as child on child.account = $1 and child.parent = top.id
    union
    select line.top, child.id from line join customer as child on child.account = $1 and child.parent = line.id
)
select top, id from line order by top, id
"""


async def descendants(conn: Connection, account: int, *, customers: Sequence[UUID]) -> dict[UUID, tuple[UUID, ...]]:
    """Children and grandchildren of each customer."""
    found: dict[UUID, list[UUID]] = {customer: [] for customer in customers}
    for row in await conn.fetch(_DESCENDANTS, account, list(customers)):
        found[row["top"]].append(row["id"])
    return {top: tuple(members) for top, members in found.items()}


# The organizations that these customers own, by customer_parent, or belong to, by the primary key.
_ORGANIZATIONS = """
select owner.id as owner, owner.legal_name as owner_name, member.id as member, member.legal_name as member_name
from customer as owner join customer as member on member.account = owner.account and member.parent = owner.id
where owner.account = $1 and (owner.id = any($2::uuid[])
    or owner.id in (select parent from customer where account = $1 and id = any($2::uuid[])))
order by owner.id, member.id
"""


async def organizations(
    conn: Connection, account: int, *, customers: Sequence[UUID]
) -> dict[UUID, tuple[Organization, ...]]:
    """Of each customer the organization it owns and the one it belongs to, if any."""
    rows = await conn.fetch(_ORGANIZATIONS, account, list(customers))
    members: dict[Member, list[Member]] = {}
    for row in rows:
        owner = Member(row["owner"], row["owner_name"])
        members.setdefault(owner, []).append(Member(row["member"], row["member_name"]))
    found: dict[UUID, tuple[Organization, ...]] = dict.fromkeys(customers, ())
    for owner, children in members.items():
        made = Organization(owner.id, owner, tuple(children))
        for one in (owner, *children):
            if one.id in found:
                found[one.id] = (*found[one.id], made)
    return found

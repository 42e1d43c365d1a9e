"""Usage metrics: how they are kept.

    StoredMetric    what people named, and its current definition
    Definition      how it counts, in the API's words; a change of it is a new version with counters of its own
    rating.Metric   one version as counting and billing read it

When a version begins to count, and how its history follows: store/counting.py.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from rating.metric import Metric
from store import definition
from store.db import Connection
from store.definition import Definition, History
from store.error import MetricInUse, MetricNameTaken, NotFound
from store.page import Listing, Page, both_ways


class StoredMetric(msgspec.Struct, frozen=True, kw_only=True):
    """A metric with its current version."""

    id: UUID
    name: str
    description: str | None
    unit: str | None
    definition: Definition
    version: int
    number: int
    history: History = History()
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None

    @property
    def terms(self) -> Metric:
        """The current version, as counting and billing read it."""
        return definition.terms(
            self.definition, id_=self.id, version=self.version, number=self.number, history=self.history
        )


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which metrics a list shows; None means any. Name and id are found anywhere; the others are one of several."""

    name: str | None = None
    id: str | None = None
    event_types: tuple[str, ...] | None = None
    properties: tuple[str, ...] | None = None
    aggregations: tuple[str, ...] | None = None


# Makes a metric; its name is taken while the other one lives (usage_metric_name).
_INSERT = """
insert into usage_metric (account, id, name, description, unit, version, created_at, updated_at)
values ($1, $2, $3, $4, $5, 1, $6, $6)
"""

# Makes a version and numbers it. Whatever is counted later has higher event numbers than the one taken here.
_INSERT_VERSION = """
insert into usage_metric_version (account, id, version, event_type, aggregation_type, aggregation_property,
    property_filters, is_case_sensitive, properties_to_negate, group_by, number_filters, born_no, created_at,
    received_from)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, nextval('usage_event_block'), $12,
    (select dropped_before from usage_retention))
returning metric, born_no, received_from
"""

# ruff: noqa: S608 - built from constants
_COLUMNS = f"""
metric.id, metric.name, metric.description, metric.unit, metric.version, metric.created_at, metric.updated_at,
metric.deleted_at, version.metric, {definition.COLUMNS}
"""
_FROM = """
usage_metric as metric join usage_metric_version as version
    on version.account = metric.account and version.id = metric.id and version.version = metric.version
"""

# One metric with its current version, by the primary key and (account, id, version).
_GET = f"select {_COLUMNS} from {_FROM} where metric.account = $1 and metric.id = $2 and metric.deleted_at is null"
# The same, held until the end of the transaction.
_GET_FOR_UPDATE = f"{_GET} for update of metric"
# The same for many at once; serves billing.
_LOAD = (
    f"select {_COLUMNS} from {_FROM} where metric.account = $1 and metric.id = any($2::uuid[]) and deleted_at is null"
)


async def create(conn: Connection, account: int, *, metric: StoredMetric) -> StoredMetric:
    """Keep a new metric and number its first version. The caller has stopped counting, and folds history afterwards."""
    try:
        await conn.execute(_INSERT, account, metric.id, metric.name, metric.description, metric.unit, metric.created_at)
    except asyncpg.UniqueViolationError as exc:
        raise MetricNameTaken(key="name") from exc
    return await _add_version(conn, account, metric=metric, now=metric.created_at)


async def get(conn: Connection, account: int, *, metric: UUID, for_update: bool = False) -> StoredMetric:
    """One metric that is not deleted."""
    row = await conn.fetchrow(_GET_FOR_UPDATE if for_update else _GET, account, metric)
    if row is None:
        raise NotFound(f"There is no usage metric {metric}.")
    return _stored(row)


# Holds a metric until a price has it: who deletes the metric waits, and then sees the price. Changes of it wait too.
_HOLD = "select from usage_metric where account = $1 and id = $2 and deleted_at is null for share"


async def hold(conn: Connection, account: int, *, metric: UUID, key: str | None = None) -> Metric:
    """One metric, kept from being deleted until the end of the transaction; `key` names the field that asked for it."""
    if await conn.fetchrow(_HOLD, account, metric) is None:
        raise NotFound(f"There is no usage metric {metric}. Create it first.", key=key)
    return (await get(conn, account, metric=metric)).terms


async def load(conn: Connection, account: int, metrics: Sequence[UUID]) -> dict[UUID, Metric]:
    """The current versions of these metrics, as far as they exist."""
    return {id_: found.terms for id_, found in (await find(conn, account, metrics)).items()}


async def find(conn: Connection, account: int, metrics: Sequence[UUID]) -> dict[UUID, StoredMetric]:
    """These metrics, as far as they exist."""
    return {row["id"]: _stored(row) for row in await conn.fetch(_LOAD, account, list(metrics))}


# Certain versions of metrics, by (account, id, version); serves bills that are made again.
_LOAD_VERSIONS = f"""
select {_COLUMNS.replace("metric.version, ", "version.version, ")}
from unnest($2::uuid[], $3::integer[]) as wanted (id, version)
join usage_metric_version as version
    on version.account = $1 and version.id = wanted.id and version.version = wanted.version
join usage_metric as metric on metric.account = $1 and metric.id = wanted.id and metric.deleted_at is null
"""


async def load_versions(conn: Connection, account: int, versions: Mapping[UUID, int]) -> dict[UUID, Metric]:
    """These versions of metrics by id, as far as the metrics exist."""
    rows = await conn.fetch(_LOAD_VERSIONS, account, list(versions), list(versions.values()))
    return {row["id"]: _stored(row).terms for row in rows}


# Changes what says nothing about counting, and which version is current.
_UPDATE = """
update usage_metric set name = $3, description = $4, unit = $5, version = $6, updated_at = $7
where account = $1 and id = $2
"""


async def update(conn: Connection, account: int, *, metric: StoredMetric, now: datetime) -> StoredMetric:
    """Keep a metric's new state; the caller has read it for update.

    Another definition becomes another version; for that the caller has stopped counting, and folds its history
    afterwards.
    """
    after = msgspec.structs.replace(metric, updated_at=now)
    if metric.definition != (await get(conn, account, metric=metric.id)).definition:
        after = await _add_version(
            conn, account, metric=msgspec.structs.replace(after, version=metric.version + 1), now=now
        )
    try:
        await conn.execute(_UPDATE, account, after.id, after.name, after.description, after.unit, after.version, now)
    except asyncpg.UniqueViolationError as exc:
        raise MetricNameTaken(key="name") from exc
    return after


# Whether a price bills by the metric; reads the account's prices, deleting metrics is rare.
_IS_USED = "select exists (select from price where account = $1 and structure ->> 'usageMetricId' = $2::uuid::text)"

# The row stays: invoices name it.
_DELETE = "update usage_metric set deleted_at = $3, updated_at = $3 where account = $1 and id = $2"


async def delete(conn: Connection, account: int, *, metric: UUID, now: datetime) -> StoredMetric:
    """Let a metric count no more, unless a price bills by it. Call inside a transaction."""
    found = await get(conn, account, metric=metric, for_update=True)
    if await conn.fetchval(_IS_USED, account, metric):
        raise MetricInUse
    await conn.execute(_DELETE, account, metric, now)
    return msgspec.structs.replace(found, deleted_at=now, updated_at=now)


_WHERE = """
($2::text is null or position(lower($2) in lower(metric.name)) > 0)
    and ($3::text is null or position(lower($3) in metric.id::text) > 0)
    and ($4::text[] is null or version.event_type = any($4))
    and ($5::text[] is null or version.aggregation_property = any($5))
    and ($6::text[] is null or version.aggregation_type = any($6))
"""

# Lists metrics, newest or oldest first, by the primary key; the filters are checked row by row.
_LIST = both_ways(f"""
select {_COLUMNS} from {_FROM}
where metric.account = $1 and metric.deleted_at is null and {_WHERE}
    and ($7::uuid is null or metric.id > $7) and ($8::uuid is null or metric.id < $8)
order by metric.id <direction> limit $9
""")

# How many metrics the same filters leave.
_COUNT = f"select count(*) from {_FROM} where metric.account = $1 and metric.deleted_at is null and {_WHERE}"


async def listing(conn: Connection, account: int, *, where: Filter, page: Page) -> Listing[StoredMetric]:
    """One page of metrics."""
    wanted = (account, where.name, where.id, where.event_types, where.properties, where.aggregations)
    rows = await conn.fetch(_LIST[page.reads_down], *wanted, page.above, page.below, page.fetch_limit)
    return page.cut([_stored(row) for row in rows], total=await conn.fetchval(_COUNT, *wanted))


async def _add_version(conn: Connection, account: int, *, metric: StoredMetric, now: datetime) -> StoredMetric:
    row = await conn.fetchrow(
        _INSERT_VERSION, account, metric.id, metric.version, *definition.values(metric.definition), now
    )
    if row is None:
        raise AssertionError("an insert answers its row")
    return msgspec.structs.replace(
        metric, number=row["metric"], history=History(born_no=row["born_no"], received_from=row["received_from"])
    )


def _stored(row: asyncpg.Record) -> StoredMetric:
    return StoredMetric(
        id=row["id"],
        name=row["name"],
        description=row["description"],
        unit=row["unit"],
        definition=definition.definition(row),
        version=row["version"],
        number=row["metric"],
        history=definition.history(row),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        deleted_at=row["deleted_at"],
    )

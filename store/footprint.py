"""How much the database has written, and how much room it takes."""

from typing import cast

import msgspec
from asyncpg import Record

from store.db import Connection

# Functions of the server: no table is touched.
_READ = """
select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint as wal_bytes,
    pg_database_size(current_database()) as database_bytes
"""


class Footprint(msgspec.Struct, frozen=True):
    """Bytes: of log written since the cluster was made, and on disk now."""

    wal_bytes: int
    database_bytes: int


async def read(conn: Connection) -> Footprint:
    """The footprint at this moment."""
    # One row, whatever there is.
    row = cast("Record", await conn.fetchrow(_READ))
    return Footprint(row["wal_bytes"], row["database_bytes"])

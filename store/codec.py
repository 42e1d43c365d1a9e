"""Arrays of Postgres' own types, made known to a connection without asking.

    declare(conn)

asyncpg knows types of one value. For an array it asks the server, once for each statement of a connection that has one
it has not seen, by a query that costs the server 20 ms: three of those made the first look-up of every new connection
the slowest. The numbers of built-in types are the same in every Postgres, so there is nothing to ask.

asyncpg has no public way in. If what is declared here is not taken, it asks as before; a test says which arrays need
this, and that nothing is asked any more.
"""

from typing import Any

import asyncpg
from asyncpg.pool import PoolConnectionProxy

# Array -> its number, and that of what it holds: `select typname, typarray, oid from pg_type`.
ARRAYS = {
    "_bool": (1000, 16),
    "_bytea": (1001, 17),
    "_int4": (1007, 23),
    "_int8": (1016, 20),
    "_date": (1182, 1082),
    "_timestamptz": (1185, 1184),
    "_numeric": (1231, 1700),
    "_uuid": (2951, 2950),
    "_jsonb": (3807, 3802),
}

# What asyncpg's own query answers for an array, but for its name and the two numbers.
_ARRAY: dict[str, Any] = {
    "ns": "pg_catalog",
    "kind": b"b",
    "basetype": None,
    "elemdelim": ",",
    "range_subtype": None,
    "attrtypoids": None,
    "attrnames": None,
}
_TYPES = [
    _ARRAY | {"name": name, "oid": array, "elemtype": element, "elemtype_name": name[1:]}
    for name, (array, element) in ARRAYS.items()
]


def declare(conn: "asyncpg.Connection[Any] | PoolConnectionProxy[Any]") -> None:
    """Let a new connection know them."""
    conn._protocol.get_settings().register_data_types(_TYPES)  # type: ignore[union-attr]  # noqa: SLF001

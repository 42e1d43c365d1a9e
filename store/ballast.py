"""Ballast: events that were never sent, so that a benchmark can see how a full database behaves.

They have the rows of the tables that grow with every event, and their places in every index of them. No counter
knows of them: a database that has ballast is for measuring only.
"""

from datetime import datetime

from store import event
from store.db import Connection

ROWS_MAX = event.NUMBERS_PER_BLOCK
_SAMPLE_ROWS = 10_000

# What real events look like, over and over, with ids and numbers of their own; by the primary keys.
_ADD = """
with sample as materialized (
    select (row_number() over ())::bigint - 1 as place, alias, event_timestamp, event_type, properties
    from (
        select alias, event_timestamp, event_type, properties from usage_event
        where account = $1 and state = 'live' order by event_no desc limit $7
    ) as newest
), made as (
    insert into event_key (account, key, event_no, digest)
    select $1, case when $2 then uuidv7() else gen_random_uuid() end, $3::bigint + place,
        hashint8extended($3::bigint + place, 0)
    from generate_series(0, $4::bigint - 1) as place
    returning key, event_no
), hours as (
    insert into usage_event_hour (account, hour, first_no, last_no)
    select distinct $1, floor(extract(epoch from event_timestamp) / 4294.967296)::integer, $3, $3 + $8::bigint - 1
    from sample
)
insert into usage_event (account, alias, event_no, event_timestamp, received_at, entry_ms, entry_sequence, entry_index,
    key, event_type, properties, state)
select $1, alias, event_no, event_timestamp, $5, $6, 0, (event_no - $3)::integer, key, event_type, properties, 'live'
from made join sample on place = (made.event_no - $3) % (select count(*) from sample)
"""
# What a server that has run for long has behind it. No checkpoint: those come once in gigabytes, and the first changes
# after one cost several times as much as the average.
_VACUUM = ("vacuum (analyze) event_key", "vacuum (analyze) usage_event")


async def add(conn: Connection, account: int, *, events: int, is_time_ordered: bool, now: datetime) -> None:
    """Add at most ROWS_MAX events that look like those that are there."""
    first = await event.take_numbers(conn)
    milliseconds = int(now.timestamp()) * 1_000
    await conn.execute(_ADD, account, is_time_ordered, first, events, now, milliseconds, _SAMPLE_ROWS, ROWS_MAX)


async def settle(conn: Connection) -> None:
    """Do what the server would soon do by itself, so that it is not part of what is measured next."""
    for statement in _VACUUM:
        await conn.execute(statement)

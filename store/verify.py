"""What must hold in every database, as SQL that shares nothing with the code that keeps it so.

    examine(conn) -> [Finding(says, checked, differences, samples)]

Each statement answers one row per claim: how many things it looked at, how many differ, and the first few of them in
words. The caller opens one REPEATABLE READ READ ONLY transaction, so that all claims are about the same instant. Whole
tables are read: this is an audit and no health check. Rows of state `superseded` or `cancelled` do not count.
"""

import contextlib
from collections.abc import Sequence

import asyncpg
import msgspec

from rating.currency import MINOR_DIGITS
from store import recount
from store.db import Connection


class Finding(msgspec.Struct, frozen=True):
    """One claim about the database and what became of it."""

    says: str
    checked: int
    differences: int
    samples: tuple[str, ...]


async def examine(conn: Connection, *, samples_max: int) -> list[Finding]:
    """Every claim, in the order in which things depend on each other."""
    rows = [
        *await conn.fetch(_EVENTS, samples_max),
        *await conn.fetch(_KEYS, samples_max),
        *await conn.fetch(_HOURS, samples_max),
        *await conn.fetch(_ALIASES, samples_max),
        *await conn.fetch(_BACKFILLS, samples_max),
        *await recount.counters(conn, samples_max=samples_max),
        *await conn.fetch(_TERMS, samples_max),
        *await conn.fetch(_ORPHANS, samples_max),
        *await conn.fetch(_CHARGES, samples_max),
        *await conn.fetch(_EMPTY, samples_max),
        *await conn.fetch(_NUMBERS, samples_max),
        *await conn.fetch(_EXPLANATIONS, samples_max, list(MINOR_DIGITS), list(MINOR_DIGITS.values())),
    ]
    return [Finding(row["says"], row["checked"], row["differences"], _texts(row["samples"])) for row in rows]


# Samples what the claims read. Where events came faster than autovacuum looks, Postgres takes tables for empty, and
# joins them row by row for minutes.
_ANALYZE = "analyze usage_event, event_key, event_version, usage_alias, usage_slot, usage_day, usage_unique"


async def prepare(conn: Connection) -> None:
    """Let Postgres know how much there is to look at; before the transaction, which only reads."""
    # A standby has what its primary knows.
    with contextlib.suppress(asyncpg.ReadOnlySQLTransactionError):
        await conn.execute(_ANALYZE)


async def live_events(conn: Connection) -> int:
    """Events that count."""
    found: int = await conn.fetchval(_LIVE)
    return found


def _texts(samples: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(sample) for sample in samples)


_LIVE = "select count(*) from usage_event where state = 'live'"

# Reads usage_event once and looks each key up by its primary key.
_EVENTS = """
with differing as materialized (
    select e.account, e.event_no, e.key, e.state, k.event_no as named
    from usage_event e
    left join event_key k on k.account = e.account and k.key = e.key
    where k.key is null or (e.state = 'live') is distinct from (k.event_no = e.event_no and e.state <> 'cancelled')
)
select 'Each stored event has its one key, and only a live one is named by it' as says,
       (select count(*) from usage_event) as checked,
       (select count(*) from differing) as differences,
       array(
           select case
               when named is null then format('event %s (%s) has no key', event_no, key)
               when state = 'live'
               then format('event %s (%s) is live, but its key names event %s', event_no, key, named)
               else format('event %s (%s) is %s, but its key names it', event_no, key, state)
           end
           from differing limit $1
       ) as samples
"""

# Reads event_key once and looks each event up by its primary key.
_KEYS = """
with differing as materialized (
    select k.account, k.key, k.event_no
    from event_key k
    -- 0: cancelled before anybody sent it, so there is nothing yet. Raw events may have been dropped, their keys stay.
    where k.digest <> 0 and k.event_no >= coalesce((select dropped_below from usage_retention), k.event_no)
    and not exists (
        select from usage_event e where e.account = k.account and e.event_no = k.event_no and e.key = k.key
    )
)
select 'Each key names a stored event' as says,
       (select count(*) from event_key) as checked,
       (select count(*) from differing) as differences,
       array(
           select format('key %s names event %s, which is not there', key, event_no) from differing limit $1
       ) as samples
"""

# Reads usage_event once; a block of numbers has one stretch or is in one. Lists do not find what is missing here.
_HOURS = """
with stored as materialized (
    select account, date_bin('4294.967296 seconds', event_timestamp, timestamptz '1970-01-01 UTC') as hour,
        min(event_no) as first_no, max(event_no) as last_no, count(*) as events
    from usage_event group by account, hour, event_no / 1048576
), differing as materialized (
    select * from stored as s where not exists (
        select from usage_event_hour as h
        where h.account = s.account and h.hour = (extract(epoch from s.hour) / 4294.967296)::integer
            and h.first_no <= s.first_no and h.last_no >= s.last_no)
)
select 'Each stored event stands where its hour says' as says,
       (select coalesce(sum(events), 0)::bigint from stored) as checked,
       (select coalesce(sum(events), 0)::bigint from differing) as differences,
       array(
           select format('%s events of the hour that begins %s, from number %s on', events, hour, first_no)
           from differing limit $1
       ) as samples
"""

# Every place that bears an alias's number, and the names that nobody bears; a reverted backfill keeps its own.
_ALIASES = """
with used as materialized (
    select 'usage_event' as place, account, alias from usage_event group by account, alias
    union all select 'usage_slot', account, alias from usage_slot group by account, alias
    union all select 'usage_day', account, alias from usage_day group by account, alias
    union all select 'usage_unique', account, alias from usage_unique group by account, alias
), differing as materialized (
    select format('%s bears alias number %s, which has no name', u.place, u.alias) as sample
    from used u
    where not exists (select from usage_alias a where a.account = u.account and a.alias = u.alias)
    union all
    select format('alias number %s (%L) is borne by no event', a.alias, a.value)
    from usage_alias a
    where not exists (select from used u where u.place = 'usage_event' and u.account = a.account and u.alias = a.alias)
        and not exists (select from usage_retention)
        and not exists (select from usage_backfill_event b where b.account = a.account and b.alias = a.value)
)
select 'Each alias number has its name and its events' as says,
       (select count(*) from used) + (select count(*) from usage_alias) as checked,
       (select count(*) from differing) as differences,
       array(select sample from differing limit $1) as samples
"""

# An open backfill has what was loaded, a closed one nothing that is not counted; what was taken back has no digest.
_BACKFILLS = """
with staged as materialized (
    select account, backfill as id, count(digest) as events from usage_backfill_event group by account, backfill
), differing as materialized (
    select case
               when b.id is null then format('loaded events of backfill %s, which is not there', s.id)
               else format('backfill %s is %s and has %s loaded events instead of %s',
                           b.id, b.state, coalesce(s.events, 0),
                           case when b.state in ('OPEN', 'CLOSING') then b.loaded else 0 end)
           end as sample
    from usage_backfill b full join staged s using (account, id)
    where b.id is null or (b.closed_at is not null or b.state <> 'REVERTED')
        and coalesce(s.events, 0) <> case when b.state in ('OPEN', 'CLOSING') then b.loaded else 0 end
)
select 'Each backfill keeps its events apart until it is closed' as says,
       (select count(*) from usage_backfill) + (select count(*) from staged) as checked,
       (select count(*) from differing) as differences,
       array(select sample from differing limit $1) as samples
"""

# References inside arrays and JSON, which no foreign key guards.
_TERMS = """
with differing as materialized (
    select format('phase %s: its schedule %s is not there', h.id, h.schedule) as sample
    from billing_phase h
    where not exists (select from billing_schedule s where s.account = h.account and s.id = h.schedule)
    union all
    select format('phase %s of schedule %s: its price %s is not there', h.id, h.schedule, of.price)
    from billing_phase h, unnest(h.price_ids) as of (price)
    where not exists (select from price p where p.account = h.account and p.id = of.price)
    union all
    select format('price %s: its usage metric %s is not there', p.id, p.structure ->> 'usageMetricId')
    from price p
    where p.structure ? 'usageMetricId' and not exists (
        select from usage_metric m
        where m.account = p.account and m.id::text = p.structure ->> 'usageMetricId' and m.deleted_at is null
    )
)
select 'Each phase has its schedule and its prices, each price its metric' as says,
       (select count(*) from billing_phase) + (select count(*) from price) as checked,
       (select count(*) from differing) as differences,
       array(select sample from differing limit $1) as samples
"""

# Foreign keys cover part of this; a restored or hand-repaired database may have lost them.
_ORPHANS = """
with differing as materialized (
    select format('line item %s: its invoice %s is not there', l.id, l.invoice) as sample
    from invoice_line l
    where not exists (select from invoice i where i.account = l.account and i.id = l.invoice)
    union all
    select format('line item %s: its group %s is not on its invoice %s', l.id, l.group_id, l.invoice)
    from invoice_line l
    where not exists (
        select from invoice_line_group g where g.account = l.account and g.id = l.group_id and g.invoice = l.invoice
    )
    union all
    select format('line item %s: its price %s is not there', l.id, l.price)
    from invoice_line l
    where l.price is not null and not exists (select from price p where p.account = l.account and p.id = l.price)
    union all
    select format('group %s: its invoice %s is not there', g.id, g.invoice)
    from invoice_line_group g
    where not exists (select from invoice i where i.account = g.account and i.id = g.invoice)
    union all
    select format('group %s: its product %s is not there', g.id, g.product)
    from invoice_line_group g
    where g.product is not null and not exists (select from product p where p.account = g.account and p.id = g.product)
)
select 'Each line item has its group, its price and its invoice' as says,
       (select count(*) from invoice_line) + (select count(*) from invoice_line_group) as checked,
       (select count(*) from differing) as differences,
       array(select sample from differing limit $1) as samples
"""

# What was billed must stay tied to what billed it, or it would be billed again.
_CHARGES = """
with differing as materialized (
    select format('charge of price %s from %s: %s', c.price, c.service_start, why.reason) as sample
    from invoice_charge c
    left join invoice i on i.account = c.account and i.id = c.invoice,
    lateral (
        select format('its invoice %s is not there', c.invoice) as reason where i.id is null
        union all
        select format('it is %s, but its invoice %s is %s',
                      case when c.is_live then 'live' else 'not live' end, i.id, i.status)
        where c.is_live <> (i.status <> 'VOIDED')
        union all
        select format('its schedule %s is not there', c.schedule)
        where not exists (select from billing_schedule s where s.account = c.account and s.id = c.schedule)
        union all
        select 'the price is not there'
        where c.reason <> 'CREDIT_GRANT'
            and not exists (select from price p where p.account = c.account and p.id = c.price)
    ) as why
)
select 'Each charge has its invoice, its schedule and its price' as says,
       (select count(*) from invoice_charge) as checked,
       (select count(*) from differing) as differences,
       array(select sample from differing limit $1) as samples
"""

# An invoice that bills nothing, or a heading with nothing below it, is half of something.
_EMPTY = """
with differing as materialized (
    select format('invoice %s has no groups', i.id) as sample
    from invoice i
    where not exists (select from invoice_line_group g where g.account = i.account and g.invoice = i.id)
    union all
    select format('group %s of invoice %s has no line items', g.id, g.invoice)
    from invoice_line_group g
    where not exists (
        select from invoice_line l where l.account = g.account and l.invoice = g.invoice and l.group_id = g.id
    )
)
select 'Each invoice has groups, and each group line items' as says,
       (select count(*) from invoice) + (select count(*) from invoice_line_group) as checked,
       (select count(*) from differing) as differences,
       array(select sample from differing limit $1) as samples
"""

# invoice_number serves it: one walk in the order of the numbers.
_NUMBERS = """
with walked as materialized (
    select account, number_prefix, number,
           coalesce(lag(number) over (partition by account, number_prefix order by number), 0) as before
    from invoice
    where number is not null
)
select 'Invoice numbers have no gaps' as says,
       (select count(*) from walked) as checked,
       (select coalesce(sum(number - before - 1), 0)::bigint from walked) as differences,
       array(
           select case number - before
               when 2 then format('%s%s is missing', number_prefix, before + 1)
               else format('%s%s to %s%s are missing', number_prefix, before + 1, number_prefix, number - 1)
           end
           from walked where number > before + 1 limit $1
       ) as samples
"""

# $2 and $3 are the currencies with their minor digits. round() of numeric is half away from zero, as lines are rounded.
# What adds or takes off tells its amount in words of its own (rating.explanation). A true-up may be one of several, by
# tax rate, so it is at most what is missing; what units pay for is in the lines that they pay.
_EXPLANATIONS = """
with told as materialized (
    select l.id, l.invoice, l.net_minor, d.digits, l.explanation, l.explanation ->> 'kind' as kind,
           case l.explanation ->> 'kind'
               when 'DISCOUNT' then array[l.explanation -> 'discount' ->> 'taken']
               when 'CREDIT' then array[l.explanation ->> 'used']
               when 'LATE_USAGE' then array[l.explanation ->> 'due', l.explanation ->> 'billed']
               when 'MAXIMUM' then array[l.explanation ->> 'charged', l.explanation ->> 'maximum',
                                         l.explanation ->> 'days', l.explanation ->> 'fullDays']
               when 'TRUE_UP' then array[l.explanation ->> 'paid', l.explanation ->> 'minimum',
                                         l.explanation ->> 'days', l.explanation ->> 'fullDays']
               else array[l.explanation ->> 'amount']
           end as numbers
    from invoice_line l
    left join invoice i on i.account = l.account and i.id = l.invoice
    left join unnest($2::text[], $3::integer[]) as d (currency, digits) on d.currency = i.currency
), checked as materialized (
    select *, case
                  when jsonb_typeof(explanation) <> 'object' or kind is null then 'has no explanation'
                  when exists (select from unnest(numbers) as number
                               where coalesce(number, '') !~ '^-?[0-9]+([.][0-9]+)?$') then 'explains no amount'
              end as problem
    from told
), explained as materialized (
    select *, case
                  when problem is not null or digits is null then null
                  when kind = 'CREDIT' and explanation ->> 'unit' = 'METRIC' then null
                  when kind in ('DISCOUNT', 'CREDIT') then - numbers[1]::numeric
                  when kind = 'LATE_USAGE' then numbers[1]::numeric - numbers[2]::numeric
                  when kind in ('MAXIMUM', 'TRUE_UP')
                  then round(numbers[2]::numeric * numbers[3]::numeric / numbers[4]::numeric, digits)
                      - numbers[1]::numeric
                  else round(numbers[1]::numeric, digits)
              end as amount
    from checked
), differing as materialized (
    select coalesce(
               format('line item %s of invoice %s ', id, invoice) || problem,
               format('line item %s of invoice %s explains %s and bills %s minor units', id, invoice,
                      case when array_length(numbers, 1) = 1 then numbers[1] else amount::text end, net_minor)
           ) as sample
    from explained
    where problem is not null or case kind
        when 'TRUE_UP' then net_minor not between 0 and amount * power(10::numeric, digits)
        else amount * power(10::numeric, digits) <> net_minor
    end
)
select 'Each line item carries its explanation and bills what it explains' as says,
       (select count(*) from explained) as checked,
       (select count(*) from differing) as differences,
       array(select sample from differing limit $1) as samples
"""

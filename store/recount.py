"""Counters, counted again from the raw events by SQL of its own: nothing of meter/fold.py or rating/metric.py is used.

    counters(conn) -> rows (says, checked, differences, samples) for quarter hours, days and distinct values

What a metric counts is decided from the stored text on. Deleted metrics count no more and are left out. Values of more
than 512 bytes, and those that look like a hash, are known by their hash. Days are runs of quarter hours: where a clock
is set back over midnight the day that has begun goes on, so a quarter hour belongs to the latest date shown within the
hour before it.
"""

import asyncpg

from store.db import Connection

# Since Postgres 18 text can be folded as Unicode says, which is how metrics that ignore case compare.
_CASEFOLD_VERSION = 180_000


async def counters(conn: Connection, *, samples_max: int) -> list[asyncpg.Record]:
    """Recount everything, once, and compare it in both directions with the three tables of counters."""
    folds = int(await conn.fetchval("show server_version_num")) >= _CASEFOLD_VERSION
    fold = "casefold({} collate pg_unicode_fast)" if folds else "lower({})"
    statement = _COUNTERS.replace("fold(found)", fold.format("found")).replace(
        "fold(accepted)", fold.format("accepted")
    )
    return await conn.fetch(statement, samples_max)


# Reads usage_event and the three tables of counters once each. `fold` stands for the server's best way to ignore case.
_COUNTERS = """
with counting as materialized (
    select v.account, v.metric, v.event_type, v.aggregation_type, v.aggregation_property, v.property_filters,
           v.is_case_sensitive, v.properties_to_negate, format('%s version %s', m.name, v.version) as name
    from usage_metric_version v
    join usage_metric m on m.account = v.account and m.id = v.id and m.deleted_at is null
), deleted as materialized (
    select v.account, v.metric
    from usage_metric_version v
    join usage_metric m on m.account = v.account and m.id = v.id and m.deleted_at is not null
), live as materialized (
    select account, alias, event_type, properties::jsonb as properties,
           floor(extract(epoch from event_timestamp) / 900)::integer as slot
    from usage_event
    where state = 'live'
), calendar as materialized (
    select s.account, s.slot, max((to_timestamp((s.slot - n) * 900::bigint) at time zone a.time_zone)::date) as day
    from (select distinct account, slot from live) s
    join account a on a.account = s.account
    cross join generate_series(0, 4) as n
    group by s.account, s.slot
), matched as (
    select l.account, v.metric, l.alias, l.slot, v.aggregation_type,
           l.properties -> v.aggregation_property as value,
           l.properties ->> v.aggregation_property as text
    from live l
    join counting v on v.account = l.account and v.event_type = l.event_type
    where v.property_filters = '{}'::jsonb or not exists (
        select
        from jsonb_each(v.property_filters) as f (name, list),
             lateral (select l.properties ->> f.name as found) as p
        where (f.name = any (v.properties_to_negate)) = case
            when p.found is null then false
            when v.is_case_sensitive then f.list ? p.found
            else exists (
                select from jsonb_array_elements_text(f.list) as accepted where fold(accepted) = fold(found)
            )
        end
    )
), valued as (
    select account, metric, alias, slot, aggregation_type,
           case
               when aggregation_type <> 'UNIQUE' then null
               when octet_length(text) > 512 or text like 'sha256:%'
               then 'sha256:' || encode(sha256(convert_to(text, 'UTF8')), 'hex')
               else text
           end as member,
           case
               when aggregation_type <> 'SUM' then null
               when jsonb_typeof(value) = 'number' then text::numeric
               when jsonb_typeof(value) = 'string' and text ~ '^-?[0-9]{1,20}([.][0-9]{1,18})?$' then text::numeric
           end as number
    from matched
), cells as materialized (
    select account, metric, alias, slot, member, count(*) as events, sum(number) as total
    from valued
    where aggregation_type = 'COUNT' or member is not null or number is not null
    group by account, metric, alias, slot, member
), slots as materialized (
    select account, metric, alias, to_timestamp(slot::bigint * 900) at time zone 'UTC' as starts,
           coalesce(r.events, 0) as events, coalesce(r.total, 0) as total,
           coalesce(c.events, 0) as counted_events, coalesce(c.total, 0) as counted_total
    from (
        select account, metric, alias, slot, sum(events) as events, sum(total) as total
        from cells
        group by account, metric, alias, slot
    ) r
    full join (
        select account, metric, alias, slot, sum(events) as events, sum(total) as total
        from usage_slot
        where (account, metric) not in (select account, metric from deleted)
        group by account, metric, alias, slot
    ) c using (account, metric, alias, slot)
), days as materialized (
    select account, metric, alias, day as starts,
           coalesce(r.events, 0) as events, coalesce(r.total, 0) as total,
           coalesce(c.events, 0) as counted_events, coalesce(c.total, 0) as counted_total
    from (
        select account, metric, alias, day, sum(events) as events, sum(total) as total
        from cells
        join calendar using (account, slot)
        group by account, metric, alias, day
    ) r
    full join (
        select account, metric, alias, day, sum(events) as events, sum(total) as total
        from usage_day
        where (account, metric) not in (select account, metric from deleted)
        group by account, metric, alias, day
    ) c using (account, metric, alias, day)
), members as materialized (
    select account, metric, alias, to_timestamp(slot::bigint * 900) at time zone 'UTC' as starts, member,
           coalesce(r.events, 0) as events, coalesce(c.events, 0) as counted_events
    from (select account, metric, alias, slot, member, events from cells where member is not null) r
    full join (
        select account, metric, alias, slot, value as member, sum(events) as events
        from usage_unique
        where (account, metric) not in (select account, metric from deleted)
        group by account, metric, alias, slot, value
    ) c using (account, metric, alias, slot, member)
)
select 'Quarter hours equal a recount of the raw events' as says,
       (select count(*) from slots) as checked,
       (select count(*) from slots where events <> counted_events or total <> counted_total) as differences,
       array(
           select format('%s, %s, quarter hour from %s UTC: counted %s events, total %s; recounted %s events, total %s',
                         coalesce(n.name, 'metric number ' || d.metric), coalesce(a.value, 'alias number ' || d.alias),
                         d.starts, d.counted_events, d.counted_total, d.events, d.total)
           from slots d left join counting n using (account, metric) left join usage_alias a using (account, alias)
           where d.events <> d.counted_events or d.total <> d.counted_total
           limit $1
       ) as samples
union all
select 'Days equal a recount of the raw events',
       (select count(*) from days),
       (select count(*) from days where events <> counted_events or total <> counted_total),
       array(
           select format('%s, %s, day %s: counted %s events, total %s; recounted %s events, total %s',
                         coalesce(n.name, 'metric number ' || d.metric), coalesce(a.value, 'alias number ' || d.alias),
                         d.starts, d.counted_events, d.counted_total, d.events, d.total)
           from days d left join counting n using (account, metric) left join usage_alias a using (account, alias)
           where d.events <> d.counted_events or d.total <> d.counted_total
           limit $1
       )
union all
select 'Distinct values equal a recount of the raw events',
       (select count(*) from members),
       (select count(*) from members where events <> counted_events),
       array(
           select format('%s, %s, quarter hour from %s UTC, value %L: counted %s events; recounted %s',
                         coalesce(n.name, 'metric number ' || d.metric), coalesce(a.value, 'alias number ' || d.alias),
                         d.starts, d.member, d.counted_events, d.events)
           from members d left join counting n using (account, metric) left join usage_alias a using (account, alias)
           where d.events <> d.counted_events
           limit $1
       )
"""

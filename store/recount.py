"""Counters, counted again from the raw events by SQL of its own: nothing of meter/fold.py or rating/metric.py is used.

    counters(conn) -> rows (says, checked, differences, samples) for quarter hours, days and distinct values

What a metric counts is decided from the stored text on. Deleted metrics count no more and are left out, and so are
events that a young metric has not come to. Where raw events were dropped nothing can be counted again, so what begins
before `store.partition.kept_from` is left out. Values of more than 512 bytes, and those that look like a hash, are
known by their hash. Days are runs of quarter hours: where a clock is set back over midnight the day that has begun goes
on, so a quarter hour belongs to the latest date shown within the hour before it.

`total` is what the aggregation keeps: a sum, an extreme, the last value, or level x microseconds between the first and
the last event there. `detail` is what LATEST and WEIGHTED keep beside it: first and last instant, last event, level.
"""

import re

import asyncpg

from store.db import Connection

# Since Postgres 18 text can be folded as Unicode says, which is how metrics that ignore case compare.
_CASEFOLD_VERSION = 180_000


async def counters(conn: Connection, *, samples_max: int) -> list[asyncpg.Record]:
    """Recount everything, once, and compare it in both directions with the three tables of counters."""
    folds = int(await conn.fetchval("show server_version_num")) >= _CASEFOLD_VERSION
    fold = r"casefold(\1 collate pg_unicode_fast)" if folds else r"lower(\1)"
    return await conn.fetch(re.sub(r"\bfold\((\w+)\)", fold, _COUNTERS), samples_max)


# What an aggregation keeps, of the events of one cell in the order of time.
_TOTAL = """case aggregation_type
                   when 'MAX' then max(number)
                   when 'MIN' then min(number)
                   when 'LATEST' then (array_agg(number order by at desc, event_no desc))[1]
                   when 'WEIGHTED' then coalesce(sum({step}), 0)
                   else sum(number)
               end"""
_DETAIL = """case aggregation_type
                   when 'LATEST' then concat_ws(' ', max(at), (array_agg(event_no order by at desc, event_no desc))[1])
                   when 'WEIGHTED' then concat_ws(
                       ' ', min(at), max(at), (array_agg(event_no order by at desc, event_no desc))[1],
                       (array_agg(trim_scale(number) order by at desc, event_no desc))[1]
                   )
               end"""
_DIFFERS = """({0}.events <> {0}.counted_events or {0}.total <> {0}.counted_total
                   or {0}.detail is distinct from {0}.counted_detail)"""

# ruff: noqa: S608 - built from constants
# Reads usage_event and the three tables of counters once each. `fold` stands for the server's best way to ignore case.
_COUNTERS = f"""
with kept as materialized (
    select coalesce((select dropped_before + interval '5 minutes' from usage_retention), '-infinity') as since
), counting as materialized (
    select v.account, v.metric, v.event_type, v.aggregation_type, v.aggregation_property, v.property_filters,
           v.is_case_sensitive, v.properties_to_negate, v.group_by, v.number_filters, v.folded_to, v.born_no,
           format('%s version %s', m.name, v.version) as name
    from usage_metric_version v
    join usage_metric m on m.account = v.account and m.id = v.id and m.deleted_at is null
), deleted as materialized (
    select v.account, v.metric
    from usage_metric_version v
    join usage_metric m on m.account = v.account and m.id = v.id and m.deleted_at is not null
), live as materialized (
    select account, alias, event_no, event_type, properties::jsonb as properties,
           (extract(epoch from event_timestamp) * 1000000)::bigint as at,
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
    select l.account, v.metric, l.alias, l.slot, l.at, l.event_no, v.aggregation_type,
           case when v.group_by <> '{{}}' then (
               select jsonb_agg(l.properties ->> g.name order by g.place)
               from unnest(v.group_by) with ordinality as g (name, place)
           ) end as grouped,
           l.properties -> v.aggregation_property as value,
           l.properties ->> v.aggregation_property as text
    from live l
    join counting v on v.account = l.account and v.event_type = l.event_type
    where not (l.event_no >= v.folded_to and l.event_no < v.born_no)
    and (v.number_filters = '{{}}'::jsonb or not exists (
        select
        from jsonb_each(v.number_filters) as b (name, bounds),
             lateral jsonb_each_text(b.bounds) as one (comparison, wanted),
             lateral (
                 select case
                     when jsonb_typeof(l.properties -> b.name) = 'number' then (l.properties ->> b.name)::numeric
                     when jsonb_typeof(l.properties -> b.name) = 'string'
                         and l.properties ->> b.name ~ '^-?[0-9]{{1,20}}([.][0-9]{{1,18}})?$'
                     then (l.properties ->> b.name)::numeric
                 end as has
             ) as p
        where not coalesce(case one.comparison
            when 'gt' then p.has > wanted::numeric
            when 'gte' then p.has >= wanted::numeric
            when 'lt' then p.has < wanted::numeric
            when 'lte' then p.has <= wanted::numeric
            when 'eq' then p.has = wanted::numeric
            when 'ne' then p.has <> wanted::numeric
        end, false)
    ))
    and (v.property_filters = '{{}}'::jsonb or not exists (
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
    ))
), valued as (
    select account, metric, alias, slot, grouped, at, event_no, aggregation_type,
           case
               when aggregation_type <> 'UNIQUE' then null
               when octet_length(text) > 512 or text like 'sha256:%'
               then 'sha256:' || encode(sha256(convert_to(text, 'UTF8')), 'hex')
               else text
           end as member,
           case
               when aggregation_type in ('COUNT', 'UNIQUE') then null
               when jsonb_typeof(value) = 'number' then text::numeric
               when jsonb_typeof(value) = 'string' and text ~ '^-?[0-9]{{1,20}}([.][0-9]{{1,18}})?$' then text::numeric
           end as number
    from matched
), seen as materialized (
    select v.account, v.metric, v.alias, v.slot, c.day, v.grouped, v.at, v.event_no, v.aggregation_type, v.member,
           v.number
    from valued v
    join calendar c using (account, slot)
    where v.aggregation_type = 'COUNT' or v.member is not null or v.number is not null
), stepped as (
    select account, metric, alias, slot, day, grouped, at, event_no, aggregation_type, number,
           number * (lead(at) over by_slot - at) as in_slot, number * (lead(at) over by_day - at) as in_day
    from seen
    window by_slot as (partition by account, metric, alias, grouped, slot order by at, event_no),
           by_day as (partition by account, metric, alias, grouped, day order by at, event_no)
), slots as materialized (
    select account, metric, alias, to_timestamp(slot::bigint * 900) at time zone 'UTC' as starts, grouped,
           coalesce(r.events, 0) as events, coalesce(r.total, 0) as total, r.detail,
           coalesce(c.events, 0) as counted_events, coalesce(c.total, 0) as counted_total, c.detail as counted_detail
    from (
        select account, metric, alias, slot, coalesce(grouped, 'null'::jsonb) as grouped, count(*) as events,
               {_TOTAL.format(step="in_slot")} as total, {_DETAIL} as detail
        from stepped
        group by account, metric, alias, slot, grouped, aggregation_type
    ) r
    full join (
        select account, metric, alias, slot, coalesce(g.value::jsonb, 'null'::jsonb) as grouped, events, total,
               nullif(concat_ws(' ', first_at, last_at, last_no, trim_scale(level)), '') as detail
        from usage_slot left join usage_group g using (account, group_no)
        where (account, metric) not in (select account, metric from deleted)
    ) c using (account, metric, alias, slot, grouped)
    where to_timestamp(slot::bigint * 900) >= (select since from kept)
), days as materialized (
    select account, metric, alias, day as starts, grouped,
           coalesce(r.events, 0) as events, coalesce(r.total, 0) as total, r.detail,
           coalesce(c.events, 0) as counted_events, coalesce(c.total, 0) as counted_total, c.detail as counted_detail
    from (
        select account, metric, alias, day, coalesce(grouped, 'null'::jsonb) as grouped, count(*) as events,
               {_TOTAL.format(step="in_day")} as total, {_DETAIL} as detail
        from stepped
        group by account, metric, alias, day, grouped, aggregation_type
    ) r
    full join (
        select account, metric, alias, day, coalesce(g.value::jsonb, 'null'::jsonb) as grouped, events, total,
               nullif(concat_ws(' ', first_at, last_at, last_no, trim_scale(level)), '') as detail
        from usage_day left join usage_group g using (account, group_no)
        where (account, metric) not in (select account, metric from deleted)
    ) c using (account, metric, alias, day, grouped)
    -- In no zone does this day begin earlier.
    where day > ((select since from kept) at time zone 'UTC' + interval '1 day')::date
), members as materialized (
    select account, metric, alias, to_timestamp(slot::bigint * 900) at time zone 'UTC' as starts, grouped, member,
           coalesce(r.events, 0) as events, coalesce(c.events, 0) as counted_events
    from (
        select account, metric, alias, slot, coalesce(grouped, 'null'::jsonb) as grouped, member, count(*) as events
        from seen
        where member is not null
        group by account, metric, alias, slot, grouped, member
    ) r
    full join (
        select account, metric, alias, slot, coalesce(g.value::jsonb, 'null'::jsonb) as grouped, u.value as member,
               events
        from usage_unique u left join usage_group g using (account, group_no)
        where (account, metric) not in (select account, metric from deleted)
    ) c using (account, metric, alias, slot, grouped, member)
    where to_timestamp(slot::bigint * 900) >= (select since from kept)
)
select 'Quarter hours equal a recount of the raw events' as says,
       (select count(*) from slots) as checked,
       (select count(*) from slots where {_DIFFERS.format("slots")}) as differences,
       array(
           select format('%s, %s, quarter hour from %s UTC%s: '
                         'counted %s events, total %s%s; recounted %s events, total %s%s',
                         coalesce(n.name, 'metric number ' || d.metric), coalesce(a.value, 'alias number ' || d.alias),
                         d.starts, nullif(', group ' || d.grouped::text, ', group null'),
                         d.counted_events, d.counted_total,
                         ' (' || d.counted_detail || ')', d.events, d.total, ' (' || d.detail || ')')
           from slots d left join counting n using (account, metric) left join usage_alias a using (account, alias)
           where {_DIFFERS.format("d")}
           limit $1
       ) as samples
union all
select 'Days equal a recount of the raw events',
       (select count(*) from days),
       (select count(*) from days where {_DIFFERS.format("days")}),
       array(
           select format('%s, %s, day %s%s: counted %s events, total %s%s; recounted %s events, total %s%s',
                         coalesce(n.name, 'metric number ' || d.metric), coalesce(a.value, 'alias number ' || d.alias),
                         d.starts, nullif(', group ' || d.grouped::text, ', group null'),
                         d.counted_events, d.counted_total,
                         ' (' || d.counted_detail || ')', d.events, d.total, ' (' || d.detail || ')')
           from days d left join counting n using (account, metric) left join usage_alias a using (account, alias)
           where {_DIFFERS.format("d")}
           limit $1
       )
union all
select 'Distinct values equal a recount of the raw events',
       (select count(*) from members),
       (select count(*) from members where events <> counted_events),
       array(
           select format('%s, %s, quarter hour from %s UTC, value %L%s: counted %s events; recounted %s',
                         coalesce(n.name, 'metric number ' || d.metric), coalesce(a.value, 'alias number ' || d.alias),
                         d.starts, d.member, nullif(', group ' || d.grouped::text, ', group null'), d.counted_events,
                         d.events)
           from members d left join counting n using (account, metric) left join usage_alias a using (account, alias)
           where d.events <> d.counted_events
           limit $1
       )
"""

-- More ways of counting, groups, and history that is folded in the background.

alter table usage_metric_version
    drop constraint usage_metric_version_aggregation_type_check,
    add constraint usage_metric_version_aggregation_type_check check (
        aggregation_type in ('COUNT', 'SUM', 'UNIQUE', 'MAX', 'MIN', 'LATEST', 'AVERAGE', 'WEIGHTED')),
    -- Properties whose values are counted apart; their order is the order of the values in usage_group.
    add column group_by text[] not null default '{}',
    -- {"property": {"gte": "10"}}: decimals as text, exact.
    add column number_filters jsonb not null default '{}',
    -- Events from `born_no` on are counted as they arrive, those below `folded_to` have been counted from history. What lies between
    -- is not counted yet: when the two meet, history is complete.
    add column folded_to bigint not null default 0,
    add column born_no bigint not null default 0,
    add check (folded_to <= born_no);
-- Serves the look for work of the loop that folds history; empty most of the time.
create index usage_metric_version_unfolded on usage_metric_version (created_at) where folded_to < born_no;

-- Values of a metric's `group_by` properties as a JSON array of texts and nulls, interned. `key` is the value itself, or its
-- hash where that would be too long for an index. Number 0 is "not grouped" and has no row.
create table usage_group (
    account integer not null,
    group_no integer generated always as identity,
    key text not null,
    value text not null,
    primary key (account, group_no)
);
create unique index usage_group_key on usage_group (account, key);

-- MAX, MIN and LATEST keep their answer in `total`; WEIGHTED keeps level x microseconds from the first to the last event there.
-- The others fill what only LATEST and WEIGHTED need: instants in microseconds since 1970 in UTC, the number of the last event,
-- and the level it set. Null columns take no room.
alter table usage_slot
    add column first_at bigint, add column last_at bigint, add column last_no bigint, add column level numeric;
alter table usage_day
    add column first_at bigint, add column last_at bigint, add column last_no bigint, add column level numeric;

-- From accepted events to exact counters.
--
-- Exactly once is one transaction: it locks a stream's position, claims ids, adds to counters, stores raw rows and moves the
-- position. Names that repeat in hot tables are integers: `alias` is usage_alias.alias, `metric` is the number of one version of
-- a metric (usage_metric_version.metric), `slot` is a quarter hour: whole quarter hours since 1970-01-01T00:00Z.

-- The lease and the truth about what is counted: everything up to and including `position` (a stream entry id, "ms-sequence").
create table stream_position (
    stream text primary key,
    position text not null default '0-0' check (position ~ '^[0-9]+-[0-9]+$'),
    moved_at timestamptz
);

-- Every batch takes whole blocks of this many numbers, so that numbering costs one call and needs no lock.
create sequence usage_event_block as bigint minvalue 0 start 0 increment by 1048576;

-- Ids for ever: which version of an event is the live one. No window, no timestamp in the key.
create table event_key (
    account integer not null,
    key uuid not null,
    event_no bigint not null,
    -- 64 bits over the normalised content; equal means "the same again", different means a correction.
    digest bigint not null,
    primary key (account, key)
);

-- What was received, as it was received; one row per version of an event.
create table usage_event (
    account integer not null,
    alias integer not null,
    event_no bigint not null,
    event_timestamp timestamptz not null,
    received_at timestamptz not null,
    -- Where it stands in its stream: with entry_index the order that decides which version came last.
    entry_ms bigint not null,
    entry_sequence bigint not null,
    entry_index integer not null,
    key uuid not null,
    -- Null: the id is the key itself, a canonical UUID.
    customer_event_id text,
    event_type text not null,
    -- Canonical JSON: keys sorted, numbers plain. Text because storing it is cheaper and reading it is rare; cast to jsonb.
    properties text not null,
    state text not null default 'live' check (state in ('live', 'superseded')),
    primary key (account, event_no, received_at)
) partition by range (received_at);
-- Serves the ragged edges of a range that does not sit on quarter hours, and the first and last event of one.
create index usage_event_alias_time on usage_event (account, alias, event_timestamp);
-- The aggregator makes a partition per month two months ahead; rows in here mean that it did not.
create table usage_event_default partition of usage_event default;

create table usage_alias (
    account integer not null,
    alias integer generated always as identity,
    value text not null,
    primary key (account, alias)
);
create unique index usage_alias_value on usage_alias (account, value);

create table usage_metric (
    account integer not null references account,
    id uuid not null,
    name text not null check (length(name) between 1 and 255),
    description text,
    unit text,
    -- The version that new bills and lookups use.
    version integer not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    deleted_at timestamptz,
    primary key (account, id)
);
create unique index usage_metric_name on usage_metric (account, name) where deleted_at is null;

-- How a metric counts. A change of that is a new version with counters of its own; earlier versions go on counting, so that what
-- was billed with them stays explainable.
create table usage_metric_version (
    account integer not null,
    metric integer generated always as identity,
    id uuid not null,
    version integer not null check (version > 0),
    event_type text not null,
    aggregation_type text not null check (aggregation_type in ('COUNT', 'SUM', 'UNIQUE')),
    aggregation_property text,
    property_filters jsonb not null,
    is_case_sensitive boolean not null,
    properties_to_negate text[] not null,
    created_at timestamptz not null,
    primary key (account, metric),
    foreign key (account, id) references usage_metric,
    unique (account, id, version),
    check ((aggregation_property is null) = (aggregation_type = 'COUNT'))
);

-- Counters by quarter hour of event time, in UTC: exact for every time zone. The free space keeps updates on their page (HOT).
create table usage_slot (
    account integer not null,
    metric integer not null,
    alias integer not null,
    slot integer not null,
    group_no integer not null default 0,
    events bigint not null,
    total numeric,                          -- SUM only
    primary key (account, metric, alias, slot, group_no)
) with (fillfactor = 70);

-- The same by day in the account's time zone: what billing reads.
create table usage_day (
    account integer not null,
    metric integer not null,
    alias integer not null,
    day date not null,
    group_no integer not null default 0,
    events bigint not null,
    total numeric,
    primary key (account, metric, alias, day, group_no)
) with (fillfactor = 70);

-- UNIQUE, exact: the distinct values of each quarter hour and how many events bear each, so that a correction can take one away.
create table usage_unique (
    account integer not null,
    metric integer not null,
    alias integer not null,
    slot integer not null,
    group_no integer not null default 0,
    value text not null,
    events bigint not null,
    primary key (account, metric, alias, slot, group_no, value)
) with (fillfactor = 70);

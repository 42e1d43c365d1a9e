-- Backfills: loads of events that become visible at once, and can be taken back at once.

-- The order of closes that share an instant.
create sequence usage_backfill_close as bigint;

create table usage_backfill (
    account integer not null references account,
    id uuid not null,
    name text check (length(name) between 1 and 255),
    -- Whose events these are: the aliases that the customer had when the backfill was made, or those that were named.
    customer uuid,
    -- [{"alias": "acme", "start": "2025-01-01T00:00:00Z", "end": "2025-02-01T00:00:00Z"}]
    segments jsonb not null,
    range_start timestamptz not null,
    range_end timestamptz not null,
    -- Closing takes back what the segments have that is not in the load.
    replaces boolean not null,
    state text not null check (state in ('OPEN', 'CLOSING', 'CLOSED', 'REVERTING', 'REVERTED')),
    -- Its place in the order of receipt: (entry_ms, entry_sequence and the next ones); and what must be counted before it.
    entry_ms bigint,
    entry_sequence bigint,
    ends jsonb,
    -- The event numbers of its rows, as half-open ranges.
    numbers_from bigint[] not null default '{}',
    numbers_to bigint[] not null default '{}',
    loaded bigint not null default 0,
    -- How far closing or reverting is, for people who watch; started again from zero after a crash.
    handled bigint not null default 0,
    counted bigint not null default 0,
    duplicates bigint not null default 0,
    corrections bigint not null default 0,
    replaced bigint not null default 0,
    -- Why the last attempt to close or to revert was given up.
    problem text,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    closed_at timestamptz,
    reverted_at timestamptz,
    primary key (account, id),
    foreign key (account, customer) references customer,
    check (range_start < range_end),
    check ((entry_ms is null) = (state = 'OPEN' or closed_at is null and state = 'REVERTED'))
);
-- What waits to be closed or reverted; nearly always empty.
create index usage_backfill_waiting on usage_backfill (updated_at) where state in ('CLOSING', 'REVERTING');

-- Events of backfills that are not visible: loaded and not closed yet, or taken back. Its ids are its own, so no key is unique.
create table usage_backfill_event (
    account integer not null,
    backfill uuid not null,
    -- The order of receipt within a backfill.
    place bigint generated always as identity,
    received_at timestamptz not null,
    key uuid not null,
    -- Null after a revert: it is a record then, and never counted again.
    digest bigint,
    customer_event_id text,
    alias text not null,
    event_type text not null,
    event_timestamp timestamptz not null,
    properties text not null,
    primary key (account, backfill, place)
);
-- Which ids a load has, and so does not replace.
create index usage_backfill_event_key on usage_backfill_event (account, backfill, key);

-- Ids whose live event a closed backfill took back, for the revert.
create table usage_backfill_replaced (
    account integer not null,
    backfill uuid not null,
    key uuid not null,
    primary key (account, backfill, key)
);

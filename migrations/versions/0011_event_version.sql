-- The history of ids: times that follow from what came before, and repeats that can be forgotten.

-- Content without a timestamp of the sender's: when it was received, in microseconds since 1970, which is its time if it
-- replaces nothing. Null: the content has a timestamp of its own, or it is a cancellation.
alter table event_version add column untimed_at bigint;

-- What was received in a span of time.
create index event_version_entry on event_version (entry_ms);

-- Repeats received before this instant have been looked at, and forgotten where they can decide nothing any more. One row.
create table event_version_forgotten (
    is_only boolean primary key default true check (is_only),
    entry_ms bigint not null default 0
);
insert into event_version_forgotten default values;

-- Whose rows a range of event numbers holds; nearly all events were in no backfill.
create index usage_backfill_numbers on usage_backfill using gin (numbers_from);

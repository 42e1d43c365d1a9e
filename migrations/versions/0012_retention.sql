-- Raw events that are not kept for ever, and dead letters that are discarded.

-- How far raw events were dropped: whatever was received before `dropped_before`, with event numbers below
-- `dropped_below`. One row, none as long as everything is kept.
create table usage_retention (
    is_only boolean primary key default true check (is_only),
    dropped_before timestamptz not null,
    dropped_below bigint not null
);

-- What a version could not count when it was born: events received before this instant were dropped. Null: nothing was.
alter table usage_metric_version add column received_from timestamptz;

-- Discarded: nobody waits for it any more. Who said so, when and why stays.
alter table dead_letter
    add column discarded_at timestamptz,
    add column discarded_by text,
    add column discard_reason text,
    add check (num_nonnulls(discarded_at, discarded_by, discard_reason) in (0, 3)),
    add check (replayed_at is null or discarded_at is null);

-- What comes of retention waits for nobody's mending, so it does not stop counting.
drop index dead_letter_waiting;
create index dead_letter_waiting on dead_letter (id)
    where replayed_at is null and discarded_at is null and code <> 'RAW_EVENT_DROPPED';

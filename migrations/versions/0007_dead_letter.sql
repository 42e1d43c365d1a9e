-- What was accepted and could not be counted.

-- One event, or a whole entry of a stream that cannot be taken apart. Kept for ever: it is the proof of what became of it.
-- Not a hot table, and an entry that nobody can read belongs to no account: so the key is the id alone.
create table dead_letter (
    id uuid primary key,
    account integer references account,
    -- Where it stands in its stream; index -1 is the whole entry. A stream that is read again makes no second letter of it.
    stream text not null,
    entry_ms bigint not null,
    entry_sequence bigint not null,
    entry_index integer not null,
    -- The id of the event, where it is one event.
    key uuid,
    -- What the stream held, as an entry of its own.
    content bytea not null,
    code text not null,
    reason text not null,
    attempts integer not null default 1,
    failed_at timestamptz not null,
    replayed_at timestamptz,
    unique (stream, entry_ms, entry_sequence, entry_index)
);
-- The list of one account, newest first, by the primary key's order of ids.
create index dead_letter_account on dead_letter (account, id);
-- How many wait: their limit stops counting.
create index dead_letter_waiting on dead_letter (id) where replayed_at is null;
-- Why an event that was accepted is nowhere.
create index dead_letter_key on dead_letter (account, key) where replayed_at is null;

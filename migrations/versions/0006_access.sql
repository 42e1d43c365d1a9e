-- What a key may do, what signs the tokens of browsers, and what happened to ids that were sent more than once.

-- Null: everything, which is what keys made before scopes may do.
alter table api_key add column scopes text[] check (scopes <@ array['usage:write', 'read', 'write']);

-- Signs the short-lived tokens of one account; a new value makes all of them worthless at once. Two random UUIDs are 244
-- random bits, and no extension is needed.
alter table account add column token_secret bytea not null
    default sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
    check (octet_length(token_secret) = 32);

-- The history of ids that were corrected or cancelled, in the order of receipt: versions, repeats where they may matter,
-- and cancellations, also of ids that nobody has sent yet. An id that was sent once has no rows here. It decides what
-- counts whatever the order in which several streams are read, and it is the list of an event's versions.
create table event_version (
    account integer not null,
    key uuid not null,
    entry_ms bigint not null,
    entry_sequence bigint not null,
    entry_index integer not null,
    -- The raw row with this content. A repeat names the row that it repeats. Null: a cancellation.
    event_no bigint,
    -- As in event_key; 0 is a cancellation.
    digest bigint not null,
    primary key (account, key, entry_ms, entry_sequence, entry_index),
    check ((event_no is null) = (digest = 0))
);

alter table usage_event drop constraint usage_event_state_check;
alter table usage_event add constraint usage_event_state_check check (state in ('live', 'superseded', 'cancelled'));

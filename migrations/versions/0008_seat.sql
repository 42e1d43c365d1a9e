-- Seats: their types, the totals that are reported, and what balances need.

-- A type of seat. Events name it by `seat_type`, so that never changes, and events of a type that is not there yet count as soon
-- as it is.
create table seat_metric (
    account integer not null references account,
    id uuid not null,
    seat_type text not null check (length(seat_type) <= 255 and seat_type ~ '^[a-z][a-z0-9]*(_[a-z0-9]+)*$'),
    label text not null check (length(label) between 1 and 255),
    description text,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    deleted_at timestamptz,
    primary key (account, id)
);
create unique index seat_metric_type on seat_metric (account, seat_type) where deleted_at is null;

-- What was reported: from event_timestamp on, an alias has `total` seats of a type. One row per version of an event.
create table seat_event (
    account integer not null references account,
    id uuid not null,
    -- The order of receipt, which decides between two totals of one instant.
    event_no bigint generated always as identity,
    customer_event_id text not null check (length(customer_event_id) between 1 and 255),
    alias text not null check (length(alias) between 1 and 255),
    seat_type text not null,
    event_timestamp timestamptz not null,
    total bigint not null check (total >= 0),
    received_at timestamptz not null,
    -- When an event with the same customer_event_id took its place.
    superseded_at timestamptz,
    primary key (account, id)
);
-- An id stands once, however many versions it has had.
create unique index seat_event_standing on seat_event (account, customer_event_id) where superseded_at is null;
-- Balances and bills: the totals of an alias in the order of time.
create index seat_event_alias on seat_event (account, alias, seat_type, event_timestamp, event_no) where superseded_at is null;
-- Lists by time.
create index seat_event_time on seat_event (account, event_timestamp, id);

-- Where the events of an hour stand in the order of receipt, so that a list in that order finds an old range of time.

-- From `first_no` to `last_no` events of an hour of event time may stand; where no row says so none does. A row is one block of
-- event numbers, or 16 blocks that begin at a multiple of 16 (store/event_hour.py). `hour`: a long one, whole 2^32 microseconds
-- since 1970-01-01T00:00Z.
create table usage_event_hour (
    account integer not null,
    hour integer not null,
    first_no bigint not null,
    last_no bigint not null,
    primary key (account, hour, first_no, last_no),
    check (first_no % 1048576 = 0 and last_no - first_no in (1048575, 16777215))
);

-- What is stored already, while nobody stores more.
lock table usage_event in share mode;
insert into usage_event_hour (account, hour, first_no, last_no)
select distinct account, (extract(epoch from hour) / 4294.967296)::integer, first_no, first_no + numbers - 1
from (
    select account, block, date_bin('4294.967296 seconds', event_timestamp, timestamptz '1970-01-01 UTC') as hour,
        sum(count(*)) over (partition by account, block) >= 1000 as is_large
    from (select account, event_timestamp, event_no - event_no % 1048576 as block from usage_event) as event
    group by account, block, hour
) as found, lateral (
    select block - block % numbers as first_no, numbers
    from (select case when is_large then 1048576::bigint else 16777216 end as numbers) as sized
) as stretch;

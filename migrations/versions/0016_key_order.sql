-- Hot indexes begin with the column that tells rows apart: numbers of aliases are nobody else's, so one comparison decides nearly
-- always, where account and metric, alike in all rows of a batch, took two more at each step down the tree. `account` stays a
-- column of every primary key, which is all that Citus asks for.
--
-- Builds these indexes anew: as long as that takes nothing is counted.

drop index usage_event_alias_time;
create index usage_event_alias_time on usage_event (alias, event_timestamp);

alter table usage_slot
    drop constraint usage_slot_pkey,
    add primary key (alias, metric, slot, group_no, account);
alter table usage_day
    drop constraint usage_day_pkey,
    add primary key (alias, metric, day, group_no, account);
alter table usage_unique
    drop constraint usage_unique_pkey,
    add primary key (alias, metric, slot, group_no, value, account);

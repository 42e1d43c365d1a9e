-- Bills that are made again: with which terms, which versions of metrics and which facts they were made. What is final never changes;
-- a difference is lines of a later invoice.

alter table billing_schedule
    -- Counts changes of the terms; an invoice says which it was billed with.
    add column version integer not null default 1 check (version > 0),
    -- When the drafts of the schedule, or its last bills when nothing follows, are compared with their usage again.
    add column review_at timestamptz;
-- Serves the claim of schedules to review.
create index billing_schedule_review on billing_schedule (review_at) where review_at is not null and archived_at is null;

-- Terms of a schedule that have been replaced by others, so that late usage is rated with those of its time. `phases` is what
-- billing_phase had; the current terms are in billing_schedule and billing_phase alone.
create table billing_schedule_version (
    account integer not null,
    schedule uuid not null,
    version integer not null check (version > 0),
    start_date date not null,
    end_date date,
    recurrence_day smallint,
    is_rolled_up boolean not null,
    price_ids uuid[] not null,
    phases jsonb not null,
    replaced_at timestamptz not null,
    primary key (account, schedule, version),
    foreign key (account, schedule) references billing_schedule
);
-- Whether an earlier version has a price, before it is deleted.
create index billing_schedule_version_price on billing_schedule_version using gin (price_ids);

alter table invoice
    drop constraint invoice_reason_check,
    -- LATE_USAGE: differences of earlier bills alone. CREDIT_GRANT: what a grant costs.
    add constraint invoice_reason_check check (reason in ('SCHEDULE', 'LATE_USAGE', 'CREDIT_GRANT')),
    add column schedule_version integer,
    -- {"metric id": version that was read}, and a digest of all that was measured: another digest means that usage of the period
    -- arrived, or was corrected, since. Null: nothing was measured.
    add column metrics jsonb,
    add column measured bigint,
    -- Of a roll-up: whose usage was billed. The family may be another one later.
    add column members uuid[],
    add check ((metrics is null) = (measured is null)),
    add check (measured is null or schedule_version is not null);

-- The bill date of the bill whose difference the line is; null: the line is of its own invoice's bill.
alter table invoice_line add column corrects date;
-- Serves the look for differences that were billed before.
create index invoice_line_corrects on invoice_line (account, invoice) where corrects is not null;

-- The last number of each prefix. The row is locked until the invoice that takes the next one is committed, so there are no gaps.
create table invoice_numbering (
    account integer not null references account,
    prefix text not null,
    last bigint not null check (last > 0),
    primary key (account, prefix)
);

-- What a bill took, wherever: on its own invoice and on those with its differences. Also serves what the index before it did.
create index credit_draw_bill on credit_draw (account, schedule, bill_date);
drop index credit_draw_schedule;

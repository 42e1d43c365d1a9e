-- Contracts and what was billed for them.

create table billing_schedule (
    account integer not null,
    id uuid not null,
    customer uuid not null,
    -- PENDING, ACTIVE and COMPLETED follow from dates and `next_bill_date`; only what a person decided is stored.
    is_draft boolean not null,
    start_date date not null,
    end_date date check (end_date >= start_date),              -- last day, inclusive, as in the API; null = open
    recurrence_day smallint check (recurrence_day between 1 and 31),
    auto_issue boolean not null,
    -- What the engine does not read: purchaseOrderNumber, reference, label, memo, customFields, defaultDueDateDays.
    particulars jsonb not null,
    -- The next date on which something falls due, and the instant it starts in the account's zone. Null: draft or completed.
    next_bill_date date,
    next_bill_at timestamptz,
    -- A schedule that cannot be billed is set aside with its reason until then; the run goes on with the others.
    parked_reason text,
    parked_detail text,
    parked_until timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    archived_at timestamptz,
    primary key (account, id),
    foreign key (account, customer) references customer,
    check ((next_bill_date is null) = (next_bill_at is null)),
    check ((parked_reason is null) = (parked_until is null))
);
-- The one place that knows what the dates of a schedule mean today. Completed: its last day is over and nothing is left to
-- bill.
create function billing_schedule_status(is_draft boolean, start_date date, end_date date, next_bill_date date, today date)
    returns text language sql immutable parallel safe
    return case
        when is_draft then 'DRAFT'
        when start_date > today then 'PENDING'
        when end_date < today and next_bill_date is null then 'COMPLETED'
        else 'ACTIVE'
    end;

-- Serves the claim of due schedules; a parked one stands where its time comes again, so many of them cost nothing.
create index billing_schedule_due on billing_schedule (greatest(next_bill_at, parked_until))
    where next_bill_at is not null and archived_at is null;
create index billing_schedule_customer on billing_schedule (account, customer);

create table billing_phase (
    account integer not null,
    id uuid not null,
    schedule uuid not null,
    position smallint not null check (position >= 0),
    name text,
    start_date date not null,
    end_date date check (end_date >= start_date),
    price_ids uuid[] not null check (cardinality(price_ids) > 0),
    created_at timestamptz not null,
    primary key (account, id),
    foreign key (account, schedule) references billing_schedule,
    unique (account, schedule, position)
);

create table invoice (
    account integer not null,
    id uuid not null,
    customer uuid not null,
    schedule uuid,
    -- Why it exists: SCHEDULE = something of the schedule fell due on bill_date.
    reason text not null check (reason in ('SCHEDULE')),
    bill_date date not null,
    status text not null check (status in ('DRAFT', 'FINAL', 'SENT', 'VOIDED')),
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    -- Assigned without gaps when the invoice is finalized or voided.
    number_prefix text,
    number bigint check (number > 0),
    -- billingPeriod as dates, half-open.
    period_start date not null,
    period_end date not null check (period_end > period_start),
    -- The customer as it was when the invoice was made: legal name, address, e-mail addresses.
    customer_snapshot jsonb not null,
    particulars jsonb not null,
    calculated_at timestamptz not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (account, id),
    foreign key (account, customer) references customer,
    foreign key (account, schedule) references billing_schedule,
    check ((number is null) = (number_prefix is null)),
    check ((number is not null) = (status <> 'DRAFT'))
);
create unique index invoice_number on invoice (account, number_prefix, number) where number is not null;
-- At most one live invoice per (schedule, bill date, reason): two runs at once cannot both bill.
create unique index invoice_once on invoice (account, schedule, bill_date, reason) nulls not distinct
    where status <> 'VOIDED' and schedule is not null;
create index invoice_customer on invoice (account, customer);

-- One product on an invoice. Its totals are the sum of its lines and are stored nowhere.
create table invoice_line_group (
    account integer not null,
    id uuid not null,
    invoice uuid not null,
    index integer not null,
    title text not null,
    product uuid,
    primary key (account, id),
    foreign key (account, invoice) references invoice on delete cascade,
    unique (account, invoice, index)
);

create table invoice_line (
    account integer not null,
    id uuid not null,
    invoice uuid not null,
    group_id uuid not null,
    index integer not null,
    title text not null,
    description text,
    quantity numeric not null,
    rate numeric not null,
    rate_display text not null check (rate_display in ('ABSOLUTE', 'PERCENTAGE')),
    -- Rounded once, half away from zero, in the currency's minor unit.
    net_minor bigint not null,
    tax_rate numeric,
    tax_minor bigint not null,
    price uuid,
    product uuid,
    service_start date not null,
    service_end date not null check (service_end > service_start),   -- half-open
    -- How the amount came about: tiers walked, days, rates, the metric and range read (rating.invoice).
    explanation jsonb not null,
    primary key (account, id),
    foreign key (account, invoice) references invoice on delete cascade,
    foreign key (account, group_id) references invoice_line_group on delete cascade,
    unique (account, invoice, group_id, index)
);

-- What an invoice has billed: at most one live charge per (schedule, price, service period, reason).
create table invoice_charge (
    account integer not null,
    invoice uuid not null,
    schedule uuid not null,
    price uuid not null,
    service_start date not null,
    service_end date not null check (service_end > service_start),
    reason text not null,
    is_live boolean not null,
    primary key (account, invoice, price, service_start, service_end, reason),
    foreign key (account, invoice) references invoice on delete cascade
);
create unique index invoice_charge_once on invoice_charge (account, schedule, price, service_start, service_end, reason)
    nulls not distinct where is_live;

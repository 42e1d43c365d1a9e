-- What contracts say beside prices and dates: discounts, minimums, grants, milestones, taxes, roll-ups; and what bills keep of it.

-- The parent in an organization; that nobody is their own ancestor is checked when a parent is set.
alter table customer
    add column parent uuid check (parent <> id),
    add foreign key (account, parent) references customer;
create index customer_parent on customer (account, parent) where parent is not null;

-- What kind of thing it is for tax; the rates of that category are for it.
alter table product add column tax_category uuid;

-- What a price says beside its structure: usageCalculationPeriod, minimum, maximum, commitment, pricesByGroup.
alter table price add column conditions jsonb not null default '{}';

alter table billing_schedule
    -- Children's usage is added to the customer's own before it is priced.
    add column is_rolled_up boolean not null default false,
    -- [{priceId, taxRateId}]: rates that were chosen by hand.
    add column tax_rates jsonb not null default '[]';

alter table billing_phase
    add column recurrence text not null default 'CONTINUE_FROM_PREVIOUS_PHASE'
        check (recurrence in ('CONTINUE_FROM_PREVIOUS_PHASE', 'RESET')),
    -- Discounts, minimums, credit grants, plan minimum and milestone, validated by rating.
    add column terms jsonb not null default '{}';

-- A rate of tax. A change of it is a new version, so that what was billed stays explainable.
create table tax_rate (
    account integer not null references account,
    id uuid not null,
    -- The version that new bills use.
    version integer not null check (version >= 0),
    created_at timestamptz not null,
    updated_at timestamptz not null,
    archived_at timestamptz,
    deleted_at timestamptz,
    primary key (account, id)
);

create table tax_rate_version (
    account integer not null,
    id uuid not null,
    tax_rate uuid not null,
    version integer not null check (version >= 0),
    -- Only published rates are found by country; others are chosen by hand.
    is_published boolean not null,
    name text not null,
    invoice_name text not null,
    invoice_short_name text not null,
    description text,
    amount numeric not null check (amount between 0 and 1),   -- 0.2 is 20 %
    country text not null check (country ~ '^[A-Z]{2}$'),
    region text,
    tax_category uuid,
    created_at timestamptz not null,
    primary key (account, id),
    foreign key (account, tax_rate) references tax_rate,
    unique (account, tax_rate, version)
);

-- Credit that a customer bought or was given. Those that phases issue follow from the phases' terms and have no row.
create table credit_grant (
    account integer not null,
    id uuid not null,
    customer uuid not null,
    name text not null,
    unit text not null check (unit in ('CURRENCY', 'METRIC')),
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    metric uuid,
    amount numeric not null check (amount >= 0),
    cost numeric not null check (cost >= 0),
    effective_date date not null,
    expiry_date date check (expiry_date >= effective_date),   -- last day, inclusive; null = never expires
    created_at timestamptz not null,
    deleted_at timestamptz,
    primary key (account, id),
    foreign key (account, customer) references customer,
    foreign key (account, metric) references usage_metric,
    check ((metric is not null) = (unit = 'METRIC'))
);
create index credit_grant_customer on credit_grant (account, customer);

-- What invoices took from grants, append-only: what is given back is a row with a negative amount.
create table credit_draw (
    account integer not null,
    id uuid not null,
    customer uuid not null,
    schedule uuid not null,
    invoice uuid not null,
    -- The grant: of its own (credit_grant), or of a phase (its terms' id and the day of issue: "id@2025-02-01").
    credit_grant uuid,
    phase_grant text,
    name text not null,
    unit text not null check (unit in ('CURRENCY', 'METRIC')),
    amount numeric not null,                                   -- in the grant's own unit
    net_minor bigint not null,
    tax_minor bigint not null,
    bill_date date not null,
    created_at timestamptz not null,
    primary key (account, id),
    foreign key (account, invoice) references invoice,
    foreign key (account, credit_grant) references credit_grant,
    check ((credit_grant is null) <> (phase_grant is null))
);
create index credit_draw_grant on credit_draw (account, credit_grant) where credit_grant is not null;
create index credit_draw_schedule on credit_draw (account, schedule) where phase_grant is not null;
create index credit_draw_invoice on credit_draw (account, invoice);

-- Something that a person must look at before the invoice is issued: [{code, message, priceId}].
alter table invoice add column warnings jsonb not null default '[]';

alter table invoice_line
    add column kind text not null default 'CHARGE'
        check (kind in ('CHARGE', 'MAXIMUM', 'DISCOUNT', 'TRUE_UP', 'CREDIT', 'LATE_USAGE')),
    -- The grant that paid, as in credit_draw.
    add column credit_grant text;

-- Why there was a charge: the price's own period, or seats above it.
alter table invoice_charge add constraint invoice_charge_reason check (reason in ('SCHEDULE', 'OVERAGE'));

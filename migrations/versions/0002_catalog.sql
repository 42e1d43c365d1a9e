-- Who is billed and for what: customers, their aliases, products, prices.

create table customer (
    account integer not null references account,
    id uuid not null,
    legal_name text not null,
    label text,
    url text,
    tax_status text not null check (tax_status in ('TAXED', 'TAX_EXEMPT', 'REVERSE_CHARGED')),
    status text not null check (status in ('ACTIVE', 'DRAFT')),
    address jsonb not null,
    contacts jsonb not null,
    custom_properties jsonb not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    archived_at timestamptz,
    primary key (account, id)
);

-- An alias belongs to a customer in EVENT time: the first owner from the beginning (valid_from null); ending the mapping closes
-- it at an instant and the next owner starts there. The customer's own id always works as an alias and has a row of its own
-- too, so that attribution is one join.
create table customer_alias (
    account integer not null,
    id uuid not null,
    customer uuid not null,
    value text not null check (length(value) between 1 and 255),
    label text,
    valid_from timestamptz,
    valid_to timestamptz,
    created_at timestamptz not null,
    primary key (account, id),
    foreign key (account, customer) references customer,
    check (valid_from < valid_to)
);
-- At most one owner is open-ended, and an instant at which one owner ends starts at most one other: no two own it at once.
create unique index customer_alias_open on customer_alias (account, value) where valid_to is null;
create unique index customer_alias_start on customer_alias (account, value, valid_from) nulls not distinct;
create index customer_alias_customer on customer_alias (account, customer);

create table product (
    account integer not null references account,
    id uuid not null,
    name text not null,
    label text,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    archived_at timestamptz,
    primary key (account, id)
);

-- A price never changes once it exists: another amount is another price. `structure` is the reference's JSON, validated by
-- rating.price when it comes in.
create table price (
    account integer not null,
    id uuid not null,
    product uuid not null,
    name text not null,
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    structure jsonb not null,
    billing_frequency text not null,
    billing_type text not null check (billing_type in ('IN_ADVANCE', 'IN_ARREARS')),
    -- A draft is not put into running schedules until a person approves it.
    status text not null check (status in ('ACTIVE', 'DRAFT')),
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (account, id),
    foreign key (account, product) references product
);
create index price_product on price (account, product);

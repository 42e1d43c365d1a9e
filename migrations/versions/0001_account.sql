-- Accounts and the keys that open them.
-- Every later table carries `account` in its primary key, so that the schema distributes on Citus unchanged.

create table account (
    account integer generated always as identity primary key,
    id uuid not null unique,
    company_name text not null,
    company_number text,
    country text not null default 'GB' check (country ~ '^[A-Z]{2}$'),
    time_zone text not null default 'UTC',
    created_at timestamptz not null,
    updated_at timestamptz not null
);

create table api_key (
    client_id text primary key,
    account integer not null references account,
    -- 32 random bytes need no slow hash: SHA-256 of the secret.
    secret_sha256 bytea not null check (octet_length(secret_sha256) = 32),
    created_at timestamptz not null,
    revoked_at timestamptz
);

"""Postgres: the only place that speaks SQL, migrations aside. One file per noun, as on the other floors.

Owns
    Statements as constants, what rows become (frozen structs), the order in which locks are taken, pages of lists
    (page), connections and the check of the schema (db), and what the database says no to (error).

Does not own
    Transactions and pools: every function takes a connection, the caller decides what commits together. The shape of
    the schema: migrations/. The clock and new ids: `now` and ids are handed in.

Words for time
    `created_at`, `updated_at`, `archived_at` are instants of ours; `valid_from`, `valid_to` of an alias are event time.
    `next_bill_date` is a day of the account, `next_bill_at` the instant it begins. Dates of schedules and of
    credit grants are inclusive as in the API and become half-open in schedule.terms and credit.rated; everything else
    is half-open.

Invariants
    Every statement has the account in its condition and in the primary key it uses, or says why it spans accounts.
    No query in a loop: many go in as arrays (`unnest`) and come out with `returning`.
    Values reach a statement as parameters only.
    What must be unique or must add up is a constraint of the schema; code only turns its violation into words.

Start reading at
    product.py, the smallest resource; then page.py. due.py is what the billing run asks, usage.py what bills are made
    of.
"""

"""The billing run: counters become invoices.

Owns
    Deciding when a schedule is billed, gathering what `rating.bill` must know from one snapshot, keeping the invoice it
    answers, and setting aside (parking) a schedule that cannot be billed. Making bills again: drafts when usage arrives
    late or a person asks, final ones to find what is still owed. The invoice for what a credit grant costs.

Does not own
    What is owed (`rating`), how usage is counted (`meter`, `store.usage`), how an invoice is shown (`api.invoice`).

Words for time
    `bill_date` the day on which something of a schedule falls due, in the account's zone - `bill_at` the instant that
    day starts - `service period` what a line is for - `calculated_at` when the engine computed the invoice - `now` the
    instant of the run.

Invariants
    No event accepted before a run began is missing from its invoices: a run notes the end of every stream and waits
    until the counted positions have passed it.
    A (schedule, bill date, reason) has at most one live invoice, a (schedule, price, service period, reason) at most
    one live charge: unique indexes say so, whatever runs at the same time.
    An invoice, its lines, its charges and the schedule's next date are saved in one transaction. A run that is killed
    leaves nothing, and the next one starts from the same rows.
    One schedule that cannot be billed never stops the others.
    A credit grant is never overdrawn: a run holds the grants that it reads until its draws are committed, and bills of
    one run that share a grant are computed one after the other.
    What is final never changes. A difference is billed once: what was billed so far has all earlier differences in it.
    A price without a known tax rate leaves a warning on the invoice; no rate is guessed.

Start reading at
    `run.Invoicer.step`, which is the order of a run; then `gather.known`.
"""

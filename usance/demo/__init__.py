"""`usance demo`: a small company's billing from the first request to the last invoice, on a Usance of its own.

Owns
    The company (its models, price list and customers), two months of its simulated usage, playing them through the HTTP
    API, and checking in front of the user that what came out is what must come out.

Does not own
    Counting, rating, invoicing: it is a customer of the running system and of `usance verify`. It imports nothing of
    rating/, meter/ or invoicer/, so that its sums are a second opinion.

Words for time
    happened (the event's timestamp) and arrives (its place in the play): a late event happened in the first month and
    arrives in the second. The months are the two last full calendar months, in UTC.

Invariants
    The same seed gives the same usage. Every check can fail, and one that fails makes the exit code 1.
    Whatever ends the demo ends its server; nothing is left but the terminal's text.

Start reading at
    run.py (the story), then traffic.py (the usage), then check.py (what is claimed at the end).
"""

from usance.demo.run import EVENTS_DEFAULT, Options, demo

__all__ = ["EVENTS_DEFAULT", "Options", "demo"]

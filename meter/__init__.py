"""Metering: from the body of an HTTP request to exact counters, each event exactly once.

Owns
    What a usage event is and what is refused; its identity; the streams between accepting and counting; the one
    transaction that counts; corrections; the fold that turns events and metrics into differences of counters, for live
    events, corrections and the history of a new metric alike.

Does not own
    The counters' tables and the reading of usage (store), which metrics exist (api), whose an alias is (store, asked
    when usage is read), prices and bills (rating, invoicer). It knows accounts and aliases, never customers.

Words for time
    event timestamp: when it happened; it decides the quarter hour, the day and the bill. received at: when it was
    taken; it decides the partition. position: the id of a stream entry, the order of receipt. slot: a quarter hour in
    UTC.

Invariants
    A success reply means on disk. The same event again changes nothing, for ever, whatever its timestamp. The same id
    with other content replaces what was there: the last received wins. Killing any process at any point loses and
    doubles nothing, because ids, rows, counters and the position move in one transaction. Counters equal a fresh fold
    of all live events. Nothing is trimmed ahead of what is counted. Numbers are exact; no arithmetic rounds.

Start reading at
    count.py (the order of one transaction), then aggregate.py (the loop around it), ahead.py (the next transaction
    beside it) and event.py (what is accepted).
    ingest.py and stream.py are the way in, shortcut.py a shorter one, dialect.py says in which shapes; version.py and
    correct.py are what happens to an id that comes again. load.py, backfill.py and revert.py are the other way in, and
    the way back out. history.py is how a young metric catches up, live.py how those who wait for usage learn of it.
"""

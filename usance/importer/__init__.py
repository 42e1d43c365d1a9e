"""Files into the account: `usance import events FILE --map FIELD=COLUMN --set FIELD=VALUE`.

Owns
    Reading CSV and NDJSON of any size in constant memory; turning rows into usage events; ids that follow from the
    file; sending them through the HTTP API; remembering how far it has come; saying which rows were refused and why.

Does not own
    What a valid event is: the server decides, and its codes are passed on. Counting: an event is counted by the
    aggregator, whoever sent it. The client of the API (usance/client.py).

Words for time
    `eventTimestamp` is read from the file. A time without a zone belongs to `--time-zone`, else to UTC, and the import
    says so. Digits beyond the microsecond are cut.

Invariants
    The same file gives the same ids, so importing it again, wholly or in part, counts nothing twice.
    The saved progress never lies ahead of what the server has answered.
    Every row is either accepted or listed with its number, a code and a reason.
    Memory does not grow with the file, nor with the number of refused rows.

Start reading at
    command.py (what the user sees), then run.py (the loop), then rows.py (ids and places).
"""

from usance.importer.command import Options, import_events

__all__ = ["Options", "import_events"]

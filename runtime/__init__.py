"""How a process lives: what it may be told, how it starts and stops, what it says about itself.

Owns
    Settings, the only reader of the environment (settings). Loops and signals (process). Log lines and the closed list
    of metrics (telemetry). The data folder (folder). The embedded Postgres and Valkey: as whom they run (identity), how
    one starts and stops (server), which they are (embedded). Children that are started again when they end (child). The
    sockets of the port (port), and a short way from them for the commonest request (connection).

Does not own
    What any process is for: the top (usance) puts loops, servers and settings together. SQL, migrations and pools
    (store.db). Nothing of ours is imported here.

Words for time
    A bound says its unit and that it is one: `stop_seconds`, `_READY_SECONDS_MAX`. Bounds are measured with the
    monotonic clock; the time of day is for log lines only.

Invariants
    A server's folder has at most one server: a lock lives exactly as long as the server and its children do.
    A data folder has at most one supervisor, and one that was killed leaves nothing that blocks the next.
    No child outlives the process that started it. Nothing outside our folders is made readable to anybody.
    A loop survives every failing step; cancellation is never swallowed.

Start reading at
    process.py (loops), then server.py and identity.py (the embedded pair). launch.py is a program of its own.
"""

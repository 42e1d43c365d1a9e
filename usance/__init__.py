"""The top: the command line, and what puts the rooms together. It may import everything; nothing imports it.

Owns
    The commands (cli). The composition roots: the HTTP process (app), the processes without a port (loop), and all of
    it on one machine (up, with the first key from key). The demo, the importer and `verify`, which use the rooms from
    outside as a customer would, or check them with SQL of their own.

Does not own
    Any rule of metering, rating or billing, and no route of the API. How a process lives (runtime).

Words for time
    `now` is born here, from the clock or from `--now`, and handed down.

Invariants
    Starting is one order and stopping the reverse; each part of a stop has a bound. A command that cannot start says
    what to do and exits with 2, without a traceback. A secret that was made up is shown once and kept as a hash.
    The commands share nothing but settings, and `run/endpoints.json` in the data folder.

Start reading at
    cli.py (what there is), then up.py (how it hangs together).
"""

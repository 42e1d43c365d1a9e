"""Benchmarks: how fast the parts are, each with a workload that is told beside its figure.

Owns
    Workloads and the measuring of them, what is measured beside them (limits, the hand-written meter), reports.
    rating       bills per second on one core
    ingest       events per second from a request into the counters, and what each costs; with the limits of the machine
    lookup       how long answers take, alone and while events come in
    growth       what stored events cost the next ones
    check        two commits by ratio, for `make bench-check`
    traffic, load, sender      what is sent, and the process that sends it and knows when it is counted
    installation, point, machine, exactness     what is measured, what it spent, and whether it counted right

Does not own
    What is measured, and the command line that shows the result. The SQL in limit.py and handwritten.py is no part of
    the product: it is what the product is compared with, in a database of its own.

Invariants
    A figure comes with its workload, its limits and its processor time. Workloads are fixed: the same seed, the same
    events; only ids are new. What the client costs is part of the sum. A run whose counters are not exact has failed.
    Nothing that a success reply promises is switched off.

Start reading at
    ingest.py, then point.py.
"""

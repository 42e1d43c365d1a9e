"""Benchmarks: how fast the parts are, each with a workload that is told beside its figure.

Owns
    Workloads and the measuring of them. `rating` measures bills per second on one core.

Does not own
    What is measured, and the command line that shows the result.

Invariants
    A figure comes with its workload. Workloads are fixed: no randomness, no clock but the one that measures.

Start reading at
    rating.py.
"""

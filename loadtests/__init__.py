"""Load tests: a running Usance under the requests that real clients send, by Locust.

Owns
    The shapes of the load, and what counts as a failed reply.

Does not own
    The server: start one with `usance up`. Figures of speed: `usance bench` has them, with a client that costs less.

Invariants
    Nothing of ours is imported: what is used here is what everybody can use. A reply that is not what it should be
    fails the run.

Start reading at
    locustfile.py.
"""

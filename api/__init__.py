"""The control plane over HTTP: accounts, customers, products, prices, billing schedules, metrics, invoices as JSON.

Owns
    The reference's paths, field names and statuses, one file per resource. How a request becomes a struct and a struct
    JSON (wire), lists in pages (page), who asks (auth), the error shape and the one table from code to HTTP status
    (error, status), a measurement and a log line per request (journal).

Does not own
    SQL (store), what is owed (rating), the path of a usage event (meter): rooms that need each other are handed
    functions by usance.app, which also decides what is served where. Paths here stand below /api.

Words for time
    Dates on the wire are inclusive, `startDate` to `endDate`; inside they are half-open from store and rating on.
    `today` is the account's day. `now` is read once per request from the application's clock.

Invariants
    An unknown field is refused, never ignored; a field of the reference that is not offered yet is refused by name.
    A request that is refused has changed nothing: a handler writes in one transaction.
    Whatever goes wrong, the reply has the documented shape and says nothing of our inside.
    A handler reads, calls one function of a room below, and replies; every lookup starts from the caller's account.

Start reading at
    product.py, the smallest resource; then wire.py and status.py. schedule.py is the largest.
"""

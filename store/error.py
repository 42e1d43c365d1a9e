"""What the database says no to, as a tree of exceptions with codes.

StoreError
|- NotFound          NOT_FOUND            no such row in this account
|- AliasTaken        ALIAS_TAKEN          another customer has this alias now
|- OwnAlias          OWN_ALIAS            the alias that is the customer's own id
|- CustomerUnusable  CUSTOMER_UNUSABLE    draft or archived
|- ProductArchived   PRODUCT_ARCHIVED
|- PriceUnusable     PRICE_UNUSABLE       draft
|- PriceInUse        PRICE_IN_USE         a billing schedule has it
|- ScheduleArchived  SCHEDULE_ARCHIVED
|- MetricInUse       METRIC_IN_USE        a price reads it
|- MetricNameTaken   METRIC_NAME_TAKEN
|- CustomerCycle     CUSTOMER_CYCLE       a customer would be its own ancestor
|- NotAParent        NOT_A_PARENT         a roll-up of a customer without children
|- GrantBilled       GRANT_BILLED         an invoice has billed what the grant costs
|- GrantDrawn        GRANT_DRAWN          an invoice has drawn on the grant
|- TaxRateInUse      TAX_RATE_IN_USE      a billing schedule names it
|- TaxRateArchived   TAX_RATE_ARCHIVED
|- MetricCounting    METRIC_COUNTING      its history is still being counted
|- QueryTooLarge     QUERY_TOO_LARGE      too many raw events would have to be read
|- NoBillingPeriod   NO_BILLING_PERIOD    the customer has no billing schedule
|- SeatTypeTaken     SEAT_TYPE_TAKEN
|- SeatMetricInUse   SEAT_METRIC_IN_USE   a price bills by it
|- BackfillNotOpen   BACKFILL_NOT_OPEN    it was closed or reverted
|- BackfillClosing   BACKFILL_CLOSING     it cannot be reverted yet
|- BackfillTooLarge  BACKFILL_TOO_LARGE   more than one transaction takes
|- RawEventDropped   RAW_EVENT_DROPPED    what was received is not kept any more
|- InvoiceStatus     INVOICE_STATUS       the invoice is not one that this can be done to
|- InvoiceNegative   INVOICE_NEGATIVE     its total is below zero

`key` names the field of the request that the problem is with, where there is one.
"""


class StoreError(Exception):
    """What is stored forbids it."""

    code = "STORE"

    def __init__(self, message: str | None = None, *, key: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)
        self.key = key


class NotFound(StoreError):
    """There is nothing with this id in this account."""

    code = "NOT_FOUND"


class AliasTaken(StoreError):
    """An alias belongs to another customer now. End that mapping first: DELETE /customer-aliases/{id}."""

    code = "ALIAS_TAKEN"


class OwnAlias(StoreError):
    """A customer's own id always works as its alias; this mapping cannot be changed."""

    code = "OWN_ALIAS"


class CustomerUnusable(StoreError):
    """The customer is a draft or archived, so nothing new can be billed to it."""

    code = "CUSTOMER_UNUSABLE"


class ProductArchived(StoreError):
    """The product is archived, so it takes no new prices."""

    code = "PRODUCT_ARCHIVED"


class PriceUnusable(StoreError):
    """The price is a draft. Approve it first: PUT /prices/{id} with status ACTIVE."""

    code = "PRICE_UNUSABLE"


class PriceInUse(StoreError):
    """A billing schedule has this price, so it cannot be deleted."""

    code = "PRICE_IN_USE"


class ScheduleArchived(StoreError):
    """The billing schedule is archived and does not change any more."""

    code = "SCHEDULE_ARCHIVED"


class MetricInUse(StoreError):
    """A price reads this usage metric, so it stays."""

    code = "METRIC_IN_USE"


class MetricNameTaken(StoreError):
    """Another usage metric has this name. Choose another."""

    code = "METRIC_NAME_TAKEN"


class CustomerCycle(StoreError):
    """The parent is the customer itself or one of its children. Choose another."""

    code = "CUSTOMER_CYCLE"


class NotAParent(StoreError):
    """A schedule rolls up the usage of children, and this customer has none. Set `parentId` on them first."""

    code = "NOT_A_PARENT"


class GrantBilled(StoreError):
    """An invoice has billed what this credit grant costs, so it stays."""

    code = "GRANT_BILLED"


class GrantDrawn(StoreError):
    """An invoice has drawn on this credit grant, so it stays."""

    code = "GRANT_DRAWN"


class TaxRateInUse(StoreError):
    """A billing schedule names this tax rate, so it cannot be deleted. Archive it."""

    code = "TAX_RATE_IN_USE"


class TaxRateArchived(StoreError):
    """The tax rate is archived: it does not change, and no schedule takes it any more."""

    code = "TAX_RATE_ARCHIVED"


class MetricCounting(StoreError):
    """The metric is still counting its history; `GET /usage-metrics/{id}` shows how far it is. Ask again then."""

    code = "METRIC_COUNTING"


class QueryTooLarge(StoreError):
    """The counters cannot answer this: too many raw events would have to be read. Ask for a shorter range, or make a
    metric with these filters and `groupBy`.
    """

    code = "QUERY_TOO_LARGE"


class NoBillingPeriod(StoreError):
    """The customer has no billing schedule, so it has no billing periods. Ask for another window."""

    code = "NO_BILLING_PERIOD"


class SeatTypeTaken(StoreError):
    """Another seat metric has this seat type. Choose another."""

    code = "SEAT_TYPE_TAKEN"


class SeatMetricInUse(StoreError):
    """A price bills by this seat metric, so it stays."""

    code = "SEAT_METRIC_IN_USE"


class BackfillNotOpen(StoreError):
    """It takes no more events and cannot be closed. Make another one: POST /usage-backfills."""

    code = "BACKFILL_NOT_OPEN"


class BackfillClosing(StoreError):
    """The backfill is being closed. Revert it as soon as GET /usage-backfills/{id} says CLOSED."""

    code = "BACKFILL_CLOSING"


class BackfillTooLarge(StoreError):
    """A backfill becomes visible in one transaction, so it has a limit. Load the rest into another one."""

    code = "BACKFILL_TOO_LARGE"


class RawEventDropped(StoreError):
    """Raw events are needed that are not kept any more; what was counted of them stays counted."""

    code = "RAW_EVENT_DROPPED"


class InvoiceStatus(StoreError):
    """The invoice's status does not allow this."""

    code = "INVOICE_STATUS"


class InvoiceNegative(StoreError):
    """The total is below zero, so there is nothing to pay. Credit it; an invoice cannot say that."""

    code = "INVOICE_NEGATIVE"

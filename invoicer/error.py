"""What the invoicer refuses, as a tree of exceptions with codes.

InvoicerError
|- CannotRecalculate   CANNOT_RECALCULATE   the draft does not follow from a schedule, or its schedule cannot be billed
|- UsageNotCounted     NOT_COUNTED_YET      what was accepted before is not counted yet
"""


class InvoicerError(Exception):
    """The invoicer cannot do this."""

    code = "INVOICER"

    def __init__(self, message: str | None = None, *, key: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)
        self.key = key


class CannotRecalculate(InvoicerError):
    """The draft cannot be calculated again."""

    code = "CANNOT_RECALCULATE"


class UsageNotCounted(InvoicerError):
    """Events that were accepted before are not counted yet. Ask again."""

    code = "NOT_COUNTED_YET"

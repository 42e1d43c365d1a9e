"""The demo's checks: each can fail, and says in one line what was compared with what."""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal

import msgspec

from usance.demo import company, expect
from usance.demo.catalog import Books
from usance.demo.invoices import Invoice
from usance.demo.play import Played
from usance.demo.traffic import Ledger, Months
from usance.verify import Report

_WRONG_SHOWN_MAX = 5


class Check(msgspec.Struct, frozen=True):
    """One thing that was checked: what holds, and where it does not hold."""

    says: str
    wrong: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.wrong


def duplicates(played: Played, ledger: Ledger, *, counted: int, stored: int) -> Check:
    """Sent = unique + duplicates, all accepted; counted and stored = unique."""
    compared = {
        "events sent": (played.sent, ledger.unique + ledger.duplicates),
        "events accepted": (played.accepted, played.sent),
        "events counted": (counted, ledger.unique),
        "events stored as live": (stored, ledger.unique),
    }
    return Check(
        f"Duplicates did not count: {played.sent:,} sent, {ledger.unique:,} unique, {counted:,} counted.",
        tuple(f"{what}: {is_:,} instead of {should:,}" for what, (is_, should) in compared.items() if is_ != should),
    )


def recount(report: Report) -> Check:
    """`usance verify` on the demo's database."""
    return Check(
        f"Counters equal a recount of raw events (own SQL, one snapshot, {report.checked:,} facts).",
        tuple(
            [sample for finding in report.findings for sample in finding.samples]
            + [f"{finding.says}: {finding.differences:,} differ" for finding in report.findings if finding.differences]
        ),
    )


def closed(invoices: Sequence[Invoice], months: Months) -> Check:
    """Every customer has one invoice for each month and no other."""
    found = sorted((invoice.customer, invoice.start) for invoice in invoices)
    expected = sorted((n, start) for n in range(len(company.CUSTOMERS)) for start in months.starts)
    missing, extra = set(expected) - set(found), len(found) - len(set(found) & set(expected))
    wrong = [f"no invoice for {company.CUSTOMERS[n].name}, {start:%B %Y}" for n, start in sorted(missing)]
    if extra:
        wrong.append(f"{extra} invoices more than there should be")
    return Check(
        f"Both months are closed: {len(found)} invoices for {months.first:%B} and {months.second:%B %Y}.",
        tuple(wrong),
    )


def lines(invoices: Sequence[Invoice], books: Books, ledger: Ledger, months: Months) -> Check:
    """Usage and amount of every price on every invoice equal what the demo added up while sending."""
    wrong: list[str] = []
    compared = 0
    for invoice in invoices:
        month = months.starts.index(invoice.start) if invoice.start in months.starts else 0
        units, nets = _by_price(invoice, books)
        used, owed = (expects(ledger, invoice.customer, month) for expects in (expect.usage, expect.amounts))
        compared += len(used) + len(owed)
        who = f"{company.CUSTOMERS[invoice.customer].name}, {invoice.start:%B}"
        wrong += [f"{who}, {key}: {units[key]:,f} units instead of {n:,}" for key, n in used.items() if units[key] != n]
        wrong += [f"{who}, {key}: {nets[key]} instead of {due}" for key, due in owed.items() if nets[key] != due]
        if invoice.net != sum(owed.values()):
            wrong.append(f"{who}: total {invoice.net} instead of {sum(owed.values())}")
    return Check(
        f"Invoices equal the demo's own sums: {compared:,} quantities and amounts on {len(invoices)} invoices.",
        tuple(wrong),
    )


def shown(check: Check) -> tuple[str, ...]:
    """The first few things that are wrong."""
    more = len(check.wrong) - _WRONG_SHOWN_MAX
    return check.wrong[:_WRONG_SHOWN_MAX] + ((f"and {more} more",) if more > 0 else ())


def _by_price(invoice: Invoice, books: Books) -> tuple[defaultdict[str, Decimal], defaultdict[str, Decimal]]:
    units: defaultdict[str, Decimal] = defaultdict(Decimal)
    nets: defaultdict[str, Decimal] = defaultdict(Decimal)
    for line in invoice.lines:
        key = books.price_key(line.price)
        units[key] += line.quantity
        nets[key] += line.net
    return units, nets

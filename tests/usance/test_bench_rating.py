"""The benchmark of rating: its workload is what it says, so that its figure means something."""

import json

from typer.testing import CliRunner

from rating import bill
from rating.invoice import LineKind
from usance import cli
from usance.bench import rating as bench


def test_the_workload_has_every_step_of_the_pipeline():
    bills = [bill.bill(given) for given in bench.workload(100)]
    for found in bills:
        kinds = {line.kind for line in found.lines()}

        assert kinds | {LineKind.TRUE_UP} == {LineKind.CHARGE, LineKind.DISCOUNT, LineKind.TRUE_UP, LineKind.CREDIT}
        assert len({line.price_id for line in found.lines() if line.kind is LineKind.CHARGE}) == 5
        assert found.tax().amount_minor > 0
        assert found.warnings == ()
    assert LineKind.TRUE_UP in {line.kind for found in bills for line in found.lines()}


def test_no_two_customers_of_the_workload_are_alike():
    inputs = bench.workload(500)
    bills = [bill.bill(given) for given in inputs]

    assert len({found.gross() for found in bills}) > 490
    assert len({given.bill_date for given in inputs}) > 25
    assert len({given.schedule.start for given in inputs}) > 400
    assert len({one.price.id for found in bills for one in found.charges}) == 5 * bench.PLANS
    assert any(one.service != one.full for found in bills for one in found.charges)


def test_a_measurement_says_what_it_measured():
    result = bench.measure(bills=3, rounds=1)

    assert (11 <= result.lines_per_bill <= 12, result.line_bytes_max < 2000) == (True, True)
    assert result.limit_per_second > result.bills_per_second > 0
    assert result.needs_per_second > result.bills_per_second
    assert "bill.py" in bench.profile(bills=3)


def test_the_figures_are_told_to_people_and_to_machines(tmp_path):
    file = tmp_path / "rating.json"

    shown = CliRunner().invoke(cli.app, ["bench", "rating", "--bills", "3", "--json", str(file)])

    assert (shown.exit_code, "bills/s on one core, 11." in shown.output) == (0, True)
    assert 11 <= json.loads(file.read_bytes())["linesPerBill"] <= 12

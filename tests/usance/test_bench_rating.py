"""The benchmark of rating: its workload is what it says, so that its figure means something."""

import json

from typer.testing import CliRunner

from rating import bill
from rating.invoice import LineKind
from usance import cli
from usance.bench import rating as bench


def test_the_workload_has_every_step_of_the_pipeline():
    found = bill.bill(bench.workload(1)[0])

    assert {line.kind for line in found.lines()} == {
        LineKind.CHARGE,
        LineKind.DISCOUNT,
        LineKind.TRUE_UP,
        LineKind.CREDIT,
    }
    assert len({line.price_id for line in found.lines() if line.kind is LineKind.CHARGE}) == 5
    assert found.tax().amount_minor > 0
    assert found.warnings == ()


def test_a_measurement_says_what_it_measured():
    result = bench.measure(bills=3, rounds=1)

    assert (result.lines_per_bill, result.line_bytes_max < 2000) == (12, True)
    assert result.limit_per_second > result.bills_per_second > 0
    assert "bill.py" in bench.profile(bills=3)


def test_the_figures_are_told_to_people_and_to_machines(tmp_path):
    file = tmp_path / "rating.json"

    shown = CliRunner().invoke(cli.app, ["bench", "rating", "--bills", "3", "--json", str(file)])

    assert (shown.exit_code, "bills/s on one core, 12 explained lines" in shown.output) == (0, True)
    assert json.loads(file.read_bytes())["linesPerBill"] == 12

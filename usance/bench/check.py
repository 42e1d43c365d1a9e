"""Is a commit slower than another? `make bench-check BASE=main` compares two by ratio, on the machine it runs on.

    python -m usance.bench.check BASE [HEAD]       exit code 1: HEAD is worse; 2: too noisy to say
    python -m usance.bench.check --one FILE        one short run of the code it stands in, as JSON

Each commit gets a worktree in a temporary folder; the same Python and the same libraries run both, and both are
measured with HEAD's benchmark, put over BASE's. Runs take turns (A B B A ...), so that a machine that gets slower meets
both. The noise is what runs of one commit differ by: on a machine that others use, look at the processor time.
"""

import argparse
import asyncio
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import uvloop
from rich.console import Console
from rich.table import Table

import usance
from usance.bench import ingest, program, report
from usance.bench.ingest import Options

TOLERANCE = 0.10
ROUNDS = 2
SECONDS = 5.0
# Whether more is better.
FIGURES = {
    "counted_per_second": True,
    "single_requests_per_second": True,
    "cpu_seconds_per_million": False,
    "single_cpu_seconds_per_million": False,
}
# What of the benchmark stands in other rooms.
_FILES_ELSEWHERE = ("store/footprint.py",)
_RUN_SECONDS_MAX = 600.0

Figures = Mapping[str, float]


class Comparison(msgspec.Struct, frozen=True):
    """One figure of two commits: medians, HEAD's over BASE's, and how much runs of one commit differ."""

    name: str
    base: float
    head: float
    noise: float
    is_more_better: bool

    @property
    def ratio(self) -> float:
        return self.head / self.base

    @property
    def is_worse(self) -> bool:
        """Beyond the tolerance and the noise together."""
        loss = 1 - self.ratio if self.is_more_better else self.ratio - 1
        return loss > TOLERANCE + self.noise

    @property
    def is_noisy(self) -> bool:
        """Runs of one commit differ by more than what is looked for."""
        return self.noise > TOLERANCE


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m usance.bench.check")
    parser.add_argument("base", nargs="?", help="the commit to compare with")
    parser.add_argument("head", nargs="?", default="HEAD", help="the commit in question (HEAD)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="runs of each")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of a point")
    parser.add_argument("--one", type=Path, help="measure this very code, and write the figures here")
    asked = parser.parse_args()
    if asked.one is not None:
        asked.one.write_bytes(msgspec.json.encode(_measure_here(asked.seconds)))
        return
    if asked.base is None:
        parser.error("name the commit to compare with")
    sys.exit(check(asked.base, asked.head, rounds=asked.rounds, seconds=asked.seconds, console=Console()))


def check(base: str, head: str, *, rounds: int, seconds: float, console: Console) -> int:
    """Compare two commits; answers the exit code."""
    repository = Path(usance.__file__).parents[1]
    with tempfile.TemporaryDirectory(prefix="usance-bench-check-") as made:
        trees = {name: Path(made) / name for name in ("base", "head")}
        try:
            for (name, tree), commit in zip(trees.items(), (base, head), strict=True):
                _git(repository, "worktree", "add", "--detach", "--quiet", str(tree), commit)
                console.print(f"{name}: {_git(tree, 'log', '-1', '--format=%h %s').strip()}", highlight=False)
            _put_over(repository, trees.values())
            runs = _runs(trees, rounds=rounds, measure=lambda tree: _measure(tree, Path(made) / "run.json", seconds))
        finally:
            for tree in trees.values():
                _git(repository, "worktree", "remove", "--force", str(tree), is_checked=False)
    found = compare(runs["base"], runs["head"])
    _show(found, console)
    return exit_code(found)


def exit_code(found: Sequence[Comparison]) -> int:
    """1: something is worse. 2: nothing is, but something might be, for all that its noise lets us see."""
    if any(one.is_worse for one in found):
        return 1
    return 2 if any(one.is_noisy for one in found) else 0


def compare(base: Sequence[Figures], head: Sequence[Figures]) -> list[Comparison]:
    """Every figure that all runs have."""
    found = []
    for name, is_more_better in FIGURES.items():
        columns = [[run[name] for run in runs] for runs in (base, head)]
        noise = max(max(column) / min(column) - 1 for column in columns)
        medians = [statistics.median(column) for column in columns]
        found.append(Comparison(name, medians[0], medians[1], noise, is_more_better))
    return found


def _runs(trees: Mapping[str, Path], *, rounds: int, measure: Callable[[Path], Figures]) -> Mapping[str, list[Figures]]:
    """A B, B A, A B ..."""
    found: dict[str, list[Figures]] = {name: [] for name in trees}
    for number in range(rounds):
        for name in reversed(list(trees)) if number % 2 else trees:
            found[name].append(measure(trees[name]))
    return found


def _measure(tree: Path, file: Path, seconds: float) -> Figures:
    words = ("usance.bench.check", "--one", str(file), "--seconds", str(seconds))
    process = program.start(*words, tree=tree)
    try:
        if process.wait(_RUN_SECONDS_MAX):
            raise SystemExit(f"the benchmark failed in {tree.name}; its reason stands above")
    finally:
        program.end(process, seconds=1.0)
    return msgspec.json.decode(file.read_bytes(), type=dict[str, float])


def _measure_here(seconds: float) -> Figures:
    options = Options(sweep=ingest.QUICK, seconds=seconds, is_quick=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(ingest.measure(options, say=print))
    if not found.verdict.exact:
        raise SystemExit(f"not exact: {found.verdict.samples}")
    figures = report.table(found)
    return {name: figures[name] for name in FIGURES}


def _put_over(repository: Path, trees: Iterable[Path]) -> None:
    """The same measure for both: this benchmark, in place of the one that the commit came with."""
    for tree in trees:
        shutil.copytree(repository / "usance/bench", tree / "usance/bench", dirs_exist_ok=True)
        for file in _FILES_ELSEWHERE:
            shutil.copyfile(repository / file, tree / file)


def _show(found: Sequence[Comparison], console: Console) -> None:
    grid = Table(box=None, pad_edge=False, header_style="dim")
    grid.add_column("")
    for name in ("base", "head", "ratio", "noise"):
        grid.add_column(name, justify="right")
    for one in found:
        style = "bold red" if one.is_worse else "green"
        ratio = f"[{style}]{one.ratio:.3f}[/]"
        grid.add_row(one.name, f"{one.base:,.2f}", f"{one.head:,.2f}", ratio, f"{one.noise:.1%}")
    console.print(grid)
    noisy = [one.name for one in found if one.is_noisy]
    if noisy:
        console.print(
            f"[yellow]too noisy to judge by: {', '.join(noisy)}[/]; more rounds, or a quiet machine, would help"
        )
    worse = [one.name for one in found if one.is_worse]
    limit = f"by more than {TOLERANCE:.0%} and the noise"
    console.print(f"[bold red]worse {limit}: {', '.join(worse)}[/]" if worse else f"[green]nothing is worse {limit}[/]")


def _git(folder: Path, *words: str, is_checked: bool = True) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], check=is_checked, capture_output=True, text=True)  # noqa: S603, S607
    return done.stdout


if __name__ == "__main__":
    main()

"""What the ingest benchmark found, for people and for machines. Ratios first: they hardly depend on the machine.

show(result, console)       tables
table(result)               the same as one JSON object; docs/benchmarks.md explains its keys
line(point)                 a point in a line, while the others are still to come
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from usance.bench.point import CLIENT, Point

if TYPE_CHECKING:
    from usance.bench.ingest import Result

# Short names of parts, in the order of an event's way.
_COLUMNS = {"HTTP workers": "HTTP", "Valkey": "Valkey", "aggregator": "aggr.", "Postgres": "Postgres", CLIENT: "client"}


def show(found: "Result", console: Console) -> None:
    """Ratios, the headline, the table, exactness."""
    console.print(f"\n{escape(found.machine)}, load generator included")
    _show_ratios(found, console)
    _show_headline(found, console)
    _show_points(found, console)
    for one in found.ceilings:
        console.print(
            f"The load generator alone, batches of {one.batch}: {one.requests_per_second:,.0f} requests/s, "
            f"{one.cpu_seconds_per_million:.2f} s of processor time per million events"
        )
    _show_verdict(found, console)


def line(found: Point) -> str:
    """A point in a line."""
    result = found.result
    return (
        f"{found.batch:>5} x {found.connections:<4} {found.distribution}, {found.ids} ids: "
        f"{result.accepted_per_second:>9,.0f} accepted/s {result.counted_per_second:>9,.0f} counted/s "
        f"{found.cpu_total:6.2f} s/M"
    )


def ratios(found: "Result") -> dict[str, float]:
    """The headline over each limit."""
    if found.limits is None or found.best is None:
        return {}
    counted, limits = found.best.result.counted_per_second, found.limits
    return {
        "ratio_to_unique_insert": counted / limits.unique_insert.events_per_second,
        "ratio_to_copy": counted / limits.copy.events_per_second,
        "ratio_to_stream": counted / limits.stream.events_per_second,
        "ratio_to_hand_written": counted / limits.hand_written.events_per_second,
        "ratio_to_hand_written_batch": counted / limits.hand_written_batch.events_per_second,
    }


def table(found: "Result") -> dict[str, Any]:
    """Everything, as JSON."""
    best, singles = found.best, found.singles
    return {
        "counted_per_second": best and best.result.counted_per_second,
        "accepted_per_second": best and best.result.accepted_per_second,
        "single_requests_per_second": singles and singles.result.requests_per_second,
        "visible_p99_seconds": best and best.result.visible.p99,
        **ratios(found),
        "cpu_seconds_per_million": best and best.cpu_total,
        "single_cpu_seconds_per_million": singles and singles.cpu_total,
        "exact": found.verdict.exact,
        "sustained": best is not None and best.is_stable,
        "measured_at": found.measured_at,
        "machine": found.machine,
        "memory_idle": found.memory_idle,
        "limits": found.limits,
        "load_generator": found.ceilings,
        "verdict": found.verdict,
        "held": found.held and _row(found.held),
        "points": [_row(one) for one in found.points],
    }


def _row(found: Point) -> dict[str, Any]:
    result = found.result
    events = result.events
    return {
        "batch": found.batch,
        "connections": found.connections,
        "distribution": found.distribution,
        "ids": found.ids,
        "events_per_second_asked": found.events_per_second,
        "seconds": found.seconds,
        "accepted_per_second": result.accepted_per_second,
        "counted_per_second": result.counted_per_second,
        "requests_per_second": result.requests_per_second,
        "sustained": found.is_stable,
        "events": events,
        "unique_events": result.unique_events,
        "refused": result.refused,
        "backlog_events_max": result.backlog_events_max,
        "held_share": result.held_share,
        "reply_seconds": result.reply,
        "visible_seconds": result.visible,
        "cpu_seconds_per_million": found.cpu_seconds_per_million,
        "cpu_seconds_per_million_total": found.cpu_total,
        "other_cpu_seconds": found.other_cpu_seconds,
        "pss_bytes": found.pss,
        "memory": found.memory,
        "wal_bytes_per_event": found.disk.wal / events,
        "database_bytes_per_event": found.disk.database / events,
        "stream_log_bytes_per_event": found.disk.stream_log / events,
    }


def _show_ratios(found: "Result", console: Console) -> None:
    if found.limits is None:
        return
    grid = _grid("counted/s over", "ratio", "that limit, events/s", "s/M")
    limits = found.limits
    rows = {
        "insert of the same ids into a bare unique index": ("ratio_to_unique_insert", limits.unique_insert),
        "COPY of the same rows into a bare table": ("ratio_to_copy", limits.copy),
        "XADD of the same bodies by a bare client": ("ratio_to_stream", limits.stream),
        "written by hand, an event per request": ("ratio_to_hand_written", limits.hand_written),
        "written by hand, 100 per request": ("ratio_to_hand_written_batch", limits.hand_written_batch),
    }
    known = ratios(found)
    for says, (key, one) in rows.items():
        ratio = f"{known[key]:.2f}" if key in known else "-"
        grid.add_row(says, ratio, f"{one.events_per_second:,.0f}", f"{one.cpu_seconds_per_million:.1f}")
    console.print(grid)


def _show_headline(found: "Result", console: Console) -> None:
    best, singles = found.best, found.singles
    if best is not None:
        result = best.result
        console.print(
            f"\n[bold]{result.counted_per_second:,.0f} events/s[/] accepted, on disk, deduplicated and in the "
            f"counters, for {best.seconds:.0f} s, in batches of {best.batch}, {best.connections} requests under way; "
            f"visible after {result.visible.p99:.2f} s (p99); {_mebibytes(best.memory)} of memory (PSS), "
            f"{_mebibytes(found.memory_idle)} idle"
        )
        if not best.is_stable:
            console.print("[bold red]not sustained:[/] less was counted than accepted")
    if singles is not None:
        console.print(f"[bold]{singles.result.requests_per_second:,.0f} requests/s[/] with single events")


def _show_points(found: "Result", console: Console) -> None:
    grid = _grid(
        *("events x requests", "customers", "ids", "accepted/s", "counted/s", "reply ms p50/p99", "visible ms p50/p99"),
        *("lasts", "s/M", *_COLUMNS.values(), "PSS MiB", "WAL B", "disk B"),
    )
    for one in (*([found.held] if found.held else []), *found.points):
        result, spent = one.result, one.cpu_seconds_per_million
        grid.add_row(
            f"{one.batch:,} x {one.connections}",
            one.distribution,
            one.ids,
            f"{result.accepted_per_second:,.0f}",
            f"{result.counted_per_second:,.0f}",
            f"{result.reply.p50 * 1e3:.0f}/{result.reply.p99 * 1e3:.0f}",
            f"{result.visible.p50 * 1e3:.0f}/{result.visible.p99 * 1e3:.0f}",
            "yes" if one.is_stable else "no",
            f"{one.cpu_total:.2f}",
            *(f"{spent.get(name, 0):.2f}" for name in _COLUMNS),
            f"{one.pss / 2**20:,.0f}",
            f"{one.disk.wal / result.events:,.0f}",
            f"{(one.disk.database + one.disk.stream_log) / result.events:,.0f}",
        )
    console.print(grid)


def _show_verdict(found: "Result", console: Console) -> None:
    verdict = found.verdict
    if verdict.exact:
        console.print(f"[bold green]Exact:[/] {verdict.checked:,} counters are what was accepted.")
        return
    console.print(f"[bold red]Not exact:[/] {verdict.differences:,} of {verdict.checked:,} counters differ.")
    for sample in verdict.samples:
        console.print(f"  {escape(sample)}", highlight=False)


def _grid(first: str, *others: str) -> Table:
    grid = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1))
    grid.add_column(first)
    for name in others:
        grid.add_column(name, justify="right")
    return grid


def _mebibytes(memory: Mapping[str, Any]) -> str:
    return f"{sum(one.pss for one in memory.values()) / 2**20:,.0f} MiB"

"""How much memory processes take, as the kernel says.

RSS counts what several processes share in each of them, PSS counts each one's share of it: the sum of PSS is what is
really taken. Code is shared with strangers too, so PSS falls when a neighbour runs the same; `own`: PSS without files.
"""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

import msgspec

from tests.fleet import children

MIB = 1 << 20
_LINE = re.compile(r"^(Rss|Pss|Pss_Anon): +(\d+) kB$", re.MULTILINE)


class Memory(msgspec.Struct, frozen=True):
    """Bytes, and of how many processes."""

    rss: int
    pss: int
    own: int
    processes: int = 1


def of_tree(pid: int) -> Memory:
    """What a process and those that it has started take."""
    each = [_of(one) for one in _tree(pid)]
    rss, pss, own = (sum(getattr(one, kind) for one in each) for kind in ("rss", "pss", "own"))
    return Memory(rss, pss, own, len(each))


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for child in children(pid):
        yield from _tree(child)


def _of(pid: int) -> Memory:
    # One that has ended meanwhile takes nothing.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        found = dict(_LINE.findall(Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")))
        return Memory(*(int(found[kind]) * 1024 for kind in ("Rss", "Pss", "Pss_Anon")))
    return Memory(0, 0, 0, 0)


Sample = tuple[int, Mapping[str, Memory]]


def growth(samples: Sequence[Sample], of: Callable[[Mapping[str, Memory]], int]) -> tuple[float, float]:
    """The median of the first third, and that of the last."""
    values, third = [of(memories) for _, memories in samples], len(samples) // 3
    return median(values[:third]), median(values[-third:])


def table(samples: Sequence[Sample]) -> str:
    """One line for each sample, in MiB."""
    names = list(samples[0][1])
    lines = [f"{'events':>12}" + "".join(f"{name + ' RSS':>18}{'PSS':>8}" for name in names)]
    for events, memories in samples:
        cells = (f"{memories[name].rss / MIB:18.1f}{memories[name].pss / MIB:8.1f}" for name in names)
        lines.append(f"{events:12,}" + "".join(cells))
    return "\n".join(lines)

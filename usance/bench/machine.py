"""What processes cost, read from /proc: processor time, memory, and what the rest of the machine did meanwhile.

    trees(pids)          these processes and all below them
    cpu_seconds(pids)    of these processes and of those of their children that are dead
    memory(pids)         resident and proportional: PSS counts a page that n processes share as a n-th for each

Linux only: elsewhere there is no /proc, and no PSS.
"""

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


class Memory(msgspec.Struct, frozen=True):
    """Bytes."""

    rss: int = 0
    pss: int = 0


def trees(pids: Iterable[int]) -> list[int]:
    """These processes and all that descend from them."""
    families = _families()
    found = list(pids)
    for pid in found:
        found += families.get(pid, [])
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor time so far, with that of the dead children, which their parent keeps."""
    ticks = 0
    for pid in pids:
        fields = _stat(pid)
        if fields:
            ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS_PER_SECOND


def memory(pids: Iterable[int]) -> Memory:
    """What these processes hold."""
    rss = pss = 0
    for pid in pids:
        found = _rollup(pid)
        rss, pss = rss + found.get("Rss", 0), pss + found.get("Pss", 0)
    return Memory(rss * 1024, pss * 1024)


def busy_seconds() -> float:
    """Processor time of everything on the machine since it started."""
    user, nice, system, _, _, irq, softirq = map(int, (_PROC / "stat").read_text().split("\n", 1)[0].split()[1:8])
    return (user + nice + system + irq + softirq) / _TICKS_PER_SECOND


def children(pid: int) -> list[int]:
    """The processes that this one started and that live."""
    return _families().get(pid, [])


def command_line(pid: int) -> list[str]:
    """Its words; empty when it is gone."""
    with contextlib.suppress(OSError):
        return (_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    return []


def describe() -> str:
    """The machine in a line."""
    models = {
        line.partition(":")[2].strip()
        for line in (_PROC / "cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    }
    kibibytes = int((_PROC / "meminfo").read_text().split(maxsplit=2)[1])
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {', '.join(sorted(models)) or 'an unnamed processor'}, {kibibytes / 2**20:.0f} GiB"


def _families() -> Mapping[int, list[int]]:
    found: defaultdict[int, list[int]] = defaultdict(list)
    for path in _PROC.glob("[0-9]*"):
        pid = int(path.name)
        fields = _stat(pid)
        if fields:
            found[int(fields[1])].append(pid)
    return found


def _stat(pid: int) -> list[str]:
    """The fields behind the name, the first of which is the state; empty when the process is gone."""
    with contextlib.suppress(OSError):
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return []


def _rollup(pid: int) -> dict[str, int]:
    with contextlib.suppress(OSError):
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]
        return {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return {}

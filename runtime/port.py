"""The port that HTTP is spoken at: a listening socket for each process that answers.

    with port.listening(settings) as sockets:       made before the processes are, inherited by them
        port.url(sockets[0])

Who makes them here keeps them: they survive restarts of the processes, connections wait in them meanwhile, and port 0
is known before anything runs. The kernel spreads connections over the sockets of one port.
"""

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence

from runtime.errors import StartError
from runtime.settings import Settings

_BACKLOG = 1024
# Where nobody says how many. One process answers 20,000 requests a second; each takes memory.
_WORKERS_MAX = 4


@contextlib.contextmanager
def listening(settings: Settings) -> Iterator[Sequence[socket.socket]]:
    """A socket for each HTTP process that the settings ask for."""
    workers = settings.http_workers or sensible_workers(_cores())
    with contextlib.ExitStack() as stack:
        # Alone at first, also where several follow: those would share the port with anybody's of that kind.
        first = stack.enter_context(_listen(settings, settings.port))
        if workers == 1:
            yield [first]
            return
        port = first.getsockname()[1]
        first.close()
        yield [stack.enter_context(_listen(settings, port, shares=True)) for _ in range(workers)]


def url(listening_: socket.socket) -> str:
    """Where this machine reaches a socket."""
    host, port = listening_.getsockname()[:2]
    # What listens on every address is reached at the machine's own.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def sensible_workers(cores: int) -> int:
    """How many HTTP processes suit so many cores; the aggregator and the servers have work on as many."""
    return min(max(cores // 2, 1), _WORKERS_MAX)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _listen(settings: Settings, port: int, *, shares: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, port), family=family, backlog=_BACKLOG, reuse_port=shares)
    except OSError as exc:
        raise StartError(
            f"cannot listen on {settings.host} port {port}: {os.strerror(exc.errno or 0)}; "
            "choose another with --port (0 takes any free one) or --host"
        ) from exc

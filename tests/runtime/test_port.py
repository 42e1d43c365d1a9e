"""One port for several processes, and for nobody else's."""

import socket

import pytest

from runtime import port
from runtime.errors import StartError
from runtime.settings import Settings

CONNECTIONS = 64


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 1), (3, 1), (4, 2), (8, 4), (64, 4)])
def test_half_the_cores_answer(cores: int, workers: int) -> None:
    assert port.sensible_workers(cores) == workers


def test_connections_are_spread_over_the_sockets() -> None:
    with port.listening(Settings(port=0, http_workers=2)) as (one, other):
        address = one.getsockname()
        assert other.getsockname() == address
        clients = [socket.create_connection(address) for _ in range(CONNECTIONS)]
        waiting = [accepted(listening) for listening in (one, other)]
        for client in clients:
            client.close()

    assert sum(waiting) == CONNECTIONS
    assert min(waiting) > 0


def accepted(listening: socket.socket) -> int:
    """How many connections wait in a socket."""
    listening.setblocking(False)
    count = 0
    while True:
        try:
            listening.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


@pytest.mark.parametrize("mine", [1, 2])
@pytest.mark.parametrize("theirs", [1, 2])
def test_a_port_of_somebody_else_is_refused(mine: int, theirs: int) -> None:
    with port.listening(Settings(port=0, http_workers=theirs)) as sockets:
        number = sockets[0].getsockname()[1]
        with (
            pytest.raises(StartError, match=rf"cannot listen on 127.0.0.1 port {number}"),
            port.listening(Settings(port=number, http_workers=mine)),
        ):
            pass


def test_the_url_is_one_that_this_machine_reaches() -> None:
    with port.listening(Settings(host="0.0.0.0", port=0, http_workers=1)) as [every]:  # noqa: S104 what is tested
        assert port.url(every) == f"http://127.0.0.1:{every.getsockname()[1]}"
    with port.listening(Settings(host="::1", port=0, http_workers=1)) as [six]:
        assert port.url(six) == f"http://[::1]:{six.getsockname()[1]}"

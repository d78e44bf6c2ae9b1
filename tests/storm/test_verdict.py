"""What a storm calls lost or invented, and the proxy that breaks its connections."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from storm.check import Verdict, compare
from storm.ledger import InstanceRecord
from support.services.tcp_proxy import TcpProxy

ACKNOWLEDGED, REFUSED, UNANSWERED = (
    InstanceRecord(acknowledged=1),
    InstanceRecord(refused=1),
    InstanceRecord(unanswered=1),
)


@pytest.mark.parametrize(
    ("sent", "served", "aside", "lost", "invented"),
    [
        ({"a": ACKNOWLEDGED}, "a", set(), 0, 0),
        ({"a": ACKNOWLEDGED}, None, set(), 1, 0),
        ({"a": ACKNOWLEDGED, "b": ACKNOWLEDGED}, "b", {"a"}, 0, 0),
        ({"a": ACKNOWLEDGED, "b": ACKNOWLEDGED}, "b", set(), 1, 0),
        ({"a": ACKNOWLEDGED}, "x", set(), 1, 1),
        ({"a": REFUSED}, None, set(), 0, 0),
        ({"a": REFUSED}, "a", set(), 0, 1),
        ({"a": UNANSWERED}, None, set(), 0, 0),
        ({"a": UNANSWERED}, "a", set(), 0, 0),
    ],
)
def test_the_verdict_on_an_instance_follows_from_its_answers(
    sent: dict[str, InstanceRecord], served: str | None, aside: set[str], lost: int, invented: int
) -> None:
    verdict = Verdict()
    compare(verdict, "1.2.3", sent, served, aside)
    assert (len(verdict.lost), len(verdict.invented)) == (lost, invented)
    assert verdict.good is not (lost or invented)


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that sends back what comes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=_echo, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def _echo(connection: socket.socket) -> None:
    with connection, suppress(ConnectionResetError):
        while data := connection.recv(100):
            connection.sendall(data)


def test_a_proxy_passes_on_what_comes(echo: int) -> None:
    with TcpProxy(echo) as proxy, socket.create_connection(("127.0.0.1", proxy.port), 5) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b""


def test_a_proxy_that_cuts_resets_old_and_new_connections_until_it_is_mended(echo: int) -> None:
    with TcpProxy(echo) as proxy, socket.create_connection(("127.0.0.1", proxy.port), 5) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            client.recv(100)
        with pytest.raises(ConnectionResetError), socket.create_connection(("127.0.0.1", proxy.port), 5) as late:
            late.recv(100)
        proxy.mend()
        with socket.create_connection(("127.0.0.1", proxy.port), 5) as later:
            later.sendall(b"again")
            assert later.recv(100) == b"again"


def test_a_proxy_that_stalls_keeps_what_comes_until_it_is_mended(echo: int) -> None:
    with TcpProxy(echo) as proxy, socket.create_connection(("127.0.0.1", proxy.port), 5) as client:
        proxy.stall()
        client.settimeout(0.2)
        client.sendall(b"hello")
        with pytest.raises(TimeoutError):
            client.recv(100)
        proxy.mend()
        client.settimeout(5)
        assert client.recv(100) == b"hello"

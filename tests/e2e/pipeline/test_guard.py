"""Hostile endpoints, from outside: their deliveries fail at once, and nobody is connected to.

The local stack allows plain http and 127.0.0.0/8, so that tests can receive; all else is as it is
by default. The guard's own tests have many more.
"""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, Self

import pytest

from fl_notifications_cli.participants import Participant, ParticipantServer, always
from fl_notifications_cli.stack import Stack
from tests.e2e.pipeline.kit import START, FlServer, Outcomes, TrainingItem, some_uuid

ENDPOINTS: Final[Mapping[str, Callable[[int], str]]] = {
    # --- these would reach a listener of ours if they were not refused
    "loopback, IPv6": lambda port: f"http://[::1]:{port}/",
    "loopback, IPv4 mapped into IPv6": lambda port: f"http://[::ffff:127.0.0.1]:{port}/",
    "unspecified": lambda port: f"http://0.0.0.0:{port}/",
    "unspecified, IPv6": lambda port: f"http://[::]:{port}/",
    "decimal": lambda port: f"http://2130706433:{port}/",
    "hexadecimal": lambda port: f"http://0x7f000001:{port}/",
    "octal": lambda port: f"http://0177.0.0.1:{port}/",
    "short": lambda port: f"http://127.1:{port}/",
    "zero": lambda port: f"http://0:{port}/",
    "full-width": lambda port: f"http://\uff11\uff12\uff17\uff0e0\uff0e0\uff0e1:{port}/",
    "ideographic full stops": lambda port: f"http://127\u30020\u30020\u30021:{port}/",
    "user": lambda port: f"http://user@127.0.0.1:{port}/",
    "user and password": lambda port: f"http://user:password@127.0.0.1:{port}/",
    "fragment": lambda port: f"http://127.0.0.1:{port}/#fragment",
    "backslash": lambda port: f"http://127.0.0.1:{port}\\@example.org/",
    "space": lambda port: f"http://127.0.0.1:{port}/ HTTP/1.1",
    "line break": lambda port: f"http://127.0.0.1:{port}/\r\nX-Injected: 1",
    "tab": lambda port: f"http://127.0.0.1:{port}/\t",
    "NUL": lambda port: f"http://127.0.0.1:{port}/\x00",
    "zone id": lambda port: f"http://[::1%25lo]:{port}/",
    "other scheme": lambda port: f"ftp://127.0.0.1:{port}/",
    "no scheme": lambda port: f"127.0.0.1:{port}/",
    "no scheme, but slashes": lambda port: f"//127.0.0.1:{port}/",
    "file": lambda _port: "file:///etc/passwd",
    "port 0": lambda _port: "http://127.0.0.1:0/",
    "port too large": lambda port: f"http://127.0.0.1:{65536 + port}/",
    # --- what is not ours
    "metadata": lambda _port: "http://169.254.169.254/latest/meta-data/iam/",
    "metadata, mapped": lambda _port: "http://[::ffff:169.254.169.254]/",
    "metadata, IPv6": lambda _port: "http://[fd00:ec2::254]/",
    "credentials of a container": lambda _port: "http://169.254.170.2/v2/credentials",
    "private": lambda _port: "http://10.0.0.1/",
    "private, another": lambda _port: "https://192.168.1.1/",
    "private, mapped": lambda _port: "http://[::ffff:10.0.0.1]/",
    "private, NAT64": lambda _port: "http://[64:ff9b::10.0.0.1]/",
    "private, 6to4": lambda _port: "http://[2002:a00:1::]/",
    "shared": lambda _port: "http://100.64.0.1/",
    "documentation": lambda _port: "http://192.0.2.1/",
    "multicast": lambda _port: "http://224.0.0.1/",
    "broadcast": lambda _port: "http://255.255.255.255/",
    "unique local": lambda _port: "http://[fc00::1]/",
    # --- no URL at all
    "empty": lambda _port: "",
    "words": lambda _port: "no url at all",
    "only a scheme": lambda _port: "http://",
    "no host": lambda port: f"http://:{port}/",
    "too long": lambda port: f"http://127.0.0.1:{port}/{'x' * 3000}",
}


class Listener:
    """Takes connections on all addresses of this machine, and counts them."""

    def __init__(self) -> None:
        self.connections = 0
        if socket.has_dualstack_ipv6():
            self._socket = socket.create_server(
                ("::", 0), family=socket.AF_INET6, dualstack_ipv6=True
            )
        else:
            self._socket = socket.create_server(("0.0.0.0", 0))  # noqa: S104  # that is the point
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(10)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.connections += 1
                connection.close()


@pytest.fixture(scope="module")
def hostile(
    fl_server: FlServer, stack: Stack
) -> Iterator[tuple[TrainingItem, Mapping[str, Participant], Listener]]:
    """Everybody joins at once."""
    with Listener() as listener:
        training = fl_server.training(state="ONGOING")
        fl_server.let_it_be_read()
        endpoints = {name: make(listener.port) for name, make in ENDPOINTS.items()}
        # The service that the function itself runs on: here the emulator, which obeys everybody on
        # this machine; in Lambda the runtime API.
        endpoints["own service"] = f"{stack.endpoint_url}/"
        joined = {
            name: Participant(name, some_uuid(), endpoint, always())
            for name, endpoint in endpoints.items()
        }
        training.join(*joined.values())
        yield training, joined, listener


@pytest.mark.parametrize(
    "name",
    [
        *ENDPOINTS,
        pytest.param("own service", marks=pytest.mark.local("its address is another one on AWS")),
    ],
)
def test_a_hostile_endpoint_fails_at_once(
    name: str,
    hostile: tuple[TrainingItem, Mapping[str, Participant], Listener],
    outcomes: Outcomes,
) -> None:
    training, joined, _ = hostile

    event: Any = outcomes.wait_for(training, joined[name])

    detail = event["detail"]
    assert event["detail-type"] == "Notification Failed"
    assert (detail["attempts"], detail["status_code"]) == (1, None)
    assert 0 < len(detail["reason"]) < 50
    assert "127.0.0.1" not in detail["reason"], "a reason of ours, with nothing from outside"


LISTENS_HERE: Final = pytest.mark.local("it listens at this machine's own addresses")


@LISTENS_HERE
def test_nobody_is_connected_to(
    hostile: tuple[TrainingItem, Mapping[str, Participant], Listener],
    outcomes: Outcomes,
    participants: ParticipantServer,
) -> None:
    training, joined, listener = hostile
    good = participants.add()
    training.join(good)
    for participant in (*joined.values(), good):
        outcomes.wait_for(training, participant)

    assert listener.connections == 0
    assert good.labels == [START]


@LISTENS_HERE
def test_the_listener_would_have_noticed(
    hostile: tuple[TrainingItem, Mapping[str, Participant], Listener],
) -> None:
    _, _, listener = hostile
    before = listener.connections
    with socket.create_connection(("127.0.0.1", listener.port), timeout=5) as connection:
        assert connection.recv(1) == b""
    assert listener.connections == before + 1

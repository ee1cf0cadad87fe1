"""TLS over real sockets: the name is verified, and nothing is sent to whom it can't be."""

import datetime as dt
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from ipaddress import ip_network
from typing import Any

import pytest
import trustme

from fl_notifications.deliveries.guard import EndpointGuard
from fl_notifications.deliveries.post import (
    Answer,
    Poster,
    Responded,
    Unreachable,
)
from tests.receivers.wire import (
    Behaviour,
    Receiver,
    answer,
    drip,
    hang,
    reset,
    status,
)

NAME = "receiver.example"
GUARD = EndpointGuard([ip_network("127.0.0.0/8"), ip_network("::1/128")])
SLACK_SECONDS = 1.0


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def server(authority: trustme.CA, *names: str, **options: dt.datetime) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **options).configure_cert(context)  # type: ignore[arg-type]
    return context


def resolve(_host: str) -> Sequence[str]:
    return ["127.0.0.1"]


@pytest.fixture
def poster(trusting: ssl.SSLContext) -> Poster:
    return Poster(GUARD, timeout_seconds=10, resolve=resolve, tls=trusting)


@pytest.fixture
def hasty(trusting: ssl.SSLContext) -> Poster:
    return Poster(GUARD, timeout_seconds=0.4, resolve=resolve, tls=trusting)


@pytest.fixture
def receiver(authority: trustme.CA) -> Iterator[Receiver]:
    with Receiver(status(200), tls=server(authority, NAME)) as receiver:
        yield receiver


def post(poster: Poster, receiver: Receiver, host: str = NAME) -> Answer:
    return poster.post(f"https://{host}:{receiver.port}/inbox", {}, b"{}")


def test_a_verified_receiver_is_called_by_its_name(authority: trustme.CA, poster: Poster) -> None:
    asked: list[str | None] = []
    context = server(authority, NAME)
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    with Receiver(status(202, "Retry-After: 1"), tls=context) as receiver:
        assert post(poster, receiver) == Responded(202, "1")
    assert asked == [NAME]
    assert f"\r\nHost: {NAME}:{receiver.port}\r\n".encode() in receiver.requests[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_address_can_be_verified_too(authority: trustme.CA, poster: Poster, host: str) -> None:
    with Receiver(status(200), host=host, tls=server(authority, host)) as receiver:
        assert poster.post(receiver.url, {}, b"{}") == Responded(200, None)


@pytest.mark.parametrize("host", ["other.example", f"sub.{NAME}", "example", "127.0.0.1"])
def test_a_certificate_of_another_name_is_not_valid(
    poster: Poster, receiver: Receiver, host: str
) -> None:
    assert post(poster, receiver, host) == Unreachable("certificate not valid")
    assert receiver.requests == []


def test_a_certificate_of_an_unknown_authority_is_not_valid(poster: Poster) -> None:
    with Receiver(status(200), tls=server(trustme.CA(), NAME)) as receiver:
        assert post(poster, receiver) == Unreachable("certificate not valid")
    assert receiver.requests == []


def test_an_expired_certificate_is_not_valid(authority: trustme.CA, poster: Poster) -> None:
    past = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
    with Receiver(status(200), tls=server(authority, NAME, not_after=past)) as receiver:
        assert post(poster, receiver) == Unreachable("certificate not valid")
    assert receiver.requests == []


def test_without_a_context_the_system_s_authorities_decide(receiver: Receiver) -> None:
    poster = Poster(GUARD, timeout_seconds=10, resolve=resolve)
    assert post(poster, receiver) == Unreachable("certificate not valid")
    assert receiver.requests == []


def test_an_outdated_protocol_is_a_tls_error(authority: trustme.CA, poster: Poster) -> None:
    context = server(authority, NAME)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with Receiver(status(200), tls=context) as receiver:
        assert post(poster, receiver) == Unreachable("tls error")
    assert receiver.requests == []


def test_a_receiver_that_wants_a_certificate_of_ours_is_a_tls_error(
    authority: trustme.CA, poster: Poster
) -> None:
    context = server(authority, NAME)
    context.verify_mode = ssl.CERT_REQUIRED
    with Receiver(status(200), tls=context) as receiver:
        assert post(poster, receiver) in {
            Unreachable("tls error"),
            Unreachable("connection lost"),  # when the alert is overtaken by the end
        }
    assert receiver.requests == []


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        b"\x15\x03\x03\x00\x02\x02\x28",  # the alert "handshake failure"
        b"\x16\x03\x03\x40\x00" + b"\x00" * 0x4000,
        b"\x00" * 100,
        b"SSH-2.0-OpenSSH_9.9\r\n",
    ],
)
def test_what_is_not_tls_is_a_tls_error(poster: Poster, data: bytes) -> None:
    with Receiver(answer(data), read_request=False) as receiver:
        assert post(poster, receiver) in {Unreachable("tls error"), Unreachable("connection lost")}


@pytest.mark.parametrize("behaviour", [reset(), answer(b""), answer(b"\x16\x03\x03")])
def test_a_handshake_that_is_cut_off_is_unreachable(poster: Poster, behaviour: Behaviour) -> None:
    with Receiver(behaviour, read_request=False) as receiver:
        assert post(poster, receiver) in {Unreachable("tls error"), Unreachable("connection lost")}


@pytest.mark.parametrize(
    "behaviour",
    [
        hang(),
        hang(b"\x16\x03\x03\x10\x00"),
        drip(b"\x16\x03\x03\x10\x00" + b"\x02" * 99, 0.05),
        drip(b"\x14\x03\x03\x00\x01\x01" * 99, 0.05),
    ],
)
def test_a_handshake_that_takes_forever_costs_the_deadline_and_no_more(
    hasty: Poster, behaviour: Behaviour
) -> None:
    with Receiver(behaviour, read_request=False) as receiver:
        started = time.monotonic()
        assert post(hasty, receiver) in {Unreachable("timeout"), Unreachable("tls error")}
        assert time.monotonic() - started < 0.4 + SLACK_SECONDS


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (hang(), Unreachable("timeout")),
        (hang(b"HTTP/1.1 200 OK\r\n"), Responded(200, None)),
        (drip(b"HTTP/1.1 200 OK\r\n" * 9, 0.05), Unreachable("timeout")),
        (answer(b"nonsense\r\n"), Unreachable("protocol error")),
        (answer(b""), Unreachable("connection lost")),
        (answer(b"HTTP/1.1 200 OK\r\n" + b"a" * 1_000_000), Responded(200, None)),
        (answer(b"HTTP/1.1 200 " + b"a" * 1_000_000), Unreachable("protocol error")),
    ],
)
def test_behind_tls_answers_are_bounded_and_judged_alike(
    authority: trustme.CA, hasty: Poster, behaviour: Behaviour, expected: Answer
) -> None:
    with Receiver(behaviour, tls=server(authority, NAME)) as receiver:
        started = time.monotonic()
        assert post(hasty, receiver) == expected
        assert time.monotonic() - started < 0.4 + SLACK_SECONDS


@pytest.mark.parametrize("pause", [0.1, 20])
def test_a_receiver_that_reads_slowly_or_not_at_all_costs_the_deadline_and_no_more(
    authority: trustme.CA, hasty: Poster, pause: float
) -> None:
    def read_slowly(connection: socket.socket, over: threading.Event) -> None:
        while not over.wait(pause) and connection.recv(16384):
            pass

    context = server(authority, NAME)
    with Receiver(read_slowly, read_request=False, tls=context) as receiver:
        started = time.monotonic()
        url = f"https://{NAME}:{receiver.port}/"
        assert hasty.post(url, {}, bytes(16 << 20)) == Unreachable("timeout")
        assert time.monotonic() - started < 0.4 + SLACK_SECONDS


def test_an_answer_in_plain_text_after_the_handshake_is_none(
    authority: trustme.CA, poster: Poster
) -> None:
    def in_plain(connection: socket.socket, _over: threading.Event) -> None:
        with socket.socket(fileno=connection.detach()) as plain:
            plain.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    with Receiver(in_plain, tls=server(authority, NAME)) as receiver:
        assert post(poster, receiver) == Unreachable("tls error")


@pytest.mark.parametrize("behaviour", [reset(), reset(b"HTTP/1.1 200 OK\r\n\r\n")])
def test_a_connection_lost_before_the_handshake_sends_nothing(
    poster: Poster, monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour
) -> None:
    """`wrap_socket` then gives a socket without TLS, and says nothing."""
    wrap = ssl.SSLContext.wrap_socket

    def wrap_late(context: ssl.SSLContext, *args: Any, **options: Any) -> ssl.SSLSocket:
        time.sleep(0.3)
        return wrap(context, *args, **options)

    monkeypatch.setattr(ssl.SSLContext, "wrap_socket", wrap_late)
    with Receiver(behaviour, read_request=False) as receiver:
        assert post(poster, receiver) in {Unreachable("connection lost"), Unreachable("tls error")}


def test_the_connection_is_closed_in_order(authority: trustme.CA, poster: Poster) -> None:
    """Without `close_notify` a receiver cannot tell the end from an attack, and logs an error."""
    ended: list[Exception | None] = []

    def behave(connection: socket.socket, over: threading.Event) -> None:
        status(200)(connection, over)
        try:
            connection.unwrap()  # type: ignore[attr-defined]
        except OSError as error:
            ended.append(error)
        else:
            ended.append(None)

    with Receiver(behave, tls=server(authority, NAME)) as receiver:
        assert post(poster, receiver) == Responded(200, None)
    assert ended == [None]


def test_closing_in_order_waits_for_nobody(authority: trustme.CA, hasty: Poster) -> None:
    with Receiver(hang(), tls=server(authority, NAME)) as receiver:
        started = time.monotonic()
        assert post(hasty, receiver) == Unreachable("timeout")
        assert time.monotonic() - started < 0.4 + SLACK_SECONDS

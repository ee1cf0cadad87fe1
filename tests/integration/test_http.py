"""POSTs over real sockets: what is sent, what counts as an answer, what bounds an attempt."""

import socket
import threading
import time
from ipaddress import ip_network
from typing import Any

import pytest

from fl_notifications.deliveries.guard import EndpointGuard
from fl_notifications.deliveries.post import (
    MAX_ANSWER_BYTES,
    MAX_INTERIM_BYTES,
    Answer,
    Poster,
    Responded,
    Unreachable,
    _AnswerReader,
)
from tests.receivers.wire import (
    Behaviour,
    Receiver,
    answer,
    drip,
    flood,
    hang,
    reset,
    status,
)

HEADERS = {"Content-Type": "application/json", "webhook-id": "msg_1"}
BODY = b'{"notification_type": "TRAINING_START"}'
OPEN = EndpointGuard([ip_network("127.0.0.0/8"), ip_network("::1/128")], allow_plain_http=True)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
# How much later than its deadline an attempt may end on a busy machine.
SLACK_SECONDS = 1.0


@pytest.fixture
def poster() -> Poster:
    return Poster(OPEN, timeout_seconds=10)


@pytest.fixture
def hasty() -> Poster:
    return Poster(OPEN, timeout_seconds=0.4)


def post(poster: Poster, data: bytes) -> Answer:
    """Post to a receiver that answers with these bytes and closes."""
    with Receiver(answer(data)) as receiver:
        return poster.post(receiver.url, HEADERS, BODY)


def count_what_is_read_from(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give a list that gets the sizes of all that clients read from a receiver."""
    read: list[int] = []

    class Counting(socket.socket):
        def recv(self, size: int, flags: int = 0, /) -> bytes:
            data = super().recv(size, flags)
            if self.getpeername()[1] == receiver.port:
                read.append(len(data))
            return data

    monkeypatch.setattr("socket.socket", Counting)
    return read


def test_the_request_is_exactly_this(poster: Poster) -> None:
    with Receiver(status(200)) as receiver:
        poster.post(f"http://127.0.0.1:{receiver.port}/a%20b?c=d", HEADERS, BODY)
    assert receiver.requests == [
        f"POST /a%20b?c=d HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{receiver.port}\r\n"
        f"User-Agent: fl-notifications\r\n"
        f"Accept: */*\r\n"
        f"Accept-Encoding: identity\r\n"
        f"Connection: close\r\n"
        f"Content-Type: application/json\r\n"
        f"webhook-id: msg_1\r\n"
        f"Content-Length: {len(BODY)}\r\n\r\n".encode()
        + BODY
    ]


@pytest.mark.parametrize("body", [b"", b"x", bytes(range(256)) * 4096])
def test_a_body_of_any_size_arrives_as_it_is(poster: Poster, body: bytes) -> None:
    with Receiver(status(200)) as receiver:
        assert poster.post(receiver.url, HEADERS, body) == Responded(200, None)
    assert receiver.requests[0].partition(b"\r\n\r\n")[2] == body


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Host", "other.example"),
        ("content-length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "keep-alive"),
        ("Accept-Encoding", "gzip"),
        ("Expect", "100-continue"),
        ("X Y", "z"),
        ("X:Y", "z"),
        ("X\r\nY", "z"),
        ("", "z"),
        ("X", "a\r\nY: b"),
        ("X", "a\nb"),
        ("X", ""),
        ("X", "caf\u00e9"),
    ],
)
def test_a_header_that_is_not_the_caller_s_to_set_is_an_error_of_the_caller(
    poster: Poster, name: str, value: str
) -> None:
    with pytest.raises(ValueError, match="header"):
        poster.post("http://127.0.0.1:1/", {name: value}, BODY)


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299, 304, 400, 404, 410, 429, 500, 503, 999])
def test_a_status_is_given_as_sent(poster: Poster, code: int) -> None:
    assert post(poster, f"HTTP/1.1 {code} X\r\n\r\n".encode()) == Responded(code, None)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(poster: Poster, code: int) -> None:
    with (
        Receiver(status(200)) as other,
        Receiver(status(code, f"Location: {other.url}")) as receiver,
    ):
        assert poster.post(receiver.url, HEADERS, BODY) == Responded(code, None)
    assert (receiver.connections, other.connections) == (1, 0)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("Retry-After: 120", "120"),
        ("retry-after:120", "120"),
        ("RETRY-AFTER: \t 120 \t", "120"),
        ("Retry-After: Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:00 GMT"),
        ("Retry-After: " + "9" * 64, "9" * 64),
        ("Retry-After: " + "9" * 65, None),
        ("Retry-After:", None),
        ("Retry-After: 1\u00e9", None),
        ("Retry-After: 1\x1b[31m", None),
        ("Retry-After: 1\x00", None),
        ("Retry-After: 1\r\n 2", None),
        ("Retry-After : 1", None),
        ("X-Retry-After: 1", None),
        (" Retry-After: 1", None),
        ("Retry-After; 1", None),
    ],
)
def test_retry_after_is_taken_only_when_it_is_short_and_printable(
    poster: Poster, line: str, value: str | None
) -> None:
    data = f"HTTP/1.1 503 Busy\r\nServer: x\r\n{line}\r\nX: y\r\n\r\n".encode()
    assert post(poster, data) == Responded(503, value)


def test_retry_after_is_not_taken_from_a_body(poster: Poster) -> None:
    data = b"HTTP/1.1 503 Busy\r\n\r\n\r\nRetry-After: 120\r\n\r\n"
    assert post(poster, data) == Responded(503, None)


def test_retry_after_is_not_taken_from_an_interim_answer(poster: Poster) -> None:
    data = b"HTTP/1.1 103 Early Hints\r\nRetry-After: 120\r\n\r\nHTTP/1.1 503 Busy\r\n\r\n"
    assert post(poster, data) == Responded(503, None)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 200 \r\n\r\n",
        b"HTTP/1.1 200 \xff\x00\x1b[31m\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\nX: y\r\n\r\n" * 9 + b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nnot gzip",
        b"HTTP/1.1 200 OK\r\nnonsense\r\n: x\r\n\xff\xfe\r\n\r\n",
        # Half answers: the status line is there, and that is enough.
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/pl",
    ],
)
def test_a_status_line_is_enough_for_an_answer(poster: Poster, data: bytes) -> None:
    assert post(poster, data) == Responded(200, None)


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 20",
        b"H",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 099 X\r\n\r\n",
        b"HTTP/1.1 +20 X\r\n\r\n",
        b"HTTP/1.1 -200 X\r\n\r\n",
        b"HTTP/1.1 abc X\r\n\r\n",
        b"HTTP/1.1 2\xc2\xb20 X\r\n\r\n",
        b"HTTP/1.1 200\x00 X\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/0.9 200 OK\r\n\r\n",
        b"HTTP/1.11 200 OK\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"220 mail.example ESMTP\r\n",
        b"<html>hello</html>",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 20",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
        b"HTTP/1.1 200 " + b"a" * 10_000 + b"\r\n\r\n",
        b"\x00" * 100_000,
    ],
)
def test_what_is_not_http_is_a_protocol_error(poster: Poster, data: bytes) -> None:
    assert post(poster, data) == Unreachable("protocol error")


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_connection_that_ends_without_an_answer_is_lost(poster: Poster, data: bytes) -> None:
    assert post(poster, data) == Unreachable("connection lost")


def test_what_is_known_not_to_be_http_is_not_waited_for(poster: Poster) -> None:
    with Receiver(hang(b"SSH")) as receiver:
        started = time.monotonic()
        assert poster.post(receiver.url, HEADERS, BODY) == Unreachable("protocol error")
        assert time.monotonic() - started < SLACK_SECONDS


def test_a_reset_is_a_lost_connection(poster: Poster) -> None:
    with Receiver(reset()) as receiver:
        assert poster.post(receiver.url, HEADERS, BODY) == Unreachable("connection lost")


def test_a_reset_after_the_status_line_leaves_the_answer(poster: Poster) -> None:
    data = b"HTTP/1.1 500 Oops\r\nRetry-After: 7\r\nContent-Length: 9\r\n\r\n"
    with Receiver(reset(data)) as receiver:
        assert poster.post(receiver.url, HEADERS, BODY) == Responded(500, "7")


def test_an_answer_given_before_the_request_was_read_counts(poster: Poster) -> None:
    def too_large(connection: socket.socket, _over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass

    with Receiver(too_large, read_request=False) as receiver:
        assert poster.post(receiver.url, HEADERS, bytes(1 << 20)) == Responded(413, None)


def test_an_answer_is_looked_for_when_sending_fails(
    poster: Poster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receiver has answered and closed before it read all; seen from here, made certain."""

    class Broken(socket.socket):
        def send(self, data: Any, flags: int = 0, /) -> int:
            super().send(data, flags)
            time.sleep(0.1)
            raise BrokenPipeError

    with Receiver(hang(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")) as receiver:
        monkeypatch.setattr("socket.socket", Broken)
        assert poster.post(receiver.url, HEADERS, BODY) == Responded(413, None)
        monkeypatch.undo()


def test_nobody_listening_is_a_refused_connection(poster: Poster) -> None:
    with Receiver(status(200)) as receiver:
        pass
    assert poster.post(receiver.url, HEADERS, BODY) == Unreachable("connection refused")


@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 2", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 X\r\nA: b\r\n"]
)
def test_a_receiver_that_hangs_costs_the_deadline_and_no_more(hasty: Poster, start: bytes) -> None:
    with Receiver(hang(start)) as receiver:
        started = time.monotonic()
        assert hasty.post(receiver.url, HEADERS, BODY) == Unreachable("timeout")
        assert 0.4 <= time.monotonic() - started < 0.4 + SLACK_SECONDS


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (drip(b"HTTP/1.1 200 OK\r\n\r\n" * 9, 0.05), Unreachable("timeout")),
        (drip(b"HTTP/1.1 100 X\r\n\r\n" * 9, 0.05), Unreachable("timeout")),
        (
            drip(b"a" * 99, 0.05, start=b"HTTP/1.1 503 X\r\nRetry-After: 3\r\n"),
            Responded(503, "3"),
        ),
        (
            drip(b"a" * 99, 0.05, start=b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"),
            Responded(200, None),
        ),
    ],
)
def test_a_byte_at_a_time_does_not_stretch_the_deadline(
    hasty: Poster, behaviour: Behaviour, expected: Answer
) -> None:
    with Receiver(behaviour) as receiver:
        started = time.monotonic()
        assert hasty.post(receiver.url, HEADERS, BODY) == expected
        assert time.monotonic() - started < 0.4 + SLACK_SECONDS


def test_a_receiver_that_does_not_read_costs_the_deadline_and_no_more(hasty: Poster) -> None:
    with Receiver(hang(), read_request=False) as receiver:
        started = time.monotonic()
        assert hasty.post(receiver.url, HEADERS, bytes(64 << 20)) == Unreachable("timeout")
        assert time.monotonic() - started < 0.4 + SLACK_SECONDS


def test_a_body_that_never_ends_is_not_waited_for(poster: Poster) -> None:
    with Receiver(hang(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")) as receiver:
        started = time.monotonic()
        assert poster.post(receiver.url, HEADERS, BODY) == Responded(200, None)
        assert time.monotonic() - started < SLACK_SECONDS


@pytest.mark.parametrize(
    ("data", "drained"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", True),
        (b"HTTP/1.1 200 OK\r\ncontent-length:5\r\n\r\nhello", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", True),
    ],
)
def test_a_body_is_awaited_only_as_long_as_there_is_more_of_it(
    data: bytes, *, drained: bool
) -> None:
    reader = _AnswerReader()
    reader.feed(data)
    assert reader.complete
    assert reader.drained == drained


def test_a_short_body_that_comes_a_little_later_is_read_too(
    poster: Poster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed before, the connection would be reset: an error in many a receiver's log."""
    head, body = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"hello"
    with Receiver(drip(body, 0.01, start=head)) as receiver:
        read = count_what_is_read_from(receiver, monkeypatch)
        assert poster.post(receiver.url, HEADERS, BODY) == Responded(200, None)
        monkeypatch.undo()
    assert sum(read) == len(head + body)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n", Responded(200, None)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Responded(200, None)),
        (b"HTTP/1.1 429 X\r\nRetry-After: 9\r\nX: ", Responded(429, "9")),
        (b"HTTP/1.1 200 ", Unreachable("protocol error")),
    ],
)
def test_no_more_than_four_kibibytes_are_read(
    poster: Poster, monkeypatch: pytest.MonkeyPatch, head: bytes, expected: Answer
) -> None:
    with Receiver(flood(head)) as receiver:
        read = count_what_is_read_from(receiver, monkeypatch)
        assert poster.post(receiver.url, HEADERS, BODY) == expected
        monkeypatch.undo()
    assert 0 < sum(read) <= MAX_ANSWER_BYTES


EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\n" + b"Link: </x>\r\n" * 500 + b"\r\n"


@pytest.mark.parametrize("interim", [EARLY_HINTS, EARLY_HINTS[:100] + b"\r\n\r\n"], ids=len)
def test_interim_answers_leave_the_answer_its_four_kibibytes(
    poster: Poster, interim: bytes
) -> None:
    final = b"HTTP/1.1 429 X\r\n" + b"X: y\r\n" * 600 + b"Retry-After: 9\r\n\r\n"
    assert MAX_ANSWER_BYTES - 600 < len(final) < MAX_ANSWER_BYTES
    assert post(poster, interim + final) == Responded(429, "9")


def test_interim_answers_are_bounded_too(poster: Poster, monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver(flood(b"HTTP/1.1 103 X\r\nX: ")) as receiver:
        read = count_what_is_read_from(receiver, monkeypatch)
        assert poster.post(receiver.url, HEADERS, BODY) == Unreachable("protocol error")
        monkeypatch.undo()
    assert 0 < sum(read) <= MAX_INTERIM_BYTES


def test_proxies_of_the_environment_are_not_used(
    poster: Poster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Receiver(status(200)) as receiver, Receiver(status(500)) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.lower(), proxy.url)
        assert poster.post(receiver.url, HEADERS, BODY) == Responded(200, None)
    assert proxy.connections == 0


def test_each_attempt_has_a_connection_of_its_own(poster: Poster) -> None:
    with Receiver(status(200, "Connection: keep-alive")) as receiver:
        for _ in range(3):
            poster.post(receiver.url, HEADERS, BODY)
    assert (receiver.connections, len(receiver.requests)) == (3, 3)


def test_an_ipv6_address_is_called_with_brackets_and_port(poster: Poster) -> None:
    with Receiver(status(200), host="::1") as receiver:
        assert poster.post(receiver.url, HEADERS, BODY) == Responded(200, None)
    assert f"\r\nHost: [::1]:{receiver.port}\r\n".encode() in receiver.requests[0]


def test_many_threads_share_one_poster(poster: Poster) -> None:
    def attempt(number: int) -> None:
        results[number] = poster.post(receiver.url, {"X": str(number)}, str(number).encode())

    results: dict[int, Answer] = {}
    with Receiver(status(200)) as receiver:
        threads = [threading.Thread(target=attempt, args=(number,)) for number in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert set(results.values()) == {Responded(200, None)}
    bodies = sorted(int(request.partition(b"\r\n\r\n")[2]) for request in receiver.requests)
    assert bodies == list(range(50))


@pytest.mark.parametrize("behaviour", [status(200), hang(), answer(b"nonsense\r\n"), reset()])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_every_attempt_closes_its_socket(
    hasty: Poster, monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour, scheme: str
) -> None:
    """What the `ssl` module makes of one would be a ResourceWarning, so an error here."""
    made: list[socket.socket] = []

    class Kept(socket.socket):
        def connect(self, address: Any, /) -> None:
            made.append(self)
            super().connect(address)

    with Receiver(behaviour) as receiver:
        monkeypatch.setattr("socket.socket", Kept)
        hasty.post(receiver.url.replace("http:", f"{scheme}:"), HEADERS, BODY)
        hasty.post("http://127.0.0.1:1/", HEADERS, BODY)
        monkeypatch.undo()
    assert [connection.fileno() for connection in made] == [-1, -1]

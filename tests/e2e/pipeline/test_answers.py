"""The table "Answer → outcome", row by row.

All receivers join one running training at once, so that their waits overlap. Each is told of the
start only, which no callback follows.
"""

import contextlib
import itertools
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, Final

import pytest
import trustme

from fl_notifications_cli.participants import (
    Answer,
    Behaviour,
    Participant,
    ParticipantServer,
    Request,
    always,
    flaky,
)
from tests.e2e.pipeline.kit import (
    START,
    FlServer,
    Outcomes,
    TrainingItem,
    arrived,
    event_label,
    some_uuid,
)
from tests.receivers.wire import Receiver, drip, flood
from tests.receivers.wire import status as wire_status

AT_THIS_MACHINE: Final = pytest.mark.local("its receivers are bare sockets at 127.0.0.1")

MAX_ATTEMPTS: Final = 6
"""Of the environment `local` of samconfig.toml, as the next."""

TIMEOUT_SECONDS: Final = 5

LONG: Final = 150.0
"""Six attempts of 5 s, and 15 s of waiting between them, on a machine that is busy."""


@dataclass(frozen=True)
class End:
    """How a delivery ends: detail-type, attempts, status code and reason of its event."""

    kind: str
    attempts: int
    status_code: int | None
    reason: str | None


def accepted(status: int, attempts: int = 1) -> End:
    """A 2xx."""
    return End("Notification Accepted", attempts, status, None)


def rejected(status: int, attempts: int = 1) -> End:
    """Any other answer."""
    return End("Notification Rejected", attempts, status, f"answered {status}")


def failed(reason: str, attempts: int = MAX_ATTEMPTS) -> End:
    """No answer."""
    return End("Notification Failed", attempts, None, reason)


def retry_after(value: Callable[[], str]) -> Behaviour:
    """Be busy once, and say for how long."""
    return lambda _request, attempt: (
        Answer(429, {"Retry-After": value()}) if attempt == 1 else Answer(200)
    )


def redirecting(status: int, target: str) -> Behaviour:
    """Send everybody elsewhere."""
    return lambda _request, _attempt: Answer(status, {"Location": target})


def hanging(times: int) -> Behaviour:
    """Say nothing to the first attempts for far longer than any timeout."""

    def behave(_request: Request, attempt: int) -> Answer:
        return Answer(200, after_seconds=600 if attempt <= times else 0)

    return behave


ANSWERED: Final[Mapping[str, tuple[Behaviour, End]]] = {
    **{f"{status}": (always(status), accepted(status)) for status in (200, 201, 202, 204, 299)},
    **{
        f"{status}, then fine": (flaky(1, status=status), accepted(200, attempts=2))
        for status in (408, 425, 429, 500, 502, 503, 504, 507, 599)
    },
    "503 twice, then fine": (flaky(2), accepted(200, attempts=3)),
    "503 until all attempts are used up": (always(503), rejected(503, attempts=MAX_ATTEMPTS)),
    **{
        f"{status}": (always(status), rejected(status))
        for status in (400, 401, 403, 404, 409, 410, 413, 422, 501, 505, 600)
    },
    "closed without a word, then fine": (flaky(1, status=None), accepted(200, attempts=2)),
    "closed without a word": (always(None), failed("connection lost")),
    "silent once, then fine": (hanging(1), accepted(200, attempts=2)),
    "silent for ever": (hanging(99), failed("timeout")),
    "Retry-After in seconds": (retry_after(lambda: "4"), accepted(200, attempts=2)),
    "Retry-After as a date": (
        retry_after(lambda: formatdate(time.time() + 6, usegmt=True)),
        accepted(200, attempts=2),
    ),
    "Retry-After in words": (retry_after(lambda: "soon"), accepted(200, attempts=2)),
    "Retry-After of nothing": (retry_after(lambda: "0"), accepted(200, attempts=2)),
    "200 with a Retry-After": (
        lambda _request, _attempt: Answer(200, {"Retry-After": "60"}),
        accepted(200),
    ),
    "400 with a Retry-After": (
        lambda _request, _attempt: Answer(400, {"Retry-After": "60"}),
        rejected(400),
    ),
    "an answer of 1 MB": (
        lambda _request, _attempt: Answer(200, body=b"x" * 1_000_000),
        accepted(200),
    ),
}
REDIRECTS: Final = (300, 301, 302, 303, 304, 307, 308)


@dataclass
class Joined:
    """The training, and whoever has joined it."""

    training: TrainingItem
    answering: Mapping[str, Participant]
    redirected: Mapping[int, Participant]
    target: Participant
    elsewhere: Mapping[str, Participant]
    sockets: Mapping[str, tuple[Participant, Receiver]]


def elsewhere(name: str, endpoint: str) -> Participant:
    """A participant at a place that is no server of ours."""
    return Participant(name, some_uuid(), endpoint, always())


def drip_once() -> Callable[[socket.socket, Any], None]:
    """A status line, byte by byte and far too slowly; the second time a proper answer."""
    slowly = drip(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 1.0)
    visits = iter(range(1_000_000))

    def behave(connection: socket.socket, over: Any) -> None:
        if next(visits) == 0:
            slowly(connection, over)
        else:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    return behave


@pytest.fixture(scope="module")
def closed_port() -> Iterator[int]:
    """A port that refuses connections: bound, so that nobody else gets it, but not listening."""
    with contextlib.closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture(scope="module")
def joined(
    fl_server: FlServer,
    long_lived: ParticipantServer,
    closed_port: int,
    policy_trainings: object,  # begun now, as they have to wait as well
) -> Iterator[Joined]:
    """Everybody joins at once."""
    with ExitStack() as stack:
        server = long_lived
        target = server.add(name="where the redirects lead")
        bare = {
            "endless body": flood(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"),
            "endless chunks": flood(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n"
            ),
            "endless headers": flood(b"HTTP/1.1 503 Busy\r\nX-Long: "),
            "slow bytes": drip_once(),
            "no HTTP": flood(b"220 smtp.example.org ESMTP\r\n"),
        }
        receivers = {
            name: stack.enter_context(Receiver(behaviour)) for name, behaviour in bare.items()
        }
        unknown = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(unknown)
        receivers["certificate of nobody"] = stack.enter_context(
            Receiver(wire_status(200), tls=unknown)
        )
        everybody = Joined(
            training=fl_server.training(state="ONGOING"),
            answering={
                name: server.add(behaviour, name=name) for name, (behaviour, _) in ANSWERED.items()
            },
            redirected={
                status: server.add(redirecting(status, target.message_endpoint), name=f"{status}")
                for status in REDIRECTS
            },
            target=target,
            elsewhere={
                "refused": elsewhere("refused", f"http://127.0.0.1:{closed_port}/"),
                "no TLS": elsewhere("no TLS", server.url.replace("http:", "https:")),
                "no such name": elsewhere("no such name", "https://nobody.invalid/"),
            },
            sockets={
                name: (elsewhere(name, receiver.url), receiver)
                for name, receiver in receivers.items()
            },
        )
        fl_server.let_it_be_read()
        everybody.training.join(
            # What takes longest comes first.
            *everybody.elsewhere.values(),
            *everybody.answering.values(),
            *everybody.redirected.values(),
            *(participant for participant, _ in everybody.sockets.values()),
        )
        yield everybody


def end_of(joined: Joined, outcomes: Outcomes, participant: Participant) -> End:
    """How the start's delivery to a participant ends."""
    event = outcomes.wait_for(joined.training, participant, seconds=LONG)
    detail = event["detail"]
    return End(event["detail-type"], detail["attempts"], detail["status_code"], detail["reason"])


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.lost_connection) if "closed" in name else name
        for name in ANSWERED
    ],
)
def test_an_answer_leads_to_its_outcome(name: str, joined: Joined, outcomes: Outcomes) -> None:
    participant, (_, end) = joined.answering[name], ANSWERED[name]

    assert end_of(joined, outcomes, participant) == end
    assert participant.labels == [START] * end.attempts


@pytest.mark.parametrize("status", REDIRECTS)
def test_a_redirect_is_a_rejection(status: int, joined: Joined, outcomes: Outcomes) -> None:
    assert end_of(joined, outcomes, joined.redirected[status]) == rejected(status)
    assert joined.redirected[status].labels == [START]


def test_no_redirect_is_followed(joined: Joined, outcomes: Outcomes) -> None:
    for participant in joined.redirected.values():
        outcomes.wait_for(joined.training, participant)

    assert joined.target.requests == []


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        pytest.param("refused", {"connection refused"}, marks=AT_THIS_MACHINE),
        pytest.param("no TLS", {"tls error"}, marks=AT_THIS_MACHINE),
        # How soon a resolver says so is its own affair.
        ("no such name", {"name not resolved", "timeout"}),
    ],
)
def test_who_cannot_be_reached_is_tried_again_until_it_has_failed(
    name: str, reasons: set[str], joined: Joined, outcomes: Outcomes
) -> None:
    end = end_of(joined, outcomes, joined.elsewhere[name])

    assert end.reason in reasons
    assert end == failed(end.reason or "")


@AT_THIS_MACHINE
@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("endless body", accepted(200)),
        ("endless chunks", accepted(200)),
        ("endless headers", rejected(503, attempts=MAX_ATTEMPTS)),
        ("slow bytes", accepted(200, attempts=2)),
        ("no HTTP", failed("protocol error")),
        ("certificate of nobody", failed("certificate not valid")),
    ],
)
def test_an_answer_that_is_none_or_does_not_end_is_dealt_with(
    name: str, end: End, joined: Joined, outcomes: Outcomes
) -> None:
    participant, receiver = joined.sockets[name]

    assert end_of(joined, outcomes, participant) == end
    assert receiver.connections == end.attempts


@pytest.mark.parametrize(
    ("name", "seconds"), [("Retry-After in seconds", 4), ("Retry-After as a date", 4)]
)
def test_a_receiver_that_asks_for_time_gets_it(name: str, seconds: int, joined: Joined) -> None:
    first, second = arrived(joined.answering[name], 2)[:2]

    assert second.at - first.at >= seconds - 0.1


def test_the_waits_become_longer(joined: Joined, outcomes: Outcomes) -> None:
    """Before attempt n+1 there is n times the backoff, which is 1 s here, less a fifth."""
    participant = joined.answering["503 until all attempts are used up"]
    outcomes.wait_for(joined.training, participant, seconds=LONG)

    times = [request.at for request in participant.requests]
    waits = [after - before for before, after in itertools.pairwise(times)]
    assert len(waits) == MAX_ATTEMPTS - 1
    for number, wait in enumerate(waits, start=1):
        # Whole seconds: 0.8 n may be rounded down.
        assert wait >= max(1.0, 0.8 * number - 0.5) - 0.1, f"the waits are {waits}"


def test_every_delivery_ends_in_one_outcome(joined: Joined, outcomes: Outcomes) -> None:
    everybody = [
        *joined.answering.values(),
        *joined.redirected.values(),
        *joined.elsewhere.values(),
        *(participant for participant, _ in joined.sockets.values()),
    ]
    for participant in everybody:
        outcomes.wait_for(joined.training, participant, seconds=LONG)

    for participant in everybody:
        events = outcomes.events(joined.training, participant.uuid)
        assert {event_label(event) for event in events} == {START}, participant.name
        assert len({event["detail-type"] for event in events}) == 1, participant.name

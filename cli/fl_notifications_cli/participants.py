"""Participants for the demo and the tests: real HTTP servers whose answers a program decides."""

import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

_KEPT_OPEN_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Request:
    """A request that arrived, whole.

    Attributes:
        at: when its last byte had arrived, unix time in seconds.
        path: the URL's path and query.
        headers: by name in lower case.
        body: as sent.
    """

    at: float
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def message(self) -> dict[str, Any]:
        """The body as JSON."""
        said: dict[str, Any] = json.loads(self.body)
        return said

    @property
    def kind(self) -> str:
        """The notification's type."""
        return str(self.message["notification_type"])

    @property
    def round(self) -> int | None:
        """The round that it announces, if it announces one."""
        said: int | None = self.message["body"].get("round")
        return said

    @property
    def label(self) -> str:
        """Type and round, for people: `UPDATE_ROUND_START 1`."""
        return self.kind if self.round is None else f"{self.kind} {self.round}"

    @property
    def webhook_id(self) -> str:
        """The notification's id."""
        return self.headers["webhook-id"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver answers.

    Attributes:
        status: the HTTP status; None closes the connection without a word.
        headers: beside `Content-Length`.
        body: as sent.
        after_seconds: how long it takes.
    """

    status: int | None = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    after_seconds: float = 0.0


type Behaviour = Callable[[Request, int], Answer]
"""What to answer to a request, and to its how many-th attempt (from 1, by `webhook-id`)."""


def always(status: int | None = 200, *, after_seconds: float = 0.0) -> Behaviour:
    """Answer every request alike."""
    return lambda _request, _attempt: Answer(status, after_seconds=after_seconds)


def flaky(failures: int, *, status: int | None = 503) -> Behaviour:
    """Fail the first attempts of each notification, then accept it."""
    return lambda _request, attempt: Answer(status if attempt <= failures else 200)


def rejecting(round_number: int, *, status: int = 400) -> Behaviour:
    """Reject what announces a certain round, and accept everything else."""
    return lambda request, _attempt: Answer(status if request.round == round_number else 200)


def uuid_of(url: str) -> str:
    """A uuid for a receiver that is known by its address only: the same for the same address."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, url.rstrip("/")))


class Participant:
    """A receiver, with all that it has been sent.

    Attributes:
        uuid: its identity.
        name: for people.
        message_endpoint: its URL.
        behaviour: what it answers; may be changed at any time.
    """

    def __init__(self, name: str, uuid: str, message_endpoint: str, behaviour: Behaviour) -> None:
        self.name = name
        self.uuid = uuid
        self.message_endpoint = message_endpoint
        self.behaviour = behaviour
        self._requests: list[tuple[Request, Answer]] = []
        self._changed = threading.Condition()

    @property
    def requests(self) -> list[Request]:
        """All requests so far, in the order of their arrival."""
        with self._changed:
            return [request for request, _ in self._requests]

    @property
    def exchanges(self) -> list[tuple[Request, Answer]]:
        """All requests so far, each with what was decided to answer."""
        with self._changed:
            return list(self._requests)

    @property
    def labels(self) -> list[str]:
        """Type and round of all requests so far."""
        return [request.label for request in self.requests]

    def wait_for(
        self, condition: Callable[[Sequence[Request]], bool], *, timeout_seconds: float
    ) -> bool:
        """Wait until what has arrived meets a condition; return whether it did in time."""
        with self._changed:
            return self._changed.wait_for(
                lambda: condition([request for request, _ in self._requests]), timeout_seconds
            )

    def receive(self, request: Request) -> Answer:
        """Take a request and decide the answer."""
        with self._changed:
            known = request.headers.get("webhook-id")
            attempt = 1 + sum(
                earlier.headers.get("webhook-id") == known for earlier, _ in self._requests
            )
            behaviour = self.behaviour
        # Without the lock: one that hands requests on may take its time.
        answer = behaviour(request, attempt)
        with self._changed:
            self._requests.append((request, answer))
            self._changed.notify_all()
        return answer


class ParticipantServer:
    """One HTTP server on 127.0.0.1, at a port of its own, with any number of participants.

    Use it as a context manager: it listens from the beginning, and stops at the end.

    Args:
        port: where; 0 takes a free one.
        public_url: where it is reached from outside, if something forwards requests to it.
    """

    def __init__(self, port: int = 0, *, public_url: str | None = None) -> None:
        self._public_url = public_url
        self._participants: dict[str, Participant] = {}
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", port), self._handler())
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The server's address."""
        return self._public_url or f"http://127.0.0.1:{self._server.server_address[1]}"

    def add(
        self,
        behaviour: Behaviour | None = None,
        *,
        name: str = "",
        uuid_: str | None = None,
        path: str | None = None,
    ) -> Participant:
        """Add a participant with a path of its own; by default it accepts everything.

        The path `/` gets what is for nobody else.
        """
        identity = uuid_ or str(uuid.uuid4())
        path = path or f"/participants/{identity}"
        participant = Participant(
            name or identity, identity, f"{self.url}{path}", behaviour or always()
        )
        self._participants[path] = participant
        return participant

    def close(self) -> None:
        """Stop: from now on connections are refused, and answers that are waited for never come."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        participants, closing = self._participants, self._closing

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = _KEPT_OPEN_SECONDS

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = Request(
                    at=time.time(),
                    path=self.path,
                    headers={name.lower(): value for name, value in self.headers.items()},
                    body=body,
                )
                participant = participants.get(self.path) or participants.get("/")
                answer = participant.receive(request) if participant else Answer(404)
                if answer.after_seconds:
                    closing.wait(answer.after_seconds)
                if answer.status is None or closing.is_set():
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name
                """Say nothing: what arrived is kept instead."""

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away: its function was at its end, or killed."""

"""One POST: guarded, and bounded in time and size.

What is needed of HTTP is small: send one request of known length on a connection of its own, and
read a status and one header. Written on sockets, every byte sent, read and waited for is accounted
for here; `docs/decisions.md` says why no HTTP library does that.

A POST is a generator that yields what it waits for, so that one thread makes many side by side
(`fl_notifications.deliveries.posts`): ten threads for ten POSTs took twice the CPU.
"""

import errno
import os
import re
import select
import socket
import ssl
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from ipaddress import IPv4Address, ip_address
from itertools import zip_longest
from math import ceil
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Final, Literal, Self
from urllib.parse import urlsplit
from zlib import crc32

from fl_notifications.deliveries.guard import (
    Address,
    Endpoint,
    EndpointGuard,
    ForbiddenEndpointError,
    ForbiddenReason,
)

type UnreachableReason = Literal[
    "name not resolved",
    "connection refused",
    "connection lost",
    "no route",
    "network error",
    "timeout",
    "tls error",
    "certificate not valid",
    "protocol error",
]
type UnableReason = Literal[
    "no sockets left",
    "no threads left",
    "no memory left",
    "no resolver",
    "no way out",
]
# Gives all addresses of a host, as text; raises OSError when there are none.
type Resolver = Callable[[str], Sequence[str]]

MAX_ANSWER_BYTES: Final = 4096  # of the final answer, headers included
# Of all interim answers (100, 103 and the like) before it.
MAX_INTERIM_BYTES: Final = 16_384
# Addresses of one name that one attempt tries; all of them are judged.
MAX_CONNECTS: Final = 4
# Concurrent look-ups that may hang: the system's resolver cannot be cancelled, and times out only
# after tens of seconds.
MAX_LOOKUPS: Final = 128
# A thread for look-ups ends when there has been none for it for this long.
IDLE_SECONDS: Final = 60.0
# Once the answer is known, its body is awaited this long, for the receiver's sake: a connection
# closed with bytes unread is reset, which many servers log as an error.
DRAIN_SECONDS: Final = 0.2

_FIXED_HEADERS: Final = (
    "User-Agent: fl-notifications\r\n"
    "Accept: */*\r\n"
    "Accept-Encoding: identity\r\n"
    "Connection: close\r\n"
)
_RESERVED_HEADERS: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE: Final = re.compile(r"[!-~]([ -~]*[!-~])?")

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[0-9] ([1-9][0-9]{2})(?: [^\r\n]*)?\r?\n")
_STATUS_START: Final = b"HTTP/1."
_HEAD_END: Final = re.compile(rb"\n\r?\n")
# A value that goes on in the next line (obsolete folding) is none.
_RETRY_AFTER: Final = re.compile(
    rb"\nretry-after:[ \t]*([!-~](?:[ -~]{0,62}[!-~])?)[ \t]*\r?\n(?![ \t])", re.IGNORECASE
)
_CONTENT_LENGTH: Final = re.compile(
    rb"\ncontent-length:[ \t]*([0-9]{1,4})[ \t]*\r?\n", re.IGNORECASE
)
_LAST_CHUNK: Final = b"0\r\n\r\n"
_SWITCHING_PROTOCOLS: Final = 101
_OK: Final = 200
_NO_BODY: Final = frozenset({204, 304})

_WANTED: Final[Mapping[type[OSError], int]] = {
    ssl.SSLWantReadError: select.POLLIN,
    ssl.SSLWantWriteError: select.POLLOUT,
}
_REASONS: Final[tuple[tuple[type[OSError], UnreachableReason], ...]] = (
    (ssl.SSLCertVerificationError, "certificate not valid"),
    (ssl.SSLError, "tls error"),
    (TimeoutError, "timeout"),
    (ConnectionRefusedError, "connection refused"),
    (ConnectionError, "connection lost"),
)
_REASONS_BY_ERRNO: Final[Mapping[int, UnreachableReason]] = {
    errno.ENOTCONN: "connection lost",
    errno.EHOSTUNREACH: "no route",
    errno.ENETUNREACH: "no route",
    errno.ENETDOWN: "no route",
    errno.EADDRNOTAVAIL: "no route",
    errno.EAFNOSUPPORT: "no route",
}
_UNABLE_BY_ERRNO: Final[Mapping[int, UnableReason]] = {
    errno.EMFILE: "no sockets left",
    errno.ENFILE: "no sockets left",
    errno.ENOBUFS: "no memory left",
    errno.ENOMEM: "no memory left",
}
# Reserved for documentation (RFC 5737, RFC 3849), so that only a default route leads there.
_ELSEWHERE: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
_DISCARD_PORT: Final = 9


@dataclass(frozen=True, slots=True)
class Responded:
    """The receiver answered.

    Attributes:
        status: from 200 to 999, as sent.
        retry_after: the Retry-After header as sent: at most 64 printable ASCII characters, else
            None.
    """

    status: int
    retry_after: str | None


@dataclass(frozen=True, slots=True)
class Unreachable:
    """There was no answer; worth a retry.

    Attributes:
        reason: from our fixed vocabulary, never the peer's text.
    """

    reason: UnreachableReason | ForbiddenReason


@dataclass(frozen=True, slots=True)
class Unable:
    """Nothing was sent, because of a fault on our side: not counted as an attempt.

    Attributes:
        reason: from our fixed vocabulary, never the peer's text.
    """

    reason: UnableReason


@dataclass(frozen=True, slots=True)
class Forbidden:
    """Permanent error, nothing was sent: the endpoint is invalid or not allowed.

    Attributes:
        reason: from our fixed vocabulary, never the peer's text.
    """

    reason: ForbiddenReason


type Answer = Responded | Unreachable | Forbidden | Unable


@dataclass(frozen=True, slots=True)
class Wait:
    """What a POST waits for before it goes on.

    Attributes:
        fileno: of the file that is to become ready.
        event: what for: `select.POLLIN` or `select.POLLOUT`.
        until: how long at most, on the clock of `time.monotonic`.
    """

    fileno: int
    event: int
    until: float


type Steps[T] = Generator[Wait, bool | None, T]
"""Yields what it waits for, and is then sent whether that has come in time."""


class _UnreachableError(Exception):
    def __init__(self, reason: UnreachableReason | ForbiddenReason) -> None:
        super().__init__(reason)
        self.reason: UnreachableReason | ForbiddenReason = reason


class _UnableError(Exception):
    def __init__(self, reason: UnableReason) -> None:
        super().__init__(reason)
        self.reason: UnableReason = reason


class _Deadline:
    """The deadline of one attempt."""

    __slots__ = ("at",)

    def __init__(self, seconds: float) -> None:
        self.at = monotonic() + seconds

    def left(self) -> float:
        """Return the seconds left, more than 0.

        Raises:
            TimeoutError: none are left.
        """
        left = self.at - monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _LookupThreads:
    """Threads that can be abandoned, since a DNS look-up cannot be cancelled.

    A task never waits for another: it gets a thread that is idle, or a new one. They are daemons,
    so that one that hangs doesn't keep the process from ending.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._idle = 0
        self._threads = 0
        self._tasks: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def start(self, task: Callable[[], None]) -> bool:
        """Start a task, unless `limit` are under way or the system has no more threads."""
        with self._lock:
            if self._idle:
                self._idle -= 1
            elif self._threads == self._limit:
                return False
            else:
                try:
                    threading.Thread(target=self._work, name="name look-up", daemon=True).start()
                except RuntimeError:
                    return False
                self._threads += 1
        self._tasks.put(task)
        return True

    def _work(self) -> None:
        while True:
            try:
                task = self._tasks.get(timeout=IDLE_SECONDS)
            except Empty:
                with self._lock:
                    if self._idle:  # else a task is just about to come for this thread
                        self._idle -= 1
                        self._threads -= 1
                        return
            else:
                task()
                with self._lock:
                    self._idle += 1


class _LookUp:
    """A look-up of a name in a thread of its own.

    A pipe tells when it has ended: its end that is written to is closed then.

    Attributes:
        addresses: what was found; none if nothing was.
        ended: whether it has ended.
    """

    __slots__ = ("_reader", "_writer", "addresses", "ended")

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self.addresses: Sequence[Address] = ()
        self.ended = False

    def run(self, resolve: Resolver, host: str) -> None:
        try:
            self.addresses = [ip_address(text) for text in resolve(host)]
        except (OSError, ValueError):
            pass  # not found, or found what is no address: none to connect to
        finally:
            self.end()

    def end(self) -> None:
        self.ended = True
        os.close(self._writer)

    def wait(self, until: float) -> Steps[None]:
        """Wait until it has ended, at most until a moment."""
        while not self.ended and monotonic() < until:
            yield Wait(self._reader, select.POLLIN, until)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._reader)


class _AnswerReader:
    """Reads an answer as it comes in, and no more of it than `MAX_ANSWER_BYTES`.

    Interim answers before it are dropped, and are bounded by `MAX_INTERIM_BYTES` in all.

    Attributes:
        status: of the final answer, as soon as its status line is there.
        complete: whether nothing more is needed, or will come, to know the answer.
        drained: whether its body is all read, or as much of it as ever will be.
    """

    __slots__ = (
        "_at",
        "_body_end",
        "_data",
        "_garbled",
        "_interim",
        "_interim_left",
        "complete",
        "drained",
        "status",
    )

    def __init__(self) -> None:
        self._data = b""
        self._at = 0  # where the headers begin: at the status line's end, once that is there
        self._interim = False  # whether an interim answer is being read
        self._interim_left = MAX_INTERIM_BYTES
        self._garbled = False
        self._body_end: int | None = None
        self.status: int | None = None
        self.complete = False
        self.drained = False

    @property
    def room(self) -> int:
        """How many bytes may be read next."""
        if self._interim:
            return min(MAX_ANSWER_BYTES, self._interim_left - len(self._data))
        return MAX_ANSWER_BYTES - len(self._data)

    @property
    def retry_after(self) -> str | None:
        """The Retry-After header, if it is among the headers read."""
        end = _HEAD_END.search(self._data, self._at)
        found = _RETRY_AFTER.search(self._data[self._at : end.end() if end else None])
        return found[1].decode("ascii") if found else None

    @property
    def failure(self) -> UnreachableReason:
        """Why there is no status, when no more will be read."""
        return "protocol error" if self._data or self._garbled else "connection lost"

    def feed(self, data: bytes) -> None:
        """Parse received bytes; none mean that the connection was closed."""
        self._data += data
        if self.status is None:
            self._read_status()
        if self.status is not None and not self.complete:
            self._read_head(self.status)
        if self.complete:
            self.drained = (
                len(self._data) >= self._body_end
                if self._body_end is not None
                else self._data.endswith(_LAST_CHUNK)
            )
        if self._garbled or not data or self.room <= 0:
            self.complete = self.drained = True

    def _read_status(self) -> None:
        """Find the final status line; interim answers before it are dropped."""
        while line := _STATUS_LINE.match(self._data):
            status = int(line[1])
            if status >= _OK:
                self.status = status
                self._at = line.end() - 1  # its line feed: the line before the headers ends there
                return
            end = _HEAD_END.search(self._data, line.end() - 1)
            self._garbled = status == _SWITCHING_PROTOCOLS  # nobody asked for that
            self._interim = end is None
            if end is None or self._garbled:
                return
            self._interim_left -= end.end()
            self._data = self._data[end.end() :]
            self._garbled = self._interim_left <= 0
        start = self._data[: len(_STATUS_START)]
        self._garbled |= not _STATUS_START.startswith(start) or b"\n" in self._data

    def _read_head(self, status: int) -> None:
        end = _HEAD_END.search(self._data, self._at)
        if end is None:
            return
        self.complete = True
        length = _CONTENT_LENGTH.search(self._data, self._at, end.end())
        if status in _NO_BODY:
            self._body_end = end.end()
        elif length:
            self._body_end = end.end() + int(length[1])


class Poster:
    """Makes POSTs. Safe to use from several threads at once.

    Each attempt has a connection of its own, so that none can fail because a kept one had gone
    stale, and every connection has passed the guard.

    Args:
        guard: judges every endpoint.
        timeout_seconds: bounds one attempt as a whole: look-up, connect, TLS, send, answer.
        resolve: looks a name up; may block, and is called in a thread that is left behind at the
            deadline. The system's resolver unless given.
        tls: the context of https connections; one that verifies, with the system's authorities,
            unless given.
        control: a name that resolves wherever anything does, as the service that this function is
            called by: tells a resolver that answers nobody from a receiver's name that is wrong.

    Examples:
        >>> poster = Poster(EndpointGuard(), timeout_seconds=10)
        >>> poster.post("http://127.0.0.1/", {"Content-Type": "application/json"}, b"{}")
        Forbidden(reason='plain http not allowed')
    """

    def __init__(
        self,
        guard: EndpointGuard,
        *,
        timeout_seconds: float,
        resolve: Resolver | None = None,
        tls: ssl.SSLContext | None = None,
        control: str | None = None,
    ) -> None:
        self._guard = guard
        self._control = control
        self._timeout_seconds = timeout_seconds
        self._resolve = resolve or system_resolve
        self._tls = tls
        self._lookups = _LookupThreads(MAX_LOOKUPS)

    def post(self, url: str, headers: Mapping[str, str], body: bytes, *, turn: int = 0) -> Answer:
        """Make one attempt, and wait until it has ended. Arguments and so on as in `in_steps`."""
        steps = self.in_steps(url, headers, body, turn=turn)
        ready: bool | None = None
        while True:
            try:
                wait = steps.send(ready)
            except StopIteration as end:
                answer: Answer = end.value
                return answer
            poll = select.poll()
            poll.register(wait.fileno, wait.event)
            ready = bool(poll.poll(milliseconds_until(wait.until)))

    def in_steps(
        self, url: str, headers: Mapping[str, str], body: bytes, *, turn: int = 0
    ) -> Steps[Answer]:
        """Make one attempt, without ever blocking.

        Args:
            url: as the participant gave it.
            headers: Content-Type and whatever else describes the body. Host, Content-Length and
                what steers the connection are set here.
            body: sent as it is.
            turn: selects the address of a name that is tried first; consecutive numbers give all
                of them their turn.

        Yields:
            What it waits for.

        Returns:
            How it ended, whatever receiver, network or URL do.

        Raises:
            ValueError: a header is not one that may be given.
        """
        deadline = _Deadline(self._timeout_seconds)
        fields = _header_fields(headers)
        try:
            endpoint = self._guard.read(url)
            addresses = yield from self._allowed_addresses(endpoint, deadline)
            addresses = in_turn(addresses, turn, headers.get("webhook-id", ""))
            request = _request(endpoint, fields, body)
            with (yield from _connect(addresses, endpoint.port, deadline)) as connection:
                if not endpoint.tls:
                    return (yield from _exchange(connection, request, deadline))
                with (yield from self._secure(connection, endpoint, deadline)) as secured:
                    try:
                        return (yield from _exchange(secured, request, deadline))
                    finally:
                        _close_notify(secured)
        except ForbiddenEndpointError as error:
            return Forbidden(error.reason)
        except _UnreachableError as error:
            return Unreachable(error.reason)
        except _UnableError as error:
            return Unable(error.reason)
        except OSError as error:
            return _failed(error)

    def _allowed_addresses(
        self, endpoint: Endpoint, deadline: _Deadline
    ) -> Steps[Sequence[Address]]:
        """Return all addresses of an endpoint, from one look-up; none of them is forbidden.

        What a name leads to changes, so that it may be right next time. A URL does not.
        """
        self._guard.check(endpoint, ())
        if endpoint.address is not None:
            self._guard.check(endpoint, (endpoint.address,))
            return (endpoint.address,)
        addresses = yield from self._looked_up(endpoint.host, deadline)
        try:
            self._guard.check(endpoint, addresses)
        except ForbiddenEndpointError as error:
            raise _UnreachableError(error.reason) from None
        return addresses

    def _looked_up(self, host: str, deadline: _Deadline) -> Steps[Sequence[Address]]:
        """Return all addresses of a name, at least one."""
        with self._look_up(host) as found:
            yield from found.wait(monotonic() + deadline.left() / 2)
            if not found.ended:
                # It takes long: is it the resolver that answers nobody?
                resolver_answers = yield from self._resolves_beside(found, deadline)
                if not found.ended:
                    if not resolver_answers:
                        raise _UnableError("no resolver")
                    raise _UnreachableError("timeout")
        if found.addresses:
            return found.addresses
        if not (yield from self._resolves(deadline)):
            raise _UnableError("no resolver")
        raise _UnreachableError("name not resolved")

    def _resolves_beside(self, found: _LookUp, deadline: _Deadline) -> Steps[bool]:
        """Wait for a look-up; says whether the control name, if any, was found meanwhile."""
        if self._control is None:
            yield from found.wait(deadline.at)
            return True
        with self._look_up(self._control) as control:
            yield from found.wait(deadline.at)
            return bool(control.addresses)

    def _resolves(self, deadline: _Deadline) -> Steps[bool]:
        """Whether the control name is found, if there is one."""
        if self._control is None:
            return True
        with self._look_up(self._control) as control:
            yield from control.wait(deadline.at)
            return bool(control.addresses)

    def _look_up(self, host: str) -> _LookUp:
        found = _LookUp()
        if not self._lookups.start(lambda: found.run(self._resolve, host)):
            with found:
                found.end()
            raise _UnableError("no threads left")
        return found

    def _secure(
        self, connection: socket.socket, endpoint: Endpoint, deadline: _Deadline
    ) -> Steps[ssl.SSLSocket]:
        context = self._tls or _default_tls()
        # Bytes are taken verbatim; str would be IDNA-encoded first.
        name = endpoint.host.encode("ascii")
        # The handshake is asked for, because wrap_socket leaves it out without a word when the
        # connection has just been lost.
        secured = context.wrap_socket(
            connection, server_hostname=name, do_handshake_on_connect=False
        )
        try:
            yield from _when_ready(secured, select.POLLIN, secured.do_handshake, deadline)
        except BaseException:
            secured.close()
            raise
        return secured


def milliseconds_until(moment: float) -> int:
    """How long it is until a moment of `time.monotonic`, rounded up, as `poll` takes it."""
    return max(0, ceil((moment - monotonic()) * 1000))


def control_name(url: str) -> str | None:
    """The name in a URL of a service that is known to be there; None if it holds an address."""
    host = urlsplit(url).hostname or ""
    try:
        ip_address(host)
    except ValueError:
        return host or None
    return None


def system_resolve(host: str) -> Sequence[str]:
    """Look a name up with the system's resolver.

    Args:
        host: ASCII only.

    Returns:
        All its addresses, in the order in which they should be tried.

    Raises:
        OSError: there are none.
    """
    # Bytes, as str would be IDNA-encoded first, and that codec is slow to import.
    found = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for _, _, _, _, sockaddr in found]


@cache
def _default_tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _header_fields(headers: Mapping[str, str]) -> str:
    for name, value in headers.items():
        if name.lower() in _RESERVED_HEADERS or not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"not a header that may be given: {name!r}")
        if not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"not the value of a header: {name!r}")
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])


def _request(endpoint: Endpoint, fields: str, body: bytes) -> bytes:
    head = (
        f"POST {endpoint.target} HTTP/1.1\r\n"
        f"Host: {endpoint.authority}\r\n"
        f"{_FIXED_HEADERS}{fields}"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + body


def in_turn(addresses: Sequence[Address], turn: int, key: str) -> Sequence[Address]:
    """Order a name's addresses for an attempt, so that consecutive turns begin with different ones.

    IPv6 and IPv4 alternate (RFC 8305, section 4), beginning with the family of the resolver's
    first; so a family that leads nowhere costs little. Within a family the order follows from the
    key: many name servers change theirs with each answer, and some address might never be first.
    """
    if len(addresses) == 1:
        return addresses
    families: dict[int, list[Address]] = {}
    for address in dict.fromkeys(addresses):
        families.setdefault(address.version, []).append(address)
    for each in families.values():
        each.sort(key=lambda address: crc32(f"{key} {address}".encode()))
    alternating = [
        address
        for several in zip_longest(*families.values())
        for address in several
        if address is not None
    ]
    start = turn % len(alternating)
    return alternating[start:] + alternating[:start]


def _ready(file: socket.socket, event: int, deadline: _Deadline) -> Steps[None]:
    """Wait until a socket is ready.

    Raises:
        TimeoutError: it is not, in time.
    """
    deadline.left()
    if not (yield Wait(file.fileno(), event, deadline.at)):
        raise TimeoutError


def _when_ready[T](
    connection: socket.socket, event: int, operation: Callable[[], T], deadline: _Deadline
) -> Steps[T]:
    """Return the result of an operation, as soon as it would not block."""
    while True:
        try:
            return operation()
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            # With TLS, reading may have to write first and the other way round.
            waits_for = _WANTED.get(type(error), event)
        yield from _ready(connection, waits_for, deadline)


def _connect(addresses: Sequence[Address], port: int, deadline: _Deadline) -> Steps[socket.socket]:
    """Connect to one of the addresses: these and no others, by number.

    Each gets its share of the time, so that one that swallows everything leaves some to the next.
    """
    candidates = addresses[:MAX_CONNECTS]
    failure: OSError | None = None
    for position, address in enumerate(candidates):
        share = _Deadline(deadline.left() / (len(candidates) - position))
        try:
            return (yield from _connect_one(address, port, share))
        except OSError as error:
            if error.errno in _UNABLE_BY_ERRNO:
                raise
            # An address of a family that this machine has no way to explains the least.
            if failure is None or _reason(failure) == "no route":
                failure = error
    raise failure or TimeoutError


def _connect_one(address: Address, port: int, deadline: _Deadline) -> Steps[socket.socket]:
    family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(0)
        # The request is one write; its last segment is not to wait for an acknowledgement.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            connection.connect((str(address), port))
        except BlockingIOError:
            yield from _ready(connection, select.POLLOUT, deadline)
            if number := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(number, os.strerror(number)) from None
    except BaseException:
        connection.close()
        raise
    return connection


def _exchange(connection: socket.socket, request: bytes, deadline: _Deadline) -> Steps[Answer]:
    """Send the request and read the answer; a status line is enough for one."""
    answer = _AnswerReader()
    try:
        with suppress(ConnectionError):  # who answers and closes without reading all has answered
            yield from _send(connection, request, deadline)
        while not answer.complete:
            yield from _read(connection, answer, deadline)
    except OSError as error:
        if answer.status is None:
            return Unreachable(_reason(error))
    if answer.status is None:
        return Unreachable(answer.failure)
    yield from _drain(connection, answer, deadline)
    return Responded(answer.status, answer.retry_after)


def _send(connection: socket.socket, request: bytes, deadline: _Deadline) -> Steps[None]:
    rest = memoryview(request)
    while rest:
        send = partial(connection.send, rest)
        rest = rest[(yield from _when_ready(connection, select.POLLOUT, send, deadline)) :]


def _read(connection: socket.socket, answer: _AnswerReader, deadline: _Deadline) -> Steps[None]:
    receive = partial(connection.recv, answer.room)
    answer.feed((yield from _when_ready(connection, select.POLLIN, receive, deadline)))


def _close_notify(connection: ssl.SSLSocket) -> None:
    """Tell the receiver that nothing more follows; nothing is waited for."""
    with suppress(OSError, ValueError):  # ValueError: the handshake has not been completed
        connection.unwrap()


def _drain(connection: socket.socket, answer: _AnswerReader, deadline: _Deadline) -> Steps[None]:
    try:
        patience = _Deadline(min(DRAIN_SECONDS, deadline.left()))
        while not answer.drained:
            yield from _read(connection, answer, patience)
    except OSError:
        pass  # the answer stands


def _reason(error: OSError) -> UnreachableReason:
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    return _REASONS_BY_ERRNO.get(error.errno or 0, "network error")


def _failed(error: OSError) -> Answer:
    """Tell a fault of this side from one of the receiver."""
    if not isinstance(error, ssl.SSLError) and error.errno and error.errno in _UNABLE_BY_ERRNO:
        return Unable(_UNABLE_BY_ERRNO[error.errno])
    reason = _reason(error)
    if reason == "no route" and not any(_has_route(*each) for each in _ELSEWHERE):
        return Unable("no way out")
    return Unreachable(reason)


def _has_route(family: socket.AddressFamily, address: str) -> bool:
    """Whether this machine has a route: connecting a datagram socket asks for it, sends nothing."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, _DISCARD_PORT))
    except OSError:
        return False
    return True

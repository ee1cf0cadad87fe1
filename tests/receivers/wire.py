"""Real sockets on loopback for tests: receivers that do as told, and a name server."""

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

# What a receiver does with a connection, until told that the test is over. The request has been
# read unless wanted otherwise; the connection is closed afterwards.
type Behaviour = Callable[[socket.socket, threading.Event], None]

_PATIENCE_SECONDS = 20.0  # nothing here waits longer, whatever the test does
_TYPE_A, _TYPE_AAAA = 1, 28


def answer(data: bytes) -> Behaviour:
    """Send this."""
    return lambda connection, _over: connection.sendall(data)


def status(code: int, *headers: str) -> Behaviour:
    """Answer with this status and no body."""
    lines = [f"HTTP/1.1 {code} Whatever", *headers, "Content-Length: 0", "", ""]
    return answer("\r\n".join(lines).encode())


def hang(start: bytes = b"") -> Behaviour:
    """Send this, and then nothing more."""

    def behave(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(start)
        over.wait(_PATIENCE_SECONDS)

    return behave


def drip(data: bytes, seconds: float, *, start: bytes = b"") -> Behaviour:
    """Send `start` at once, and then a byte at a time with a pause before each."""

    def behave(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(start)
        for value in data:
            if over.wait(seconds):
                return
            connection.sendall(bytes([value]))

    return behave


def flood(start: bytes) -> Behaviour:
    """Send `start`, and then more and more."""

    def behave(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(start)
        while not over.is_set():
            connection.sendall(b"a" * 65536)

    return behave


def reset(start: bytes = b"") -> Behaviour:
    """Send this, and close with a reset instead of an end."""

    def behave(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(start)
        if start:
            over.wait(0.1)  # a reset discards what was sent and not yet read
        reset_when_closed(connection)

    return behave


def reset_when_closed(connection: socket.socket) -> None:
    """Let closing be a reset instead of an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Listener:
    """A listening socket that can be closed while somebody waits for connections."""

    def __init__(self, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=128)
        self.port: int = self._socket.getsockname()[1]

    def connections(self) -> Iterator[socket.socket]:
        """Connections as they come, until it is closed."""
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            yield connection

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class Receiver:
    """An HTTP server that keeps what it is sent and answers as told.

    Args:
        behaviour: what to do with each connection.
        host: address to listen on; all of 127.0.0.0/8 works.
        port: 0 for any.
        read_request: whether to read the request before `behaviour` is called.
        tls: makes it an https server.
    """

    def __init__(
        self,
        behaviour: Behaviour,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        read_request: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._behaviour = behaviour
        self._read_request = read_request
        self._tls = tls
        self._listener = Listener(host, port)
        self.host = host
        self.port = self._listener.port
        self.connections = 0
        self.requests: list[bytes] = []
        self._over = threading.Event()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._listener.close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(_PATIENCE_SECONDS)
            assert not thread.is_alive()

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}/inbox"

    def _accept(self) -> None:
        for connection in self._listener.connections():
            self.connections += 1
            connection.settimeout(_PATIENCE_SECONDS)
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        # The client may be gone at any time: that is what many tests are about.
        with suppress(OSError), connection:
            if self._tls is None:
                self._converse(connection)
                return
            with self._tls.wrap_socket(connection, server_side=True) as secured:
                self._converse(secured)

    def _converse(self, connection: socket.socket) -> None:
        if self._read_request:
            self.requests.append(read_request(connection))
        self._behaviour(connection, self._over)


def read_request(connection: socket.socket) -> bytes:
    """Read one request of known length."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += (received := connection.recv(65536))
        if not received:
            return data
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += (received := connection.recv(65536))
        if not received:
            break
    return head + b"\r\n\r\n" + body


class NameServer:
    """A DNS server on a loopback port, whose answers may change from look-up to look-up.

    Args:
        names: for each name the addresses of the first look-up, the second, and so on; the last
            are kept. A name with no look-ups at all is never answered; others don't exist.
    """

    def __init__(self, names: dict[str, Sequence[Iterable[str]]]) -> None:
        self._names = names
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self._asked: dict[tuple[str, int], int] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bye:
            bye.sendto(b"", self._socket.getsockname())
        self._thread.join(_PATIENCE_SECONDS)
        assert not self._thread.is_alive()
        self._socket.close()

    def lookups(self, name: str) -> int:
        """Say how often a name has been looked up."""
        return self._asked.get((name, _TYPE_A), 0)

    def resolve(self, host: str) -> Sequence[str]:
        """Look a name up here: a resolver for a `Poster`."""
        found: list[str] = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(2)
            client.connect(self._socket.getsockname())
            for kind in (_TYPE_A, _TYPE_AAAA):
                client.send(struct.pack(">6H", kind, 0x0100, 1, 0, 0, 0) + _question(host, kind))
                found += _addresses(client.recv(4096))
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "not found")
        return found

    def _serve(self) -> None:
        while True:
            query, client = self._socket.recvfrom(4096)
            if not query:
                return
            labels, at = [], 12
            while length := query[at]:
                labels.append(query[at + 1 : at + 1 + length].decode())
                at += 1 + length
            name = ".".join(labels)
            (kind,) = struct.unpack_from(">H", query, at + 1)
            count = self._asked[name, kind] = self._asked.get((name, kind), 0) + 1
            lookups = self._names.get(name)
            if lookups is not None and not lookups:
                continue
            addresses = list(lookups[min(count, len(lookups)) - 1]) if lookups else []
            family = socket.AF_INET if kind == _TYPE_A else socket.AF_INET6
            packed = [
                socket.inet_pton(family, text)
                for text in addresses
                if (":" in text) == (kind == _TYPE_AAAA)
            ]
            flags = 0x8180 if lookups else 0x8183
            reply = query[:2] + struct.pack(">5H", flags, 1, len(packed), 0, 0) + query[12:]
            for data in packed:
                reply += struct.pack(">3HIH", 0xC00C, kind, 1, 0, len(data)) + data
            self._socket.sendto(reply, client)


def _question(host: str, kind: int) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in host.split("."))
    return labels + struct.pack(">BHH", 0, kind, 1)


def _addresses(reply: bytes) -> list[str]:
    count = struct.unpack_from(">H", reply, 6)[0]
    at = 12
    while length := reply[at]:
        at += 1 + length
    at += 5
    found = []
    for _ in range(count):
        length = struct.unpack_from(">H", reply, at + 10)[0]
        data = reply[at + 12 : at + 12 + length]
        found.append(socket.inet_ntop(socket.AF_INET if length == 4 else socket.AF_INET6, data))
        at += 12 + length
    return found

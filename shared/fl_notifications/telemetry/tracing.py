"""Traces for X-Ray: the trace's header for what goes on, and subsegments for what was done.

Lambda runs X-Ray's daemon beside each traced invocation, and makes the function's own segment. All
that is left to do is small: hand the header on, and send the daemon one JSON document for each
piece of work. X-Ray's SDK would take longer to import than all the rest, keeps its context per
thread, and is no longer developed; `docs/decisions.md` says more.

Nothing here has an effect unless Lambda says that the invocation is traced.
"""

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from secrets import token_hex
from typing import Final

HEADER_VARIABLE: Final = "_X_AMZN_TRACE_ID"
"""Set by Lambda anew for each invocation: `Root=1-…;Parent=…;Sampled=1`, perhaps more."""

DAEMON_VARIABLE: Final = "AWS_XRAY_DAEMON_ADDRESS"
"""Set by Lambda if tracing is active: host and port, for UDP."""

TRACED_MESSAGES: Final = 20
"""Messages of one invocation that are followed further.

A trace can have 100 links to others (X-Ray's Developer Guide, "Tracing event-driven applications"),
a fan-out has up to 100,000 messages, and each attempt at one is a link.
"""

_PARTS: Final = re.compile(
    r"Root=1-(?P<time>[0-9a-f]{8})-(?P<random>[0-9a-f]{24});Parent=(?P<parent>[0-9a-f]{16});"
    r"Sampled=1"
)

type Annotation = str | int | None
type Send = Callable[[bytes, tuple[str, int]], object]


class Traces:
    """Traces of one function; may be used from several threads."""

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        send: Send | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Find out whether there is a daemon.

        Args:
            environment: `os.environ`: Lambda changes it for each invocation.
            send: sends a datagram, if not over a socket.
            now: seconds since 1970.
        """
        self._environment = environment
        self._daemon = _address(environment.get(DAEMON_VARIABLE, ""))
        self._send = send or _send
        self._now = now
        self._lock = threading.Lock()
        self._counted: tuple[str, int] = ("", 0)

    def header(self) -> str | None:
        """The header to hand on, so that what follows belongs to this invocation's trace."""
        return self._environment.get(HEADER_VARIABLE)

    def traceparent(self) -> str | None:
        """W3C's header for a receiver (Trace Context, 3.2), made of X-Ray's; None if not traced.

        So a receiver's own traces belong to this one.
        """
        return _traceparent(self.header() or "")

    def message_header(self) -> str | None:
        """The header for one more message; after the first few it says "not sampled"."""
        header = self.header()
        if header is None:
            return None
        with self._lock:
            known, count = self._counted
            count = count + 1 if known == header else 1
            self._counted = header, count
        return header if count <= TRACED_MESSAGES else header.replace("Sampled=1", "Sampled=0")

    def add(self, name: str, seconds: float, **annotations: Annotation) -> None:
        """Add a piece of work that has just ended.

        Args:
            name: what was done.
            seconds: how long it took.
            annotations: what to find it by; those that are None are left out.
        """
        header, daemon = self.header(), self._daemon
        if header is None or daemon is None:
            return
        parts = dict(part.partition("=")[::2] for part in header.split(";"))
        if parts.get("Sampled") != "1" or not parts.get("Root") or not parts.get("Parent"):
            return
        ended = self._now()
        document = {
            "name": name,
            "id": token_hex(8),
            "trace_id": parts["Root"],
            "parent_id": parts["Parent"],
            "type": "subsegment",
            "start_time": ended - seconds,
            "end_time": ended,
            "annotations": {k: v for k, v in annotations.items() if v is not None},
        }
        data = f'{{"format": "json", "version": 1}}\n{json.dumps(document)}'
        # Traces are best effort.
        try:
            self._send(data.encode(), daemon)
        except OSError:
            return

    @contextmanager
    def span(self, name: str, **annotations: Annotation) -> Iterator[None]:
        """Add what is done in the block."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.add(name, time.monotonic() - started, **annotations)


def trace_id(environment: Mapping[str, str]) -> str | None:
    """The id of the current trace, as X-Ray's console knows it; None if X-Ray doesn't keep it."""
    header = environment.get(HEADER_VARIABLE)
    if header is None or "Sampled=1" not in header:
        return None
    root = next((part for part in header.split(";") if part.startswith("Root=")), None)
    return root and root.removeprefix("Root=")


@lru_cache(maxsize=1)  # all notifications of an invocation have the same
def _traceparent(header: str) -> str | None:
    parts = _PARTS.fullmatch(_sorted(header))
    return parts and f"00-{parts['time']}{parts['random']}-{parts['parent']}-01"


def _sorted(header: str) -> str:
    """The parts of a header that matter, in one order."""
    parts = dict(part.partition("=")[::2] for part in header.split(";"))
    return ";".join(f"{name}={parts.get(name)}" for name in ("Root", "Parent", "Sampled"))


def _address(text: str) -> tuple[str, int] | None:
    host, _, port = text.rpartition(":")
    return (host, int(port)) if host and port.isascii() and port.isdigit() else None


def _send(data: bytes, address: tuple[str, int]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)  # noqa: FBT003 - the socket's own signature
        sender.sendto(data, address)

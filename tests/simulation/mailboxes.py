"""Participants that nobody can call: they ask for what waits for them, and acknowledge it."""

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import digest
from typing import Any

from tests.aws.dynamodb import Table, Write
from tests.aws.kernel import Kernel
from tests.aws.secrets import SecretsManager
from tests.simulation.lambdas import End, Function, Invocation
from tests.simulation.receivers import Mail

POLL_SECONDS = 2.0
WORK_SECONDS = 0.5
BACKOFF_SECONDS = 5.0
CLOCK_OFF = 600.0
UNNOTICED_SECONDS = 300.0
LATE_SECONDS = 5000.0
"""Longer than a notification may wait for its acknowledgement."""


@dataclass(frozen=True)
class Fetched:
    """A notification as a participant got it from its mailbox."""

    at: float
    receiver: str
    notification_id: str
    headers: Mapping[str, str]
    body: bytes
    invocation: Invocation


@dataclass(frozen=True)
class Acknowledged:
    """What a participant was told of its acknowledgement."""

    at: float
    notification_id: str
    asked: str
    outcome: str | None
    applied: bool


@dataclass
class Mailboxes:
    """All participants with a mailbox, and what they have got.

    Attributes:
        asked: all acknowledgements that were sent, whatever became of them.
        refused: answers other than 200 to requests that were right.
    """

    kernel: Kernel
    function: Function
    secrets: SecretsManager
    clients: dict[str, list["_Client"]] = field(default_factory=dict)
    fetched: list[Fetched] = field(default_factory=list)
    acknowledged: list[Acknowledged] = field(default_factory=list)
    asked: set[tuple[str, str]] = field(default_factory=set)
    refused: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0

    def watch(self, table: Table) -> None:
        """Wake who has something waiting, as its next poll would find it."""
        table.listeners.append(self._written)

    def rotated_lately(self) -> bool:
        """Whether the master secret is so new that not all functions know it."""
        return any(
            when > self.kernel.now - UNNOTICED_SECONDS for when, _ in self.secrets.changes[1:]
        )

    def register(self, receiver: str, mail: Mail) -> None:
        if receiver not in self.clients:
            processes = 2 if mail is Mail.TWO else 1
            self.clients[receiver] = [_Client(self, receiver, mail, n) for n in range(processes)]

    def _written(self, write: Write) -> None:
        owner, what = write.key
        if write.new is not None and owner.startswith("MAILBOX#") and what != "#":
            for client in self.clients.get(owner.removeprefix("MAILBOX#"), ()):
                client.wake()


@dataclass(eq=False)
class _Client:
    """A process of a participant."""

    mailboxes: Mailboxes
    receiver: str
    mail: Mail
    number: int
    pending: dict[str, str] = field(default_factory=dict)
    busy: bool = False
    fetches: int = 0
    clock: float = 0.0
    corrected: bool = False
    older: bool = False

    def __post_init__(self) -> None:
        self.clock = CLOCK_OFF if self.mail is Mail.CLOCK_OFF else 0.0

    def wake(self, after: float | None = None) -> None:
        """Ask soon, unless that is planned already, or it never asks."""
        if self.busy or self.mail is Mail.NEVER:
            return
        self.busy = True
        first = LATE_SECONDS if self.mail is Mail.LATE and not self.fetches else POLL_SECONDS
        self.mailboxes.kernel.after(first if after is None else after, self._ask)

    def _ask(self) -> None:
        asked = dict(list(self.pending.items())[:25])
        self.mailboxes.asked |= set(asked.items())
        acknowledge = [
            {"id": each, "outcome": outcome}
            | ({"reason": "no-gpu"} if outcome != "accepted" else {})
            for each, outcome in asked.items()
        ]
        body = json.dumps({"receiver": self.receiver, "max": 3, "acknowledge": acknowledge})
        event = self._signed(body)
        self.mailboxes.function.invoke(event, lambda invocation: self._answered(asked, invocation))

    def _signed(self, body: str) -> dict[str, Any]:
        mailboxes = self.mailboxes
        mailboxes.requests += 1
        identifier = f"req_{mailboxes.requests}"
        stamp = str(int(mailboxes.kernel.now + self.clock))
        known = (mailboxes.secrets.current, mailboxes.secrets.previous)
        master = known[self.older] or known[0]
        key = digest(master.encode(), self.receiver.encode(), sha256)
        signature = b64encode(digest(key, f"{identifier}.{stamp}.{body}".encode(), sha256)).decode()
        return {
            "version": "2.0",
            "rawPath": "/",
            "requestContext": {"http": {"method": "POST", "path": "/"}},
            "headers": {
                "content-type": "application/json",
                "webhook-id": identifier,
                "webhook-timestamp": stamp,
                "webhook-signature": f"v1,{signature}",
            },
            "body": body,
            "isBase64Encoded": False,
        }

    def _answered(self, asked: dict[str, str], invocation: Invocation) -> None:
        self.busy = False
        if invocation.end is not End.ANSWERED:
            self.wake(BACKOFF_SECONDS)
            return
        answer = invocation.answer
        body = json.loads(answer["body"])
        if answer["statusCode"] != 200:
            if self.clock and not self.corrected and answer["statusCode"] == 401:
                self.clock = body["server_time"] - self.mailboxes.kernel.now
                self.corrected = True  # the time that it was told has to do
            else:
                self.corrected = False
                self.older = not self.older  # the functions may not know the new secret yet
                if answer["statusCode"] != 401 or not self.mailboxes.rotated_lately():
                    self.mailboxes.refused.append(answer)
            self.wake(BACKOFF_SECONDS)
            return
        self._told(asked, body["acknowledged"])
        for each in body["notifications"]:
            self._got(each, invocation)
        if body["notifications"] or self.pending or body["more"]:
            self.wake(LATE_SECONDS if self.mail is Mail.OVER_LONG else WORK_SECONDS)

    def _told(self, asked: dict[str, str], acknowledged: list[dict[str, Any]]) -> None:
        now = self.mailboxes.kernel.now
        for each in acknowledged:
            self.pending.pop(each["id"], None)
            told = Acknowledged(
                now, each["id"], asked[each["id"]], each["outcome"], each["applied"]
            )
            self.mailboxes.acknowledged.append(told)

    def _got(self, notification: dict[str, Any], invocation: Invocation) -> None:
        headers, body = notification["headers"], notification["body"]
        identifier = headers["webhook-id"]
        self.fetches += 1
        self.mailboxes.fetched.append(
            Fetched(
                self.mailboxes.kernel.now,
                self.receiver,
                identifier,
                headers,
                body.encode(),
                invocation,
            )
        )
        if self.mail is Mail.CRASHES and self.fetches % 2:
            return  # its process died; the next one finds the notification again
        rejects = self.mail is Mail.REJECTS or (self.mail is Mail.TWO and self.number == 1)
        self.pending[identifier] = "rejected" if rejects else "accepted"


def _said(notification: str, outcome: str) -> dict[str, str]:
    said = {"id": notification, "outcome": outcome}
    return said if outcome == "accepted" else said | {"reason": "no-gpu"}


class Sweeps:
    """The schedule of Sweep: once a minute; where nothing is due, nothing would happen."""

    def __init__(self, kernel: Kernel, function: Function, table: Table) -> None:
        self.kernel = kernel
        self.function = function
        self.table = table
        self._planned: set[float] = set()
        table.listeners.append(self._written)

    def _written(self, write: Write) -> None:
        if write.new is not None and "due_at" in write.new:
            self._plan(float(write.new["due_at"]["N"]))

    def _plan(self, due: float) -> None:
        minutes = int(max(due, self.kernel.now) - self.kernel.start) // 60 + 1
        minute = self.kernel.start + 60.0 * minutes
        if minute not in self._planned:
            self._planned.add(minute)
            self.kernel.at(minute, lambda: self._sweep(minute))

    def _sweep(self, minute: float) -> None:
        self._planned.discard(minute)
        self.function.invoke({}, lambda _: self._look())

    def _look(self) -> None:
        now = self.kernel.now
        due = [float(it["due_at"]["N"]) for it in self.table.items.values() if "due_at" in it]
        if any(each <= now for each in due):
            self._plan(now)

    @property
    def waiting(self) -> list[str]:
        """What is in mailboxes."""
        keys = self.table.items
        return [str(key) for key in keys if key[0].startswith("MAILBOX#") and key[1] != "#"]

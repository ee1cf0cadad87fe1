"""One attempt: a signed POST, and what follows from its answer."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from fl_notifications.clock import Clock
from fl_notifications.deliveries.delivery import Delivery
from fl_notifications.deliveries.post import Answer, Unable
from fl_notifications.deliveries.posts import Ended
from fl_notifications.deliveries.signing import receiver_secret, signature_headers
from fl_notifications.outcomes.ledger import LedgerEntry
from functions.deliver_notification.answers import RetryPolicy, judge


class Posts(Protocol):
    """POSTs that are under way, side by side: see `fl_notifications.deliveries.posts.Posts`."""

    def start(self, url: str, headers: Mapping[str, str], body: bytes, *, turn: int = 0) -> int:
        """Start a POST; returns its number."""
        ...

    def wait(self, seconds: float, *, linger: float = 0.0) -> Sequence[Ended]:
        """Wait until one has ended, then a little for the others; returns those that have."""
        ...

    def close(self) -> None:
        """Give up what is under way."""
        ...


@dataclass(frozen=True, slots=True)
class Attempted:
    """Result of an attempt that was made.

    Attributes:
        entry: for the ledger.
        wait_seconds: how long the next attempt is to wait, if the entry has no outcome.
        latency_ms: how long the POST took.
    """

    entry: LedgerEntry
    wait_seconds: int
    latency_ms: float


@dataclass(frozen=True, slots=True)
class NotAttempted:
    """An attempt that could not be made because of a fault on our side: not counted.

    Attributes:
        reason: from our fixed vocabulary, never the peer's text.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Attempter:
    """Makes attempts.

    Attributes:
        traceparent: gives W3C's trace header; None if nothing is traced.
    """

    policy: RetryPolicy
    clock: Clock
    jitter: random.Random
    traceparent: Callable[[], str | None] = lambda: None

    def start(
        self,
        posts: Posts,
        delivery: Delivery,
        number: int,
        address: str,
        master_secrets: tuple[str, ...],
    ) -> int:
        """Start attempt number `number`, counted from 1, at an address; returns its POST's."""
        payload = delivery.payload
        headers = self._headers(delivery, payload, master_secrets)
        return posts.start(address, headers, payload.encode(), turn=number - 1)

    def result(self, number: int, answer: Answer, seconds: float) -> Attempted | NotAttempted:
        """Say what follows from the answer to attempt number `number`, which took so long."""
        if isinstance(answer, Unable):
            return NotAttempted(answer.reason)
        now = self.clock.now()
        verdict = judge(answer, number, self.policy, now, self.jitter)
        entry = LedgerEntry(number, verdict.outcome, verdict.status_code, verdict.reason, now)
        return Attempted(entry, verdict.wait_seconds, seconds * 1000)

    def _headers(
        self, delivery: Delivery, payload: str, master_secrets: tuple[str, ...]
    ) -> dict[str, str]:
        secrets = [receiver_secret(each, delivery.receiver.uuid) for each in master_secrets]
        headers = {
            "content-type": "application/json",
            **signature_headers(secrets, delivery.notification_id, self.clock.now(), payload),
        }
        if (traceparent := self.traceparent()) is not None:
            headers["traceparent"] = traceparent
        return headers

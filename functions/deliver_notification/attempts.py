"""One attempt: a signed POST, and what follows from its answer."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from fl_notifications.clock import Clock
from fl_notifications.deliveries.delivery import Delivery
from fl_notifications.deliveries.post import Answer, Unable
from fl_notifications.deliveries.signing import receiver_secret, signature_headers
from fl_notifications.outcomes.ledger import LedgerEntry
from functions.deliver_notification.answers import RetryPolicy, judge


class Poster(Protocol):
    """Makes one POST; never raises for anything that a receiver can do."""

    def post(self, url: str, headers: Mapping[str, str], body: bytes, *, turn: int = 0) -> Answer:
        """POST and return the answer."""
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
    """Makes attempts; may be used from several threads.

    Attributes:
        traceparent: gives W3C's trace header; None if nothing is traced.
    """

    poster: Poster
    policy: RetryPolicy
    clock: Clock
    jitter: random.Random
    traceparent: Callable[[], str | None] = lambda: None

    def attempt(
        self, delivery: Delivery, number: int, address: str, master_secrets: tuple[str, ...]
    ) -> Attempted | NotAttempted:
        """Make attempt number `number`, counted from 1, at an address."""
        payload = delivery.payload
        started = self.clock.monotonic()
        answer = self.poster.post(
            address,
            self._headers(delivery, payload, master_secrets),
            payload.encode(),
            turn=number - 1,
        )
        if isinstance(answer, Unable):
            return NotAttempted(answer.reason)
        latency_ms = (self.clock.monotonic() - started) * 1000
        now = self.clock.now()
        verdict = judge(answer, number, self.policy, now, self.jitter)
        entry = LedgerEntry(number, verdict.outcome, verdict.status_code, verdict.reason, now)
        return Attempted(entry, verdict.wait_seconds, latency_ms)

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

# ruff: noqa: S311  # made-up data need no secrets
"""Log lines as the functions write them, made up: whole trainings for the tests of `trace`."""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

START = datetime(2026, 3, 1, 2, 30, tzinfo=UTC)
TRAINING = "5f0c9d0e-3f6c-4a56-9b1e-7d2a90c1c001"


@cache
def receiver_uuid(number: int) -> str:
    return str(UUID(int=random.Random(number).getrandbits(128), version=4))


@cache
def _draw(seed: int) -> float:
    return random.Random(seed).random()


def line(at: datetime, step: str | None, **fields: Any) -> str:
    """One line of the log, with all that the logger adds."""
    content: dict[str, Any] = {
        "timestamp": at.isoformat(timespec="milliseconds"),
        "level": "INFO",
        "service": "deliver_notification",
        "function_request_id": "6f9c2f2e-6d0a-4b7c-9d55-0d6a3a0f3a11",
        "training_uuid": TRAINING,
        "xray_trace_id": "1-5759e988-bd862e3fe1be46a994272793",
    }
    content |= {"message": "something else"} if step is None else {"step": step}
    return json.dumps(content | fields, separators=(",", ":"))


@dataclass
class MadeUpTraining:
    """A training whose receivers are healthy, slow, flaky, rejecting or dead.

    Args:
        receivers: How many take part.
        rounds: How many rounds it has.
        minutes_between: From one round to the next.
        seed: Another seed, other accidents.
        behaviours: Receiver number to behaviour; by default 2 % of them have some trouble.
    """

    receivers: int = 5
    rounds: int = 3
    minutes_between: float = 42
    seed: int = 1
    behaviours: Mapping[int, str] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        chance = random.Random(self.seed)
        gone: set[int] = set()
        at = START
        for kind, number in self._changes():
            for receiver in range(self.receivers):
                if receiver in gone:
                    continue
                yield from self._notification(chance, at, kind, number, receiver, gone)
                if receiver in gone:
                    later = at + timedelta(seconds=95)
                    yield from self._notification(
                        chance, later, "CLIENT_REMOVED", None, receiver, gone
                    )
            if number is not None or kind == "TRAINING_START":
                step = 0.0 if kind == "TRAINING_START" else self.minutes_between
                at += timedelta(minutes=step * chance.uniform(0.7, 1.3))

    def _changes(self) -> Iterator[tuple[str, int | None]]:
        yield "TRAINING_START", None
        for number in range(self.rounds):
            last = number == self.rounds - 1
            yield ("MODEL_TEST_ROUND" if last and number else "UPDATE_ROUND_START"), number
        yield "TRAINING_FINISHED", None

    def behaviour(self, receiver: int) -> str:
        if self.behaviours:
            return self.behaviours.get(receiver, "healthy")
        draw = _draw(self.seed * 1_000_003 + receiver)
        for behaviour, share in (
            ("dead", 0.006),
            ("rejecting", 0.006),
            ("flaky", 0.03),
            ("slow", 0.05),
            ("superseded", 0.01),
            ("silent", 0.004),
        ):
            draw -= share
            if draw < 0:
                return behaviour
        return "healthy"

    def _notification(  # noqa: C901, PLR0915  # one story after the other
        self,
        chance: random.Random,
        at: datetime,
        kind: str,
        number: int | None,
        receiver: int,
        gone: set[int],
    ) -> Iterator[str]:
        behaviour = self.behaviour(receiver)
        uuid = receiver_uuid(receiver)
        ids = {
            "notification_id": str(UUID(int=chance.getrandbits(128), version=4)),
            "notification_type": kind,
            "receiver_uuid": uuid,
            "round": number,
        }
        created = at
        # One batch from the stream: all of one change, then all of the next.
        offset = self.receivers // 10 if number == 0 else 0
        clock = created + timedelta(milliseconds=180 + offset + receiver // 10)

        def after(milliseconds: float) -> datetime:
            nonlocal clock
            clock += timedelta(milliseconds=milliseconds)
            return clock

        def queued() -> int:
            return round((clock - created) / timedelta(milliseconds=1))

        yield line(clock, "built", **ids, queued_ms=queued())
        after(chance.randint(20, 400) + receiver)
        if kind == "UPDATE_ROUND_START" and number == 0 and chance.random() < 0.1:
            yield line(clock, "held back", **ids, reason="behind an earlier notification")
            after(chance.randint(80, 700))

        def attempt(n: int, status: int | None, reason: str | None, took: float) -> str:
            return line(
                after(took),
                "attempted",
                **ids,
                attempt=n,
                status_code=status,
                reason=reason or (None if status and status < 300 else f"answered {status}"),
                latency_ms=round(took, 1),
            )

        def concluded(n: int, outcome: str, status: int | None, reason: str | None) -> str:
            after(chance.randint(2, 9))
            level = "WARNING" if outcome in ("rejected", "failed") else "INFO"
            return line(
                clock,
                "concluded",
                level=level,
                **ids,
                attempt=n,
                outcome=outcome,
                status_code=status,
                reason=reason,
                queued_ms=queued(),
            )

        done = "logged"
        outcome = "accepted"
        status: int | None = 200 if receiver % 7 else 204
        if behaviour == "silent" and number == self.rounds - 1:
            yield attempt(1, 503, None, chance.uniform(5, 60))
            return
        if behaviour == "superseded" and number == 1:
            outcome, done = "superseded", ""
            yield concluded(0, outcome, None, "the training has moved on")
        elif behaviour == "dead" and ((number or 0) >= 1 or kind == "CLIENT_REMOVED"):
            for n in range(1, 7):
                yield attempt(n, None, "connection refused", chance.uniform(1, 8))
                after(5000 * n * chance.uniform(0.8, 1.2) if n < 6 else 0)
            outcome, status, done = "failed", None, "participant removed"
            yield concluded(6, outcome, None, "connection refused")
            gone.add(receiver)
        elif behaviour == "rejecting" and (number or 0) >= 2:
            yield attempt(1, 410, None, chance.uniform(5, 60))
            outcome, status, done = "rejected", 410, "participant removed"
            yield concluded(1, outcome, status, "answered 410")
            gone.add(receiver)
        elif behaviour == "flaky" and chance.random() < 0.6:
            yield attempt(1, 503, None, chance.uniform(5, 60))
            after(5000 * chance.uniform(0.8, 1.2))
            yield attempt(2, None, "timeout", 10_000)
            after(10_000 * chance.uniform(0.8, 1.2))
            yield attempt(3, 200, None, chance.uniform(5, 60))
            yield concluded(3, outcome, 200, None)
        else:
            took = chance.uniform(1500, 8000) if behaviour == "slow" else chance.uniform(4, 120)
            yield attempt(1, status, None, took)
            yield concluded(1, outcome, status, None)
        if number is not None and done:
            after(chance.randint(40, 900))
            yield line(
                clock, "called back", **ids, outcome=outcome, status_code=status, reason=done
            )

"""What happens to notifications, as log lines and metrics: one vocabulary for all functions.

Each step of each notification is one line with the same keys; ids, counts and words of ours only,
never a payload, a secret, an endpoint or an answer.
"""

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from shared.deliveries import Delivery
from shared.observability import NAMESPACE, Logger
from shared.outcomes import Outcome, OutcomeKind
from shared.trainings import UnreadableItemError

ANY_TYPE = "-"
"""The dimension's value for what belongs to no type of notification."""


class Tally:
    """Metrics of one invocation, by type of notification, as few EMF lines."""

    def __init__(self, service: str) -> None:
        """Start empty."""
        self._service = service
        self._values: defaultdict[str, defaultdict[tuple[str, MetricUnit], list[float]]]
        self._values = defaultdict(lambda: defaultdict(list))

    def count(self, name: str, kind: str) -> None:
        """Count one more."""
        values = self._values[kind][name, MetricUnit.Count]
        values[:] = [sum(values) + 1]

    def observe(self, name: str, kind: str, milliseconds: float) -> None:
        """Keep a duration."""
        self._values[kind][name, MetricUnit.Milliseconds].append(milliseconds)

    def flush(self) -> None:
        """Write what has come together, and start empty again."""
        tallied, self._values = self._values, defaultdict(lambda: defaultdict(list))
        for kind, metrics in tallied.items():
            emf = EphemeralMetrics(namespace=NAMESPACE, service=self._service)
            emf.add_dimension("notification_type", kind)
            for (name, unit), values in metrics.items():
                for value in values:
                    emf.add_metric(name, unit, value)
            emf.flush_metrics()


class Journal:
    """Writes the steps down."""

    def __init__(self, logger: Logger, tally: Tally) -> None:
        """Write to a logger and a tally."""
        self._logger = logger
        self._tally = tally

    def built(self, delivery: Delivery, at: datetime) -> None:
        """The queue has accepted a notification."""
        self._step("built", delivery, queued_ms=_milliseconds(at - delivery.created_at))
        self._tally.count("Built", delivery.notification_type.value)

    def attempted(
        self,
        delivery: Delivery,
        *,
        attempt: int,
        status_code: int | None,
        reason: str | None,
        latency_ms: float,
    ) -> None:
        """A POST was made, or tried."""
        kind = delivery.notification_type.value
        self._step(
            "attempted",
            delivery,
            attempt=attempt,
            status_code=status_code,
            reason=reason,
            latency_ms=round(latency_ms, 1),
        )
        self._tally.count("Attempts", kind)
        self._tally.observe("DeliveryLatency", kind, latency_ms)

    def held_back(self, delivery: Delivery, reason: str) -> None:
        """A notification was given back to the queue without an attempt."""
        self._step("held back", delivery, reason=reason)
        self._tally.count("HeldBack", delivery.notification_type.value)

    def repeated(self, delivery: Delivery) -> None:
        """A notification that had been concluded came once more, and was not sent again."""
        self._logger.debug("repeat suppressed", extra=_ids(delivery))
        self._tally.count("RepeatsSuppressed", delivery.notification_type.value)

    def concluded(self, kind: OutcomeKind, outcome: Outcome) -> None:
        """A delivery has ended."""
        took = _milliseconds(outcome.finished_at - outcome.created_at)
        line: dict[str, Any] = {
            "step": "concluded",
            **_outcome_ids(outcome),
            "attempt": outcome.attempts,
            "outcome": kind.value,
            "status_code": outcome.status_code,
            "reason": outcome.reason,
            "queued_ms": took,
        }
        if kind in {OutcomeKind.REJECTED, OutcomeKind.FAILED}:
            self._logger.warning("concluded", extra=line)
        else:
            self._logger.info("concluded", extra=line)
        notification_type = outcome.notification_type.value
        self._tally.count(kind.value.capitalize(), notification_type)
        self._tally.observe("TimeToOutcome", notification_type, took)

    def called_back(self, outcome: Outcome, kind: OutcomeKind, done: str) -> None:
        """A callback has done what it has to."""
        self._logger.info(
            "called back",
            extra={
                "step": "called back",
                **_outcome_ids(outcome),
                "outcome": kind.value,
                "status_code": outcome.status_code,
                "reason": done,
            },
        )

    def unreadable(self, error: UnreadableItemError) -> None:
        """An item of the table is not what the contract says."""
        self._logger.error(
            "unreadable item",
            extra={"item": error.item, "field": error.field, "reason": error.reason},
        )
        self._tally.count("UnreadableItems", ANY_TYPE)

    def trouble(self, message: str, error: BaseException | None = None, **ids: object) -> None:
        """Something unexpected happened that was dealt with."""
        self._logger.error(message, exc_info=error, extra=ids)

    def flush(self) -> None:
        """Write the metrics that have come together."""
        self._tally.flush()

    def _step(self, step: str, delivery: Delivery, **values: object) -> None:
        self._logger.info(step, extra={"step": step, **_ids(delivery), **values})


def _ids(delivery: Delivery) -> dict[str, Any]:
    return {
        "training_uuid": delivery.training_uuid,
        "notification_id": delivery.notification_id,
        "notification_type": delivery.notification_type.value,
        "receiver_uuid": delivery.receiver.uuid,
        "round": delivery.round,
    }


def _outcome_ids(outcome: Outcome) -> dict[str, Any]:
    return {
        "training_uuid": outcome.training_uuid,
        "notification_id": outcome.notification_id,
        "notification_type": outcome.notification_type.value,
        "receiver_uuid": outcome.receiver_uuid,
        "round": outcome.round,
    }


def _milliseconds(duration: timedelta) -> int:
    return round(duration / timedelta(milliseconds=1))

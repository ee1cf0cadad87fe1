"""Logs, metrics and traces of notifications, with one vocabulary everywhere.

Each step of each notification is one line with the same keys: ids, counts, and reasons from a fixed
vocabulary; never a payload, a secret, an endpoint or an answer. `docs/metrics.md` lists all of it.
"""

import functools
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, Final

from fl_notifications.deliveries.delivery import Delivery
from fl_notifications.notification_type import NotificationType
from fl_notifications.outcomes.changes import TrainingOverdue
from fl_notifications.outcomes.outcome import Outcome, OutcomeKind
from fl_notifications.telemetry.logger import Logger
from fl_notifications.telemetry.metrics import MetricUnit, Tally
from fl_notifications.telemetry.tracing import Traces
from fl_notifications.text import printable
from fl_notifications.trainings.items import UnreadableItemError

REMEMBERED: Final = 10_000
"""Notifications per invocation that are remembered as built; bounds memory."""


def _never_raising[**P](method: Callable[P, None]) -> Callable[P, None]:
    """Decorate a method of the journal: an error while logging must not stop the work."""

    @functools.wraps(method)
    def write(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is
            _say_so(method.__name__, error)

    return write


def _say_so(step: str, error: Exception) -> None:
    with suppress(Exception):
        # Plain print, as the logger itself may be what fails.
        line = {"level": "ERROR", "message": "not written down", "step": step}
        print(json.dumps({**line, "error": type(error).__name__}), file=sys.stderr)  # noqa: T201


_NOT_ACCEPTED = frozenset({OutcomeKind.REJECTED, OutcomeKind.FAILED})


class Journal:
    """Logs, counts and traces each step of a notification."""

    def __init__(self, logger: Logger, tally: Tally, traces: Traces | None = None) -> None:
        """Write to a logger, a tally and, if there are any, traces."""
        self._logger = logger
        self._tally = tally
        self._traces = traces or Traces({})
        self._built: set[str] = set()

    @contextmanager
    def building(self, training_uuid: str, kind: NotificationType) -> Iterator[None]:
        """Trace how the notifications of one type are built and enqueued, in the block."""
        with self._traces.span("build", training_uuid=training_uuid, notification_type=kind.value):
            yield

    @contextmanager
    def in_bulk(self) -> Iterator[None]:
        """Write the steps of the block in bulk when it ends, which is cheaper."""
        with ExitStack() as stack:
            stack.enter_context(self._logger.in_bulk())
            yield
            try:
                stack.close()
            except Exception as error:  # noqa: BLE001 - as `_never_raising` does
                _say_so("in bulk", error)

    @_never_raising
    def built(self, delivery: Delivery, at: datetime) -> None:
        """The queue has accepted a notification.

        SQS also accepts, and drops, a duplicate: a participant's joining and the training's start
        both build its `TRAINING_START`, often in one batch. That is logged once. What was built
        outside of the stack is logged when it is delivered first, with how it came to be.
        """
        if delivery.notification_id in self._built:
            self.repeated(delivery)
            return
        if len(self._built) < REMEMBERED:
            self._built.add(delivery.notification_id)
        queued = _milliseconds(at - delivery.created_at)
        self._step("built", delivery, reason=delivery.built_elsewhere, queued_ms=queued)
        self._tally.count("Built", delivery.notification_type.value)

    @_never_raising
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
        self._traces.add(
            "attempt",
            latency_ms / 1000,
            training_uuid=delivery.training_uuid,
            notification_type=kind,
            receiver_uuid=delivery.receiver.uuid,
            attempt=attempt,
            status_code=status_code,
        )

    @_never_raising
    def deposited(self, delivery: Delivery, at: datetime) -> None:
        """A notification was put into its receiver's mailbox."""
        queued = _milliseconds(at - delivery.created_at)
        self._step("deposited", delivery, queued_ms=queued)
        self._tally.count("Deposited", delivery.notification_type.value)

    @_never_raising
    def fetched(self, delivery: Delivery) -> None:
        """A mailbox returned a notification; logged on each poll until it is concluded."""
        self._step("fetched", delivery)
        self._tally.count("Fetched", delivery.notification_type.value)

    @_never_raising
    def acknowledged(self, delivery: Delivery, said: OutcomeKind, *, applied: bool) -> None:
        """A receiver acknowledged a notification; not applied if another outcome was first."""
        reason = None if applied else "another outcome counts"
        self._step("acknowledged", delivery, outcome=said.value, reason=reason)
        self._tally.count("Acknowledged", delivery.notification_type.value)

    @_never_raising
    def overdue(self, event: TrainingOverdue) -> None:
        """A round has passed its deadline."""
        self._logger.step(
            logging.WARNING,
            "overdue",
            {
                "training_uuid": event.training_uuid,
                "round": event.round,
                "state": event.state,
                "policy": event.policy.value,
            },
        )
        self._tally.count("TrainingsOverdue", None)

    @_never_raising
    def held_back(self, delivery: Delivery, reason: str) -> None:
        """A notification was returned to the queue without an attempt."""
        self._step("held back", delivery, reason=reason)
        self._tally.count("HeldBack", delivery.notification_type.value)

    @_never_raising
    def stays(self, kind: NotificationType | None, seconds: float) -> None:
        """A notification is still in the queue after this many seconds.

        SQS's `ApproximateAgeOfOldestMessage` leaves out messages that were received repeatedly.
        """
        self._tally.observe("WaitingAge", kind and kind.value, seconds, MetricUnit.Seconds)

    @_never_raising
    def secret_trouble(self, message: str, error: Exception) -> None:
        """The signing secret could not be read; the cached versions are used."""
        self._logger.error(message, exc_info=error)
        self._tally.count("SecretTroubles", None)

    @_never_raising
    def repeated(self, delivery: Delivery) -> None:
        """A duplicate of a built or concluded notification was suppressed."""
        self._logger.debug("repeat suppressed", extra=_ids(delivery, delivery.receiver.uuid))
        self._tally.count("RepeatsSuppressed", delivery.notification_type.value)

    @_never_raising
    def concluded(self, kind: OutcomeKind, outcome: Outcome) -> None:
        """A delivery has ended."""
        took = _milliseconds(outcome.finished_at - outcome.created_at)
        # A client that does not know our newer types must not raise the share of failures.
        unknown = kind is OutcomeKind.REJECTED and outcome.type_unknown
        self._ended(
            "concluded",
            kind,
            outcome,
            outcome.reason,
            attempt=outcome.attempts,
            queued_ms=took,
            **({"type_unknown": True} if unknown else {}),
        )
        notification_type = outcome.notification_type.value
        name = "TypeUnknown" if unknown else kind.value.capitalize()
        self._tally.count(name, notification_type)
        self._tally.observe("TimeToOutcome", notification_type, took)
        if kind is not OutcomeKind.SUPERSEDED and not unknown:
            # The average of these is the share, so that the alarm needs no metric math.
            percent = 100.0 if kind in _NOT_ACCEPTED else 0.0
            self._tally.observe("FailedShare", notification_type, percent, MetricUnit.Percent)

    @_never_raising
    def called_back(self, outcome: Outcome, kind: OutcomeKind, done: str) -> None:
        """A callback has handled an outcome."""
        self._ended("called back", kind, outcome, done)
        self._traces.add(
            "call back",
            0.0,
            training_uuid=outcome.training_uuid,
            notification_type=outcome.notification_type.value,
            receiver_uuid=outcome.receiver_uuid,
            outcome=kind.value,
        )

    @_never_raising
    def followed(self, training_uuid: str, event: str, done: str) -> None:
        """A callback has handled the event of a change."""
        self._logger.info(
            "change followed",
            extra={"training_uuid": training_uuid, "event": event, "reason": printable(done)},
        )

    @_never_raising
    def callback_goes_on(self, message_id: str, done: str) -> None:
        """A callback ran out of time; the next invocation continues."""
        self._logger.info(
            "a callback goes on in the next invocation",
            extra={"message_id": message_id, "reason": printable(done)},
        )

    @_never_raising
    def callback_delayed(self, error: Exception, seconds: float, **ids: object) -> None:
        """A callback failed and will be retried; its event is this many seconds old."""
        self.trouble("a callback failed, and will be tried again", error, **ids)
        self._tally.observe("CallbackAge", None, seconds, MetricUnit.Seconds)

    @_never_raising
    def unreadable(self, error: UnreadableItemError) -> None:
        """An item of the table does not follow the contract."""
        self._logger.error(
            "unreadable item",
            extra={
                "item": printable(error.item),
                "field": printable(error.field),
                "reason": printable(error.reason),
            },
        )
        self._tally.count("UnreadableItems", None)

    @_never_raising
    def wrong_option(self, error: UnreadableItemError) -> None:
        """An option of a training is unknown or unreadable; its notifications are still sent."""
        self._logger.warning(
            "wrong option",
            extra={
                "item": printable(error.item),
                "field": printable(error.field),
                "reason": printable(error.reason),
            },
        )
        self._tally.count("WrongOptions", None)

    @_never_raising
    def unfinished(self, training_uuid: str, sequence_number: str, reason: str) -> None:
        """A fan-out did not finish within one invocation."""
        self._logger.warning(
            "a fan-out is not finished; its record will come again",
            extra={
                "training_uuid": printable(training_uuid),
                "sequence_number": printable(sequence_number),
                "reason": printable(reason),
            },
        )

    @_never_raising
    def trouble(self, message: str, error: BaseException | None = None, **ids: object) -> None:
        """An error of our own was handled; logged for the operator."""
        told = {k: printable(v) if isinstance(v, str) else v for k, v in ids.items()}
        self._logger.error(message, exc_info=error, extra=told)

    @_never_raising
    def flush(self) -> None:
        """Flush the metrics at the end of an invocation."""
        self._built.clear()
        self._tally.flush()

    def _step(
        self,
        step: str,
        delivery: Delivery,
        *,
        reason: str | None = None,
        **values: str | float | None,
    ) -> None:
        told = {"reason": reason and printable(reason)}
        self._logger.step(
            logging.INFO,
            step,
            {**_ids(delivery, delivery.receiver.uuid), **values, **told},
        )

    def _ended(
        self,
        step: str,
        kind: OutcomeKind,
        outcome: Outcome,
        reason: str | None,
        **values: str | float | None,
    ) -> None:
        """Log an ending, as a warning if it was not accepted."""
        self._logger.step(
            logging.WARNING
            if kind in _NOT_ACCEPTED and "type_unknown" not in values
            else logging.INFO,
            step,
            {
                **_ids(outcome, outcome.receiver_uuid),
                "outcome": kind.value,
                "status_code": outcome.status_code,
                "reason": reason and printable(reason),
                **values,
            },
        )


def _ids(of: Delivery | Outcome, receiver_uuid: str) -> dict[str, Any]:
    return {
        "training_uuid": of.training_uuid,
        "notification_id": of.notification_id,
        "notification_type": of.notification_type.value,
        "receiver_uuid": receiver_uuid,
        "round": of.round,
    }


def _milliseconds(duration: timedelta) -> int:
    return round(duration.total_seconds() * 1000)

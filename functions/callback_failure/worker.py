"""Works off a batch of the queue `Callbacks`: each message is an event for one of the policies."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ValidationError

from fl_notifications.clock import Clock
from fl_notifications.deliveries.queue import DeadLetterQueue, DeliveryQueue
from fl_notifications.outcomes.outcome import UnknownEventError
from fl_notifications.telemetry.journal import Journal
from fl_notifications.validation import first_error

if TYPE_CHECKING:
    from fl_notifications.aws.batches import PartialItemFailureResponse

RESERVE_SECONDS: Final = 30.0
"""Seconds one event may take; with less left, it stays for the next invocation."""

BACKOFF_SECONDS: Final = 5
"""Linear backoff: the wait before the next attempt is this times the number of attempts."""

MAX_BACKOFF_SECONDS: Final = 900

UNKNOWN_SECONDS: Final = 900
"""The wait for an event of a newer version, until this function is updated."""


class NotFinishedError(Exception):
    """A callback ran out of time; the next invocation continues."""


class _Named(BaseModel):
    callback: str


class _Event(BaseModel):
    """The part of an event that says whose it is."""

    detail: _Named


@dataclass(frozen=True)
class Worker:
    """Calls the callback that each event names; an event that fails stays in the queue.

    Attributes:
        callbacks: by the name in the event.
    """

    callbacks: Mapping[str, Callable[[Mapping[str, Any]], None]]
    queue: DeliveryQueue
    dead_letters: DeadLetterQueue
    journal: Journal
    clock: Clock

    def process(
        self, event: Mapping[str, Any], remaining_seconds: Callable[[], float]
    ) -> "PartialItemFailureResponse":
        """Work off the messages of an SQS event.

        Args:
            event: as Lambda gets it from the queue.
            remaining_seconds: until the function's timeout.

        Returns:
            The messages that stay in the queue.
        """
        staying: dict[str, tuple[str, int]] = {}
        try:
            for record in event["Records"]:
                wait = 0
                if remaining_seconds() >= RESERVE_SECONDS:
                    wait_or_done = self._handle(record)
                    if wait_or_done is None:
                        continue
                    wait = wait_or_done
                staying[record["messageId"]] = (record["receiptHandle"], wait)
            try:
                self.queue.change_visibility(staying.values())
            except Exception as error:  # noqa: BLE001 - they come back after the visibility timeout
                self.journal.trouble("events will come back later than they should", error)
        finally:
            self.journal.flush()
        return {"batchItemFailures": [{"itemIdentifier": each} for each in staying]}

    def _handle(self, record: Mapping[str, Any]) -> int | None:
        """Follow one event; returns after how many seconds to try again, None if it is done."""
        try:
            self._follow(record["body"])
        except UnknownEventError as error:
            self._delayed(record, error)
            return UNKNOWN_SECONDS
        except NotFinishedError as error:
            self.journal.callback_goes_on(record["messageId"], str(error))
            return 0
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are not held up
            self._delayed(record, error)
            tries = int(record["attributes"]["ApproximateReceiveCount"])
            return min(BACKOFF_SECONDS * tries, MAX_BACKOFF_SECONDS)
        return None

    def _follow(self, body: str) -> None:
        try:
            event = json.loads(body)
            name = _Event.model_validate(event).detail.callback
        except ValueError as error:
            field, why = first_error(error) if isinstance(error, ValidationError) else ("body", "?")
            reason = f"no event: field {field or 'body'}: {why}"
            self.dead_letters.put(body, reason=reason)
            self.journal.trouble("dead letter", reason=reason)
            return
        callback = self.callbacks.get(name)
        if callback is None:
            raise UnknownEventError("it names a callback that is not known here")
        callback(event)

    def _delayed(self, record: Mapping[str, Any], error: Exception) -> None:
        sent_at = int(record["attributes"]["SentTimestamp"]) / 1000
        self.journal.callback_delayed(
            error, self.clock.now().timestamp() - sent_at, message_id=record["messageId"]
        )

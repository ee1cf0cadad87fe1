"""Processes a batch of the queue `FanOuts`, in order per segment; reports partial failures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fl_notifications.aws.batches import PartialItemFailureResponse
from fl_notifications.deliveries.queue import DeliveryQueue
from fl_notifications.notifications.fan_outs import FanOut
from fl_notifications.telemetry.journal import Journal
from functions.fan_out.segment import PAGE_RESERVE_SECONDS, OutOfTimeError, Segment

BACKOFF_SECONDS: Final = 10
"""Linear backoff: the wait before the next attempt is this times the number of attempts."""

MAX_BACKOFF_SECONDS: Final = 300


@dataclass(frozen=True)
class Batches:
    """Processes batches of the queue."""

    segment: Segment
    queue: DeliveryQueue
    journal: Journal

    def process(
        self, event: Mapping[str, Any], remaining_seconds: Callable[[], float]
    ) -> PartialItemFailureResponse:
        """Make the fan-outs of a batch of messages.

        A message that fails stays in the queue, with those behind it in its group, and comes back
        after a backoff; one that ran out of time comes back at once, and goes on.

        Args:
            event: as Lambda gets it from the queue.
            remaining_seconds: until the function's timeout.

        Returns:
            The messages that are not done.
        """
        waits: dict[str, tuple[str, int]] = {}
        groups: set[str] = set()
        try:
            for record in event["Records"]:
                group = record["attributes"]["MessageGroupId"]
                wait = 0 if group in groups else self._process(record, remaining_seconds)
                if wait is not None:
                    groups.add(group)
                    waits[record["messageId"]] = record["receiptHandle"], wait
            self._give_back([*waits.values()])
            return {"batchItemFailures": [{"itemIdentifier": each} for each in waits]}
        finally:
            self.journal.flush()

    def _process(
        self, record: Mapping[str, Any], remaining_seconds: Callable[[], float]
    ) -> int | None:
        """Make one fan-out; returns after how many seconds to try again, None if it is done."""
        if remaining_seconds() < PAGE_RESERVE_SECONDS:
            return 0
        name = record["attributes"]["MessageDeduplicationId"]
        group = record["attributes"]["MessageGroupId"]
        try:
            fan_out = FanOut.model_validate_json(record["body"])
            self.segment.tell(fan_out, remaining_seconds)
        except OutOfTimeError as error:
            self.journal.unfinished(group, name, f"{error}")
            return 0
        except Exception as error:  # noqa: BLE001 - one segment must not stop the others
            # Also of a newer version: this function will know it soon.
            self.journal.trouble("a fan-out failed; it will be tried again", error, fan_out=name)
            tries = int(record["attributes"]["ApproximateReceiveCount"])
            return min(BACKOFF_SECONDS * tries, MAX_BACKOFF_SECONDS)
        return None

    def _give_back(self, messages: list[tuple[str, int]]) -> None:
        """Set visibility timeouts; if that fails, the queue's own applies."""
        try:
            self.queue.change_visibility(messages)
        except Exception as error:  # noqa: BLE001 - whatever it is: they come back all the same
            self.journal.trouble("fan-outs will come back later than they should", error)

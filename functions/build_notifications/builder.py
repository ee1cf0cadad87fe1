"""Builds the notifications of a change and enqueues one message per receiver."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from fl_notifications.clock import Clock
from fl_notifications.deliveries.delivery import ANNOUNCED_STATE, Delivery
from fl_notifications.deliveries.queue import DeadLetterQueue, DeliveryQueue
from fl_notifications.notifications.changes import notification_types
from fl_notifications.notifications.notification import (
    NOTIFICATION_CLASSES,
    AnyTrainingNotification,
    ClientRemovedNotification,
    TrainingStartNotification,
)
from fl_notifications.telemetry.journal import Journal
from fl_notifications.trainings.items import Item, UnreadableItemError
from fl_notifications.trainings.model import (
    RUNNING_STATES,
    Participant,
    Progress,
    Receiver,
    Training,
    TrainingState,
    later,
    same_uuid,
)
from fl_notifications.trainings.table import Page, TrainingTable
from functions.build_notifications.checkpoints import Checkpoints
from functions.build_notifications.records import Change, ChangeKind

MAX_DEAD_LETTER_CHARACTERS: Final = 900_000
"""SQS takes 1 MiB, attributes included; two images of 400 KB may be more than that."""

FAN_OUT_RESERVE_SECONDS: Final = 60.0
"""No further page is begun with less time than this: what is under way has to reach the queue."""


class OutOfTimeError(Exception):
    """The function's timeout is near; the record will come again."""


@dataclass(frozen=True)
class Builder:
    """Everything that is needed to build, made once per execution environment."""

    trainings: TrainingTable
    checkpoints: Checkpoints
    queue: DeliveryQueue
    dead_letters: DeadLetterQueue
    clock: Clock
    journal: Journal

    def build(self, change: Change, remaining_seconds: Callable[[], float]) -> None:
        """Build and enqueue what follows from a change; returns when the queue has it all.

        What cannot be read goes to the dead-letter queue, and holds up nothing else.

        Args:
            change: of a training or a participant; nothing follows from others.
            remaining_seconds: until the function's timeout.

        Raises:
            OutOfTimeError: if the time was not enough for all participants; the next call with the
                same change goes on where this one stopped.
            NotEnqueuedError: if the queue did not accept all messages.
            ClientError: if the table or a queue refuses a call as a whole.
        """
        try:
            if change.of_training:
                self._training_changed(change, remaining_seconds)
            elif change.of_participant:
                self._participant_changed(change)
        except UnreadableItemError as error:
            self._set_aside(error, change.new or change.old or {}, change)

    def _training_changed(self, change: Change, remaining_seconds: Callable[[], float]) -> None:
        if change.new is None:
            return
        new = Training.from_item(change.new)
        old = _progress_or_none(change.old)
        kinds = notification_types(old, new)
        if not kinds:
            return
        # Whoever joined since the last start or round is told the start first. Their own records
        # may come later than this one, as a stream keeps the order per item only; the start has
        # the same id there, so it is told once.
        joined_after = old.last_update if old is not None and kinds[0] in ANNOUNCED_STATE else None
        notifications = [NOTIFICATION_CLASSES[kind].from_training(new, ()) for kind in kinds]
        # The actor is told once, even if it takes part as well.
        others = [receiver for each in notifications for receiver in each.receivers]
        for page in self._pages(change, remaining_seconds):
            joined = [each for each in page.participants if later(each.joined_at, joined_after)]
            self._send(change, TrainingStartNotification.from_training(new, joined))
            others = [each for each in others if not _among(page.participants, each)]
            receivers = [*page.participants, *(others if page.last is None else ())]
            # Page by page, so that nobody is told of the round who was not told of the start.
            for notification in notifications:
                self._send(change, replace(notification, receivers=receivers))

    def _pages(self, change: Change, remaining_seconds: Callable[[], float]) -> Iterator[Page]:
        """Read the participants, from where an earlier invocation stopped, while there is time."""

        def resume_after() -> str | None:
            return self.checkpoints.read(change.fan_out)

        def set_aside(error: UnreadableItemError, item: Item) -> None:
            self._set_aside(error, item, change)

        for page in self.trainings.participant_pages(
            change.training_uuid, set_aside, resume_after=resume_after
        ):
            yield page
            if page.last is not None and remaining_seconds() < FAN_OUT_RESERVE_SECONDS:
                self.checkpoints.write(change.fan_out, page.last)
                raise OutOfTimeError(f"the next invocation goes on after {page.last}")

    def _participant_changed(self, change: Change) -> None:
        if change.kind is ChangeKind.INSERT and change.new is not None:
            participant = Participant.from_item(change.new)
            training = self.trainings.training(change.training_uuid)
            if training is not None and training.state in RUNNING_STATES:
                self._send(change, TrainingStartNotification.from_training(training, [participant]))
        elif change.kind is ChangeKind.REMOVE and change.old is not None and not change.by_ttl:
            participant = Participant.from_item(change.old)
            training = self.trainings.training(change.training_uuid)
            if training is not None and training.state is not TrainingState.COMPLETED:
                self._send(change, ClientRemovedNotification.from_training(training, [participant]))

    def _send(self, change: Change, notification: AnyTrainingNotification) -> None:
        if not notification.receivers:
            return
        deliveries = notification.deliveries(source=change.sequence_number, created_at=change.at)
        with self.journal.building(change.training_uuid, notification.type):
            self.queue.send(deliveries, self._accepted)

    def _accepted(self, deliveries: Iterable[Delivery]) -> None:
        now = self.clock.now()
        with self.journal.in_bulk():
            for delivery in deliveries:
                self.journal.built(delivery, now)

    def _set_aside(self, error: UnreadableItemError, item: Item, change: Change) -> None:
        self.journal.unreadable(error)
        letter = {
            "item": error.item,
            "field": error.field,
            "reason": error.reason,
            "training_uuid": change.training_uuid,
            "entity": item.get("entity", {}).get("S"),
            "record": change.record,
        }
        body = json.dumps(letter, default=str)
        if len(body) > MAX_DEAD_LETTER_CHARACTERS:
            # The keys and the sequence number are enough to find the rest.
            images = {"NewImage", "OldImage"}
            stream = {k: v for k, v in change.record["dynamodb"].items() if k not in images}
            body = json.dumps({**letter, "record": {**change.record, "dynamodb": stream}})
        self.dead_letters.put(body, reason=str(error))


def _among(participants: Iterable[Participant], receiver: Receiver) -> bool:
    return any(same_uuid(each.uuid, receiver.uuid) for each in participants)


def _progress_or_none(image: Item | None) -> Progress | None:
    """Where a training was; what else was wrong with its item does not make it a new one."""
    try:
        return None if image is None else Progress.from_item(image)
    except UnreadableItemError:
        return None

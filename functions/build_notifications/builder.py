"""Builds the notifications of a change and enqueues one message per receiver."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from functions.build_notifications.records import Change, ChangeKind
from shared.changes import notification_types
from shared.clock import Clock
from shared.deliveries import ANNOUNCED_STATE, Delivery
from shared.journal import Journal
from shared.notification_type import NotificationType
from shared.notifications import (
    NOTIFICATION_CLASSES,
    AnyTrainingNotification,
    ClientRemovedNotification,
    TrainingStartNotification,
)
from shared.queue import DeadLetterQueue, DeliveryQueue
from shared.table import TrainingTable
from shared.trainings import (
    RUNNING_STATES,
    Item,
    Participant,
    Progress,
    Training,
    TrainingState,
    UnreadableItemError,
    later,
)

MAX_DEAD_LETTER_CHARACTERS: Final = 900_000
"""SQS takes 1 MiB, attributes included; two images of 400 KB may be more than that."""


@dataclass(frozen=True)
class Builder:
    """Everything that is needed to build, made once per execution environment."""

    trainings: TrainingTable
    queue: DeliveryQueue
    dead_letters: DeadLetterQueue
    clock: Clock
    journal: Journal

    def build(self, change: Change) -> None:
        """Build and enqueue what follows from a change; returns when the queue has it all.

        What cannot be read goes to the dead-letter queue, and holds up nothing else.

        Raises:
            shared.queue.NotEnqueuedError: if the queue did not accept all messages.
            botocore.exceptions.ClientError: if the table or a queue refuses a call as a whole.
        """
        try:
            if change.of_training:
                self._training_changed(change)
            elif change.of_participant:
                self._participant_changed(change)
        except UnreadableItemError as error:
            self._set_aside(error, change.new or change.old or {}, change)

    def _training_changed(self, change: Change) -> None:
        if change.new is None:
            return
        new = Training.from_item(change.new)
        old = _progress_or_none(change.old)
        kinds = notification_types(old, new)
        told = new if NotificationType.TRAINING_START in kinds else old
        known_until = told.last_update if told is not None else None
        unreadable: set[str] = set()
        for kind in kinds:
            participants = self._participants(change, new, unreadable)
            if kind in ANNOUNCED_STATE:
                participants = self._told_start_first(change, new, known_until, participants)
            receivers = (participant for page in participants for participant in page)
            self._send(change, NOTIFICATION_CLASSES[kind].from_training(new, receivers))

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

    def _participants(
        self, change: Change, training: Training, unreadable: set[str]
    ) -> Iterator[list[Participant]]:
        """Read the participants; one that is not readable is set aside once for a change."""

        def set_aside(error: UnreadableItemError, item: Item) -> None:
            if error.item not in unreadable:
                unreadable.add(error.item)
                self._set_aside(error, item, change)

        return self.trainings.participant_pages(training.training_uuid, set_aside)

    def _told_start_first(
        self,
        change: Change,
        new: Training,
        known_until: str | None,
        pages: Iterable[list[Participant]],
    ) -> Iterator[list[Participant]]:
        """Enqueue `TRAINING_START` for whoever joined since the last start or round, before this.

        Their own records may come later than this one, as a stream keeps the order per item only.
        The start has the same id there, so it is told once.
        """
        for page in pages:
            joined = [each for each in page if later(each.joined_at, known_until)]
            if joined:
                self._send(change, TrainingStartNotification.from_training(new, joined))
            yield page

    def _send(self, change: Change, notification: AnyTrainingNotification) -> None:
        deliveries = notification.deliveries(source=change.sequence_number, created_at=change.at)
        with self.journal.building(change.training_uuid, notification.type):
            self.queue.send(deliveries, self._accepted)

    def _accepted(self, delivery: Delivery) -> None:
        self.journal.built(delivery, self.clock.now())

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


def _progress_or_none(image: Item | None) -> Progress | None:
    """Where a training was; what else was wrong with its item does not make it a new one."""
    try:
        return None if image is None else Progress.from_item(image)
    except UnreadableItemError:
        return None

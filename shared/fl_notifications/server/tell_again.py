"""Telling one receiver again what is current: after an outage on its side, say.

A change is told once, whatever happens to the receiver afterwards. One that has lost what it was
told, as its disk died, say, can be told again where its training stands.

Examples:
    >>> again = TellAgain(
    ...     boto3.client("dynamodb"), trainings_table, ledger_table, DeliveryQueue(sqs, queue_url)
    ... )
    >>> again.tell(training_uuid, receiver_uuid)
    (<NotificationType.TRAINING_START: …>, <NotificationType.UPDATE_ROUND_START: …>)
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

from fl_notifications.clock import Clock, SystemClock
from fl_notifications.deliveries.delivery import ANNOUNCED_STATE, Delivery
from fl_notifications.deliveries.queue import DeliveryQueue
from fl_notifications.notification_type import NotificationType
from fl_notifications.notifications.notification import (
    NOTIFICATION_CLASSES,
    AnyTrainingNotification,
)
from fl_notifications.outcomes.runs import Runs
from fl_notifications.trainings.items import participant_key
from fl_notifications.trainings.model import (
    FINAL_STATES,
    Participant,
    Receiver,
    Training,
    TrainingState,
    same_uuid,
)
from fl_notifications.trainings.table import TrainingTable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_ROUND_TYPES = {state: kind for kind, state in ANNOUNCED_STATE.items()}
_FINAL_TYPES = {
    TrainingState.COMPLETED: NotificationType.TRAINING_FINISHED,
    TrainingState.ERROR: NotificationType.TRAINING_ERROR,
}


class NothingToTellError(Exception):
    """Nothing is current for this receiver; the message says why."""


class TellAgain:
    """Tells a receiver again what is current in its training.

    A participant of a running training is told the start and the running round; after the end,
    participant and actor are told the end. Each time with new ids, as a repeat would be dropped. An
    outcome of such a notice has no consequences: nobody is removed because of it.

    Args:
        client: boto3's client for DynamoDB.
        trainings_table: the stack's output `TrainingsTable`.
        ledger_table: the stack's output `LedgerTable`; knows the training's run.
        queue: of the stack's output `DeliveriesQueueUrl`.
        clock: the machine's, if not given.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        trainings_table: str,
        ledger_table: str,
        queue: DeliveryQueue,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._client = client
        self._trainings_table = trainings_table
        self._ledger_table = ledger_table
        self._queue = queue
        self._clock = clock or SystemClock()

    def tell(self, training_uuid: str, receiver_uuid: str) -> tuple[NotificationType, ...]:
        """Enqueue what is current, behind whatever this receiver still waits for.

        Returns:
            What it is told, in this order.

        Raises:
            NothingToTellError: if nothing is current for this receiver.
            NotEnqueuedError: if the queue does not accept it.
            UnreadableItemError: if the training or the participant is not what the contract says.
        """
        return self.send(self.deliveries(training_uuid, receiver_uuid))

    def send(self, deliveries: tuple[Delivery, ...]) -> tuple[NotificationType, ...]:
        """Enqueue what `deliveries` returned."""
        for delivery in deliveries:
            self._queue.send([delivery])  # one by one: the queue keeps the order
        return tuple(delivery.notification_type for delivery in deliveries)

    def deliveries(self, training_uuid: str, receiver_uuid: str) -> tuple[Delivery, ...]:
        """Return what `tell` would enqueue.

        Raises:
            NothingToTellError: if nothing is current for this receiver.
            UnreadableItemError: if the training or the participant is not what the contract says.
        """
        training = TrainingTable(self._client, self._trainings_table).training(training_uuid)
        if training is None:
            raise NothingToTellError(f"there is no training {training_uuid}")
        receiver = self._receiver(training, receiver_uuid)
        run = Runs(self._client, self._ledger_table).read(training_uuid)
        return tuple(
            made.model_copy(
                update={
                    "notification_id": str(uuid4()),
                    "callback_success": None,
                    "callback_error": None,
                    "again": True,
                }
            )
            for notification in _notifications(training, receiver)
            for made in notification.deliveries(
                source="again",
                created_at=self._clock.now(),
                run=None if run is None else run.run,
                started_at=training.started_at,
            )
        )

    def _receiver(self, training: Training, receiver_uuid: str) -> Receiver:
        item = self._client.get_item(
            TableName=self._trainings_table,
            Key=participant_key(training.training_uuid, receiver_uuid),
            ConsistentRead=True,
        ).get("Item")
        if item is not None:
            return Participant.from_item(item)
        if training.state in FINAL_STATES and same_uuid(training.actor.uuid, receiver_uuid):
            return training.actor
        raise NothingToTellError(
            f"{receiver_uuid} is no participant of training {training.training_uuid}"
        )


def _notifications(training: Training, receiver: Receiver) -> Iterator[AnyTrainingNotification]:
    if training.state is TrainingState.INITIAL:
        raise NothingToTellError(f"training {training.training_uuid} has not started")
    if training.state in _FINAL_TYPES:
        kinds = [_FINAL_TYPES[training.state]]
    else:
        kinds = [NotificationType.TRAINING_START]
        if training.selected is None or any(
            same_uuid(uuid, receiver.uuid) for uuid in training.selected
        ):
            kinds.append(_ROUND_TYPES[training.state])
    for kind in kinds:
        made = NOTIFICATION_CLASSES[kind].from_training(training, [])
        yield replace(made, receivers=[receiver])

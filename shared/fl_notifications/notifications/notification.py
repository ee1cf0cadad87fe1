"""The notifications of a training: what is said to whom, and what follows the answer.

The names, the JSON on the wire and the receivers are those of fl-demonstrator's package
`notification`. A notification is made from a training and says nothing of queues; `send` hands it
to the queue, one message per receiver.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Self
from uuid import uuid4

from fl_notifications.deliveries.delivery import (
    Delivery,
    DeliveryReceiver,
    notification_id,
)
from fl_notifications.deliveries.guard import MAX_URL_LENGTH
from fl_notifications.deliveries.queue import DeliveryQueue, queue_from_environment
from fl_notifications.notification_type import NotificationType
from fl_notifications.notifications.bodies import (
    Body,
    ClientRemovedBody,
    ErrorData,
    ModelBody,
    ParticipantRemovedBody,
    RemovedData,
    RoundBody,
    SwagRoundBody,
    TrainingErrorBody,
)
from fl_notifications.outcomes.ledger import Ledger
from fl_notifications.outcomes.sent import Sent, ledger_from_environment
from fl_notifications.trainings.model import (
    Participant,
    Receiver,
    Training,
    Uuid,
    same_uuid,
)

CALLBACK_SUCCESS = "training_notification_callback_success"
CALLBACK_FAILURE = "training_notification_callback_failure"


def send(
    deliveries: Iterable[Delivery],
    *,
    queue: DeliveryQueue | None = None,
    ledger: Ledger | None = None,
) -> Sent:
    """Enqueue deliveries of a program's own, one for each receiver: see `Notification.send`."""
    ids: dict[str, str] = {}

    def noted() -> Iterator[Delivery]:
        for delivery in deliveries:
            if delivery.receiver.uuid not in ids:
                ids[delivery.receiver.uuid] = delivery.notification_id
                yield delivery

    (queue or queue_from_environment()).send(noted())
    return Sent(ids, ledger_from_environment if ledger is None else lambda: ledger)


@dataclass(frozen=True)
class Notification[TBody: Body]:
    """Something to be said to some receivers.

    Attributes:
        receivers: who is told.
        body: what is said; `body_for` may change it for a receiver.
    """

    type: ClassVar[NotificationType]

    receivers: Sequence[Receiver]
    body: TBody

    @property
    def callback_success(self) -> str | None:
        """Name of the callback that follows an accepted notification; None: no callback."""
        return None

    @property
    def callback_error(self) -> str | None:
        """Name of the callback that follows a rejected or failed one; None: no callback."""
        return None

    @property
    def round(self) -> int | None:
        """The round that is announced, if one is."""
        return None

    def body_for(self, receiver: Receiver) -> TBody:
        """What this receiver is told."""
        del receiver
        return self.body

    def serialize(self, receiver: Receiver | None = None) -> dict[str, Any]:
        """The JSON object on the wire, for all receivers or for one of them."""
        body = self.body if receiver is None else self.body_for(receiver)
        return {"notification_type": self.type.value, "body": body.serialize()}

    def send(
        self,
        callback_success: str | None = None,
        callback_error: str | None = None,
        *,
        queue: DeliveryQueue | None = None,
        ledger: Ledger | None = None,
    ) -> Sent:
        """Enqueue the notification for all its receivers, from any program.

        Each call is a notification of its own: calling twice tells the receivers twice. It is told
        whatever the trainings table says; also of a training that is not in it.

        Args:
            callback_success: name of the callback to follow instead of the class's own.
            callback_error: likewise.
            queue: where to; without one, the queue whose URL is in the environment variable
                `DELIVERIES_QUEUE_URL` (the stack's output `DeliveriesQueueUrl`).
            ledger: where to read what became of them; without one, the table that the environment
                variable `LEDGER_TABLE` names, once somebody asks (the output `LedgerTable`).

        Returns:
            The ids of the notifications, and what becomes of them.

        Raises:
            SettingsError: without a queue and without the environment variable.
            NotEnqueuedError: if the queue did not accept all messages.
            MessageTooLargeError: if the queue cannot take one of them.
        """
        deliveries = self.deliveries(
            source=str(uuid4()),
            created_at=datetime.now(UTC),
            own=True,
            callback_success=callback_success,
            callback_error=callback_error,
        )
        return send(deliveries, queue=queue, ledger=ledger)

    def deliveries(  # noqa: PLR0913 - each is a field of the delivery
        self,
        *,
        source: str,
        created_at: datetime,
        run: str | None = None,
        started_at: str | None = None,
        own: bool = False,
        callback_success: str | None = None,
        callback_error: str | None = None,
    ) -> Iterator[Delivery]:
        """One message per receiver, made as they are asked for.

        Args:
            source: what the notification comes from, say a stream record; the same source, type
                and receiver always give the same notification id.
            created_at: when the state changed, with its time zone.
            run: of the training, see `Delivery`.
            started_at: the training's, as of the change.
            own: whether a program of the user's own sends it, instead of the service.
            callback_success: name of the callback to follow instead of the class's own.
            callback_error: likewise.
        """
        kind, training, round_number = self.type, self._training(), self.round
        success = callback_success or self.callback_success
        error = callback_error or self.callback_error
        for receiver in self.receivers:
            joined_at = receiver.joined_at if isinstance(receiver, Participant) else None
            yield Delivery(
                notification_id=notification_id(
                    kind,
                    receiver.uuid,
                    training_uuid=training,
                    run=run,
                    source=source,
                    joined_at=None if own else joined_at,
                ),
                notification_type=kind,
                training_uuid=training,
                receiver=DeliveryReceiver(
                    uuid=receiver.uuid,
                    # A longer one is refused by the guard in any case; cut, it is so too, and ten
                    # of them fit into one SendMessageBatch.
                    message_endpoint=receiver.message_endpoint[: MAX_URL_LENGTH + 1],
                ),
                round=round_number,
                content=self.serialize(receiver),
                callback_success=success,
                callback_error=error,
                created_at=created_at,
                joined_at=joined_at,
                run=run,
                started_at=started_at,
                own=own,
            )

    def _training(self) -> str | None:
        return None


@dataclass(frozen=True)
class TrainingNotification[TBody: Body](Notification[TBody]):
    """A notification about a training.

    Attributes:
        tells_actor: whether the actor of the training is told as well.
    """

    tells_actor: ClassVar[bool] = False

    training_uuid: Uuid

    @classmethod
    def from_training(cls, training: Training, participants: Iterable[Receiver]) -> Self:
        """Tell the participants, and the actor if it is to be told, each once."""
        receivers = tuple(participants)
        takes_part = any(same_uuid(each.uuid, training.actor.uuid) for each in receivers)
        actor = (training.actor,) if cls.tells_actor and not takes_part else ()
        return cls.to(training, (*receivers, *actor))

    @classmethod
    def to(cls, training: Training, receivers: Sequence[Receiver]) -> Self:
        """Tell these receivers and nobody else."""
        return cls(
            receivers=receivers,
            body=cls.body_from(training),
            training_uuid=training.training_uuid,
        )

    @classmethod
    def body_from(cls, training: Training) -> TBody:
        """What is said of a training."""
        raise NotImplementedError

    def serialize(self, receiver: Receiver | None = None) -> dict[str, Any]:
        """The JSON object on the wire, which names the training."""
        return {**super().serialize(receiver), "training_uuid": self.training_uuid}

    def _training(self) -> str | None:
        return self.training_uuid


class TrainingStartNotification(TrainingNotification[ModelBody]):
    """The training starts, or, for who joins later, has started."""

    type = NotificationType.TRAINING_START

    @classmethod
    def body_from(cls, training: Training) -> ModelBody:
        """The global model."""
        return ModelBody(global_model_uuid=training.model_uuid)


class TrainingRoundStartNotification(TrainingNotification[RoundBody]):
    """A training round starts.

    A participant with a model of its own trains that one instead of the training's. Its own
    settings go over the training's, key by key.
    """

    type = NotificationType.UPDATE_ROUND_START

    @property
    def callback_success(self) -> str | None:
        """The callback that logs the acceptance."""
        return CALLBACK_SUCCESS

    @property
    def callback_error(self) -> str | None:
        """The callback that does what the failure policy says."""
        return CALLBACK_FAILURE

    @property
    def round(self) -> int | None:
        """The round that starts."""
        return self.body.round

    def body_for(self, receiver: Receiver) -> RoundBody:
        """The body with the participant's own settings and, if it counts here, its own model."""
        if not isinstance(receiver, Participant):
            return self.body
        own: dict[str, Any] = {}
        if self.type is NotificationType.UPDATE_ROUND_START and receiver.model_uuid is not None:
            own["global_model_uuid"] = receiver.model_uuid
        if receiver.settings is not None:
            own["settings"] = {**(self.body.settings or {}), **receiver.settings}
        return self.body.model_copy(update=own) if own else self.body

    @classmethod
    def body_from(cls, training: Training) -> RoundBody:
        """The round, its model and the training's settings."""
        return RoundBody(
            round=training.round,
            global_model_uuid=training.model_uuid,
            settings=training.settings,
        )


class TrainingSWAGRoundStartNotification(TrainingRoundStartNotification):
    """A SWAG round starts; all train the same model."""

    type = NotificationType.SWAG_ROUND_START

    @classmethod
    def body_from(cls, training: Training) -> RoundBody:
        """The round and its model, twice."""
        same = RoundBody(round=training.round, global_model_uuid=training.model_uuid)
        return SwagRoundBody(
            round=training.round,
            global_model_uuid=training.model_uuid,
            settings=training.settings,
            data=same,
        )


class TrainingModelTestNotification(TrainingRoundStartNotification):
    """The participants are to test the global model."""

    type = NotificationType.MODEL_TEST_ROUND


class TrainingFinishedNotification(TrainingNotification[ModelBody]):
    """The training is completed."""

    type = NotificationType.TRAINING_FINISHED
    tells_actor = True

    @classmethod
    def body_from(cls, training: Training) -> ModelBody:
        """The global model."""
        return ModelBody(global_model_uuid=training.model_uuid)


class TrainingErrorNotification(TrainingNotification[TrainingErrorBody]):
    """The training ended with an error."""

    type = NotificationType.TRAINING_ERROR
    tells_actor = True

    @classmethod
    def body_from(cls, training: Training) -> TrainingErrorBody:
        """The reason and the round."""
        reason = training.error_reason or "the server ended the training with an error"
        return TrainingErrorBody(data=ErrorData(reason=reason, round=training.round))


class ClientRemovedNotification(TrainingNotification[ClientRemovedBody]):
    """The receiver is no longer a participant of the training."""

    type = NotificationType.CLIENT_REMOVED

    @classmethod
    def body_from(cls, training: Training) -> ClientRemovedBody:
        """Nothing."""
        del training
        return ClientRemovedBody()


class ParticipantRemovedNotification(TrainingNotification[ParticipantRemovedBody]):
    """Another participant is out; told only if the training's options say so."""

    type = NotificationType.PARTICIPANT_REMOVED

    @classmethod
    def about(cls, training: Training, receivers: Sequence[Receiver], removed: RemovedData) -> Self:
        """Tell the receivers of the removal."""
        return cls(
            receivers=receivers,
            body=ParticipantRemovedBody(data=removed),
            training_uuid=training.training_uuid,
        )


type AnyTrainingNotification = (
    TrainingStartNotification
    | TrainingRoundStartNotification
    | TrainingFinishedNotification
    | TrainingErrorNotification
    | ClientRemovedNotification
    | ParticipantRemovedNotification
)

_CLASSES: tuple[type[AnyTrainingNotification], ...] = (
    TrainingStartNotification,
    TrainingRoundStartNotification,
    TrainingSWAGRoundStartNotification,
    TrainingModelTestNotification,
    TrainingFinishedNotification,
    TrainingErrorNotification,
    ClientRemovedNotification,
)
NOTIFICATION_CLASSES = {cls.type: cls for cls in _CLASSES}
"""The class of each type that says nothing but what a training itself does."""

"""The API of fl-demonstrator's package `notification`: its call sites stay, an import changes.

The classes, their inner `Body`, `from_training` and `send` are used as there; what `send` does is
this service's. Training and receivers are whatever has the attributes: Django models, or others.
What is sent here is told whatever the trainings table says, and is never superseded: who writes
the table need send nothing, see `TrainingRepository` and `fl_notifications.server.django`.

Examples:
    >>> from fl_notifications.server.reference import TrainingRoundStartNotification
    >>> sent = TrainingRoundStartNotification.from_training(training).send()
    >>> sent.wait(timeout=60)
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Protocol, Self
from uuid import UUID, uuid4

from fl_notifications.deliveries.delivery import Delivery, DeliveryReceiver, notification_id
from fl_notifications.deliveries.queue import DeliveryQueue
from fl_notifications.notification_type import NotificationType
from fl_notifications.notifications.notification import CALLBACK_FAILURE, CALLBACK_SUCCESS, send
from fl_notifications.outcomes.ledger import Ledger
from fl_notifications.outcomes.sent import Sent

__all__ = [
    "Notification",
    "NotificationType",
    "Sent",
    "Serializable",
    "TrainingFinishedNotification",
    "TrainingModelTestNotification",
    "TrainingNotification",
    "TrainingRoundStartNotification",
    "TrainingSWAGRoundStartNotification",
    "TrainingStartNotification",
]


class AnyTraining(Protocol):
    """A training: `id`, `actor`, `model` and `participants` are read.

    The participants are an iterable, or a manager of Django's with `all()`.
    """

    @property
    def id(self) -> Any:
        """Its uuid."""

    @property
    def actor(self) -> Any:
        """Who has ordered it."""

    @property
    def model(self) -> Any:
        """The global model: `id` and `round` are read."""

    @property
    def participants(self) -> Any:
        """Who takes part."""


@dataclass
class Serializable:
    """Base of what goes over the wire; UUIDs become strings."""

    def serialize(self) -> dict[str, Any]:
        """The JSON object of the fields."""
        return {key: _plain(value) for key, value in asdict(self).items()}


@dataclass
class Notification[TBody: Serializable](Serializable):
    """Something to be said to some receivers.

    Attributes:
        receivers: who is told: each has `id` or `uuid`, and `message_endpoint`.
        body: what is said.
    """

    type: ClassVar[NotificationType]

    receivers: Iterable[Any]
    body: TBody

    @dataclass
    class Body(Serializable):
        """What is said."""

    @property
    def callback_success(self) -> str | None:
        """Name of the callback that follows an accepted notification; None: no callback."""
        return None

    @property
    def callback_error(self) -> str | None:
        """Name of the callback that follows a rejected or failed one; None: no callback."""
        return None

    def serialize(self) -> dict[str, Any]:
        """The JSON object on the wire."""
        return {"notification_type": self.type.value, "body": self.body.serialize()}

    def send(
        self,
        callback_success: str | None = None,
        callback_error: str | None = None,
        *,
        queue: DeliveryQueue | None = None,
        ledger: Ledger | None = None,
    ) -> Sent:
        """Enqueue the notification for all its receivers; see the library's `Notification.send`.

        Args:
            callback_success: name of the callback to follow instead of the class's own.
            callback_error: likewise.
            queue: without one, that of the environment variable `DELIVERIES_QUEUE_URL`.
            ledger: without one, that of `LEDGER_TABLE`.

        Returns:
            The ids of the notifications, and what becomes of them.
        """
        success = callback_success or self.callback_success
        error = callback_error or self.callback_error
        return send(self._deliveries(success, error), queue=queue, ledger=ledger)

    def _deliveries(self, success: str | None, error: str | None) -> Iterator[Delivery]:
        source, now, content = str(uuid4()), datetime.now(UTC), self.serialize()
        training = content.get("training_uuid")
        for receiver in self.receivers:
            uuid = _id_of(receiver)
            yield Delivery(
                notification_id=notification_id(
                    self.type, uuid, training_uuid=training, run=None, source=source
                ),
                notification_type=self.type,
                training_uuid=training,
                receiver=DeliveryReceiver(uuid=uuid, message_endpoint=receiver.message_endpoint),
                round=getattr(self.body, "round", None),
                content=content,
                callback_success=success,
                callback_error=error,
                created_at=now,
                own=True,
            )


@dataclass
class TrainingNotification[TBody: Serializable](Notification[TBody]):
    """A notification about a training."""

    training_uuid: UUID | str

    def serialize(self) -> dict[str, Any]:
        """The JSON object on the wire, which names the training."""
        return {**super().serialize(), "training_uuid": str(self.training_uuid)}


class TrainingStartNotification(TrainingNotification["TrainingStartNotification.Body"]):
    """The training starts."""

    type = NotificationType.TRAINING_START

    @dataclass
    class Body(Serializable):
        """Names the global model."""

        global_model_uuid: UUID | str

    @classmethod
    def from_training(cls, training: AnyTraining) -> Self:
        """Tell the participants."""
        return cls(_participants(training), cls.Body(training.model.id), training.id)


class TrainingRoundStartNotification(TrainingNotification["TrainingRoundStartNotification.Body"]):
    """A training round starts."""

    type = NotificationType.UPDATE_ROUND_START

    @dataclass
    class Body(Serializable):
        """Names the round and the global model."""

        round: int
        global_model_uuid: UUID | str

    @property
    def callback_success(self) -> str | None:
        """The callback that logs the acceptance."""
        return CALLBACK_SUCCESS

    @property
    def callback_error(self) -> str | None:
        """The callback that does what the failure policy says."""
        return CALLBACK_FAILURE

    @classmethod
    def from_training(cls, training: AnyTraining) -> Self:
        """Tell the participants."""
        body = cls.Body(training.model.round, training.model.id)
        return cls(_participants(training), body, training.id)


class TrainingSWAGRoundStartNotification(TrainingRoundStartNotification):
    """A SWAG round starts.

    Its body says the same twice: the stock client hands only `data` to its hook for this type.
    """

    type = NotificationType.SWAG_ROUND_START

    def serialize(self) -> dict[str, Any]:
        """The JSON object on the wire."""
        content = super().serialize()
        return {**content, "body": {**content["body"], "data": content["body"]}}


class TrainingModelTestNotification(TrainingRoundStartNotification):
    """The participants are to test the global model."""

    type = NotificationType.MODEL_TEST_ROUND


class TrainingFinishedNotification(TrainingNotification["TrainingFinishedNotification.Body"]):
    """The training is completed."""

    type = NotificationType.TRAINING_FINISHED

    @dataclass
    class Body(Serializable):
        """Names the global model."""

        global_model_uuid: UUID | str

    @classmethod
    def from_training(cls, training: AnyTraining) -> Self:
        """Tell the participants and the actor, each once."""
        receivers = _participants(training)
        if _id_of(training.actor) not in map(_id_of, receivers):
            receivers.append(training.actor)
        return cls(receivers, cls.Body(training.model.id), training.id)


def _participants(training: AnyTraining) -> list[Any]:
    participants = training.participants
    return list(participants.all() if hasattr(participants, "all") else participants)


def _id_of(receiver: Any) -> str:
    uuid = getattr(receiver, "uuid", None)
    return str(receiver.id if uuid is None else uuid)


def _plain(value: object) -> object:
    return str(value) if isinstance(value, UUID) else value

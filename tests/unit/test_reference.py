"""The reference's API: code that was written for it works with an import changed."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest

from fl_notifications.deliveries.delivery import Delivery
from fl_notifications.deliveries.queue import DeliveryQueue
from fl_notifications.notifications import notification as library
from fl_notifications.server.reference import (
    Notification,
    NotificationType,
    Serializable,
    TrainingFinishedNotification,
    TrainingModelTestNotification,
    TrainingNotification,
    TrainingRoundStartNotification,
    TrainingStartNotification,
    TrainingSWAGRoundStartNotification,
)
from fl_notifications.trainings.model import Receiver, TrainingState
from tests.made import training as library_training


@dataclass(frozen=True)
class User:
    message_endpoint: str = "https://one.example/messages"
    id: UUID = field(default_factory=uuid4)


@dataclass(frozen=True)
class Model:
    round: int = 3
    id: UUID = field(default_factory=uuid4)


@dataclass(frozen=True)
class Manager:
    """As Django's, which cannot be iterated over."""

    users: Sequence[User]

    def all(self) -> Sequence[User]:
        return self.users


@dataclass(frozen=True)
class Training:
    participants: Any
    actor: User = field(default_factory=User)
    model: Model = field(default_factory=Model)
    id: UUID = field(default_factory=uuid4)


class KeepingQueue(DeliveryQueue):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: list[Delivery] = []

    def send(
        self,
        deliveries: Iterable[Delivery],
        on_accepted: Callable[[Sequence[Delivery]], None] = lambda _deliveries: None,
    ) -> int:
        del on_accepted
        self.sent = list(deliveries)
        return len(self.sent)


KINDS: dict[Any, Any] = {
    TrainingStartNotification: library.TrainingStartNotification,
    TrainingRoundStartNotification: library.TrainingRoundStartNotification,
    TrainingSWAGRoundStartNotification: library.TrainingSWAGRoundStartNotification,
    TrainingModelTestNotification: library.TrainingModelTestNotification,
    TrainingFinishedNotification: library.TrainingFinishedNotification,
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("many", [list, tuple, Manager])
def test_what_goes_over_the_wire_is_what_the_service_sends(kind: Any, many: Any) -> None:
    one, two = User(), User()
    training = Training(many([one, two]))
    told = kind.from_training(training)
    queue = KeepingQueue()
    sent = told.send(queue=queue)
    ours = KINDS[kind].from_training(
        library_training(
            training_uuid=str(training.id),
            model_uuid=str(training.model.id),
            round=training.model.round,
            state=TrainingState.ONGOING,
            actor=Receiver(uuid=str(training.actor.id), message_endpoint="https://a.example"),
        ),
        [Receiver(uuid=str(each.id), message_endpoint="https://a.example") for each in (one, two)],
    )
    expected = list(ours.deliveries(source="1", created_at=queue.sent[0].created_at))
    assert [each.payload for each in queue.sent] == [each.payload for each in expected]
    assert [each.receiver.uuid for each in queue.sent] == [each.receiver.uuid for each in expected]
    assert (queue.sent[0].callback_error, queue.sent[0].callback_success, queue.sent[0].round) == (
        expected[0].callback_error,
        expected[0].callback_success,
        expected[0].round,
    )
    assert all(each.own and each.run is None for each in queue.sent)
    assert list(sent.ids) == [each.receiver.uuid for each in queue.sent]
    assert len(sent) == len(queue.sent)


def test_bodies_take_arguments_by_name_and_by_place() -> None:
    uuid, training = uuid4(), uuid4()
    named = TrainingRoundStartNotification.Body(round=1, global_model_uuid=uuid)
    assert named == TrainingRoundStartNotification.Body(1, uuid)
    assert named.serialize() == {"round": 1, "global_model_uuid": str(uuid)}
    told = TrainingRoundStartNotification(receivers=[User()], body=named, training_uuid=training)
    assert told.serialize() == {
        "notification_type": "UPDATE_ROUND_START",
        "body": {"round": 1, "global_model_uuid": str(uuid)},
        "training_uuid": str(training),
    }
    json.dumps(told.serialize())


def test_an_actor_that_takes_part_is_told_the_end_once() -> None:
    actor = User()
    told = TrainingFinishedNotification.from_training(Training([actor], actor=actor))
    assert list(told.receivers) == [actor]


def test_receivers_may_be_called_uuid_too() -> None:
    queue = KeepingQueue()
    receiver = Receiver(uuid=str(uuid4()), message_endpoint="https://one.example/")
    TrainingStartNotification([receiver], TrainingStartNotification.Body(uuid4()), uuid4()).send(
        queue=queue
    )
    assert [each.receiver.uuid for each in queue.sent] == [receiver.uuid]


class News(Notification["News.Body"]):
    """A notification of one's own."""

    type = NotificationType.CLIENT_REMOVED

    @dataclass
    class Body(Serializable):
        what: str

    @property
    def callback_error(self) -> str | None:
        return "mine"


def test_classes_of_ones_own_need_no_training() -> None:
    queue = KeepingQueue()
    News([User()], News.Body("closed on Monday")).send("good", queue=queue)
    (told,) = queue.sent
    assert told.content == {
        "notification_type": "CLIENT_REMOVED",
        "body": {"what": "closed on Monday"},
    }
    assert (told.training_uuid, told.callback_success, told.callback_error) == (
        None,
        "good",
        "mine",
    )


def test_the_bases_name_no_callbacks() -> None:
    class Plain(TrainingNotification[Notification.Body]):
        type = NotificationType.TRAINING_START

    plain = Plain([], Plain.Body(), uuid4())
    assert (plain.callback_success, plain.callback_error) == (None, None)
    assert plain.serialize()["body"] == {}

"""Made-up trainings, participants, deliveries and items, and a clock that stands still."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from boto3.dynamodb.types import TypeSerializer

from fl_notifications.deliveries.delivery import Delivery
from fl_notifications.notifications.notification import TrainingRoundStartNotification
from fl_notifications.outcomes.outcome import Outcome, OutcomeKind, outcome_of
from fl_notifications.trainings.model import (
    Participant,
    Receiver,
    Training,
    TrainingState,
)

TRAINING_UUID = "6b1e6f1c-0f3a-4c57-9d7b-2f6a3e0c9a11"
MODEL_UUID = "0d9b2f64-7c1e-4c3a-8e55-b7a1c2d3e4f5"
OWN_MODEL_UUID = "1f2e3d4c-5b6a-4978-8695-a4b3c2d1e0f9"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def uuid_of(name: str) -> str:
    """A uuid for a name, always the same."""
    return str(uuid5(NAMESPACE_URL, name))


ACTOR = Receiver(uuid=uuid_of("actor"), message_endpoint="https://actor.example/messages")


@dataclass
class StoppedClock:
    """A clock that goes on only when told to."""

    at: datetime = NOW
    seconds: float = 1000.0

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.seconds

    def go_on(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
        self.seconds += seconds


def participant(name: str, **values: Any) -> Participant:
    given = {"uuid": uuid_of(name), "message_endpoint": f"https://{name}.example/messages"}
    return Participant.model_validate(given | values)


def training(**values: Any) -> Training:
    given = {
        "training_uuid": TRAINING_UUID,
        "state": TrainingState.ONGOING,
        "round": 3,
        "model_uuid": MODEL_UUID,
        "actor": ACTOR,
    }
    return Training.model_validate(given | values)


def delivery(name: str = "one", **values: Any) -> Delivery:
    """What tells a participant that round 3 starts."""
    notification = TrainingRoundStartNotification.from_training(training(), [participant(name)])
    (made,) = notification.deliveries(source="1", created_at=NOW)
    return made.model_copy(update=values)


def outcome(kind: OutcomeKind, made: Delivery | None = None, **values: Any) -> Outcome:
    """How a delivery ended; as many values as the kind has them."""
    given: dict[str, Any] = {
        "attempts": 1,
        "status_code": {OutcomeKind.ACCEPTED: 200, OutcomeKind.REJECTED: 400}.get(kind),
        "reason": None if kind is OutcomeKind.ACCEPTED else "answered 400",
        "finished_at": NOW + timedelta(seconds=2),
    }
    return outcome_of(made or delivery(), kind, **(given | values))


def item(values: Mapping[str, Any]) -> dict[str, Any]:
    """An item as DynamoDB shows it."""
    serializer = TypeSerializer()
    return {key: serializer.serialize(value) for key, value in values.items()}


def training_item(**values: Any) -> dict[str, Any]:
    """A training's item: with these attributes instead, and without those that are None."""
    given = {
        "training_uuid": TRAINING_UUID,
        "entity": "TRAINING",
        "state": "ONGOING",
        "round": 3,
        "model_uuid": MODEL_UUID,
        "actor": ACTOR.model_dump(),
    } | values
    return item({key: value for key, value in given.items() if value is not None})


def participant_item(name: str, **values: Any) -> dict[str, Any]:
    """A participant's item: with these attributes instead, and without those that are None."""
    given = {
        "training_uuid": TRAINING_UUID,
        "entity": f"PARTICIPANT#{uuid_of(name)}",
        "message_endpoint": f"https://{name}.example/messages",
    } | values
    return item({key: value for key, value in given.items() if value is not None})

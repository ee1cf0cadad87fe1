"""What has to be known before a batch of notifications is attempted, read in one call."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fl_notifications.aws.batches import Sleep, until_done
from fl_notifications.deliveries.delivery import ANNOUNCED_STATE, Delivery
from fl_notifications.notification_type import NotificationType
from fl_notifications.outcomes.ledger import LedgerEntry, ledger_key
from fl_notifications.trainings.items import participant_key, training_key
from fl_notifications.trainings.model import FINAL_STATES

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_SUPERSEDABLE = frozenset({NotificationType.TRAINING_START, *ANNOUNCED_STATE})


class SnapshotError(Exception):
    """The tables could not be read completely, after several tries."""


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Where a training is, as far as its item says so; whatever else is in it does not matter."""

    state: str | None
    round: str | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The ledger, the trainings and the participants, as they were at one moment.

    Attributes:
        ledger: by notification id.
        trainings: by training uuid; those that exist.
        participants: training and participant uuids; those that exist.
    """

    ledger: Mapping[str, LedgerEntry]
    trainings: Mapping[str, TrainingProgress]
    participants: frozenset[tuple[str, str]]

    def why_superseded(self, delivery: Delivery) -> str | None:
        """Why this notification is no longer to be sent; None if it is."""
        training_uuid, kind = delivery.training_uuid, delivery.notification_type
        if training_uuid is None or kind not in _SUPERSEDABLE:
            return None
        training = self.trainings.get(training_uuid)
        if training is None:
            return "the training is gone"
        announced = ANNOUNCED_STATE.get(kind)
        if training.state in FINAL_STATES or announced not in {None, training.state}:
            return f"the training is {training.state}"
        if announced is not None:
            if training.round != str(delivery.round):
                return "the training is in another round"
            if (training_uuid, delivery.receiver.uuid) not in self.participants:
                return "the receiver is no longer a participant"
        return None


def read_snapshot(
    client: "DynamoDBClient",
    deliveries: Iterable[Delivery],
    *,
    trainings_table: str,
    ledger_table: str,
    sleep: Sleep = time.sleep,
) -> Snapshot:
    """Read what has to be known of up to ten deliveries, strongly consistent, in one call.

    Raises:
        SnapshotError: if DynamoDB left some keys unprocessed to the end.
        ClientError: if DynamoDB refuses the call as a whole.
    """
    items: dict[str, list[Mapping[str, Any]]] = {trainings_table: [], ledger_table: []}

    def call(requests: dict[str, Any]) -> dict[str, Any]:
        answer = client.batch_get_item(RequestItems=requests)
        for table, found in answer["Responses"].items():
            items[table].extend(found)
        return dict(answer.get("UnprocessedKeys", {}))

    if until_done(_requests(deliveries, trainings_table, ledger_table), call, sleep=sleep):
        raise SnapshotError("DynamoDB did not answer for all keys")
    return _snapshot(items[trainings_table], items[ledger_table])


def _requests(
    deliveries: Iterable[Delivery], trainings_table: str, ledger_table: str
) -> dict[str, Any]:
    trainings: dict[tuple[str, ...], dict[str, Any]] = {}
    ledger: dict[str, dict[str, Any]] = {}
    for delivery in deliveries:
        ledger[delivery.notification_id] = ledger_key(delivery.notification_id)
        training, kind = delivery.training_uuid, delivery.notification_type
        # Each key read is paid for, even if there is no such item.
        if training is not None and kind in _SUPERSEDABLE:
            trainings[training,] = training_key(training)
        if training is not None and kind in ANNOUNCED_STATE:
            receiver = delivery.receiver.uuid
            trainings[training, receiver] = participant_key(training, receiver)
    requests: dict[str, Any] = {
        ledger_table: {"Keys": list(ledger.values()), "ConsistentRead": True}
    }
    if trainings:
        requests[trainings_table] = {
            "Keys": list(trainings.values()),
            "ConsistentRead": True,
            # The server's own attributes may be large.
            "ProjectionExpression": "training_uuid, entity, #state, #round",
            "ExpressionAttributeNames": {"#state": "state", "#round": "round"},
        }
    return requests


def _snapshot(
    trainings_items: Iterable[Mapping[str, Any]], ledger_items: Iterable[Mapping[str, Any]]
) -> Snapshot:
    trainings = {}
    participants = set()
    for item in trainings_items:
        training_uuid, entity = item["training_uuid"]["S"], item["entity"]["S"]
        _, is_participant, participant_uuid = entity.partition("#")
        if is_participant:
            participants.add((training_uuid, participant_uuid))
        else:
            trainings[training_uuid] = TrainingProgress(
                state=item.get("state", {}).get("S"), round=item.get("round", {}).get("N")
            )
    ledger = {
        item["notification_id"]["S"]: entry
        for item in ledger_items
        if (entry := LedgerEntry.from_item(item)) is not None
    }
    return Snapshot(ledger=ledger, trainings=trainings, participants=frozenset(participants))

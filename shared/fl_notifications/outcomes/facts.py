"""What the tables say about notifications before they are attempted: read in one call for all."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self, TypeGuard

from fl_notifications.aws.batches import Sleep, get_items
from fl_notifications.deliveries.delivery import ANNOUNCED_STATE, Delivery
from fl_notifications.notification_type import NotificationType
from fl_notifications.outcomes.ledger import LedgerEntry, UnreadableEntryError, ledger_key
from fl_notifications.outcomes.runs import later_than, run_key
from fl_notifications.trainings.items import Item, participant_key, training_key
from fl_notifications.trainings.model import TrainingState, canonical

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MAX_DELIVERIES: Final = 25
"""For one call: it takes 100 keys, and each delivery has up to four."""

_SUPERSEDABLE: Final = frozenset({NotificationType.TRAINING_START, *ANNOUNCED_STATE})

# No more than is needed: the server's own attributes, and the training in a run's entry, may be
# large. `state` and the like are words that DynamoDB reserves.
_OF_TRAININGS: Final[Mapping[str, Any]] = {
    "ProjectionExpression": "training_uuid, entity, #state, #round, actor, #joined, #endpoint",
    "ExpressionAttributeNames": {
        "#state": "state",
        "#round": "round",
        "#joined": "joined_at",
        "#endpoint": "message_endpoint",
    },
}
_OF_LEDGER: Final[Mapping[str, Any]] = {
    "ProjectionExpression": "notification_id, attempts, #outcome, status_code, reason, #at, #run",
    "ExpressionAttributeNames": {"#outcome": "outcome", "#at": "at", "#run": "run"},
}


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """A training's item, as far as it concerns a notification.

    Attributes:
        progress: state and round; None if they cannot be read.
        actor: uuid (in the one spelling) and endpoint of the actor; None if they cannot be read.
    """

    progress: tuple[TrainingState, int] | None
    actor: tuple[str, str] | None

    @classmethod
    def from_item(cls, item: Item) -> Self:
        """Parse an item of the table; whatever else is in it does not matter."""
        return cls(_progress(item), _actor(item))


@dataclass(frozen=True, slots=True)
class ParticipantFacts:
    """A participant's item, as far as it concerns a notification.

    Attributes:
        readable: whether the rest could be read.
    """

    message_endpoint: str
    joined_at: str | None
    readable: bool = True

    @classmethod
    def from_item(cls, item: Item) -> Self:
        """Parse an item of the table; whatever else is in it does not matter."""
        endpoint = item.get("message_endpoint", {}).get("S")
        joined_at = item.get("joined_at", {"NULL": True})
        if not isinstance(endpoint, str) or not {"S", "NULL"} & joined_at.keys():
            return cls("", None, readable=False)
        return cls(endpoint, joined_at.get("S"))


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read. The parts are of no one moment: the call that reads them promises none.

    Attributes:
        ledger: entries by notification id; the error, if one cannot be read.
        runs: by training uuid: sequence number of the change that began the current run.
        trainings: by training uuid; None if there is none.
        participants: by training and participant uuids; None if there is none.
    """

    ledger: Mapping[str, LedgerEntry | UnreadableEntryError]
    runs: Mapping[str, str]
    trainings: Mapping[str, TrainingFacts | None]
    participants: Mapping[tuple[str, str], ParticipantFacts | None]

    def entry_of(self, delivery: Delivery) -> LedgerEntry | None:
        """What the ledger has of a delivery.

        Raises:
            UnreadableEntryError: if it has something that cannot be read.
        """
        entry = self.ledger.get(delivery.notification_id)
        if isinstance(entry, UnreadableEntryError):
            raise entry
        return entry

    def why_superseded(self, delivery: Delivery) -> str | None:
        """Why a notification is no longer to be sent; None if it is.

        What cannot be read supersedes nothing.
        """
        training_uuid, kind = delivery.training_uuid, delivery.notification_type
        if training_uuid is None or delivery.own or kind not in _SUPERSEDABLE:
            return None
        return self._training_has_passed(delivery, training_uuid) or self._receiver_has_left(
            delivery, training_uuid
        )

    def address_of(self, delivery: Delivery) -> str:
        """Where a delivery goes at this moment: the endpoint that the table has.

        It is the participant's, whichever its membership; else the actor's, if the receiver is
        that; else, as the receiver has left, the one that the delivery was built with.
        """
        training_uuid, receiver = delivery.training_uuid, delivery.receiver
        if training_uuid is None or delivery.own:
            return receiver.message_endpoint
        participant = self.participants.get((training_uuid, receiver.uuid))
        if participant is not None and participant.readable:
            return participant.message_endpoint
        training = self.trainings.get(training_uuid)
        if training and training.actor and training.actor[0] == canonical(receiver.uuid):
            return training.actor[1]
        return receiver.message_endpoint

    def updated_with(self, newer: "Facts") -> "Facts":
        """These, and in place of what has been read again what is newer."""
        return Facts(
            ledger={**self.ledger, **newer.ledger},
            runs={**self.runs, **newer.runs},
            trainings={**self.trainings, **newer.trainings},
            participants={**self.participants, **newer.participants},
        )

    def _training_has_passed(self, delivery: Delivery, training_uuid: str) -> str | None:
        training = self.trainings.get(training_uuid)
        if training is None:
            return "the training is gone"
        current, run = self.runs.get(training_uuid), delivery.run
        if current is not None and _is_sequence_number(run) and later_than(current, run):
            return "the training is in a later run"
        return _why_passed(delivery, *training.progress) if training.progress else None

    def _receiver_has_left(self, delivery: Delivery, training_uuid: str) -> str | None:
        participant = self.participants.get((training_uuid, delivery.receiver.uuid))
        if participant is None:
            return "the receiver is no longer a participant"
        if not participant.readable or not delivery.knows_membership:
            return None
        again = participant.joined_at != delivery.joined_at
        return "the receiver has joined again" if again else None


class FactsReader:
    """Reads what has to be known of notifications, in one call of DynamoDB."""

    def __init__(
        self,
        client: "DynamoDBClient",
        *,
        trainings_table: str,
        ledger_table: str,
        sleep: Sleep = time.sleep,
    ) -> None:
        """Use two tables.

        Args:
            client: boto3's client.
            trainings_table: name or ARN.
            ledger_table: name or ARN.
            sleep: waits between two tries of a call, in seconds.
        """
        self._client = client
        self._trainings_table = trainings_table
        self._ledger_table = ledger_table
        self._sleep = sleep

    def read(self, deliveries: Sequence[Delivery]) -> Facts:
        """Read what has to be known of at most `MAX_DELIVERIES`.

        Trainings and participants are read eventually consistent, at half the price and with half
        the load on a training's one partition. Such a read may be older than the change that a
        notification tells of; so what it calls superseded is read again, consistently. The ledger
        is always read so: an attempt that was just recorded must not be made once more.

        Raises:
            NotReadError: if DynamoDB left some keys unprocessed to the end.
            ClientError: if DynamoDB refuses the call as a whole.
        """
        if not deliveries:
            return Facts({}, {}, {}, {})
        facts = self._read(deliveries, consistent=False)
        doubtful = [each for each in deliveries if _would_be_superseded(facts, each)]
        return self.confirm(facts, doubtful) if doubtful else facts

    def confirm(self, facts: Facts, deliveries: Sequence[Delivery]) -> Facts:
        """Read what was read of some deliveries again, consistently.

        Raises:
            NotReadError: if DynamoDB left some keys unprocessed to the end.
            ClientError: if DynamoDB refuses the call as a whole.
        """
        return facts.updated_with(self._read(deliveries, consistent=True))

    def _read(self, deliveries: Iterable[Delivery], *, consistent: bool) -> Facts:
        trainings: dict[str, dict[str, Any]] = {}
        participants: dict[tuple[str, str], dict[str, Any]] = {}
        ledger: dict[str, dict[str, Any]] = {}
        for delivery in deliveries:
            ledger[delivery.notification_id] = ledger_key(delivery.notification_id)
            training = delivery.training_uuid
            if training is None or delivery.own:
                continue  # each key read is paid for
            trainings[training] = training_key(training)
            receiver = delivery.receiver.uuid
            participants[training, receiver] = participant_key(training, receiver)
            if delivery.notification_type in _SUPERSEDABLE:
                key = run_key(training)
                ledger[key["notification_id"]["S"]] = key
        requests: dict[str, Any] = {
            self._ledger_table: {
                "Keys": list(ledger.values()),
                "ConsistentRead": True,
                **_OF_LEDGER,
            }
        }
        if trainings:
            requests[self._trainings_table] = {
                "Keys": [*trainings.values(), *participants.values()],
                "ConsistentRead": consistent,
                **_OF_TRAININGS,
            }
        items = get_items(self._client, requests, sleep=self._sleep)
        return _facts(items, trainings, participants, self._trainings_table, self._ledger_table)


def _facts(
    items: Mapping[str, Iterable[Item]],
    asked_trainings: Iterable[str],
    asked_participants: Iterable[tuple[str, str]],
    trainings_table: str,
    ledger_table: str,
) -> Facts:
    trainings: dict[str, TrainingFacts | None] = dict.fromkeys(asked_trainings)
    participants: dict[tuple[str, str], ParticipantFacts | None] = dict.fromkeys(asked_participants)
    for item in items.get(trainings_table, ()):
        training_uuid, entity = item["training_uuid"]["S"], item["entity"]["S"]
        _, is_participant, participant_uuid = entity.partition("#")
        if is_participant:
            participants[training_uuid, participant_uuid] = ParticipantFacts.from_item(item)
        else:
            trainings[training_uuid] = TrainingFacts.from_item(item)
    ledger, runs = _ledger_and_runs(items[ledger_table])
    return Facts(ledger, runs, trainings, participants)


def _ledger_and_runs(
    items: Iterable[Item],
) -> tuple[dict[str, LedgerEntry | UnreadableEntryError], dict[str, str]]:
    ledger: dict[str, LedgerEntry | UnreadableEntryError] = {}
    runs: dict[str, str] = {}
    for item in items:
        key = item["notification_id"]["S"]
        kind, _, training_uuid = key.partition("#")
        if training_uuid and kind == "run":
            run = item.get("run", {}).get("S")
            if _is_sequence_number(run):
                runs[training_uuid] = run
            continue
        try:
            entry = LedgerEntry.from_item(item)
        except UnreadableEntryError as error:
            ledger[key] = error
        else:
            if entry is not None:
                ledger[key] = entry
    return ledger, runs


def _would_be_superseded(facts: Facts, delivery: Delivery) -> bool:
    entry = facts.ledger.get(delivery.notification_id)
    concluded = isinstance(entry, LedgerEntry) and entry.outcome is not None
    return not concluded and facts.why_superseded(delivery) is not None


def _why_passed(delivery: Delivery, state: TrainingState, current_round: int) -> str | None:
    announced = ANNOUNCED_STATE.get(delivery.notification_type)
    if announced is None:
        initial = state is TrainingState.INITIAL
        return f"the training is {state}" if initial else None
    if state is not announced:
        return f"the training is {state}"
    return None if current_round == delivery.round else "the training is in another round"


def _is_sequence_number(text: str | None) -> TypeGuard[str]:
    return text is not None and text.isascii() and text.isdigit()


def _progress(item: Item) -> tuple[TrainingState, int] | None:
    state, number = item.get("state", {}).get("S"), item.get("round", {}).get("N")
    try:
        return TrainingState(str(state)), int(number or "")
    except ValueError:
        return None


def _actor(item: Item) -> tuple[str, str] | None:
    actor = item.get("actor", {}).get("M", {})
    uuid, endpoint = actor.get("uuid", {}).get("S"), actor.get("message_endpoint", {}).get("S")
    if not isinstance(uuid, str) or not isinstance(endpoint, str):
        return None
    try:
        return canonical(uuid), endpoint
    except ValueError:
        return None

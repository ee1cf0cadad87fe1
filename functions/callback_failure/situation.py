"""What the tables say at this moment: of a training, its run, a participant, a notification."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fl_notifications.aws.batches import Sleep, get_items
from fl_notifications.outcomes.ledger import ledger_key
from fl_notifications.outcomes.runs import run_key
from fl_notifications.trainings.items import (
    TRAINING_ENTITY,
    Item,
    participant_key,
    training_key,
)
from fl_notifications.trainings.model import Progress

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# No more than is needed: what else the server keeps there may be large.
_OF_TRAININGS: Final = (
    "training_uuid",
    "entity",
    "state",
    "round",
    "started_at",
    "options",
    "joined_at",
)


@dataclass(frozen=True, slots=True)
class CurrentTraining:
    """A training's item, with what can be read of it for sure."""

    item: Item
    progress: Progress

    @property
    def uuid(self) -> str:
        """As the table spells it."""
        uuid: str = self.item["training_uuid"]["S"]
        return uuid


@dataclass(frozen=True, slots=True)
class Situation:
    """What was read. Its parts are of no one moment: the call that reads them promises none.

    Attributes:
        training: None if there is none.
        participant: its item; None if there is none.
        entry: of the ledger, the one that was asked for; None if there is none.
        run: the training's entry in the ledger; None if there is none.
    """

    training: CurrentTraining | None
    participant: Item | None
    entry: Item | None
    run: Item | None


class SituationReader:
    """Reads a situation in one call, strongly consistent."""

    def __init__(
        self,
        client: "DynamoDBClient",
        trainings_table: str,
        ledger_table: str,
        *,
        sleep: Sleep = time.sleep,
    ) -> None:
        """Use the two tables."""
        self._client = client
        self._trainings_table = trainings_table
        self._ledger_table = ledger_table
        self._sleep = sleep

    def read(
        self,
        training_uuid: str,
        *,
        participant_uuid: str | None = None,
        entry_id: str | None = None,
    ) -> Situation:
        """Read a training with its run, and a participant and an entry of the ledger if asked for.

        Raises:
            UnreadableItemError: if the training's state or round cannot be read.
            NotReadError: if DynamoDB left some keys unprocessed to the end.
            ClientError: if DynamoDB refuses the call as a whole.
        """
        keys = [training_key(training_uuid)]
        if participant_uuid is not None:
            keys.append(participant_key(training_uuid, participant_uuid))
        entries = [run_key(training_uuid)]
        if entry_id is not None:
            entries.append(ledger_key(entry_id))
        items = self._items(keys, entries)
        training, participant = None, None
        for item in items[self._trainings_table]:
            if item["entity"]["S"] == TRAINING_ENTITY:
                training = CurrentTraining(item, Progress.from_item(item))
            else:
                participant = item
        entry, run = None, None
        for found in items[self._ledger_table]:
            if found["notification_id"]["S"] == entry_id:
                entry = found
            else:
                run = found
        return Situation(training, participant, entry, run)

    def _items(
        self, keys: list[dict[str, Any]], entries: list[dict[str, Any]]
    ) -> dict[str, list[Item]]:
        names = {f"#{name}": name for name in _OF_TRAININGS}
        requests: dict[str, Any] = {
            self._trainings_table: {
                "Keys": keys,
                "ConsistentRead": True,
                "ProjectionExpression": ", ".join(names),
                "ExpressionAttributeNames": names,
            },
            self._ledger_table: {"Keys": entries, "ConsistentRead": True},
        }
        return get_items(self._client, requests, sleep=self._sleep)

"""Records of the stream that lead to nothing, or not to all: each becomes a dead letter."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fl_notifications.deliveries.queue import DeadLetterQueue
from fl_notifications.telemetry.journal import Journal
from fl_notifications.trainings.items import UnreadableItemError

MAX_CHARACTERS: Final = 900_000
"""SQS takes 1 MiB, attributes included; two images of 400 KB may be more than that."""


@dataclass(frozen=True)
class DeadLetters:
    """Puts records into the dead-letter queue of the stream, with the reason."""

    queue: DeadLetterQueue
    journal: Journal

    def unreadable(
        self, error: UnreadableItemError, record: Mapping[str, Any], entity: str
    ) -> None:
        """Set aside a record because an item cannot be read.

        Args:
            error: what is wrong with which field.
            record: the record.
            entity: sort key of the item; the record's own, or that of somebody to be told.

        Raises:
            ClientError: if the queue does not take it.
        """
        self.journal.unreadable(error)
        letter = {"item": error.item, "field": error.field, "reason": error.reason}
        training_uuid = record["dynamodb"]["Keys"]["training_uuid"]["S"]
        about = {"training_uuid": training_uuid, "entity": entity}
        self._put({**letter, **about}, record, str(error))

    def given_up(self, record: Mapping[str, Any], reason: str) -> None:
        """Set aside a record that fails again and again.

        Raises:
            ClientError: if the queue does not take it.
        """
        keys = record.get("dynamodb", {}).get("Keys", {})
        training_uuid, entity = (keys.get(key, {}).get("S") for key in ("training_uuid", "entity"))
        self.journal.trouble("dead letter", reason=reason, training_uuid=training_uuid)
        letter = {"reason": reason, "training_uuid": training_uuid, "entity": entity}
        self._put(letter, record, reason)

    def _put(self, letter: dict[str, Any], record: Mapping[str, Any], reason: str) -> None:
        body = json.dumps({**letter, "record": record}, default=str)
        if len(body) > MAX_CHARACTERS:
            # The keys and the sequence number are enough to find the rest.
            images = {"NewImage", "OldImage"}
            stream = {k: v for k, v in record["dynamodb"].items() if k not in images}
            body = json.dumps({**letter, "record": {**record, "dynamodb": stream}})
        self.queue.put(body, reason=reason)

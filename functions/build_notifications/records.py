"""Records of the trainings table's stream."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self

from fl_notifications.trainings.items import PARTICIPANT_PREFIX, REDRIVEN_AS, TRAINING_ENTITY, Item

TTL_PRINCIPAL = "dynamodb.amazonaws.com"
"""Who deletes expired items (DynamoDB Developer Guide, "Working with expired items")."""


class ChangeKind(StrEnum):
    """What a record says has happened to an item."""

    INSERT = "INSERT"
    MODIFY = "MODIFY"
    REMOVE = "REMOVE"


@dataclass(frozen=True, slots=True)
class Change:
    """A change of an item of the trainings table.

    Attributes:
        training_uuid: the item's partition key, as written.
        entity: the item's sort key.
        sequence_number: unique within the stream; the same each time the record is read.
        at: when the item was changed, in whole seconds.
        old: the item before; None if there was none.
        new: the item after; None if there is none.
        by_ttl: whether DynamoDB deleted it because it had expired.
        record: the record itself, as Lambda got it.
    """

    kind: ChangeKind
    training_uuid: str
    entity: str
    sequence_number: str
    at: datetime
    old: Item | None
    new: Item | None
    by_ttl: bool
    record: Mapping[str, Any]

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Parse a record as Lambda gets it from the stream."""
        stream = record["dynamodb"]
        return cls(
            kind=ChangeKind(record["eventName"]),
            training_uuid=stream["Keys"]["training_uuid"]["S"],
            entity=stream["Keys"]["entity"]["S"],
            sequence_number=stream["SequenceNumber"],
            at=datetime.fromtimestamp(float(stream["ApproximateCreationDateTime"]), UTC),
            old=stream.get("OldImage"),
            new=stream.get("NewImage"),
            by_ttl=(record.get("userIdentity") or {}).get("principalId") == TTL_PRINCIPAL,
            record=record,
        )

    @property
    def redriven(self) -> bool:
        """Whether it comes from a dead letter instead of the stream."""
        return bool(self.record.get(REDRIVEN_AS))

    @property
    def adopted(self) -> bool:
        """Whether the new item was written by `adopt`: another system has notified so far."""
        return self.old is None and self.new is not None and "adopted_at" in self.new

    @property
    def options_changed(self) -> bool:
        """Whether the item has other options than before."""
        return (self.old or {}).get("options") != (self.new or {}).get("options")

    @property
    def fan_out(self) -> str:
        """The name of its fan-out: another one for each dead letter that is redriven."""
        letter = self.record.get(REDRIVEN_AS)
        return f"{self.sequence_number}#{letter}" if letter else self.sequence_number

    @property
    def without_images(self) -> dict[str, Any]:
        """The record without its images, which may be too large for a message."""
        stream = self.record["dynamodb"]
        kept = ("ApproximateCreationDateTime", "Keys", "SequenceNumber")
        small = {key: stream[key] for key in kept if key in stream}
        return {"eventName": self.kind.value, "dynamodb": small}

    @property
    def of_training(self) -> bool:
        """Whether the item is a training."""
        return self.entity == TRAINING_ENTITY

    @property
    def of_participant(self) -> bool:
        """Whether the item is a participant."""
        return self.entity.startswith(PARTICIPANT_PREFIX)

    @property
    def looks_meant(self) -> bool:
        """Whether the item is none of the table's kinds, but somebody took it for one."""
        entity = self.entity.upper()
        looks = entity == TRAINING_ENTITY or entity.startswith(PARTICIPANT_PREFIX.rstrip("#"))
        return looks and not self.of_training and not self.of_participant

"""The ledger: how often each notification was attempted, and how it ended.

It catches repeats after the queue's own five minutes, and survives whatever crashes.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from fl_notifications.aws.batches import Sleep, get_all, put_items
from fl_notifications.aws.errors import condition_failed
from fl_notifications.deliveries.delivery import Delivery
from fl_notifications.outcomes.outcome import OutcomeKind
from fl_notifications.trainings.model import canonical

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

RETENTION = timedelta(days=30)
"""How long an entry is kept: twice the 14 days that a message can wait in a queue."""


class UnreadableEntryError(Exception):
    """An entry of the ledger is not what we write there; names the attribute.

    Attributes:
        field: the attribute that is missing or wrong.
    """

    def __init__(self, field: str) -> None:
        """Name the attribute."""
        super().__init__(f"the ledger's entry cannot be read: field {field}")
        self.field = field


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What is known of a notification.

    Attributes:
        attempts: POSTs made so far.
        outcome: how it ended; None if it has not.
        status_code: of the last answer, if there was one.
        reason: of the last attempt that was not accepted.
        at: when this was so.
    """

    attempts: int
    outcome: OutcomeKind | None
    status_code: int | None
    reason: str | None
    at: datetime

    @classmethod
    def from_item(cls, item: Mapping[str, Any]) -> "LedgerEntry | None":
        """Parse an item of the ledger; None if it is not about a delivery.

        Raises:
            UnreadableEntryError: if it is, and cannot be read.
        """
        if "attempts" not in item:
            return None
        field = "attempts"
        try:
            attempts = int(item[field]["N"])
            field = "outcome"
            outcome = OutcomeKind(item[field]["S"]) if field in item else None
            field = "status_code"
            status_code = int(item[field]["N"]) if field in item else None
            field = "reason"
            reason = str(item[field]["S"]) if field in item else None
            field = "at"
            at = datetime.fromisoformat(item[field]["S"])
        except (KeyError, ValueError, TypeError):
            raise UnreadableEntryError(field) from None
        return cls(attempts, outcome, status_code, reason, at)

    def to_item(self, delivery: Delivery) -> dict[str, Any]:
        """The item of the ledger for a delivery."""
        item: dict[str, Any] = {
            **ledger_key(delivery.notification_id),
            "notification_type": {"S": delivery.notification_type.value},
            "receiver_uuid": {"S": delivery.receiver.uuid},
            "attempts": {"N": str(self.attempts)},
            "at": {"S": self.at.isoformat()},
            "expires_at": {"N": str(expiry(self.at))},
        }
        optional = {
            "training_uuid": {"S": delivery.training_uuid},
            "started_at": {"S": delivery.started_at},  # the failure policy asks for it
            "outcome": {"S": self.outcome and self.outcome.value},
            "status_code": {"N": None if self.status_code is None else str(self.status_code)},
            "reason": {"S": self.reason},
        }
        item |= {key: value for key, value in optional.items() if None not in value.values()}
        return item


def expiry(at: datetime) -> int:
    """When an entry written at this time may go, in seconds since 1970."""
    return int((at + RETENTION).timestamp())


def ledger_key(notification_id: str) -> dict[str, Any]:
    """The key of a notification's item."""
    return {"notification_id": {"S": notification_id}}


class Ledger:
    """The ledger's table."""

    def __init__(
        self, client: "DynamoDBClient", table_name: str, *, sleep: Sleep = time.sleep
    ) -> None:
        """Use a table.

        Args:
            client: boto3's client.
            table_name: name or ARN.
            sleep: waits between two tries of a call, in seconds.
        """
        self._sleep = sleep
        self._client = client
        self._table_name = table_name

    def conclude(self, delivery: Delivery, entry: LedgerEntry) -> tuple[LedgerEntry, bool]:
        """Write how a delivery ended, or how far it has come, unless it has ended already.

        Returns:
            The entry that counts, and whether it is this one.

        Raises:
            UnreadableEntryError: if it has ended in a way that cannot be read.
            ClientError: if the table refuses the call.
        """
        key = ledger_key(delivery.notification_id)
        values = {k: v for k, v in entry.to_item(delivery).items() if k not in key}
        gone = {"status_code", "reason"} - values.keys()  # of an attempt before
        try:
            # Whatever else is noted there stays.
            self._client.update_item(
                TableName=self._table_name,
                Key=key,
                UpdateExpression="SET "
                + ", ".join(f"#{name} = :{name}" for name in values)
                + (" REMOVE " + ", ".join(f"#{name}" for name in sorted(gone)) if gone else ""),
                ConditionExpression="attribute_not_exists(#outcome)",
                ExpressionAttributeNames={f"#{name}": name for name in {*values, *gone, "outcome"}},
                ExpressionAttributeValues={f":{name}": value for name, value in values.items()},
            )
        except ClientError as error:
            if not condition_failed(error):
                raise
        else:
            return entry, True
        item = self._client.get_item(TableName=self._table_name, Key=key, ConsistentRead=True)
        return LedgerEntry.from_item(item.get("Item", {})) or entry, False

    def outcomes_of(self, receiver_uuid: str, ids: Sequence[str]) -> dict[str, OutcomeKind]:
        """How notifications have ended, as far as they are a receiver's.

        Args:
            receiver_uuid: of the receiver, however it is spelt.
            ids: at most 100 notification ids, from anybody.

        Raises:
            NotReadError: if the table did not answer for all, after several tries.
            ClientError: if the table refuses the call.
        """
        items = get_all(
            self._client,
            self._table_name,
            [ledger_key(each) for each in ids],
            sleep=self._sleep,
            ConsistentRead=True,
            ProjectionExpression="notification_id, receiver_uuid, #outcome",
            ExpressionAttributeNames={"#outcome": "outcome"},
        )
        return {
            item["notification_id"]["S"]: OutcomeKind(outcome)
            for item in items
            if (outcome := item.get("outcome", {}).get("S")) in set(OutcomeKind)
            and canonical(item["receiver_uuid"]["S"]) == canonical(receiver_uuid)
        }

    def entries(self, notification_ids: Iterable[str]) -> dict[str, LedgerEntry]:
        """Read what is known of notifications, by id; of some nothing may be known.

        Raises:
            NotReadError: if the table left some unread, after several tries.
            UnreadableEntryError: if an entry is not what we write there.
            ClientError: if the table refuses the call as a whole.
        """
        keys = map(ledger_key, dict.fromkeys(notification_ids))
        return {
            item["notification_id"]["S"]: entry
            for item in get_all(self._client, self._table_name, keys, sleep=self._sleep)
            if (entry := LedgerEntry.from_item(item)) is not None
        }

    def record(self, entries: Sequence[tuple[Delivery, LedgerEntry]]) -> set[str]:
        """Write entries, at most 25 of them, over what was known before.

        Returns:
            The notification ids of those that were not written, after several tries.

        Raises:
            ClientError: if the table refuses the call as a whole.
        """
        items = (entry.to_item(delivery) for delivery, entry in entries)
        left = put_items(self._client, self._table_name, items, sleep=self._sleep)
        return {item["notification_id"]["S"] for item in left}

"""The table `Waiting`: notifications in mailboxes, and rounds with a deadline.

| item | `owner` | `what` |
|---|---|---|
| notification | `MAILBOX#<receiver>` | `<training or ->#<the queue's sequence number>` |
| receiver | `MAILBOX#<receiver>` | `#`, which sorts first |
| round | `TRAINING#<training>` | `ROUND` |

The index `due` has what is to be looked at by a certain time, in sixteen shards: one partition of
an index takes 1,000 writes a second, and throttles the table itself beyond.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Self
from zlib import crc32

from botocore.exceptions import ClientError
from pydantic import ValidationError

from fl_notifications.aws.batches import BATCH_WRITE, Sleep, put_items, write_items
from fl_notifications.aws.errors import condition_failed
from fl_notifications.deliveries.delivery import Delivery
from fl_notifications.trainings.model import OnDeadline, canonical
from fl_notifications.validation import first_error

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MAILBOX_ENDPOINT: Final = "mailbox:"
"""The endpoint of receivers that nobody can call."""

DUE_INDEX: Final = "due"
SHARDS: Final = 16

RECEIVER: Final = "#"
ROUND: Final = "ROUND"

KEPT: Final = timedelta(days=14)
"""How long a notification that nothing waits for stays in a mailbox."""

_SEQUENCE_DIGITS: Final = 40
"""The queue's sequence numbers, as strings: DynamoDB's numbers have 38 digits."""

type Item = Mapping[str, Any]


class UnreadableWaitingError(Exception):
    """An item of the table cannot be read; names its key and the attribute."""


@dataclass(frozen=True, slots=True)
class WaitingNotification:
    """A notification in a mailbox.

    Attributes:
        owner: partition key.
        what: sort key; in the order of the training's changes.
        due_at: when it has failed, if nobody has acknowledged it, in seconds since 1970.
    """

    owner: str
    what: str
    delivery: Delivery
    due_at: int

    @classmethod
    def deposited(
        cls, delivery: Delivery, sequence_number: str, *, at: datetime, deadline: timedelta
    ) -> Self:
        """A delivery as it is put into its receiver's mailbox.

        Args:
            delivery: what the queue had.
            sequence_number: the queue's, of its message.
            at: now.
            deadline: of notifications whose failure has consequences.
        """
        training = delivery.training_uuid
        kept = KEPT if delivery.callback_error is None else deadline
        return cls(
            owner=mailbox_owner(delivery.receiver.uuid),
            what=f"{'-' if training is None else canonical(training)}"
            f"#{sequence_number.zfill(_SEQUENCE_DIGITS)}",
            delivery=delivery,
            due_at=int((at + kept).timestamp()),
        )

    @classmethod
    def from_item(cls, item: Item) -> Self:
        """Parse an item of the table.

        Raises:
            UnreadableWaitingError: if it cannot be read.
        """
        owner, what = item["owner"]["S"], item["what"]["S"]
        try:
            delivery = Delivery.model_validate_json(item["delivery"]["S"])
            due_at = int(item["due_at"]["N"])
        except ValidationError as error:
            field, why = first_error(error)
            raise UnreadableWaitingError(f"{owner} {what}: delivery.{field}: {why}") from None
        except (KeyError, ValueError):
            raise UnreadableWaitingError(f"{owner} {what}: delivery or due_at") from None
        return cls(owner, what, delivery, due_at)

    @property
    def key(self) -> dict[str, Any]:
        """Its key."""
        return waiting_key(self.owner, self.what)

    @property
    def training(self) -> str:
        """The training, or `-`: notifications of one come in order."""
        return self.what.partition("#")[0]

    def to_item(self) -> dict[str, Any]:
        """The item of the table."""
        return {
            **self.key,
            "notification_id": {"S": self.delivery.notification_id},
            "delivery": {"S": self.delivery.message},
            "due_shard": {"S": due_shard(self.owner)},
            "due_at": {"N": str(self.due_at)},
        }


@dataclass(frozen=True, slots=True)
class ReceiverSeen:
    """When a receiver was last told something, and when it last asked; None if never."""

    active_at: datetime | None = None
    seen_at: datetime | None = None

    @classmethod
    def from_item(cls, item: Item) -> Self:
        """Parse an item of the table; what cannot be read counts as absent."""
        return cls(_moment(item, "active_at"), _moment(item, "seen_at"))

    def to_item(self, owner: str) -> dict[str, Any]:
        """The item of the table."""
        given = {"active_at": self.active_at, "seen_at": self.seen_at}
        told = {name: {"S": at.isoformat()} for name, at in given.items() if at is not None}
        return {**waiting_key(owner, RECEIVER), **told}


@dataclass(frozen=True, slots=True)
class WaitingRound:
    """A round that a training is in.

    Attributes:
        kind: the type of notification that announced it.
        run: of the training.
        source: sequence number of the change that announced it.
        began_at: when the change was made.
        deadline_seconds: how long it may last; None: for ever.
    """

    training_uuid: str
    state: str
    round: int
    kind: str
    run: str | None
    source: str
    began_at: datetime
    policy: OnDeadline
    deadline_seconds: int | None

    @classmethod
    def from_item(cls, item: Item) -> Self:
        """Parse an item of the table.

        Raises:
            UnreadableWaitingError: if it cannot be read.
        """
        owner = item["owner"]["S"]
        try:
            began_at = datetime.fromisoformat(item["began_at"]["S"])
            due_at = item.get("due_at", {}).get("N")
            return cls(
                training_uuid=owner.removeprefix("TRAINING#"),
                state=item["state"]["S"],
                round=int(item["round"]["N"]),
                kind=item["kind"]["S"],
                run=item.get("run", {}).get("S"),
                source=item["source"]["S"],
                began_at=began_at,
                policy=OnDeadline(item["policy"]["S"]),
                deadline_seconds=None
                if due_at is None
                else round(int(due_at) - began_at.timestamp()),
            )
        except (KeyError, ValueError, TypeError):
            raise UnreadableWaitingError(f"{owner} {ROUND}: is not a round") from None

    @property
    def due_at(self) -> datetime | None:
        """When it is overdue; None: never."""
        seconds = self.deadline_seconds
        return None if seconds is None else self.began_at + timedelta(seconds=seconds)

    def to_item(self) -> dict[str, Any]:
        """The item of the table."""
        owner = training_owner(self.training_uuid)
        item = {
            **waiting_key(owner, ROUND),
            "state": {"S": self.state},
            "round": {"N": str(self.round)},
            "kind": {"S": self.kind},
            "source": {"S": self.source},
            "began_at": {"S": self.began_at.isoformat()},
            "policy": {"S": self.policy.value},
        }
        if self.run is not None:
            item["run"] = {"S": self.run}
        if self.due_at is not None:
            item["due_shard"] = {"S": due_shard(owner)}
            item["due_at"] = {"N": str(int(self.due_at.timestamp()))}
        return item


def mailbox_owner(receiver_uuid: str) -> str:
    """The partition key of a receiver's mailbox, however the uuid is spelt."""
    return f"MAILBOX#{canonical(receiver_uuid)}"


def training_owner(training_uuid: str) -> str:
    """The partition key of a training's round; the uuid as the table spells it."""
    return f"TRAINING#{training_uuid}"


def waiting_key(owner: str, what: str) -> dict[str, Any]:
    """The key of an item."""
    return {"owner": {"S": owner}, "what": {"S": what}}


def due_shard(owner: str) -> str:
    """The partition key of the index for an owner."""
    return f"due#{crc32(owner.encode()) % SHARDS}"


class WaitingTable:
    """The table `Waiting`."""

    def __init__(
        self, client: "DynamoDBClient", table_name: str, *, sleep: Sleep = time.sleep
    ) -> None:
        """Use a table.

        Args:
            client: boto3's client.
            table_name: name or ARN.
            sleep: waits between two tries of a call, in seconds.
        """
        self._client = client
        self._table_name = table_name
        self._sleep = sleep

    def deposit(self, notifications: Sequence[WaitingNotification]) -> set[str]:
        """Put notifications into mailboxes; one that is there already is overwritten by itself.

        Returns:
            The ids of those that were not written, after several tries.

        Raises:
            ClientError: if the table refuses a call as a whole.
        """
        items = {(each.owner, each.what): each.to_item() for each in notifications}
        undone: set[str] = set()
        for batch in itertools.batched(items.values(), BATCH_WRITE):
            left = put_items(self._client, self._table_name, batch, sleep=self._sleep)
            undone |= {item["notification_id"]["S"] for item in left}
        return undone

    def clear(
        self, notifications: Iterable[WaitingNotification], *receivers: tuple[str, ReceiverSeen]
    ) -> None:
        """Take notifications out of mailboxes, and write when receivers were seen.

        What is left undone after several tries does no harm: it is concluded, and found again.

        Args:
            notifications: that are concluded.
            receivers: owners, and when they were seen.

        Raises:
            ClientError: if the table refuses a call as a whole.
        """
        keys = {(each.owner, each.what): each.key for each in notifications}
        writes = [
            *({"DeleteRequest": {"Key": key}} for key in keys.values()),
            *({"PutRequest": {"Item": seen.to_item(owner)}} for owner, seen in receivers),
        ]
        for batch in itertools.batched(writes, BATCH_WRITE):
            write_items(self._client, self._table_name, batch, sleep=self._sleep)

    def delete(self, item: Item) -> None:
        """Delete an item that cannot be read.

        Raises:
            ClientError: if the table refuses the call.
        """
        self._client.delete_item(
            TableName=self._table_name, Key={key: item[key] for key in ("owner", "what")}
        )

    def page(
        self, owner: str, *, limit: int, consistent: bool, start: Item | None = None
    ) -> tuple[list[Item], Item | None]:
        """Read a mailbox: its receiver first, then each training's notifications, oldest first.

        Args:
            owner: of the mailbox.
            limit: of items.
            consistent: whether to see every write that has ended.
            start: where the page before ended.

        Returns:
            The items, and where the page ended if there may be more.
        """
        more: dict[str, Any] = {} if start is None else {"ExclusiveStartKey": start}
        answer = self._client.query(
            TableName=self._table_name,
            KeyConditionExpression="#owner = :owner",
            ExpressionAttributeNames={"#owner": "owner"},
            ExpressionAttributeValues={":owner": {"S": owner}},
            ConsistentRead=consistent,
            Limit=limit,
            **more,
        )
        return list(answer["Items"]), answer.get("LastEvaluatedKey")

    def due(self, shard: int, by: datetime, *, limit: int) -> Iterator[list[Item]]:
        """Read what is due in a shard of the index, the longest overdue first, page by page."""
        start: dict[str, Any] = {}
        while True:
            answer = self._client.query(
                TableName=self._table_name,
                IndexName=DUE_INDEX,
                KeyConditionExpression="due_shard = :shard AND due_at <= :now",
                ExpressionAttributeValues={
                    ":shard": {"S": f"due#{shard}"},
                    ":now": {"N": str(int(by.timestamp()))},
                },
                Limit=limit,
                **start,
            )
            if answer["Items"]:
                yield list(answer["Items"])
            if "LastEvaluatedKey" not in answer:
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def round_of(self, training_uuid: str) -> WaitingRound | None:
        """Read the round that a training is in; None if none is known.

        Raises:
            UnreadableWaitingError: if it cannot be read.
        """
        item: Item | None = self._client.get_item(
            TableName=self._table_name,
            Key=waiting_key(training_owner(training_uuid), ROUND),
            ConsistentRead=True,
        ).get("Item")
        return None if item is None else WaitingRound.from_item(item)

    def put_round(self, one: WaitingRound) -> bool:
        """Write the round that a training is in, unless that of a later change is there.

        Returns:
            Whether it was written.
        """
        return self._unless_later(
            lambda condition: self._client.put_item(
                TableName=self._table_name, Item=one.to_item(), **condition
            ),
            one.source,
        )

    def end_round(self, training_uuid: str, source: str) -> bool:
        """Delete a training's round, unless it is that of a later change.

        Returns:
            Whether it is gone.
        """
        return self._unless_later(
            lambda condition: self._client.delete_item(
                TableName=self._table_name,
                Key=waiting_key(training_owner(training_uuid), ROUND),
                **condition,
            ),
            source,
        )

    def _unless_later(self, write: Callable[[dict[str, Any]], object], source: str) -> bool:
        # Of two strings of digits the longer one is the larger number.
        try:
            write(
                {
                    "ConditionExpression": "attribute_not_exists(#source)"
                    " OR size(#source) < :digits"
                    " OR (size(#source) = :digits AND #source <= :source)",
                    "ExpressionAttributeNames": {"#source": "source"},
                    "ExpressionAttributeValues": {
                        ":digits": {"N": str(len(source))},
                        ":source": {"S": source},
                    },
                }
            )
        except ClientError as error:
            if condition_failed(error):
                return False
            raise
        return True


def _moment(item: Item, name: str) -> datetime | None:
    try:
        return datetime.fromisoformat(item[name]["S"])
    except (KeyError, ValueError, TypeError):
        return None

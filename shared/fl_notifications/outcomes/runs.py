"""The run of a training, as far as the stream was read: `run#<training_uuid>` in the ledger."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from fl_notifications.aws.errors import condition_failed
from fl_notifications.outcomes.ledger import ledger_key
from fl_notifications.trainings.model import RUNNING_STATES, Training

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

RUN_PREFIX: Final = "run#"

OLDER_THAN_THE_SERVICE: Final = "0"
"""Stands for the change that began a run, or announced a round, before the service read any."""

RETENTION: Final = timedelta(days=14)
"""How long an entry is kept after its run's end: no longer can a message wait in a queue."""


def run_key(training_uuid: str) -> dict[str, Any]:
    """The key of a training's entry in the ledger; the uuid as the table spells it."""
    return ledger_key(f"{RUN_PREFIX}{training_uuid}")


def later_than(one: str, other: str) -> bool:
    """Whether a sequence number of the stream is later than another.

    They are strings of digits, compared as integers: DynamoDB's numbers hold 38 digits, these have
    up to 40.
    """
    return int(one) > int(other)


class EndedAs(StrEnum):
    """How a run has ended."""

    COMPLETED = "COMPLETED"
    ERROR = "ERROR"
    INITIAL = "INITIAL"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class End:
    """The end of a run.

    Attributes:
        sequence: sequence number of the change that ended it.
        at: when that was made.
        reason: as participants were told it; None if they were told none.
    """

    sequence: str
    how: EndedAs
    at: datetime
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """The latest run of a training.

    Attributes:
        run: sequence number of the change that began it; `0` if the training is older than the
            service.
        began_at: when that change was made.
        told: sequence number of the last training record that is enqueued completely.
        training: the training as last told; what every record is judged against.
        ended: its end; None while it runs.
        round_change: sequence number of the change that announced the current round.
        closed: whether `INITIAL` or a deletion came after it: the next running state begins a run.
        deleted: whether the training is gone.
        large: whether the training has had more than one page of participants.
    """

    run: str
    began_at: datetime
    told: str
    training: Training
    ended: End | None = None
    round_change: str | None = None
    closed: bool = False
    deleted: bool = False
    large: bool = False

    @property
    def runs(self) -> bool:
        """Whether the training runs."""
        return not self.deleted and self.training.state in RUNNING_STATES

    @classmethod
    def from_item(cls, item: Mapping[str, Any]) -> "Run":
        """Parse an entry."""
        return cls(
            run=item["run"]["S"],
            began_at=datetime.fromisoformat(item["began_at"]["S"]),
            told=item["told"]["S"],
            training=Training.model_validate_json(item["training"]["S"]),
            ended=_end_of(item["ended"]["M"]) if "ended" in item else None,
            round_change=item.get("round_change", {}).get("S"),
            closed="closed" in item,
            deleted="deleted" in item,
            large="large" in item,
        )

    def to_item(self) -> dict[str, Any]:
        """The entry, as it stands in the ledger."""
        item: dict[str, Any] = {
            **run_key(self.training.training_uuid),
            "run": {"S": self.run},
            "began_at": {"S": self.began_at.isoformat()},
            "told": {"S": self.told},
            "training": {"S": self.training.model_dump_json(exclude_defaults=True)},
        }
        if self.round_change is not None:
            item["round_change"] = {"S": self.round_change}
        if self.ended is not None:
            item["ended"] = {"M": _item_of(self.ended)}
            item["expires_at"] = {"N": str(int((self.ended.at + RETENTION).timestamp()))}
        flags = {"closed": self.closed, "deleted": self.deleted, "large": self.large}
        return item | {name: {"BOOL": True} for name, is_set in flags.items() if is_set}


def _end_of(values: Mapping[str, Any]) -> End:
    return End(
        sequence=values["sequence"]["S"],
        how=EndedAs(values["how"]["S"]),
        at=datetime.fromisoformat(values["at"]["S"]),
        reason=values.get("reason", {}).get("S"),
    )


def _item_of(end: End) -> dict[str, Any]:
    values = {"sequence": end.sequence, "how": end.how.value, "at": end.at.isoformat()}
    if end.reason is not None:
        values["reason"] = end.reason
    return {name: {"S": value} for name, value in values.items()}


class Runs:
    """The entries of runs in the ledger; all reads are strongly consistent."""

    def __init__(self, client: "DynamoDBClient", table_name: str) -> None:
        """Use a table.

        Args:
            client: boto3's client.
            table_name: name or ARN of the ledger.
        """
        self._client = client
        self._table_name = table_name

    def read(self, training_uuid: str) -> Run | None:
        """Read the entry of a training; None if no run has begun as far as the stream was read.

        Raises:
            ClientError: if the ledger cannot be read.
        """
        answer = self._client.get_item(
            TableName=self._table_name, Key=run_key(training_uuid), ConsistentRead=True
        )
        item = answer.get("Item", {})
        return Run.from_item(item) if "told" in item else None

    def mark_large(self, training_uuid: str, now: datetime) -> None:
        """Note that a training is large before its first entry is written.

        Raises:
            ClientError: if the ledger refuses it.
        """
        item = {**run_key(training_uuid), "large": {"BOOL": True}}
        item["expires_at"] = {"N": str(int((now + RETENTION).timestamp()))}
        try:
            self._client.put_item(
                TableName=self._table_name,
                Item=item,
                ConditionExpression="attribute_not_exists(told)",
            )
        except ClientError as error:
            if not condition_failed(error):  # else there is an entry, and the record is judged anew
                raise

    def write(self, run: Run, before: Run | None) -> bool:
        """Write an entry, unless somebody else has written it meanwhile.

        Args:
            run: the entry.
            before: the entry as it was read; None if there was none.

        Returns:
            Whether it was written.

        Raises:
            ClientError: if the ledger refuses it for another reason.
        """
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(told)"}
        if before is not None:
            condition = {
                "ConditionExpression": "told = :told",
                "ExpressionAttributeValues": {":told": {"S": before.told}},
            }
        try:
            self._client.put_item(TableName=self._table_name, Item=run.to_item(), **condition)
        except ClientError as error:
            if condition_failed(error):
                return False
            raise
        return True

"""Checkpoints of fan-outs that one invocation could not finish."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fl_notifications.clock import Clock
from fl_notifications.outcomes.ledger import expiry, ledger_key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

CHECKPOINT_PREFIX: Final = "checkpoint#"


@dataclass(frozen=True)
class Checkpoints:
    """Stored in the ledger, keyed by the name of the fan-out (`Change.fan_out`)."""

    client: "DynamoDBClient"
    ledger_table: str
    clock: Clock

    def read(self, fan_out: str) -> str | None:
        """The sort key of the last participant that was enqueued; None without a checkpoint.

        Raises:
            ClientError: if the ledger cannot be read.
        """
        answer = self.client.get_item(
            TableName=self.ledger_table, Key=_key(fan_out), ConsistentRead=True
        )
        return answer.get("Item", {}).get("entity", {}).get("S")

    def write(self, fan_out: str, entity: str) -> None:
        """Store the sort key of the last participant that was enqueued.

        Raises:
            ClientError: if the ledger does not take it.
        """
        now = self.clock.now()
        self.client.put_item(
            TableName=self.ledger_table,
            Item={
                **_key(fan_out),
                "entity": {"S": entity},
                "at": {"S": now.isoformat()},
                "expires_at": {"N": str(expiry(now))},
            },
        )


def _key(fan_out: str) -> dict[str, dict[str, str]]:
    return ledger_key(f"{CHECKPOINT_PREFIX}{fan_out}")

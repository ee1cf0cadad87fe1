"""What the policies change: a participant is removed, a training ends with an error."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from fl_notifications.aws.batches import Sleep, until_done
from fl_notifications.outcomes.ledger import expiry, ledger_key
from fl_notifications.outcomes.outcome import OutcomeKind
from fl_notifications.trainings.items import PARTICIPANT_PREFIX, Item, removed_key
from fl_notifications.trainings.model import TrainingState
from functions.callback_failure.situation import CurrentTraining

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

READINGS: Final = 4
"""Attempts of a policy to read and write, while its conditions fail."""

_TRANSIENT: Final = frozenset(
    {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}
)
"""Reasons for which a transaction is cancelled, and which pass (`None` is that of other items)."""


class ConflictError(Exception):
    """Conflicts with other transactions, on every one of several attempts."""


class ChangedMeanwhileError(Exception):
    """The condition of a write failed, on every one of several attempts."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something is done, as it is written down.

    Attributes:
        reason: from our fixed vocabulary, never the peer's text.
        at: when it happened.
        receiver_uuid: whom it happened to, if anybody.
        notification_id: of the notification that led to it, if one did.
    """

    reason: str
    at: datetime
    receiver_uuid: str | None = None
    notification_id: str | None = None


class Changes:
    """Conditional changes of the trainings table."""

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

    def remove_participant(
        self,
        participant: Item,
        *,
        notification_id: str,
        reason: str,
        at: datetime,
        unless_accepted: bool = False,
        unless_reported: str | None = None,
    ) -> bool:
        """Delete a participant because of a notification, once for that notification.

        The same transaction writes the item that says why it was removed, and marks the
        notification in the ledger: without `joined_at` one membership is not told from the next,
        and a repeated event must not remove who has joined again. The training's item is not part
        of it: a thousand rejections would conflict there.

        Args:
            participant: its item as it was read.
            notification_id: of the notification that led to it.
            reason: from our fixed vocabulary, never the peer's text.
            at: when this is done.
            unless_accepted: not if the notification has been accepted.
            unless_reported: not if this is the last round whose result the server has.

        Returns:
            Whether it was done by this call; false if a condition does not hold, any more.

        Raises:
            ConflictError: if other transactions did not let this one through.
            ClientError: if the transaction failed. Trying again is safe.
        """
        delete = self._if_unchanged(participant, ("joined_at",))
        if unless_reported is not None:
            delete["ConditionExpression"] += " AND NOT reported = :reported"
            values = delete.setdefault("ExpressionAttributeValues", {})
            values[":reported"] = {"S": unless_reported}
        return self._transact(
            [
                {"Update": self._mark(notification_id, at, unless_accepted=unless_accepted)},
                {"Delete": delete},
                {"Update": self._removed(participant, notification_id, reason, at)},
            ]
        )

    def end_training(
        self, training: CurrentTraining, cause: Cause, *, participant: Item | None = None
    ) -> bool:
        """Let a training become `ERROR`, if state, round and `started_at` are as they were read.

        The run is not part of the transaction, as its entry in the ledger is the builder's, which
        a transaction would get into the way of; it lags behind the training's item in any case.

        Args:
            training: as it was read.
            cause: what happened, to whom and when.
            participant: whose membership has to be as it was read.

        Returns:
            Whether it became `ERROR` by this call; false if a condition does not hold, any more.

        Raises:
            ConflictError: if other transactions did not let this one through.
            ClientError: if the transaction failed. Trying again is safe.
        """
        error: dict[str, Any] = {
            "reason": {"S": cause.reason},
            "state": training.item["state"],  # where `resume` goes on
            "round": training.item["round"],
            "at": {"S": cause.at.isoformat()},
        }
        if cause.receiver_uuid is not None:
            error["receiver_uuid"] = {"S": cause.receiver_uuid}
        if cause.notification_id is not None:
            error["notification_id"] = {"S": cause.notification_id}
        update = self._if_unchanged(training.item, ("state", "round", "started_at"))
        update["UpdateExpression"] = "SET #state = :error_state, #error = :error"
        update["ExpressionAttributeNames"]["#error"] = "error"
        update["ExpressionAttributeValues"] |= {
            ":error_state": {"S": TrainingState.ERROR.value},
            ":error": {"M": error},
        }
        writes: list[TransactWriteItemTypeDef] = [{"Update": update}]
        if participant is not None:
            writes.append({"ConditionCheck": self._if_unchanged(participant, ("joined_at",))})
        return self._transact(writes)

    def note_progress(self, entry_id: str, after: str, at: datetime) -> None:
        """Write down in the ledger how far the participants of a training are worked off.

        Args:
            entry_id: of the entry.
            after: sort key of the last participant that is.
            at: when.

        Raises:
            ClientError: if the ledger does not take it.
        """
        self._client.update_item(
            TableName=self._ledger_table,
            Key=ledger_key(entry_id),
            UpdateExpression="SET worked_off = :after, expires_at = :expires_at",
            ExpressionAttributeValues={
                ":after": {"S": after},
                ":expires_at": {"N": str(expiry(at))},
            },
        )

    def _mark(self, notification_id: str, at: datetime, *, unless_accepted: bool) -> Any:
        """Note at a notification that its receiver was removed because of it."""
        mark: dict[str, Any] = {
            "TableName": self._ledger_table,
            "Key": ledger_key(notification_id),
            "UpdateExpression": "SET participant_removed = :yes, "
            "expires_at = if_not_exists(expires_at, :expires_at)",
            "ConditionExpression": "attribute_not_exists(participant_removed)",
            "ExpressionAttributeValues": {
                ":yes": {"BOOL": True},
                ":expires_at": {"N": str(expiry(at))},
            },
        }
        if unless_accepted:
            mark["ConditionExpression"] += " AND NOT #outcome = :accepted"
            mark["ExpressionAttributeNames"] = {"#outcome": "outcome"}
            mark["ExpressionAttributeValues"][":accepted"] = {"S": OutcomeKind.ACCEPTED.value}
        return mark

    def _removed(self, participant: Item, notification_id: str, reason: str, at: datetime) -> Any:
        """The item that says why a participant was removed.

        It is an update, as the function may put no items into this table.
        """
        uuid = participant["entity"]["S"].removeprefix(PARTICIPANT_PREFIX)
        values: dict[str, Any] = {
            "reason": {"S": reason},
            "notification_id": {"S": notification_id},
            "at": {"S": at.isoformat()},
        }
        if "S" in participant.get("joined_at", {}):
            values["joined_at"] = participant["joined_at"]
        update = "SET " + ", ".join(f"#{name} = :{name}" for name in values)
        if "joined_at" not in values:
            update += " REMOVE #joined_at"
        return {
            "TableName": self._trainings_table,
            "Key": removed_key(participant["training_uuid"]["S"], uuid),
            "UpdateExpression": update,
            "ExpressionAttributeNames": {f"#{name}": name for name in (*values, "joined_at")},
            "ExpressionAttributeValues": {f":{name}": value for name, value in values.items()},
        }

    def _if_unchanged(self, item: Item, attributes: Sequence[str]) -> Any:
        """The key of an item that has been read, and the condition that it is still so."""
        tests, values = ["attribute_exists(#entity)"], {}
        for name in attributes:
            if name in item:
                tests.append(f"#{name} = :{name}")
                values[f":{name}"] = item[name]
            else:
                tests.append(f"attribute_not_exists(#{name})")
        condition: dict[str, Any] = {
            "TableName": self._trainings_table,
            "Key": {name: item[name] for name in ("training_uuid", "entity")},
            "ConditionExpression": " AND ".join(tests),
            "ExpressionAttributeNames": {f"#{name}": name for name in ("entity", *attributes)},
        }
        if values:
            condition["ExpressionAttributeValues"] = values
        return condition

    def _transact(self, writes: list["TransactWriteItemTypeDef"]) -> bool:
        conditions_hold = True

        def call(
            writes: list["TransactWriteItemTypeDef"],
        ) -> list["TransactWriteItemTypeDef"]:
            nonlocal conditions_hold
            try:
                self._client.transact_write_items(TransactItems=writes)
            except ClientError as error:
                reasons = _reasons(error)
                if "ConditionalCheckFailed" in reasons:
                    conditions_hold = False
                elif reasons and reasons <= _TRANSIENT:
                    return writes
                else:
                    raise
            return []

        if until_done(writes, call, sleep=self._sleep):
            raise ConflictError("other transactions had the same items")
        return conditions_hold


def _reasons(error: ClientError) -> frozenset[str]:
    """Why a transaction was cancelled; nothing if it failed in another way."""
    reasons: Any = error.response.get("CancellationReasons", [])
    return frozenset(reason.get("Code", "?") for reason in reasons) - {"None"}

"""What the failure policy changes: a participant is removed, a training ends with an error."""

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from fl_notifications.aws.errors import condition_failed
from fl_notifications.outcomes.ledger import expiry, ledger_key
from fl_notifications.outcomes.outcome import Outcome
from fl_notifications.trainings.items import Item, participant_key, training_key
from fl_notifications.trainings.model import TrainingState, later

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef


class Removal(StrEnum):
    """What came of the wish to remove a participant."""

    DONE = "participant removed"
    DONE_BEFORE = "participant was removed already"
    JOINED_AGAIN = "nothing to do: the participant has joined again since"


class Changes:
    """Conditional changes of the trainings table."""

    def __init__(self, client: "DynamoDBClient", table_name: str, ledger_table: str) -> None:
        """Use the two tables."""
        self._client = client
        self._table_name = table_name
        self._ledger_table = ledger_table

    def remove_participant(
        self,
        training_uuid: str,
        participant_uuid: str,
        *,
        because_of: Outcome,
        at: datetime,
    ) -> Removal:
        """Delete a participant because of an outcome, once for its notification.

        That it was done is noted in the ledger in the same transaction, and one that has joined
        after the outcome is left alone: an event that comes late, or again, must not remove a
        participant that has joined again since.

        Args:
            training_uuid: of the training.
            participant_uuid: of the participant.
            because_of: the outcome that led to it.
            at: when this is done.

        Raises:
            ClientError: if the transaction failed; also if the participant was
                changed in between. Trying again is safe.
        """
        key = participant_key(training_uuid, participant_uuid)
        item: Item | None = self._client.get_item(
            TableName=self._table_name, Key=key, ConsistentRead=True
        ).get("Item")
        joined_at = (item or {}).get("joined_at", {}).get("S")
        if later(joined_at, because_of.finished_at.isoformat()):
            return Removal.JOINED_AGAIN
        delete: TransactWriteItemTypeDef = {
            "Delete": {
                "TableName": self._table_name,
                "Key": key,
                "ConditionExpression": "attribute_not_exists(joined_at)",
            }
        }
        if joined_at is not None:
            delete["Delete"]["ConditionExpression"] = "joined_at = :joined_at"
            delete["Delete"]["ExpressionAttributeValues"] = {":joined_at": {"S": joined_at}}
        note: TransactWriteItemTypeDef = {
            "Update": {
                "TableName": self._ledger_table,
                "Key": ledger_key(because_of.notification_id),
                "UpdateExpression": "SET participant_removed = :yes, "
                "expires_at = if_not_exists(expires_at, :expires_at)",
                "ConditionExpression": "attribute_not_exists(participant_removed)",
                "ExpressionAttributeValues": {
                    ":yes": {"BOOL": True},
                    ":expires_at": {"N": str(expiry(at))},
                },
            }
        }
        try:
            self._client.transact_write_items(TransactItems=[note, delete])
        except ClientError as error:
            reasons = error.response.get("CancellationReasons", [])
            if reasons and reasons[0].get("Code") == "ConditionalCheckFailed":
                return Removal.DONE_BEFORE
            raise
        return Removal.DONE if item is not None else Removal.DONE_BEFORE

    def set_error(  # noqa: PLR0913 - each is a field of the item
        self,
        training_uuid: str,
        *,
        state: TrainingState,
        round_number: int,
        reason: str,
        receiver_uuid: str,
        notification_id: str,
        at: datetime,
    ) -> bool:
        """Let a training become `ERROR`, if it is still where it was announced to be.

        Args:
            training_uuid: of the training.
            state: the state that was announced.
            round_number: the round that was announced.
            reason: what happened.
            receiver_uuid: whom it happened to.
            notification_id: of the notification that led to it.
            at: when it happened.

        Returns:
            Whether it became `ERROR` by this call: false if it is gone, over, or further on.

        Raises:
            ClientError: if the write failed for another reason.
        """
        try:
            self._client.update_item(
                TableName=self._table_name,
                Key=training_key(training_uuid),
                UpdateExpression="SET #state = :error_state, #error = :error",
                ConditionExpression="#state = :state AND #round = :round",
                ExpressionAttributeNames={
                    "#state": "state",
                    "#round": "round",
                    "#error": "error",
                },
                ExpressionAttributeValues={
                    ":error_state": {"S": TrainingState.ERROR.value},
                    ":state": {"S": state.value},
                    ":round": {"N": str(round_number)},
                    ":error": {
                        "M": {
                            "reason": {"S": reason},
                            "receiver_uuid": {"S": receiver_uuid},
                            "notification_id": {"S": notification_id},
                            "round": {"N": str(round_number)},
                            "at": {"S": at.isoformat()},
                        }
                    },
                },
            )
        except ClientError as error:
            if condition_failed(error):
                return False
            raise
        return True

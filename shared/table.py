"""The trainings table, as the functions read and change it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from shared.ledger import expiry, ledger_key
from shared.outcomes import Outcome
from shared.trainings import (
    PARTICIPANT_PREFIX,
    TRAINING_ENTITY,
    Item,
    Participant,
    Training,
    TrainingState,
    UnreadableItemError,
    later,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

PAGE_SIZE = 1000
"""Participants read at once: some 300 KiB."""


def training_key(training_uuid: str) -> dict[str, Any]:
    """The key of a training's item."""
    return {"training_uuid": {"S": training_uuid}, "entity": {"S": TRAINING_ENTITY}}


def participant_key(training_uuid: str, participant_uuid: str) -> dict[str, Any]:
    """The key of a participant's item."""
    return {
        "training_uuid": {"S": training_uuid},
        "entity": {"S": f"{PARTICIPANT_PREFIX}{participant_uuid}"},
    }


def condition_failed(error: ClientError) -> bool:
    """Whether a conditional write was refused because its condition does not hold."""
    return error.response["Error"]["Code"] == "ConditionalCheckFailedException"


class Removal(StrEnum):
    """What came of the wish to remove a participant."""

    DONE = "participant removed"
    DONE_BEFORE = "participant was removed already"
    JOINED_AGAIN = "nothing to do: the participant has joined again since"


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the participants of a training.

    Attributes:
        last: sort key of the last one, if more may follow; None on the last page.
    """

    participants: list[Participant]
    last: str | None


class TrainingTable:
    """The trainings table; all reads are strongly consistent."""

    def __init__(
        self, client: "DynamoDBClient", table_name: str, *, page_size: int = PAGE_SIZE
    ) -> None:
        """Use a table."""
        self._client = client
        self._table_name = table_name
        self._page_size = page_size

    def training(self, training_uuid: str) -> Training | None:
        """Read a training; None if there is none.

        Raises:
            UnreadableItemError: if the item is not a training by the contract.
        """
        answer = self._client.get_item(
            TableName=self._table_name, Key=training_key(training_uuid), ConsistentRead=True
        )
        item: Item | None = answer.get("Item")
        return None if item is None else Training.from_item(item)

    def participant_pages(
        self,
        training_uuid: str,
        on_unreadable: Callable[[UnreadableItemError, Item], None],
        *,
        resume_after: Callable[[], str | None] = lambda: None,
    ) -> Iterator[Page]:
        """Read the participants of a training page by page, in the order of their uuids.

        Args:
            training_uuid: of the training.
            on_unreadable: told of each item that is not a participant by the contract; the others
                are not held up by it.
            resume_after: asked, if there is more than one page, where to begin: a page's `last`, or
                None for the beginning.
        """
        for items, last in self._participant_items(training_uuid, resume_after=resume_after):
            participants = []
            for item in items:
                try:
                    participants.append(Participant.from_item(item))
                except UnreadableItemError as error:
                    on_unreadable(error, item)
            yield Page(participants, last)

    def has_participants(self, training_uuid: str, at_least: int) -> bool:
        """Whether a training has at least so many participants; reads no more than so many."""
        found = 0
        pages = self._participant_items(training_uuid, limit=at_least)
        while found < at_least:
            page = next(pages, None)
            if page is None:
                return False
            found += len(page[0])
        return True

    def _participant_items(
        self,
        training_uuid: str,
        *,
        limit: int | None = None,
        resume_after: Callable[[], str | None] = lambda: None,
    ) -> Iterator[tuple[list[Item], str | None]]:
        items, last = self._query(training_uuid, limit, None)
        if last is not None and (after := resume_after()) is not None:
            items, last = self._query(training_uuid, limit, after)
        yield items, last
        while last is not None:
            items, last = self._query(training_uuid, limit, last)
            yield items, last

    def _query(
        self, training_uuid: str, limit: int | None, after: str | None
    ) -> tuple[list[Item], str | None]:
        start: dict[str, Any] = {}
        if after is not None:
            start = {
                "ExclusiveStartKey": {
                    "training_uuid": {"S": training_uuid},
                    "entity": {"S": after},
                }
            }
        answer = self._client.query(
            TableName=self._table_name,
            KeyConditionExpression="training_uuid = :training AND begins_with(entity, :prefix)",
            ExpressionAttributeValues={
                ":training": {"S": training_uuid},
                ":prefix": {"S": PARTICIPANT_PREFIX},
            },
            # What else the server keeps there may be large; and parsing takes most of the time.
            ProjectionExpression="entity, message_endpoint, joined_at, model_uuid",
            ConsistentRead=True,
            Limit=min(limit or self._page_size, self._page_size),
            **start,
        )
        items: list[Item] = [
            {**item, "training_uuid": {"S": training_uuid}} for item in answer["Items"]
        ]
        return items, answer.get("LastEvaluatedKey", {}).get("entity", {}).get("S")

    def remove_participant(
        self,
        training_uuid: str,
        participant_uuid: str,
        *,
        because_of: Outcome,
        ledger_table: str,
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
            ledger_table: name of the ledger's table.
            at: when this is done.

        Raises:
            botocore.exceptions.ClientError: if the transaction failed; also if the participant was
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
                "TableName": ledger_table,
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
            botocore.exceptions.ClientError: if the write failed for another reason.
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

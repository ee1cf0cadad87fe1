"""The trainings table, as the functions read and change it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fl_notifications.trainings.items import (
    PARTICIPANT_PREFIX,
    Item,
    UnreadableItemError,
    training_key,
)
from fl_notifications.trainings.model import (
    Participant,
    Training,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

PAGE_SIZE = 1000
"""Participants read at once: some 300 KiB."""


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

    def _participant_items(
        self,
        training_uuid: str,
        *,
        resume_after: Callable[[], str | None] = lambda: None,
    ) -> Iterator[tuple[list[Item], str | None]]:
        items, last = self._query(training_uuid, None)
        if last is not None and (after := resume_after()) is not None:
            items, last = self._query(training_uuid, after)
        yield items, last
        while last is not None:
            items, last = self._query(training_uuid, last)
            yield items, last

    def _query(self, training_uuid: str, after: str | None) -> tuple[list[Item], str | None]:
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
            Limit=self._page_size,
            **start,
        )
        items: list[Item] = [
            {**item, "training_uuid": {"S": training_uuid}} for item in answer["Items"]
        ]
        return items, answer.get("LastEvaluatedKey", {}).get("entity", {}).get("S")

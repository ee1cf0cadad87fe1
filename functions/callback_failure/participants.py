"""The participants of a training, read consistently and no further than a question needs."""

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from fl_notifications.aws.batches import Sleep, get_all
from fl_notifications.trainings.items import PARTICIPANT_PREFIX, Item, participant_key
from fl_notifications.trainings.model import canonical

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

PAGE_SIZE: Final = 1000

_ATTRIBUTES: Final = "training_uuid, entity, joined_at, reported, message_endpoint"


class ParticipantReader:
    """Reads participants. One counts if its `message_endpoint` is a string."""

    def __init__(
        self, client: "DynamoDBClient", table_name: str, *, sleep: Sleep = time.sleep
    ) -> None:
        """Use a table."""
        self._client = client
        self._table_name = table_name
        self._sleep = sleep

    def are_at_least(self, training_uuid: str, least: int) -> bool:
        """Whether at least so many take part; reads no more items than needed."""
        found, after = 0, None
        while found < least:
            limit = min(least - found, PAGE_SIZE)
            items, after = self._page(training_uuid, after, limit)
            found += sum(map(_counts, items))
            if after is None:
                break
        return found >= least

    def missing(self, training_uuid: str, required: Iterable[str]) -> list[str]:
        """The required participants that are missing."""
        wanted = {canonical(uuid): uuid for uuid in required}
        keys = {
            spelling: participant_key(training_uuid, spelling)
            for uuid, spelt in wanted.items()
            for spelling in (spelt, uuid, uuid.upper())
        }
        found = {uuid_of(item) for item in self._get(keys.values()) if _counts(item)}
        if not wanted.keys() <= found:
            # Only a participant in an uncommon spelling is worth reading all.
            for items in self.pages(training_uuid):
                found |= {uuid_of(item) for item in items if _counts(item)}
        return sorted(spelt for uuid, spelt in wanted.items() if uuid not in found)

    def pages(self, training_uuid: str, after: str | None = None) -> Iterator[list[Item]]:
        """All participants, page by page, or those behind a sort key."""
        start = None
        if after is not None:
            start = {"training_uuid": {"S": training_uuid}, "entity": {"S": after}}
        while True:
            items, start = self._page(training_uuid, start, PAGE_SIZE)
            yield items
            if start is None:
                return

    def _page(
        self, training_uuid: str, after: dict[str, Any] | None, limit: int
    ) -> tuple[list[Item], dict[str, Any] | None]:
        start: dict[str, Any] = {} if after is None else {"ExclusiveStartKey": after}
        answer = self._client.query(
            TableName=self._table_name,
            KeyConditionExpression="training_uuid = :training AND begins_with(entity, :prefix)",
            ExpressionAttributeValues={
                ":training": {"S": training_uuid},
                ":prefix": {"S": PARTICIPANT_PREFIX},
            },
            ProjectionExpression=_ATTRIBUTES,
            ConsistentRead=True,
            Limit=limit,
            **start,
        )
        return list(answer["Items"]), answer.get("LastEvaluatedKey")

    def _get(self, keys: Iterable[dict[str, Any]]) -> Iterator[Item]:
        return get_all(
            self._client,
            self._table_name,
            keys,
            sleep=self._sleep,
            ConsistentRead=True,
            ProjectionExpression=_ATTRIBUTES,
        )


def _counts(item: Item) -> bool:
    return "S" in item.get("message_endpoint", {})


def uuid_of(item: Item) -> str | None:
    """Whose item it is, in the one spelling; None if its key names nobody."""
    try:
        return canonical(item["entity"]["S"].removeprefix(PARTICIPANT_PREFIX))
    except ValueError:
        return None

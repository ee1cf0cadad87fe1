"""The trainings table, as the functions read and change it."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fl_notifications.aws.batches import Sleep, get_all
from fl_notifications.trainings.items import (
    PARTICIPANT_PREFIX,
    Item,
    UnreadableItemError,
    participant_key,
    removed_key,
    training_key,
)
from fl_notifications.trainings.model import (
    Participant,
    Training,
    canonical,
)
from fl_notifications.trainings.removals import Removal

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

PAGE_SIZE = 1000
"""Participants per page, some 300 KiB."""

type KeyRange = tuple[str, str]
"""The first and the last sort key that may be read."""

EVERYBODY: Final[KeyRange] = (PARTICIPANT_PREFIX, f"{PARTICIPANT_PREFIX}\U0010ffff")

# Projected: the server's own attributes may be large, and parsing takes most of the time.
_PROJECTION: Final[dict[str, Any]] = {
    "ProjectionExpression": "entity, message_endpoint, joined_at, model_uuid, #settings",
    "ExpressionAttributeNames": {"#settings": "settings"},
}


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the participants of a training.

    Attributes:
        last: sort key of the last one, if more may follow; None on the last page.
        without_settings: what is wrong with the settings of some of them, by their uuids.
    """

    participants: list[Participant]
    last: str | None = None
    without_settings: Mapping[str, UnreadableItemError] = field(default_factory=dict)


type SetAside = Callable[[UnreadableItemError, str], None]
"""Takes what is no valid participant, and the sort key of its item; the others are still read."""


class TrainingTable:
    """The trainings table; all reads are strongly consistent."""

    def __init__(
        self,
        client: "DynamoDBClient",
        table_name: str,
        *,
        page_size: int = PAGE_SIZE,
        sleep: Sleep = time.sleep,
    ) -> None:
        """Use a table.

        Args:
            client: boto3's client.
            table_name: name or ARN.
            page_size: participants read at once.
            sleep: waits between two tries of a call, in seconds.
        """
        self._sleep = sleep
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

    def removal(self, training_uuid: str, participant_uuid: str) -> Removal | None:
        """Read the item of a removal by the service; None if there is none or it is unreadable."""
        answer = self._client.get_item(
            TableName=self._table_name,
            Key=removed_key(training_uuid, participant_uuid),
            ConsistentRead=True,
        )
        try:
            return Removal.from_item(answer["Item"]) if "Item" in answer else None
        except UnreadableItemError:
            return None

    def participant_pages(
        self,
        training_uuid: str,
        set_aside: SetAside,
        *,
        key_range: KeyRange = EVERYBODY,
        resume_after: Callable[[], str | None] = lambda: None,
    ) -> Iterator[Page]:
        """Read the participants of a training page by page, in the order of their uuids.

        Args:
            training_uuid: of the training.
            set_aside: takes what cannot be read.
            key_range: where to look.
            resume_after: asked, if there is more than one page, where to begin: a page's `last`, or
                None for the beginning.
        """

        def read(after: str | None) -> Page:
            return self._read_page(training_uuid, key_range, after, set_aside)

        page = read(None)
        if page.last is not None and (after := resume_after()) is not None:
            page = read(after)
        yield page
        while page.last is not None:
            page = read(page.last)
            yield page

    def participants_by_key(
        self, training_uuid: str, uuids: Collection[str], set_aside: SetAside
    ) -> Page:
        """Read some participants of a training, as many as there are, by their uuids.

        Args:
            training_uuid: of the training.
            uuids: spelt as in their keys, or differently from that one spelling which is usual.
            set_aside: takes what cannot be read.

        Raises:
            NotReadError: if the table did not give all of them.
            ClientError: if the table refuses a call as a whole.
        """
        spelt = {*uuids, *(canonical(each) for each in uuids)}
        keys = (participant_key(training_uuid, each) for each in sorted(spelt))
        items = get_all(
            self._client,
            self._table_name,
            keys,
            sleep=self._sleep,
            ConsistentRead=True,
            **_PROJECTION,
        )
        return _page(_with_key(items, training_uuid), None, set_aside)

    def count(self, training_uuid: str) -> int | None:
        """Count the participants of a training; None if there are more than one page."""
        answer = self._client.query(
            **self._participants_of(training_uuid),
            Select="COUNT",
            ConsistentRead=True,
            Limit=self._page_size,
        )
        return None if "LastEvaluatedKey" in answer else answer["Count"]

    def _read_page(
        self,
        training_uuid: str,
        key_range: KeyRange,
        after: str | None,
        set_aside: SetAside,
    ) -> Page:
        start: dict[str, Any] = {}
        if after is not None:
            key = {"training_uuid": {"S": training_uuid}, "entity": {"S": after}}
            start = {"ExclusiveStartKey": key}
        answer = self._client.query(
            **self._participants_of(training_uuid, key_range),
            **_PROJECTION,
            ConsistentRead=True,
            Limit=self._page_size,
            **start,
        )
        last: str | None = answer.get("LastEvaluatedKey", {}).get("entity", {}).get("S")
        return _page(_with_key(answer["Items"], training_uuid), last, set_aside)

    def _participants_of(
        self, training_uuid: str, key_range: KeyRange = EVERYBODY
    ) -> dict[str, Any]:
        first, last = key_range
        return {
            "TableName": self._table_name,
            "KeyConditionExpression": "training_uuid = :training"
            " AND entity BETWEEN :first AND :last",
            "ExpressionAttributeValues": {
                ":training": {"S": training_uuid},
                ":first": {"S": first},
                ":last": {"S": last},
            },
        }


def _with_key(items: Iterable[Item], training_uuid: str) -> list[Item]:
    return [{**item, "training_uuid": {"S": training_uuid}} for item in items]


def _page(items: Iterable[Item], last: str | None, set_aside: SetAside) -> Page:
    participants = []
    without_settings = {}
    for item in items:
        try:
            participant, error = Participant.read(item)
        except UnreadableItemError as unreadable:
            set_aside(unreadable, item["entity"]["S"])
            continue
        participants.append(participant)
        if error is not None:
            without_settings[participant.uuid] = error
    return Page(participants, last, without_settings)

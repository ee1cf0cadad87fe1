"""The trainings of a stack: all of them, or the one that somebody means."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import UUID

from botocore.exceptions import BotoCoreError, ClientError

from fl_notifications.trainings.items import PARTICIPANT_PREFIX, TRAINING_ENTITY, training_key
from fl_notifications.trainings.model import RUNNING_STATES
from fl_notifications_cli.errors import CommandError
from fl_notifications_cli.stack import Stack
from fl_notifications_cli.tracing.terminal import printable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import ScanInputTypeDef

MOST_SCAN_PAGES = 20
"""Pages of 1 MB that a look at the whole table reads at most."""

_MOST_COUNT_PAGES = 5
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """A training item, as far as lists show it; it need not be readable by the contract.

    Attributes:
        training_uuid: which training.
        state: its state as written; `?` if it is no text.
        round: its round; None if it is no number.
        last_update: when the FL server last touched it, as it wrote it.
        actor_uuid: who ordered it; None if unreadable.
    """

    training_uuid: str
    state: str
    round: int | None
    last_update: str | None
    actor_uuid: str | None = None

    @property
    def running(self) -> bool:
        """Whether the training runs."""
        return self.state in RUNNING_STATES

    @classmethod
    def from_item(cls, item: Any) -> "TrainingRow":
        """Read an item; what is missing or of another type is None."""
        actor = item.get("actor", {}).get("M", {})
        return cls(
            item["training_uuid"]["S"],
            item.get("state", {}).get("S", "?"),
            whole(item.get("round", {}).get("N")),
            item.get("last_update", {}).get("S"),
            actor.get("uuid", {}).get("S"),
        )


def whole(text: Any) -> int | None:
    """A number as DynamoDB and SQS spell it; None if it is none."""
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def scan_trainings(
    client: "DynamoDBClient", table: str, *, beginning: str | None = None
) -> Iterator[TrainingRow | None]:
    """Read every training of the table; None, at the end, if the table has more pages than read.

    Args:
        client: boto3's client.
        table: name of the trainings table.
        beginning: how the uuid begins, as it is spelt there; None for all.
    """
    request: ScanInputTypeDef = {
        "TableName": table,
        "FilterExpression": "#e = :training",
        "ProjectionExpression": "#t, #s, #r, #u, #a",
        "ExpressionAttributeNames": {
            "#e": "entity",
            "#t": "training_uuid",
            "#s": "state",
            "#r": "round",
            "#u": "last_update",
            "#a": "actor",
        },
        "ExpressionAttributeValues": {":training": {"S": TRAINING_ENTITY}},
    }
    if beginning is not None:
        request["FilterExpression"] = "#e = :training AND begins_with(#t, :beginning)"
        request["ExpressionAttributeValues"] = {
            ":training": {"S": TRAINING_ENTITY},
            ":beginning": {"S": beginning},
        }
    for number in count(1):
        page = client.scan(**request)
        yield from map(TrainingRow.from_item, page["Items"])
        if "LastEvaluatedKey" not in page:
            return
        if number >= MOST_SCAN_PAGES:
            yield None
            return
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def count_participants(client: "DynamoDBClient", table: str, training: str) -> tuple[int, bool]:
    """How many participants a training has, and whether there are more than were counted."""
    pages = client.get_paginator("query").paginate(
        TableName=table,
        Select="COUNT",
        KeyConditionExpression="#t = :training AND begins_with(#e, :participant)",
        ExpressionAttributeNames={"#t": "training_uuid", "#e": "entity"},
        ExpressionAttributeValues={
            ":training": {"S": training},
            ":participant": {"S": PARTICIPANT_PREFIX},
        },
    )
    counted = 0
    for number, page in enumerate(pages, 1):
        counted += page["Count"]
        if number == _MOST_COUNT_PAGES:
            return counted, "LastEvaluatedKey" in page
    return counted, False


def spellings(uuid: str) -> list[str]:
    """The uuid as given and, if that is another one, as it is usually spelt.

    Tables and the log have the spelling that the FL server wrote, and compare it as text.
    """
    try:
        return list(dict.fromkeys((uuid, str(UUID(uuid)))))
    except ValueError:
        return [uuid]


def is_uuid(text: str) -> bool:
    """Whether a text is a whole uuid, not the beginning of one."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def several(what: str, uuids: Sequence[str]) -> str:
    """Name those of which one has to be chosen, a line each."""
    more = len(uuids) - _MOST_NAMED
    named = [printable(uuid) for uuid in uuids[:_MOST_NAMED]]
    return "\n  ".join([f"{what}:", *named, *([f"… and {more:,} more"] if more > 0 else [])])


def find_training(stack: Stack, text: str) -> TrainingRow:
    """The training that a uuid, or the beginning of one, means.

    Raises:
        CommandError: there is none, or more than one.
        ClientError: the table can't be read.
    """
    client, table = stack.client("dynamodb"), stack.output("TrainingsTable")
    if is_uuid(text):
        for spelling in spellings(text):
            found = client.get_item(TableName=table, Key=training_key(spelling))
            if "Item" in found:
                return TrainingRow.from_item(found["Item"])
        raise CommandError(f"stack {stack.name} has no training {text}")
    rows = [row for row in scan_trainings(client, table, beginning=text.lower()) if row]
    if not rows:
        raise CommandError(
            f"stack {stack.name} has no training that begins with {text!r};"
            " 'fl-notifications trainings' lists them"
        )
    if len(rows) > 1:
        raise CommandError(
            several(
                f"{len(rows)} trainings begin with {text!r}", [row.training_uuid for row in rows]
            )
        )
    return rows[0]


def find_participant(stack: Stack, training_uuid: str, text: str) -> str:
    """The participant of a training that a uuid, or the beginning of one, means.

    A whole uuid is returned as it is usually spelt: it may be the actor's.

    Raises:
        CommandError: no participant begins so, or more than one.
        ClientError: the table can't be read.
    """
    if is_uuid(text):
        return str(UUID(text))
    found = [
        item["entity"]["S"].removeprefix(PARTICIPANT_PREFIX)
        for page in stack.client("dynamodb")
        .get_paginator("query")
        .paginate(
            TableName=stack.output("TrainingsTable"),
            KeyConditionExpression="#t = :training AND begins_with(#e, :participant)",
            ProjectionExpression="#e",
            ExpressionAttributeNames={"#t": "training_uuid", "#e": "entity"},
            ExpressionAttributeValues={
                ":training": {"S": training_uuid},
                ":participant": {"S": f"{PARTICIPANT_PREFIX}{text.lower()}"},
            },
        )
        for item in page["Items"]
    ]
    if not found:
        raise CommandError(
            f"training {training_uuid} has no participant that begins with {text!r};"
            f" 'fl-notifications participants {training_uuid}' lists them"
        )
    if len(found) > 1:
        raise CommandError(several(f"{len(found)} participants begin with {text!r}", found))
    return found[0]


def look_up_training(stack: Stack, text: str) -> TrainingRow | None:
    """Like `find_training`; None if there is not exactly one, or the table can't be read."""
    try:
        return find_training(stack, text)
    except (ClientError, BotoCoreError, CommandError):
        return None

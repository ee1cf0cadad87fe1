"""Puts dead letters back where they came from, each kind in its own way.

A letter leaves its queue only when what it holds has been taken: redriving twice, or dying in
between, repeats at the worst, and the ledger suppresses repeats.
"""

import base64
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from boto3.dynamodb.types import Binary
from botocore.config import Config
from botocore.exceptions import ClientError
from pydantic import ValidationError

from cli.dead_letters.letters import Box, Letter, hide, outcome_event
from cli.stack import Stack, new_client
from shared.deliveries import Delivery
from shared.outcomes import SOURCE, parse_outcome_event
from shared.trainings import (
    TRAINING_ENTITY,
    Participant,
    Progress,
    Training,
    UnreadableItemError,
)
from shared.validation import first_error

FUNCTION_SECONDS: Final = 910
"""The timeout of BuildNotifications, and some more."""

PORTION: Final = 5
"""Records for one invocation: two images of 400 KB each, and an invocation takes 6 MB."""

MAX_PAGES: Final = 1000
"""Pages of the stream that are read for one batch, empty ones included."""


class CannotRedriveError(Exception):
    """A letter that cannot be put back as it is; says why."""


def redrive_letter(stack: Stack, letter: Letter) -> None:
    """Put a letter back.

    Raises:
        CannotRedriveError: if that can't be done; the letter is to stay then.
        botocore.exceptions.ClientError: if AWS refuses.
    """
    redrive: dict[Box, Callable[[Stack, Letter], None]] = {
        Box.DELIVERIES: _delivery,
        Box.STREAM: _change,
        Box.CALLBACKS: _outcome,
    }
    redrive[letter.box](stack, letter)


def _delivery(stack: Stack, letter: Letter) -> None:
    """Back into the queue of deliveries, behind what its receiver is waiting for now."""
    try:
        delivery = Delivery.model_validate_json(letter.body)
    except ValidationError as error:
        field, why = first_error(error)
        raise CannotRedriveError(f"not a delivery: field {field or 'body'}: {why}") from None
    stack.client("sqs").send_message(
        QueueUrl=stack.output("DeliveriesQueueUrl"),
        MessageBody=letter.body,
        MessageGroupId=delivery.group,
        # Its own id: the queue may remember the notification's for five minutes, and drop it.
        MessageDeduplicationId=f"redrive-{letter.message_id}",
    )


def _outcome(stack: Stack, letter: Letter) -> None:
    """Tell the outcome again; all its callbacks follow again, which they can bear."""
    event = outcome_event(letter.content or {})
    try:
        _, outcome = parse_outcome_event(event)
    except ValidationError as error:
        field, why = first_error(error)
        raise CannotRedriveError(f"no outcome: field {field}: {why}") from None
    answer = stack.client("events").put_events(
        Entries=[
            {
                "EventBusName": stack.output("OutcomesBus"),
                "Source": SOURCE,
                "DetailType": event["detail-type"],
                "Detail": outcome.model_dump_json(),
            }
        ]
    )
    if answer["FailedEntryCount"]:
        code = answer["Entries"][0].get("ErrorCode")
        raise CannotRedriveError(f"the event bus did not take it: {code}")


def _change(stack: Stack, letter: Letter) -> None:
    """Have BuildNotifications process the records again: the same ids, so nobody is told twice."""
    content = letter.content or {}
    if "DDBStreamBatchInfo" in content:
        records = list(_records_of_stream(stack, content["DDBStreamBatchInfo"]))
    elif isinstance(content.get("record"), dict):
        records = [_mended(stack, content["record"], content.get("entity"))]
    else:
        raise CannotRedriveError("it holds no record of the stream")
    function = stack.client("cloudformation").describe_stack_resource(
        StackName=stack.name, LogicalResourceId="BuildNotifications"
    )["StackResourceDetail"]["PhysicalResourceId"]
    # It may take as long as the function, and must not be begun a second time meanwhile.
    client = new_client(
        "lambda",
        stack.region,
        stack.endpoint_url,
        config=Config(read_timeout=FUNCTION_SECONDS, retries={"total_max_attempts": 1}),
    )
    hide(stack, letter, FUNCTION_SECONDS * -(-len(records) // PORTION))
    for portion in itertools.batched(records, PORTION, strict=False):
        event = json.dumps({"Records": portion}, default=_as_event).encode()
        answer = client.invoke(FunctionName=function, Payload=event)
        result = json.loads(answer["Payload"].read() or b"null")
        if answer.get("FunctionError") or not isinstance(result, dict):
            raise CannotRedriveError("BuildNotifications failed; its log says why")
        if result.get("batchItemFailures"):
            raise CannotRedriveError("BuildNotifications could not process it; its log says why")


def _mended(stack: Stack, record: Mapping[str, Any], entity: object) -> dict[str, Any]:
    """The record with what was wrong with its item mended, as the item is now.

    State and round stay those of the record: what the training has come to since has been told by
    records of its own. If a participant was what could not be read, the training's record stays as
    it was: participants are read anew.

    Raises:
        CannotRedriveError: if the item is gone, or not mended yet.
    """
    stream = dict(record["dynamodb"])
    keys, image = stream["Keys"], stream.get("NewImage")
    if record["eventName"] == "REMOVE":
        return dict(record)
    if entity != keys["entity"]["S"]:
        if image is None:
            raise CannotRedriveError("the record was too large to be kept")
        return dict(record)
    item = (
        stack.client("dynamodb")
        .get_item(TableName=stack.output("TrainingsTable"), Key=keys, ConsistentRead=True)
        .get("Item")
    )
    if item is None:
        raise CannotRedriveError("the item is gone: there is nothing to tell any more")
    try:
        (Training if entity == TRAINING_ENTITY else Participant).from_item(item)
    except UnreadableItemError as error:
        raise CannotRedriveError(f"not mended yet: {error}") from None
    if entity == TRAINING_ENTITY:
        item = _as_far_as_then(item, image or {})
    return {**record, "dynamodb": {**stream, "NewImage": item}}


def _as_far_as_then(item: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, Any]:
    """The item with the state and round of another image, unless they were what was wrong in it."""
    try:
        Progress.from_item(then)
    except UnreadableItemError:
        return dict(item)
    return {**item, "state": then["state"], "round": then["round"]}


def _records_of_stream(stack: Stack, batch: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The records from the first to the last of a batch that Lambda gave up.

    Others of the shard may lie between them; they are processed once more, which changes nothing.

    Raises:
        CannotRedriveError: if the stream, which keeps records for 24 hours, has not all of them.
    """
    streams = new_client("dynamodbstreams", stack.region, stack.endpoint_url)
    first, last = batch["startSequenceNumber"], batch["endSequenceNumber"]
    try:
        iterator = streams.get_shard_iterator(
            StreamArn=batch["streamArn"],
            ShardId=batch["shardId"],
            ShardIteratorType="AT_SEQUENCE_NUMBER",
            SequenceNumber=first,
        )["ShardIterator"]
        for _ in range(MAX_PAGES):
            answer = streams.get_records(ShardIterator=iterator)
            for record in answer["Records"]:
                number = int(record["dynamodb"]["SequenceNumber"])
                if number <= int(last):
                    yield record
                if number >= int(last):
                    return
            iterator = answer.get("NextShardIterator")
            if iterator is None:
                break
    except ClientError as error:
        raise CannotRedriveError(
            f"the stream has the records no longer (it keeps them for 24 hours): {error}"
        ) from error
    raise CannotRedriveError("the stream does not have all of the records")


def _as_event(value: object) -> object:
    """What JSON doesn't know, as Lambda's event shows it."""
    if hasattr(value, "timestamp"):
        return value.timestamp()
    if isinstance(value, Binary):  # what boto3 gives for a binary attribute
        value = value.__bytes__()
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    return str(value)

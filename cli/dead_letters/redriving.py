"""Puts dead letters back where they came from, each kind in its own way.

A letter leaves its queue only when what it holds has been taken: redriving twice, or dying in
between, repeats at the worst, and the ledger suppresses repeats.
"""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from boto3.dynamodb.types import Binary
from botocore.exceptions import ClientError
from pydantic import ValidationError

from cli.dead_letters.letters import Box, Letter, outcome_event
from cli.stack import Stack, new_client
from shared.deliveries import Delivery
from shared.outcomes import SOURCE, parse_outcome_event
from shared.trainings import TRAINING_ENTITY, Participant, Training, UnreadableItemError
from shared.validation import first_error


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
    """Have BuildNotifications process the records again, with the items as they are now."""
    content = letter.content or {}
    if "DDBStreamBatchInfo" in content:
        records = list(_records_of_stream(stack, content["DDBStreamBatchInfo"]))
    elif isinstance(content.get("record"), dict):
        records = [_with_current_item(stack, content["record"])]
    else:
        raise CannotRedriveError("it holds no record of the stream")
    function = stack.client("cloudformation").describe_stack_resource(
        StackName=stack.name, LogicalResourceId="BuildNotifications"
    )["StackResourceDetail"]["PhysicalResourceId"]
    answer = stack.client("lambda").invoke(
        FunctionName=function, Payload=json.dumps({"Records": records}, default=_as_event).encode()
    )
    result = json.loads(answer["Payload"].read() or b"null")
    if answer.get("FunctionError") or not isinstance(result, dict):
        raise CannotRedriveError(f"BuildNotifications failed: {str(result)[:200]}")
    if result.get("batchItemFailures"):
        raise CannotRedriveError("BuildNotifications could not process it; its log says why")


def _with_current_item(stack: Stack, record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with the item as it is now: what was wrong with it may have been mended."""
    stream = dict(record["dynamodb"])
    if record["eventName"] != "REMOVE":
        item = (
            stack.client("dynamodb")
            .get_item(
                TableName=stack.output("TrainingsTable"), Key=stream["Keys"], ConsistentRead=True
            )
            .get("Item")
        )
        if item is None:
            raise CannotRedriveError("the item is gone: there is nothing to tell any more")
        try:
            readable = Training if item["entity"]["S"] == TRAINING_ENTITY else Participant
            readable.from_item(item)
        except UnreadableItemError as error:
            raise CannotRedriveError(f"not mended yet: {error}") from None
        stream["NewImage"] = item
    return {**record, "dynamodb": stream}


def _records_of_stream(stack: Stack, batch: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The records of a batch that Lambda gave up; the stream keeps them for 24 hours."""
    streams = new_client("dynamodbstreams", stack.region, stack.endpoint_url)
    first, last = batch["startSequenceNumber"], batch["endSequenceNumber"]
    left = int(batch["batchSize"])
    try:
        iterator = streams.get_shard_iterator(
            StreamArn=batch["streamArn"],
            ShardId=batch["shardId"],
            ShardIteratorType="AT_SEQUENCE_NUMBER",
            SequenceNumber=first,
        )["ShardIterator"]
        while iterator and left > 0:
            answer = streams.get_records(ShardIterator=iterator, Limit=min(left, 1000))
            if not answer["Records"]:
                break
            for record in answer["Records"]:
                if int(record["dynamodb"]["SequenceNumber"]) > int(last):
                    return
                left -= 1
                yield record
            iterator = answer.get("NextShardIterator")
    except ClientError as error:
        raise CannotRedriveError(
            f"the stream has the records no longer (it keeps them 24 hours): {error}"
        ) from error


def _as_event(value: object) -> object:
    """What JSON doesn't know, as Lambda's event shows it."""
    if hasattr(value, "timestamp"):
        return value.timestamp()
    if isinstance(value, Binary):  # what boto3 gives for a binary attribute
        value = value.__bytes__()
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    return str(value)

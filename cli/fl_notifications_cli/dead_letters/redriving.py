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
from pydantic import BaseModel, ValidationError

from fl_notifications.deliveries.delivery import Delivery
from fl_notifications.notifications.fan_outs import FanOut
from fl_notifications.outcomes.changes import CHANGE_EVENTS, parse_change_event
from fl_notifications.outcomes.outcome import SOURCE, UnknownEventError, parse_outcome_event
from fl_notifications.trainings.items import REDRIVEN_AS, TRAINING_ENTITY, UnreadableItemError
from fl_notifications.trainings.model import Participant, Progress, Training
from fl_notifications.validation import first_error
from fl_notifications_cli.dead_letters.letters import (
    Box,
    Letter,
    hide,
    outcome_event,
)
from fl_notifications_cli.stack import Stack, new_client

FUNCTION_SECONDS: Final = 910
"""The timeout of BuildNotifications, and some more."""

PORTION: Final = 5
"""Records for one invocation: two images of 400 KB each, and an invocation takes 6 MB."""

MAX_HIDING_SECONDS: Final = 43_000
"""SQS hides a message for twelve hours at the most, counted from when it was received."""

MAX_PAGES: Final = 1000
"""Pages of the stream that are read for one batch, empty ones included."""


GONE: Final = "the item is gone: there is nothing to tell any more"


class CannotRedriveError(Exception):
    """A letter that cannot be put back as it is; says why."""


def redrive_letter(stack: Stack, letter: Letter) -> None:
    """Put a letter back.

    Raises:
        CannotRedriveError: if that can't be done; the letter is to stay then.
        ClientError: if AWS refuses.
    """
    redrive: dict[Box, Callable[[Stack, Letter], None]] = {
        Box.DELIVERIES: _delivery,
        Box.FAN_OUTS: _fan_out,
        Box.STREAM: _change,
        Box.CALLBACKS: _event,
    }
    redrive[letter.box](stack, letter)


def _delivery(stack: Stack, letter: Letter) -> None:
    """Back into the queue of deliveries, behind what its receiver is waiting for now."""
    _enqueue(stack, letter, "DeliveriesQueueUrl", _parse(Delivery, "delivery", letter).group)


def _fan_out(stack: Stack, letter: Letter) -> None:
    """Back into the queue of fan-outs: FanOut goes on where it stopped, with the same ids."""
    _enqueue(stack, letter, "FanOutsQueueUrl", _parse(FanOut, "fan-out", letter).group)


def _parse[M: BaseModel](model: type[M], kind: str, letter: Letter) -> M:
    try:
        return model.model_validate_json(letter.body)
    except ValidationError as error:
        field, why = first_error(error)
        raise CannotRedriveError(f"not a {kind}: field {field or 'body'}: {why}") from None


def _enqueue(stack: Stack, letter: Letter, output: str, group: str) -> None:
    stack.client("sqs").send_message(
        QueueUrl=stack.output(output),
        MessageBody=letter.body,
        MessageGroupId=group,
        # Its own id: the queue may remember the first one for five minutes, and drop it.
        MessageDeduplicationId=f"redrive-{letter.message_id}",
    )


def _event(stack: Stack, letter: Letter) -> None:
    """Tell the event again; all its callbacks follow again, and are idempotent."""
    event = outcome_event(letter.content or {})
    is_change = event.get("detail-type") in list(CHANGE_EVENTS)
    parse: Callable[[Mapping[str, Any]], object] = (
        parse_change_event if is_change else parse_outcome_event
    )
    try:
        parse(event)
    except ValidationError as error:
        field, why = first_error(error)
        kind = "change" if is_change else "outcome"
        raise CannotRedriveError(f"no {kind}: field {field}: {why}") from None
    except UnknownEventError as error:
        raise CannotRedriveError(str(error)) from None
    answer = stack.client("events").put_events(
        Entries=[
            {
                "EventBusName": stack.output("OutcomesBus"),
                "Source": SOURCE,
                "DetailType": event["detail-type"],
                # As it was: a key that it did not have is not the same as one that is null.
                "Detail": json.dumps(event["detail"]),
            }
        ]
    )
    if answer["FailedEntryCount"]:
        code = answer["Entries"][0].get("ErrorCode")
        raise CannotRedriveError(f"the event bus did not take it: {code}")


def _change(stack: Stack, letter: Letter) -> None:
    """Have BuildNotifications process the records again: the same ids, so nobody is told twice."""
    content = letter.content or {}
    try:
        if "DDBStreamBatchInfo" in content:
            records = list(_records_of_stream(stack, content["DDBStreamBatchInfo"]))
        else:
            records = _mended(stack, content["record"], content.get("entity"), content.get("field"))
    except (KeyError, TypeError, AttributeError):
        raise CannotRedriveError("it holds no record of the stream") from None
    if not records:
        return
    records = [{**record, REDRIVEN_AS: letter.message_id} for record in records]
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
    hide(stack, letter, min(MAX_HIDING_SECONDS, FUNCTION_SECONDS * -(-len(records) // PORTION)))
    for portion in itertools.batched(records, PORTION):
        event = json.dumps({"Records": portion}, default=_as_event).encode()
        answer = client.invoke(FunctionName=function, Payload=event)
        result = json.loads(answer["Payload"].read() or b"null")
        if answer.get("FunctionError") or not isinstance(result, dict):
            raise CannotRedriveError("BuildNotifications failed; its log says why")
        if result.get("batchItemFailures"):
            raise CannotRedriveError(
                "BuildNotifications did not finish it; its log says why. If that is a fan-out that "
                "is not finished, redrive it again: it goes on where it stopped"
            )


def _mended(
    stack: Stack, record: Mapping[str, Any], entity: object, field: object
) -> list[dict[str, Any]]:
    """The record, if what was wrong is mended, with its own item as it is now.

    Args:
        stack: whose tables.
        record: of the stream, as it was.
        entity: of the item that was being read when something was found to be unreadable.
        field: what was unreadable.

    Returns:
        The record; nothing if what there is to tell has been told by a later record.

    Raises:
        CannotRedriveError: if the item is gone, or something is not mended yet.
    """
    if field is None:
        return [_whole(record)]  # nothing was unreadable: it has failed too often
    own = record["dynamodb"]["Keys"]["entity"]["S"]
    if own == TRAINING_ENTITY:
        if entity == TRAINING_ENTITY:
            return _training_mended(stack, record, field)
        return _participant_of_training_mended(stack, record, entity)
    return [_participant_mended(stack, record)]


def _whole(record: Mapping[str, Any]) -> dict[str, Any]:
    if not {"NewImage", "OldImage"} & set(record["dynamodb"]):
        raise CannotRedriveError("the record was too large to be kept")
    return dict(record)


def _training_mended(
    stack: Stack, record: Mapping[str, Any], field: object
) -> list[dict[str, Any]]:
    """A training's record, for a training that could not be read.

    State and round stay those of the record: what the training has come to since has been told by
    records of its own. If they were what could not be read, so has everything: to the record that
    mended them, there was no training before.
    """
    stream = record["dynamodb"]
    item = _item_now(stack, stream["Keys"])
    if item is None:
        raise CannotRedriveError(GONE)
    _check_mended(Training, item)
    then = stream.get("NewImage")
    if then is None:  # too large to be kept
        if str(field) in Progress.model_fields:
            return []
        return [_with_image(record, item)]
    try:
        Progress.from_item(then)
    except UnreadableItemError:
        return []
    return [_with_image(record, {**item, "state": then["state"], "round": then["round"]})]


def _participant_of_training_mended(
    stack: Stack, record: Mapping[str, Any], entity: object
) -> list[dict[str, Any]]:
    """A training's record, for a participant that could not be read when all were told.

    It stays as it was, as participants are read anew. If that one is gone, the others may still
    have missed something: one that was written anew under a right key, say.
    """
    stream = record["dynamodb"]
    if stream.get("NewImage") is None:
        raise CannotRedriveError("the record was too large to be kept")
    item = _item_now(stack, {**stream["Keys"], "entity": {"S": str(entity)}})
    if item is not None:
        _check_mended(Participant, item)
    return [dict(record)]


def _participant_mended(stack: Stack, record: Mapping[str, Any]) -> dict[str, Any]:
    """A participant's own record: it, or its training, could not be read."""
    stream = record["dynamodb"]
    training = _item_now(stack, {**stream["Keys"], "entity": {"S": TRAINING_ENTITY}})
    if training is not None:
        _check_mended(Training, training)
    if record["eventName"] == "REMOVE":
        if stream.get("OldImage") is None:
            raise CannotRedriveError("the record was too large to be kept")
        try:
            Participant.from_item(stream["OldImage"])
        except UnreadableItemError as error:
            raise CannotRedriveError(f"the item is gone, nobody can mend it: {error}") from None
        return dict(record)
    item = _item_now(stack, stream["Keys"])
    if item is None:
        raise CannotRedriveError(GONE)
    _check_mended(Participant, item)
    return _with_image(record, item)


def _item_now(stack: Stack, key: Mapping[str, Any]) -> dict[str, Any] | None:
    found: dict[str, Any] | None = (
        stack.client("dynamodb")
        .get_item(TableName=stack.output("TrainingsTable"), Key=key, ConsistentRead=True)
        .get("Item")
    )
    return found


def _check_mended(model: type[Training | Participant], item: Mapping[str, Any]) -> None:
    try:
        model.from_item(item)
    except UnreadableItemError as error:
        raise CannotRedriveError(f"not mended yet: {error}") from None


def _with_image(record: Mapping[str, Any], item: Mapping[str, Any]) -> dict[str, Any]:
    return {**record, "dynamodb": {**record["dynamodb"], "NewImage": dict(item)}}


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
                    yield _as_lambda_shows_it(record)
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


def _as_lambda_shows_it(record: Mapping[str, Any]) -> dict[str, Any]:
    """The API spells who did it with capitals, Lambda without: without, it is found to be TTL."""
    if not record.get("userIdentity"):
        return dict(record)
    who = {key[:1].lower() + key[1:]: value for key, value in record["userIdentity"].items()}
    return {**record, "userIdentity": who}


def _as_event(value: object) -> object:
    """What JSON doesn't know, as Lambda's event shows it."""
    if hasattr(value, "timestamp"):
        return value.timestamp()
    if isinstance(value, Binary):  # what boto3 gives for a binary attribute
        value = value.__bytes__()
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    return str(value)

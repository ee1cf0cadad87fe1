"""The dead-letter queues, read: what lies there, and why."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from fl_notifications_cli.stack import Stack

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

READING_SECONDS: Final = 30
"""How long a letter is hidden from others while it is read; it is released at the end."""

EMPTY_ANSWERS: Final = 2
"""A queue is read to its end when so many answers in a row were empty."""


class Box(StrEnum):
    """The dead-letter queues."""

    DELIVERIES = "deliveries"
    FAN_OUTS = "fan-outs"
    STREAM = "stream"
    CALLBACKS = "callbacks"

    @property
    def output(self) -> str:
        """The stack's output that holds its URL."""
        return {
            Box.DELIVERIES: "DeliveriesDlqUrl",
            Box.FAN_OUTS: "FanOutsDlqUrl",
            Box.STREAM: "StreamDlqUrl",
            Box.CALLBACKS: "CallbacksDlqUrl",
        }[self]


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter.

    Attributes:
        box: where it lies.
        message_id: SQS's.
        receipt_handle: to delete it, or to release it.
        at: when it was put there.
        why: why it is there, in words.
        about: what it is about: ids by their usual names, those that it has.
        content: its body as JSON; None if it is none.
        body: its body as it is.
    """

    box: Box
    message_id: str
    receipt_handle: str
    at: datetime
    why: str
    about: Mapping[str, Any]
    content: Mapping[str, Any] | None
    body: str


def read_letters(stack: Stack, box: Box, most: int) -> Iterator[Letter]:
    """Read the letters of a queue; they stay there, hidden for `READING_SECONDS`.

    Args:
        stack: whose queue.
        box: which queue.
        most: how many at the most.
    """
    sqs = stack.client("sqs")
    seen: set[str] = set()
    empty = 0
    until = time.monotonic() + READING_SECONDS / 2
    while len(seen) < most and empty < EMPTY_ANSWERS and time.monotonic() < until:
        answer = sqs.receive_message(
            QueueUrl=stack.output(box.output),
            MaxNumberOfMessages=min(10, most - len(seen)),
            VisibilityTimeout=READING_SECONDS,
            WaitTimeSeconds=1,  # asks all of SQS's servers, not a sample of them
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        )
        messages = [each for each in answer.get("Messages", []) if each["MessageId"] not in seen]
        empty = 0 if messages else empty + 1
        for message in messages:
            seen.add(message["MessageId"])
            yield _letter(box, message)


def hide(stack: Stack, letter: Letter, seconds: int) -> None:
    """Hide a letter from others for so long from now on; 0 shows it to them at once."""
    stack.client("sqs").change_message_visibility(
        QueueUrl=stack.output(letter.box.output),
        ReceiptHandle=letter.receipt_handle,
        VisibilityTimeout=seconds,
    )


def discard(stack: Stack, letter: Letter) -> None:
    """Take a letter out of its queue."""
    stack.client("sqs").delete_message(
        QueueUrl=stack.output(letter.box.output), ReceiptHandle=letter.receipt_handle
    )


def _letter(box: Box, message: "MessageTypeDef") -> Letter:
    body = message["Body"]
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        content = None
    attributes = {
        name: value.get("StringValue", "")
        for name, value in message.get("MessageAttributes", {}).items()
    }
    sent = int(message.get("Attributes", {}).get("SentTimestamp", "0")) / 1000
    explain = {
        Box.DELIVERIES: _about_delivery,
        Box.FAN_OUTS: _about_fan_out,
        Box.STREAM: _about_change,
        Box.CALLBACKS: _about_outcome,
    }[box]
    why, about = explain(content or {}, attributes)
    return Letter(
        box=box,
        message_id=message["MessageId"],
        receipt_handle=message["ReceiptHandle"],
        at=datetime.fromtimestamp(sent, UTC),
        why=why,
        about={key: value for key, value in about.items() if value not in (None, "")},
        content=content,
        body=body,
    )


def _about_delivery(
    content: Mapping[str, Any], attributes: Mapping[str, str]
) -> tuple[str, dict[str, Any]]:
    why = attributes.get("reason") or (
        "the queue gave up: received too often without an end, so the function died of it each time"
    )
    return why, {
        "training_uuid": content.get("training_uuid"),
        "receiver_uuid": _dict(content.get("receiver")).get("uuid"),
        "notification_type": content.get("notification_type"),
        "round": content.get("round"),
        "notification_id": content.get("notification_id"),
    }


def _about_fan_out(
    content: Mapping[str, Any], attributes: Mapping[str, str]
) -> tuple[str, dict[str, Any]]:
    training = _dict(_dict(content.get("announcement")).get("training"))
    return attributes.get("reason") or "FanOut has failed at it for hours; its log says why", {
        "training_uuid": training.get("training_uuid"),
        "state": training.get("state"),
        "round": training.get("round"),
        "fan_out": content.get("name"),
        "segment": content.get("segment"),
    }


def _about_change(
    content: Mapping[str, Any], attributes: Mapping[str, str]
) -> tuple[str, dict[str, Any]]:
    if batch := _dict(content.get("DDBStreamBatchInfo")):
        return _lambda_gave_up(content), {
            "first_sequence_number": batch.get("startSequenceNumber"),
            "last_sequence_number": batch.get("endSequenceNumber"),
            "records": batch.get("batchSize"),
        }
    return attributes.get("reason") or "no reason was given", {
        "training_uuid": content.get("training_uuid"),
        "entity": content.get("entity"),
        "field": content.get("field"),
    }


def _about_outcome(
    content: Mapping[str, Any], attributes: Mapping[str, str]
) -> tuple[str, dict[str, Any]]:
    event = outcome_event(content)
    if attributes.get("reason"):
        why = attributes["reason"]
    elif "requestContext" in content:
        why = _lambda_gave_up(content)
    elif code := attributes.get("ERROR_CODE"):
        why = f"the rule gave up: {code} {attributes.get('ERROR_MESSAGE', '')}".strip()
    else:
        why = "CallbackFailure has failed at it for twelve hours; its log says why"
    detail = _dict(event.get("detail"))
    return why, {
        "training_uuid": detail.get("training_uuid"),
        "receiver_uuid": detail.get("receiver_uuid"),
        "notification_type": detail.get("notification_type"),
        "round": detail.get("round"),
        "notification_id": detail.get("notification_id"),
        "callback": detail.get("callback"),
        "outcome": event.get("detail-type"),
    }


def outcome_event(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The event in a letter of the callbacks: as it is, or wrapped by Lambda's destination."""
    return _dict(content.get("requestPayload", content))


def _lambda_gave_up(content: Mapping[str, Any]) -> str:
    context = _dict(content.get("requestContext"))
    payload = _dict(content.get("responsePayload"))
    said = " ".join(str(payload[key]) for key in ("errorType", "errorMessage") if payload.get(key))
    why = f"Lambda gave up: {context.get('condition', 'no condition given')}"
    return f"{why}: {said}" if said else why


def _dict(value: object) -> dict[str, Any]:
    """The value if it is an object in JSON's sense; a letter may hold anything."""
    return value if isinstance(value, dict) else {}

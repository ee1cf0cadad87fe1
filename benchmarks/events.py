"""Events of Lambda, made for the benchmarks as AWS makes them (see `events/`)."""

import itertools
import json
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from benchmarks.servers import training_uuid
from fl_notifications.notification_type import NotificationType
from fl_notifications.notifications.announcement import Announcement, Notice
from fl_notifications.notifications.fan_outs import FanOut
from fl_notifications.trainings.model import Receiver, Training, TrainingState

MODEL: Final = "0d9b2f64-7c1e-4c3a-8e55-b7a1c2d3e4f5"
SQS_BATCH: Final = 10


@dataclass(frozen=True)
class Context:
    """What a handler may ask of Lambda."""

    function_name: str = "benchmark"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:eu-central-1:000000000000:function:benchmark"
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    remaining_ms: int = 60_000 + 25_000

    def get_remaining_time_in_millis(self) -> int:
        """As much as always: enough for each function to begin."""
        return self.remaining_ms


def training_changed(
    participants: int, *, old: tuple[str, int], new: tuple[str, int]
) -> dict[str, Any]:
    """The stream's event when a training goes from one (state, round) to another."""
    keys = {"training_uuid": {"S": training_uuid(participants)}, "entity": {"S": "TRAINING"}}
    actor = {
        "uuid": {"S": "c0ffee00-5a5a-4b4b-8c8c-d1d1d1d1d1d1"},
        "message_endpoint": {"S": "http://127.0.0.1:8101/actor"},
    }

    def image(state: str, number: int) -> dict[str, Any]:
        return {
            **keys,
            "state": {"S": state},
            "round": {"N": str(number)},
            "model_uuid": {"S": MODEL},
            "actor": {"M": actor},
            "last_update": {"S": "2026-11-24T09:00:00.000000+00:00"},
        }

    return {
        "Records": [
            {
                "eventID": "c4ca4238a0b923820dcc509a6f75849b",
                "eventName": "MODIFY",
                "eventVersion": "1.1",
                "eventSource": "aws:dynamodb",
                "awsRegion": "eu-central-1",
                "dynamodb": {
                    "ApproximateCreationDateTime": 1795500000.0,
                    "Keys": keys,
                    "NewImage": image(*new),
                    "OldImage": image(*old),
                    "SequenceNumber": f"{time.time_ns():028}",
                    "SizeBytes": 512,
                    "StreamViewType": "NEW_AND_OLD_IMAGES",
                },
                "eventSourceARN": "arn:aws:dynamodb:eu-central-1:000000000000:table/t/stream/s",
            }
        ]
    }


def fan_out_event(participants: int) -> dict[str, Any]:
    """The queue's event for the one segment of a training that all its participants lie in."""
    now = datetime(2026, 11, 24, 9, tzinfo=UTC)
    source = str(uuid.uuid4().int)[:28]
    announcement = Announcement(
        training=Training(
            training_uuid=training_uuid(participants),
            state=TrainingState.ONGOING,
            round=3,
            model_uuid=MODEL,
            actor=Receiver(
                uuid="c0ffee00-5a5a-4b4b-8c8c-d1d1d1d1d1d1",
                message_endpoint="http://127.0.0.1:8101/actor",
            ),
        ),
        run="1",
        began_at=now,
        created_at=now,
        notices=(Notice(kind=NotificationType.UPDATE_ROUND_START, source=source),),
    )
    fan_out = FanOut.of_all(announcement, source, {})[0]
    record = {
        "messageId": str(uuid.uuid4()),
        "receiptHandle": "receipt",
        "body": fan_out.model_dump_json(),
        "attributes": {
            "ApproximateReceiveCount": "1",
            "MessageGroupId": fan_out.group,
            "MessageDeduplicationId": fan_out.deduplication_id,
        },
        "eventSource": "aws:sqs",
    }
    return {"Records": [record]}


def queue_event(messages: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The queue's event for entries of SendMessageBatch."""
    return {
        "Records": [
            {
                "messageId": str(uuid.uuid4()),
                "receiptHandle": f"AQEB{entry['MessageDeduplicationId']}",
                "body": entry["MessageBody"],
                "attributes": {
                    "ApproximateReceiveCount": "1",
                    "SentTimestamp": "1795500000100",
                    "SequenceNumber": "18849496460467696128",
                    "MessageGroupId": entry["MessageGroupId"],
                    "SenderId": "AIDAIENQZJOLO23YVJ4VO",
                    "MessageDeduplicationId": entry["MessageDeduplicationId"],
                    "ApproximateFirstReceiveTimestamp": "1795500000200",
                },
                "messageAttributes": {},
                "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:eu-central-1:000000000000:deliveries.fifo",
                "awsRegion": "eu-central-1",
            }
            for entry in messages
        ]
    }


def queue_events(
    calls: Iterable[tuple[str, dict[str, Any]]], kind: str
) -> Iterator[dict[str, Any]]:
    """The queue's events for what was sent of one type of notification, ten messages each."""
    entries = (
        entry
        for operation, call in calls
        if operation == "SendMessageBatch"
        for entry in call["Entries"]
        if json.loads(entry["MessageBody"])["notification_type"] == kind
    )
    return (queue_event(batch) for batch in itertools.batched(entries, SQS_BATCH))


def callback_events(calls: Sequence[tuple[str, dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """The bus's events for what it was told and its rule for accepted ones lets through."""
    for operation, call in calls:
        for entry in call["Entries"] if operation == "PutEvents" else ():
            detail = json.loads(entry["Detail"])
            if detail["callback"] == "training_notification_callback_success":
                yield {
                    "version": "0",
                    "id": str(uuid.uuid4()),
                    "detail-type": entry["DetailType"],
                    "source": entry["Source"],
                    "account": "000000000000",
                    "time": "2026-11-24T09:00:01Z",
                    "region": "eu-central-1",
                    "resources": [],
                    "detail": detail,
                }

"""A training with 10,000 participants: all are told, and memory stays that of a page and a window.

AWS is a stand-in which keeps nothing: at botocore's HTTP layer where it is about what is sent, and
in place of botocore where memory is measured, so that it is the builder's alone.
"""

import json
import logging
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO, StringIO
from typing import Any
from uuid import UUID

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

from fl_notifications.aws.batches import SQS_BATCH
from fl_notifications.aws.clients import CLIENT_CONFIG
from fl_notifications.deliveries.delivery import Delivery
from fl_notifications.deliveries.queue import WINDOW
from fl_notifications.telemetry.journal import Journal
from fl_notifications.telemetry.logger import Logger
from fl_notifications.telemetry.metrics import Tally
from fl_notifications.trainings.items import REDRIVEN_AS
from fl_notifications.trainings.table import PAGE_SIZE
from functions.build_notifications.batch import Batches
from functions.build_notifications.bootstrap import Clients, build
from functions.build_notifications.builder import FAN_OUT_RESERVE_SECONDS
from functions.build_notifications.settings import Settings
from tests.made import ACTOR, TRAINING_UUID, delivery, item, training_item

MANY = 10_000
FIVE_PAGES = 5 * PAGE_SIZE
SERVICE = "test_build_many"
MEBIBYTE = 2**20


@dataclass
class Aws:
    """DynamoDB with so many participants, and SQS that takes everything."""

    participants: int
    queries: int = 0
    # How often each receiver was sent each type; kept only if wanted.
    sent: dict[tuple[str, str], int] | None = None
    order: list[str] = field(default_factory=list)
    ledger: dict[str, dict[str, Any]] = field(default_factory=dict)

    def answer(self, request: Any, **_: Any) -> AWSResponse:
        """Answer a prepared request in place of the network."""
        operation = request.headers["X-Amz-Target"]
        operation = operation.decode() if isinstance(operation, bytes) else operation
        given = json.loads(request.body)
        body = {
            "DynamoDB_20120810.Query": self.query,
            "DynamoDB_20120810.GetItem": self.get,
            "DynamoDB_20120810.PutItem": self.put,
            "DynamoDB_20120810.DeleteItem": self.delete,
            "AmazonSQS.SendMessageBatch": self.send,
            "AWSEvents.PutEvents": self.put_events,
        }[operation](given)
        return AWSResponse(request.url, 200, HTTPHeaders(), _Raw(json.dumps(body).encode()))

    def query(self, given: dict[str, Any]) -> dict[str, Any]:
        self.queries += 1
        start = 0
        if "ExclusiveStartKey" in given:
            entity = given["ExclusiveStartKey"]["entity"]["S"]
            start = UUID(entity.removeprefix("PARTICIPANT#")).int + 1
        end = min(start + given["Limit"], self.participants)
        answer: dict[str, Any] = {"Items": [_participant(number) for number in range(start, end)]}
        if end < self.participants:
            answer["LastEvaluatedKey"] = {
                "training_uuid": {"S": TRAINING_UUID},
                "entity": answer["Items"][-1]["entity"],
            }
        return answer

    def get(self, given: dict[str, Any]) -> dict[str, Any]:
        item = self.ledger.get(given["Key"]["notification_id"]["S"])
        return {} if item is None else {"Item": item}

    def put(self, given: dict[str, Any]) -> dict[str, Any]:
        if given["TableName"] == "waiting":
            return {}
        self.ledger[given["Item"]["notification_id"]["S"]] = given["Item"]
        return {}

    def delete(self, given: dict[str, Any]) -> dict[str, Any]:
        assert given["TableName"] == "waiting"
        return {}

    def put_events(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"FailedEntryCount": 0, "Entries": [{"EventId": "1"} for _ in given["Entries"]]}

    def send(self, given: dict[str, Any]) -> dict[str, Any]:
        if self.sent is not None:
            for entry in given["Entries"]:
                message = json.loads(entry["MessageBody"])
                kind = message["notification_type"]
                key = kind, message["receiver"]["uuid"]
                self.sent[key] = self.sent.get(key, 0) + 1
                if self.order[-1:] != [kind]:
                    self.order.append(kind)
        return {
            "Successful": [
                {"Id": each["Id"], "MessageId": each["Id"], "MD5OfMessageBody": ""}
                for each in given["Entries"]
            ],
            "Failed": [],
        }


class _Raw(BytesIO):
    """As much of urllib3's response as botocore reads."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


def _participant(number: int) -> dict[str, Any]:
    return {
        "entity": {"S": f"PARTICIPANT#{UUID(int=number)}"},
        "message_endpoint": {"S": f"https://hospital-{number}.example/fl/messages"},
        "joined_at": {"S": "2026-01-01T00:00:00+00:00"},
    }


class _Nowhere(StringIO):
    """Keeps nothing."""

    def write(self, text: str, /) -> int:
        return len(text)


@dataclass(frozen=True)
class Direct:
    """boto3's clients for both, without botocore."""

    aws: Aws

    def query(self, **given: Any) -> dict[str, Any]:
        return self.aws.query(given)

    def get_item(self, **given: Any) -> dict[str, Any]:
        return self.aws.get(given)

    def put_item(self, **given: Any) -> dict[str, Any]:
        return self.aws.put(given)

    def delete_item(self, **given: Any) -> dict[str, Any]:
        return self.aws.delete(given)

    def put_events(self, **given: Any) -> dict[str, Any]:
        return self.aws.put_events(given)

    def send_message_batch(self, **given: Any) -> dict[str, Any]:
        return self.aws.send(given)


@contextmanager
def put_together(dynamodb: Any, sqs: Any, events: Any) -> Iterator[Batches]:
    """The function's logic, as in its app."""
    journal = Journal(Logger(SERVICE, logging.INFO, stream=_Nowhere()), Tally("test"))
    with ThreadPoolExecutor(WINDOW) as executor:
        yield build(
            Settings(
                stack_name="test",
                log_level="INFO",
                trainings_table="trainings",
                ledger_table="ledger",
                waiting_table="waiting",
                deliveries_queue_url="https://sqs.example/queue.fifo",
                stream_dlq_url="https://sqs.example/dlq",
                outcomes_bus="outcomes",
            ),
            Clients(dynamodb=dynamodb, sqs=sqs, events=events),
            journal,
            executor=executor,
        )


@pytest.fixture
def aws() -> Aws:
    return Aws(MANY)


@pytest.fixture
def batches(aws: Aws) -> Iterator[Batches]:
    session = boto3.Session("testing", "testing", region_name="eu-central-1")
    dynamodb = session.client("dynamodb", config=CLIENT_CONFIG)
    sqs = session.client("sqs", config=CLIENT_CONFIG)
    bus = session.client("events", config=CLIENT_CONFIG)
    for client in (dynamodb, sqs, bus):
        events: Any = client.meta.events
        events.register("before-send.*.*", aws.answer)
    with put_together(dynamodb, sqs, bus) as batches:
        yield batches


def change(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    stream = {
        "ApproximateCreationDateTime": 1767225600.0,
        "Keys": {key: new[key] for key in ("training_uuid", "entity")},
        "OldImage": old,
        "NewImage": new,
        "SequenceNumber": "1",
    }
    return {"Records": [{"eventID": "1", "eventName": "MODIFY", "dynamodb": stream}]}


def started() -> dict[str, Any]:
    last_update = "2026-01-02T00:00:00+00:00"
    initial = training_item(state="INITIAL", round=0, last_update=last_update)
    return change(initial, initial | item({"state": "ONGOING"}))


def next_round() -> dict[str, Any]:
    last_update = "2026-01-02T00:00:00+00:00"
    return change(
        training_item(round=3, last_update=last_update),
        training_item(round=4, last_update=last_update),
    )


def test_all_of_10_000_participants_are_told_the_start_and_then_the_round_each_once(
    aws: Aws, batches: Batches
) -> None:
    aws.sent = {}
    assert batches.process(started(), lambda: 900.0) == {"batchItemFailures": []}
    everybody = {str(UUID(int=number)) for number in range(MANY)}
    for kind in ("TRAINING_START", "UPDATE_ROUND_START"):
        assert {uuid for told, uuid in aws.sent if told == kind} == everybody
    assert set(aws.sent.values()) == {1}
    assert aws.queries == MANY // PAGE_SIZE
    # Page by page: not one round before the queue has the last start of the same participants.
    assert aws.order == ["TRAINING_START", "UPDATE_ROUND_START"] * aws.queries


def failed() -> dict[str, Any]:
    return change(training_item(round=3), training_item(state="ERROR", round=3))


class Timeout:
    """The time of an invocation, which is over after so many pages."""

    def __init__(self, aws: Aws, pages: int) -> None:
        self._aws = aws
        self._over_at = aws.queries + pages

    def __call__(self) -> float:
        return FAN_OUT_RESERVE_SECONDS - 1 if self._aws.queries >= self._over_at else 900.0


class Killed(BaseException):
    """The end of the process."""


def killed_after_a_page() -> Callable[[], float]:
    """Is asked before the record, and after each page."""
    times = iter([900.0])

    def remaining_seconds() -> float:
        try:
            return next(times)
        except StopIteration:
            raise Killed from None

    return remaining_seconds


def until_built(aws: Aws, batches: Batches, event: dict[str, Any], pages: int) -> int:
    """Bring the record again as the stream does; gives how many invocations it took."""
    for invocation in range(1, 100):
        if not batches.process(event, Timeout(aws, pages))["batchItemFailures"]:
            return invocation
    raise AssertionError("a fan-out makes no progress")


@pytest.mark.parametrize(
    "event", [started(), next_round(), failed()], ids=["start", "round", "error"]
)
def test_a_fan_out_that_takes_several_invocations_tells_everybody_once(
    aws: Aws, batches: Batches, event: dict[str, Any]
) -> None:
    aws.participants, aws.sent = FIVE_PAGES, {}
    # Two pages; then the first one, where it has to be seen that there are more, and another.
    assert until_built(aws, batches, event, pages=2) == 4
    told = {uuid for _, uuid in aws.sent}
    assert told - {ACTOR.uuid} == {str(UUID(int=number)) for number in range(FIVE_PAGES)}
    assert (ACTOR.uuid in told) == (event == failed())
    assert set(aws.sent.values()) == {1}


@pytest.fixture
def stopped(aws: Aws, batches: Batches) -> Batches:
    """The builder, after an invocation that had time for three pages of five."""
    aws.participants, aws.sent = FIVE_PAGES, {}
    assert batches.process(next_round(), Timeout(aws, 3))["batchItemFailures"]
    return batches


def times_told(aws: Aws) -> list[int]:
    """How often each participant was told of the round."""
    assert aws.sent is not None
    return [aws.sent["UPDATE_ROUND_START", str(UUID(int=number))] for number in range(FIVE_PAGES)]


def test_an_invocation_that_is_killed_begins_again_at_the_last_checkpoint(
    aws: Aws, stopped: Batches
) -> None:
    """What it had enqueued since then is enqueued again, with the same ids."""
    with pytest.raises(Killed):
        stopped.process(next_round(), killed_after_a_page())
    assert until_built(aws, stopped, next_round(), pages=100) == 1
    assert times_told(aws) == [1] * 3000 + [2] * 1000 + [1] * 1000


def test_another_change_of_the_training_begins_at_the_first_page(
    aws: Aws, stopped: Batches
) -> None:
    later = next_round()
    later["Records"][0]["dynamodb"]["SequenceNumber"] = "2"
    assert stopped.process(later, lambda: 900.0) == {"batchItemFailures": []}
    assert times_told(aws)[0] == 2


def test_a_redriven_record_begins_at_the_first_page_and_goes_on_from_its_own_checkpoints(
    aws: Aws, stopped: Batches
) -> None:
    """Its letter may be about a participant of a page before the stream's last checkpoint."""
    redriven = next_round()
    redriven["Records"][0][REDRIVEN_AS] = "a letter"
    assert until_built(aws, stopped, redriven, pages=2) == 4
    assert times_told(aws) == [2] * 3000 + [1] * 2000


def peak(aws: Aws, batches: Batches, participants: int) -> int:
    """How much memory is allocated at most while so many are told of a round, in bytes."""
    aws.participants = participants
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        assert batches.process(next_round(), lambda: 900.0) == {"batchItemFailures": []}
        _, most = tracemalloc.get_traced_memory()
        return most - before
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_number_of_participants(aws: Aws) -> None:
    """Ten pages take what two take: the next one is read while the one before is still there."""
    with put_together(Direct(aws), Direct(aws), Direct(aws)) as batches:
        peak(aws, batches, 100)  # what is loaded on first use
        one_page = peak(aws, batches, PAGE_SIZE)
        ten_pages = peak(aws, batches, 10 * PAGE_SIZE)
    assert ten_pages < 2.5 * one_page
    assert ten_pages < 10 * MEBIBYTE


def test_deliveries_are_made_no_further_ahead_than_one_window(aws: Aws, batches: Batches) -> None:
    """So that memory does not grow either if the queue is slower than the table."""
    queue = batches.builder.announcer.queue
    made = 0
    accepted = 0
    furthest = 0

    def many() -> Iterator[Delivery]:
        nonlocal made, furthest
        for number in range(1000):
            made += 1
            furthest = max(furthest, made - accepted)
            yield delivery(f"p{number}")

    def count(some: Sequence[Delivery]) -> None:
        nonlocal accepted
        accepted += len(some)

    assert queue.send(many(), count) == accepted == made == 1000
    assert furthest <= (WINDOW + 1) * SQS_BATCH

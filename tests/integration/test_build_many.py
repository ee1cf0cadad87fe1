"""A training with 10,000 participants: told by segments, each of which goes on where it stopped.

AWS is a stand-in which keeps nothing: at botocore's HTTP layer where it is about what is sent, and
in place of botocore where memory is measured, so that it is the functions' alone.
"""

import json
import logging
import tracemalloc
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO, StringIO
from typing import Any
from uuid import UUID

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

from fl_notifications.aws.batches import SQS_BATCH
from fl_notifications.aws.clients import PATIENT_CONFIG
from fl_notifications.deliveries.delivery import Delivery
from fl_notifications.deliveries.queue import WINDOW
from fl_notifications.notifications.segments import SEGMENTS
from fl_notifications.telemetry.journal import Journal
from fl_notifications.telemetry.logger import Logger
from fl_notifications.telemetry.metrics import Tally
from fl_notifications.trainings.items import REDRIVEN_AS
from fl_notifications.trainings.table import PAGE_SIZE
from functions.build_notifications import bootstrap as builder
from functions.build_notifications.batch import Batches as Builder
from functions.build_notifications.settings import Settings as BuilderSettings
from functions.fan_out import bootstrap as fan_out
from functions.fan_out.batch import Batches as FanOuts
from functions.fan_out.segment import PAGE_RESERVE_SECONDS
from functions.fan_out.settings import Settings as FanOutSettings
from tests.aws.sqs import md5
from tests.made import ACTOR, TRAINING_UUID, delivery, item, participant_item, training_item

MANY = 10_000
PAGE = 100
"""Participants of a page, where it is not about memory."""
FIVE_PAGES = 5 * PAGE
SERVICE = "test_build_many"
MEBIBYTE = 2**20
DELIVERIES, FAN_OUTS = "https://sqs.example/queue.fifo", "https://sqs.example/fan-outs.fifo"


@dataclass
class Aws:
    """DynamoDB with so many participants, and SQS that takes everything.

    Attributes:
        spread: over all segments; else they are all in the first one.
        refused: asked for each call of SQS, whether it is throttled.
    """

    participants: int
    spread: bool = True
    queries: int = 0
    calls: list[str] = field(default_factory=list)
    # How often each receiver was sent each type; kept only if wanted.
    sent: Counter[tuple[str, str]] | None = None
    order: dict[str, list[str]] = field(default_factory=dict)
    fan_outs: list[dict[str, Any]] = field(default_factory=list)
    ledger: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    unreadable: str | None = None
    refused: Callable[[], bool] = lambda: False

    @cached_property
    def entities(self) -> list[str]:
        """The sort keys, in their order."""
        high = 124 if self.spread else 0
        uuids = (UUID(int=(n % SEGMENTS << high) | n << 8) for n in range(self.participants))
        return sorted(f"PARTICIPANT#{each}" for each in uuids)

    @property
    def everybody(self) -> set[str]:
        return {each.removeprefix("PARTICIPANT#") for each in self.entities}

    def answer(self, request: Any, **_: Any) -> AWSResponse:
        """Answer a prepared request in place of the network."""
        operation = request.headers["X-Amz-Target"]
        operation = operation.decode() if isinstance(operation, bytes) else operation
        given = json.loads(request.body)
        self.calls.append(operation.partition(".")[2])
        if operation == "AmazonSQS.SendMessageBatch" and self.refused():
            error = json.dumps({"__type": "ThrottlingException", "message": "made up"}).encode()
            return AWSResponse(request.url, 400, HTTPHeaders(), _Raw(error))
        body = {
            "DynamoDB_20120810.Query": self.query,
            "DynamoDB_20120810.GetItem": self.get,
            "DynamoDB_20120810.PutItem": self.put,
            "DynamoDB_20120810.DeleteItem": lambda _: {},  # the round, of a training that has ended
            "AmazonSQS.SendMessageBatch": self.send,
            "AmazonSQS.SendMessage": lambda given: {
                "MessageId": "1",
                "MD5OfMessageBody": md5(given["MessageBody"]),
            },
            "AmazonSQS.ChangeMessageVisibilityBatch": self.give_back,
            "AWSEvents.PutEvents": self.put_events,
        }[operation](given)
        return AWSResponse(request.url, 200, HTTPHeaders(), _Raw(json.dumps(body).encode()))

    def query(self, given: dict[str, Any]) -> dict[str, Any]:
        self.queries += 1
        values = given["ExpressionAttributeValues"]
        start = bisect_left(self.entities, values[":first"]["S"])
        if "ExclusiveStartKey" in given:
            start = bisect_right(self.entities, given["ExclusiveStartKey"]["entity"]["S"])
        last = bisect_right(self.entities, values[":last"]["S"])
        end = min(start + given["Limit"], last)
        answer: dict[str, Any] = {
            "Items": [
                _participant(each, readable=each != self.unreadable)
                for each in self.entities[start:end]
            ]
        }
        if end < last:
            answer["LastEvaluatedKey"] = {
                "training_uuid": {"S": TRAINING_UUID},
                "entity": answer["Items"][-1]["entity"],
            }
        return answer

    def get(self, given: dict[str, Any]) -> dict[str, Any]:
        found = self.ledger.get(given["Key"]["notification_id"]["S"])
        return {} if found is None else {"Item": found}

    def put(self, given: dict[str, Any]) -> dict[str, Any]:
        if "notification_id" in given["Item"]:
            self.ledger[given["Item"]["notification_id"]["S"]] = given["Item"]
        return {}

    def put_events(self, given: dict[str, Any]) -> dict[str, Any]:
        self.events += given["Entries"]
        return {"FailedEntryCount": 0, "Entries": [{"EventId": "1"} for _ in given["Entries"]]}

    def give_back(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"Successful": [{"Id": each["Id"]} for each in given["Entries"]]}

    def send(self, given: dict[str, Any]) -> dict[str, Any]:
        if given["QueueUrl"] == FAN_OUTS:
            self.fan_outs += given["Entries"]
        elif self.sent is not None:
            for entry in given["Entries"]:
                message = json.loads(entry["MessageBody"])
                kind, receiver = message["notification_type"], message["receiver"]["uuid"]
                self.sent[kind, receiver] += 1
                self.order.setdefault(receiver, []).append(kind)
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


def _participant(entity: str, *, readable: bool = True) -> dict[str, Any]:
    endpoint = f"https://hospital-{entity[-12:]}.example/fl/messages"
    return {
        "entity": {"S": entity},
        "message_endpoint": {"S": endpoint} if readable else {"N": "1"},
        "joined_at": {"S": "2020-01-01T00:00:00+00:00"},
    }


class _Nowhere(StringIO):
    """Keeps nothing."""

    def write(self, text: str, /) -> int:
        return len(text)


@dataclass(frozen=True)
class Direct:
    """boto3's clients for all services, without botocore."""

    aws: Aws

    def query(self, **given: Any) -> dict[str, Any]:
        return self.aws.query(given)

    def get_item(self, **given: Any) -> dict[str, Any]:
        return self.aws.get(given)

    def put_item(self, **given: Any) -> dict[str, Any]:
        return self.aws.put(given)

    def put_events(self, **given: Any) -> dict[str, Any]:
        return self.aws.put_events(given)

    def send_message_batch(self, **given: Any) -> dict[str, Any]:
        return self.aws.send(given)


def _unlimited() -> float:
    return 900.0


@dataclass
class Functions:
    """Both functions' logic, as in their apps."""

    aws: Aws
    builder: Builder
    fan_out: FanOuts

    def build(self, event: dict[str, Any]) -> None:
        """Have the builder process a change."""
        assert self.builder.process(event, _unlimited) == {"batchItemFailures": []}

    def work_off(self, time: Callable[[], Callable[[], float]] = lambda: _unlimited) -> int:
        """Have all segments told; gives how many invocations it took."""
        tries: Counter[str] = Counter()
        while self.aws.fan_outs:
            entry = self.aws.fan_outs.pop(0)
            name = entry["MessageDeduplicationId"]
            tries[name] += 1
            assert tries[name] < 100, "a segment makes no progress"
            if self.fan_out.process(message(entry, tries[name]), time())["batchItemFailures"]:
                self.aws.fan_outs.insert(0, entry)
        return tries.total()


def message(entry: dict[str, Any], tries: int = 1) -> dict[str, Any]:
    """An event of the queue `FanOuts`."""
    record = {
        "messageId": entry["MessageDeduplicationId"],
        "receiptHandle": "receipt",
        "body": entry["MessageBody"],
        "attributes": {
            "ApproximateReceiveCount": str(tries),
            "MessageGroupId": entry["MessageGroupId"],
            "MessageDeduplicationId": entry["MessageDeduplicationId"],
        },
    }
    return {"Records": [record]}


@contextmanager
def put_together(
    aws: Aws, dynamodb: Any, sqs: Any, events: Any, page_size: int = PAGE
) -> Iterator[Functions]:
    """The functions' logic, as in their apps."""
    journal = Journal(Logger(SERVICE, logging.INFO, stream=_Nowhere()), Tally("test"))
    common: dict[str, Any] = {
        "stack_name": "test",
        "log_level": "INFO",
        "trainings_table": "trainings",
        "ledger_table": "ledger",
        "deliveries_queue_url": DELIVERIES,
        "fan_outs_queue_url": FAN_OUTS,
        "stream_dlq_url": "https://sqs.example/dlq",
        "outcomes_bus": "outcomes",
    }
    with ThreadPoolExecutor(WINDOW) as executor:
        yield Functions(
            aws,
            builder.build(
                BuilderSettings(**common, waiting_table="waiting"),
                builder.Clients(dynamodb=dynamodb, sqs=sqs, events=events),
                journal,
                executor=executor,
                page_size=page_size,
            ),
            fan_out.build(
                FanOutSettings(**common),
                fan_out.Clients(dynamodb=dynamodb, sqs=sqs, events=events),
                journal,
                executor=executor,
                page_size=page_size,
            ),
        )


@pytest.fixture
def aws() -> Aws:
    return Aws(10 * PAGE)


@pytest.fixture
def functions(aws: Aws) -> Iterator[Functions]:
    session = boto3.Session("testing", "testing", region_name="eu-central-1")
    clients: list[Any] = [
        session.client(each, config=PATIENT_CONFIG) for each in ("dynamodb", "sqs", "events")
    ]
    for client in clients:
        events: Any = client.meta.events
        events.register("before-send.*.*", aws.answer)
    dynamodb, sqs, bus = clients
    with put_together(aws, dynamodb, sqs, bus) as functions:
        yield functions


def change(
    old: dict[str, Any] | None, new: dict[str, Any] | None, number: str = "1"
) -> dict[str, Any]:
    images = {"OldImage": old, "NewImage": new}
    some = new or old or {}
    stream = {
        "ApproximateCreationDateTime": 1767225600.0,
        "Keys": {key: some[key] for key in ("training_uuid", "entity")},
        "SequenceNumber": number,
        **{name: image for name, image in images.items() if image is not None},
    }
    kind = "MODIFY" if old and new else "INSERT" if new else "REMOVE"
    return {"Records": [{"eventID": "1", "eventName": kind, "dynamodb": stream}]}


def started() -> dict[str, Any]:
    initial = training_item(state="INITIAL", round=0)
    return change(initial, initial | item({"state": "ONGOING"}))


def next_round(number: str = "1") -> dict[str, Any]:
    old = 2 + int(number)
    return change(training_item(round=old), training_item(round=old + 1), number)


def failed() -> dict[str, Any]:
    return change(training_item(round=3), training_item(state="ERROR", round=3))


def test_all_of_10_000_participants_are_told_the_start_and_then_the_round_each_once(
    aws: Aws, functions: Functions
) -> None:
    aws.participants, aws.sent = MANY, Counter()
    functions.build(started())
    assert aws.sent == {}
    assert len({each["MessageGroupId"] for each in aws.fan_outs}) == SEGMENTS
    assert functions.work_off() == SEGMENTS
    for kind in ("TRAINING_START", "UPDATE_ROUND_START"):
        assert {uuid for told, uuid in aws.sent if told == kind} == aws.everybody
    assert set(aws.sent.values()) == {1}
    assert {tuple(each) for each in aws.order.values()} == {
        ("TRAINING_START", "UPDATE_ROUND_START")
    }


def test_a_change_of_a_training_that_is_known_to_be_large_reads_no_participants(
    aws: Aws, functions: Functions
) -> None:
    functions.build(next_round("1"))
    aws.queries = 0
    aws.calls.clear()
    functions.build(next_round("2"))
    assert aws.queries == 0
    assert Counter(aws.calls) == {
        "GetItem": 1,  # the entry
        "SendMessageBatch": 2,  # 16 segments
        "PutEvents": 1,
        "PutItem": 2,  # the entry, and the round
    }


def test_the_training_is_known_to_be_large_before_the_first_message_is_sent(
    aws: Aws, functions: Functions
) -> None:
    functions.build(next_round())
    assert aws.calls.index("PutItem") < aws.calls.index("SendMessageBatch")


def test_the_actor_is_told_the_end_once_and_last(aws: Aws, functions: Functions) -> None:
    aws.sent = Counter()
    functions.build(failed())
    functions.work_off()
    assert {uuid for _, uuid in aws.sent} == aws.everybody | {ACTOR.uuid}
    assert set(aws.sent.values()) == {1}


def test_what_follows_from_a_participants_own_record_goes_behind_its_segment(
    aws: Aws, functions: Functions
) -> None:
    aws.sent = Counter()
    functions.build(next_round("1"))
    late = participant_item("late", joined_at="2026-01-01T00:00:00Z")
    functions.build(change(None, late, "2"))
    (own,) = [each for each in aws.fan_outs if json.loads(each["MessageBody"]).get("participants")]
    uuid = late["entity"]["S"].removeprefix("PARTICIPANT#")
    (segment,) = [
        each
        for each in aws.fan_outs
        if each["MessageGroupId"] == own["MessageGroupId"] and each is not own
    ]
    assert json.loads(segment["MessageBody"])["segment"] == int(uuid[0], 16)
    functions.work_off()
    assert aws.order[uuid] == ["TRAINING_START"]


def test_each_segment_has_its_part_of_the_selected(aws: Aws, functions: Functions) -> None:
    functions.build(next_round("1"))
    aws.fan_outs.clear()
    some = sorted(aws.everybody)[::100]
    new = training_item(round=5, selected=some)
    functions.build(change(training_item(round=4), new, "2"))
    parts = [
        json.loads(each["MessageBody"])["announcement"]["training"]["selected"]
        for each in aws.fan_outs
    ]
    assert sorted(each for part in parts for each in part) == some
    assert all(len({each[0] for each in part}) <= 1 for part in parts)


def test_who_cannot_be_read_in_a_large_training_is_told_to_the_bus(
    aws: Aws, functions: Functions
) -> None:
    aws.sent, aws.unreadable = Counter(), aws.entities[-1]
    functions.build(next_round("7"))
    functions.work_off()
    assert {uuid for _, uuid in aws.sent} == aws.everybody - {aws.unreadable[-36:]}
    (event,) = (each for each in aws.events if each["DetailType"] == "Participant Unreadable")
    detail = json.loads(event["Detail"])
    assert (detail["training_uuid"], detail["entity"]) == (TRAINING_UUID, aws.unreadable)
    assert (detail["sequence"], detail["field"]) == ("7", "message_endpoint")
    assert detail["callback"] == "enforce_quorum"


class Timeout:
    """The time of an invocation, which is over after so many pages."""

    def __init__(self, aws: Aws, pages: int) -> None:
        self._aws = aws
        self._over_at = aws.queries + pages

    def __call__(self) -> float:
        return PAGE_RESERVE_SECONDS - 1 if self._aws.queries >= self._over_at else 60.0


class Killed(BaseException):
    """The end of the process."""


def killed_after_a_page() -> Callable[[], float]:
    """Is asked before the message, and after each page."""
    times = iter([900.0])

    def remaining_seconds() -> float:
        try:
            return next(times)
        except StopIteration:
            raise Killed from None

    return remaining_seconds


@pytest.mark.parametrize(
    "event", [started(), next_round(), failed()], ids=["start", "round", "error"]
)
def test_a_segment_that_takes_several_invocations_tells_everybody_once(
    aws: Aws, functions: Functions, event: dict[str, Any]
) -> None:
    aws.participants, aws.spread, aws.sent = FIVE_PAGES, False, Counter()
    functions.build(event)
    # Two pages; then the first one, where it has to be seen that there are more, and another.
    assert functions.work_off(lambda: Timeout(aws, 2)) == SEGMENTS - 1 + 4
    told = {uuid for _, uuid in aws.sent}
    assert told - {ACTOR.uuid} == aws.everybody
    assert (ACTOR.uuid in told) == (event == failed())
    assert set(aws.sent.values()) == {1}


@pytest.fixture
def stopped(aws: Aws, functions: Functions) -> dict[str, Any]:
    """The message of a segment, after an invocation that had time for three pages of five."""
    aws.participants, aws.spread, aws.sent = FIVE_PAGES, False, Counter()
    functions.build(next_round())
    first = message(aws.fan_outs[0])
    aws.fan_outs.clear()
    assert functions.fan_out.process(first, Timeout(aws, 3))["batchItemFailures"]
    return first


def times_told(aws: Aws) -> list[int]:
    """How often each participant was told of the round, in the order of the table."""
    assert aws.sent is not None
    return [aws.sent["UPDATE_ROUND_START", uuid] for uuid in sorted(aws.everybody)]


def test_an_invocation_that_is_killed_begins_again_at_the_last_checkpoint(
    aws: Aws, functions: Functions, stopped: dict[str, Any]
) -> None:
    """What it had enqueued since then is enqueued again, with the same ids."""
    with pytest.raises(Killed):
        functions.fan_out.process(stopped, killed_after_a_page())
    assert functions.fan_out.process(stopped, _unlimited) == {"batchItemFailures": []}
    assert times_told(aws) == [1] * 3 * PAGE + [2] * PAGE + [1] * PAGE


def test_a_segment_that_fails_goes_on_after_its_last_whole_page(
    aws: Aws, functions: Functions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    aws.participants, aws.spread, aws.sent = FIVE_PAGES, False, Counter()
    functions.build(next_round())
    first = message(aws.fan_outs[0])
    aws.refused = lambda: len(aws.sent or ()) >= 3 * PAGE
    assert functions.fan_out.process(first, _unlimited)["batchItemFailures"]
    assert aws.calls[-1] == "ChangeMessageVisibilityBatch"
    aws.refused = lambda: False
    assert functions.fan_out.process(first, _unlimited) == {"batchItemFailures": []}
    assert times_told(aws)[: 2 * PAGE] == [1] * 2 * PAGE
    assert max(times_told(aws)) <= 2
    assert min(times_told(aws)) == 1


def test_a_segment_that_succeeds_notes_nothing(aws: Aws, functions: Functions) -> None:
    functions.build(next_round())
    aws.calls.clear()
    functions.work_off()
    assert "PutItem" not in aws.calls


def test_another_change_of_the_training_begins_at_the_first_page(
    aws: Aws, functions: Functions, stopped: dict[str, Any]
) -> None:
    del stopped
    functions.build(next_round("2"))
    functions.work_off()
    assert times_told(aws)[0] == 2


def test_a_redriven_record_begins_at_the_first_page(
    aws: Aws, functions: Functions, stopped: dict[str, Any]
) -> None:
    """Its letter may be about a participant of a page before the last checkpoint."""
    del stopped
    redriven = next_round()
    redriven["Records"][0][REDRIVEN_AS] = "a letter"
    functions.build(redriven)
    functions.work_off()
    assert times_told(aws) == [2] * 3 * PAGE + [1] * 2 * PAGE


def test_with_one_call_of_twenty_throttled_each_segment_takes_one_invocation(
    aws: Aws, functions: Functions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    aws.participants, aws.sent = 4_000, Counter()
    calls = iter(range(10**6))
    aws.refused = lambda: next(calls) % 20 == 0
    functions.build(next_round())
    assert functions.work_off() == SEGMENTS
    assert set(aws.sent.values()) == {1}
    assert len(aws.sent) == 4_000


def test_a_message_of_another_version_waits(aws: Aws, functions: Functions) -> None:
    functions.build(next_round())
    event = message(aws.fan_outs[0])
    body = json.loads(event["Records"][0]["body"])
    body["announcement"]["notices"][0]["kind"] = "HOLIDAY"
    event["Records"][0]["body"] = json.dumps(body)
    assert functions.fan_out.process(event, _unlimited)["batchItemFailures"]


def peak(functions: Functions, participants: int) -> int:
    """How much memory is allocated at most while so many are told of a round, in bytes."""
    aws = functions.aws
    aws.participants, aws.spread = participants, False
    aws.__dict__.pop("entities", None)
    assert aws.entities
    event = change(training_item(round=3), training_item(round=4), str(participants))
    aws.ledger.clear()
    functions.build(event)
    if not aws.fan_outs:  # a small one; by hand
        return 0
    first = message(aws.fan_outs[0])
    aws.fan_outs.clear()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        assert functions.fan_out.process(first, _unlimited) == {"batchItemFailures": []}
        _, most = tracemalloc.get_traced_memory()
        return most - before
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_number_of_participants(aws: Aws) -> None:
    """Ten pages take what two take: the next one is read while the one before is still there."""
    direct = Direct(aws)
    with put_together(aws, direct, direct, direct, PAGE_SIZE) as functions:
        peak(functions, 2 * PAGE_SIZE)  # what is loaded on first use
        two_pages = peak(functions, 2 * PAGE_SIZE)
        ten_pages = peak(functions, 10 * PAGE_SIZE)
    assert ten_pages < 1.5 * two_pages
    assert ten_pages < 10 * MEBIBYTE


def test_deliveries_are_made_no_further_ahead_than_one_window(
    aws: Aws, functions: Functions
) -> None:
    """So that memory does not grow either if the queue is slower than the table."""
    del aws
    queue = functions.fan_out.segment.announcer.queue
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
    # One more is made to see that a batch is full.
    assert furthest <= (WINDOW + 1) * SQS_BATCH + 1

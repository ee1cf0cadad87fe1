"""What an outsider has: plain writes to the trainings table, and events, queues and receivers.

Nothing here imports the project's own code for trainings, notifications or outcomes: the tests say
by themselves what the contract is.
"""

import base64
import hashlib
import hmac
import json
import os
import signal
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from fl_notifications_cli.local import emulator
from fl_notifications_cli.local.stack import LocalStack
from fl_notifications_cli.participants import Participant, Request
from fl_notifications_cli.stack import Stack

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient

PATIENCE: Final = 60.0
"""How long a test waits for what must come, in seconds: long, as only a failure waits so long."""

RULE_SECONDS: Final = 20.0
"""Until AWS heeds a new or changed rule everywhere; what comes before that would be lost."""

OTHER_SHARDS: Final = 2.0
"""By how much a shard of the stream may lag behind another one, on AWS, in seconds."""

START = "TRAINING_START"
FINISHED = "TRAINING_FINISHED"
ERROR = "TRAINING_ERROR"
REMOVED = "CLIENT_REMOVED"

ROUND_TYPES: Final = {
    "ONGOING": "UPDATE_ROUND_START",
    "SWAG_ROUND": "SWAG_ROUND_START",
    "MODEL_TEST": "MODEL_TEST_ROUND",
}


def update(round_number: int) -> str:
    """The label of `UPDATE_ROUND_START`."""
    return f"UPDATE_ROUND_START {round_number}"


def swag(round_number: int) -> str:
    """The label of `SWAG_ROUND_START`."""
    return f"SWAG_ROUND_START {round_number}"


def model_test(round_number: int) -> str:
    """The label of `MODEL_TEST_ROUND`."""
    return f"MODEL_TEST_ROUND {round_number}"


# --- waiting -------------------------------------------------------------------------------------


def eventually[T](
    look: Callable[[], T],
    accept: Callable[[T], object],
    what: str,
    *,
    seconds: float = PATIENCE,
) -> T:
    """Look until what is seen is accepted; fail with what was seen last."""
    deadline = time.monotonic() + seconds
    while not accept(seen := look()):
        if time.monotonic() >= deadline:
            pytest.fail(f"{what}: not within {seconds:.0f} s; seen last: {seen!r}")
        time.sleep(0.1)
    return seen


def expect(receiver: Participant, *labels: str, seconds: float = PATIENCE) -> list[Request]:
    """Wait until a receiver has got as many requests, and check that they are these, in order."""
    receiver.wait_for(lambda requests: len(requests) >= len(labels), timeout_seconds=seconds)
    seen = receiver.labels
    assert seen == list(labels), f"{receiver.name} has got {seen}, not {list(labels)}"
    return receiver.requests


def arrived(receiver: Participant, number: int, *, seconds: float = PATIENCE) -> list[Request]:
    """Wait until a receiver has got at least so many requests, and return them."""
    in_time = receiver.wait_for(lambda requests: len(requests) >= number, timeout_seconds=seconds)
    assert in_time, f"{receiver.name} has got {receiver.labels}, not {number} requests"
    return receiver.requests


NOBODY_NEEDED: Final = {"min_participants": 0}
"""Options of a training that may run without participants."""


# --- an FL server --------------------------------------------------------------------------------

_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize


def item_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """A DynamoDB item of plain values."""
    return {name: _serialize(value) for name, value in values.items()}


def some_uuid() -> str:
    """A new uuid."""
    return str(uuid.uuid4())


@dataclass
class TrainingItem:
    """A training in the table, and the writes that an FL server makes to it."""

    client: "DynamoDBClient"
    table: str
    actor: Mapping[str, str]
    uuid: str = field(default_factory=some_uuid)
    model_uuid: str = field(default_factory=some_uuid)

    def write(self, state: str, round_number: int = 0, **attributes: Any) -> None:
        """Set state, round and other attributes in one write; creates the item if need be."""
        self.change(
            state=state,
            round=round_number,
            model_uuid=self.model_uuid,
            actor=dict(self.actor),
            **attributes,
        )

    def change(self, **attributes: Any) -> None:
        """Set just these attributes."""
        self.client.update_item(
            TableName=self.table,
            Key=self.key("TRAINING"),
            UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in attributes),
            ExpressionAttributeNames={f"#{name}": name for name in attributes},
            ExpressionAttributeValues=item_of(
                {f":{name}": value for name, value in attributes.items()}
            ),
        )

    def delete(self) -> None:
        """Delete the training's item."""
        self.client.delete_item(TableName=self.table, Key=self.key("TRAINING"))

    def join(self, *participants: Participant, **attributes: Any) -> None:
        """Write participants as they are, or with other attributes."""
        for participant in participants:
            self.put(
                f"PARTICIPANT#{participant.uuid}",
                **{"message_endpoint": participant.message_endpoint} | attributes,
            )

    def leave(self, *participants: Participant) -> None:
        """Delete participants."""
        for participant in participants:
            self.client.delete_item(
                TableName=self.table, Key=self.key(f"PARTICIPANT#{participant.uuid}")
            )

    def put(self, entity: str, **attributes: Any) -> None:
        """Put any item of this training."""
        self.client.put_item(TableName=self.table, Item={**self.key(entity), **item_of(attributes)})

    def read(self, entity: str = "TRAINING") -> dict[str, Any]:
        """All attributes of the training's item, or of another one of it."""
        answer = self.client.get_item(
            TableName=self.table, Key=self.key(entity), ConsistentRead=True
        )
        return {name: _deserialize(value) for name, value in answer.get("Item", {}).items()}

    @property
    def state(self) -> object:
        """The state."""
        return self.read().get("state")

    @property
    def participants(self) -> set[str]:
        """The uuids of the participants."""
        answer = self.client.query(
            TableName=self.table,
            KeyConditionExpression="training_uuid = :uuid AND begins_with(entity, :prefix)",
            ExpressionAttributeValues=item_of({":uuid": self.uuid, ":prefix": "PARTICIPANT#"}),
            ConsistentRead=True,
        )
        return {item["entity"]["S"].removeprefix("PARTICIPANT#") for item in answer["Items"]}

    def key(self, entity: str) -> dict[str, Any]:
        """The key of an item of this training."""
        return item_of({"training_uuid": self.uuid, "entity": entity})


class Receiving(Protocol):
    """Whoever can be told something."""

    @property
    def uuid(self) -> str:
        """Its identity."""

    @property
    def message_endpoint(self) -> str:
        """Where it is told."""


@dataclass(frozen=True)
class NobodyThere:
    """A receiver whose mailbox nobody looks into."""

    uuid: str = field(default_factory=some_uuid)
    message_endpoint: str = "mailbox:"


class FlServer:
    """An FL server: it writes to the trainings table, and that is all it does.

    Args:
        stack: Whose table it writes to.
        actor: Who ordered all trainings, unless said otherwise.
        outcomes: By which it learns how far the stream has been read.
    """

    def __init__(self, stack: Stack, actor: Receiving, outcomes: "Outcomes") -> None:
        self._stack = stack
        self._outcomes = outcomes
        self._client = stack.client("dynamodb")
        self._table = stack.output("TrainingsTable")
        self._actor = actor
        self._canaries: TrainingItem | None = None

    def training(
        self,
        *participants: Participant,
        state: str | None = "INITIAL",
        actor: Receiving | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> TrainingItem:
        """Write the participants, then the training (unless its state is None).

        One that runs without participants needs nobody, if no options are given: by the default
        options it would end.
        """
        if options is None and not participants and state not in {None, "INITIAL"}:
            options = NOBODY_NEEDED
        actor = actor or self._actor
        training = TrainingItem(
            self._client,
            self._table,
            {"uuid": actor.uuid, "message_endpoint": actor.message_endpoint},
        )
        training.join(*participants)
        if participants and state in {"SWAG_ROUND", "MODEL_TEST"}:
            # Read later, their joining would look like that of late joiners.
            self.let_it_be_read()
        if state is not None:
            attributes: dict[str, Any] = {} if options is None else {"options": dict(options)}
            training.write(state, 0, **attributes)
        return training

    def let_it_be_read(self) -> None:
        """Return when the stream has been read up to here.

        A canary that joins now is told of the start, in vain: the emulator reads the stream in the
        order of the writes. AWS keeps the order of a training, and reads the shards side by side.
        """
        if self._canaries is None:
            # The first one may be in time for the round, too, and fails that as well.
            options = {**NOBODY_NEEDED, "failure_policy": "quorum"}
            self._canaries = self.training(state="ONGOING", options=options)
        training, canary = self._canaries, some_uuid()
        training.put(f"PARTICIPANT#{canary}", message_endpoint="no url at all")
        eventually(
            lambda: self._outcomes.events(training, canary), bool, "the outcome of a canary's start"
        )
        if not self._stack.local:
            time.sleep(OTHER_SHARDS)

    def join_all(self, training: TrainingItem, participants: Iterable[Participant]) -> None:
        """Write many participants, 25 at a time."""
        items = [
            item_of(
                {
                    "training_uuid": training.uuid,
                    "entity": f"PARTICIPANT#{participant.uuid}",
                    "message_endpoint": participant.message_endpoint,
                }
            )
            for participant in participants
        ]
        for at in range(0, len(items), 25):
            answer = self._client.batch_write_item(
                RequestItems={
                    self._table: [{"PutRequest": {"Item": item}} for item in items[at : at + 25]]
                }
            )
            assert not answer["UnprocessedItems"]


# --- queues and events ---------------------------------------------------------------------------


@dataclass(frozen=True)
class QueueMessage:
    """A message of a queue."""

    body: str
    attributes: Mapping[str, str]

    @property
    def json(self) -> dict[str, Any]:
        """The body as JSON."""
        said: dict[str, Any] = json.loads(self.body)
        return said


class QueueReader:
    """Reads a queue to its end again and again, and keeps what it has seen.

    Messages are taken off the queue: give each queue one reader.
    """

    def __init__(self, client: "SQSClient", url: str) -> None:
        self._client = client
        self._url = url
        self._seen: list[QueueMessage] = []
        self._lock = threading.Lock()

    def messages(self) -> list[QueueMessage]:
        """All messages that there have been so far."""
        with self._lock:
            while found := self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=10,
                MessageAttributeNames=["All"],
                WaitTimeSeconds=0,
            ).get("Messages"):
                for message in found:
                    attributes = {
                        name: value.get("StringValue", "")
                        for name, value in message.get("MessageAttributes", {}).items()
                    }
                    self._seen.append(QueueMessage(message["Body"], attributes))
                    self._client.delete_message(
                        QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"]
                    )
            return list(self._seen)

    def wait_for(
        self,
        wanted: Callable[[QueueMessage], bool],
        what: str,
        *,
        number: int = 1,
        seconds: float = PATIENCE,
    ) -> list[QueueMessage]:
        """Wait for messages of a kind, at least so many."""
        return eventually(
            lambda: [message for message in self.messages() if wanted(message)],
            lambda found: len(found) >= number,
            f"{number} messages: {what}",
            seconds=seconds,
        )


def new_queue(client: "SQSClient") -> tuple[str, str]:
    """Make a queue that event buses may send to; return its URL and ARN."""
    url = client.create_queue(QueueName=f"e2e-{some_uuid()}")["QueueUrl"]
    arn = client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "events.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": arn,
            }
        ],
    }
    client.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
    return url, arn


def let_rules_settle(stack: Stack) -> None:
    """Return when a rule that was just written is heeded."""
    if not stack.local:
        time.sleep(RULE_SECONDS)


@contextmanager
def listening(stack: Stack, pattern: Mapping[str, Any]) -> Iterator["QueueReader"]:
    """Let the outcomes that match a pattern come into a queue, as any user can with one rule."""
    sqs, events, bus = stack.client("sqs"), stack.client("events"), stack.output("OutcomesBus")
    url, arn = new_queue(sqs)
    name = f"e2e-{some_uuid()}"
    events.put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps(pattern))
    try:
        answer = events.put_targets(
            Rule=name, EventBusName=bus, Targets=[{"Id": "queue", "Arn": arn}]
        )
        assert answer["FailedEntryCount"] == 0, answer
        let_rules_settle(stack)
        yield QueueReader(sqs, url)
    finally:
        # With a rule of ours the bus, and so the stack, could not be deleted.
        events.remove_targets(Rule=name, EventBusName=bus, Ids=["queue"])
        events.delete_rule(Name=name, EventBusName=bus)
        sqs.delete_queue(QueueUrl=url)


@dataclass(frozen=True)
class Rule:
    """A rule of the outcomes' bus."""

    stack: Stack
    client: "EventBridgeClient"
    bus: str
    name: str

    @classmethod
    def with_callback(cls, stack: Stack, callback: str) -> Self:
        """Find the rule that calls a callback."""
        client, bus = stack.client("events"), stack.output("OutcomesBus")
        [name] = [
            rule["Name"]
            for rule in client.list_rules(EventBusName=bus)["Rules"]
            if callback in rule.get("EventPattern", "")
        ]
        return cls(stack, client, bus, name)

    def disable(self) -> None:
        """Let it do nothing."""
        self.client.disable_rule(Name=self.name, EventBusName=self.bus)

    def enable(self) -> None:
        """Let it do what it is for."""
        self.client.enable_rule(Name=self.name, EventBusName=self.bus)
        let_rules_settle(self.stack)


class Outcomes:
    """All outcomes of the stack, from a queue that they come into."""

    def __init__(self, reader: QueueReader) -> None:
        self._reader = reader
        self._read = 0
        self._by_training: defaultdict[str, list[Any]] = defaultdict(list)

    def events(self, training: TrainingItem, receiver_uuid: str | None = None) -> list[Any]:
        """The events about a training, or about one of its receivers, in order of arrival."""
        messages = self._reader.messages()
        for message in messages[self._read :]:
            event = message.json
            if "notification_type" not in event["detail"]:
                continue  # of a change, not of an outcome
            self._by_training[event["detail"]["training_uuid"]].append(event)
        self._read = len(messages)
        return [
            event
            for event in self._by_training[training.uuid]
            if receiver_uuid in {None, event["detail"]["receiver_uuid"]}
        ]

    def wait_for(
        self,
        training: TrainingItem,
        receiver: Participant,
        kind: str = START,
        *,
        seconds: float = PATIENCE,
    ) -> Any:
        """Wait for the outcome of what a receiver is told, by label, and return its event."""
        events = eventually(
            lambda: self.events(training, receiver.uuid),
            lambda events: any(event_label(event) == kind for event in events),
            f"the outcome of {kind} to {receiver.name}",
            seconds=seconds,
        )
        found = [event for event in events if event_label(event) == kind]
        assert len({event["detail"]["notification_id"] for event in found}) == 1
        return found[0]


def event_label(event: Mapping[str, Any]) -> str:
    """Type and round of an outcome event, as `Request.label` has them."""
    detail = event["detail"]
    kind: str = detail["notification_type"]
    return kind if detail["round"] is None else f"{kind} {detail['round']}"


# --- functions and their processes ----------------------------------------------------------------


def function_name(stack: Stack, logical_id: str) -> str:
    """The name of a function, by its logical id."""
    client = stack.client("cloudformation")
    answer = client.describe_stack_resource(StackName=stack.name, LogicalResourceId=logical_id)
    return answer["StackResourceDetail"]["PhysicalResourceId"]


def log_lines(stack: Stack, text: str, since: float) -> list[dict[str, Any]]:
    """The functions' own lines of the log that contain a text, from a unix time on."""
    pages = (
        stack.client("logs")
        .get_paginator("filter_log_events")
        .paginate(logGroupName=stack.output("LogGroup"), startTime=int(since * 1000))
    )
    return [
        json.loads(event["message"])
        for page in pages
        for event in page["events"]
        if event["message"].startswith("{") and text in event["message"]
    ]


def workers(local_stack: LocalStack, function: str) -> set[int]:
    """The worker processes of a function, by its logical id."""
    return {
        process.pid
        for process in emulator.processes(local_stack.work)
        if process.function is not None and f"-{function}-" in process.function
    }


def enqueued(stack: Stack) -> int:
    """How many deliveries are in the queue, those under way included."""
    attributes = stack.client("sqs").get_queue_attributes(
        QueueUrl=stack.output("DeliveriesQueueUrl"),
        AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
    )["Attributes"]
    return int(attributes["ApproximateNumberOfMessages"]) + int(
        attributes["ApproximateNumberOfMessagesNotVisible"]
    )


def let_all_be_delivered(stack: Stack) -> None:
    """Wait until the queue is empty: nothing is under way then, or waits for another attempt."""
    eventually(lambda: enqueued(stack), lambda number: number == 0, "an empty queue")


def kill_workers(local_stack: LocalStack, function: str) -> set[int]:
    """Kill all worker processes of a function, whatever they do; returns which they were."""
    killed = workers(local_stack, function)
    assert killed, f"no worker of {function} is running"
    for pid in killed:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    eventually(
        lambda: killed & workers(local_stack, function),
        lambda left: not left,
        f"the end of the workers of {function}",
    )
    return killed


# --- secrets -------------------------------------------------------------------------------------


def receiver_secret(master: str, receiver_uuid: str) -> str:
    """A receiver's secret, derived as the contract says."""
    digest = hmac.new(master.encode(), receiver_uuid.lower().encode(), hashlib.sha256).digest()
    return f"whsec_{base64.b64encode(digest).decode()}"


@dataclass(frozen=True)
class MasterSecret:
    """The stack's signing secret."""

    client: "SecretsManagerClient"
    arn: str

    def current(self) -> str:
        """What signs now."""
        return self.client.get_secret_value(SecretId=self.arn)["SecretString"]

    def rotate(self, value: str) -> str:
        """Put a new secret, and return the one that was current until now."""
        before = self.current()
        self.client.put_secret_value(SecretId=self.arn, SecretString=value)
        return before

    def forget_previous(self) -> None:
        """End a rotation: the previous version loses its stage."""
        versions = self.client.describe_secret(SecretId=self.arn)["VersionIdsToStages"]
        for version, stages in versions.items():
            if "AWSPREVIOUS" in stages:
                self.client.update_secret_version_stage(
                    SecretId=self.arn, VersionStage="AWSPREVIOUS", RemoveFromVersionId=version
                )

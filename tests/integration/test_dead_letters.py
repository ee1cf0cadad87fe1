"""`dead-letters`, `redrive` and `secret`, on the simulated AWS with the functions themselves."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from datetime import timedelta
from io import BytesIO, StringIO
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.exceptions import ClientError
from pydantic import ValidationError

from fl_notifications.deliveries.delivery import Delivery
from fl_notifications.deliveries.post import Answer, Responded
from fl_notifications.deliveries.queue import DeliveryQueue
from fl_notifications.deliveries.signing import receiver_secret
from fl_notifications.notification_type import NotificationType
from fl_notifications.notifications.announcement import Announcement, Notice
from fl_notifications.notifications.fan_outs import FanOut, FanOutQueue
from fl_notifications.outcomes.outcome import SOURCE, OutcomeKind
from fl_notifications.server.repository import TrainingRepository
from fl_notifications.trainings.items import REDRIVEN_AS
from fl_notifications_cli import main, secret
from fl_notifications_cli.dead_letters import commands, redriving
from fl_notifications_cli.dead_letters.letters import Box
from fl_notifications_cli.stack import Stack as CliStack
from tests.cloudformation import REGION, STACK_NAME
from tests.events import change
from tests.integration.conftest import Account
from tests.integration.faults import Faults
from tests.integration.handlers import Function, with_poster
from tests.integration.stack import Record, Stack
from tests.made import (
    ACTOR,
    MODEL_UUID,
    NOW,
    TRAINING_UUID,
    delivery,
    item,
    outcome,
    participant,
    participant_item,
    training,
    training_item,
    uuid_of,
)

ONE, TWO = participant("one"), participant("two")
OTHER_UUID = uuid_of("another training")
JOINED_AT = (NOW - timedelta(hours=1)).isoformat()
OUTPUTS = (
    "DeliveriesQueueUrl",
    "DeliveriesDlqUrl",
    "FanOutsQueueUrl",
    "FanOutsDlqUrl",
    "StreamDlqUrl",
    "CallbacksDlqUrl",
    "TrainingsTable",
    "OutcomesBus",
    "SigningSecretArn",
)
FIFO: dict[str, type[Delivery | FanOut]] = {"DeliveriesDlqUrl": Delivery, "FanOutsDlqUrl": FanOut}
BUILDER = "fl-notifications-BuildNotifications-1A2B"
STREAM_GONE = "TrimmedDataAccessException"


@dataclass
class FakeLambda:
    """Runs BuildNotifications, which moto does not."""

    build: Function
    answer: dict[str, Any] | None = None  # instead of running it
    events: list[Record] = field(default_factory=list)

    def invoke(self, *, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803 - boto3's
        assert FunctionName == BUILDER
        event = json.loads(Payload)
        self.events.append(event)
        if self.answer is not None:
            return self.answer
        with redirect_stdout(StringIO()):  # its metrics
            return {"Payload": BytesIO(json.dumps(self.build(event)).encode())}


@dataclass
class FakeStreams:
    """The stream with a record a page, and an empty page before each."""

    stack: Stack
    error: str | None = None
    ends: bool = False  # after the first page
    change: Callable[[Record], Record] = lambda record: record
    _read: set[str] = field(default_factory=set)

    def get_shard_iterator(self, **request: Any) -> Any:
        if self.error is not None:
            raise ClientError({"Error": {"Code": self.error, "Message": ""}}, "GetShardIterator")
        return self.stack.streams.get_shard_iterator(**request)

    def get_records(self, *, ShardIterator: str) -> dict[str, Any]:  # noqa: N803 - boto3's
        if ShardIterator not in self._read:
            self._read.add(ShardIterator)
            return {"Records": [], "NextShardIterator": ShardIterator}
        page = self.stack.streams.get_records(ShardIterator=ShardIterator, Limit=1)
        found: dict[str, Any] = {"Records": [self.change(dict(each)) for each in page["Records"]]}
        return found if self.ends else {**found, "NextShardIterator": page["NextShardIterator"]}


class FakeCloudFormation:
    def describe_stack_resource(self, **request: str) -> dict[str, Any]:
        assert request == {"StackName": STACK_NAME, "LogicalResourceId": "BuildNotifications"}
        return {"StackResourceDetail": {"PhysicalResourceId": BUILDER}}


@dataclass
class Accepting:
    """All receivers, and what they were posted: id and type, by name of the host."""

    posts: list[tuple[str, str, str]] = field(default_factory=list)

    def post(self, url: str, headers: Mapping[str, str], body: bytes, *, turn: int = 0) -> Answer:
        del turn
        name = url.split("/")[2].partition(".")[0]
        kind = json.loads(body)["notification_type"]
        self.posts.append((name, kind, {k.lower(): v for k, v in headers.items()}["webhook-id"]))
        return Responded(200, None)

    def kinds(self, name: str) -> list[str]:
        return [kind for receiver, kind, _ in self.posts if receiver == name]


@dataclass
class Cli:
    """The commands, called as a person calls them."""

    deployed: CliStack
    functions: FakeLambda
    streams: FakeStreams
    _patch: pytest.MonkeyPatch
    _captured: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str, says: str = "") -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        self._patch.setattr("sys.argv", ["fl-notifications", *arguments])
        self._patch.setattr("sys.stdin", StringIO(says))
        self._captured.readouterr()
        code: object = 0
        try:
            main.main()
        except SystemExit as ended:
            code = ended.code
        said = self._captured.readouterr()
        assert code is None or isinstance(code, int)
        return code or 0, said.out, said.err

    def letters(self) -> list[dict[str, Any]]:
        code, out, _ = self("dead-letters", "--json")
        assert code == 0
        found = json.loads(out)
        assert isinstance(found, list)
        return found

    def letter(self) -> dict[str, Any]:
        (found,) = self.letters()
        return dict(found)

    def redrive(self, queue: str) -> tuple[int, str]:
        code, out, _ = self("redrive", queue, "--yes")
        return code, " ".join(out.split())


@pytest.fixture
def cli(
    stack: Stack,
    build: Function,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Cli:
    sqs = boto3.client("sqs")
    # Long polling takes a second for each empty answer, and more than that on moto.
    sqs.meta.events.register("provide-client-params.sqs.ReceiveMessage", _do_not_wait)
    functions, streams = FakeLambda(build), FakeStreams(stack)
    clients = {
        "sqs": sqs,
        "dynamodb": stack.dynamodb,
        "events": stack.events,
        "secretsmanager": stack.secrets,
        "cloudformation": FakeCloudFormation(),
    }
    outputs = {name: stack.output(name) for name in OUTPUTS}
    deployed = CliStack(STACK_NAME, REGION, None, outputs, clients)
    for module in (commands, secret):
        monkeypatch.setattr(module, "find_stack", lambda *_args, **_options: deployed)
    made = {"lambda": functions, "dynamodbstreams": streams}
    monkeypatch.setattr(redriving, "new_client", lambda service, *_args, **_options: made[service])
    return Cli(deployed, functions, streams, monkeypatch, capsys)


def _do_not_wait(params: dict[str, Any], **_: Any) -> None:
    params["WaitTimeSeconds"] = 0


def put(stack: Stack, output: str, body: str, **attributes: str) -> None:
    """Put a letter into a dead-letter queue, as AWS does; a delivery in its own message group."""
    fifo: Any = {}
    if model := FIFO.get(output):
        try:
            group = model.model_validate_json(body).group
        except ValidationError:
            group = "poison"
        fifo = {"MessageGroupId": group, "MessageDeduplicationId": uuid4().hex}
    stack.sqs.send_message(
        QueueUrl=stack.output(output),
        MessageBody=body,
        MessageAttributes={
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        },
        **fifo,
    )


def visible(stack: Stack, output: str) -> int:
    """How many letters of a queue everybody can see."""
    found = stack.sqs.get_queue_attributes(
        QueueUrl=stack.output(output), AttributeNames=["ApproximateNumberOfMessages"]
    )
    return int(found["Attributes"]["ApproximateNumberOfMessages"])


def event(kind: OutcomeKind = OutcomeKind.FAILED, **values: Any) -> dict[str, Any]:
    """An outcome as the bus brings it."""
    detail = json.loads(outcome(kind).model_dump_json())
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": kind.detail_type,
        "source": SOURCE,
        "detail": detail | values,
    }


def given_up(
    condition: str, payload: object = None, answer: dict[str, str] | None = None
) -> dict[str, Any]:
    """What Lambda tells its on-failure destination of an event."""
    return {
        "version": "1.0",
        "timestamp": "2026-03-01T12:00:00.000Z",
        "requestContext": {
            "requestId": "4d7e5e5a-0c1d-4c8e-9a55-2f8d8e0b9f11",
            "functionArn": "arn:aws:lambda:eu-central-1:123456789012:function:one:$LATEST",
            "condition": condition,
            "approximateInvokeCount": 3,
        },
        "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
        **({} if payload is None else {"requestPayload": payload}),
        **({} if answer is None else {"responsePayload": answer}),
    }


def batch_letter(stack: Stack, records: list[Record]) -> str:
    """What Lambda tells of records of the stream: from where to where."""
    described = stack.streams.describe_stream(StreamArn=records[0]["eventSourceARN"])
    numbers = [each["dynamodb"]["SequenceNumber"] for each in records]
    info = {
        "shardId": described["StreamDescription"]["Shards"][0]["ShardId"],
        "startSequenceNumber": numbers[0],
        "endSequenceNumber": numbers[-1],
        "approximateArrivalOfFirstRecord": "2026-03-01T12:00:00Z",
        "approximateArrivalOfLastRecord": "2026-03-01T12:00:00Z",
        "batchSize": len(records),
        "streamArn": records[0]["eventSourceARN"],
    }
    return json.dumps({**given_up("RetryAttemptsExhausted"), "DDBStreamBatchInfo": info})


def enqueued(faults: Faults) -> list[tuple[str, str, str]]:
    """All that was given to the queue: receiver's name, type and id."""
    names = {uuid_of(name): name for name in ("one", "two", "bad", "actor")}
    entries = [e for call in faults.calls.get("SendMessageBatch", []) for e in call["Entries"]]
    found = []
    for entry in entries:
        body = json.loads(entry["MessageBody"])
        assert entry["MessageDeduplicationId"] == body["notification_id"]
        name = names[body["receiver"]["uuid"]]
        found.append((name, body["notification_type"], body["notification_id"]))
    return found


def told(stack: Stack) -> list[tuple[str, str, int | None]]:
    """What is in the queue, which is empty then: receiver's name, type and round."""
    names = {uuid_of(name): name for name in ("one", "two", "bad", "actor")}
    return [
        (names[each["receiver"]["uuid"]], each["notification_type"], each["round"])
        for each in stack.delivered()
    ]


def deliver_all(stack: Stack, deliver: Function, receivers: Accepting) -> None:
    """Deliver until the queue is empty."""
    deliverer = with_poster(deliver, receivers)
    for _ in range(50):
        batch = stack.receive()
        if not batch["Records"]:
            return
        stack.settle(batch, deliverer.process(batch, lambda: 30.0))
    pytest.fail("the queue does not become empty")


def rewrite(stack: Stack, **values: Any) -> None:
    """Write the training again, with other values."""
    now = stack.item(TRAINING_UUID)
    assert now is not None
    stack.put(now | item(values))


def process(stack: Stack, build: Function) -> None:
    """Have what has changed since processed; Lambda calls nobody for nothing."""
    if (event := stack.changes())["Records"]:
        build(event)


BAD = participant_item("bad", message_endpoint=7, joined_at=JOINED_AT)
MENDED = participant_item("bad", joined_at=JOINED_AT)
OPTIONS = {"failure_policy": "strict"}
START = ["TRAINING_START", "UPDATE_ROUND_START"]


@pytest.fixture
def initial(stack: Stack, server: TrainingRepository) -> TrainingRepository:
    """A training that has not started, with two participants; its writes have been processed."""
    server.create(TRAINING_UUID, MODEL_UUID, ACTOR, [ONE, TWO])
    stack.changes()
    return server


# --- dead-letters: why, and about what ------------------------------------------------------------


def test_without_letters_there_is_nothing_to_say(cli: Cli) -> None:
    assert cli.letters() == []
    code, out, _ = cli("dead-letters")
    assert (code, out.strip()) == (0, f"No dead letters in stack {STACK_NAME}.")
    code, said = cli.redrive("stream")
    assert (code, said) == (0, f"No dead letters of stream in stack {STACK_NAME}.")


def test_a_poison_message_of_the_deliveries_says_what_is_wrong_with_it(
    stack: Stack, cli: Cli, deliver: Function
) -> None:
    whole = json.loads(delivery().message)
    stack.sqs.send_message(
        QueueUrl=stack.output("DeliveriesQueueUrl"),
        MessageBody=json.dumps(whole | {"round": "three"}),
        MessageGroupId="poison",
        MessageDeduplicationId="poison",
    )
    batch = stack.receive()
    stack.settle(batch, deliver(batch))
    letter = cli.letter()
    assert letter["queue"] == "deliveries"
    assert letter["why"].startswith("not a delivery: field round: ")
    assert letter["about"] == {
        "training_uuid": TRAINING_UUID,
        "receiver_uuid": uuid_of("one"),
        "notification_type": "UPDATE_ROUND_START",
        "round": "three",
        "notification_id": delivery().notification_id,
    }
    assert letter["body"]["round"] == "three"


def test_a_delivery_that_the_queue_gave_up_has_no_reason_of_ours(stack: Stack, cli: Cli) -> None:
    put(stack, "DeliveriesDlqUrl", delivery().message)
    letter = cli.letter()
    assert letter["why"].startswith("the queue gave up: received too often")
    assert letter["about"]["notification_id"] == delivery().notification_id
    assert letter["about"]["round"] == 3


def test_an_unreadable_item_is_named_with_its_field(
    stack: Stack, cli: Cli, build: Function
) -> None:
    stack.put(training_item(round="three"))
    process(stack, build)
    letter = cli.letter()
    assert letter["queue"] == "stream"
    name = f"item 'TRAINING' of training '{TRAINING_UUID}'"
    assert letter["why"].startswith(f"{name}: field round: ")
    assert letter["about"] == {
        "training_uuid": TRAINING_UUID,
        "entity": "TRAINING",
        "field": "round",
    }


def test_a_batch_that_lambda_gave_up_is_named_by_its_numbers(stack: Stack, cli: Cli) -> None:
    stack.put(training_item(), participant_item("one"))
    records = stack.changes()["Records"]
    put(stack, "StreamDlqUrl", batch_letter(stack, records))
    letter = cli.letter()
    assert letter["why"] == "Lambda gave up: RetryAttemptsExhausted"
    assert letter["about"] == {
        "first_sequence_number": records[0]["dynamodb"]["SequenceNumber"],
        "last_sequence_number": records[-1]["dynamodb"]["SequenceNumber"],
        "records": len(records),
    }


ABOUT_OUTCOME = {
    "training_uuid": TRAINING_UUID,
    "receiver_uuid": uuid_of("one"),
    "notification_type": "UPDATE_ROUND_START",
    "round": 3,
    "notification_id": delivery().notification_id,
    "callback": delivery().callback_error,
    "outcome": "Notification Failed",
}


def test_an_event_that_is_no_outcome_says_so(stack: Stack, cli: Cli, account: Account) -> None:
    account.function("CallbackFailure")(stack.callbacks(event(attempts=-1)))
    letter = cli.letter()
    assert letter["queue"] == "callbacks"
    assert letter["why"].startswith("no outcome: field detail.attempts: ")
    assert letter["about"] == ABOUT_OUTCOME


def test_an_outcome_of_a_training_that_cannot_be_read_names_it(
    stack: Stack, cli: Cli, account: Account
) -> None:
    stack.put(training_item(round="three"), participant_item("one", joined_at=JOINED_AT))
    account.function("CallbackFailure")(stack.callbacks(event()))
    letter = cli.letter()
    assert letter["why"].startswith(f"item 'TRAINING' of training '{TRAINING_UUID}': field round: ")
    assert letter["about"] == ABOUT_OUTCOME


def test_a_callback_that_lambda_gave_up_tells_its_error(stack: Stack, cli: Cli) -> None:
    answer = {"errorType": "ClientError", "errorMessage": "no such table"}
    put(stack, "CallbacksDlqUrl", json.dumps(given_up("RetriesExhausted", event(), answer)))
    letter = cli.letter()
    assert letter["why"] == "Lambda gave up: RetriesExhausted: ClientError no such table"
    assert letter["about"] == ABOUT_OUTCOME


def test_an_event_that_the_queue_gave_up_says_where_the_reason_is(stack: Stack, cli: Cli) -> None:
    put(stack, "CallbacksDlqUrl", json.dumps(event()))
    letter = cli.letter()
    assert letter["why"] == "CallbackFailure has failed at it for twelve hours; its log says why"
    assert letter["about"] == ABOUT_OUTCOME


def test_an_event_that_the_rule_gave_up_tells_the_code_of_eventbridge(
    stack: Stack, cli: Cli
) -> None:
    put(
        stack,
        "CallbacksDlqUrl",
        json.dumps(event()),
        ERROR_CODE="NO_PERMISSIONS",
        ERROR_MESSAGE="may not invoke it",
        RULE_ARN="arn:aws:events:x",
    )
    letter = cli.letter()
    assert letter["why"] == "the rule gave up: NO_PERMISSIONS may not invoke it"
    assert letter["about"] == ABOUT_OUTCOME


@pytest.mark.parametrize(
    "body",
    [
        "hello",
        "[]",
        '{"training_uuid": [], "receiver": 1, "round": {}, "entity": [], "field": {}}',
        '{"detail": "hello", "detail-type": {}}',
        '{"requestPayload": 1, "requestContext": 1, "responsePayload": "x"}',
        '{"DDBStreamBatchInfo": 1, "requestContext": []}',
        '{"DDBStreamBatchInfo": {"shardId": "x"}}',
        '{"record": {"dynamodb": 1}}',
    ],
)
@pytest.mark.parametrize("queue", Box)
def test_a_letter_may_hold_anything_and_what_cannot_be_put_back_stays(
    stack: Stack, cli: Cli, queue: str, body: str
) -> None:
    output = Box(queue).output
    put(stack, output, body)
    assert cli.letter()["queue"] == queue
    assert cli("dead-letters")[0] == 0
    code, said = cli.redrive(queue)
    assert code == 1
    assert said.startswith("0 put back, 1 left.")
    assert visible(stack, output) == 1
    assert cli.functions.events == []


def test_listing_takes_nothing_out_and_hides_nothing(stack: Stack, cli: Cli) -> None:
    for number in range(12):
        made = delivery(f"p{number}", notification_id=f"n{number}")
        put(stack, "DeliveriesDlqUrl", made.message)
        put(stack, "CallbacksDlqUrl", json.dumps(event(attempts=number)))
    found = cli.letters()
    assert Counter(each["queue"] for each in found) == {"deliveries": 12, "callbacks": 12}
    assert len({each["message_id"] for each in found}) == 24
    assert [visible(stack, each) for each in ("DeliveriesDlqUrl", "CallbacksDlqUrl")] == [12, 12]
    _, out, _ = cli("dead-letters")
    assert "deliveries: 12" in out
    assert "callbacks: 12" in out
    assert [visible(stack, each) for each in ("DeliveriesDlqUrl", "CallbacksDlqUrl")] == [12, 12]


def test_no_more_are_listed_than_asked_for(stack: Stack, cli: Cli) -> None:
    for number in range(5):
        put(stack, "CallbacksDlqUrl", json.dumps(event(attempts=number)))
    _, out, _ = cli("dead-letters", "--json", "--limit", "3")
    assert len(json.loads(out)) == 3
    assert visible(stack, "CallbacksDlqUrl") == 5


def test_what_a_letter_says_cannot_command_the_terminal(stack: Stack, cli: Cli) -> None:
    body = json.dumps({"training_uuid": "\x1b[2J[bold]x"})
    put(stack, "DeliveriesDlqUrl", body, reason="[red]x")
    _, out, _ = cli("dead-letters")
    assert "\x1b[2J" not in out
    assert "[red]x" in out
    assert "[bold]x" in out


# --- redrive: deliveries --------------------------------------------------------------------------


def test_deliveries_go_back_into_the_queue_with_their_groups_and_are_not_dropped_as_repeats(
    stack: Stack, cli: Cli
) -> None:
    """The queue has seen their ids less than five minutes ago."""
    made = [delivery(name) for name in ("one", "two")]
    DeliveryQueue(stack.sqs, stack.output("DeliveriesQueueUrl")).send(made)
    assert len(stack.delivered()) == 2
    for each in made:
        put(stack, "DeliveriesDlqUrl", each.message)
    assert cli.redrive("deliveries") == (0, "2 put back, 0 left.")
    back = stack.messages(stack.output("DeliveriesQueueUrl"))
    assert {(each["body"], each["attributes"]["MessageGroupId"]) for each in back} == {
        (each.message, each.group) for each in made
    }
    assert cli.letters() == []


def test_deliveries_of_a_receiver_go_back_in_their_order(stack: Stack, cli: Cli) -> None:
    for number in range(15):
        made = delivery(notification_id=f"n{number}")
        stack.sqs.send_message(
            QueueUrl=stack.output("DeliveriesDlqUrl"),
            MessageBody=made.message,
            MessageGroupId=made.group,
            MessageDeduplicationId=made.notification_id,
        )
    assert cli.redrive("deliveries") == (0, "15 put back, 0 left.")
    bodies = stack.delivered()
    assert [each["notification_id"] for each in bodies] == [f"n{number}" for number in range(15)]


def test_what_is_no_delivery_stays_and_is_counted(stack: Stack, cli: Cli) -> None:
    put(stack, "DeliveriesDlqUrl", "{}", reason="not a delivery")
    put(stack, "DeliveriesDlqUrl", delivery().message)
    code, said = cli.redrive("deliveries")
    assert code == 1
    assert said.startswith("1 put back, 1 left. ")
    assert "not a delivery: field notification_id: " in said
    assert [Delivery.model_validate(each) for each in stack.delivered()] == [delivery()]
    assert visible(stack, "DeliveriesDlqUrl") == 1


def test_what_the_queue_refuses_stays(stack: Stack, cli: Cli) -> None:
    put(stack, "DeliveriesDlqUrl", delivery().message)
    Faults(cli.deployed.client("sqs")).refuse("SendMessage", "RequestThrottled")
    code, said = cli.redrive("deliveries")
    assert code == 1
    assert said.startswith("0 put back, 1 left. ")
    assert "RequestThrottled" in said
    assert visible(stack, "DeliveriesDlqUrl") == 1


def test_if_the_answer_is_no_nothing_changes(stack: Stack, cli: Cli) -> None:
    put(stack, "DeliveriesDlqUrl", delivery().message)
    code, out, err = cli("redrive", "deliveries", says="n\n")
    assert code == 1
    assert "Put back about 1 dead letter of deliveries" in out
    assert "Aborted" in err
    assert (stack.delivered(), visible(stack, "DeliveriesDlqUrl")) == ([], 1)


def test_if_the_answer_is_yes_they_go_back(stack: Stack, cli: Cli) -> None:
    put(stack, "DeliveriesDlqUrl", delivery().message)
    code, out, _ = cli("redrive", "deliveries", says="y\n")
    assert code == 0
    assert "1 put back, 0 left." in out
    assert len(stack.delivered()) == 1


def test_no_more_are_put_back_than_asked_for(stack: Stack, cli: Cli) -> None:
    for number in range(4):
        put(stack, "DeliveriesDlqUrl", delivery(notification_id=f"n{number}").message)
    code, out, _ = cli("redrive", "deliveries", "--yes", "--limit", "3")
    assert (code, out.strip()) == (0, "3 put back, 0 left.")
    assert (len(stack.delivered()), visible(stack, "DeliveriesDlqUrl")) == (3, 1)


def test_letters_of_one_receiver_are_put_back_in_order(stack: Stack, cli: Cli) -> None:
    """Also if they are more than one portion: the first ones have to leave before others show."""
    for number in range(25):
        put(stack, "DeliveriesDlqUrl", delivery(notification_id=f"n{number}").message)
        put(stack, "DeliveriesDlqUrl", delivery("two", notification_id=f"t{number}").message)
    assert cli.redrive("deliveries") == (0, "50 put back, 0 left.")
    ids = [each["notification_id"] for each in stack.delivered()]
    for mark in "nt":
        assert [each for each in ids if each[0] == mark] == [f"{mark}{n}" for n in range(25)]


# --- redrive: fan-outs of large trainings ---------------------------------------------------------


def fan_outs() -> list[FanOut]:
    """The end of a training, one for each segment."""
    announcement = Announcement(
        training=training(),
        run="7",
        began_at=NOW,
        created_at=NOW,
        notices=(Notice(kind=NotificationType.TRAINING_FINISHED, source="17"),),
        to_actor=True,
    )
    return FanOut.of_all(announcement, "17", {"SequenceNumber": "17"})


def test_a_segment_is_listed_with_what_it_is_about(stack: Stack, cli: Cli) -> None:
    put(stack, "FanOutsDlqUrl", fan_outs()[3].model_dump_json())
    letter = cli.letter()
    assert letter["queue"] == "fan-outs"
    assert letter["why"] == "FanOut has failed at it for hours; its log says why"
    assert letter["about"] == {
        "training_uuid": TRAINING_UUID,
        "state": "ONGOING",
        "round": 3,
        "fan_out": "17",
        "segment": 3,
    }


def test_segments_go_back_with_their_groups_and_are_not_dropped_as_repeats(
    stack: Stack, cli: Cli
) -> None:
    """The queue has seen their ids less than five minutes ago."""
    url, made = stack.output("FanOutsQueueUrl"), fan_outs()[:2]
    FanOutQueue(stack.sqs, url).send(made)
    assert len(stack.messages(url)) == 2
    for each in made:
        put(stack, "FanOutsDlqUrl", each.model_dump_json())
    assert cli.redrive("fan-outs") == (0, "2 put back, 0 left.")
    back = stack.messages(url)
    assert {each["attributes"]["MessageGroupId"]: each["body"] for each in back} == {
        each.group: each.model_dump_json() for each in made
    }
    assert cli.letters() == []


# --- redrive: changes -----------------------------------------------------------------------------


type Steps = Callable[[TrainingRepository], object]
MEANWHILE: dict[str, tuple[Steps, list[str]]] = {
    # what the server does after the mending, what the mended one is told
    "nothing": (lambda _server: None, START),
    "the next round": (lambda server: server.next_round(TRAINING_UUID), [*START, START[1]]),
    "the end": (lambda server: server.finish(TRAINING_UUID), [*START, "TRAINING_FINISHED"]),
}


@pytest.mark.parametrize("meanwhile", MEANWHILE)
def test_a_participant_is_told_what_it_missed_when_it_is_mended_and_its_letter_adds_nothing(
    stack: Stack,
    cli: Cli,
    build: Function,
    deliver: Function,
    initial: TrainingRepository,
    meanwhile: str,
) -> None:
    steps, expected = MEANWHILE[meanwhile]
    receivers = Accepting()
    stack.put(BAD)
    process(stack, build)
    initial.start(TRAINING_UUID)
    process(stack, build)
    deliver_all(stack, deliver, receivers)
    stack.put(MENDED)
    process(stack, build)
    deliver_all(stack, deliver, receivers)
    steps(initial)
    process(stack, build)
    deliver_all(stack, deliver, receivers)
    assert receivers.kinds("bad") == expected
    posted = list(receivers.posts)

    assert cli.redrive("stream") == (0, "2 put back, 0 left.")
    deliver_all(stack, deliver, receivers)
    assert receivers.posts == posted
    assert cli.letters() == []


def test_a_participant_that_is_mended_after_it_joined_is_told_the_start_once(
    stack: Stack, cli: Cli, build: Function, initial: TrainingRepository
) -> None:
    faults = Faults(build.app.clients.sqs)
    initial.start(TRAINING_UUID)
    stack.put(BAD)
    process(stack, build)
    told(stack)
    stack.put(MENDED)
    process(stack, build)
    assert told(stack) == [("bad", START[0], None), ("bad", START[1], 0)]
    before = set(enqueued(faults))
    assert cli.redrive("stream") == (0, "2 put back, 0 left.")
    assert set(enqueued(faults)) == before


def test_a_participant_that_is_gone_has_nothing_to_be_told(
    stack: Stack, cli: Cli, build: Function, initial: TrainingRepository
) -> None:
    initial.start(TRAINING_UUID)
    process(stack, build)
    told(stack)
    stack.put(BAD)
    process(stack, build)
    stack.dynamodb.delete_item(
        TableName=stack.trainings_table,
        Key={key: BAD[key] for key in ("training_uuid", "entity")},
    )
    code, said = cli.redrive("stream")
    assert code == 1
    assert "the item is gone: there is nothing to tell any more" in said
    assert cli.functions.events == []


MOVED_ON: dict[str, tuple[Steps, list[tuple[str, int]]]] = {
    "nothing": (lambda _server: None, []),
    "the next round": (lambda server: server.next_round(TRAINING_UUID), [(START[1], 1)]),
}


@pytest.mark.parametrize("meanwhile", MOVED_ON)
def test_a_training_whose_start_was_unreadable_is_announced_once_when_it_is_mended(
    stack: Stack, cli: Cli, build: Function, initial: TrainingRepository, meanwhile: str
) -> None:
    steps, told_meanwhile = MOVED_ON[meanwhile]
    faults = Faults(build.app.clients.sqs)
    rewrite(stack, model_uuid="wrong")
    initial.start(TRAINING_UUID)
    process(stack, build)
    assert told(stack) == []
    rewrite(stack, model_uuid=MODEL_UUID)
    process(stack, build)
    steps(initial)
    process(stack, build)
    assert Counter(told(stack)) == Counter(
        (name, *each)
        for each in [(START[0], None), (START[1], 0), *told_meanwhile]
        for name in ("one", "two")
    )
    before = set(enqueued(faults))
    assert cli.redrive("stream") == (0, "1 put back, 0 left.")
    assert set(enqueued(faults)) == before
    assert cli.letters() == []


def test_a_record_that_failed_too_often_is_put_back_as_it_is(
    stack: Stack, cli: Cli, build: Function, initial: TrainingRepository
) -> None:
    initial.start(TRAINING_UUID)
    process(stack, build)
    told(stack)
    initial.remove_participant(TRAINING_UUID, ONE.uuid)
    (record,) = stack.changes()["Records"]
    build.app.batches.dead_letters.given_up(record, "failed for five minutes: Error")
    assert cli.redrive("stream") == (0, "1 put back, 0 left.")
    assert told(stack) == [("one", "CLIENT_REMOVED", None)]


def test_a_round_that_was_unreadable_and_is_mended_is_announced_once(
    stack: Stack, cli: Cli, build: Function, initial: TrainingRepository
) -> None:
    """The change that mends it announces it, as there was no progress before; its letter then not.

    That letter's record has a sequence number, and so ids, of its own.
    """
    initial.start(TRAINING_UUID)
    process(stack, build)
    told(stack)
    rewrite(stack, round="one")
    process(stack, build)
    assert told(stack) == []
    rewrite(stack, round=1)
    process(stack, build)
    announced = [each for each in told(stack) if each[1] == "UPDATE_ROUND_START"]
    assert Counter(announced) == {(n, "UPDATE_ROUND_START", 1): 1 for n in ("one", "two")}
    assert cli.redrive("stream") == (0, "1 put back, 0 left.")
    assert told(stack) == []
    assert cli.letters() == []


def unreadable_training(stack: Stack, build: Function) -> None:
    rewrite(stack, model_uuid="wrong", round=1)
    process(stack, build)


def unreadable_in_the_fan_out(stack: Stack, build: Function) -> None:
    stack.put(BAD)
    stack.changes()
    rewrite(stack, round=1)
    process(stack, build)


def unreadable_as_it_joins(stack: Stack, build: Function) -> None:
    stack.put(BAD)
    process(stack, build)


def unreadable_as_it_leaves(stack: Stack, build: Function) -> None:
    stack.put(BAD)
    stack.changes()
    stack.dynamodb.delete_item(
        TableName=stack.trainings_table,
        Key={key: BAD[key] for key in ("training_uuid", "entity")},
    )
    process(stack, build)


@pytest.mark.parametrize(
    ("happens", "why"),
    [
        (unreadable_training, "not mended yet: item 'TRAINING' of training"),
        (unreadable_in_the_fan_out, "not mended yet: item 'PARTICIPANT#"),
        (unreadable_as_it_joins, "not mended yet: item 'PARTICIPANT#"),
        (unreadable_as_it_leaves, "the item is gone, nobody can mend it: item 'PARTICIPANT#"),
    ],
)
def test_what_is_not_mended_stays_with_the_reason(
    stack: Stack,
    cli: Cli,
    build: Function,
    initial: TrainingRepository,
    happens: Callable[[Stack, Function], None],
    why: str,
) -> None:
    initial.start(TRAINING_UUID)
    process(stack, build)
    told(stack)
    happens(stack, build)
    told(stack)
    letter = cli.letter()
    code, said = cli.redrive("stream")
    assert code == 1
    assert said.startswith("0 put back, 1 left. ")
    assert why in said
    assert cli.functions.events == []
    assert cli.letter() == letter


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"FunctionError": "Unhandled", "Payload": BytesIO(b"{}")}, "BuildNotifications failed"),
        ({"Payload": BytesIO(b"")}, "BuildNotifications failed"),
        (
            {"Payload": BytesIO(b'{"batchItemFailures": [{"itemIdentifier": "1"}]}')},
            "BuildNotifications did not finish it",
        ),
    ],
)
def test_if_the_function_fails_the_letter_stays_and_is_seen_again(
    stack: Stack,
    cli: Cli,
    build: Function,
    initial: TrainingRepository,
    answer: dict[str, Any],
    why: str,
) -> None:
    initial.start(TRAINING_UUID)
    process(stack, build)
    told(stack)
    unreadable_training(stack, build)
    rewrite(stack, model_uuid=MODEL_UUID)
    cli.functions.answer = answer
    code, said = cli.redrive("stream")
    assert code == 1
    assert why in said
    assert visible(stack, "StreamDlqUrl") == 1


# --- redrive: batches that Lambda gave up ---------------------------------------------------------


def test_all_records_of_a_batch_are_processed_whatever_lies_between(
    stack: Stack, cli: Cli, server: TrainingRepository
) -> None:
    """Pages come empty, other records lie between the first and the last, and more after it."""
    server.create(TRAINING_UUID, MODEL_UUID, ACTOR, [ONE, TWO])
    server.create(OTHER_UUID, MODEL_UUID, ACTOR, [ONE])
    stack.changes()
    server.start(TRAINING_UUID)
    for number in range(7):
        stack.put(training_item(training_uuid=OTHER_UUID, state="INITIAL", round=number))
    server.next_round(TRAINING_UUID)
    records = stack.changes()["Records"]
    server.next_round(TRAINING_UUID)
    put(stack, "StreamDlqUrl", batch_letter(stack, records))
    assert cli.redrive("stream") == (0, "1 put back, 0 left.")
    numbers = [
        each["dynamodb"]["SequenceNumber"]
        for event in cli.functions.events
        for each in event["Records"]
    ]
    expected = range(int(records[0]["dynamodb"]["SequenceNumber"]), int(numbers[-1]) + 1)
    assert [int(each) for each in numbers] == list(expected)
    assert numbers[-1] == records[-1]["dynamodb"]["SequenceNumber"]
    assert all(len(each["Records"]) <= redriving.PORTION for each in cli.functions.events)
    # All by the same letter: a fan-out goes on in the next redrive, and not in the stream's.
    letters = {each[REDRIVEN_AS] for event in cli.functions.events for each in event["Records"]}
    assert len(letters) == 1
    assert Counter(told(stack)) == Counter(
        (name, kind, number)
        for name in ("one", "two")
        for kind, number in [(START[0], None), (START[1], 0), (START[1], 1)]
    )


def test_a_batch_has_the_ids_that_it_would_have_had(
    stack: Stack, cli: Cli, build: Function, initial: TrainingRepository
) -> None:
    faults = Faults(build.app.clients.sqs)
    initial.start(TRAINING_UUID)
    rewrite(stack, notes=b"binary", more={b"a", b"b"})
    initial.next_round(TRAINING_UUID)
    event = stack.changes()
    build(event)
    before = set(enqueued(faults))
    put(stack, "StreamDlqUrl", batch_letter(stack, event["Records"]))
    assert cli.redrive("stream") == (0, "1 put back, 0 left.")
    assert set(enqueued(faults)) == before
    assert len(before) == 6


def test_whom_dynamodb_deleted_as_expired_is_not_told_by_a_batch_either(
    stack: Stack, cli: Cli, build: Function, initial: TrainingRepository
) -> None:
    """The API of streams spells who did it otherwise than Lambda."""
    who = {"PrincipalId": "dynamodb.amazonaws.com", "Type": "Service"}
    cli.streams.change = lambda record: {**record, "userIdentity": who}
    initial.start(TRAINING_UUID)
    process(stack, build)
    told(stack)
    initial.remove_participant(TRAINING_UUID, ONE.uuid)
    put(stack, "StreamDlqUrl", batch_letter(stack, stack.changes()["Records"]))
    assert cli.redrive("stream") == (0, "1 put back, 0 left.")
    assert len(cli.functions.events) == 1
    assert told(stack) == []


@pytest.mark.parametrize(
    ("streams", "why"),
    [
        ({"error": STREAM_GONE}, "the stream has the records no longer"),
        ({"ends": True}, "the stream does not have all of the records"),
    ],
)
def test_a_batch_that_the_stream_has_no_longer_stays(
    stack: Stack, cli: Cli, initial: TrainingRepository, streams: dict[str, Any], why: str
) -> None:
    initial.start(TRAINING_UUID)
    initial.next_round(TRAINING_UUID)
    put(stack, "StreamDlqUrl", batch_letter(stack, stack.changes()["Records"]))
    for name, value in streams.items():
        setattr(cli.streams, name, value)
    code, said = cli.redrive("stream")
    assert code == 1
    assert why in said
    assert cli.functions.events == []
    assert visible(stack, "StreamDlqUrl") == 1


# --- redrive: outcomes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [event(), given_up("RetriesExhausted", event())], ids=["the rule's", "Lambda's"]
)
def test_outcomes_go_back_onto_the_bus_and_to_their_callback(
    stack: Stack, cli: Cli, body: dict[str, Any]
) -> None:
    put(stack, "CallbacksDlqUrl", json.dumps(body))
    assert cli.redrive("callbacks") == (0, "1 put back, 0 left.")
    (again,) = stack.outcomes("CallbackFailure")
    assert (again["source"], again["detail-type"]) == (SOURCE, "Notification Failed")
    assert again["detail"] == event()["detail"]
    assert cli.letters() == []


def test_an_outcome_of_an_older_version_goes_back_without_the_keys_that_it_has_not(
    stack: Stack, cli: Cli
) -> None:
    """A key that is null is another thing than one that is not there."""
    old = event()
    old["detail"] = {k: v for k, v in old["detail"].items() if k not in {"joined_at", "run"}}
    put(stack, "CallbacksDlqUrl", json.dumps(old))
    assert cli.redrive("callbacks") == (0, "1 put back, 0 left.")
    (again,) = stack.outcomes("CallbackFailure")
    assert again["detail"] == old["detail"]


def test_a_change_goes_back_onto_the_bus_and_to_its_callback(stack: Stack, cli: Cli) -> None:
    put(stack, "CallbacksDlqUrl", json.dumps(change()))
    assert cli.letter()["about"]["outcome"] == "Participant Removed"
    assert cli.redrive("callbacks") == (0, "1 put back, 0 left.")
    (again,) = stack.outcomes("CallbackFailure")
    assert (again["source"], again["detail-type"]) == (SOURCE, "Participant Removed")
    assert again["detail"] == change()["detail"]


@pytest.mark.parametrize(
    ("letter", "why"),
    [
        (change(sequence=None), "no change: field sequence: "),
        (change("Training Paused"), "no outcome: field detail-type: "),
    ],
)
def test_a_change_that_cannot_be_read_stays(
    stack: Stack, cli: Cli, letter: dict[str, Any], why: str
) -> None:
    put(stack, "CallbacksDlqUrl", json.dumps(letter))
    code, said = cli.redrive("callbacks")
    assert code == 1
    assert why in said


def test_what_is_no_outcome_stays_and_is_counted(stack: Stack, cli: Cli) -> None:
    put(stack, "CallbacksDlqUrl", json.dumps(event(attempts=-1)))
    put(stack, "CallbacksDlqUrl", json.dumps(event()))
    code, said = cli.redrive("callbacks")
    assert code == 1
    assert said.startswith("1 put back, 1 left. ")
    assert "no outcome: field detail.attempts: " in said
    assert len(stack.outcomes()) == 1
    assert visible(stack, "CallbacksDlqUrl") == 1


def test_what_the_bus_does_not_take_stays(
    stack: Stack, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(stack, "CallbacksDlqUrl", json.dumps(event()))
    answer = {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "ThrottlingException"}]}
    monkeypatch.setattr(stack.events, "put_events", lambda **_request: answer)
    code, said = cli.redrive("callbacks")
    assert code == 1
    assert "the event bus did not take it: ThrottlingException" in said
    assert visible(stack, "CallbacksDlqUrl") == 1


# --- secret ---------------------------------------------------------------------------------------


def test_a_receivers_secret_is_what_its_notifications_are_signed_with(
    stack: Stack, cli: Cli
) -> None:
    arn = stack.output("SigningSecretArn")
    master = stack.secrets.get_secret_value(SecretId=arn)["SecretString"]
    code, out, _ = cli("secret", ONE.uuid.upper())
    assert (code, out) == (0, receiver_secret(master, ONE.uuid) + "\n")
    assert cli("secret", TWO.uuid)[1] != out


def test_after_a_rotation_there_is_a_previous_secret(stack: Stack, cli: Cli) -> None:
    arn = stack.output("SigningSecretArn")
    before = stack.secrets.get_secret_value(SecretId=arn)["SecretString"]
    after = f"{before}-rotated"
    stack.secrets.put_secret_value(SecretId=arn, SecretString=after)
    try:
        assert cli("secret", ONE.uuid)[1].strip() == receiver_secret(after, ONE.uuid)
        code, out, _ = cli("secret", ONE.uuid, "--previous")
        assert (code, out.strip()) == (0, receiver_secret(before, ONE.uuid))
    finally:
        # The stack is used again, and a previous secret would sign as well.
        stack.has_lost_something = True


def test_without_a_rotation_there_is_no_previous_secret(cli: Cli) -> None:
    code, out, err = cli("secret", ONE.uuid, "--previous")
    assert (code, out) == (1, "")
    assert "the signing secret (AWSPREVIOUS)" in err


def test_what_is_no_uuid_is_refused(cli: Cli) -> None:
    code, out, err = cli("secret", "one")
    assert (code, out) == (2, "")
    assert "valid uuid" in err.lower()

"""`send` from plain Python, without a stream: how a program sends a notification of its own."""

from collections.abc import Iterator
from typing import Any

import pytest

from fl_notifications.aws.batches import NotReadError
from fl_notifications.deliveries.queue import (
    MAX_MESSAGE_BYTES,
    QUEUE_VARIABLE,
    DeliveryQueue,
    MessageTooLargeError,
    NotEnqueuedError,
    queue_from_environment,
)
from fl_notifications.notifications.notification import (
    TrainingFinishedNotification,
    TrainingRoundStartNotification,
)
from fl_notifications.outcomes.ledger import Ledger, LedgerEntry
from fl_notifications.outcomes.outcome import OutcomeKind
from fl_notifications.server.tell_again import TellAgain
from fl_notifications_cli.participants import ParticipantServer, flaky
from tests.integration.faults import Faults
from tests.integration.handlers import Function
from tests.integration.stack import Stack
from tests.log_lines import steps
from tests.made import (
    ACTOR,
    NOW,
    TRAINING_UUID,
    participant,
    participant_item,
    training,
    training_item,
    uuid_of,
)

ONE, TWO = participant("one"), participant("two")


@pytest.fixture
def _environment(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a program that is told the queue by its environment."""
    monkeypatch.setenv(QUEUE_VARIABLE, stack.output("DeliveriesQueueUrl"))
    queue_from_environment.cache_clear()
    yield
    queue_from_environment.cache_clear()


@pytest.fixture
def queue(stack: Stack) -> DeliveryQueue:
    return DeliveryQueue(stack.sqs, stack.output("DeliveriesQueueUrl"))


@pytest.mark.usefixtures("_environment")
def test_the_queue_is_found_in_the_environment(stack: Stack) -> None:
    told = TrainingRoundStartNotification.from_training(training(), [ONE, TWO])
    assert len(told.send()) == 2
    assert [each["receiver"]["uuid"] for each in stack.delivered()] == [ONE.uuid, TWO.uuid]


def test_a_queue_can_be_passed_in(stack: Stack, queue: DeliveryQueue) -> None:
    told = TrainingFinishedNotification.from_training(training(), [ONE])
    assert len(told.send("mine", queue=queue)) == 2
    messages = stack.delivered()
    assert [each["receiver"]["uuid"] for each in messages] == [ONE.uuid, ACTOR.uuid]
    assert {each["callback_success"] for each in messages} == {"mine"}


def test_sending_twice_is_two_notifications_to_the_queue_too(
    stack: Stack, queue: DeliveryQueue
) -> None:
    told = TrainingRoundStartNotification.from_training(training(), [ONE])
    told.send(queue=queue)
    told.send(queue=queue)
    assert len(stack.delivered()) == 2


def test_what_a_program_sends_is_in_the_log_from_its_building_on(
    stack: Stack, queue: DeliveryQueue, deliver: Function
) -> None:
    """Once, however many attempts it takes."""
    with ParticipantServer() as server:
        one = server.add(flaky(1))
        receiver = participant("one", message_endpoint=one.message_endpoint)
        TrainingRoundStartNotification.from_training(training(), [receiver]).send(queue=queue)
        batch = stack.receive()
        stack.settle(batch, deliver(batch))
        queue.change_visibility([(each["receiptHandle"], 0) for each in batch["Records"]])
        deliver(stack.receive())

    assert [line["step"] for line in steps(deliver.lines)] == [
        "built",
        "attempted",
        "attempted",
        "concluded",
    ]


@pytest.mark.parametrize("mailbox", [False, True])
def test_what_is_told_again_is_in_the_log_with_how_it_came_to_be(
    stack: Stack, queue: DeliveryQueue, deliver: Function, *, mailbox: bool
) -> None:
    with ParticipantServer() as server:
        endpoint = "mailbox:" if mailbox else server.add().message_endpoint
        stack.put(training_item(), participant_item("one", message_endpoint=endpoint))
        again = TellAgain(stack.dynamodb, stack.trainings_table, stack.ledger_table, queue)
        again.tell(TRAINING_UUID, uuid_of("one"))
        for _ in range(2):
            deliver(stack.receive())

    told = [(line["notification_type"], line["reason"]) for line in built(deliver)]
    assert told == [("TRAINING_START", "told again"), ("UPDATE_ROUND_START", "told again")]


def built(deliver: Function) -> list[dict[str, Any]]:
    return [line for line in steps(deliver.lines) if line["step"] == "built"]


def test_what_is_superseded_when_it_is_told_again_is_in_the_log_too(
    stack: Stack, queue: DeliveryQueue, deliver: Function
) -> None:
    stack.put(training_item(), participant_item("one", message_endpoint="mailbox:"))
    again = TellAgain(stack.dynamodb, stack.trainings_table, stack.ledger_table, queue)
    again.tell(TRAINING_UUID, uuid_of("one"))
    stack.put(training_item(round=4))

    for _ in range(2):
        deliver(stack.receive())

    told = [line["step"] for line in steps(deliver.lines)]
    assert told == ["built", "deposited", "built", "concluded"]


def test_to_nobody_is_no_error(stack: Stack, queue: DeliveryQueue) -> None:
    assert not TrainingRoundStartNotification.from_training(training(), []).send(queue=queue)
    assert stack.delivered() == []


def test_what_the_queue_never_takes_is_an_error_that_says_how_many(
    stack: Stack, queue: DeliveryQueue
) -> None:
    faults = Faults(stack.sqs)
    faults.leave_undone("SendMessageBatch", lambda entry: TWO.uuid in entry["MessageGroupId"])
    told = TrainingRoundStartNotification.from_training(training(), [ONE, TWO])
    with pytest.raises(NotEnqueuedError, match="refused 1 of 2 messages: InternalError"):
        told.send(queue=queue)


# --- by bytes -------------------------------------------------------------------------------------


class Accepting:
    """A client of a queue that takes what SQS takes."""

    def __init__(self) -> None:
        self.calls: list[list[Any]] = []

    def send_message_batch(self, *, QueueUrl: str, Entries: list[Any]) -> dict[str, Any]:  # noqa: N803
        del QueueUrl
        assert len(Entries) <= 10
        assert sum(len(each["MessageBody"].encode()) for each in Entries) <= MAX_MESSAGE_BYTES
        self.calls.append(Entries)
        return {"Successful": [{"Id": each["Id"]} for each in Entries]}


def made(count: int, size: int) -> Iterator[Any]:
    told = TrainingRoundStartNotification.from_training(
        training(), [participant(f"p{number}") for number in range(count)]
    )
    for each in told.deliveries(source="1", created_at=NOW):
        yield each.model_copy(update={"content": {"data": "x" * size}})


def test_ten_large_messages_go_in_as_many_calls_as_their_bytes_need() -> None:
    client = Accepting()
    assert DeliveryQueue(client, "").send(made(10, 120 * 1024)) == 10  # type: ignore[arg-type]
    assert [len(call) for call in client.calls] == [8, 2]


def test_one_that_is_too_large_is_named_with_its_receiver() -> None:
    client = Accepting()
    (large,) = made(1, 1024 * 1024)
    with pytest.raises(MessageTooLargeError, match=f"receiver {large.receiver.uuid}: .* takes"):
        DeliveryQueue(client, "").send([large])  # type: ignore[arg-type]
    assert client.calls == []


# --- what becomes of them -------------------------------------------------------------------------


def test_what_became_of_them_is_read_from_the_ledger(stack: Stack, queue: DeliveryQueue) -> None:
    ledger = Ledger(stack.dynamodb, stack.ledger_table)
    told = TrainingRoundStartNotification.from_training(training(), [ONE, TWO])
    sent = told.send(queue=queue, ledger=ledger)
    (first, _) = made(2, 1)
    entry = LedgerEntry(1, OutcomeKind.ACCEPTED, 200, None, NOW)
    ledger.record([(first.model_copy(update={"notification_id": sent.ids[ONE.uuid]}), entry)])
    found = {uuid: each.outcome for uuid, each in sent.outcomes().items()}
    assert found == {ONE.uuid: "accepted", TWO.uuid: "pending"}


def test_many_are_read_a_hundred_at_a_time_and_what_is_left_out_again(stack: Stack) -> None:
    faults = Faults(stack.dynamodb)
    ids = [uuid_of(f"n{number}") for number in range(150)]
    faults.leave_undone("BatchGetItem", lambda key: key["notification_id"]["S"] == ids[0], times=2)
    assert Ledger(stack.dynamodb, stack.ledger_table).entries(ids) == {}
    keys = [
        len(c["RequestItems"][stack.ledger_table]["Keys"]) for c in faults.calls["BatchGetItem"]
    ]
    assert keys == [100, 1, 1, 50]


def test_a_ledger_that_never_answers_is_an_error(stack: Stack) -> None:
    Faults(stack.dynamodb).leave_undone("BatchGetItem", lambda _key: True)
    with pytest.raises(NotReadError, match="left 1 keys unread"):
        Ledger(stack.dynamodb, stack.ledger_table).entries(["n1"])

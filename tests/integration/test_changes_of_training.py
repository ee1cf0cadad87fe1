"""What a change of a training leads to, counted: nothing twice, and nobody waits for others."""

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from fl_notifications.deliveries.delivery import DeliveryReceiver
from fl_notifications.deliveries.post import Answer, Responded
from fl_notifications.deliveries.queue import DeliveryQueue
from fl_notifications.server.repository import TrainingRepository
from tests.integration.faults import Faults
from tests.integration.handlers import Function, with_poster
from tests.integration.stack import Stack
from tests.made import (
    ACTOR,
    MODEL_UUID,
    TRAINING_UUID,
    delivery,
    item,
    participant,
    participant_item,
    training_item,
    uuid_of,
)

ONE, TWO = participant("one"), participant("two")
NAMES = {uuid_of(name): name for name in ("one", "two", "late", "bad")}


def enqueued(faults: Faults) -> Counter[tuple[str, str, int | None]]:
    """Everything that was given to the queue, before it drops repeats: name, type and round."""
    entries = [e for call in faults.calls.get("SendMessageBatch", []) for e in call["Entries"]]
    bodies = [json.loads(each["MessageBody"]) for each in entries]
    return Counter(
        (NAMES[each["receiver"]["uuid"]], each["notification_type"], each["round"])
        for each in bodies
    )


def rewrite(stack: Stack, **values: Any) -> None:
    """Write the training again, with other values."""
    now = stack.item(TRAINING_UUID)
    assert now is not None
    stack.put(now | item(values))


@pytest.fixture
def initial(stack: Stack, server: TrainingRepository, build: Function) -> TrainingRepository:
    """A training that has not started; its participants have joined after its last update."""
    server.create(TRAINING_UUID, MODEL_UUID, ACTOR, [ONE, TWO])
    build(stack.changes())
    return server


def test_a_start_enqueues_one_start_and_one_round_for_each_participant(
    stack: Stack, build: Function, initial: TrainingRepository
) -> None:
    faults = Faults(build.app.clients.sqs)
    initial.start(TRAINING_UUID)
    build(stack.changes())
    assert enqueued(faults) == {
        (name, *each): 1
        for name in ("one", "two")
        for each in (("TRAINING_START", None), ("UPDATE_ROUND_START", 0))
    }


def test_who_joins_between_two_rounds_is_enqueued_its_start_before_its_first_round(
    stack: Stack, build: Function, initial: TrainingRepository
) -> None:
    """Only that one: for the others, the start is not enqueued once more."""
    initial.start(TRAINING_UUID)
    build(stack.changes())
    faults = Faults(build.app.clients.sqs)
    initial.add_participants(TRAINING_UUID, [participant("late")])
    initial.next_round(TRAINING_UUID)
    build(stack.changes())
    rounds = {(name, "UPDATE_ROUND_START", 1): 1 for name in ("one", "two", "late")}
    assert enqueued(faults) == {("late", "TRAINING_START", None): 1} | rounds
    late = [each for each in stack.delivered() if each["receiver"]["uuid"] == uuid_of("late")]
    assert [each["notification_type"] for each in late] == ["TRAINING_START", "UPDATE_ROUND_START"]


@pytest.mark.parametrize("batches", ["one by one", "all at once"])
def test_a_round_is_announced_once_although_options_were_wrong_and_are_put_right_again(
    stack: Stack, build: Function, initial: TrainingRepository, batches: str
) -> None:
    faults = Faults(build.app.clients.sqs)
    initial.start(TRAINING_UUID)
    for options in ("wrong", {"failure_policy": "never"}, {"failure_policy": "quorum"}):
        if batches == "one by one":
            build(stack.changes())
        rewrite(stack, options=options)
    build(stack.changes())
    rounds = {each: count for each, count in enqueued(faults).items() if "ROUND" in each[1]}
    assert rounds == {(name, "UPDATE_ROUND_START", 0): 1 for name in ("one", "two")}
    assert stack.messages(stack.output("StreamDlqUrl")) == []


def test_an_unreadable_participant_is_one_dead_letter_for_a_change_of_two_types(
    stack: Stack, build: Function, initial: TrainingRepository
) -> None:
    stack.put(participant_item("bad", message_endpoint=7))
    stack.changes()
    faults = Faults(build.app.clients.sqs)
    initial.start(TRAINING_UUID)
    build(stack.changes())
    assert len(enqueued(faults)) == 4
    assert len(stack.messages(stack.output("StreamDlqUrl"))) == 1
    initial.next_round(TRAINING_UUID)
    build(stack.changes())
    assert len(stack.messages(stack.output("StreamDlqUrl"))) == 1


SLOW_SECONDS = 1.2


@dataclass
class SlowAndBusy:
    """One receiver is slow to accept; the other says at once that it is busy for ten seconds."""

    accepted_at: float = 0.0

    def post(self, url: str, headers: Mapping[str, str], body: bytes, *, turn: int = 0) -> Answer:
        del headers, body, turn
        if "slow" in url:
            time.sleep(SLOW_SECONDS)
            self.accepted_at = time.monotonic()
            return Responded(200, None)
        return Responded(503, "10")


def test_a_wait_counts_from_the_answer_and_not_from_the_end_of_the_batch(
    stack: Stack, deliver: Function
) -> None:
    stack.put(training_item())
    queue = DeliveryQueue(stack.sqs, stack.output("DeliveriesQueueUrl"))
    for name in ("slow", "busy"):
        stack.put(participant_item(name))
        url = f"https://{name}.example/messages"
        receiver = DeliveryReceiver(uuid=uuid_of(name), message_endpoint=url)
        queue.send([delivery(name, receiver=receiver, notification_id=name)])
    faults = Faults(deliver.app.clients.sqs)
    event = stack.receive()
    receivers, told_at = SlowAndBusy(), list[float]()
    tell = "ChangeMessageVisibilityBatch"
    faults.once_answered(tell, lambda: told_at.append(time.monotonic()))
    result = with_poster(deliver, receivers).process(event, lambda: 30.0)
    assert len(result["batchItemFailures"]) == 1
    (call,) = faults.calls[tell]
    (entry,) = call["Entries"]
    assert entry["VisibilityTimeout"] == 10
    assert told_at[0] < receivers.accepted_at - SLOW_SECONDS / 2

"""`send` from plain Python, without a stream: how a program sends a notification of its own."""

from collections.abc import Iterator

import pytest

from fl_notifications.deliveries.queue import (
    QUEUE_VARIABLE,
    DeliveryQueue,
    NotEnqueuedError,
    queue_from_environment,
)
from fl_notifications.notifications.notification import (
    TrainingFinishedNotification,
    TrainingRoundStartNotification,
)
from tests.integration.faults import Faults
from tests.integration.stack import Stack
from tests.made import ACTOR, participant, training

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
    assert TrainingRoundStartNotification.from_training(training(), [ONE, TWO]).send() == 2
    assert [each["receiver"]["uuid"] for each in stack.delivered()] == [ONE.uuid, TWO.uuid]


def test_a_queue_can_be_passed_in(stack: Stack, queue: DeliveryQueue) -> None:
    told = TrainingFinishedNotification.from_training(training(), [ONE])
    assert told.send("mine", queue=queue) == 2
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


def test_to_nobody_is_no_error(stack: Stack, queue: DeliveryQueue) -> None:
    assert TrainingRoundStartNotification.from_training(training(), []).send(queue=queue) == 0
    assert stack.delivered() == []


def test_what_the_queue_never_takes_is_an_error_that_says_how_many(
    stack: Stack, queue: DeliveryQueue
) -> None:
    faults = Faults(stack.sqs)
    faults.leave_undone("SendMessageBatch", lambda entry: TWO.uuid in entry["MessageGroupId"])
    told = TrainingRoundStartNotification.from_training(training(), [ONE, TWO])
    with pytest.raises(NotEnqueuedError, match="refused 1 of 2 messages: InternalError"):
        told.send(queue=queue)

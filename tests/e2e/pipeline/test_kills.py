"""Functions are killed in the middle of their work: nothing is lost, and order is kept."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from fl_notifications_cli.local.stack import LocalStack
from fl_notifications_cli.participants import Participant, ParticipantServer, always
from fl_notifications_cli.stack import Stack
from tests.e2e.pipeline.kit import (
    PATIENCE,
    START,
    FlServer,
    TrainingItem,
    enqueued,
    eventually,
    expect,
    kill_workers,
    update,
    workers,
)

ENOUGH = 90.0
"""Seconds until a message is visible again (30 here), and all others have come behind it."""


def check_in_order(receiver: Participant, *labels: str) -> int:
    """Wait for the last of these, check that each came, in order; return how many came twice."""
    eventually(
        lambda: receiver.labels,
        lambda seen: labels[-1] in seen,
        f"{labels[-1]} to {receiver.name}",
        seconds=ENOUGH,
    )
    requests = receiver.requests
    seen: list[str] = []
    for request in requests:
        if not seen or seen[-1] != request.label:
            seen.append(request.label)
    assert seen == list(labels), f"what {receiver.name} has got"
    ids = {label: {each.webhook_id for each in requests if each.label == label} for label in labels}
    assert all(len(same) == 1 for same in ids.values()), "a repeat has the same webhook-id"
    return len(requests) - len(labels)


@dataclass
class Killed:
    """A training whose deliveries were under way when their function was killed."""

    training: TrainingItem
    receivers: list[Participant]


@pytest.fixture(scope="module", autouse=True)
def killed(local_stack: LocalStack, fl_server: FlServer) -> Iterator[Killed]:
    """Kill the delivery function; its batch comes back while other tests run."""
    with ParticipantServer() as server:
        slow = always(after_seconds=1)
        receivers = [server.add(slow, name=f"receiver {number}") for number in range(15)]
        training = fl_server.training(*receivers, state=None)
        fl_server.let_it_be_read()
        training.write("ONGOING")

        eventually(lambda: any(each.requests for each in receivers), bool, "the first request")
        # They answer a second after they were asked: the batch is under way.
        kill_workers(local_stack, "DeliverNotification")
        for each in receivers:
            each.behaviour = always()
        yield Killed(training, receivers)


def test_a_building_function_that_is_killed_loses_and_repeats_nothing(
    local_stack: LocalStack, stack: Stack, fl_server: FlServer, participants: ParticipantServer
) -> None:
    receivers = [participants.add(name=f"receiver {number}") for number in range(120)]
    training = fl_server.training(state=None)
    fl_server.join_all(training, receivers)
    fl_server.let_it_be_read()
    before = enqueued(stack)
    at_work = workers(local_stack, "BuildNotifications")

    training.write("ONGOING")
    deadline = time.monotonic() + PATIENCE
    while enqueued(stack) == before:
        assert time.monotonic() < deadline, "nothing was enqueued"
    for pid in at_work:
        os.kill(pid, signal.SIGKILL)
    assert enqueued(stack) < before + 2 * len(receivers), "it was killed too late"

    for each in receivers:
        expect(each, START, update(0))
    ids = Counter(request.webhook_id for each in receivers for request in each.requests)
    assert set(ids.values()) == {1}
    assert len(ids) == 2 * len(receivers)
    assert not at_work & workers(local_stack, "BuildNotifications")


def test_a_delivery_function_that_is_killed_loses_nothing(killed: Killed) -> None:
    repeats = [check_in_order(each, START, update(0)) for each in killed.receivers]
    assert 0 < sum(repeats) <= 10, "the batch that was under way, and nothing else, came again"

    killed.training.write("ONGOING", 1)
    for each in killed.receivers:
        check_in_order(each, START, update(0), update(1))

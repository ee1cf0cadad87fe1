"""`trace` and `status` on a stack with real deliveries: what they say is what the receivers saw."""

import json
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fl_notifications.server.repository import TrainingRepository
from fl_notifications.trainings.model import FailurePolicy, Receiver, TrainingOptions
from fl_notifications_cli.local.stack import LocalStack
from fl_notifications_cli.participants import (
    Answer,
    Participant,
    ParticipantServer,
    flaky,
    rejecting,
)
from fl_notifications_cli.stack import Stack
from tests.browser.chromium import BROWSER, DRIVER, chromium

pytestmark = pytest.mark.local("one of its participants goes down, which none behind RECEIVERS can")

WITHIN_SECONDS = 180


@dataclass(frozen=True)
class Traced:
    """A training that is over, and where the command runs.

    Args:
        training_uuid: The training.
        receivers: Those that saw something, by name.
        dead: The participant that nobody answers for from round 1 on.
        directory: Where the local stack is found from.
    """

    training_uuid: str
    receivers: dict[str, Participant]
    dead: Participant
    directory: Path

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run the console script."""
        return subprocess.run(
            [Path(sys.executable).parent / "fl-notifications", *arguments],
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def trace(self, *arguments: str) -> list[dict[str, Any]]:
        """What `trace --json` says."""
        done = self.run("trace", self.training_uuid, "--json", *arguments)
        assert done.returncode == 0, done.stderr
        steps: list[dict[str, Any]] = json.loads(done.stdout)
        return steps


@pytest.fixture(scope="module")
def traced(
    local_stack: LocalStack, stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Traced]:
    """A training of two rounds with a receiver of each kind, wholly told and concluded."""
    directory = tmp_path_factory.mktemp("checkout")
    (directory / ".local").symlink_to(local_stack.directory, target_is_directory=True)
    trainings = TrainingRepository(stack.client("dynamodb"), stack.output("TrainingsTable"))
    with ParticipantServer() as server, ParticipantServer() as closed:
        receivers = {
            "healthy": server.add(),
            "slow": server.add(lambda _request, _attempt: Answer(204, after_seconds=0.7)),
            "flaky": server.add(flaky(2)),
            "silent": server.add(flaky(1, status=None)),
            "rejecting": server.add(rejecting(1, status=410)),
            "actor": server.add(),
        }
        dead = closed.add()
        training_uuid = str(uuid.uuid4())
        actor = receivers["actor"]
        trainings.create(
            training_uuid,
            str(uuid.uuid4()),
            Receiver(uuid=actor.uuid, message_endpoint=actor.message_endpoint),
            [
                Receiver(uuid=each.uuid, message_endpoint=each.message_endpoint)
                for each in (*receivers.values(), dead)
                if each is not actor
            ],
            options=TrainingOptions(failure_policy=FailurePolicy.QUORUM),
        )
        made = Traced(training_uuid, receivers, dead, directory)
        trainings.start(training_uuid)
        wait_until_concluded(made, {("TRAINING_START", None): 6, ("UPDATE_ROUND_START", 0): 6})
        closed.close()
        trainings.next_round(training_uuid)
        wait_until_concluded(made, {("UPDATE_ROUND_START", 1): 6, ("CLIENT_REMOVED", None): 2})
        trainings.finish(training_uuid)
        wait_until_concluded(made, {("TRAINING_FINISHED", None): 5})
        yield made


def wait_until_concluded(traced: Traced, wanted: dict[tuple[str, int | None], int]) -> None:
    deadline = time.monotonic() + WITHIN_SECONDS
    while True:
        seen = Counter(
            (step["notification_type"], step["round"])
            for step in traced.trace()
            if step["step"] == "concluded"
        )
        if all(seen[name] >= count for name, count in wanted.items()):
            return
        if time.monotonic() > deadline:
            pytest.fail(f"wanted {wanted}, got {dict(seen)}")
        time.sleep(1)


def test_every_post_that_a_receiver_saw_is_there_and_nothing_else(traced: Traced) -> None:
    """With the right attempt and status, in the right order."""
    attempts: dict[str, list[tuple[str, int, int | None]]] = {}
    for step in traced.trace():
        if step["step"] == "attempted":
            attempts.setdefault(step["receiver_uuid"], []).append(
                (step["notification_id"], step["attempt"], step["status_code"])
            )
    for_nobody = [each for each in attempts[traced.dead.uuid] if each[2] is None]
    attempts[traced.dead.uuid] = [each for each in attempts[traced.dead.uuid] if each[2]]

    seen: dict[str, list[tuple[str, int, int | None]]] = {}
    for receiver in (*traced.receivers.values(), traced.dead):
        earlier: Counter[str] = Counter()
        for request, answer in receiver.exchanges:
            earlier[request.webhook_id] += 1
            seen.setdefault(receiver.uuid, []).append(
                (request.webhook_id, earlier[request.webhook_id], answer.status)
            )

    assert attempts == seen
    # Of round 1 and of the removal nobody saw anything: six attempts each.
    assert [attempt for _, attempt, _ in for_nobody] == [1, 2, 3, 4, 5, 6] * 2


def test_every_notification_is_concluded_once_and_as_expected(traced: Traced) -> None:
    outcomes: dict[str, Counter[str]] = {}
    for step in traced.trace():
        if step["step"] == "concluded":
            outcomes.setdefault(step["receiver_uuid"], Counter())[step["outcome"]] += 1
    names = {each.uuid: name for name, each in traced.receivers.items()} | {
        traced.dead.uuid: "dead"
    }

    assert {names[uuid_]: dict(counts) for uuid_, counts in outcomes.items()} == {
        "healthy": {"accepted": 4},
        "slow": {"accepted": 4},
        "flaky": {"accepted": 4},
        "silent": {"accepted": 4},
        "rejecting": {"accepted": 3, "rejected": 1},
        "actor": {"accepted": 1},
        "dead": {"accepted": 2, "failed": 2},
    }


def test_steps_are_in_the_order_of_time_and_life(traced: Traced) -> None:
    steps = traced.trace()
    life = ["built", "attempted", "concluded", "called back"]

    assert [step["at"] for step in steps] == sorted(step["at"] for step in steps)
    for notification in {step["notification_id"] for step in steps}:
        own = [step["step"] for step in steps if step["notification_id"] == notification]
        # A participant's insert may build TRAINING_START once more, and the queue drops it.
        order = [own[0], *(step for step in own[1:] if step in life[1:])]
        assert order == sorted(order, key=life.index)
        assert order[0] == "built"
        assert order.count("concluded") == 1


def test_the_tables_say_what_failed_and_why(traced: Traced) -> None:
    done = traced.run("trace", traced.training_uuid)
    [_, failures] = done.stdout.split("What failed")

    assert done.returncode == 0
    assert "connection refused, 6 attempts\n  then: participant removed\n" in failures
    assert "HTTP 410, 1 attempt\n  then: participant removed\n" in failures
    assert failures.count(traced.dead.uuid) == 2


def test_one_receiver_and_one_notification_can_be_asked_for(traced: Traced) -> None:
    flaky_ = traced.receivers["flaky"]
    chosen = flaky_.requests[-1].webhook_id

    assert {s["receiver_uuid"] for s in traced.trace("--receiver", flaky_.uuid)} == {flaky_.uuid}
    assert {s["notification_id"] for s in traced.trace("--notification", chosen)} == {chosen}
    assert traced.trace("--since", "1h") == traced.trace()


def test_a_wrong_uuid_is_an_error_with_advice(traced: Traced) -> None:
    unknown = str(uuid.uuid4())
    done = traced.run("trace", unknown)

    assert done.returncode == 1
    assert unknown in done.stderr
    assert "no such training" in done.stderr
    assert traced.run("trace", unknown, "--json").stdout == "[]\n"


def test_status_shows_what_happened(traced: Traced, stack: Stack) -> None:
    dead = stack.client("sqs").get_queue_attributes(
        QueueUrl=stack.output("CallbacksDlqUrl"), AttributeNames=["ApproximateNumberOfMessages"]
    )["Attributes"]["ApproximateNumberOfMessages"]  # other tests of the same stack put some there
    done = traced.run("status", "--json")
    said = json.loads(done.stdout)

    assert said["problems"] == []
    assert {queue["name"]: queue["waiting"] for queue in said["queues"]}["dead callbacks"] == int(
        dead
    )
    assert said["trainings"]["states"]["COMPLETED"] >= 1
    assert said["outcomes"]["recent"]["failed"] >= 2
    assert traced.run("status").stdout.startswith("Stack ")


@pytest.mark.skipif(not (BROWSER and DRIVER), reason="no Chromium with ChromeDriver here")
def test_the_page_shows_the_same(traced: Traced, tmp_path: Path) -> None:
    page = tmp_path / "trace.html"
    done = traced.run("trace", traced.training_uuid, "--html", str(page))

    assert done.returncode == 0, done.stderr
    with chromium(tmp_path / "profile") as browser:
        browser.open(page)
        tiles = browser.run("return [...document.querySelectorAll('.tile')].map(t => t.innerText)")
    assert [" ".join(tile.split()) for tile in tiles] == [
        "2 failed, 1 receiver",
        "1 rejected, 1 receiver",
        "0 undecided",
        "0 superseded",
        "22 accepted, 7 receivers",
    ]

"""A Django server of fl-demonstrator's shape on the real stack, with participants over HTTP."""

from tests.django_server.conftest import DATABASE, _tables, forget, setting  # sets Django up

# isort: split
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import call_command

from fl_notifications.server.django import queue
from fl_notifications.server.django.models import DesiredTraining
from fl_notifications.server.repository import TrainingRepository
from fl_notifications_cli.participants import Participant, ParticipantServer, rejecting
from fl_notifications_cli.stack import LOCAL_KEY, Stack
from tests.cloudformation import ROOT
from tests.django_server.core import clients, trainer
from tests.django_server.core.models import GlobalModel, Training, User
from tests.e2e.pipeline.kit import let_rules_settle

__all__ = ["_tables", "setting"]

TIMEOUT_SECONDS = 60


@pytest.fixture
def server(stack: Stack, setting: dict[str, Any]) -> Iterator[dict[str, Any]]:
    setting["TABLE"] = stack.output("TrainingsTable")
    clients.given["dynamodb"] = stack.client("dynamodb")
    yield setting
    clients.given.clear()


@pytest.fixture
def events_queue(stack: Stack) -> Iterator[str]:
    """The queue of this server's events; without its rule the bus can be deleted again."""
    events, sqs, bus = stack.client("events"), stack.client("sqs"), stack.output("OutcomesBus")
    name = f"server-{uuid4().hex[:8]}"
    url = queue.make(events, sqs, bus, name)
    let_rules_settle(stack)
    yield url
    events.remove_targets(Rule=name, EventBusName=bus, Ids=["1"])
    events.delete_rule(Name=name, EventBusName=bus)
    for made_url in sqs.list_queues(QueueNamePrefix=name)["QueueUrls"]:
        sqs.delete_queue(QueueUrl=made_url)


def user(participant: Participant) -> User:
    made: User = User.objects.create(
        pk=UUID(participant.uuid), message_endpoint=participant.message_endpoint
    )
    return made


def dead() -> User:
    """Somebody whose port is closed."""
    made: User = User.objects.create(message_endpoint="http://127.0.0.1:9/")
    return made


def made(actor: User, *who: User, **values: Any) -> Training:
    training: Training = Training.objects.create(
        model=GlobalModel.objects.create(), actor=actor, **values
    )
    training.participants.add(*who)
    return training


def until(what: str, condition: Callable[[], object]) -> None:
    end = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.2)


def told(participant: Participant, label: str) -> None:
    until(f"{label} to {participant.name}", lambda: label in participant.labels)


def state(training: Training) -> str:
    training.refresh_from_db()
    return str(training.state)


@pytest.mark.usefixtures("server")
def test_a_training_goes_on_without_who_rejects(
    stack: Stack, events_queue: str, participants: ParticipantServer
) -> None:
    one, two = participants.add(name="one"), participants.add(rejecting(1), name="two")
    actor = participants.add(name="actor")
    healthy, refusing = user(one), user(two)
    training = made(user(actor), healthy, refusing)
    sqs, url = stack.client("sqs"), events_queue
    trainer.start(training)
    told(two, "UPDATE_ROUND_START 0")
    trainer.upload(training, healthy)
    trainer.upload(training, refusing)
    told(one, "MODEL_TEST_ROUND 1")
    trainer.upload(training, healthy, "TEST")

    def removed() -> bool:
        queue.receive(sqs, url, wait_seconds=1)
        return list(training.participants.all()) == [healthy]

    until("the rejection comes back as an event", removed)
    told(one, "UPDATE_ROUND_START 1")
    trainer.upload(training, healthy)
    told(one, "MODEL_TEST_ROUND 2")
    trainer.upload(training, healthy, "TEST")
    assert state(training) == "C"
    told(actor, "TRAINING_FINISHED")
    told(one, "TRAINING_FINISHED")
    assert one.labels == [
        "TRAINING_START",
        "UPDATE_ROUND_START 0",
        "MODEL_TEST_ROUND 1",
        "UPDATE_ROUND_START 1",
        "MODEL_TEST_ROUND 2",
        "TRAINING_FINISHED",
    ]
    assert two.labels[-1] == "CLIENT_REMOVED"


def test_a_dead_client_ends_it_on_both_sides_even_if_dynamodb_was_away(
    stack: Stack, server: dict[str, Any], participants: ParticipantServer
) -> None:
    one, actor = participants.add(name="one"), participants.add(name="actor")
    training = made(user(actor), user(one), dead())
    away = {**_arguments(stack), "endpoint_url": "http://127.0.0.1:9"}
    server["DYNAMODB"] = away
    forget()
    trainer.start(training)
    assert DesiredTraining.objects.get().problem
    server["DYNAMODB"] = "tests.django_server.core.clients.dynamodb"
    forget()
    out = StringIO()
    call_command("fl_notifications", stdout=out)
    assert "ONGOING in round 0" in out.getvalue()
    told(one, "UPDATE_ROUND_START 0")

    def over() -> bool:
        call_command("fl_notifications", stdout=StringIO())
        return state(training) == "E"

    until("the end comes back", over)
    told(one, "TRAINING_ERROR")


def test_two_web_workers_at_once_lose_nobody(
    stack: Stack, server: dict[str, Any], participants: ParticipantServer
) -> None:
    users = [user(participants.add()) for _ in range(10)]
    training = made(user(participants.add()), users[0])
    trainer.start(training)
    environment = {
        **os.environ,
        "DJANGO_SERVER_DATABASE": str(DATABASE),
        "DJANGO_SERVER_TABLE": server["TABLE"],
        "DJANGO_SERVER_DYNAMODB": json.dumps(_arguments(stack)),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "shared"), str(ROOT / "cli")]),
    }
    command = [sys.executable, "-m", "tests.django_server.worker", str(training.pk)]
    workers = [
        subprocess.Popen([*command, *(str(each.pk) for each in some)], env=environment)
        for some in (users[1::2], users[2::2])
    ]
    assert [each.wait(TIMEOUT_SECONDS) for each in workers] == [0, 0]
    out = StringIO()
    call_command("fl_notifications", "--dry-run", stdout=out)
    assert out.getvalue() == ""
    trainings = TrainingRepository(stack.client("dynamodb"), server["TABLE"])
    found = {each.uuid for each in trainings.participants(str(training.pk))}
    assert found == {str(each.pk) for each in users}


def _arguments(stack: Stack) -> dict[str, Any]:
    """As a settings module would have them."""
    client = stack.client("dynamodb")
    own = {"aws_access_key_id": LOCAL_KEY, "aws_secret_access_key": LOCAL_KEY}
    return {
        "endpoint_url": client.meta.endpoint_url,
        "region_name": client.meta.region_name,
    } | (own if stack.local else {})

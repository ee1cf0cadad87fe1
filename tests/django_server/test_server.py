"""A server of fl-demonstrator's shape, on the app: what it saves and sends reaches the table."""

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import transaction
from django.utils import timezone

from fl_notifications.server.django import conf, queue
from fl_notifications.server.django.models import DesiredTraining
from fl_notifications.server.django.sending import SEND_IN_TRANSACTION
from fl_notifications.server.reference import TrainingRoundStartNotification
from fl_notifications.server.repository import TrainingRepository
from tests.django_server.conftest import forget
from tests.django_server.core import trainer
from tests.django_server.core.models import GlobalModel, Training, Upload, User
from tests.integration.faults import Faults, undo_all
from tests.integration.handlers import Function
from tests.integration.stack import Stack
from tests.made import item

pytestmark = pytest.mark.usefixtures("server")


def user(name: str) -> User:
    made: User = User.objects.create(message_endpoint=f"https://{name}.example/messages")
    return made


def made(*who: User, **values: Any) -> Training:
    """As the server's view makes one: in two steps, each committed."""
    training: Training = Training.objects.create(
        model=GlobalModel.objects.create(), actor=user("actor"), **values
    )
    training.participants.add(*who)
    return training


@pytest.fixture
def trainings(stack: Stack) -> TrainingRepository:
    return TrainingRepository(stack.dynamodb, stack.trainings_table)


def told(stack: Stack, build: Function, who: User) -> list[tuple[str, int | None]]:
    if (changes := stack.changes())["Records"]:
        build(changes)
    return [
        (each["notification_type"], each["round"])
        for each in stack.delivered()
        if each["receiver"]["uuid"] == str(who.pk)
    ]


def command(*arguments: str) -> str:
    out = StringIO()
    call_command("fl_notifications", *arguments, stdout=out, stderr=out)
    return out.getvalue()


def remove(stack: Stack, training: Training, who: User) -> None:
    """As the failure policy does: a participant has rejected."""
    entity = f"PARTICIPANT#{who.pk}"
    found = stack.item(str(training.pk), entity) or {}
    key = {"training_uuid": str(training.pk), "entity": entity}
    stack.dynamodb.delete_item(TableName=stack.trainings_table, Key=item(key))
    removed = {"reason": "answered 400", "joined_at": found["joined_at"]["S"]}
    stack.put(item({**key, "entity": f"REMOVED#{who.pk}", **removed}))


def state(training: Training) -> str:
    training.refresh_from_db()
    return str(training.state)


# --- a training's life ----------------------------------------------------------------------------


def test_the_rounds_of_the_reference_reach_everybody_in_its_own_order(
    stack: Stack, build: Function
) -> None:
    one, two = user("one"), user("two")
    training = made(one, two)
    trainer.start(training)
    for kind in ("UPDATE", "TEST", "UPDATE", "TEST"):
        for each in (one, two):
            trainer.upload(training, each, kind)
    assert state(training) == "C"
    assert told(stack, build, one) == [
        ("TRAINING_START", None),
        ("UPDATE_ROUND_START", 0),
        ("MODEL_TEST_ROUND", 1),
        ("UPDATE_ROUND_START", 1),
        ("MODEL_TEST_ROUND", 2),
        ("TRAINING_FINISHED", None),
    ]
    assert DesiredTraining.objects.get().problem == ""


def test_a_swag_round_lies_between(stack: Stack, build: Function) -> None:
    one = user("one")
    training = made(one, swag=True, rounds=1)
    trainer.start(training)
    for kind in ("UPDATE", "SWAG", "TEST"):
        trainer.upload(training, one, kind)
    assert told(stack, build, one) == [
        ("TRAINING_START", None),
        ("UPDATE_ROUND_START", 0),
        ("SWAG_ROUND_START", 1),
        ("MODEL_TEST_ROUND", 1),
        ("TRAINING_FINISHED", None),
    ]


def test_in_daisy_chaining_everybody_trains_a_model_of_somebody_else(
    stack: Stack, build: Function
) -> None:
    users = sorted((user(name) for name in ("one", "two", "three")), key=lambda each: each.pk)
    training = made(*users, daisy_chain=True)
    trainer.start(training)
    for kind in ("UPDATE", "TEST"):
        for each in users:
            trainer.upload(training, each, kind)
    build(stack.changes())
    models = {
        each["receiver"]["uuid"]: each["content"]["body"]["global_model_uuid"]
        for each in stack.delivered()
        if (each["notification_type"], each["round"]) == ("UPDATE_ROUND_START", 1)
    }
    owners = {str(u.model_uuid): str(u.owner_id) for u in Upload.objects.filter(kind="UPDATE")}
    first, second, third = (str(each.pk) for each in users)
    assert {uuid: owners[model] for uuid, model in models.items()} == {
        first: second,
        second: third,
        third: first,
    }


def test_a_chain_whose_rest_never_comes_goes_on_after_a_minute(
    stack: Stack, build: Function
) -> None:
    one, two = user("one"), user("two")
    training = made(one, two)
    trainer.start(training)
    told(stack, build, one)
    body = TrainingRoundStartNotification.Body(1, uuid4())
    trainer.announce(TrainingRoundStartNotification([one], body, training.pk))
    command()
    assert told(stack, build, one) == []
    an_hour_ago = timezone.now() - timedelta(hours=1)
    DesiredTraining.objects.update(changed_at=an_hour_ago)
    command()
    # The start is enqueued again before each round of a new run; the ledger knows that it was told.
    assert told(stack, build, one)[-1] == ("UPDATE_ROUND_START", 1)


def test_the_references_task_needs_but_a_setting_of_celerys(stack: Stack, build: Function) -> None:
    """Celery puts what the annotation makes in the place of the task's method."""

    class Task:
        def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> None:
            raise AssertionError(args, kwargs, options)

    for name, around in SEND_IN_TRANSACTION.items():
        method = name.removeprefix("@")
        setattr(Task, method, around(getattr(Task, method)))
    one = user("one")
    training = made(one)
    trainer.start(training)
    training.model.round = 1
    notification = TrainingRoundStartNotification.from_training(training)
    Task().apply_async((), {"notification": notification, "callback_error": None}, retry=False)
    assert ("UPDATE_ROUND_START", 1) in told(stack, build, one)


# --- who joins, leaves and moves ------------------------------------------------------------------


def test_who_joins_and_leaves_is_told_so(stack: Stack, build: Function) -> None:
    one, two = user("one"), user("two")
    training = made(one)
    trainer.start(training)
    told(stack, build, one)
    two.trainings.add(training)
    training.participants.remove(one)
    assert told(stack, build, two) == [("TRAINING_START", None)]
    two.trainings.clear()
    assert told(stack, build, two) == [("CLIENT_REMOVED", None)]


def test_who_leaves_and_joins_again_has_a_new_membership(
    stack: Stack, build: Function, trainings: TrainingRepository
) -> None:
    one, two = user("one"), user("two")
    training = made(one, two)
    trainer.start(training)
    uuid = str(training.pk)
    before = {each.uuid: each.joined_at for each in trainings.participants(uuid)}
    with transaction.atomic():
        training.participants.remove(one)
        training.participants.add(one)
    after = {each.uuid: each.joined_at for each in trainings.participants(uuid)}
    assert before.keys() == after.keys()
    assert before[str(one.pk)] != after[str(one.pk)]
    assert before[str(two.pk)] == after[str(two.pk)]


def test_a_new_endpoint_takes_effect_at_once(trainings: TrainingRepository) -> None:
    one = user("one")
    training = made(one)
    one.message_endpoint = "mailbox:"
    one.save()
    training.actor.message_endpoint = "https://elsewhere.example/"
    training.actor.save()
    (found,) = trainings.participants(str(training.pk))
    assert found.message_endpoint == "mailbox:"
    actor = trainings.get(str(training.pk)).actor
    assert actor.message_endpoint == "https://elsewhere.example/"


def test_a_user_that_is_deleted_leaves(stack: Stack, build: Function) -> None:
    one, two = user("one"), user("two")
    trainer.start(made(one, two))
    told(stack, build, one)
    gone = User(pk=one.pk)
    one.delete()
    assert ("CLIENT_REMOVED", None) in told(stack, build, gone)


def test_a_training_that_is_deleted_is_deleted_in_the_table(stack: Stack) -> None:
    training = made(user("one"))
    trainer.start(training)
    uuid = str(training.pk)
    training.delete()
    assert stack.item(uuid) is None
    assert "SERVER" in str(stack.item(uuid, "SERVER"))


# --- two stores -----------------------------------------------------------------------------------


def test_what_is_rolled_back_is_told_to_nobody(stack: Stack, build: Function) -> None:
    one = user("one")
    training = made(one)

    def half() -> None:
        with transaction.atomic():
            trainer.start(training)
            raise KeyError

    with pytest.raises(KeyError):
        half()
    command("--all")
    assert told(stack, build, one) == []


def test_while_dynamodb_is_away_the_server_goes_on_and_the_command_makes_it_good(
    stack: Stack, build: Function
) -> None:
    one = user("one")
    training = made(one)
    Faults(stack.dynamodb).refuse("TransactWriteItems", "InternalServerError", status=500)
    trainer.start(training)
    trainer.upload(training, one, "UPDATE")
    assert state(training) == "O"
    assert "InternalServerError" in DesiredTraining.objects.get().problem
    with pytest.raises(CommandError, match="1 trainings could not be carried over"):
        command()
    undo_all()
    assert "MODEL_TEST in round 1" in command()
    assert DesiredTraining.objects.get().problem == ""
    # What was overtaken meanwhile is not told any more; the start is.
    assert told(stack, build, one) == [("TRAINING_START", None), ("MODEL_TEST_ROUND", 1)]


class Killed(BaseException):
    """The process is gone."""


STEPS: dict[str, Callable[[Training, User], object]] = {
    "start": lambda training, _: trainer.start(training),
    "round": trainer.upload,
    "join": lambda training, _: training.participants.add(user("late")),
    "leave": lambda training, one: training.participants.remove(one),
    "delete": lambda training, _: Training.objects.get(pk=training.pk).delete(),
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_a_server_killed_between_its_commit_and_the_table_is_completed_by_the_command(
    stack: Stack, trainings: TrainingRepository, name: str, *, done: bool
) -> None:
    for write in range(1, 5):
        one, two = user("one"), user("two")
        training = made(one, two, rounds=1)
        uuid = str(training.pk)
        if name != "start":
            trainer.start(training)
        if name == "round":
            trainer.upload(training, two)
        count = 0

        def kill(*, last: int = write, **_: Any) -> None:
            nonlocal count
            count += 1
            if count == last:
                raise Killed

        when = "after-call" if done else "before-call"
        Faults(stack.dynamodb)._register(f"{when}.dynamodb.TransactWriteItems", kill)
        with suppress(Killed):
            STEPS[name](training, one)
        undo_all()
        command()
        assert_agreed(trainings, uuid)
        if count < write:
            return
    raise AssertionError("more writes than expected")


def assert_agreed(trainings: TrainingRepository, uuid: str) -> None:
    """Both sides say the same."""
    assert command("--dry-run", uuid) == ""
    training = Training.objects.filter(pk=uuid).first()
    found = {each.uuid for each in trainings.participants(uuid)}
    if training is None:
        assert found == set()
        return
    assert found == {str(pk) for pk in training.participants.values_list("pk", flat=True)}
    states = {"I": {"INITIAL"}, "O": {"ONGOING", "MODEL_TEST"}, "C": {"COMPLETED"}}
    assert trainings.get(uuid).state in states[training.state]


def test_a_worker_that_was_overtaken_changes_nothing(
    stack: Stack, build: Function, server: dict[str, Any]
) -> None:
    """It has read its row, and waits; another one has changed and carried over more since."""
    one, two = user("one"), user("two")
    training = made(one, two)
    ran = False

    def meanwhile(**_: Any) -> None:
        nonlocal ran
        if not ran:
            ran = True
            training.participants.remove(two)

    Faults(stack.dynamodb)._register("before-call.dynamodb.TransactWriteItems", meanwhile)
    trainer.start(training)
    assert command("--dry-run") == ""
    assert told(stack, build, one) == [("TRAINING_START", None), ("UPDATE_ROUND_START", 0)]
    assert told(stack, build, two) == []


def test_what_sends_no_signals_is_seen_by_the_command(
    stack: Stack, trainings: TrainingRepository
) -> None:
    one = user("one")
    training = made(one)
    trainer.start(training)
    User.objects.filter(pk=one.pk).update(message_endpoint="mailbox:")
    assert command("--dry-run") == f"{training.pk}: to do in the table: change 1 participants\n"
    command()
    (found,) = trainings.participants(str(training.pk))
    assert found.message_endpoint == "mailbox:"


def test_trainings_that_were_over_before_the_app_came_are_left_alone(stack: Stack) -> None:
    training = made(user("one"))
    DesiredTraining.objects.all().delete()
    stack.empty()
    Training.objects.update(state="C")
    command("--all")
    Training.objects.get(pk=training.pk).save()
    assert stack.item(str(training.pk)) is None


# --- and back -------------------------------------------------------------------------------------


def test_a_rejection_removes_the_participant_from_the_server_and_the_round_goes_on(
    stack: Stack, build: Function
) -> None:
    one, two = user("one"), user("two")
    training = made(one, two)
    trainer.start(training)
    remove(stack, training, one)
    trainer.upload(training, two)
    assert command("--dry-run") == (
        f"{training.pk}: to do in the server: remove participant {one.pk} (answered 400)\n"
    )
    command()
    assert list(training.participants.all()) == [two]
    assert told(stack, build, two)[-1] == ("MODEL_TEST_ROUND", 1)


def test_an_end_by_the_service_ends_it_in_the_server(trainings: TrainingRepository) -> None:
    training = made(user("one"))
    trainer.start(training)
    trainings.fail(str(training.pk), "a participant is out")
    command()
    assert state(training) == "E"
    assert trainings.get(str(training.pk)).error_reason == "a participant is out"
    assert command("--dry-run", "--all") == ""


def test_an_event_of_the_service_is_enough_of_a_hint(
    stack: Stack, trainings: TrainingRepository
) -> None:
    training = made(user("one"))
    trainer.start(training)
    trainings.fail(str(training.pk), "a participant is out")
    url = queue.make(stack.events, stack.sqs, stack.output("OutcomesBus"), f"q-{uuid4().hex}")
    detail = {"training_uuid": str(training.pk)}
    stack.events.put_events(
        Entries=[
            {
                "EventBusName": stack.output("OutcomesBus"),
                "Source": "fl.notifications",
                "DetailType": "Training Ended",
                "Detail": json.dumps(detail),
            }
        ]
    )
    stack.sqs.send_message(QueueUrl=url, MessageBody="no event")
    assert queue.receive(stack.sqs, url, wait_seconds=0) == 1
    assert state(training) == "E"


def test_the_command_goes_on_when_the_queue_is_away(
    stack: Stack, trainings: TrainingRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks at the table again and again; events only save the time in between."""
    training = made(user("one"))
    trainer.start(training)
    waits: list[float] = []

    class Stopped(Exception):  # noqa: N818 - of this test
        pass

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) > 1:
            raise Stopped
        trainings.fail(str(training.pk), "a participant is out")

    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr("time.monotonic", iter(range(0, 10**6, 10)).__next__)
    with pytest.raises(Stopped):
        command("--every", "15", "--queue", f"{stack.output('DeliveriesDlqUrl')}-none")
    assert state(training) == "E"


# --- the setting ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"TRAININGS": "core.Training"}, "TRAININGS is not known; did you mean TRAINING?"),
        ({"STATES": {"I": "BEGUN"}}, "STATES.I: "),
        ({"TRAINING": None}, "TRAINING: "),
    ],
)
def test_a_wrong_setting_is_named(server: dict[str, Any], change: dict[str, Any], why: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=why):
        conf.read(server | change)


def test_rounds_may_be_told_by_what_is_saved_alone(
    stack: Stack, build: Function, server: dict[str, Any]
) -> None:
    """For servers without calls; the signals of the round's model are connected at the start."""
    server.update(ROUNDS="fields", STATES={**server["STATES"], "T": "MODEL_TEST"})
    forget()
    one = user("one")
    training = made(one)
    training.state = "O"
    training.save()
    training.model.round, training.state = 1, "T"
    with transaction.atomic():
        training.model.save()
        training.save()
    assert told(stack, build, one) == [
        ("TRAINING_START", None),
        ("UPDATE_ROUND_START", 0),
        ("MODEL_TEST_ROUND", 1),
    ]


def test_without_on_commit_only_the_command_writes(stack: Stack, server: dict[str, Any]) -> None:
    server.update(ON_COMMIT=False)
    forget()
    training = made(user("one"))
    assert stack.item(str(training.pk)) is None
    command()
    assert stack.item(str(training.pk)) is not None


def test_the_migration_is_that_of_the_model() -> None:
    call_command("makemigrations", "fl_notifications", check=True, dry_run=True, verbosity=0)

"""What the write side does beyond a training's plain life: see `test_repository` for that."""

from collections.abc import Callable
from typing import Any

import pytest

from fl_notifications.server.errors import (
    EndpointError,
    NotDeletedError,
    OptionError,
    ParticipantNotFoundError,
    TooFewParticipantsError,
    TrainingExistsError,
    TrainingNotFoundError,
    WrongStateError,
)
from fl_notifications.server.repository import TrainingRepository
from fl_notifications.trainings.items import UnreadableItemError
from fl_notifications.trainings.model import Receiver, TrainingOptions, TrainingState
from fl_notifications.trainings.removals import Removal
from tests.integration.faults import Faults
from tests.integration.handlers import Function
from tests.integration.stack import Stack
from tests.made import (
    ACTOR,
    MODEL_UUID,
    NOW,
    OWN_MODEL_UUID,
    TRAINING_UUID,
    StoppedClock,
    item,
    participant,
    participant_item,
    training_item,
    uuid_of,
)

ONE, TWO, THREE = participant("one"), participant("two"), participant("three")
BAD = Receiver(uuid=uuid_of("bad"), message_endpoint="ooo://bad.example/")

type Step = Callable[[TrainingRepository], object]


@pytest.fixture
def trainings(stack: Stack, clock: StoppedClock) -> TrainingRepository:
    return TrainingRepository(stack.dynamodb, stack.trainings_table, clock=clock)


@pytest.fixture
def running(stack: Stack, trainings: TrainingRepository) -> TrainingRepository:
    stack.put(training_item(), participant_item("one"), participant_item("two"))
    return trainings


def place(trainings: TrainingRepository) -> tuple[str, int]:
    training = trainings.get(TRAINING_UUID)
    return training.state.value, training.round


def removed_item(name: str, **values: Any) -> dict[str, Any]:
    return item(
        {
            "training_uuid": TRAINING_UUID,
            "entity": f"REMOVED#{uuid_of(name)}",
            "reason": "answered 400",
            "notification_id": "n1",
            "at": NOW.isoformat(),
        }
        | values
    )


# --- rounds ---------------------------------------------------------------------------------------


def test_the_rounds_of_fl_demonstrator_are_written_by_public_methods(
    stack: Stack, server: TrainingRepository, build: Function
) -> None:
    server.create(TRAINING_UUID, MODEL_UUID, ACTOR, [ONE])
    server.start(TRAINING_UUID)
    server.model_test(TRAINING_UUID, round=1)
    server.next_round(TRAINING_UUID, round=1)
    server.model_test(TRAINING_UUID, round=2)
    server.finish(TRAINING_UUID)
    build(stack.changes())
    to_one = [each for each in stack.delivered() if each["receiver"]["uuid"] == ONE.uuid]
    assert [(each["notification_type"], each["round"]) for each in to_one] == [
        ("TRAINING_START", None),
        ("UPDATE_ROUND_START", 0),
        ("MODEL_TEST_ROUND", 1),
        ("UPDATE_ROUND_START", 1),
        ("MODEL_TEST_ROUND", 2),
        ("TRAINING_FINISHED", None),
    ]


@pytest.mark.parametrize(
    "step",
    [
        lambda each, **given: each.next_round(TRAINING_UUID, **given),
        lambda each, **given: each.swag_round(TRAINING_UUID, **given),
        lambda each, **given: each.model_test(TRAINING_UUID, **given),
    ],
)
def test_a_round_does_not_go_backwards_unless_asked_to(
    running: TrainingRepository, step: Callable[..., int]
) -> None:
    with pytest.raises(WrongStateError, match="in round 3, after round 2: say backwards=True"):
        step(running, round=2)
    assert place(running) == ("ONGOING", 3)
    assert step(running, round=2, backwards=True) == 2
    assert running.get(TRAINING_UUID).round == 2


def test_a_round_comes_with_who_is_selected_and_with_settings(
    running: TrainingRepository,
) -> None:
    running.next_round(TRAINING_UUID, selected=[TWO.uuid], settings={"rate": 0.5, "epochs": 3})
    training = running.get(TRAINING_UUID)
    assert training.selected == frozenset({TWO.uuid})
    assert {key: float(value) for key, value in (training.settings or {}).items()} == {
        "rate": 0.5,
        "epochs": 3,
    }
    running.next_round(TRAINING_UUID)
    assert running.get(TRAINING_UUID).selected == frozenset({TWO.uuid})
    running.next_round(TRAINING_UUID, selected=None, settings=None)
    training = running.get(TRAINING_UUID)
    assert (training.selected, training.settings) == (None, None)
    running.next_round(TRAINING_UUID, selected=[])
    assert running.get(TRAINING_UUID).selected == frozenset()


# --- starting -------------------------------------------------------------------------------------


def test_each_start_of_a_training_has_a_time_of_its_own(
    stack: Stack, trainings: TrainingRepository
) -> None:
    """Even if the clock stands still: two runs are told apart by it."""
    trainings.create(TRAINING_UUID, MODEL_UUID, ACTOR, [ONE], round=5)
    assert trainings.get(TRAINING_UUID).started_at is None
    trainings.start(TRAINING_UUID)
    first = trainings.get(TRAINING_UUID)
    assert (first.state, first.round) == (TrainingState.ONGOING, 5)
    trainings.restart(TRAINING_UUID)
    second = trainings.get(TRAINING_UUID)
    assert (second.state, second.round) == (TrainingState.ONGOING, 0)
    assert first.started_at is not None
    assert second.started_at not in {None, first.started_at}
    trainings.fail(TRAINING_UUID, "disk full")
    trainings.resume(TRAINING_UUID)
    assert trainings.get(TRAINING_UUID).started_at == second.started_at


@pytest.mark.parametrize(
    ("options", "who", "why"),
    [
        ({}, [], "has 0 participants; it needs 1"),
        ({"min_participants": 0}, [], "has 0 participants; it needs 1"),
        ({"min_participants": 3}, [ONE, TWO], "has 2 participants; it needs 3"),
        ({"required_participants": [TWO.uuid.upper()]}, [ONE], f"lacks .*{TWO.uuid}"),
    ],
)
@pytest.mark.parametrize("step", ["start", "restart", "resume"])
def test_a_start_that_the_failure_policy_would_end_at_once_is_refused(
    stack: Stack,
    trainings: TrainingRepository,
    step: str,
    options: dict[str, Any],
    who: list[Receiver],
    why: str,
) -> None:
    trainings.create(TRAINING_UUID, MODEL_UUID, ACTOR, who, options=options)
    if step == "resume":
        stack.put(training_item(state="ERROR", options=options))
    before = stack.item(TRAINING_UUID)
    with pytest.raises(TooFewParticipantsError, match=why):
        getattr(trainings, step)(TRAINING_UUID)
    assert stack.item(TRAINING_UUID) == before


def test_an_unreadable_participant_does_not_count_for_a_start(
    stack: Stack, trainings: TrainingRepository
) -> None:
    stack.put(training_item(state="INITIAL"), participant_item("one", message_endpoint=None))
    with pytest.raises(TooFewParticipantsError, match="has 0 participants"):
        trainings.start(TRAINING_UUID)
    stack.put(participant_item("two"))
    trainings.start(TRAINING_UUID)
    assert place(trainings) == ("ONGOING", 3)


def test_unreadable_options_hold_up_no_step(stack: Stack, trainings: TrainingRepository) -> None:
    stack.put(training_item(state="INITIAL", options=7), participant_item("one"))
    trainings.start(TRAINING_UUID)
    trainings.next_round(TRAINING_UUID)
    assert stack.item(TRAINING_UUID, "TRAINING") is not None
    assert (stack.item(TRAINING_UUID) or {})["round"] == {"N": "4"}


# --- resuming -------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["ONGOING", "SWAG_ROUND", "MODEL_TEST"])
def test_a_training_goes_on_where_it_was(
    stack: Stack, trainings: TrainingRepository, state: str
) -> None:
    stack.put(training_item(state=state), participant_item("one"))
    trainings.fail(TRAINING_UUID, "disk full")
    assert trainings.resume(TRAINING_UUID) == state
    training = trainings.get(TRAINING_UUID)
    assert (training.state, training.round, training.error) == (state, 3, None)


def test_a_training_whose_error_does_not_say_where_it_was_goes_on_where_it_is_told_to(
    stack: Stack, trainings: TrainingRepository
) -> None:
    stack.put(training_item(state="ERROR", error={"reason": "x"}), participant_item("one"))
    with pytest.raises(WrongStateError, match="say in which state it goes on"):
        trainings.resume(TRAINING_UUID)
    trainings.resume(TRAINING_UUID, state=TrainingState.MODEL_TEST, round=4)
    assert place(trainings) == ("MODEL_TEST", 4)


def test_only_a_training_in_error_goes_on(running: TrainingRepository) -> None:
    with pytest.raises(WrongStateError, match="is ONGOING in round 3, not ERROR"):
        running.resume(TRAINING_UUID)


# --- adopting -------------------------------------------------------------------------------------


def test_a_training_that_runs_already_is_written_last_with_participants_from_before(
    stack: Stack, trainings: TrainingRepository
) -> None:
    where = {"state": TrainingState.MODEL_TEST, "round": 7}
    trainings.adopt(TRAINING_UUID, MODEL_UUID, ACTOR, [ONE], **where)  # type: ignore[arg-type]
    assert place(trainings) == ("MODEL_TEST", 7)
    assert "adopted_at" in (stack.item(TRAINING_UUID) or {})
    (one,) = trainings.participants(TRAINING_UUID)
    assert f"{one.joined_at}" < NOW.isoformat()
    kinds = [
        each["dynamodb"]["Keys"]["entity"]["S"].partition("#")[0]
        for each in stack.changes()["Records"]
    ]
    assert kinds == ["PARTICIPANT", "TRAINING"]
    with pytest.raises(TrainingExistsError):
        trainings.adopt(TRAINING_UUID, MODEL_UUID, ACTOR, [TWO], **where)  # type: ignore[arg-type]
    assert [each.uuid for each in trainings.participants(TRAINING_UUID)] == [ONE.uuid]


def test_nobody_is_told_of_an_adoption_but_everybody_of_the_next_round(
    stack: Stack, server: TrainingRepository, build: Function
) -> None:
    server.adopt(TRAINING_UUID, MODEL_UUID, ACTOR, [ONE, TWO], state=TrainingState.ONGOING, round=7)
    build(stack.changes())
    assert stack.delivered() == []
    server.next_round(TRAINING_UUID)
    build(stack.changes())
    told = [(each["notification_type"], each["round"]) for each in stack.delivered()]
    assert told == [("UPDATE_ROUND_START", 8)] * 2


# --- deleting -------------------------------------------------------------------------------------


def test_a_training_is_deleted_before_its_participants_and_notes_go_too(
    stack: Stack, running: TrainingRepository
) -> None:
    own = item({"training_uuid": TRAINING_UUID, "entity": "LOCK"})
    stack.put(removed_item("three"), own)
    stack.changes()
    assert running.delete(TRAINING_UUID) is True
    deleted = [each["dynamodb"]["Keys"]["entity"]["S"] for each in stack._new_records()]
    assert deleted[0] == "TRAINING"
    assert {each.partition("#")[0] for each in deleted[1:]} >= {"PARTICIPANT"}
    assert running.removals(TRAINING_UUID) == []
    assert stack.item(TRAINING_UUID, "LOCK") == own
    assert running.delete(TRAINING_UUID) is False


def test_deleting_goes_on_where_it_stopped(stack: Stack, running: TrainingRepository) -> None:
    faults = Faults(stack.dynamodb)
    faults.leave_undone("BatchWriteItem", lambda _: True, times=5)
    with pytest.raises(NotDeletedError, match="2 or more items are left"):
        running.delete(TRAINING_UUID)
    running.delete(TRAINING_UUID)
    assert list(running.participants(TRAINING_UUID)) == []


# --- what may change meanwhile --------------------------------------------------------------------


def test_options_are_replaced_and_checked(stack: Stack, running: TrainingRepository) -> None:
    running.set_options(TRAINING_UUID, {"failure_policy": "quorum"})
    running.set_options(TRAINING_UUID, TrainingOptions(min_participants=2))
    assert (stack.item(TRAINING_UUID) or {})["options"] == {"M": {"min_participants": {"N": "2"}}}
    with pytest.raises(OptionError, match="did you mean 'min_participants'"):
        running.set_options(TRAINING_UUID, {"min_participant": 1})
    with pytest.raises(TrainingNotFoundError):
        running.set_options(uuid_of("none"), {})


def test_settings_are_for_all_or_for_one(running: TrainingRepository) -> None:
    running.set_settings(TRAINING_UUID, {"epochs": 3})
    running.set_settings(TRAINING_UUID, {"epochs": 1}, participant_uuid=ONE.uuid)
    assert running.get(TRAINING_UUID).settings == {"epochs": 3}
    found = {each.uuid: each.settings for each in running.participants(TRAINING_UUID)}
    assert found == {ONE.uuid: {"epochs": 1}, TWO.uuid: None}
    running.set_settings(TRAINING_UUID, None, participant_uuid=ONE.uuid)
    assert {each.settings for each in running.participants(TRAINING_UUID)} == {None}
    with pytest.raises(ParticipantNotFoundError):
        running.set_settings(TRAINING_UUID, {}, participant_uuid=THREE.uuid)


def test_an_endpoint_is_changed_and_nothing_else(stack: Stack, running: TrainingRepository) -> None:
    before = stack.item(TRAINING_UUID, f"PARTICIPANT#{ONE.uuid}") or {}
    running.set_endpoint(TRAINING_UUID, ONE.uuid, "mailbox:")
    after = stack.item(TRAINING_UUID, f"PARTICIPANT#{ONE.uuid}")
    assert after == before | {"message_endpoint": {"S": "mailbox:"}}
    with pytest.raises(ParticipantNotFoundError, match=f"no participant {THREE.uuid}"):
        running.set_endpoint(TRAINING_UUID, THREE.uuid, "mailbox:")


@pytest.mark.parametrize(
    "step",
    [
        lambda each: each.create(uuid_of("new"), MODEL_UUID, BAD),
        lambda each: each.create(uuid_of("new"), MODEL_UUID, ACTOR, [BAD]),
        lambda each: each.adopt(
            uuid_of("new"), MODEL_UUID, ACTOR, [BAD], state=TrainingState.ONGOING, round=0
        ),
        lambda each: each.add_participant(TRAINING_UUID, BAD),
        lambda each: each.add_participants(TRAINING_UUID, [BAD]),
        lambda each: each.set_endpoint(TRAINING_UUID, ONE.uuid, BAD.message_endpoint),
        lambda each: each.set_actor(TRAINING_UUID, BAD),
    ],
)
def test_an_unusable_endpoint_is_written_nowhere(
    stack: Stack, running: TrainingRepository, step: Step
) -> None:
    stack.changes()
    with pytest.raises(EndpointError, match="message_endpoint: url not http or https"):
        step(running)
    assert stack.changes() == {"Records": []}


def test_the_actor_is_changed(running: TrainingRepository) -> None:
    moved = Receiver(uuid=ACTOR.uuid, message_endpoint="https://elsewhere.example/")
    running.set_actor(TRAINING_UUID, moved)
    assert running.get(TRAINING_UUID).actor == moved


@pytest.mark.parametrize("state", ["COMPLETED", "ERROR"])
def test_nobody_joins_a_training_that_is_over(
    stack: Stack, trainings: TrainingRepository, state: str
) -> None:
    stack.put(training_item(state=state))
    with pytest.raises(WrongStateError, match=f"is {state}"):
        trainings.add_participants(TRAINING_UUID, [ONE])
    with pytest.raises(TrainingNotFoundError):
        trainings.add_participants(uuid_of("none"), [ONE])
    assert list(trainings.participants(TRAINING_UUID)) == []


def test_many_models_are_set_a_hundred_in_one_call_and_who_is_gone_is_said(
    stack: Stack, trainings: TrainingRepository
) -> None:
    stack.put(training_item())
    many = [participant(f"p{number}") for number in range(150)]
    trainings.add_participants(TRAINING_UUID, many)
    gone = {many[3].uuid, many[120].uuid}
    for uuid in gone:
        trainings.remove_participant(TRAINING_UUID, uuid)
    faults = Faults(stack.dynamodb)
    models: dict[str, str | None] = {each.uuid: uuid_of(f"model of {each.uuid}") for each in many}
    assert trainings.set_models(TRAINING_UUID, models) == gone
    # One call for each hundred, and once more without those that are gone.
    assert [len(c["TransactItems"]) for c in faults.calls["TransactWriteItems"]] == [
        100,
        99,
        50,
        49,
    ]
    found = {each.uuid: each.model_uuid for each in trainings.participants(TRAINING_UUID)}
    assert found == {uuid: model for uuid, model in models.items() if uuid not in gone}
    assert trainings.set_models(TRAINING_UUID, {many[0].uuid: None}) == frozenset()
    found = {each.uuid: each.model_uuid for each in trainings.participants(TRAINING_UUID)}
    assert found[many[0].uuid] is None


def test_what_has_been_reported_is_noted_and_counted(running: TrainingRepository) -> None:
    running.reported(TRAINING_UUID, ONE.uuid)
    running.reported(TRAINING_UUID, TWO.uuid, state=TrainingState.MODEL_TEST, round=2)
    found = {each.uuid: each.reported for each in running.participants(TRAINING_UUID)}
    assert found == {ONE.uuid: "ONGOING#3", TWO.uuid: "MODEL_TEST#2"}
    assert running.status(TRAINING_UUID).reported == 1
    with pytest.raises(ParticipantNotFoundError):
        running.reported(TRAINING_UUID, THREE.uuid)


def test_the_status_says_who_was_removed_and_what_cannot_be_read(
    stack: Stack, running: TrainingRepository
) -> None:
    stack.put(removed_item("three", joined_at="then"), participant_item("four", joined_at=7))
    status = running.status(TRAINING_UUID)
    assert (status.training.round, status.participants, status.reported) == (3, 2, 0)
    (unreadable,) = status.unreadable
    assert uuid_of("four") in unreadable
    assert status.removals == (
        Removal(
            participant_uuid=THREE.uuid,
            reason="answered 400",
            notification_id="n1",
            joined_at="then",
            at=NOW.isoformat(),
        ),
    )


def test_a_removal_that_cannot_be_read_is_named(stack: Stack, running: TrainingRepository) -> None:
    stack.put(removed_item("three", reason=7))
    with pytest.raises(UnreadableItemError, match=f"REMOVED#{THREE.uuid}.* field reason"):
        running.removals(TRAINING_UUID)


# --- answers that are lost, and others' transactions ----------------------------------------------

REPEATED: dict[str, tuple[str, Step]] = {
    "create": ("PutItem", lambda each: each.create(uuid_of("new"), MODEL_UUID, ACTOR, [ONE])),
    "start": ("UpdateItem", lambda each: each.start(uuid_of("initial"))),
    "next_round": ("UpdateItem", lambda each: each.next_round(TRAINING_UUID, after=3)),
    "model_test": ("UpdateItem", lambda each: each.model_test(TRAINING_UUID, advance=True)),
    "finish": ("UpdateItem", lambda each: each.finish(TRAINING_UUID)),
    "fail": ("UpdateItem", lambda each: each.fail(TRAINING_UUID, "disk full")),
    "restart": ("UpdateItem", lambda each: each.restart(TRAINING_UUID)),
    "add_participant": (
        "TransactWriteItems",
        lambda each: each.add_participant(TRAINING_UUID, THREE),
    ),
    "set_models": (
        "TransactWriteItems",
        lambda each: each.set_models(TRAINING_UUID, {ONE.uuid: OWN_MODEL_UUID}),
    ),
    "delete": ("BatchWriteItem", lambda each: each.delete(TRAINING_UUID)),
}


@pytest.mark.parametrize("name", REPEATED)
def test_a_step_whose_answer_is_lost_is_recognised_as_done_when_it_is_repeated(
    stack: Stack, running: TrainingRepository, name: str
) -> None:
    running.create(uuid_of("initial"), MODEL_UUID, ACTOR, [ONE])
    operation, step = REPEATED[name]
    faults = Faults(stack.dynamodb)
    called = len(faults.calls.get(operation, []))
    answers: list[Any] = []
    stack.dynamodb.meta.events.register(
        f"before-send.dynamodb.{operation}", lambda **_: answers.append(1)
    )
    faults.lose_answer(operation)
    step(running)
    assert len(answers) > len(faults.calls[operation]) - called, "botocore has repeated it"


def test_what_others_have_done_is_not_taken_for_ones_own(
    stack: Stack, running: TrainingRepository
) -> None:
    """The same values by another step, a moment later."""
    running.next_round(TRAINING_UUID, after=3)
    with pytest.raises(WrongStateError, match="round 4"):
        running.next_round(TRAINING_UUID, after=3)


CONFLICTS: dict[str, Step] = {
    "UpdateItem": lambda each: each.next_round(TRAINING_UUID),
    "PutItem": lambda each: each.create(uuid_of("new"), MODEL_UUID, ACTOR, [ONE]),
    "DeleteItem": lambda each: each.remove_participant(TRAINING_UUID, ONE.uuid),
}


@pytest.mark.parametrize("operation", CONFLICTS)
def test_a_conflict_with_somebody_elses_transaction_is_tried_again(
    stack: Stack, clock: StoppedClock, running: TrainingRepository, operation: str
) -> None:
    del running
    waits: list[float] = []
    trainings = TrainingRepository(
        stack.dynamodb, stack.trainings_table, clock=clock, sleep=waits.append
    )
    Faults(stack.dynamodb).refuse(operation, "TransactionConflictException", times=3)
    CONFLICTS[operation](trainings)
    assert len(waits) == 3


def test_a_conflict_that_lasts_is_an_error_after_a_few_seconds(
    stack: Stack, clock: StoppedClock, running: TrainingRepository
) -> None:
    del running
    waits: list[float] = []
    trainings = TrainingRepository(
        stack.dynamodb, stack.trainings_table, clock=clock, sleep=waits.append
    )
    Faults(stack.dynamodb).refuse("UpdateItem", "TransactionConflictException")
    with pytest.raises(stack.dynamodb.exceptions.ClientError, match="TransactionConflict"):
        trainings.next_round(TRAINING_UUID)
    assert sum(waits) < 4

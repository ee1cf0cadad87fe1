"""TrainingRepository: every step of a training, and every step that is refused."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from botocore.exceptions import ClientError

from fl_notifications.server.repository import (
    ParticipantExistsError,
    ParticipantsNotWrittenError,
    TrainingExistsError,
    TrainingNotFoundError,
    TrainingRepository,
    TrainingRepositoryError,
    WrongStateError,
)
from fl_notifications.trainings.items import UnreadableItemError
from fl_notifications.trainings.model import (
    FINAL_STATES,
    RUNNING_STATES,
    FailurePolicy,
    Participant,
    Receiver,
    Training,
    TrainingOptions,
    TrainingState,
)
from tests.integration.faults import Faults
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

ONE, TWO = participant("one"), participant("two")
INITIAL, ONGOING = TrainingState.INITIAL, TrainingState.ONGOING
SWAG_ROUND, MODEL_TEST = TrainingState.SWAG_ROUND, TrainingState.MODEL_TEST
COMPLETED, ERROR = TrainingState.COMPLETED, TrainingState.ERROR

type Step = Callable[[TrainingRepository], object]


@pytest.fixture
def trainings(stack: Stack, clock: StoppedClock) -> TrainingRepository:
    return TrainingRepository(stack.dynamodb, stack.trainings_table, clock=clock)


def place(trainings: TrainingRepository) -> tuple[TrainingState, int]:
    training = trainings.get(TRAINING_UUID)
    return training.state, training.round


# --- create and read ------------------------------------------------------------------------------


def test_a_new_training_is_initial_in_round_zero_with_its_participants(
    trainings: TrainingRepository,
) -> None:
    options = TrainingOptions(
        failure_policy=FailurePolicy.QUORUM,
        min_participants=2,
        required_participants=frozenset({ONE.uuid}),
    )
    made = trainings.create(TRAINING_UUID, MODEL_UUID, ACTOR, [ONE, TWO], options=options)
    assert made == Training(
        training_uuid=TRAINING_UUID,
        state=INITIAL,
        round=0,
        model_uuid=MODEL_UUID,
        actor=ACTOR,
        last_update=NOW.isoformat(),
        options=options,
    )
    assert trainings.get(TRAINING_UUID) == made
    joined = {"joined_at": NOW.isoformat()}
    assert sorted(trainings.participants(TRAINING_UUID), key=lambda each: each.uuid) == sorted(
        [ONE.model_copy(update=joined), TWO.model_copy(update=joined)], key=lambda each: each.uuid
    )


def test_uuid_objects_are_taken_for_their_text(trainings: TrainingRepository) -> None:
    training, model, one = UUID(TRAINING_UUID), UUID(MODEL_UUID), UUID(ONE.uuid)
    receiver = Receiver(uuid=one, message_endpoint=ONE.message_endpoint)
    trainings.create(training, model, ACTOR, [receiver])
    trainings.start(training, model_uuid=UUID(OWN_MODEL_UUID), selected=[one])
    trainings.set_models(training, {one: model})
    trainings.reported(training, one)
    (read,) = trainings.participants(training)
    assert (read.uuid, read.model_uuid, read.reported) == (ONE.uuid, MODEL_UUID, "ONGOING#0")
    assert trainings.get(TRAINING_UUID).model_uuid == OWN_MODEL_UUID
    assert trainings.get(TRAINING_UUID).selected == frozenset({ONE.uuid})
    assert trainings.set_models(training, {UUID(TWO.uuid): None}) == frozenset({TWO.uuid})
    assert trainings.remove_participant(training, one)
    assert trainings.delete(training)


def test_what_is_written_is_what_the_contract_says(
    stack: Stack, trainings: TrainingRepository
) -> None:
    trainings.create(TRAINING_UUID, MODEL_UUID, ACTOR, [ONE])
    assert stack.item(TRAINING_UUID) == training_item(
        state="INITIAL",
        round=0,
        last_update=NOW.isoformat(),
    )
    assert stack.item(TRAINING_UUID, f"PARTICIPANT#{ONE.uuid}") == participant_item(
        "one", joined_at=NOW.isoformat()
    )


def test_a_training_cannot_be_created_twice(trainings: TrainingRepository) -> None:
    trainings.create(TRAINING_UUID, MODEL_UUID, ACTOR, [ONE])
    trainings.start(TRAINING_UUID)
    with pytest.raises(TrainingExistsError, match=TRAINING_UUID):
        trainings.create(TRAINING_UUID, OWN_MODEL_UUID, ACTOR, [TWO])
    assert trainings.get(TRAINING_UUID).model_uuid == MODEL_UUID
    assert [each.uuid for each in trainings.participants(TRAINING_UUID)] == [ONE.uuid]


def test_a_training_without_participants_can_be_created(trainings: TrainingRepository) -> None:
    trainings.create(TRAINING_UUID, MODEL_UUID, ACTOR)
    assert list(trainings.participants(TRAINING_UUID)) == []


def test_an_item_of_a_training_that_cannot_be_read_is_named(
    stack: Stack, trainings: TrainingRepository
) -> None:
    stack.put(training_item(round="three"), participant_item("one", message_endpoint=None))
    with pytest.raises(UnreadableItemError, match="field round"):
        trainings.get(TRAINING_UUID)
    with pytest.raises(UnreadableItemError, match="field message_endpoint"):
        list(trainings.participants(TRAINING_UUID))


def test_a_wrong_uuid_is_refused_before_anything_is_written(
    stack: Stack, trainings: TrainingRepository
) -> None:
    with pytest.raises(ValueError, match="training_uuid"):
        trainings.create("no uuid", MODEL_UUID, ACTOR)
    with pytest.raises(ValueError, match="model_uuid"):
        trainings.create(TRAINING_UUID, "no uuid", ACTOR)
    assert stack.changes() == {"Records": []}


@pytest.mark.parametrize(
    "step",
    [
        lambda trainings: trainings.get(TRAINING_UUID),
        lambda trainings: trainings.start(TRAINING_UUID),
        lambda trainings: trainings.next_round(TRAINING_UUID),
        lambda trainings: trainings.next_round(TRAINING_UUID, after=3),
        lambda trainings: trainings.swag_round(TRAINING_UUID),
        lambda trainings: trainings.model_test(TRAINING_UUID),
        lambda trainings: trainings.finish(TRAINING_UUID),
        lambda trainings: trainings.fail(TRAINING_UUID, "disk full"),
        lambda trainings: trainings.add_participant(TRAINING_UUID, ONE),
        lambda trainings: trainings.set_model(TRAINING_UUID, ONE.uuid, MODEL_UUID),
        lambda trainings: trainings.set_model(TRAINING_UUID, ONE.uuid, None),
    ],
)
def test_nothing_can_be_done_with_a_training_that_is_not_there(
    stack: Stack, trainings: TrainingRepository, step: Step
) -> None:
    with pytest.raises(TrainingNotFoundError, match=TRAINING_UUID):
        step(trainings)
    assert stack.changes() == {"Records": []}


def test_a_training_that_is_not_there_has_no_participants(trainings: TrainingRepository) -> None:
    assert list(trainings.participants(TRAINING_UUID)) == []
    assert trainings.remove_participant(TRAINING_UUID, ONE.uuid) is False


# --- a training's life ----------------------------------------------------------------------------

# From which states a step is possible, and where it leads to from round 3.
STEPS: dict[str, tuple[Step, frozenset[TrainingState], tuple[TrainingState, int]]] = {
    "start": (lambda each: each.start(TRAINING_UUID), frozenset({INITIAL}), (ONGOING, 3)),
    "next_round": (lambda each: each.next_round(TRAINING_UUID), RUNNING_STATES, (ONGOING, 4)),
    "next_round after 3": (
        lambda each: each.next_round(TRAINING_UUID, after=3),
        RUNNING_STATES,
        (ONGOING, 4),
    ),
    "swag_round": (lambda each: each.swag_round(TRAINING_UUID), RUNNING_STATES, (SWAG_ROUND, 3)),
    "swag_round, a new one": (
        lambda each: each.swag_round(TRAINING_UUID, advance=True),
        RUNNING_STATES,
        (SWAG_ROUND, 4),
    ),
    "model_test": (lambda each: each.model_test(TRAINING_UUID), RUNNING_STATES, (MODEL_TEST, 3)),
    "model_test, a new one": (
        lambda each: each.model_test(TRAINING_UUID, advance=True),
        RUNNING_STATES,
        (MODEL_TEST, 4),
    ),
    "finish": (lambda each: each.finish(TRAINING_UUID), RUNNING_STATES, (COMPLETED, 3)),
    "fail": (
        lambda each: each.fail(TRAINING_UUID, "disk full"),
        frozenset(TrainingState) - FINAL_STATES,
        (ERROR, 3),
    ),
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("state", TrainingState)
def test_a_step_is_possible_from_some_states_and_refused_in_words_from_all_others(
    stack: Stack, trainings: TrainingRepository, name: str, state: TrainingState
) -> None:
    step, possible, there = STEPS[name]
    stack.put(training_item(state=state.value), participant_item("one"))
    before = stack.item(TRAINING_UUID)
    if state in possible:
        result = step(trainings)
        assert place(trainings) == there
        assert result in {None, there[1]}
    else:
        with pytest.raises(WrongStateError, match=f"{TRAINING_UUID} is {state} in round 3, not "):
            step(trainings)
        assert stack.item(TRAINING_UUID) == before


@pytest.mark.parametrize("name", STEPS)
def test_a_step_leaves_what_is_the_servers_own_alone_and_notes_the_time(
    stack: Stack, trainings: TrainingRepository, clock: StoppedClock, name: str
) -> None:
    step, possible, _ = STEPS[name]
    (first, *_) = sorted(possible)
    own = {"lock": "held", "weights": b"\x00\xff", "nested": {"a": [1, {"b"}]}}
    stack.put(
        training_item(state=first.value, last_update=NOW.isoformat(), **own),
        participant_item("one"),
    )
    clock.go_on(60)
    step(trainings)
    now = stack.item(TRAINING_UUID)
    assert now is not None
    assert {key: now[key] for key in own} == item(own)
    moment = datetime.fromisoformat(now["last_update"]["S"])
    assert moment - NOW - timedelta(seconds=60) < timedelta(milliseconds=1)
    assert (now["actor"], now["model_uuid"]) == (
        training_item()["actor"],
        training_item()["model_uuid"],
    )


@pytest.mark.parametrize(
    "step",
    [
        lambda trainings: trainings.next_round(TRAINING_UUID, model_uuid=OWN_MODEL_UUID),
        lambda trainings: trainings.swag_round(TRAINING_UUID, model_uuid=OWN_MODEL_UUID),
        lambda trainings: trainings.model_test(TRAINING_UUID, model_uuid=OWN_MODEL_UUID),
        lambda trainings: trainings.finish(TRAINING_UUID, model_uuid=OWN_MODEL_UUID),
    ],
)
def test_a_step_may_set_a_new_model(
    stack: Stack, trainings: TrainingRepository, step: Step
) -> None:
    stack.put(training_item())
    step(trainings)
    assert trainings.get(TRAINING_UUID).model_uuid == OWN_MODEL_UUID


def test_a_failed_training_says_why(stack: Stack, trainings: TrainingRepository) -> None:
    stack.put(training_item())
    trainings.fail(TRAINING_UUID, "disk full")
    assert trainings.get(TRAINING_UUID).error_reason == "disk full"


def test_a_round_that_is_repeated_does_not_skip_one(
    stack: Stack, trainings: TrainingRepository
) -> None:
    """A server that does not know whether its call has succeeded may call again."""
    stack.put(training_item())
    assert trainings.next_round(TRAINING_UUID, after=3) == 4
    with pytest.raises(WrongStateError, match=r"round 3 of .* is over: round 4 has begun already"):
        trainings.next_round(TRAINING_UUID, after=3)
    assert place(trainings) == (ONGOING, 4)


@pytest.mark.parametrize(
    "name",
    [
        "next_round",
        "swag_round",
        "swag_round, a new one",
        "model_test",
        "model_test, a new one",
    ],
)
def test_of_two_servers_that_take_the_next_step_at_once_one_is_refused(
    stack: Stack, trainings: TrainingRepository, name: str
) -> None:
    """The other one's write comes between reading the round and writing the next."""
    step, *_ = STEPS[name]
    stack.put(training_item())
    meanwhile(stack, "UpdateItem", lambda: trainings.next_round(TRAINING_UUID))
    with pytest.raises(WrongStateError, match="round 4 has begun already"):
        step(trainings)
    assert place(trainings) == (ONGOING, 4)


@pytest.mark.parametrize("name", ["start", "finish", "next_round"])
def test_a_training_that_ends_meanwhile_stays_ended(
    stack: Stack, trainings: TrainingRepository, name: str
) -> None:
    step, possible, _ = STEPS[name]
    stack.put(training_item(state=min(possible).value), participant_item("one"))
    meanwhile(stack, "UpdateItem", lambda: trainings.fail(TRAINING_UUID, "disk full"))
    with pytest.raises(WrongStateError, match="is ERROR"):
        step(trainings)
    assert place(trainings)[0] is ERROR


def meanwhile(stack: Stack, operation: str, happens: Callable[[], object]) -> None:
    """Let something happen once, just before the next call of an operation."""
    events = stack.dynamodb.meta.events

    def once(**_: Any) -> None:
        events.unregister(f"before-call.dynamodb.{operation}", once)
        happens()

    events.register(f"before-call.dynamodb.{operation}", once)


# --- participants ---------------------------------------------------------------------------------


@pytest.mark.parametrize("state", TrainingState)
def test_a_participant_may_join_until_the_training_is_over(
    stack: Stack, trainings: TrainingRepository, state: TrainingState
) -> None:
    stack.put(training_item(state=state.value))
    if state in FINAL_STATES:
        with pytest.raises(WrongStateError, match=f"{TRAINING_UUID} is {state}"):
            trainings.add_participant(TRAINING_UUID, ONE)
        assert list(trainings.participants(TRAINING_UUID)) == []
    else:
        joined = trainings.add_participant(TRAINING_UUID, ONE, model_uuid=OWN_MODEL_UUID)
        assert joined == Participant(
            uuid=ONE.uuid,
            message_endpoint=ONE.message_endpoint,
            joined_at=NOW.isoformat(),
            model_uuid=OWN_MODEL_UUID,
        )
        assert list(trainings.participants(TRAINING_UUID)) == [joined]


def test_a_participant_cannot_join_twice(stack: Stack, trainings: TrainingRepository) -> None:
    stack.put(training_item())
    trainings.add_participant(TRAINING_UUID, ONE)
    moved = Receiver(uuid=ONE.uuid, message_endpoint="https://elsewhere.example/")
    with pytest.raises(ParticipantExistsError, match=f"{ONE.uuid} has joined"):
        trainings.add_participant(TRAINING_UUID, moved)
    (left,) = trainings.participants(TRAINING_UUID)
    assert left.message_endpoint == ONE.message_endpoint


def test_who_has_left_may_join_again_at_another_time(
    stack: Stack, trainings: TrainingRepository, clock: StoppedClock
) -> None:
    stack.put(training_item())
    first = trainings.add_participant(TRAINING_UUID, ONE)
    assert trainings.remove_participant(TRAINING_UUID, ONE.uuid) is True
    assert trainings.remove_participant(TRAINING_UUID, ONE.uuid) is False
    clock.go_on(1)
    second = trainings.add_participant(TRAINING_UUID, ONE)
    assert datetime.fromisoformat(f"{first.joined_at}") < datetime.fromisoformat(
        f"{second.joined_at}"
    )


def test_a_training_that_ends_while_somebody_joins_refuses(
    stack: Stack, trainings: TrainingRepository
) -> None:
    stack.put(training_item())
    meanwhile(stack, "TransactWriteItems", lambda: trainings.finish(TRAINING_UUID))
    with pytest.raises(WrongStateError, match="is COMPLETED"):
        trainings.add_participant(TRAINING_UUID, ONE)
    assert list(trainings.participants(TRAINING_UUID)) == []


def test_of_a_participant_that_is_there_twice_the_later_one_counts(
    stack: Stack, trainings: TrainingRepository
) -> None:
    stack.put(training_item())
    first, second = (participant("p", model_uuid=uuid_of(name)) for name in ("m1", "m2"))
    trainings.add_participants(TRAINING_UUID, [first, second])
    (found,) = trainings.participants(TRAINING_UUID)
    assert found.model_uuid == second.model_uuid


def test_many_participants_join_in_batches_and_keep_their_models(
    stack: Stack, trainings: TrainingRepository
) -> None:
    stack.put(training_item())
    many = [participant(f"p{number}", model_uuid=uuid_of(f"m{number}")) for number in range(53)]
    faults = Faults(stack.dynamodb)
    trainings.add_participants(TRAINING_UUID, iter(many))
    sizes = [
        len(call["RequestItems"][stack.trainings_table]) for call in faults.calls["BatchWriteItem"]
    ]
    assert sizes == [25, 25, 3]
    found = {each.uuid: each for each in trainings.participants(TRAINING_UUID)}
    assert found == {
        each.uuid: each.model_copy(update={"joined_at": NOW.isoformat()}) for each in many
    }


def test_participants_that_dynamodb_leaves_out_are_written_again(
    stack: Stack, trainings: TrainingRepository
) -> None:
    many = [participant(f"p{number}") for number in range(30)]
    last = f"PARTICIPANT#{many[24].uuid}"
    faults = Faults(stack.dynamodb)
    faults.leave_undone(
        "BatchWriteItem", lambda put: put["PutRequest"]["Item"]["entity"]["S"] == last, times=3
    )
    trainings.create(TRAINING_UUID, MODEL_UUID, ACTOR, many)
    assert len(list(trainings.participants(TRAINING_UUID))) == 30


def test_participants_that_dynamodb_never_takes_are_an_error_and_adding_them_again_is_safe(
    stack: Stack, trainings: TrainingRepository
) -> None:
    many = [participant(f"p{number}") for number in range(30)]
    last = f"PARTICIPANT#{many[24].uuid}"
    faults = Faults(stack.dynamodb)
    faults.leave_undone(
        "BatchWriteItem", lambda put: put["PutRequest"]["Item"]["entity"]["S"] == last, times=5
    )
    with pytest.raises(ParticipantsNotWrittenError, match="1 participants"):
        trainings.create(TRAINING_UUID, MODEL_UUID, ACTOR, many)
    assert place(trainings) == (INITIAL, 0)
    trainings.add_participants(TRAINING_UUID, many)
    assert len(list(trainings.participants(TRAINING_UUID))) == 30


def test_a_participant_gets_a_model_of_its_own_and_loses_it_again(
    stack: Stack, trainings: TrainingRepository
) -> None:
    stack.put(training_item(), participant_item("one"))
    trainings.set_model(TRAINING_UUID, ONE.uuid, OWN_MODEL_UUID)
    assert [each.model_uuid for each in trainings.participants(TRAINING_UUID)] == [OWN_MODEL_UUID]
    trainings.set_model(TRAINING_UUID, ONE.uuid, None)
    assert stack.item(TRAINING_UUID, f"PARTICIPANT#{ONE.uuid}") == participant_item("one")
    with pytest.raises(TrainingNotFoundError, match=f"no participant {TWO.uuid}"):
        trainings.set_model(TRAINING_UUID, TWO.uuid, OWN_MODEL_UUID)


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "step"),
    [
        ("GetItem", lambda each: each.get(TRAINING_UUID)),
        ("Query", lambda each: list(each.participants(TRAINING_UUID))),
        ("PutItem", lambda each: each.create(uuid_of("new"), MODEL_UUID, ACTOR)),
        ("UpdateItem", lambda each: each.next_round(TRAINING_UUID)),
        ("UpdateItem", lambda each: each.set_model(TRAINING_UUID, ONE.uuid, MODEL_UUID)),
        ("DeleteItem", lambda each: each.remove_participant(TRAINING_UUID, ONE.uuid)),
        ("BatchWriteItem", lambda each: each.add_participants(TRAINING_UUID, [ONE])),
        ("TransactWriteItems", lambda each: each.add_participant(TRAINING_UUID, ONE)),
    ],
)
def test_an_error_of_aws_is_passed_on_as_it_is(
    stack: Stack, trainings: TrainingRepository, operation: str, step: Step
) -> None:
    stack.put(training_item())
    Faults(stack.dynamodb).refuse(operation, "AccessDeniedException")
    with pytest.raises(ClientError, match="AccessDeniedException"):
        step(trainings)


def test_all_refusals_have_one_base() -> None:
    for error in (
        ParticipantExistsError,
        ParticipantsNotWrittenError,
        TrainingExistsError,
        TrainingNotFoundError,
        WrongStateError,
    ):
        assert issubclass(error, TrainingRepositoryError)


def test_without_a_clock_the_times_are_of_now_in_utc(stack: Stack) -> None:
    trainings = TrainingRepository(stack.dynamodb, stack.trainings_table)
    made = trainings.create(TRAINING_UUID, MODEL_UUID, ACTOR)
    assert made.last_update is not None
    moment = datetime.fromisoformat(made.last_update)
    assert moment.utcoffset() == timedelta(0)
    assert abs(datetime.now(moment.tzinfo) - moment) < timedelta(minutes=1)

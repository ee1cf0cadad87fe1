"""The table "State change → notifications", row by row, and what holds for all changes."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_notifications.notification_type import NotificationType
from fl_notifications.notifications.changes import notification_types
from fl_notifications.trainings.model import (
    FINAL_STATES,
    FailurePolicy,
    Receiver,
    Training,
    TrainingOptions,
    TrainingState,
)
from tests.made import ACTOR, MODEL_UUID, OWN_MODEL_UUID, training, uuid_of

START = NotificationType.TRAINING_START
UPDATE = NotificationType.UPDATE_ROUND_START
SWAG = NotificationType.SWAG_ROUND_START
TEST = NotificationType.MODEL_TEST_ROUND
FINISHED = NotificationType.TRAINING_FINISHED
ERROR = NotificationType.TRAINING_ERROR
ROUND_TYPES = {UPDATE, SWAG, TEST}

INITIAL = TrainingState.INITIAL
ONGOING = TrainingState.ONGOING
SWAG_ROUND = TrainingState.SWAG_ROUND
MODEL_TEST = TrainingState.MODEL_TEST
COMPLETED = TrainingState.COMPLETED
FAILED = TrainingState.ERROR

RUNNING = {ONGOING: UPDATE, SWAG_ROUND: SWAG, MODEL_TEST: TEST}
ENDS = {COMPLETED: FINISHED, FAILED: ERROR}

type Place = tuple[TrainingState, int]


def types(old: Place | None, new: Place | None) -> list[NotificationType]:
    before, after = (
        None if place is None else training(state=place[0], round=place[1]) for place in (old, new)
    )
    return list(notification_types(before, after))


@pytest.mark.parametrize("old", [None, (INITIAL, 0), (INITIAL, 3), (COMPLETED, 3), (FAILED, 3)])
@pytest.mark.parametrize("state", RUNNING)
def test_a_run_that_begins_or_goes_on_tells_the_start_and_then_its_round(
    old: Place | None, state: TrainingState
) -> None:
    assert types(old, (state, 3)) == [START, RUNNING[state]]


@pytest.mark.parametrize("old", RUNNING)
@pytest.mark.parametrize("new", RUNNING)
def test_within_a_run_a_round_is_told_when_state_or_round_changed(
    old: TrainingState, new: TrainingState
) -> None:
    assert types((old, 3), (new, 4)) == [RUNNING[new]]
    assert types((old, 3), (new, 2)) == [RUNNING[new]]
    assert types((old, 3), (new, 3)) == ([] if old is new else [RUNNING[new]])


@pytest.mark.parametrize("state", ENDS)
def test_the_end_is_told_once_and_not_again_when_the_round_of_an_ended_training_changes(
    state: TrainingState,
) -> None:
    for other in set(TrainingState) - {state}:
        assert types((other, 3), (state, 3)) == [ENDS[state]]
    assert types(None, (state, 3)) == [ENDS[state]]
    assert types((state, 3), (state, 4)) == []


@pytest.mark.parametrize("old", [None, *TrainingState])
def test_becoming_initial_is_told_to_nobody(old: TrainingState | None) -> None:
    assert types(None if old is None else (old, 3), (INITIAL, 0)) == []


@pytest.mark.parametrize("old", [None, *TrainingState])
def test_a_training_that_is_deleted_while_it_runs_has_ended_with_an_error(
    old: TrainingState | None,
) -> None:
    expected = [ERROR] if old in RUNNING else []
    assert types(None if old is None else (old, 3), None) == expected


trainings = st.builds(
    training,
    state=st.sampled_from(TrainingState),
    round=st.integers(0, 3),
    model_uuid=st.sampled_from([MODEL_UUID, OWN_MODEL_UUID]),
)
# What a server may change of a training without anybody being told.
silent_changes = st.fixed_dictionaries(
    {},
    optional={
        "model_uuid": st.sampled_from([MODEL_UUID, OWN_MODEL_UUID]),
        "actor": st.sampled_from(
            [ACTOR, Receiver(uuid=uuid_of("other"), message_endpoint="https://other.example/")]
        ),
        "last_update": st.sampled_from(["2026-01-01T00:00:00Z", None]),
        "options": st.builds(TrainingOptions, failure_policy=st.sampled_from(FailurePolicy)),
        "error": st.sampled_from([{"reason": "disk full"}, None]),
    },
)


@settings(max_examples=50)
@given(trainings, silent_changes)
def test_what_changes_neither_state_nor_round_is_told_to_nobody(
    old: Training, changed: dict[str, Any]
) -> None:
    assert notification_types(old, old.model_copy(update=changed)) == ()


@given(st.none() | trainings, trainings)
def test_at_most_one_round_is_told_and_it_is_told_last(old: Training | None, new: Training) -> None:
    told = notification_types(old, new)
    assert len(ROUND_TYPES & set(told)) == len([each for each in told if each in ROUND_TYPES]) <= 1
    if ROUND_TYPES & set(told):
        assert told[-1] in ROUND_TYPES


@given(st.none() | trainings, trainings)
def test_the_start_is_told_exactly_when_a_training_runs_that_did_not(
    old: Training | None, new: Training
) -> None:
    told = notification_types(old, new)
    begins = new.state in RUNNING and (old is None or old.state not in RUNNING)
    assert (told[:1] == (START,)) == begins
    assert START not in told[1:]


@given(st.none() | trainings, trainings)
def test_only_the_new_state_decides_which_round_or_end_is_told(
    old: Training | None, new: Training
) -> None:
    expected = {ONGOING: UPDATE, SWAG_ROUND: SWAG, MODEL_TEST: TEST} | {
        COMPLETED: FINISHED,
        FAILED: ERROR,
    }
    assert set(notification_types(old, new)) - {START} <= {expected.get(new.state)}


@settings(max_examples=50)
@given(
    trainings,
    st.lists(st.builds(lambda s, r: (s, r), st.sampled_from(TrainingState), st.integers(0, 3))),
)
def test_each_end_is_told_as_often_as_a_training_comes_to_it(
    first: Training, places: list[Place]
) -> None:
    """Over a whole life, with changes of the round of an ended training in between."""
    told: list[NotificationType] = []
    ends = 0
    old = first
    for state, number in places:
        new = old.model_copy(update={"state": state, "round": number})
        told += notification_types(old, new)
        ends += state in FINAL_STATES and old.state is not state
        old = new
    assert len([each for each in told if each in {FINISHED, ERROR}]) == ends

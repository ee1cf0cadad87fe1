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

type Place = tuple[TrainingState, int]


def types(old: Place | None, new: Place) -> list[NotificationType]:
    before = None if old is None else training(state=old[0], round=old[1])
    return list(notification_types(before, training(state=new[0], round=new[1])))


@pytest.mark.parametrize("old", [None, (INITIAL, 0), (INITIAL, 3), (INITIAL, 7)])
def test_becoming_ongoing_from_nothing_or_initial_starts_the_training_and_its_round(
    old: Place | None,
) -> None:
    assert types(old, (ONGOING, 3)) == [START, UPDATE]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((ONGOING, 3), (ONGOING, 4)),
        ((ONGOING, 3), (ONGOING, 2)),
        ((SWAG_ROUND, 3), (ONGOING, 3)),
        ((MODEL_TEST, 3), (ONGOING, 4)),
        ((COMPLETED, 3), (ONGOING, 3)),
        ((FAILED, 3), (ONGOING, 3)),
    ],
)
def test_another_round_of_an_ongoing_training_or_coming_back_to_it_starts_a_round(
    old: Place, new: Place
) -> None:
    assert types(old, new) == [UPDATE]


@pytest.mark.parametrize(
    ("state", "told"), [(SWAG_ROUND, SWAG), (MODEL_TEST, TEST)], ids=["swag", "test"]
)
@pytest.mark.parametrize("other", [INITIAL, ONGOING, COMPLETED, FAILED])
def test_a_swag_or_test_round_is_told_when_state_or_round_changed(
    state: TrainingState, told: NotificationType, other: TrainingState
) -> None:
    assert types((other, 3), (state, 3)) == [told]
    assert types((state, 3), (state, 4)) == [told]
    assert types(None, (state, 0)) == [told]
    assert types((state, 3), (state, 3)) == []


@pytest.mark.parametrize(("state", "told"), [(COMPLETED, FINISHED), (FAILED, ERROR)])
def test_the_end_is_told_once_and_not_again_when_the_round_of_an_ended_training_changes(
    state: TrainingState, told: NotificationType
) -> None:
    for other in set(TrainingState) - {state}:
        assert types((other, 3), (state, 3)) == [told]
    assert types(None, (state, 3)) == [told]
    assert types((state, 3), (state, 4)) == []


@pytest.mark.parametrize("old", [None, *TrainingState])
def test_becoming_initial_is_told_to_nobody(old: TrainingState | None) -> None:
    assert types(None if old is None else (old, 3), (INITIAL, 0)) == []


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
def test_the_start_is_told_only_together_with_a_round(old: Training | None, new: Training) -> None:
    told = notification_types(old, new)
    assert told.count(START) <= 1
    if START in told:
        assert told == (START, UPDATE)
        assert old is None or old.state is INITIAL


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

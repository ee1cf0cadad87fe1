"""What is no longer true is not sent: the paragraph on superseded notifications, case by case.

A receiver is busy when it is told something for the first time, and while it says so the training
changes: so the change is certain to come before the second attempt. All cases run at once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import pytest

from fl_notifications_cli.participants import (
    Answer,
    Participant,
    ParticipantServer,
    Request,
)
from tests.e2e.pipeline.kit import (
    ERROR,
    FINISHED,
    NOBODY_NEEDED,
    REMOVED,
    START,
    FlServer,
    Outcomes,
    TrainingItem,
    arrived,
    expect,
    model_test,
    swag,
    update,
)


@dataclass(frozen=True)
class Case:
    """What happens while a notification waits for its second attempt.

    Attributes:
        states: Written after `ONGOING` has been told.
        waiting: The notification that waits.
        change: What happens meanwhile.
        reason: Why it is superseded; None if it is sent all the same.
        later: What the receiver is told after that.
    """

    states: tuple[tuple[str, int], ...]
    waiting: str
    change: Callable[[TrainingItem, Participant], None]
    reason: str | None
    later: tuple[str, ...] = ()


def becomes(state: str, round_number: int = 0) -> Callable[[TrainingItem, Participant], None]:
    return lambda training, _participant: training.write(state, round_number)


def is_deleted(training: TrainingItem, _participant: Participant) -> None:
    training.delete()


def participant_leaves(training: TrainingItem, participant: Participant) -> None:
    training.leave(participant)


ONGOING: Final = ()
SWAG: Final = (("SWAG_ROUND", 0),)
MODEL_TEST: Final = (("MODEL_TEST", 0),)
COMPLETED: Final = (("COMPLETED", 0),)
IN_ERROR: Final = (("ERROR", 0),)

CASES: Final[Mapping[str, Case]] = {
    # --- the training is over
    "start, training gone": Case(ONGOING, START, is_deleted, "the training is gone", (ERROR,)),
    "start, INITIAL": Case(ONGOING, START, becomes("INITIAL"), "the training is INITIAL"),
    "update, training gone": Case(ONGOING, update(0), is_deleted, "the training is gone", (ERROR,)),
    "update, COMPLETED": Case(
        ONGOING, update(0), becomes("COMPLETED"), "the training is COMPLETED", (FINISHED,)
    ),
    "update, ERROR": Case(ONGOING, update(0), becomes("ERROR"), "the training is ERROR", (ERROR,)),
    "swag, COMPLETED": Case(
        SWAG, swag(0), becomes("COMPLETED"), "the training is COMPLETED", (FINISHED,)
    ),
    "model test, ERROR": Case(
        MODEL_TEST, model_test(0), becomes("ERROR"), "the training is ERROR", (ERROR,)
    ),
    # --- the round is over
    "update, next round": Case(
        ONGOING, update(0), becomes("ONGOING", 1), "the training is in another round", (update(1),)
    ),
    "update, next state": Case(
        ONGOING, update(0), becomes("MODEL_TEST"), "the training is MODEL_TEST", (model_test(0),)
    ),
    "swag, next round": Case(
        SWAG, swag(0), becomes("SWAG_ROUND", 1), "the training is in another round", (swag(1),)
    ),
    "swag, next state": Case(
        SWAG, swag(0), becomes("ONGOING"), "the training is ONGOING", (update(0),)
    ),
    "model test, next round": Case(
        MODEL_TEST,
        model_test(0),
        becomes("MODEL_TEST", 1),
        "the training is in another round",
        (model_test(1),),
    ),
    "model test, next state": Case(
        MODEL_TEST, model_test(0), becomes("ONGOING", 1), "the training is ONGOING", (update(1),)
    ),
    # --- the receiver is out
    "start, participant removed": Case(
        ONGOING, START, participant_leaves, "the receiver is no longer a participant", (REMOVED,)
    ),
    "update, participant removed": Case(
        ONGOING,
        update(0),
        participant_leaves,
        "the receiver is no longer a participant",
        (REMOVED,),
    ),
    "swag, participant removed": Case(
        SWAG, swag(0), participant_leaves, "the receiver is no longer a participant", (REMOVED,)
    ),
    "model test, participant removed": Case(
        MODEL_TEST,
        model_test(0),
        participant_leaves,
        "the receiver is no longer a participant",
        (REMOVED,),
    ),
    # --- and what is still true is sent
    "start, next round": Case(ONGOING, START, becomes("ONGOING", 1), None, (START, update(1))),
    "start, COMPLETED": Case(ONGOING, START, becomes("COMPLETED"), None, (START, FINISHED)),
    "start, ERROR": Case(ONGOING, START, becomes("ERROR"), None, (START, ERROR)),
    "finished, training gone": Case(COMPLETED, FINISHED, is_deleted, None, (FINISHED,)),
    "finished, ONGOING again": Case(
        COMPLETED, FINISHED, becomes("ONGOING", 1), None, (FINISHED, update(1))
    ),
    "error, training gone": Case(IN_ERROR, ERROR, is_deleted, None, (ERROR,)),
    "update, the same again": Case(ONGOING, update(0), becomes("ONGOING"), None, (update(0),)),
}


class BusyOnce:
    """Accepts all, but is busy at the first attempt of one notification, and acts meanwhile."""

    def __init__(self, label: str) -> None:
        self._label = label
        self.act: Callable[[], None] = lambda: None

    def __call__(self, request: Request, attempt: int) -> Answer:
        if request.label == self._label and attempt == 1:
            self.act()
            return Answer(503)
        return Answer(200)


@dataclass
class Begun:
    """A case that has begun."""

    training: TrainingItem
    participant: Participant
    told: list[str]


@pytest.fixture(scope="module")
def begun(fl_server: FlServer, long_lived: ParticipantServer) -> Mapping[str, Begun]:
    """All cases, begun at once."""
    cases: dict[str, Begun] = {}
    for name, case in CASES.items():
        behaviour = BusyOnce(case.waiting)
        participant = long_lived.add(behaviour, name=name)
        training = fl_server.training(participant, state="INITIAL", options=NOBODY_NEEDED)
        behaviour.act = partial(case.change, training, participant)
        training.write("ONGOING")
        cases[name] = Begun(training, participant, [])
    for name, case in CASES.items():
        one = cases[name]
        one.told = [START] if case.waiting == START else [START, update(0)]
        for state, round_number in case.states:
            arrived(one.participant, len(one.told))
            one.training.write(state, round_number)
            one.told.append(case.waiting)
    return cases


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.reason])
def test_what_is_no_longer_true_is_not_sent(
    name: str, begun: Mapping[str, Begun], outcomes: Outcomes
) -> None:
    case, one = CASES[name], begun[name]

    event = outcomes.wait_for(one.training, one.participant, case.waiting)

    detail = event["detail"]
    assert event["detail-type"] == "Notification Superseded"
    assert (detail["attempts"], detail["status_code"], detail["reason"], detail["callback"]) == (
        1,
        503,
        case.reason,
        None,
    )
    # In order after the superseded ones: had there been another POST, it would have come before.
    expect(one.participant, *one.told, *case.later)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.reason])
def test_what_is_still_true_is_sent(
    name: str, begun: Mapping[str, Begun], outcomes: Outcomes
) -> None:
    case, one = CASES[name], begun[name]

    expect(one.participant, *one.told, *case.later)

    event = outcomes.wait_for(one.training, one.participant, case.waiting)
    assert event["detail-type"] == "Notification Accepted"
    assert event["detail"]["attempts"] == 2

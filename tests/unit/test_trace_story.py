from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_notifications_cli.tracing.steps import OF_TRAININGS, Step, StepKind, parse_step
from fl_notifications_cli.tracing.story import UNDECIDED, tell
from tests.trace_lines import START, TRAINING, MadeUpTraining, receiver_uuid


def made_up(**behaviours: str) -> list[Step]:
    numbered = {int(name[1:]): behaviour for name, behaviour in behaviours.items()}
    training = MadeUpTraining(receivers=4, rounds=3, behaviours=numbered)
    return [step for text in training.lines() if (step := parse_step(text))]


def step(kind: StepKind, after: float = 0, **fields: object) -> Step:
    at = START + timedelta(seconds=after)
    return Step(at, kind, TRAINING, **{"notification_id": "n", **fields})  # type: ignore[arg-type]


def test_each_receiver_has_its_notifications_in_the_order_in_which_they_begin() -> None:
    story = tell(TRAINING, made_up())

    assert len(story.receivers) == 4
    for receiver in story.receivers:
        assert [(n.notification_type, n.round) for n in receiver.notifications] == [
            ("TRAINING_START", None),
            ("UPDATE_ROUND_START", 0),
            ("UPDATE_ROUND_START", 1),
            ("MODEL_TEST_ROUND", 2),
            ("TRAINING_FINISHED", None),
        ]


def test_a_healthy_training_is_all_accepted() -> None:
    story = tell(TRAINING, made_up())

    assert story.outcomes == {"accepted": 20}
    assert story.failures == ()
    assert not any(receiver.needs_a_look or receiver.retried for receiver in story.receivers)


def test_what_failed_is_listed_with_why_and_attempts() -> None:
    story = tell(TRAINING, made_up(r1="dead", r2="rejecting"))

    assert [(n.receiver_uuid, n.outcome, n.why, n.attempts) for n in story.failures] == [
        (receiver_uuid(1), "failed", "connection refused", 6),
        (receiver_uuid(1), "failed", "connection refused", 6),
        (receiver_uuid(2), "rejected", "HTTP 410", 1),
    ]


def test_what_took_several_attempts_is_retried_but_needs_no_look() -> None:
    story = tell(TRAINING, made_up(r3="flaky"))
    [flaky] = [r for r in story.receivers if r.receiver_uuid == receiver_uuid(3)]

    assert flaky.retried
    assert not flaky.needs_a_look


def test_without_a_conclusion_it_is_undecided() -> None:
    [notification] = tell(TRAINING, [step(StepKind.BUILT)]).notifications

    assert notification.outcome == UNDECIDED
    assert notification.why == ""


def test_the_last_of_repeated_conclusions_counts() -> None:
    [notification] = tell(
        TRAINING,
        [
            step(StepKind.CONCLUDED, 2, outcome="accepted"),
            step(StepKind.CONCLUDED, 1, outcome="failed", reason="timeout"),
        ],
    ).notifications

    assert notification.outcome == "accepted"


def test_a_callback_tells_the_outcome_when_the_conclusion_was_not_read() -> None:
    [notification] = tell(
        TRAINING, [step(StepKind.CALLED_BACK, outcome="rejected", reason="participant removed")]
    ).notifications

    assert notification.outcome == "rejected"
    assert notification.why == ""


def test_lines_without_an_id_belong_together_by_receiver_type_and_round() -> None:
    lines = [
        step(kind, after, notification_id=None, receiver_uuid="r", round=number)
        for after, kind, number in (
            (0, StepKind.BUILT, 1),
            (1, StepKind.ATTEMPTED, 1),
            (2, StepKind.BUILT, 2),
        )
    ]

    assert [len(n.steps) for n in tell(TRAINING, lines).notifications] == [2, 1]


@pytest.mark.parametrize(
    ("status", "reason", "why"),
    [
        (410, None, "HTTP 410"),
        (410, "answered 410", "HTTP 410"),
        (None, "timeout", "timeout"),
        (503, "timeout", "timeout"),
        (None, None, ""),
    ],
)
def test_why_is_the_reason_or_the_status(status: int | None, reason: str | None, why: str) -> None:
    [notification] = tell(
        TRAINING,
        [step(StepKind.CONCLUDED, outcome="failed", status_code=status, reason=reason)],
    ).notifications

    assert notification.why == why


_STEPS = st.lists(
    st.builds(
        Step,
        at=st.integers(0, 9).map(lambda s: START + timedelta(seconds=s)),
        kind=st.sampled_from([kind for kind in StepKind if kind not in OF_TRAININGS]),
        training_uuid=st.just(TRAINING),
        notification_id=st.sampled_from(["a", "b", "c", None]),
        receiver_uuid=st.sampled_from(["r1", "r2", None]),
        outcome=st.sampled_from([None, "accepted", "failed", "unheard of"]),
    )
)


@given(_STEPS)
def test_every_step_is_in_exactly_one_story(steps: list[Step]) -> None:
    story = tell(TRAINING, steps)
    told = [s for n in story.notifications for s in n.steps]
    by_receiver = [s for r in story.receivers for s in r.steps]

    assert sorted(map(repr, told)) == sorted(map(repr, steps)) == sorted(map(repr, by_receiver))


@given(_STEPS)
def test_every_notification_has_exactly_one_outcome(steps: list[Step]) -> None:
    story = tell(TRAINING, steps)

    assert story.outcomes.total() == len(story.notifications)
    assert all(n.steps for n in story.notifications)

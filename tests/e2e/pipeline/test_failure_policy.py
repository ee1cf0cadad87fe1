"""The table "Failure policy", row by row; all trainings run at once."""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from fl_notifications_cli.participants import (
    Answer,
    ParticipantServer,
    Request,
    always,
    rejecting,
)
from fl_notifications_cli.stack import Stack
from tests.e2e.pipeline.kit import (
    ERROR,
    FINISHED,
    REMOVED,
    START,
    FlServer,
    Outcomes,
    arrived,
    eventually,
    expect,
    log_lines,
    some_uuid,
    update,
)
from tests.e2e.pipeline.policy_cases import (
    DOWN,
    POLICY_CASES,
    PolicyTraining,
    at_first_round,
)

LONG: Final = 120.0
"""Until a participant that is down has failed: six attempts, 15 s of waiting between them."""


def _names(*, goes_on: bool) -> list[Any]:
    return [
        pytest.param(name, marks=pytest.mark.lost_connection) if case.bad is DOWN else name
        for name, case in POLICY_CASES.items()
        if (case.reason is None) is goes_on
    ]


GOES_ON: Final = _names(goes_on=True)
ENDS: Final = _names(goes_on=False)


@pytest.mark.parametrize("name", GOES_ON)
def test_the_training_goes_on_without_the_one_who_is_removed(
    name: str, policy_trainings: Mapping[str, PolicyTraining]
) -> None:
    one = policy_trainings[name]

    eventually(
        lambda: one.training.participants,
        lambda uuids: uuids == {participant.uuid for participant in one.good},
        "only the good participants are left",
        seconds=LONG,
    )

    _one_is_told_of_its_removal(one)
    removed = one.training.read(f"REMOVED#{one.bad.uuid}")
    assert removed["reason"].startswith("UPDATE_ROUND_START to a participant: ")
    assert removed["notification_id"] in {request.webhook_id for request in one.bad.requests}
    one.training.write("ONGOING", 1)
    for good in one.good:
        expect(good, START, update(0), update(1))
    assert one.training.state == "ONGOING"
    assert "error" not in one.training.read()
    one.training.write("COMPLETED", 1)
    expect(one.actor, FINISHED)
    assert set(one.bad.labels) == {START, update(0), REMOVED}


@pytest.mark.parametrize("name", ENDS)
def test_the_training_becomes_error_and_the_survivors_are_told(
    name: str, policy_trainings: Mapping[str, PolicyTraining]
) -> None:
    case, one = POLICY_CASES[name], policy_trainings[name]

    item = eventually(
        one.training.read,
        lambda item: item.get("state") == "ERROR",
        "the training is ERROR",
        seconds=LONG,
    )

    error = item["error"]
    assert case.reason
    assert case.reason in error["reason"]
    assert error["receiver_uuid"] == one.bad.uuid
    assert error["round"] == 0
    assert datetime.fromisoformat(error["at"]).tzinfo is not None
    rounds = {request.webhook_id for request in one.bad.requests if request.label == update(0)}
    assert rounds == {error["notification_id"]}
    for good in one.good:
        expect(good, START, update(0), ERROR)
    [told] = expect(one.actor, ERROR)
    assert told.message["body"] == {"data": {"reason": error["reason"], "round": 0}}


@pytest.mark.parametrize("name", ENDS)
def test_only_who_is_removed_is_missing_when_the_training_has_ended(
    name: str, policy_trainings: Mapping[str, PolicyTraining]
) -> None:
    case, one = POLICY_CASES[name], policy_trainings[name]

    eventually(lambda: one.training.state, lambda state: state == "ERROR", "ERROR", seconds=LONG)

    staying = [*one.good, *([] if case.removed else [one.bad])]
    assert one.training.participants == {participant.uuid for participant in staying}
    if case.removed:
        _one_is_told_of_its_removal(one)
    else:
        # It takes all but the round: so it hears of the end as well.
        arrived(one.bad, 1)
        eventually(lambda: one.bad.labels, lambda labels: labels[-1] == ERROR, "the bad one's end")
        assert REMOVED not in one.bad.labels


def _one_is_told_of_its_removal(one: PolicyTraining) -> None:
    eventually(lambda: one.bad.labels, lambda labels: labels[-1] == REMOVED, "the bad one's end")
    labels = one.bad.labels
    assert labels[0] == START
    assert labels[-1] == REMOVED
    assert set(labels[1:-1]) == {update(0)}


@pytest.mark.parametrize("state", ["SWAG_ROUND", "MODEL_TEST"])
def test_other_rounds_have_the_same_consequences(
    state: str, fl_server: FlServer, participants: ParticipantServer
) -> None:
    bad, good = participants.add(rejecting(7)), participants.add()
    training = fl_server.training(bad, good, state=state)

    training.write(state, 7)

    eventually(lambda: training.participants, lambda left: left == {good.uuid}, "one is removed")
    assert training.state == state


def test_what_is_no_round_has_no_consequences(
    fl_server: FlServer, participants: ParticipantServer, outcomes: Outcomes
) -> None:
    def all_but_rounds(request: Request, _attempt: int) -> Answer:
        return Answer(200 if request.round is not None else 400)

    one = participants.add(all_but_rounds)
    training = fl_server.training(
        one, state="ONGOING", options={"required_participants": [one.uuid]}
    )
    event = outcomes.wait_for(training, one, START)
    assert event["detail-type"] == "Notification Rejected"
    assert event["detail"]["callback"] is None
    outcomes.wait_for(training, one, update(0))
    training.write("COMPLETED")
    event = outcomes.wait_for(training, one, FINISHED)
    assert event["detail-type"] == "Notification Rejected"
    assert event["detail"]["callback"] is None

    assert training.state == "COMPLETED"
    assert training.participants == {one.uuid}


def test_a_participant_that_was_removed_and_joins_again_stays(
    fl_server: FlServer, participants: ParticipantServer
) -> None:
    bad, good = participants.add(rejecting(0)), participants.add()
    training = fl_server.training(bad, good, state="ONGOING")
    expect(bad, START, update(0), REMOVED)

    training.join(bad, joined_at="2026-03-01T12:00:00+00:00")
    expect(bad, START, update(0), REMOVED, START)
    training.write("ONGOING", 1)

    expect(bad, START, update(0), REMOVED, START, update(1))
    assert training.participants == {bad.uuid, good.uuid}


def test_a_training_that_is_over_is_left_alone(
    fl_server: FlServer, participants: ParticipantServer, outcomes: Outcomes
) -> None:
    """The participant fails a round of a training that its server has ended meanwhile."""
    one = participants.add(always(400))
    training = fl_server.training(one, state=None)

    training.write("ONGOING")
    outcomes.wait_for(training, one, update(0))
    eventually(lambda: training.state, lambda state: state == "ERROR", "ERROR")
    before = training.read()
    training.write("COMPLETED")
    outcomes.wait_for(training, one, REMOVED)

    assert training.state == "COMPLETED"
    assert training.read()["error"] == before["error"]


# --- whoever removes a participant ----------------------------------------------------------------


def test_a_training_whose_server_removes_the_last_participant_ends(
    fl_server: FlServer, participants: ParticipantServer
) -> None:
    one = participants.add()
    training = fl_server.training(one, state="ONGOING")
    expect(one, START, update(0))

    training.leave(one)

    eventually(lambda: training.state, lambda state: state == "ERROR", "ERROR")
    error = training.read()["error"]
    assert error["reason"] == "fewer than 1 participants are left"
    assert error["receiver_uuid"] == one.uuid
    expect(one, START, update(0), REMOVED)


def test_a_training_whose_server_removes_a_required_participant_ends(
    fl_server: FlServer, participants: ParticipantServer
) -> None:
    one, other = participants.add(), participants.add()
    training = fl_server.training(
        one, other, state="ONGOING", options={"required_participants": [one.uuid.upper()]}
    )
    expect(one, START, update(0))

    training.leave(one)

    expect(other, START, update(0), ERROR)
    assert training.read()["error"]["reason"] == "a required participant is out"


def test_a_training_that_starts_without_participants_ends(fl_server: FlServer) -> None:
    training = fl_server.training(state="ONGOING", options={})

    eventually(lambda: training.state, lambda state: state == "ERROR", "ERROR")


def test_a_training_that_starts_without_a_required_participant_ends(
    fl_server: FlServer, participants: ParticipantServer
) -> None:
    one, missing = participants.add(), some_uuid()
    training = fl_server.training(
        one, state="ONGOING", options={"required_participants": [missing]}
    )

    expect(one, START, update(0), ERROR)
    assert training.read()["error"]["receiver_uuid"] == missing


def test_who_cannot_be_told_does_not_count(
    fl_server: FlServer, participants: ParticipantServer
) -> None:
    one = participants.add()
    training = fl_server.training(one, state="INITIAL", options={"min_participants": 2})
    training.put(f"PARTICIPANT#{some_uuid()}", message_endpoint=7)

    training.write("ONGOING")

    eventually(lambda: training.state, lambda state: state == "ERROR", "ERROR")


@pytest.mark.lost_connection
@pytest.mark.parametrize("policy", ["strict", "quorum"])
def test_the_failure_of_one_membership_does_not_concern_the_next(
    policy: str, fl_server: FlServer, participants: ParticipantServer, outcomes: Outcomes
) -> None:
    """A dead participant is removed and joins again while its notice is still tried."""
    bad, good = participants.add(at_first_round(None)), participants.add()
    training = fl_server.training(state=None)
    training.join(bad, good, joined_at=datetime.now(UTC).isoformat())
    training.write("ONGOING", options={"failure_policy": policy})
    arrived(bad, 2)

    training.leave(bad)
    training.join(bad, joined_at=datetime.now(UTC).isoformat())
    ended = outcomes.wait_for(training, bad, update(0))
    training.write("ONGOING", 1)

    expect(good, START, update(0), update(1))
    eventually(lambda: bad.labels, lambda labels: labels[-2:] == [START, update(1)], "both")
    assert ended["detail-type"] == "Notification Superseded"
    assert training.participants == {bad.uuid, good.uuid}
    assert training.state == "ONGOING"


# --- events that come again, or late -------------------------------------------------------------


def _again(stack: Stack, event: Mapping[str, Any]) -> None:
    """Put an event on the bus once more, and wait until CallbackFailure has dealt with it."""
    notification_id, since = event["detail"]["notification_id"], time.time()
    answer = stack.client("events").put_events(
        Entries=[
            {
                "EventBusName": stack.output("OutcomesBus"),
                "Source": event["source"],
                "DetailType": event["detail-type"],
                "Detail": json.dumps(event["detail"]),
            }
        ]
    )
    assert answer["FailedEntryCount"] == 0
    eventually(
        lambda: [
            line["reason"]
            for line in log_lines(stack, notification_id, since)
            if line.get("step") == "called back"
        ],
        bool,
        "a line of the log by CallbackFailure",
    )


def test_a_failure_that_is_told_again_does_not_end_what_has_been_started_again(
    stack: Stack, fl_server: FlServer, participants: ParticipantServer, outcomes: Outcomes
) -> None:
    bad, good = participants.add(), participants.add()
    bad.message_endpoint = "no url at all"
    training = fl_server.training(bad, good, state="ONGOING")
    event = outcomes.wait_for(training, bad, update(0))
    expect(good, START, update(0), ERROR)
    before = training.read()["error"]
    _again(stack, event)
    assert training.read()["error"] == before, "no second time"

    training.leave(bad)  # or it would fail the next round as well
    training.write("MODEL_TEST", 0)
    _again(stack, event)
    assert training.read()["state"] == "MODEL_TEST"

    training.write("ONGOING", 1)
    _again(stack, event)
    assert training.read()["state"] == "ONGOING"

    training.write("COMPLETED", 0)
    _again(stack, event)
    assert training.read()["state"] == "COMPLETED"
    training.delete()
    _again(stack, event)
    assert training.read() == {}


def test_a_rejection_that_is_told_again_does_not_remove_who_has_joined_again(
    stack: Stack, fl_server: FlServer, participants: ParticipantServer, outcomes: Outcomes
) -> None:
    bad, good = participants.add(rejecting(0)), participants.add()
    training = fl_server.training(bad, good, state="ONGOING")
    event = outcomes.wait_for(training, bad, update(0))
    expect(bad, START, update(0), REMOVED)

    _again(stack, event)
    training.join(bad, joined_at=datetime.now(UTC).isoformat())
    _again(stack, event)

    assert training.participants == {bad.uuid, good.uuid}
    assert training.state == "ONGOING"

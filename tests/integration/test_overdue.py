"""CallbackFailure: what follows when a round lasts longer than its deadline."""

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from fl_notifications.deliveries.delivery import ANNOUNCED_STATE, notification_id
from fl_notifications.notification_type import NotificationType
from functions.callback_failure import overdue as overdue_module
from functions.callback_failure.overdue import BUDGET_SECONDS
from tests.events import BEFORE, BEGAN_AT, RUN, change
from tests.integration.callbacks import (
    Failure,
    given,
    leave,
    meanwhile,
    participants,
    reason,
    state,
)
from tests.integration.faults import Faults
from tests.integration.stack import Stack
from tests.made import NOW, TRAINING_UUID, item, participant_item, training, training_item, uuid_of

ROUND_CHANGE = "200"
DURING = (BEGAN_AT + timedelta(minutes=1)).isoformat()
REMOVALS = ["remove_unaccepted", "remove_unreported"]


def overdue(**values: Any) -> Any:
    return change("Training Overdue", **values)


def deadline(policy: str, seconds: int = 60, **others: Any) -> dict[str, Any]:
    return {"round_deadline_seconds": seconds, "on_deadline": policy} | others


def told(stack: Stack, *, round_change: str = ROUND_CHANGE, **values: Any) -> None:
    """What the builder has written when it had told the round."""
    known = training(**values).model_dump(mode="json", exclude_defaults=True)
    entry = {
        "notification_id": f"run#{TRAINING_UUID}",
        "run": RUN,
        "round_change": round_change,
        "training": json.dumps(known),
    }
    stack.dynamodb.put_item(TableName=stack.ledger_table, Item=item(entry))


def notice(
    name: str,
    kind: NotificationType = NotificationType.UPDATE_ROUND_START,
    joined_at: str | None = BEFORE,
) -> str:
    return notification_id(
        kind,
        uuid_of(name),
        training_uuid=TRAINING_UUID,
        run=RUN,
        source=ROUND_CHANGE,
        joined_at=joined_at,
    )


def ended(stack: Stack, notices: Iterable[str], outcome: str = "accepted") -> None:
    """What the deliverer has written about notices that have ended."""
    for each in notices:
        entry = {"notification_id": each, "attempts": 1, "outcome": outcome, "at": NOW.isoformat()}
        stack.dynamodb.put_item(TableName=stack.ledger_table, Item=item(entry))


# --- the table --------------------------------------------------------------------------------


def test_with_the_policy_error_the_training_ends_and_everybody_stays(
    stack: Stack, failure: Failure
) -> None:
    given(stack, "one", "two", options=deadline("error"))
    assert failure(overdue()) == 0
    assert (participants(stack), state(stack)) == ({"one", "two"}, "ERROR")
    now = stack.item(TRAINING_UUID)
    assert now is not None
    assert now["error"]["M"]["reason"] == {"S": "the round was not over by its deadline"}
    assert now["error"]["M"]["round"] == {"N": "3"}
    assert set(now["error"]["M"]) == {"reason", "state", "round", "at"}


@pytest.mark.parametrize("outcome", ["rejected", "failed", "superseded", None])
def test_who_has_not_accepted_the_round_is_removed(
    stack: Stack, failure: Failure, outcome: str | None
) -> None:
    given(stack, "one", "two", options=deadline("remove_unaccepted"))
    told(stack)
    ended(stack, [notice("one")])
    if outcome is not None:
        ended(stack, [notice("two")], outcome)
    assert failure(overdue(policy="remove_unaccepted")) == 0
    assert (participants(stack), state(stack)) == ({"one"}, "ONGOING")
    assert reason(failure) == "1 participants removed"


def test_who_has_not_reported_this_round_is_removed_though_it_accepted_it(
    stack: Stack, failure: Failure
) -> None:
    given(stack, options=deadline("remove_unreported"))
    told(stack)
    stack.put(
        participant_item("one", joined_at=BEFORE, reported="ONGOING#3"),
        participant_item("two", joined_at=BEFORE, reported="ONGOING#2"),
        participant_item("three", joined_at=BEFORE),
    )
    ended(stack, [notice("two")])
    failure(overdue(policy="remove_unreported"))
    assert participants(stack) == {"one"}


@pytest.mark.parametrize("kind", ANNOUNCED_STATE)
@pytest.mark.parametrize("policy", REMOVALS)
def test_all_rounds_have_deadlines(
    stack: Stack, failure: Failure, kind: NotificationType, policy: str
) -> None:
    where = ANNOUNCED_STATE[kind]
    given(stack, "two", state=where.value, options=deadline(policy))
    stack.put(participant_item("one", joined_at=BEFORE, reported=f"{where}#3"))
    told(stack, state=where)
    ended(stack, [notice("one", kind)])
    failure(overdue(state=where.value, policy=policy))
    assert participants(stack) == {"one"}


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        ("remove_unaccepted", "UPDATE_ROUND_START to a participant: not accepted by the deadline"),
        ("remove_unreported", "UPDATE_ROUND_START to a participant: not reported by the deadline"),
    ],
)
def test_the_removal_is_that_of_the_failure_policy(
    stack: Stack, failure: Failure, policy: str, why: str
) -> None:
    given(stack, "one", options=deadline(policy))
    told(stack)
    failure(overdue(policy=policy))
    removed = stack.item(TRAINING_UUID, f"REMOVED#{uuid_of('one')}")
    assert removed is not None
    assert (removed["reason"], removed["notification_id"], removed["joined_at"]) == (
        {"S": why},
        {"S": notice("one")},
        {"S": BEFORE},
    )
    entry = stack.ledger(notice("one"))
    assert entry is not None
    assert entry["participant_removed"] == {"BOOL": True}


def test_nobody_is_removed_for_a_round_that_the_service_has_not_told(
    stack: Stack, failure: Failure
) -> None:
    """It was told before there was a service: the ledger knows of nobody who accepted it."""
    given(stack, "one", "two", options=deadline("remove_unaccepted"))
    told(stack, round_change="0")
    assert failure(overdue(policy="remove_unaccepted", sequence="0")) == 0
    assert participants(stack) == {"one", "two"}
    assert reason(failure).startswith("nothing to do: the round was not told by this service")


def test_who_has_not_reported_such_a_round_is_removed(stack: Stack, failure: Failure) -> None:
    given(stack, options=deadline("remove_unreported"))
    stack.put(
        participant_item("one", joined_at=BEFORE, reported="ONGOING#3"),
        participant_item("two", joined_at=BEFORE),
    )
    told(stack, round_change="0")
    assert failure(overdue(policy="remove_unreported", sequence="0")) == 0
    assert participants(stack) == {"one"}


# --- who is exempt ----------------------------------------------------------------------------


@pytest.mark.parametrize("policy", REMOVALS)
@pytest.mark.parametrize(
    ("joined_at", "stays"),
    [(DURING, True), (BEFORE, False), (None, False), ("at noon", False), (7, False)],
)
def test_who_joined_after_the_round_began_is_exempt(
    stack: Stack,
    failure: Failure,
    policy: str,
    joined_at: Any,
    stays: bool,  # noqa: FBT001 - a parameter
) -> None:
    given(stack, options=deadline(policy))
    stack.put(participant_item("one", joined_at=joined_at))
    told(stack)
    failure(overdue(policy=policy))
    assert participants(stack) == ({"one"} if stays else set())


@pytest.mark.parametrize("policy", REMOVALS)
@pytest.mark.parametrize("was_told", [True, False])
def test_who_joined_in_the_second_of_the_change_is_waited_for_if_it_was_told(
    stack: Stack,
    failure: Failure,
    policy: str,
    was_told: bool,  # noqa: FBT001 - a parameter
) -> None:
    """The stream's times are whole seconds: a script creates and starts a training within one."""
    joined_at = (BEGAN_AT + timedelta(milliseconds=400)).isoformat()
    given(stack, options=deadline(policy))
    stack.put(participant_item("one", joined_at=joined_at))
    told(stack)
    if was_told:
        ended(stack, [notice("one", joined_at=joined_at)], "rejected")
    failure(overdue(policy=policy))
    assert participants(stack) == (set() if was_told else {"one"})


@pytest.mark.parametrize("policy", REMOVALS)
def test_who_joined_in_that_second_is_exempt_if_late_joiners_are_told_the_round_too(
    stack: Stack, failure: Failure, policy: str
) -> None:
    joined_at = (BEGAN_AT + timedelta(milliseconds=400)).isoformat()
    given(stack, options=deadline(policy, late_joiners="current_round"))
    stack.put(participant_item("one", joined_at=joined_at))
    told(stack)
    ended(stack, [notice("one", joined_at=joined_at)], "rejected")
    failure(overdue(policy=policy))
    assert participants(stack) == {"one"}


@pytest.mark.parametrize("policy", REMOVALS)
@pytest.mark.parametrize("now", [None, ["one"], ["two"]])
def test_only_who_was_selected_for_the_round_when_it_was_told_is_waited_for(
    stack: Stack, failure: Failure, policy: str, now: list[str] | None
) -> None:
    selected = None if now is None else [uuid_of(name) for name in now]
    given(stack, "one", "two", options=deadline(policy), selected=selected)
    told(stack, selected={uuid_of("one").upper()})
    failure(overdue(policy=policy))
    assert participants(stack) == {"two"}


def test_a_membership_without_a_time_is_known_by_its_notice(stack: Stack, failure: Failure) -> None:
    given(stack, options=deadline("remove_unaccepted"))
    stack.put(participant_item("one"), participant_item("two"))
    told(stack)
    ended(stack, [notice("one", joined_at=None), notice("two")])
    failure(overdue(policy="remove_unaccepted"))
    assert participants(stack) == {"one"}


@pytest.mark.parametrize("policy", REMOVALS)
def test_an_event_that_comes_again_does_not_remove_who_has_joined_again_without_a_time(
    stack: Stack, failure: Failure, policy: str
) -> None:
    given(stack, options=deadline(policy))
    stack.put(participant_item("one"))
    told(stack)
    failure(overdue(policy=policy))
    assert participants(stack) == set()
    stack.put(participant_item("one"))
    failure(overdue(policy=policy))
    assert participants(stack) == {"one"}


# --- what is over, further on, or no longer so --------------------------------------------------


@pytest.mark.parametrize(
    "place",
    [
        {"round": 4},
        {"state": "SWAG_ROUND"},
        {"state": "COMPLETED"},
        {"state": "ERROR"},
        {"state": "INITIAL"},
    ],
    ids=str,
)
@pytest.mark.parametrize("policy", ["error", *REMOVALS])
def test_a_training_that_is_no_longer_in_that_round_is_left_alone(
    stack: Stack, failure: Failure, place: dict[str, Any], policy: str
) -> None:
    given(stack, "one", options=deadline(policy), **place)
    told(stack)
    before = stack.item(TRAINING_UUID)
    failure(overdue(policy=policy))
    assert (stack.item(TRAINING_UUID), participants(stack)) == (before, {"one"})


@pytest.mark.parametrize("policy", REMOVALS)
def test_the_same_round_of_a_later_run_is_left_alone(
    stack: Stack, failure: Failure, policy: str
) -> None:
    given(stack, "one", options=deadline(policy))
    told(stack, round_change="1000")
    failure(overdue(policy=policy))
    assert participants(stack) == {"one"}
    assert reason(failure) == "nothing to do: the training is further on"


@pytest.mark.parametrize("policy", REMOVALS)
@pytest.mark.parametrize("round_change", [None, "99"])
def test_if_it_is_not_known_yet_who_was_told_the_event_waits(
    stack: Stack, failure: Failure, policy: str, round_change: str | None
) -> None:
    given(stack, "one", options=deadline(policy))
    if round_change is not None:
        told(stack, round_change=round_change)
    assert failure(overdue(policy=policy)) == 1
    assert participants(stack) == {"one"}


@pytest.mark.parametrize(
    "options",
    [None, {"on_deadline": "error"}, deadline("error", 10**9), deadline("event"), {"round": "?"}],
    ids=["none", "without one", "later", "no more than the event", "an unknown one"],
)
def test_a_deadline_that_was_changed_while_the_round_ran_takes_effect(
    stack: Stack, failure: Failure, options: dict[str, Any] | None
) -> None:
    given(stack, "one", options=options)
    told(stack)
    failure(overdue())
    assert (participants(stack), state(stack)) == ({"one"}, "ONGOING")


def test_a_policy_that_was_changed_while_the_round_ran_takes_effect(
    stack: Stack, failure: Failure
) -> None:
    given(stack, "one", options=deadline("remove_unreported"))
    told(stack)
    failure(overdue(policy="error"))
    assert (participants(stack), state(stack)) == (set(), "ONGOING")


def test_a_training_that_is_gone_needs_nothing(stack: Stack, failure: Failure) -> None:
    assert failure(overdue()) == 0
    assert reason(failure) == "nothing to do: the training is gone"


def test_a_round_that_begins_between_reading_and_writing_is_left_alone(
    stack: Stack, failure: Failure
) -> None:
    given(stack, "one", options=deadline("error"))
    again = training_item(round=4, options=deadline("error"))
    meanwhile(failure, "TransactWriteItems", lambda: stack.put(again))
    failure(overdue())
    assert stack.item(TRAINING_UUID) == again


def test_who_accepts_reports_leaves_or_joins_again_at_the_last_moment_is_left_alone(
    stack: Stack, failure: Failure
) -> None:
    given(stack, "one", options=deadline("remove_unaccepted"))
    told(stack)
    meanwhile(failure, "TransactWriteItems", lambda: ended(stack, [notice("one")]))
    failure(overdue(policy="remove_unaccepted"))
    assert participants(stack) == {"one"}

    given(stack, "one", options=deadline("remove_unreported"))
    reported = participant_item("one", joined_at=BEFORE, reported="ONGOING#3")
    meanwhile(failure, "TransactWriteItems", lambda: stack.put(reported))
    failure(overdue(policy="remove_unreported"))
    assert participants(stack) == {"one"}

    given(stack, "one")
    again = participant_item("one", joined_at=DURING)
    meanwhile(failure, "TransactWriteItems", lambda: stack.put(again))
    failure(overdue(policy="remove_unreported"))
    assert participants(stack) == {"one"}

    given(stack, "one")
    meanwhile(failure, "TransactWriteItems", lambda: leave(stack, "one"))
    failure(overdue(policy="remove_unreported"))
    assert stack.item(TRAINING_UUID, f"REMOVED#{uuid_of('one')}") is None


PART = 4
"""Participants that are worked off between two looks at the clock; 100, but for these tests."""


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overdue_module, "BATCH_GET", PART)


# --- many of them -----------------------------------------------------------------------------


def crowd(stack: Stack, size: int) -> list[str]:
    names = sorted((f"p{number}" for number in range(size)), key=uuid_of)
    stack.put(*(participant_item(name, joined_at=BEFORE) for name in names))
    return names


def left(stack: Stack) -> int:
    answer = stack.dynamodb.query(
        TableName=stack.trainings_table,
        KeyConditionExpression="training_uuid = :t AND begins_with(entity, :p)",
        ExpressionAttributeValues=item({":t": TRAINING_UUID, ":p": "PARTICIPANT#"}),
        Select="COUNT",
    )
    return int(answer["Count"])


@pytest.mark.usefixtures("small_parts")
def test_what_one_invocation_has_no_time_for_the_next_one_goes_on_with(
    stack: Stack, failure: Failure, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(stack, options=deadline("remove_unaccepted"))
    told(stack)
    names = crowd(stack, 2 * PART)
    ended(stack, map(notice, names[::2]))
    worker = failure.function.app.worker
    clock = _Clock(BUDGET_SECONDS * 0.6)
    slow = replace(worker.callbacks["training_overdue_callback"].keywords["callback"].__self__)
    monkeypatch.setattr(failure.function.app, "worker", _with(worker, replace(slow, clock=clock)))
    faults = Faults(failure.client)

    assert failure(overdue(policy="remove_unaccepted")) == 1
    assert left(stack) == 2 * PART - PART // 2
    assert [each for each in failure.lines if each["level"] == "ERROR"] == []
    clock.step = 0.0
    assert failure(overdue(policy="remove_unaccepted")) == 0
    assert left(stack) == PART
    assert faults.calls["Query"][-1]["ExclusiveStartKey"] == item(
        {"training_uuid": TRAINING_UUID, "entity": f"PARTICIPANT#{uuid_of(names[PART - 1])}"}
    )


class _Clock:
    """One that goes on by so many seconds whenever it is asked."""

    def __init__(self, step: float) -> None:
        self.step = step
        self._seconds = 0.0

    def now(self) -> Any:
        return NOW

    def monotonic(self) -> float:
        self._seconds += self.step
        return self._seconds


def _with(worker: Any, callback: Any) -> Any:
    name = "training_overdue_callback"
    old = worker.callbacks[name]
    new = type(old)(old.func, **{**old.keywords, "callback": callback.apply})
    return replace(worker, callbacks={**worker.callbacks, name: new})


@pytest.mark.usefixtures("small_parts")
def test_a_round_that_ends_while_others_are_removed_ends_that_too(
    stack: Stack, failure: Failure
) -> None:
    given(stack, options=deadline("remove_unaccepted"))
    told(stack)
    crowd(stack, PART + 1)
    meanwhile(failure, "TransactWriteItems", lambda: stack.put(training_item(round=4)))
    failure(overdue(policy="remove_unaccepted"))
    assert left(stack) == 1
    assert reason(failure).startswith(f"{PART} participants removed; then nothing to do: ")

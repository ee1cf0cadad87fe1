"""CallbackSuccess and CallbackFailure: what follows an outcome, and the failure policy."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from fl_notifications.deliveries.delivery import ANNOUNCED_STATE
from fl_notifications.notification_type import NotificationType
from fl_notifications.outcomes.outcome import SOURCE, OutcomeKind
from fl_notifications.telemetry.logger import FunctionFailedError
from fl_notifications.trainings.model import TrainingState
from tests.integration.conftest import Account
from tests.integration.faults import Faults
from tests.integration.handlers import Function
from tests.integration.stack import Stack
from tests.log_lines import SECRETS, steps
from tests.made import (
    NOW,
    TRAINING_UUID,
    delivery,
    item,
    outcome,
    participant_item,
    training_item,
    uuid_of,
)

REJECTED, FAILED = OutcomeKind.REJECTED, OutcomeKind.FAILED
FINISHED_AT = NOW + timedelta(seconds=2)
AFTERWARDS = (FINISHED_AT + timedelta(seconds=1)).isoformat()
BEFORE = (NOW - timedelta(hours=1)).isoformat()


@pytest.fixture
def success(account: Account) -> Function:
    return account.function("CallbackSuccess")


@pytest.fixture
def failure(account: Account) -> Function:
    return account.function("CallbackFailure")


def event(kind: OutcomeKind, name: str = "one", **values: Any) -> dict[str, Any]:
    """An outcome as the bus brings it."""
    made = delivery(
        name, **{key: values.pop(key) for key in ("notification_type",) if key in values}
    )
    detail = json.loads(outcome(kind, made).model_dump_json())
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": kind.detail_type,
        "source": SOURCE,
        "account": "123456789012",
        "time": "2026-03-01T12:00:02Z",
        "region": "eu-central-1",
        "resources": [],
        "detail": detail | values,
    }


def options(
    policy: str = "strict", at_least: int = 1, required: tuple[str, ...] = ()
) -> dict[str, Any]:
    return {
        "failure_policy": policy,
        "min_participants": at_least,
        "required_participants": [uuid_of(name) for name in required],
    }


def given(stack: Stack, *names: str, **training: Any) -> None:
    """A training in round 3 with these participants."""
    stack.put(training_item(**training))
    for name in names:
        stack.put(participant_item(name, joined_at=BEFORE))


def participants(stack: Stack) -> set[str]:
    names = {f"PARTICIPANT#{uuid_of(name)}": name for name in ("one", "two", "three")}
    answer = stack.dynamodb.scan(TableName=stack.trainings_table)
    return {names[each["entity"]["S"]] for each in answer["Items"] if each["entity"]["S"] in names}


def state(stack: Stack) -> str:
    now = stack.item(TRAINING_UUID)
    assert now is not None
    return str(now["state"]["S"])


def done(function: Function) -> str:
    """What the last line says was done."""
    return str(steps(function.lines, "called back")[-1]["reason"])


def dead_letters(stack: Stack) -> list[tuple[str, Any]]:
    return [
        (each["messageAttributes"]["reason"]["stringValue"], json.loads(each["body"]))
        for each in stack.messages(stack.output("CallbacksDlqUrl"))
    ]


# --- success --------------------------------------------------------------------------------------


def test_an_acceptance_is_logged_and_changes_nothing(stack: Stack, success: Function) -> None:
    given(stack, "one")
    before = stack.item(TRAINING_UUID)
    assert success(event(OutcomeKind.ACCEPTED)) is None
    (line,) = steps(success.lines, "called back")
    assert (line["outcome"], line["reason"], line["status_code"]) == ("accepted", "logged", 200)
    assert line["notification_id"] == delivery().notification_id
    assert (stack.item(TRAINING_UUID), participants(stack)) == (before, {"one"})
    assert [each for each in SECRETS if each in success.text] == []


# --- the failure policy, row by row ---------------------------------------------------------------


@pytest.mark.parametrize("policy", ["strict", "quorum"])
def test_who_rejects_is_removed_and_the_others_go_on(
    stack: Stack, failure: Function, policy: str
) -> None:
    given(stack, "one", "two", options=options(policy))
    failure(event(REJECTED))
    assert (participants(stack), state(stack)) == ({"two"}, "ONGOING")
    assert done(failure) == "participant removed"


def test_without_options_the_policy_is_strict_and_one_participant_is_enough(
    stack: Stack, failure: Function
) -> None:
    given(stack, "one", "two")
    failure(event(REJECTED))
    assert (participants(stack), state(stack)) == ({"two"}, "ONGOING")
    failure(event(FAILED, "two"))
    assert state(stack) == "ERROR"


@pytest.mark.parametrize("policy", ["strict", "quorum"])
def test_when_the_last_participant_rejects_the_training_ends(
    stack: Stack, failure: Function, policy: str
) -> None:
    given(stack, "one", options=options(policy))
    failure(event(REJECTED))
    assert (participants(stack), state(stack)) == (set(), "ERROR")
    assert done(failure) == "participant removed; training set to ERROR"


def test_with_no_minimum_a_training_may_go_on_without_participants(
    stack: Stack, failure: Function
) -> None:
    given(stack, "one", options=options(at_least=0))
    failure(event(REJECTED))
    assert (participants(stack), state(stack)) == (set(), "ONGOING")


@pytest.mark.parametrize("kind", [REJECTED, FAILED])
@pytest.mark.parametrize(("at_least", "expected"), [(1, "ONGOING"), (2, "ONGOING"), (3, "ERROR")])
def test_a_training_ends_when_fewer_are_left_than_it_needs(
    stack: Stack, failure: Function, kind: OutcomeKind, at_least: int, expected: str
) -> None:
    given(stack, "one", "two", "three", options=options("quorum", at_least))
    failure(event(kind))
    assert (participants(stack), state(stack)) == ({"two", "three"}, expected)


@pytest.mark.parametrize("kind", [REJECTED, FAILED])
def test_a_training_ends_when_a_required_participant_is_out(
    stack: Stack, failure: Function, kind: OutcomeKind
) -> None:
    given(stack, "one", "two", "three", options=options("quorum", 1, ("one",)))
    failure(event(kind, "two"))
    assert (participants(stack), state(stack)) == ({"one", "three"}, "ONGOING")
    failure(event(kind, "one"))
    assert (participants(stack), state(stack)) == ({"three"}, "ERROR")


def test_a_required_participant_is_known_however_its_uuid_is_spelt(
    stack: Stack, failure: Function
) -> None:
    spelt = options("quorum") | {"required_participants": [uuid_of("one").upper()]}
    given(stack, "one", "two", options=spelt)
    failure(event(REJECTED))
    assert state(stack) == "ERROR"


def test_who_cannot_be_reached_ends_a_strict_training_and_stays_its_participant(
    stack: Stack, failure: Function
) -> None:
    given(stack, "one", "two", options=options("strict"))
    failure(event(FAILED, reason="connection refused", status_code=None))
    assert (participants(stack), state(stack)) == ({"one", "two"}, "ERROR")
    assert done(failure) == "training set to ERROR"


def test_who_cannot_be_reached_is_removed_from_a_training_with_a_quorum(
    stack: Stack, failure: Function
) -> None:
    given(stack, "one", "two", options=options("quorum"))
    failure(event(FAILED, reason="connection refused", status_code=None))
    assert (participants(stack), state(stack)) == ({"two"}, "ONGOING")


def test_the_error_says_what_whom_and_when(stack: Stack, failure: Function) -> None:
    given(stack, "one", "two")
    told = event(FAILED, reason="connection refused", status_code=None)
    failure(told)
    now = stack.item(TRAINING_UUID)
    assert now is not None
    assert (
        now["error"]
        == item(
            {
                "error": {
                    "reason": "UPDATE_ROUND_START to a participant: connection refused",
                    "receiver_uuid": uuid_of("one"),
                    "notification_id": told["detail"]["notification_id"],
                    "round": 3,
                    "at": FINISHED_AT.isoformat(),
                }
            }
        )["error"]
    )
    # And nothing else is changed.
    assert {key: now[key] for key in now if key not in {"error", "state"}} == {
        key: value for key, value in training_item().items() if key != "state"
    }


@pytest.mark.parametrize("kind", ANNOUNCED_STATE)
def test_all_round_types_follow_the_policy_in_their_own_state(
    stack: Stack, failure: Function, kind: NotificationType
) -> None:
    given(stack, "one", state=ANNOUNCED_STATE[kind].value)
    failure(event(FAILED, notification_type=kind))
    assert state(stack) == "ERROR"


@pytest.mark.parametrize("kind", set(NotificationType) - set(ANNOUNCED_STATE))
def test_other_types_lead_to_nothing(
    stack: Stack, failure: Function, kind: NotificationType
) -> None:
    """Even if a program has named the callback for one of them."""
    given(stack, "one")
    failure(event(FAILED, notification_type=kind))
    failure(event(REJECTED, notification_type=kind))
    assert (participants(stack), state(stack)) == ({"one"}, "ONGOING")
    assert done(failure) == "nothing to do: not about a round of a training"


def test_a_notification_about_no_training_leads_to_nothing(stack: Stack, failure: Function) -> None:
    given(stack, "one")
    failure(event(FAILED, training_uuid=None))
    assert (participants(stack), state(stack)) == ({"one"}, "ONGOING")


# --- what is over or further on -------------------------------------------------------------------


@pytest.mark.parametrize("over", ["COMPLETED", "ERROR"])
@pytest.mark.parametrize("kind", [REJECTED, FAILED])
def test_an_ended_training_stays_as_it_is(
    stack: Stack, failure: Function, over: str, kind: OutcomeKind
) -> None:
    given(stack, "one", state=over)
    before = stack.item(TRAINING_UUID)
    failure(event(kind))
    assert stack.item(TRAINING_UUID) == before
    assert done(failure).endswith("training left alone: it is over or further on")


@pytest.mark.parametrize(
    "place",
    [
        {"round": 4},
        {"round": 2},
        {"state": "SWAG_ROUND"},
        {"state": "MODEL_TEST"},
        {"state": "INITIAL", "round": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [REJECTED, FAILED])
def test_a_training_that_is_no_longer_where_it_was_announced_to_be_stays_as_it_is(
    stack: Stack, failure: Function, place: dict[str, Any], kind: OutcomeKind
) -> None:
    given(stack, "one", **place)
    before = stack.item(TRAINING_UUID)
    failure(event(kind))
    assert stack.item(TRAINING_UUID) == before


def test_a_training_that_goes_on_between_reading_and_writing_stays_as_it_is(
    stack: Stack, failure: Function
) -> None:
    given(stack, "one", "two")
    meanwhile(failure, "UpdateItem", lambda: stack.put(training_item(round=4)))
    failure(event(FAILED))
    assert stack.item(TRAINING_UUID) == training_item(round=4)


def test_a_training_that_is_gone_needs_nothing(stack: Stack, failure: Function) -> None:
    failure(event(REJECTED))
    assert done(failure) == "nothing to do: the training is gone"
    assert stack.item(TRAINING_UUID) is None


# --- repeats --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [REJECTED, FAILED])
@pytest.mark.parametrize("policy", ["strict", "quorum"])
def test_a_repeated_event_changes_nothing_more(
    stack: Stack, failure: Function, kind: OutcomeKind, policy: str
) -> None:
    given(stack, "one", "two", options=options(policy))
    failure(event(kind))
    once = (stack.item(TRAINING_UUID), participants(stack))
    failure(event(kind))
    failure(event(kind))
    assert (stack.item(TRAINING_UUID), participants(stack)) == once


def test_who_has_joined_again_is_not_removed_by_a_repeated_event(
    stack: Stack, failure: Function
) -> None:
    given(stack, "one", "two")
    failure(event(REJECTED))
    stack.put(participant_item("one", joined_at=AFTERWARDS))
    failure(event(REJECTED))
    assert participants(stack) == {"one", "two"}


def test_who_has_joined_again_is_not_removed_by_a_late_event(
    stack: Stack, failure: Function
) -> None:
    """The server removed it meanwhile, and it came back."""
    given(stack, "two")
    stack.put(participant_item("one", joined_at=AFTERWARDS))
    failure(event(REJECTED))
    assert participants(stack) == {"one", "two"}


def test_who_has_joined_again_is_not_out_even_if_it_is_required(
    stack: Stack, failure: Function
) -> None:
    given(stack, "two", options=options("quorum", 2, ("one",)))
    stack.put(participant_item("one", joined_at=AFTERWARDS))
    failure(event(REJECTED))
    assert (participants(stack), state(stack)) == ({"one", "two"}, "ONGOING")


def test_a_repeated_event_does_not_remove_who_joined_again_without_a_time(
    stack: Stack, failure: Function
) -> None:
    """The write side sets `joined_at`; other servers may not: then the ledger's note counts."""
    stack.put(training_item(), participant_item("one"), participant_item("two"))
    failure(event(REJECTED))
    assert participants(stack) == {"two"}
    stack.put(participant_item("one"))
    failure(event(REJECTED))
    assert participants(stack) == {"one", "two"}


def test_a_removal_that_was_the_servers_is_noted_too(stack: Stack, failure: Function) -> None:
    """So that a repetition does not remove who joins after it."""
    stack.put(training_item(), participant_item("two"))
    failure(event(REJECTED))
    stack.put(participant_item("one"))
    failure(event(REJECTED))
    assert participants(stack) == {"one", "two"}


def test_the_note_of_a_removal_keeps_what_the_ledger_has(stack: Stack, failure: Function) -> None:
    given(stack, "one", "two")
    told = event(REJECTED)
    notification_id = told["detail"]["notification_id"]
    entry = item(
        {
            "notification_id": notification_id,
            "attempts": 1,
            "outcome": "rejected",
            "at": NOW.isoformat(),
            "expires_at": 1_900_000_000,
        }
    )
    stack.dynamodb.put_item(TableName=stack.ledger_table, Item=entry)
    failure(told)
    assert stack.ledger(notification_id) == entry | {"participant_removed": {"BOOL": True}}


def test_the_note_of_a_removal_is_forgotten_like_all_of_the_ledger(
    stack: Stack, failure: Function
) -> None:
    given(stack, "one", "two")
    told = event(REJECTED)
    failure(told)
    note = stack.ledger(told["detail"]["notification_id"])
    assert note is not None
    assert "expires_at" in note


def test_an_event_that_died_between_removal_and_end_is_finished_by_its_repetition(
    stack: Stack, failure: Function
) -> None:
    given(stack, "one", options=options("quorum"))
    faults = Faults(failure.app.clients.dynamodb)
    faults.refuse("UpdateItem", "InternalServerError", times=1, status=500)
    with pytest.raises(FunctionFailedError):
        failure(event(REJECTED))
    assert (participants(stack), state(stack)) == (set(), "ONGOING")
    failure(event(REJECTED))
    assert state(stack) == "ERROR"


def test_of_two_events_at_once_one_ends_the_training_and_its_error_stays(
    stack: Stack, failure: Function
) -> None:
    """The second one comes between the first one's reading and its writing."""
    given(stack, "one", "two")
    meanwhile(failure, "UpdateItem", lambda: failure(event(FAILED, "two")))
    failure(event(FAILED, "one"))
    now = stack.item(TRAINING_UUID)
    assert now is not None
    assert now["error"]["M"]["receiver_uuid"] == {"S": uuid_of("two")}
    assert [line["reason"] for line in steps(failure.lines, "called back")] == [
        "training set to ERROR",
        "training left alone: it is over or further on",
    ]


def test_who_joins_again_between_reading_and_removing_is_not_removed(
    stack: Stack, failure: Function
) -> None:
    given(stack, "one", "two")
    again = participant_item("one", joined_at=AFTERWARDS)
    meanwhile(failure, "TransactWriteItems", lambda: stack.put(again))
    with pytest.raises(FunctionFailedError):
        failure(event(REJECTED))
    failure(event(REJECTED))
    assert participants(stack) == {"one", "two"}
    assert state(stack) == "ONGOING"


def meanwhile(failure: Function, operation: str, happens: Callable[[], object]) -> None:
    """Let something happen once, just before the function's next call of an operation."""
    events = failure.app.clients.dynamodb.meta.events

    def once(**_: Any) -> None:
        events.unregister(f"before-call.dynamodb.{operation}", once)
        happens()

    events.register(f"before-call.dynamodb.{operation}", once)


# --- bad input and faults -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"detail-type": "Something Else"}, "detail-type"),
        ({"detail": {}}, "detail.notification_id"),
        ({"detail": event(REJECTED)["detail"] | {"receiver_uuid": "x"}}, "detail.receiver_uuid"),
    ],
)
@pytest.mark.parametrize("name", ["CallbackSuccess", "CallbackFailure"])
def test_what_is_no_outcome_becomes_a_dead_letter_at_once_by_name(
    stack: Stack, account: Account, name: str, change: dict[str, Any], field: str
) -> None:
    wrong = event(REJECTED) | change
    assert account.function(name)(wrong) is None
    ((reason, body),) = dead_letters(stack)
    assert reason.startswith(f"no outcome: field {field}: ")
    assert body == wrong


def test_a_training_that_cannot_be_read_becomes_a_dead_letter_by_name(
    stack: Stack, failure: Function
) -> None:
    given(stack, "one", round="three")
    told = event(REJECTED)
    assert failure(told) is None
    ((reason, body),) = dead_letters(stack)
    assert reason.startswith(f"item 'TRAINING' of training '{TRAINING_UUID}': field round: ")
    assert body == told
    (line, _) = [each for each in failure.lines if each["level"] == "ERROR"]
    assert (line["message"], line["field"]) == ("unreadable item", "round")
    assert participants(stack) == {"one"}


def test_without_the_table_lambda_is_told_to_try_again(stack: Stack, failure: Function) -> None:
    stack.lose_table("TrainingsTable")
    with pytest.raises(FunctionFailedError, match="ResourceNotFoundException"):
        failure(event(REJECTED))
    assert dead_letters(stack) == []


def test_when_a_transaction_collides_lambda_is_told_to_try_again(
    stack: Stack, failure: Function
) -> None:
    given(stack, "one", "two")
    faults = Faults(failure.app.clients.dynamodb)
    faults.refuse("TransactWriteItems", "TransactionCanceledException", times=1)
    with pytest.raises(FunctionFailedError):
        failure(event(REJECTED))
    assert participants(stack) == {"one", "two"}
    failure(event(REJECTED))
    assert participants(stack) == {"two"}


def test_the_policy_reads_no_more_participants_than_it_has_to(
    stack: Stack, failure: Function
) -> None:
    given(stack, "one", "two", "three", options=options("quorum", 2))
    faults = Faults(failure.app.clients.dynamodb)
    failure(event(REJECTED))
    (query,) = faults.calls["Query"]
    assert query["Limit"] == 2


def test_every_state_is_either_announced_or_left_alone() -> None:
    """A new state would have to be thought of here."""
    announced = set(ANNOUNCED_STATE.values())
    assert announced | {
        TrainingState.INITIAL,
        TrainingState.COMPLETED,
        TrainingState.ERROR,
    } == set(TrainingState)

"""CallbackSuccess and CallbackFailure: what follows an outcome or a change."""

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
from pydantic import ValidationError

from fl_notifications.aws.batches import ATTEMPTS
from fl_notifications.callbacks import call_back
from fl_notifications.deliveries.delivery import ANNOUNCED_STATE
from fl_notifications.deliveries.queue import DeadLetterQueue
from fl_notifications.notification_type import NotificationType
from fl_notifications.outcomes.outcome import Outcome, OutcomeKind
from fl_notifications.telemetry.journal import Journal
from fl_notifications.telemetry.metrics import Tally
from fl_notifications.trainings.model import Receiver, TrainingState
from functions.callback_failure.changes import READINGS
from functions.callback_failure.worker import RESERVE_SECONDS
from tests.events import AFTERWARDS, BEFORE, FINISHED_AT, RUN, change
from tests.integration.callbacks import (
    FAILED,
    REJECTED,
    Failure,
    cancel,
    dead_letters,
    done,
    event,
    given,
    leave,
    meanwhile,
    note,
    options,
    participants,
    reason,
    run,
    state,
    without,
)
from tests.integration.conftest import Account
from tests.integration.faults import Faults, undo_all
from tests.integration.handlers import Function
from tests.integration.stack import Stack
from tests.log_lines import SECRETS, steps
from tests.made import (
    NOW,
    TRAINING_UUID,
    delivery,
    item,
    participant_item,
    training_item,
    uuid_of,
)


@pytest.fixture
def success(account: Account) -> Function:
    return account.function("CallbackSuccess")


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
    stack: Stack, failure: Failure, policy: str
) -> None:
    given(stack, "one", "two", options=options(policy))
    assert failure(event(REJECTED)) == 0
    assert (participants(stack), state(stack)) == ({"two"}, "ONGOING")
    assert done(failure) == "participant removed"


def test_without_options_the_policy_is_strict(stack: Stack, failure: Failure) -> None:
    given(stack, "one", "two")
    failure(event(FAILED, "two"))
    assert (participants(stack), state(stack)) == ({"one", "two"}, "ERROR")


def test_who_cannot_be_reached_is_removed_from_a_training_with_a_quorum(
    stack: Stack, failure: Failure
) -> None:
    given(stack, "one", "two", options=options("quorum"))
    failure(event(FAILED, reason="connection refused", status_code=None))
    assert (participants(stack), state(stack)) == ({"two"}, "ONGOING")


def test_the_removal_says_why_in_the_table(stack: Stack, failure: Failure) -> None:
    given(stack, "one", "two")
    told = event(REJECTED)
    failure(told)
    removed = stack.item(TRAINING_UUID, f"REMOVED#{uuid_of('one')}")
    assert removed is not None
    assert datetime.fromisoformat(removed.pop("at")["S"]).tzinfo is not None
    assert removed == item(
        {
            "training_uuid": TRAINING_UUID,
            "entity": f"REMOVED#{uuid_of('one')}",
            "reason": "UPDATE_ROUND_START to a participant: answered 400",
            "notification_id": told["detail"]["notification_id"],
            "joined_at": BEFORE,
        }
    )


def test_the_removal_of_a_membership_without_a_time_has_none(
    stack: Stack, failure: Failure
) -> None:
    stack.put(training_item(), participant_item("one"))
    failure(event(REJECTED, joined_at=None))
    removed = stack.item(TRAINING_UUID, f"REMOVED#{uuid_of('one')}")
    assert removed is not None
    assert "joined_at" not in removed


def test_the_item_says_why_the_latest_membership_was_removed(
    stack: Stack, failure: Failure
) -> None:
    given(stack, "one", "two")
    failure(event(REJECTED))
    stack.put(participant_item("one", joined_at=AFTERWARDS))
    failure(event(REJECTED, notification_id="n-2", joined_at=AFTERWARDS, reason="answered 500"))
    removed = stack.item(TRAINING_UUID, f"REMOVED#{uuid_of('one')}")
    assert removed is not None
    assert (removed["notification_id"], removed["joined_at"]) == ({"S": "n-2"}, {"S": AFTERWARDS})
    assert removed["reason"]["S"].endswith("answered 500")


def test_a_removal_leaves_the_trainings_item_alone(stack: Stack, failure: Failure) -> None:
    """A thousand rejections at once would conflict there."""
    given(stack, "one", "two")
    before, faults = stack.item(TRAINING_UUID), Faults(failure.client)
    failure(event(REJECTED))
    assert stack.item(TRAINING_UUID) == before
    (transaction,) = faults.calls["TransactWriteItems"]
    keys = [
        write["Key"].get("entity", {}).get("S")
        for action in transaction["TransactItems"]
        for write in action.values()
    ]
    assert keys == [None, f"PARTICIPANT#{uuid_of('one')}", f"REMOVED#{uuid_of('one')}"]


def test_a_removal_takes_one_read_and_one_write(stack: Stack, failure: Failure) -> None:
    given(stack, "one", "two")
    faults = Faults(failure.client)
    failure(event(REJECTED))
    calls = {operation: len(each) for operation, each in faults.calls.items()}
    assert calls == {"BatchGetItem": 1, "TransactWriteItems": 1}


def test_the_error_says_what_whom_and_when(stack: Stack, failure: Failure) -> None:
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
                    "state": "ONGOING",
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
    assert done(failure) == "training set to ERROR"


def test_a_second_error_tells_nothing_of_the_first(stack: Stack, failure: Failure) -> None:
    given(stack, "one", "two", error={"reason": "an older one", "hint": "of the first"})
    failure(event(FAILED))
    now = stack.item(TRAINING_UUID)
    assert now is not None
    assert "answered 400" in now["error"]["M"]["reason"]["S"]
    assert "hint" not in now["error"]["M"]


@pytest.mark.parametrize("kind", ANNOUNCED_STATE)
def test_all_round_types_follow_the_policy_in_their_own_state(
    stack: Stack, failure: Failure, kind: NotificationType
) -> None:
    given(stack, "one", state=ANNOUNCED_STATE[kind].value)
    failure(event(FAILED, notification_type=kind))
    assert state(stack) == "ERROR"


@pytest.mark.parametrize("kind", set(NotificationType) - set(ANNOUNCED_STATE))
def test_other_types_lead_to_nothing(
    stack: Stack, failure: Failure, kind: NotificationType
) -> None:
    """Even if a program has named the callback for one of them."""
    given(stack, "one")
    failure(event(FAILED, notification_type=kind))
    failure(event(REJECTED, notification_type=kind))
    assert (participants(stack), state(stack)) == ({"one"}, "ONGOING")
    assert done(failure) == "nothing to do: not about a round of a training"


def test_a_notification_about_no_training_leads_to_nothing(stack: Stack, failure: Failure) -> None:
    given(stack, "one")
    failure(event(FAILED, training_uuid=None))
    assert (participants(stack), state(stack)) == ({"one"}, "ONGOING")


# --- what is needed, and nothing else, has to be readable -----------------------------------------


@pytest.mark.parametrize(
    "broken", ["no map", {"failure_policy": "lenient"}, {"min_participants": "x"}]
)
def test_options_that_cannot_be_read_count_as_the_defaults_and_are_logged(
    stack: Stack, failure: Failure, broken: Any
) -> None:
    given(stack, "one", "two", options=broken)
    failure(event(FAILED))
    assert state(stack) == "ERROR"
    (line,) = [each for each in failure.lines if each.get("message") == "unreadable item"]
    assert line["field"].startswith("options")


@pytest.mark.parametrize(
    "attributes",
    [
        {"options": {"failure_policy": None, "min_participants": None}},
        {"model_uuid": 7},
        {"actor": "nobody"},
        {"last_update": 7},
        {"settings": "none"},
    ],
    ids=str,
)
def test_what_a_removal_does_not_need_holds_it_not_up(
    stack: Stack, failure: Failure, attributes: dict[str, Any]
) -> None:
    given(stack, "one", "two", **attributes)
    assert failure(event(REJECTED)) == 0
    assert participants(stack) == {"two"}
    assert [each for each in failure.lines if each["level"] == "ERROR"] == []


# --- what is over or further on -------------------------------------------------------------------


@pytest.mark.parametrize("over", ["COMPLETED", "ERROR", "INITIAL"])
@pytest.mark.parametrize("kind", [REJECTED, FAILED])
def test_a_callback_that_sees_that_the_training_is_over_writes_nothing(
    stack: Stack, failure: Failure, over: str, kind: OutcomeKind
) -> None:
    given(stack, "one", state=over)
    before, faults = stack.item(TRAINING_UUID), Faults(failure.client)
    failure(event(kind))
    assert (stack.item(TRAINING_UUID), participants(stack)) == (before, {"one"})
    assert set(faults.calls) == {"BatchGetItem"}
    assert done(failure) == f"nothing to do: the training is {over}"


@pytest.mark.parametrize(
    "place",
    [{"round": 4}, {"round": 2}, {"state": "SWAG_ROUND"}, {"state": "MODEL_TEST"}],
    ids=str,
)
@pytest.mark.parametrize("kind", [REJECTED, FAILED])
def test_who_rejects_a_round_that_has_passed_is_asked_again_by_the_next(
    stack: Stack, failure: Failure, place: dict[str, Any], kind: OutcomeKind
) -> None:
    given(stack, "one", **place)
    before = stack.item(TRAINING_UUID)
    failure(event(kind))
    assert (stack.item(TRAINING_UUID), participants(stack)) == (before, {"one"})
    assert done(failure) == "nothing to do: the training is further on"


def test_a_training_that_goes_on_between_reading_and_writing_stays_as_it_is(
    stack: Stack, failure: Failure
) -> None:
    given(stack, "one", "two")
    meanwhile(failure, "TransactWriteItems", lambda: stack.put(training_item(round=4)))
    failure(event(FAILED))
    assert stack.item(TRAINING_UUID) == training_item(round=4)


def test_a_training_that_is_gone_needs_nothing(stack: Stack, failure: Failure) -> None:
    failure(event(REJECTED))
    assert done(failure) == "nothing to do: the training is gone"
    assert stack.item(TRAINING_UUID) is None


# --- another run ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [REJECTED, FAILED])
def test_an_outcome_of_an_earlier_run_changes_nothing(
    stack: Stack, failure: Failure, kind: OutcomeKind
) -> None:
    """State and round are the same again; 100 is later than 99, though not as text."""
    given(stack, "one", "two")
    run(stack, "100")
    failure(event(kind))
    assert (participants(stack), state(stack)) == ({"one", "two"}, "ONGOING")
    assert done(failure) == "nothing to do: the training is in a later run"


@pytest.mark.parametrize("entry", [RUN, "9", None])
def test_an_entry_that_lags_behind_the_outcome_is_all_right(
    stack: Stack, failure: Failure, entry: str | None
) -> None:
    given(stack, "one", "two")
    if entry is not None:
        run(stack, entry)
    failure(event(REJECTED))
    assert participants(stack) == {"two"}


@pytest.mark.parametrize("kind", [REJECTED, FAILED])
@pytest.mark.parametrize(
    ("announced", "current"), [("10:00", "11:00"), (None, "11:00"), ("10:00", None)]
)
def test_a_restart_that_the_run_does_not_tell_yet_is_told_by_its_start(
    stack: Stack, failure: Failure, kind: OutcomeKind, announced: str | None, current: str | None
) -> None:
    given(stack, "one", "two", started_at=current)
    run(stack, RUN)
    told = event(kind)
    note(stack, told, **({} if announced is None else {"started_at": announced}))
    failure(told)
    assert (participants(stack), state(stack)) == ({"one", "two"}, "ONGOING")
    assert done(failure) == "nothing to do: the training was started again"


def test_the_same_start_is_the_same_run(stack: Stack, failure: Failure) -> None:
    given(stack, "one", "two", started_at="10:00")
    told = event(REJECTED)
    note(stack, told, started_at="10:00")
    failure(told)
    assert participants(stack) == {"two"}


def test_a_restart_between_reading_and_writing_leaves_the_new_run_alone(
    stack: Stack, failure: Failure
) -> None:
    given(stack, "one", "two", started_at="10:00")
    told = event(FAILED)
    note(stack, told, started_at="10:00")
    again = training_item(started_at="11:00")
    meanwhile(failure, "TransactWriteItems", lambda: stack.put(again))
    failure(told)
    assert stack.item(TRAINING_UUID) == again


# --- another membership ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [REJECTED, FAILED])
@pytest.mark.parametrize("joined_at", [AFTERWARDS, "1999-01-01T00:00:00Z", "no time", None, 7])
@pytest.mark.parametrize("policy", ["strict", "quorum"])
def test_who_has_joined_again_is_not_concerned_whatever_its_clock_says(
    stack: Stack, failure: Failure, kind: OutcomeKind, joined_at: Any, policy: str
) -> None:
    """Late, repeated or redriven: it is the old membership's failure. Likewise if required."""
    given(stack, "two", options=options(policy, 2, ("one",)))
    stack.put(participant_item("one", joined_at=joined_at))
    failure(event(kind))
    assert (participants(stack), state(stack)) == ({"one", "two"}, "ONGOING")
    assert done(failure) == "nothing to do: it has joined again"


def test_who_has_got_a_time_since_has_joined_again(stack: Stack, failure: Failure) -> None:
    given(stack, "one", "two")
    failure(event(REJECTED, joined_at=None))
    assert participants(stack) == {"one", "two"}


def test_a_clock_that_is_hours_ahead_protects_nobody(stack: Stack, failure: Failure) -> None:
    ahead = (FINISHED_AT + timedelta(hours=2)).isoformat()
    given(stack, "two")
    stack.put(participant_item("one", joined_at=ahead))
    failure(event(REJECTED, joined_at=ahead))
    assert participants(stack) == {"two"}


@pytest.mark.parametrize("absent", [None, {"NULL": True}])
def test_a_membership_without_a_time_is_one_as_well(
    stack: Stack, failure: Failure, absent: dict[str, bool] | None
) -> None:
    given(stack, "two")
    one = participant_item("one")
    stack.put(one if absent is None else one | {"joined_at": absent})
    failure(event(REJECTED, joined_at=None))
    assert participants(stack) == {"two"}


@pytest.mark.parametrize("kind", [REJECTED, FAILED])
def test_who_has_left_ends_no_training_and_is_not_removed(
    stack: Stack, failure: Failure, kind: OutcomeKind
) -> None:
    """The server has removed a hanging participant during its last attempt."""
    given(stack, "two")
    failure(event(kind))
    assert (participants(stack), state(stack)) == ({"two"}, "ONGOING")
    assert stack.item(TRAINING_UUID, f"REMOVED#{uuid_of('one')}") is None
    assert done(failure) == "nothing to do: it takes part no more"


def test_who_leaves_between_reading_and_writing_ends_no_training(
    stack: Stack, failure: Failure
) -> None:
    given(stack, "one", "two")
    meanwhile(failure, "TransactWriteItems", lambda: leave(stack, "one"))
    failure(event(FAILED))
    assert state(stack) == "ONGOING"


@pytest.mark.parametrize("kind", [REJECTED, FAILED])
def test_who_joins_again_between_reading_and_writing_is_not_concerned(
    stack: Stack, failure: Failure, kind: OutcomeKind
) -> None:
    given(stack, "one", "two")
    again = participant_item("one", joined_at=AFTERWARDS)
    meanwhile(failure, "TransactWriteItems", lambda: stack.put(again))
    assert failure(event(kind)) == 0
    assert (participants(stack), state(stack)) == ({"one", "two"}, "ONGOING")


def test_an_address_that_was_corrected_is_of_the_same_membership(
    stack: Stack, failure: Failure
) -> None:
    given(stack, "one", "two")
    stack.put(participant_item("one", joined_at=BEFORE, message_endpoint="https://new.example/"))
    failure(event(REJECTED))
    assert participants(stack) == {"two"}


@pytest.mark.parametrize("kind", [REJECTED, FAILED])
def test_an_event_of_an_older_version_concerns_who_takes_part_now(
    stack: Stack, failure: Failure, kind: OutcomeKind
) -> None:
    given(stack, "one", "two", started_at="10:00", options=options("quorum"))
    run(stack, "100")
    told = without(event(kind), "joined_at", "run")
    note(stack, told)
    failure(told)
    assert participants(stack) == {"two"}


# --- repeats --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [REJECTED, FAILED])
@pytest.mark.parametrize("policy", ["strict", "quorum"])
def test_a_repeated_event_changes_nothing_more(
    stack: Stack, failure: Failure, kind: OutcomeKind, policy: str
) -> None:
    given(stack, "one", "two", options=options(policy))
    failure(event(kind))
    once = (stack.item(TRAINING_UUID), participants(stack))
    failure(event(kind))
    failure(event(kind))
    assert (stack.item(TRAINING_UUID), participants(stack)) == once


def test_a_repeated_event_does_not_remove_who_joined_again_without_a_time(
    stack: Stack, failure: Failure
) -> None:
    """The write side sets `joined_at`; other servers may not: then the ledger's mark counts."""
    stack.put(training_item(), participant_item("one"), participant_item("two"))
    failure(event(REJECTED, joined_at=None))
    assert participants(stack) == {"two"}
    stack.put(participant_item("one"))
    failure(event(REJECTED, joined_at=None))
    assert participants(stack) == {"one", "two"}
    assert done(failure) == "nothing to do: it was removed because of this before"


def test_the_mark_of_a_removal_keeps_what_the_ledger_has(stack: Stack, failure: Failure) -> None:
    given(stack, "one", "two")
    told = event(REJECTED)
    notification_id = told["detail"]["notification_id"]
    note(stack, told, expires_at=1_900_000_000)
    entry = stack.ledger(notification_id)
    assert entry is not None
    failure(told)
    assert stack.ledger(notification_id) == entry | {"participant_removed": {"BOOL": True}}


def test_the_mark_of_a_removal_is_forgotten_like_all_of_the_ledger(
    stack: Stack, failure: Failure
) -> None:
    given(stack, "one", "two")
    told = event(REJECTED)
    failure(told)
    mark = stack.ledger(told["detail"]["notification_id"])
    assert mark is not None
    assert "expires_at" in mark


def test_of_two_events_at_once_one_ends_the_training_and_its_error_stays(
    stack: Stack, failure: Failure
) -> None:
    """The second one comes between the first one's reading and its writing."""
    given(stack, "one", "two")
    meanwhile(failure, "TransactWriteItems", lambda: failure(event(FAILED, "two")))
    failure(event(FAILED, "one"))
    now = stack.item(TRAINING_UUID)
    assert now is not None
    assert now["error"]["M"]["receiver_uuid"] == {"S": uuid_of("two")}
    assert [line["reason"] for line in steps(failure.lines, "called back")] == [
        "training set to ERROR",
        "nothing to do: the training is ERROR",
    ]


# --- the quorum -----------------------------------------------------------------------------------

EVENTS = ["Participant Removed", "Participant Unreadable", "Training Started", "Training Changed"]


@pytest.mark.parametrize("detail_type", EVENTS)
@pytest.mark.parametrize(("least", "expected"), [(0, "ONGOING"), (2, "ONGOING"), (3, "ERROR")])
def test_a_training_with_fewer_than_it_needs_ends(
    stack: Stack, failure: Failure, detail_type: str, least: int, expected: str
) -> None:
    """Whoever removed them, and also if it starts so."""
    given(stack, "one", "two", options=options(at_least=least))
    assert failure(change(detail_type)) == 0
    assert (participants(stack), state(stack)) == ({"one", "two"}, expected)


@pytest.mark.parametrize(("least", "expected"), [(None, "ERROR"), (1, "ERROR"), (0, "ONGOING")])
def test_a_training_without_participants_ends_unless_it_needs_none(
    stack: Stack, failure: Failure, least: int | None, expected: str
) -> None:
    given(stack, options=None if least is None else options(at_least=least))
    failure(change("Training Started"))
    assert state(stack) == expected


@pytest.mark.parametrize("running", ["ONGOING", "SWAG_ROUND", "MODEL_TEST"])
def test_the_quorum_holds_in_all_states_in_which_a_training_runs(
    stack: Stack, failure: Failure, running: str
) -> None:
    given(stack, state=running)
    failure(change())
    assert state(stack) == "ERROR"


@pytest.mark.parametrize("detail_type", EVENTS)
def test_a_training_in_which_a_required_participant_is_missing_ends(
    stack: Stack, failure: Failure, detail_type: str
) -> None:
    given(stack, "one", options=options("quorum", 1, ("one", "two")))
    failure(change(detail_type))
    assert state(stack) == "ERROR"


@pytest.mark.parametrize(
    "spelt",
    [
        str.upper,
        lambda uuid: f"urn:uuid:{uuid}",
        lambda uuid: f"{{{uuid}}}",
        lambda uuid: uuid.replace("-", ""),
        lambda uuid: uuid.title(),
    ],
)
@pytest.mark.parametrize("in_the_key", [True, False])
def test_a_required_participant_is_known_however_its_uuid_is_spelt(
    stack: Stack,
    failure: Failure,
    spelt: Callable[[str], str],
    in_the_key: bool,  # noqa: FBT001 - a parameter
) -> None:
    uuid = uuid_of("one")
    given(
        stack,
        "two",
        options={"required_participants": [uuid if in_the_key else spelt(uuid)]},
    )
    key = spelt(uuid) if in_the_key else uuid
    stack.put(participant_item("one", entity=f"PARTICIPANT#{key}"))
    failure(change())
    assert state(stack) == "ONGOING"


@pytest.mark.parametrize("endpoint", [None, 7, {"NULL": True}])
def test_who_cannot_be_told_does_not_count(stack: Stack, failure: Failure, endpoint: Any) -> None:
    given(stack, "one", options=options(at_least=2))
    stack.put(participant_item("two", message_endpoint=endpoint))
    failure(change("Participant Unreadable", "two"))
    assert state(stack) == "ERROR"


def test_a_required_participant_that_cannot_be_told_is_missing(
    stack: Stack, failure: Failure
) -> None:
    given(stack, "one", options=options(required=("two",)))
    stack.put(participant_item("two", message_endpoint=7))
    failure(change("Participant Unreadable", "two"))
    assert state(stack) == "ERROR"


def test_for_the_quorum_only_the_address_has_to_be_readable(stack: Stack, failure: Failure) -> None:
    given(stack, options=options(at_least=2))
    stack.put(participant_item("one", joined_at=7), participant_item("two", model_uuid="?"))
    failure(change())
    assert state(stack) == "ONGOING"


@pytest.mark.parametrize("over", ["COMPLETED", "ERROR", "INITIAL"])
def test_the_quorum_writes_nothing_if_the_training_does_not_run(
    stack: Stack, failure: Failure, over: str
) -> None:
    given(stack, state=over)
    faults = Faults(failure.client)
    failure(change())
    assert state(stack) == over
    assert set(faults.calls) == {"BatchGetItem"}


def test_the_quorum_of_a_training_that_is_gone_needs_nothing(
    stack: Stack, failure: Failure
) -> None:
    failure(change())
    assert reason(failure) == "nothing to do: the training is gone"
    assert stack.item(TRAINING_UUID) is None


def test_the_quorum_reads_no_more_participants_than_it_has_to(
    stack: Stack, failure: Failure
) -> None:
    given(stack, "one", "two", "three", options=options("quorum", 2))
    faults = Faults(failure.client)
    failure(change())
    (query,) = faults.calls["Query"]
    assert (query["Limit"], query["ConsistentRead"]) == (2, True)


def test_the_quorum_reads_on_behind_those_that_do_not_count(stack: Stack, failure: Failure) -> None:
    given(stack, "one", "two", "three", options=options("quorum", 2))
    first = min(("one", "two", "three"), key=uuid_of)
    stack.put(participant_item(first, message_endpoint=7))
    failure(change())
    assert state(stack) == "ONGOING"


@pytest.mark.parametrize("attributes", [{"round": 4}, {"state": "SWAG_ROUND"}], ids=str)
def test_the_quorum_is_judged_anew_if_the_training_has_gone_on_meanwhile(
    stack: Stack, failure: Failure, attributes: dict[str, Any]
) -> None:
    given(stack)
    now = training_item(**attributes)
    meanwhile(failure, "TransactWriteItems", lambda: stack.put(now, participant_item("one")))
    failure(change())
    assert stack.item(TRAINING_UUID) == now
    assert reason(failure) == "enough participants take part"


def test_options_that_cannot_be_read_count_as_the_defaults_for_the_quorum(
    stack: Stack, failure: Failure
) -> None:
    given(stack, options={"min_participants": "none"})
    failure(change("Training Changed"))
    assert state(stack) == "ERROR"
    assert [each for each in failure.lines if each.get("message") == "unreadable item"]


REMOVED = {"reason": "UPDATE_ROUND_START to a participant: timeout", "notification_id": "n-1"}


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (
            change(name="two", **REMOVED),
            {
                "reason": f"a required participant is out: {REMOVED['reason']}",
                "receiver_uuid": uuid_of("two"),
                "notification_id": "n-1",
            },
        ),
        (
            change(name="two"),
            {"reason": "a required participant is out", "receiver_uuid": uuid_of("two")},
        ),
        (
            change(name="three", **REMOVED),
            {"reason": "a required participant is out", "receiver_uuid": uuid_of("two")},
        ),
        (
            change("Training Started"),
            {"reason": "a required participant is out", "receiver_uuid": uuid_of("two")},
        ),
    ],
    ids=["the policy removed it", "the server did", "another one left", "none had joined"],
)
def test_the_error_says_who_is_missing_and_why_if_that_is_known(
    stack: Stack, failure: Failure, told: dict[str, Any], error: dict[str, Any]
) -> None:
    given(stack, "one", options=options(required=("two",)))
    failure(told)
    now = stack.item(TRAINING_UUID)
    assert now is not None
    where = {"state": "ONGOING", "round": 3, "at": NOW.isoformat()}
    assert now["error"] == item({"error": error | where})["error"]


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (
            change(name="two", **REMOVED),
            {
                "reason": f"fewer than 2 participants are left: {REMOVED['reason']}",
                "receiver_uuid": uuid_of("two"),
                "notification_id": "n-1",
            },
        ),
        (change("Training Changed"), {"reason": "fewer than 2 participants are left"}),
    ],
)
def test_the_error_says_how_many_are_needed(
    stack: Stack, failure: Failure, told: dict[str, Any], error: dict[str, Any]
) -> None:
    given(stack, "one", options=options(at_least=2))
    failure(told)
    now = stack.item(TRAINING_UUID)
    assert now is not None
    where = {"state": "ONGOING", "round": 3, "at": NOW.isoformat()}
    assert now["error"] == item({"error": error | where})["error"]


def test_a_change_after_which_nobody_can_be_missing_is_followed_by_nothing(
    stack: Stack, failure: Failure
) -> None:
    given(stack)
    ended: dict[str, Any] = {"state": "ERROR", "round": 3, "reason": None, "receiver_uuid": None}
    failure(change("Training Ended", **ended, notification_id=None))
    assert state(stack) == "ONGOING"


# --- bad input and faults -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"detail-type": None}, "detail-type"),
        ({"detail": {"callback": delivery().callback_error}}, "detail.notification_id"),
        ({"detail": event(REJECTED)["detail"] | {"receiver_uuid": "x"}}, "detail.receiver_uuid"),
    ],
)
@pytest.mark.parametrize("name", ["CallbackSuccess", "CallbackFailure"])
def test_what_is_no_outcome_becomes_a_dead_letter_at_once_by_name(
    stack: Stack, account: Account, name: str, wrong: dict[str, Any], field: str
) -> None:
    told = event(REJECTED) | wrong
    if name == "CallbackFailure":
        assert Failure(stack, account.function(name))(told) == 0
    else:
        assert account.function(name)(told) is None
    ((why, body),) = dead_letters(stack)
    assert why.startswith(f"no outcome: field {field}: ")
    assert body == told


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (change(sequence=None), "no change: field sequence: "),
        ({"detail": {}}, "no event: field detail.callback: "),
        (["detail"], "no event: field body: "),
    ],
)
def test_what_is_no_event_becomes_a_dead_letter_at_once_by_name(
    stack: Stack, failure: Failure, wrong: Any, why: str
) -> None:
    assert failure(wrong) == 0
    ((said, body),) = dead_letters(stack)
    assert said.startswith(why)
    assert body == wrong


@pytest.mark.parametrize(
    "newer",
    [
        change("Training Paused"),
        change(callback="a_newer_policy"),
        event(REJECTED) | {"detail-type": "Notification Delegated"},
        event(REJECTED)
        | {"detail": event(REJECTED)["detail"] | {"notification_type": "NEW_ROUND_START"}},
    ],
    ids=["a change", "a callback", "an outcome", "a notification"],
)
def test_an_event_of_a_newer_version_waits_a_quarter_of_an_hour(
    stack: Stack, failure: Failure, newer: dict[str, Any]
) -> None:
    faults = Faults(failure.function.app.clients.sqs)
    assert failure(newer) == 1
    assert dead_letters(stack) == []
    ((entry,),) = [call["Entries"] for call in faults.calls["ChangeMessageVisibilityBatch"]]
    assert entry["VisibilityTimeout"] == 900


def test_keys_of_a_newer_version_are_ignored(stack: Stack, failure: Failure) -> None:
    given(stack, "one", "two")
    assert failure(event(REJECTED, weather="fine"), change(weather="fine")) == 0
    assert participants(stack) == {"two"}


def test_a_training_that_cannot_be_read_becomes_a_dead_letter_by_name(
    stack: Stack, failure: Failure
) -> None:
    given(stack, "one", round="three")
    told = event(REJECTED)
    assert failure(told) == 0
    ((why, body),) = dead_letters(stack)
    assert why.startswith(f"item 'TRAINING' of training '{TRAINING_UUID}': field round: ")
    assert body == told
    (line, _) = [each for each in failure.lines if each["level"] == "ERROR"]
    assert (line["message"], line["field"]) == ("unreadable item", "round")
    assert participants(stack) == {"one"}


def test_an_event_that_fails_stays_and_the_others_are_done(stack: Stack, failure: Failure) -> None:
    given(stack, "one", "two", "three")
    sqs = Faults(failure.function.app.clients.sqs)
    Faults(failure.client).refuse("BatchGetItem", "ThrottlingException", times=1)
    assert failure(event(REJECTED, "one"), event(REJECTED, "two")) == 1
    assert len(participants(stack)) == 2
    assert dead_letters(stack) == []
    ((entry,),) = [call["Entries"] for call in sqs.calls["ChangeMessageVisibilityBatch"]]
    assert entry["VisibilityTimeout"] == 5
    (line,) = [each for each in failure.lines if each["level"] == "ERROR"]
    assert line["message"] == "a callback failed, and will be tried again"
    undo_all()
    failure(event(REJECTED, "one"), event(REJECTED, "two"))
    assert participants(stack) == {"three"}


def test_if_the_wait_cannot_be_said_the_event_comes_back_all_the_same(
    stack: Stack, failure: Failure
) -> None:
    given(stack, "one", "two")
    Faults(failure.client).refuse("BatchGetItem", "ThrottlingException")
    Faults(failure.function.app.clients.sqs).refuse("ChangeMessageVisibilityBatch", "InternalError")
    assert failure(event(REJECTED)) == 1


def test_without_time_for_an_event_it_stays_for_the_next_invocation(
    stack: Stack, failure: Failure
) -> None:
    given(stack, "one", "two")
    assert failure(event(REJECTED), remaining_seconds=RESERVE_SECONDS - 1) == 1
    assert participants(stack) == {"one", "two"}


@pytest.mark.parametrize("conflicts", [1, 4])
@pytest.mark.parametrize("kind", [REJECTED, FAILED])
def test_a_conflict_with_another_transaction_is_tried_again_at_once(
    stack: Stack, failure: Failure, kind: OutcomeKind, conflicts: int
) -> None:
    given(stack, "one", "two", options=options("strict"))
    cancel(failure, "TransactionConflict", times=conflicts)
    assert failure(event(kind)) == 0
    assert (participants(stack), state(stack)) == (
        ({"two"}, "ONGOING") if kind is REJECTED else ({"one", "two"}, "ERROR")
    )


def test_a_conflict_that_does_not_end_leaves_the_event_in_the_queue(
    stack: Stack, failure: Failure
) -> None:
    given(stack, "one", "two")
    faults = Faults(failure.client)
    cancel(failure, "TransactionConflict", times=10**9)
    assert failure(event(REJECTED)) == 1
    assert len(faults.calls["TransactWriteItems"]) == ATTEMPTS
    assert participants(stack) == {"one", "two"}


def test_a_transaction_that_is_cancelled_for_good_is_not_tried_again_at_once(
    stack: Stack, failure: Failure
) -> None:
    given(stack, "one", "two")
    faults = Faults(failure.client)
    cancel(failure, "ItemCollectionSizeLimitExceeded", times=10**9)
    assert failure(event(REJECTED)) == 1
    assert len(faults.calls["TransactWriteItems"]) == 1


def test_what_changes_again_and_again_leaves_the_event_in_the_queue(
    stack: Stack, failure: Failure
) -> None:
    given(stack)
    models = count()

    def change_it() -> None:
        stack.put(training_item(started_at=f"{next(models)}"))

    meanwhile(failure, "TransactWriteItems", change_it, times=READINGS)
    assert failure(change()) == 1
    assert failure(change()) == 0
    assert state(stack) == "ERROR"


def test_dynamodb_that_answers_in_part_is_asked_for_the_rest(
    stack: Stack, failure: Failure
) -> None:
    given(stack, "one", "two")
    Faults(failure.client).leave_undone("BatchGetItem", lambda key: "entity" in key, times=2)
    assert failure(event(REJECTED)) == 0
    assert participants(stack) == {"two"}


def test_dynamodb_that_never_answers_in_full_leaves_the_event_in_the_queue(
    stack: Stack, failure: Failure
) -> None:
    """An item that was not read is not one that is not there."""
    given(stack, "one", "two")
    Faults(failure.client).leave_undone("BatchGetItem", lambda key: "entity" in key)
    assert failure(event(REJECTED)) == 1
    assert failure(change()) == 1
    assert (participants(stack), state(stack)) == ({"one", "two"}, "ONGOING")


def test_nothing_secret_is_logged(stack: Stack, failure: Failure) -> None:
    given(stack, "one", "two")
    failure(event(REJECTED), change())
    assert [each for each in SECRETS if each in failure.function.text] == []


def test_an_error_of_a_callback_is_no_fault_of_its_event(stack: Stack, account: Account) -> None:
    """Also if it is one that a model of the callback's own has raised."""
    app = account.function("CallbackSuccess").app

    def callback(_kind: OutcomeKind, _outcome: Outcome) -> str:
        return Receiver.model_validate({}).uuid

    with pytest.raises(ValidationError):
        call_back(
            event(REJECTED),
            callback,
            journal=Journal(app.logger, Tally("stack")),
            dead_letters=DeadLetterQueue(stack.sqs, stack.output("CallbacksDlqUrl")),
        )
    assert dead_letters(stack) == []


def test_every_state_is_either_announced_or_left_alone() -> None:
    """A new state would have to be thought of here."""
    announced = set(ANNOUNCED_STATE.values())
    assert announced | {
        TrainingState.INITIAL,
        TrainingState.COMPLETED,
        TrainingState.ERROR,
    } == set(TrainingState)

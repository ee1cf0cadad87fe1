"""The table "State change → notifications", row by row.

That nothing is sent is shown by what is sent next: the notifications of a training come in order,
so whatever a silent change had caused would have come before.

One thing can't be shown here: deletes made by DynamoDB's TTL. The emulator's leave no record in
the stream at all.
"""

import pytest

from fl_notifications_cli.participants import ParticipantServer
from tests.e2e.pipeline.kit import (
    ERROR,
    FINISHED,
    NOBODY_NEEDED,
    REMOVED,
    START,
    FlServer,
    expect,
    model_test,
    swag,
    update,
)

type Step = tuple[str, int, list[str]]
"""A state and a round that are written, and what the participants are told then."""

GONE = "gone"
"""No state: the training is deleted."""

NOTHING: list[str] = []
STARTS = [START, update(0)]

BEFORE: list[Step] = [("ONGOING", 0, STARTS)]
BEFORE_NOTHING: list[Step] = [*BEFORE, (GONE, 0, [ERROR])]
BEFORE_INITIAL: list[Step] = [*BEFORE, ("INITIAL", 0, NOTHING)]
"""The participants have been told of a run before."""

ROWS: dict[str, list[Step]] = {
    "ONGOING from nothing": [("ONGOING", 0, STARTS)],
    "ONGOING from INITIAL": [("INITIAL", 0, NOTHING), ("ONGOING", 0, STARTS)],
    "ONGOING from INITIAL, in a later round": [
        ("INITIAL", 0, NOTHING),
        ("ONGOING", 4, [START, update(4)]),
    ],
    "ONGOING, another round": [("ONGOING", 0, STARTS), ("ONGOING", 1, [update(1)])],
    "ONGOING, an earlier round": [
        ("ONGOING", 3, [START, update(3)]),
        ("ONGOING", 1, [update(1)]),
    ],
    "ONGOING from SWAG_ROUND, same round": [
        *BEFORE,
        ("SWAG_ROUND", 2, [swag(2)]),
        ("ONGOING", 2, [update(2)]),
    ],
    "ONGOING from MODEL_TEST, another round": [
        *BEFORE,
        ("MODEL_TEST", 2, [model_test(2)]),
        ("ONGOING", 3, [update(3)]),
    ],
    "ONGOING from COMPLETED": [("COMPLETED", 5, [FINISHED]), ("ONGOING", 5, [START, update(5)])],
    "ONGOING from ERROR": [("ERROR", 5, [ERROR]), ("ONGOING", 6, [START, update(6)])],
    "SWAG_ROUND from nothing": [*BEFORE_NOTHING, ("SWAG_ROUND", 0, [START, swag(0)])],
    "SWAG_ROUND from INITIAL": [*BEFORE_INITIAL, ("SWAG_ROUND", 0, [START, swag(0)])],
    "SWAG_ROUND, same round": [("ONGOING", 0, STARTS), ("SWAG_ROUND", 0, [swag(0)])],
    "SWAG_ROUND, another round": [("ONGOING", 0, STARTS), ("SWAG_ROUND", 1, [swag(1)])],
    "SWAG_ROUND again": [*BEFORE, ("SWAG_ROUND", 1, [swag(1)]), ("SWAG_ROUND", 2, [swag(2)])],
    "MODEL_TEST from nothing": [*BEFORE_NOTHING, ("MODEL_TEST", 0, [START, model_test(0)])],
    "MODEL_TEST from INITIAL": [*BEFORE_INITIAL, ("MODEL_TEST", 0, [START, model_test(0)])],
    "MODEL_TEST, same round": [("ONGOING", 0, STARTS), ("MODEL_TEST", 0, [model_test(0)])],
    "MODEL_TEST from SWAG_ROUND, another round": [
        *BEFORE,
        ("SWAG_ROUND", 1, [swag(1)]),
        ("MODEL_TEST", 2, [model_test(2)]),
    ],
    "MODEL_TEST again": [
        *BEFORE,
        ("MODEL_TEST", 1, [model_test(1)]),
        ("MODEL_TEST", 2, [model_test(2)]),
    ],
    "COMPLETED from nothing": [("COMPLETED", 0, [FINISHED])],
    "COMPLETED from ONGOING": [("ONGOING", 0, STARTS), ("COMPLETED", 0, [FINISHED])],
    "COMPLETED from ERROR": [("ERROR", 0, [ERROR]), ("COMPLETED", 0, [FINISHED])],
    "COMPLETED, another round: nothing": [
        ("COMPLETED", 0, [FINISHED]),
        ("COMPLETED", 1, NOTHING),
        ("ERROR", 1, [ERROR]),
    ],
    "ERROR from nothing": [("ERROR", 0, [ERROR])],
    "ERROR from MODEL_TEST": [*BEFORE, ("MODEL_TEST", 0, [model_test(0)]), ("ERROR", 0, [ERROR])],
    "ERROR from COMPLETED": [("COMPLETED", 0, [FINISHED]), ("ERROR", 0, [ERROR])],
    "ERROR, another round: nothing": [
        ("ERROR", 0, [ERROR]),
        ("ERROR", 1, NOTHING),
        ("COMPLETED", 1, [FINISHED]),
    ],
    "INITIAL again: nothing, and the next start is one": [
        ("ONGOING", 0, STARTS),
        ("INITIAL", 0, NOTHING),
        ("INITIAL", 1, NOTHING),
        ("ONGOING", 1, [START, update(1)]),
    ],
    "ONGOING again after ERROR: the run goes on, and its start is told": [
        *BEFORE,
        ("ERROR", 0, [ERROR]),
        ("ONGOING", 1, [update(1)]),
    ],
}


@pytest.mark.parametrize("steps", ROWS.values(), ids=ROWS)
def test_participants_are_told(
    steps: list[Step], fl_server: FlServer, participants: ParticipantServer
) -> None:
    both = participants.add(), participants.add()
    training = fl_server.training(*both, state=None)

    told: list[str] = []
    for state, round_number, labels in steps:
        if state == GONE:
            training.delete()
        else:
            training.write(state, round_number)
        told += labels
        if labels:
            for each in both:
                expect(each, *told)


def test_changes_of_anything_else_tell_nobody(
    fl_server: FlServer, participants: ParticipantServer
) -> None:
    one = participants.add()
    training = fl_server.training(one, state="ONGOING")
    expect(one, START, update(0))

    training.change(locked=True)
    training.change(last_update="2026-03-01T12:00:00+00:00")
    training.change(options={"failure_policy": "quorum"})
    training.change(model_uuid="00000000-0000-4000-8000-000000000001")
    training.change(aggregated={"updates": [1, 2, 3], "note": None})
    training.put("UPDATE#17", anything="the server's own items")

    training.model_uuid = "00000000-0000-4000-8000-000000000002"
    training.write("ONGOING", 1)
    expect(one, START, update(0), update(1))


def test_a_training_that_is_deleted_while_it_runs_has_ended_with_an_error(
    fl_server: FlServer, participants: ParticipantServer
) -> None:
    one = participants.add()
    training = fl_server.training(one, state="ONGOING")
    expect(one, START, update(0))

    training.delete()
    error = expect(one, START, update(0), ERROR)[-1]
    assert error.message["body"]["data"]["reason"] == "the training was deleted"
    training.write("COMPLETED")
    expect(one, START, update(0), ERROR, FINISHED)


# --- the actor -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "told"), [("COMPLETED", FINISHED), ("ERROR", ERROR)])
def test_an_actor_who_takes_no_part_is_told_of_the_end_only(
    state: str, told: str, fl_server: FlServer, participants: ParticipantServer
) -> None:
    one, actor = participants.add(name="participant"), participants.add(name="actor")
    training = fl_server.training(one, state="ONGOING", actor=actor)
    expect(one, START, update(0))

    training.write(state)

    expect(one, START, update(0), told)
    expect(actor, told)


@pytest.mark.parametrize(("state", "told"), [("COMPLETED", FINISHED), ("ERROR", ERROR)])
def test_an_actor_who_takes_part_is_told_of_the_end_once(
    state: str, told: str, fl_server: FlServer, participants: ParticipantServer
) -> None:
    other, actor = participants.add(), participants.add()
    training = fl_server.training(other, actor, state="ONGOING", actor=actor)
    expect(actor, START, update(0))

    training.write(state)
    expect(actor, START, update(0), told)

    training.write("ONGOING", 1)
    expect(actor, START, update(0), told, update(1))


def test_an_actor_is_known_in_any_spelling_of_its_uuid(
    fl_server: FlServer, participants: ParticipantServer
) -> None:
    one = participants.add()
    same = participants.add(uuid_=one.uuid.upper(), name="the same, spelt otherwise")
    training = fl_server.training(one, state="COMPLETED", actor=same)
    expect(one, FINISHED)

    training.write("ERROR")
    expect(one, FINISHED, ERROR)
    assert same.requests == []


def test_an_actor_without_participants_is_told(
    fl_server: FlServer, participants: ParticipantServer
) -> None:
    actor = participants.add()

    training = fl_server.training(state="ONGOING", actor=actor, options=NOBODY_NEEDED)
    training.write("COMPLETED")

    expect(actor, FINISHED)


# --- who joins later -----------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["ONGOING", "SWAG_ROUND", "MODEL_TEST"])
def test_a_late_joiner_is_told_of_the_start_then_of_the_next_round(
    state: str, fl_server: FlServer, participants: ParticipantServer
) -> None:
    late = participants.add()
    training = fl_server.training(state=state, options=NOBODY_NEEDED)
    fl_server.let_it_be_read()

    training.join(late)
    expect(late, START)

    training.write("ONGOING", 1)
    expect(late, START, update(1))


@pytest.mark.parametrize("state", [None, "INITIAL", "COMPLETED", "ERROR"])
def test_who_joins_when_nothing_runs_is_told_nothing_yet(
    state: str | None, fl_server: FlServer, participants: ParticipantServer
) -> None:
    one = participants.add()
    training = fl_server.training(state=state, options=NOBODY_NEEDED)
    fl_server.let_it_be_read()

    training.join(one)
    fl_server.let_it_be_read()

    training.write("MODEL_TEST", options=NOBODY_NEEDED)
    expect(one, START, model_test(0))


def test_a_changed_participant_is_told_nothing(
    fl_server: FlServer, participants: ParticipantServer
) -> None:
    one = participants.add()
    training = fl_server.training(one, state="ONGOING")
    expect(one, START, update(0))

    training.join(one, model_uuid="00000000-0000-4000-8000-000000000003")
    training.join(one, note="the server's own")

    training.write("ONGOING", 1)
    expect(one, START, update(0), update(1))


def test_a_participant_who_moves_is_told_at_the_new_place(
    fl_server: FlServer, participants: ParticipantServer
) -> None:
    old, new = participants.add(name="old place"), participants.add(name="new place")
    training = fl_server.training(old, state="ONGOING")
    expect(old, START, update(0))

    training.join(old, message_endpoint=new.message_endpoint)
    training.write("ONGOING", 1)

    expect(new, update(1))
    expect(old, START, update(0))


def test_the_start_is_told_once_for_each_joining(
    fl_server: FlServer, participants: ParticipantServer
) -> None:
    one = participants.add()
    training = fl_server.training(state="ONGOING", options=NOBODY_NEEDED)
    fl_server.let_it_be_read()
    first, second = "2026-03-01T12:00:00+00:00", "2026-03-01T12:00:01+00:00"

    for told in ([START], [START, REMOVED, START]):
        training.join(one, joined_at=first if told == [START] else second)
        expect(one, *told)
        training.leave(one)
        expect(one, *told, REMOVED)
    training.join(one, joined_at=second)
    training.leave(one)

    expect(one, START, REMOVED, START, REMOVED, REMOVED)


# --- who leaves ----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["ONGOING", "SWAG_ROUND", "MODEL_TEST", "ERROR"])
def test_who_is_removed_is_told_so_and_nothing_more(
    state: str, fl_server: FlServer, participants: ParticipantServer
) -> None:
    stays, goes = participants.add(name="stays"), participants.add(name="goes")
    training = fl_server.training(stays, goes, state=None)
    fl_server.let_it_be_read()
    training.write(state)
    told = {
        "ONGOING": STARTS,
        "SWAG_ROUND": [START, swag(0)],
        "MODEL_TEST": [START, model_test(0)],
        "ERROR": [ERROR],
    }[state]
    expect(goes, *told)

    training.leave(goes)
    expect(goes, *told, REMOVED)

    training.write("MODEL_TEST", 1)
    again = [START] if state == "ERROR" else []
    expect(stays, *told, *again, model_test(1))
    fl_server.let_it_be_read()
    assert goes.labels == [*told, REMOVED]


@pytest.mark.parametrize("how", ["the training is COMPLETED", "there is no training"])
def test_who_is_removed_after_the_end_was_told_is_told_nothing_more(
    how: str, fl_server: FlServer, participants: ParticipantServer
) -> None:
    one = participants.add()
    training = fl_server.training(one, state="COMPLETED")
    expect(one, FINISHED)
    if how == "there is no training":
        training.delete()

    training.leave(one)
    fl_server.let_it_be_read()

    # Let something else be sent to it, which would come after that.
    training.write("SWAG_ROUND", options=NOBODY_NEEDED)
    fl_server.let_it_be_read()
    training.join(one, joined_at="2026-03-01T12:00:00+00:00")
    expect(one, FINISHED, START)

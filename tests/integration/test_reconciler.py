"""What the server's rows say is carried over to the table, whoever dies in between."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from fl_notifications.server.desired import Announced, Desired, Seen, announced, desired, gone
from fl_notifications.server.reconciler import NotCarriedOverError, Reconciler
from fl_notifications.server.repository import TrainingRepository
from fl_notifications.trainings.model import Participant, TrainingState
from tests.integration.faults import Faults, undo_all
from tests.integration.handlers import Function
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
    uuid_of,
)

ONE, TWO, THREE = (participant(name) for name in ("one", "two", "three"))
INITIAL, ONGOING, COMPLETED = TrainingState.INITIAL, TrainingState.ONGOING, TrainingState.COMPLETED
ERROR, MODEL_TEST = TrainingState.ERROR, TrainingState.MODEL_TEST


def seen(state: TrainingState, *who: Participant, **values: Any) -> Seen:
    given: dict[str, Any] = {
        "training_uuid": TRAINING_UUID,
        "state": state,
        "round": 0,
        "model_uuid": MODEL_UUID,
        "actor": ACTOR,
        "participants": who,
        "options": {},
    }
    return Seen(**(given | values))


class Server:
    """A server with one row, whose clock ticks with each change."""

    def __init__(self, clock: StoppedClock) -> None:
        self.clock = clock
        self.rows: list[Desired] = []

    def change(self, now: Seen, **given: Any) -> Desired:
        self.clock.go_on(1)
        old = self.rows[-1] if self.rows else None
        self.rows.append(desired(old, now, self.clock.now().isoformat(), **given))
        return self.rows[-1]

    def tell(
        self, state: TrainingState, round_: int, *who: Participant, model: str = MODEL_UUID
    ) -> Desired:
        call = Announced(state, round_, frozenset(each.uuid for each in who), model)
        self.rows.append(announced(self.rows[-1], call))
        return self.rows[-1]


@pytest.fixture
def server_side(clock: StoppedClock) -> Server:
    return Server(clock)


@pytest.fixture
def reconciler(stack: Stack, clock: StoppedClock) -> Reconciler:
    return Reconciler(stack.dynamodb, stack.trainings_table, clock=clock, sleep=lambda _: None)


@pytest.fixture
def trainings(stack: Stack, clock: StoppedClock) -> TrainingRepository:
    return TrainingRepository(stack.dynamodb, stack.trainings_table, clock=clock)


def place(trainings: TrainingRepository) -> tuple[str, int]:
    training = trainings.get(TRAINING_UUID)
    return training.state.value, training.round


def told(stack: Stack, build: Function, who: Participant) -> list[tuple[str, int | None]]:
    if (changes := stack.changes())["Records"]:
        build(changes)
    return [
        (each["notification_type"], each["round"])
        for each in stack.delivered()
        if each["receiver"]["uuid"] == who.uuid
    ]


def says(stack: Stack) -> dict[str, Any]:
    """What the table says, but for times."""
    items = stack.dynamodb.scan(TableName=stack.trainings_table)["Items"]
    times = {"last_update", "started_at"}
    return {
        each["entity"]["S"]: {k: v for k, v in each.items() if k not in times} for each in items
    }


# --- a whole life ---------------------------------------------------------------------------------


def test_a_life_of_a_training_reaches_the_participants_in_the_servers_own_order(
    stack: Stack, build: Function, reconciler: Reconciler, server_side: Server
) -> None:
    reconciler.carry_over(server_side.change(seen(INITIAL, ONE)))
    reconciler.carry_over(server_side.change(seen(ONGOING, ONE)))
    reconciler.carry_over(server_side.change(seen(MODEL_TEST, ONE, round=1)))
    reconciler.carry_over(server_side.change(seen(ONGOING, ONE, round=1)))
    reconciler.carry_over(server_side.change(seen(MODEL_TEST, ONE, round=2)))
    report = reconciler.carry_over(server_side.change(seen(COMPLETED, ONE, round=2)))
    assert report.agreed
    assert report.steps == ("COMPLETED in round 2",)
    assert told(stack, build, ONE) == [
        ("TRAINING_START", None),
        ("UPDATE_ROUND_START", 0),
        ("MODEL_TEST_ROUND", 1),
        ("UPDATE_ROUND_START", 1),
        ("MODEL_TEST_ROUND", 2),
        ("TRAINING_FINISHED", None),
    ]


def test_what_was_overtaken_is_skipped(
    stack: Stack, build: Function, reconciler: Reconciler, server_side: Server
) -> None:
    server_side.change(seen(INITIAL, ONE, TWO))
    server_side.change(seen(ONGOING, ONE, TWO))
    server_side.change(seen(MODEL_TEST, ONE, TWO, round=1))
    reconciler.carry_over(server_side.change(seen(ONGOING, ONE, round=1)))
    assert told(stack, build, ONE) == [("TRAINING_START", None), ("UPDATE_ROUND_START", 1)]
    assert told(stack, build, TWO) == []


def test_carrying_over_again_writes_nothing(
    stack: Stack, reconciler: Reconciler, server_side: Server
) -> None:
    server_side.change(seen(INITIAL, ONE))
    row = server_side.change(
        seen(
            ONGOING,
            ONE,
            settings={"rate": 0.5},
            selected=(ONE.uuid,),
            options={"min_participants": 1},
        )
    )
    reconciler.carry_over(row)
    before, faults = says(stack), Faults(stack.dynamodb)
    assert reconciler.carry_over(row).steps == ()
    assert set(faults.calls) == {"Query"}
    assert says(stack) == before


def test_a_dry_run_says_what_differs_and_writes_nothing(
    stack: Stack, reconciler: Reconciler, server_side: Server
) -> None:
    row = server_side.change(seen(ONGOING, ONE, TWO))
    report = reconciler.carry_over(row, dry_run=True)
    assert report.steps == ("create the training", "2 join", "ONGOING in round 0")
    assert says(stack) == {}


# --- killed at any point --------------------------------------------------------------------------


class Killed(BaseException):
    """The process is gone."""


def begin_again(server: Server) -> Desired:
    server.change(seen(INITIAL, ONE, TWO))
    return server.change(seen(ONGOING, ONE, TWO))


def change(server: Server) -> Desired:
    own = {ONE.uuid: OWN_MODEL_UUID}
    return server.change(seen(ONGOING, ONE, THREE, round=1, models=own))


def delete(server: Server) -> Desired:
    server.rows.append(gone(server.rows[-1]))
    return server.rows[-1]


LIFE: dict[str, Callable[[Server], Desired]] = {
    "created": lambda server: server.change(seen(INITIAL, ONE, TWO)),
    "started": lambda server: server.change(seen(ONGOING, ONE, TWO)),
    "changed": change,
    "set back": begin_again,
    "over": lambda server: server.change(seen(COMPLETED, ONE)),
    "deleted": delete,
}


def kill_at(stack: Stack, write: int, *, done: bool) -> Callable[[], bool]:
    """Kill whoever makes this write, before or after DynamoDB has done it."""
    count, when = 0, "after-call" if done else "before-call"

    def kill(**_: Any) -> None:
        nonlocal count
        count += 1
        if count == write:
            raise Killed

    Faults(stack.dynamodb)._register(f"{when}.dynamodb.TransactWriteItems", kill)
    return lambda: count < write


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("upto", range(len(LIFE)), ids=list(LIFE))
def test_a_server_killed_at_any_write_leaves_what_the_command_completes(
    stack: Stack, reconciler: Reconciler, clock: StoppedClock, upto: int, *, done: bool
) -> None:
    """As said by the same life without a kill."""
    for write in range(1, 8):
        stack.empty()
        server = Server(StoppedClock())
        *before, last = list(LIFE.values())[: upto + 1]
        for step in before:
            reconciler.carry_over(step(server))
        row = last(server)
        alive = kill_at(stack, write, done=done)
        with suppress(Killed):
            reconciler.carry_over(row)
        undo_all()
        survived = alive()
        reconciler.carry_over(row)
        killed = says(stack)
        stack.empty()
        server = Server(StoppedClock())
        for step in (*before, last):
            reconciler.carry_over(step(server))
        assert killed == says(stack)
        if survived:
            assert write > 1
            return
    raise AssertionError("more writes than expected")


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_whoever_is_killed_everybody_is_told_once_in_order(
    stack: Stack, build: Function, reconciler: Reconciler, *, done: bool
) -> None:
    for write in range(1, 5):
        stack.empty()
        server = Server(StoppedClock())
        server.change(seen(INITIAL, ONE, TWO))
        row = server.change(seen(ONGOING, ONE, TWO))
        alive = kill_at(stack, write, done=done)
        with suppress(Killed):
            reconciler.carry_over(row)
        undo_all()
        if alive():
            return
        reconciler.carry_over(row)
        assert told(stack, build, ONE) == [("TRAINING_START", None), ("UPDATE_ROUND_START", 0)]
    raise AssertionError("more writes than expected")


# --- two at once ----------------------------------------------------------------------------------


def between(stack: Stack, write: int, happens: Callable[[], object]) -> None:
    """Let something happen once, just before a write."""
    count = 0

    def once(**_: Any) -> None:
        nonlocal count
        count += 1
        if count == write:
            happens()

    Faults(stack.dynamodb)._register("before-call.dynamodb.TransactWriteItems", once)


@pytest.mark.parametrize("write", [1, 2, 3])
def test_an_older_version_stops_at_the_first_write_of_a_newer_one(
    stack: Stack, reconciler: Reconciler, server_side: Server, write: int
) -> None:
    older = server_side.change(seen(ONGOING, ONE, TWO))
    newer = server_side.change(seen(MODEL_TEST, ONE, round=1))
    between(stack, write, lambda: reconciler.carry_over(newer))
    assert reconciler.carry_over(older).overtaken
    alone = says(stack)
    stack.empty()
    reconciler.carry_over(newer)
    assert alone == says(stack)
    assert reconciler.carry_over(older).overtaken
    assert says(stack) == alone


@pytest.mark.parametrize("write", [1, 2, 3])
def test_the_same_version_twice_at_once_is_carried_over_once(
    stack: Stack, build: Function, reconciler: Reconciler, server_side: Server, write: int
) -> None:
    row = server_side.change(seen(ONGOING, ONE))
    between(stack, write, lambda: reconciler.carry_over(row))
    assert reconciler.carry_over(row).agreed
    assert told(stack, build, ONE) == [("TRAINING_START", None), ("UPDATE_ROUND_START", 0)]


def test_a_version_that_needs_no_write_stops_older_ones_all_the_same(
    reconciler: Reconciler, trainings: TrainingRepository, server_side: Server
) -> None:
    first = server_side.change(seen(ONGOING, ONE))
    reconciler.carry_over(first)
    joined = server_side.change(seen(ONGOING, ONE, TWO))
    left = server_side.change(seen(ONGOING, ONE))
    assert reconciler.carry_over(left).steps == ()
    assert reconciler.carry_over(joined).overtaken
    assert [each.uuid for each in trainings.participants(TRAINING_UUID)] == [ONE.uuid]


def test_a_table_that_keeps_changing_is_an_error(
    stack: Stack, reconciler: Reconciler, trainings: TrainingRepository, server_side: Server
) -> None:
    reconciler.carry_over(server_side.change(seen(ONGOING, ONE)))
    row = server_side.change(seen(ONGOING, ONE, round=50))

    def meddle(**_: Any) -> None:
        trainings.next_round(TRAINING_UUID)

    Faults(stack.dynamodb)._register("before-call.dynamodb.TransactWriteItems", meddle)
    with pytest.raises(NotCarriedOverError, match="kept changing"):
        reconciler.carry_over(row)


# --- what the service has done --------------------------------------------------------------------


def remove(stack: Stack, who: Participant, joined_at: str) -> None:
    """As the failure policy does."""
    stack.dynamodb.delete_item(
        TableName=stack.trainings_table,
        Key=item({"training_uuid": TRAINING_UUID, "entity": f"PARTICIPANT#{who.uuid}"}),
    )
    removed = {"entity": f"REMOVED#{who.uuid}", "reason": "answered 400", "joined_at": joined_at}
    stack.put(item({"training_uuid": TRAINING_UUID, "at": NOW.isoformat(), **removed}))


def test_a_participant_that_the_service_has_removed_is_reported_and_not_written_again(
    stack: Stack, reconciler: Reconciler, trainings: TrainingRepository, server_side: Server
) -> None:
    row = server_side.change(seen(ONGOING, ONE, TWO))
    reconciler.carry_over(row)
    remove(stack, ONE, row.participants[ONE.uuid].joined_at)
    report = reconciler.carry_over(server_side.change(seen(ONGOING, ONE, TWO, round=1)))
    assert [(each.participant_uuid, each.reason) for each in report.removed] == [
        (ONE.uuid, "answered 400")
    ]
    assert not report.agreed
    assert [each.uuid for each in trainings.participants(TRAINING_UUID)] == [TWO.uuid]
    assert reconciler.carry_over(server_side.change(seen(ONGOING, TWO, round=1))).agreed


def test_one_that_was_removed_while_it_was_to_be_written_is_not_written_again(
    stack: Stack, reconciler: Reconciler, trainings: TrainingRepository, server_side: Server
) -> None:
    """Another process has written it, and the service has removed it, after this one has read."""
    row = server_side.change(seen(ONGOING, ONE, TWO))
    joined = row.participants[ONE.uuid].joined_at

    def meanwhile() -> None:
        reconciler.carry_over(row)
        remove(stack, ONE, joined)

    between(stack, 2, meanwhile)
    assert [each.participant_uuid for each in reconciler.carry_over(row).removed] == [ONE.uuid]
    assert [each.uuid for each in trainings.participants(TRAINING_UUID)] == [TWO.uuid]


def test_who_was_removed_may_join_again(
    stack: Stack, reconciler: Reconciler, trainings: TrainingRepository, server_side: Server
) -> None:
    row = server_side.change(seen(ONGOING, ONE, TWO))
    reconciler.carry_over(row)
    remove(stack, ONE, row.participants[ONE.uuid].joined_at)
    server_side.change(seen(ONGOING, TWO))
    assert reconciler.carry_over(server_side.change(seen(ONGOING, ONE, TWO))).agreed
    assert len(list(trainings.participants(TRAINING_UUID))) == 2


def test_an_end_that_the_service_has_set_is_reported_and_stands(
    reconciler: Reconciler, trainings: TrainingRepository, server_side: Server
) -> None:
    reconciler.carry_over(server_side.change(seen(ONGOING, ONE)))
    trainings.fail(TRAINING_UUID, "a participant is out")
    report = reconciler.carry_over(server_side.change(seen(ONGOING, ONE, round=1)))
    assert report.ended is not None
    assert (report.ended.state, report.ended.reason) == (ERROR, "a participant is out")
    assert place(trainings) == ("ERROR", 0)
    assert reconciler.carry_over(server_side.change(seen(ERROR, ONE, round=1))).agreed
    assert trainings.get(TRAINING_UUID).error_reason == "a participant is out"


def test_a_server_that_goes_on_after_an_end_is_obeyed(
    stack: Stack,
    build: Function,
    reconciler: Reconciler,
    trainings: TrainingRepository,
    server_side: Server,
) -> None:
    reconciler.carry_over(server_side.change(seen(ONGOING, ONE)))
    trainings.fail(TRAINING_UUID, "a participant is out")
    server_side.change(seen(ERROR, ONE))
    assert reconciler.carry_over(server_side.change(seen(ONGOING, ONE, round=1))).agreed
    training = trainings.get(TRAINING_UUID)
    assert (training.state, training.round, training.error) == (ONGOING, 1, None)


def test_a_server_that_begins_again_passes_initial(
    stack: Stack, build: Function, reconciler: Reconciler, server_side: Server
) -> None:
    reconciler.carry_over(server_side.change(seen(ONGOING, ONE, round=2)))
    server_side.change(seen(INITIAL, ONE))
    row = server_side.change(seen(ONGOING, ONE))
    report = reconciler.carry_over(row)
    assert report.steps == ("set it back to INITIAL", "ONGOING in round 0")


def test_a_training_that_fails_by_the_server_says_why_and_where_it_was(
    reconciler: Reconciler, trainings: TrainingRepository, server_side: Server
) -> None:
    reconciler.carry_over(server_side.change(seen(MODEL_TEST, ONE, round=1)))
    reconciler.carry_over(server_side.change(seen(ERROR, ONE, round=1, reason="disk full")))
    assert trainings.get(TRAINING_UUID).error_reason == "disk full"
    assert trainings.resume(TRAINING_UUID) is MODEL_TEST


def test_a_deleted_training_is_not_made_again_by_an_older_version(
    stack: Stack, reconciler: Reconciler, server_side: Server
) -> None:
    older = server_side.change(seen(ONGOING, ONE))
    reconciler.carry_over(older)
    deleted = gone(older)
    assert reconciler.carry_over(deleted).steps == (
        "delete the training",
        "delete 1 items that belong to it",
    )
    assert reconciler.carry_over(older).overtaken
    assert set(says(stack)) == {"SERVER"}


# --- daisy-chaining -------------------------------------------------------------------------------


def test_a_round_with_a_model_for_each_is_told_when_all_models_are_known(
    stack: Stack, build: Function, reconciler: Reconciler, server_side: Server
) -> None:
    server_side.change(seen(INITIAL, ONE, TWO), by_calls=True)
    reconciler.carry_over(server_side.change(seen(ONGOING, ONE, TWO), by_calls=True))
    told(stack, build, ONE)
    first = server_side.tell(ONGOING, 1, ONE, model=uuid_of("m1"))
    reconciler.carry_over(first)
    assert told(stack, build, ONE) == []
    reconciler.carry_over(server_side.tell(ONGOING, 1, TWO, model=uuid_of("m2")))
    build(stack.changes())
    models = {each["receiver"]["uuid"]: each["content"]["body"] for each in stack.delivered()}
    assert models == {
        ONE.uuid: {"round": 1, "global_model_uuid": uuid_of("m1")},
        TWO.uuid: {"round": 1, "global_model_uuid": uuid_of("m2")},
    }


def test_many_participants_join_in_as_few_transactions_as_there_can_be(
    stack: Stack, reconciler: Reconciler, trainings: TrainingRepository, server_side: Server
) -> None:
    many = [participant(f"p{number}") for number in range(120)]
    faults = Faults(stack.dynamodb)
    assert reconciler.carry_over(server_side.change(seen(ONGOING, *many))).agreed
    sizes = [len(call["TransactItems"]) for call in faults.calls["TransactWriteItems"]]
    assert sizes == [2, 99, 99, 45, 2]
    assert len(list(trainings.participants(TRAINING_UUID))) == 120

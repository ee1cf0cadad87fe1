"""The example for servers with a plain SQL database does what it says."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.plain_sql_server import Server
from fl_notifications.server.reconciler import Reconciler
from fl_notifications.server.repository import TrainingRepository
from tests.integration.faults import Faults, undo_all
from tests.integration.stack import Stack
from tests.integration.test_reconciler import remove
from tests.made import ACTOR, MODEL_UUID, TRAINING_UUID, StoppedClock, participant

ONE, TWO = participant("one"), participant("two")


@pytest.fixture
def server(stack: Stack, tmp_path: Path) -> Iterator[Server]:
    reconciler = Reconciler(stack.dynamodb, stack.trainings_table, sleep=lambda _: None)
    server = Server(str(tmp_path / "server.sqlite"), reconciler)
    with server.change(TRAINING_UUID) as sql:
        row = (TRAINING_UUID, "INITIAL", 0, MODEL_UUID, ACTOR.model_dump_json())
        sql.execute("INSERT INTO training VALUES (?, ?, ?, ?, ?)", row)
        for each in (ONE, TWO):
            who = (TRAINING_UUID, each.uuid, each.message_endpoint)
            sql.execute("INSERT INTO participant VALUES (?, ?, ?)", who)
    yield server
    server.close()


@pytest.fixture
def trainings(stack: Stack, clock: StoppedClock) -> TrainingRepository:
    return TrainingRepository(stack.dynamodb, stack.trainings_table, clock=clock)


def set_state(server: Server, state: str) -> None:
    with server.change(TRAINING_UUID) as sql:
        sql.execute("UPDATE training SET state = ?", (state,))


def test_what_is_committed_is_carried_over(server: Server, trainings: TrainingRepository) -> None:
    set_state(server, "ONGOING")
    assert trainings.get(TRAINING_UUID).state == "ONGOING"
    assert len(list(trainings.participants(TRAINING_UUID))) == 2


def test_what_is_rolled_back_is_not(server: Server, trainings: TrainingRepository) -> None:
    def half() -> None:
        with server.change(TRAINING_UUID) as sql:
            sql.execute("UPDATE training SET state = 'ONGOING'")
            sql.execute("no such thing")

    with pytest.raises(sqlite3.OperationalError):
        half()
    server.repair()
    assert trainings.get(TRAINING_UUID).state == "INITIAL"


def test_what_was_left_behind_is_repaired(
    stack: Stack, server: Server, trainings: TrainingRepository
) -> None:
    Faults(stack.dynamodb).refuse("TransactWriteItems", "InternalServerError", status=500)
    set_state(server, "ONGOING")
    assert trainings.get(TRAINING_UUID).state == "INITIAL"
    undo_all()
    server.repair()
    assert trainings.get(TRAINING_UUID).state == "ONGOING"


def test_what_the_service_has_done_comes_back(
    stack: Stack, server: Server, trainings: TrainingRepository
) -> None:
    set_state(server, "ONGOING")
    (joined,) = {each.joined_at for each in trainings.participants(TRAINING_UUID)}
    remove(stack, ONE, f"{joined}")
    trainings.fail(TRAINING_UUID, "a participant is out")
    server.repair()
    report = server.carry_over(TRAINING_UUID)
    assert report.agreed
    assert trainings.get(TRAINING_UUID).state == "ERROR"

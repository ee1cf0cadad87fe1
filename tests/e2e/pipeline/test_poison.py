"""What can't be read blocks nobody, and is kept with the reason."""

import json
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import pytest

from fl_notifications_cli.participants import ParticipantServer
from fl_notifications_cli.stack import Stack
from tests.e2e.pipeline.kit import (
    FINISHED,
    START,
    FlServer,
    QueueMessage,
    QueueReader,
    TrainingItem,
    eventually,
    expect,
    item_of,
    log_lines,
    some_uuid,
    update,
)

# --- the queue of deliveries ---------------------------------------------------------------------

POISON: Final[Mapping[str, str]] = {
    "no JSON": "\u2603 this is no JSON {",
    "empty object": "{}",
    "list": "[1, 2, 3]",
    "null": "null",
    "number": "17",
    "string": '"TRAINING_START"',
    "deep": "[" * 5000 + "]" * 5000,
    "wrong types": json.dumps({"notification_id": 1, "notification_type": None, "receiver": []}),
    "half a delivery": json.dumps(
        {"notification_id": some_uuid(), "notification_type": "TRAINING_START", "round": None}
    ),
    "large": json.dumps({"notification_id": "x" * 200_000}),
}


def test_poison_on_the_queue_becomes_dead_letters_that_say_why(
    stack: Stack,
    fl_server: FlServer,
    participants: ParticipantServer,
    deliveries_dlq: QueueReader,
) -> None:
    one = participants.add()
    training = fl_server.training(one, state=None)
    # In the very group of a receiver, and in groups of its own.
    groups = [f"{training.uuid}:{one.uuid}", some_uuid()]
    for body in POISON.values():
        for group in groups:
            stack.client("sqs").send_message(
                QueueUrl=stack.output("DeliveriesQueueUrl"),
                MessageBody=body,
                MessageGroupId=group,
                MessageDeduplicationId=some_uuid(),
            )
    training.write("ONGOING")

    expect(one, START, update(0))
    for name, body in POISON.items():
        letters = deliveries_dlq.wait_for(partial(_is, body), name, number=len(groups))
        assert len(letters) == len(groups), name
        for letter in letters:
            assert "not a delivery" in letter.attributes["reason"]


def _is(body: str, message: QueueMessage) -> bool:
    return message.body == body


def _mentions(text: str, message: QueueMessage) -> bool:
    return text in message.body


# --- the stream ----------------------------------------------------------------------------------

GOOD: Final[Mapping[str, Any]] = {
    "state": "ONGOING",
    "round": 0,
    "model_uuid": "00000000-0000-4000-8000-000000000001",
    "actor": {
        "uuid": "00000000-0000-4000-8000-000000000002",
        "message_endpoint": "http://127.0.0.1:1/",
    },
}
MISSING: Final = object()
ENDS: Final[dict[str, Any]] = {"state": "COMPLETED"}

BAD_TRAININGS: Final[Mapping[str, tuple[Mapping[str, Any], str]]] = {
    "no state": ({"state": MISSING}, "state"),
    "unknown state": ({"state": "RUNNING"}, "state"),
    "state in lower case": ({"state": "ongoing"}, "state"),
    "state a number": ({"state": 3}, "state"),
    "no round": ({"round": MISSING}, "round"),
    "round a string": ({"round": "0"}, "round"),
    "round a boolean": ({"round": True}, "round"),
    "half a round": ({"round": "N:0.5"}, "round"),
    "round below 0": ({"round": -1}, "round"),
    "no model": ({"model_uuid": MISSING}, "model_uuid"),
    "model null": ({"model_uuid": None}, "model_uuid"),
    "model no uuid": ({"model_uuid": "the newest"}, "model_uuid"),
    # Only the end is told to the actor: a round needs none.
    "no actor": (ENDS | {"actor": MISSING}, "actor"),
    "actor a string": (ENDS | {"actor": "somebody"}, "actor"),
    "actor without endpoint": (ENDS | {"actor": {"uuid": some_uuid()}}, "actor.message_endpoint"),
    "actor without uuid": (
        ENDS | {"actor": {"message_endpoint": "http://127.0.0.1:1/"}},
        "actor.uuid",
    ),
}
BAD_PARTICIPANTS: Final[Mapping[str, tuple[Mapping[str, Any], str]]] = {
    "no endpoint": ({}, "message_endpoint"),
    "endpoint a number": ({"message_endpoint": 80}, "message_endpoint"),
    "endpoint a list": ({"message_endpoint": ["http://127.0.0.1:1/"]}, "message_endpoint"),
    "joined_at a number": (
        {"message_endpoint": "http://127.0.0.1:1/", "joined_at": 1767225600},
        "joined_at",
    ),
    "model no uuid": (
        {"message_endpoint": "http://127.0.0.1:1/", "model_uuid": "mine"},
        "model_uuid",
    ),
}


@pytest.fixture(scope="module")
def since() -> float:
    """A time before all that is written here."""
    return time.time()


@pytest.fixture(scope="module")
def bad_trainings(fl_server: FlServer, since: float) -> Mapping[str, TrainingItem]:
    """All bad trainings, written one after the other."""
    written = {}
    for name, (changes, _) in BAD_TRAININGS.items():
        training = fl_server.training(state=None)
        values = {key: each for key, each in {**GOOD, **changes}.items() if each is not MISSING}
        item = item_of(values)
        if values.get("round") == "N:0.5":
            item["round"] = {"N": "0.5"}
        training.client.put_item(
            TableName=training.table, Item={**training.key("TRAINING"), **item}
        )
        written[name] = training
    return written


@pytest.mark.parametrize("name", BAD_TRAININGS)
def test_a_training_that_cannot_be_read_becomes_a_dead_letter(
    name: str, bad_trainings: Mapping[str, TrainingItem], stream_dlq: QueueReader
) -> None:
    training, field = bad_trainings[name], BAD_TRAININGS[name][1]

    [letter] = stream_dlq.wait_for(partial(_mentions, training.uuid), name)

    said = letter.json
    assert said["field"] == field
    assert training.uuid in said["item"]
    assert "TRAINING" in said["item"]
    assert said["reason"]
    for part in (training.uuid, field):
        assert part in letter.attributes["reason"]


def test_it_is_logged_too(
    stack: Stack, bad_trainings: Mapping[str, TrainingItem], since: float
) -> None:
    wanted = {(training.uuid, BAD_TRAININGS[name][1]) for name, training in bad_trainings.items()}
    eventually(
        lambda: {
            (training, field)
            for training, field in wanted
            for line in log_lines(stack, "unreadable item", since)
            if line["level"] == "ERROR" and line["field"] == field and training in line["item"]
        },
        lambda found: found == wanted,
        "a line of the log for each",
    )


def test_trainings_beside_bad_ones_are_served(
    fl_server: FlServer, participants: ParticipantServer
) -> None:
    """Bad and good items are written in turns, so that they come in the same batches."""
    good = []
    for changes, _ in BAD_TRAININGS.values():
        one = participants.add()
        good.append((one, fl_server.training(one, state="ONGOING")))
        values = {key: each for key, each in {**GOOD, **changes}.items() if each is not MISSING}
        fl_server.training(state=None).put("TRAINING", **values)

    for one, training in good:
        expect(one, START, update(0))
        training.write("COMPLETED")
    for one, _ in good:
        expect(one, START, update(0), FINISHED)


def test_participants_beside_bad_ones_are_served(
    fl_server: FlServer, participants: ParticipantServer, stream_dlq: QueueReader
) -> None:
    good = [participants.add() for _ in range(3)]
    training = fl_server.training(*good, state=None)
    bad = {name: f"PARTICIPANT#{some_uuid()}" for name in BAD_PARTICIPANTS}
    for name, entity in bad.items():
        training.put(entity, **BAD_PARTICIPANTS[name][0])
    bad["no uuid"] = "PARTICIPANT#Bob"
    training.put(bad["no uuid"], message_endpoint="http://127.0.0.1:1/")
    fields = {name: field for name, (_, field) in BAD_PARTICIPANTS.items()} | {"no uuid": "entity"}

    training.write("ONGOING")
    for each in good:
        expect(each, START, update(0))
    training.write("COMPLETED")
    for each in good:
        expect(each, START, update(0), FINISHED)

    for name, entity in bad.items():
        letters = stream_dlq.wait_for(partial(_mentions, entity), name)
        assert {letter.json["field"] for letter in letters} == {fields[name]}, name
        assert all(entity in letter.json["item"] for letter in letters), name


def test_a_training_that_is_mended_is_served(
    fl_server: FlServer, participants: ParticipantServer
) -> None:
    """Nobody was told of what could not be read, so what comes next is the first."""
    one = participants.add()
    training = fl_server.training(one, state=None)
    training.put("TRAINING", **{**GOOD, "round": "zero"})

    training.write("ONGOING")

    expect(one, START, update(0))


def test_an_entity_that_looks_meant_as_one_of_ours_becomes_a_dead_letter(
    fl_server: FlServer, stream_dlq: QueueReader
) -> None:
    entities = {"training", "PARTICIPANT", "participant#1"}
    training = fl_server.training(state=None)
    for entity in entities:
        training.put(entity, message_endpoint="http://127.0.0.1:1/", state="ONGOING")

    letters = stream_dlq.wait_for(
        partial(_mentions, training.uuid), "the letters", number=len(entities)
    )
    assert {letter.json["entity"] for letter in letters} == entities


def test_other_entities_are_nobodys_business(
    fl_server: FlServer, participants: ParticipantServer, stream_dlq: QueueReader
) -> None:
    one = participants.add()
    training = fl_server.training(one, state="ONGOING")
    for entity in ("TRAINING#1", "UPDATE#1", "MODEL#1"):
        training.put(entity, message_endpoint="http://127.0.0.1:1/", state="ONGOING")
    training.write("COMPLETED")

    eventually(lambda: one.labels, lambda labels: labels[-1:] == [FINISHED], "the end")
    assert not [letter for letter in stream_dlq.messages() if training.uuid in letter.body]

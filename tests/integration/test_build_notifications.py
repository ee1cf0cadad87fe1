"""BuildNotifications: from a write to the trainings table to the messages on the queue."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from boto3.dynamodb.types import TypeSerializer

from fl_notifications.aws.batches import ATTEMPTS
from fl_notifications.deliveries.guard import MAX_URL_LENGTH
from fl_notifications.server.repository import TrainingRepository
from fl_notifications.trainings.model import TrainingState
from tests.integration.conftest import Start
from tests.integration.faults import Faults
from tests.integration.handlers import Function
from tests.integration.stack import Record, Stack
from tests.log_lines import SECRETS, check_metrics, parse_lines, steps
from tests.made import (
    ACTOR,
    MODEL_UUID,
    OWN_MODEL_UUID,
    TRAINING_UUID,
    StoppedClock,
    item,
    participant,
    participant_item,
    training_item,
    uuid_of,
)

ONE, TWO = participant("one"), participant("two")
OTHER_UUID = uuid_of("another training")

type Told = tuple[str, str]


def told(stack: Stack) -> list[Told]:
    """What is on its way, in the order of the queue: type and receiver; the queue is empty then."""
    names = {uuid_of(name): name for name in ("one", "two", "three", "late", "actor")}
    return [
        (each["notification_type"], names.get(each["receiver"]["uuid"], "?"))
        for each in stack.delivered()
    ]


def by_receiver(stack: Stack) -> dict[str, list[str]]:
    """What is on its way, by receiver: between receivers there is no order."""
    found: dict[str, list[str]] = {}
    for kind, name in told(stack):
        found.setdefault(name, []).append(kind)
    return found


def failures(result: Any) -> list[str]:
    return [each["itemIdentifier"] for each in result["batchItemFailures"]]


def numbers(event: Record) -> list[str]:
    return [each["dynamodb"]["SequenceNumber"] for each in event["Records"]]


@pytest.fixture
def running(stack: Stack, server: TrainingRepository, build: Function) -> TrainingRepository:
    """A training in its first round, with two participants; that much has been told."""
    server.create(TRAINING_UUID, MODEL_UUID, ACTOR, [ONE, TWO])
    server.start(TRAINING_UUID)
    build(stack.changes())
    stack.delivered()
    stack.outcomes()
    build.forget()
    return server


# --- the table "State change → notifications" -----------------------------------------------------


def test_a_start_is_told_to_each_participant_before_its_first_round(
    stack: Stack, server: TrainingRepository, build: Function
) -> None:
    server.create(TRAINING_UUID, MODEL_UUID, ACTOR, [ONE, TWO])
    assert failures(build(stack.changes())) == []
    assert told(stack) == []
    server.start(TRAINING_UUID)
    assert failures(build(stack.changes())) == []
    assert by_receiver(stack) == {
        "one": ["TRAINING_START", "UPDATE_ROUND_START"],
        "two": ["TRAINING_START", "UPDATE_ROUND_START"],
    }


def test_participants_whose_insert_is_read_after_the_start_are_told_it_once(
    stack: Stack, server: TrainingRepository, build: Function
) -> None:
    server.create(TRAINING_UUID, MODEL_UUID, ACTOR, [ONE, TWO])
    server.start(TRAINING_UUID)
    event = stack.changes()
    assert len(event["Records"]) == 4
    build(event)
    assert Counter(told(stack)) == Counter(
        {
            ("TRAINING_START", "one"): 1,
            ("TRAINING_START", "two"): 1,
            ("UPDATE_ROUND_START", "one"): 1,
            ("UPDATE_ROUND_START", "two"): 1,
        }
    )


def test_a_message_has_all_that_the_delivery_needs(
    stack: Stack, running: TrainingRepository, build: Function
) -> None:
    running.set_model(TRAINING_UUID, TWO.uuid, OWN_MODEL_UUID)
    running.next_round(TRAINING_UUID)
    build(stack.changes())
    records = stack.messages(stack.output("DeliveriesQueueUrl"))
    messages = {json.loads(each["body"])["receiver"]["uuid"]: each for each in records}
    record = messages[TWO.uuid]
    body = json.loads(record["body"])
    assert body["content"] == {
        "notification_type": "UPDATE_ROUND_START",
        "body": {"round": 1, "global_model_uuid": OWN_MODEL_UUID},
        "training_uuid": TRAINING_UUID,
    }
    assert body["receiver"] == TWO.model_dump(include={"uuid", "message_endpoint"})
    assert record["attributes"]["MessageGroupId"] == f"{TRAINING_UUID}:{TWO.uuid}"
    assert record["attributes"]["MessageDeduplicationId"] == body["notification_id"]
    first = json.loads(messages[ONE.uuid]["body"])
    assert first["content"]["body"]["global_model_uuid"] == MODEL_UUID


type Step = Callable[[TrainingRepository], object]
STEPS: dict[str, tuple[Step, str, set[str]]] = {
    "the next round": (
        lambda server: server.next_round(TRAINING_UUID),
        "UPDATE_ROUND_START",
        {"one", "two"},
    ),
    "a SWAG round": (
        lambda server: server.swag_round(TRAINING_UUID),
        "SWAG_ROUND_START",
        {"one", "two"},
    ),
    "a model test": (
        lambda server: server.model_test(TRAINING_UUID),
        "MODEL_TEST_ROUND",
        {"one", "two"},
    ),
    "the end": (
        lambda server: server.finish(TRAINING_UUID),
        "TRAINING_FINISHED",
        {"one", "two", "actor"},
    ),
    "an error": (
        lambda server: server.fail(TRAINING_UUID, "disk full"),
        "TRAINING_ERROR",
        {"one", "two", "actor"},
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_is_told_to_whom_it_concerns_each_once(
    stack: Stack, running: TrainingRepository, build: Function, name: str
) -> None:
    step, kind, receivers = STEPS[name]
    step(running)
    assert failures(build(stack.changes())) == []
    assert Counter(told(stack)) == Counter({(kind, each): 1 for each in receivers})


def test_the_reason_of_an_error_is_told(
    stack: Stack, running: TrainingRepository, build: Function
) -> None:
    running.fail(TRAINING_UUID, "disk full")
    build(stack.changes())
    (body, *_) = [each["content"]["body"] for each in stack.delivered()]
    assert body == {"data": {"reason": "disk full", "round": 0}}


def test_an_actor_that_takes_part_is_told_the_end_once(
    stack: Stack, server: TrainingRepository, build: Function
) -> None:
    server.create(TRAINING_UUID, MODEL_UUID, ONE, [ONE, TWO])
    server.start(TRAINING_UUID)
    server.finish(TRAINING_UUID)
    build(stack.changes())
    ends = [name for kind, name in told(stack) if kind == "TRAINING_FINISHED"]
    assert sorted(ends) == ["one", "two"]


@pytest.mark.parametrize(
    "change",
    [
        {"lock": "held", "weights": b"\x00"},
        {"options": {"failure_policy": "quorum"}},
        {"last_update": "2026-03-01T13:00:00+00:00"},
        {"model_uuid": OWN_MODEL_UUID},
        {"state": "INITIAL"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_changes_are_told_to_nobody(
    stack: Stack, running: TrainingRepository, build: Function, change: dict[str, Any]
) -> None:
    now = stack.item(TRAINING_UUID)
    assert now is not None
    stack.put(now | item(change))
    event = stack.changes()
    assert len(event["Records"]) == 1
    assert failures(build(event)) == []
    assert told(stack) == []


def test_rounds_of_one_training_are_sent_in_their_order(
    stack: Stack, running: TrainingRepository, build: Function
) -> None:
    running.next_round(TRAINING_UUID)
    running.swag_round(TRAINING_UUID)
    running.model_test(TRAINING_UUID)
    running.finish(TRAINING_UUID)
    build(stack.changes())
    kinds = ["UPDATE_ROUND_START", "SWAG_ROUND_START", "MODEL_TEST_ROUND", "TRAINING_FINISHED"]
    assert by_receiver(stack) == {
        "one": kinds,
        "two": kinds,
        "actor": ["TRAINING_FINISHED"],
    }


def test_a_training_without_participants_tells_nobody_but_the_actor_at_its_end(
    stack: Stack, server: TrainingRepository, build: Function
) -> None:
    stack.put(training_item(state="INITIAL"), training_item(state="ONGOING"))
    server.finish(TRAINING_UUID)
    assert failures(build(stack.changes())) == []
    assert told(stack) == [("TRAINING_FINISHED", "actor")]


# --- who joins and who leaves ---------------------------------------------------------------------


def test_who_joins_a_running_training_is_told_its_start_and_rounds_from_the_next_one_on(
    stack: Stack, running: TrainingRepository, build: Function
) -> None:
    running.add_participant(TRAINING_UUID, participant("late"))
    build(stack.changes())
    assert told(stack) == [("TRAINING_START", "late")]
    running.next_round(TRAINING_UUID)
    build(stack.changes())
    assert ("UPDATE_ROUND_START", "late") in told(stack)


@pytest.mark.parametrize("state", set(TrainingState) - {TrainingState.ONGOING})
def test_who_joins_is_told_only_while_the_training_is_running(
    stack: Stack, build: Function, state: TrainingState
) -> None:
    stack.put(training_item(state=state.value))
    build(stack.changes())
    stack.delivered()
    stack.put(participant_item("late"))
    build(stack.changes())
    expected = (
        [("TRAINING_START", "late")]
        if state in {TrainingState.SWAG_ROUND, TrainingState.MODEL_TEST}
        else []
    )
    assert told(stack) == expected


def test_who_joins_before_there_is_a_training_is_told_when_it_starts(
    stack: Stack, build: Function
) -> None:
    stack.put(participant_item("one"))
    assert failures(build(stack.changes())) == []
    assert told(stack) == []
    stack.put(training_item())
    build(stack.changes())
    assert told(stack) == [("TRAINING_START", "one"), ("UPDATE_ROUND_START", "one")]


def test_who_joins_at_the_moment_of_a_round_is_told_the_start_before_it_and_once(
    stack: Stack, running: TrainingRepository, build: Function
) -> None:
    """Its own record is read first; the fan-out builds the same id."""
    running.add_participant(TRAINING_UUID, participant("late", joined_at="2999-01-01T00:00:00Z"))
    running.next_round(TRAINING_UUID)
    build(stack.changes())
    assert by_receiver(stack) == {
        "one": ["UPDATE_ROUND_START"],
        "two": ["UPDATE_ROUND_START"],
        "late": ["TRAINING_START", "UPDATE_ROUND_START"],
    }


def test_who_joins_again_is_told_the_start_again(
    stack: Stack, running: TrainingRepository, build: Function
) -> None:
    running.remove_participant(TRAINING_UUID, ONE.uuid)
    running.add_participant(TRAINING_UUID, ONE)
    build(stack.changes())
    assert told(stack) == [("CLIENT_REMOVED", "one"), ("TRAINING_START", "one")]


def test_who_is_removed_is_told_so(
    stack: Stack, running: TrainingRepository, build: Function
) -> None:
    running.remove_participant(TRAINING_UUID, ONE.uuid)
    build(stack.changes())
    (message,) = stack.delivered()
    assert message["receiver"] == ONE.model_dump(include={"uuid", "message_endpoint"})
    assert message["content"]["body"] == {"data": {}}


LEAVES: dict[TrainingState, list[Told]] = {
    TrainingState.INITIAL: [],
    TrainingState.ONGOING: [("CLIENT_REMOVED", "one")],
    TrainingState.SWAG_ROUND: [("CLIENT_REMOVED", "one")],
    TrainingState.MODEL_TEST: [("CLIENT_REMOVED", "one")],
    # Both with the ids of the end's own fan-out, so that nobody hears them twice.
    TrainingState.COMPLETED: [("TRAINING_FINISHED", "one")],
    TrainingState.ERROR: [("TRAINING_ERROR", "one"), ("CLIENT_REMOVED", "one")],
}


@pytest.mark.parametrize("state", LEAVES)
def test_what_who_is_removed_is_told_depends_on_the_training_as_it_was_then(
    stack: Stack, build: Function, state: TrainingState
) -> None:
    stack.put(participant_item("one"))
    stack.put(training_item(state=state.value))
    remove(stack, "one")
    build(stack.changes())
    assert [each for each in told(stack) if each[1] != "actor"] == LEAVES[state]


def test_who_is_removed_from_a_training_that_is_gone_is_told_nothing(
    stack: Stack, build: Function
) -> None:
    stack.put(participant_item("one"))
    stack.changes()
    remove(stack, "one")
    assert failures(build(stack.changes())) == []
    assert told(stack) == []


def test_a_participant_that_expires_is_told_nothing(
    stack: Stack, running: TrainingRepository, build: Function
) -> None:
    running.remove_participant(TRAINING_UUID, ONE.uuid)
    event = stack.changes()
    (record,) = event["Records"]
    record["userIdentity"] = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
    build(event)
    assert told(stack) == []


def test_a_participant_that_moves_is_told_nothing(
    stack: Stack, running: TrainingRepository, build: Function
) -> None:
    now = stack.item(TRAINING_UUID, f"PARTICIPANT#{ONE.uuid}")
    assert now is not None
    stack.put(now | item({"message_endpoint": "https://elsewhere.example/"}))
    build(stack.changes())
    assert told(stack) == []


def remove(stack: Stack, name: str) -> None:
    stack.dynamodb.delete_item(
        TableName=stack.trainings_table,
        Key={
            "training_uuid": {"S": TRAINING_UUID},
            "entity": {"S": f"PARTICIPANT#{uuid_of(name)}"},
        },
    )


# --- bad input ------------------------------------------------------------------------------------


def dead_letters(stack: Stack) -> list[tuple[str, dict[str, Any]]]:
    """The dead letters: their reason, and what is in them."""
    return [
        (each["messageAttributes"]["reason"]["stringValue"], json.loads(each["body"]))
        for each in stack.messages(stack.output("StreamDlqUrl"))
    ]


BAD_TRAININGS: dict[str, tuple[dict[str, Any], str]] = {
    "wrong type": ({"round": "three"}, "round"),
    "negative round": ({"round": -1}, "round"),
    "missing model": ({"model_uuid": None}, "model_uuid"),
    "model that is no uuid": ({"model_uuid": "model"}, "model_uuid"),
    "unknown state": ({"state": "PAUSED"}, "state"),
    "selection of a wrong type": ({"selected": "all"}, "selected"),
    "too many selected": ({"selected": [uuid_of(f"p{n}") for n in range(1001)]}, "selected"),
    "settings that are no map": ({"settings": "fast"}, "settings"),
    "settings that are too large": ({"settings": {"weights": "w" * 16_384}}, "settings"),
    "settings that JSON cannot say": ({"settings": {"weights": b"w"}}, "settings"),
}


@pytest.mark.parametrize("name", BAD_TRAININGS)
def test_an_unreadable_training_is_set_aside_by_name_and_its_neighbours_are_served(
    stack: Stack, build: Function, name: str
) -> None:
    values, field = BAD_TRAININGS[name]
    stack.put(participant_item("two", training_uuid=OTHER_UUID))
    stack.changes()
    stack.put(training_item(**values), training_item(training_uuid=OTHER_UUID))
    event = stack.changes()
    assert failures(build(event)) == []
    assert told(stack) == [("TRAINING_START", "two"), ("UPDATE_ROUND_START", "two")]
    ((reason, letter),) = dead_letters(stack)
    name_of_item = f"item 'TRAINING' of training '{TRAINING_UUID}'"
    assert reason.startswith(f"{name_of_item}: field {field}: ")
    assert (letter["item"], letter["field"]) == (name_of_item, field)
    assert reason.endswith(letter["reason"])
    assert (letter["training_uuid"], letter["entity"]) == (TRAINING_UUID, "TRAINING")
    # Whole, so that it can be processed again once it is mended.
    assert letter["record"] == event["Records"][0]
    (line,) = [each for each in build.lines if each["level"] == "ERROR"]
    assert (line["item"], line["field"]) == (name_of_item, field)


BAD_PARTICIPANTS: dict[str, tuple[dict[str, Any], str]] = {
    "no endpoint": ({"message_endpoint": None}, "message_endpoint"),
    "endpoint of a wrong type": ({"message_endpoint": 7}, "message_endpoint"),
    "endpoint in binary": ({"message_endpoint": b"https://one"}, "message_endpoint"),
    "key without a uuid": ({"entity": "PARTICIPANT#one"}, "entity"),
    "uuid with a space": ({"entity": "PARTICIPANT# " + "1" * 31}, "entity"),
    "model that is no uuid": ({"model_uuid": "mine"}, "model_uuid"),
}


@pytest.mark.parametrize("name", BAD_PARTICIPANTS)
def test_an_unreadable_participant_is_set_aside_by_name_and_the_others_are_told(
    stack: Stack, running: TrainingRepository, build: Function, name: str
) -> None:
    values, field = BAD_PARTICIPANTS[name]
    stack.put(participant_item("bad", **values))
    stack.changes()
    running.next_round(TRAINING_UUID)
    assert failures(build(stack.changes())) == []
    assert Counter(told(stack)) == Counter(
        [("UPDATE_ROUND_START", "one"), ("UPDATE_ROUND_START", "two")]
    )
    ((reason, letter),) = dead_letters(stack)
    entity = participant_item("bad", **values)["entity"]["S"]
    name_of_item = f"item '{entity}' of training '{TRAINING_UUID}'"
    assert reason.startswith(f"{name_of_item}: field {field}: ")
    assert (letter["item"], letter["field"], letter["entity"]) == (name_of_item, field, entity)
    (line,) = [each for each in build.lines if each["level"] == "ERROR"]
    assert (line["item"], line["field"]) == (name_of_item, field)


@pytest.mark.parametrize("name", BAD_PARTICIPANTS)
def test_an_unreadable_participant_that_joins_or_leaves_is_set_aside(
    stack: Stack, running: TrainingRepository, build: Function, name: str
) -> None:
    values, field = BAD_PARTICIPANTS[name]
    bad = participant_item("bad", **values)
    stack.put(bad)
    stack.dynamodb.delete_item(
        TableName=stack.trainings_table,
        Key={key: bad[key] for key in ("training_uuid", "entity")},
    )
    event = stack.changes()
    assert len(event["Records"]) == 2
    assert failures(build(event)) == []
    assert told(stack) == []
    letters = [letter for _, letter in dead_letters(stack)]
    assert [each["field"] for each in letters] == [field] * 2
    assert [each["record"]["eventName"] for each in letters] == ["INSERT", "REMOVE"]


@pytest.mark.parametrize("endpoint", ["", "no URL", "ftp://x/", "https://[::", "Größe\uffff\x01"])
def test_an_endpoint_that_is_a_string_but_no_url_is_for_the_delivery_to_find_out(
    stack: Stack, running: TrainingRepository, build: Function, endpoint: str
) -> None:
    stack.put(participant_item("three", message_endpoint=endpoint))
    stack.changes()
    running.next_round(TRAINING_UUID)
    assert failures(build(stack.changes())) == []
    found = {each["receiver"]["uuid"]: each["receiver"] for each in stack.delivered()}
    assert found[uuid_of("three")]["message_endpoint"] == endpoint
    assert dead_letters(stack) == []


def test_an_endpoint_too_long_for_a_message_is_cut_and_still_too_long_for_the_guard(
    stack: Stack, running: TrainingRepository, build: Function
) -> None:
    long = "https://one.example/" + "\u2603" * 100_000
    numbers = range(10, 12)
    stack.put(*(participant_item(f"p{each}", message_endpoint=long) for each in numbers))
    stack.changes()
    running.next_round(TRAINING_UUID)
    assert failures(build(stack.changes())) == []
    found = {each["receiver"]["uuid"]: each["receiver"] for each in stack.delivered()}
    for each in numbers:
        endpoint = found[uuid_of(f"p{each}")]["message_endpoint"]
        assert len(endpoint) == MAX_URL_LENGTH + 1
        assert long.startswith(endpoint)
    assert dead_letters(stack) == []


def test_a_training_that_becomes_readable_again_is_announced_as_if_it_were_new(
    stack: Stack, running: TrainingRepository, build: Function
) -> None:
    """Nobody was told of the round that could not be read; the start is not told again."""
    good = stack.item(TRAINING_UUID)
    assert good is not None
    stack.put(good | item({"round": "one"}), good | item({"round": 1}))
    build(stack.changes())
    assert [kind for kind, _ in told(stack)].count("UPDATE_ROUND_START") == 2
    assert len(dead_letters(stack)) == 1


HARMLESS: dict[str, dict[str, Any]] = {
    "options that are none": {"options": None},
    "a policy that is none": {"options": {"failure_policy": None}},
    "unreadable options": {"options": {"failure_policy": "?"}},
    "options that are no map": {"options": "strict"},
    "a time that is a number": {"last_update": 7},
    "no actor": {"actor": None},
    "an actor without an endpoint": {"actor": {"uuid": ACTOR.uuid}},
    "a start time that is a number": {"started_at": 7},
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_a_round_does_not_need_holds_it_up_not(
    stack: Stack, running: TrainingRepository, build: Function, name: str
) -> None:
    now = stack.item(TRAINING_UUID)
    assert now is not None
    serialized = TypeSerializer().serialize
    changed = {key: serialized(value) for key, value in (HARMLESS[name] | {"round": 1}).items()}
    stack.put(now | changed, now | item({"round": 1}))
    assert failures(build(stack.changes())) == []
    assert sorted(told(stack)) == [("UPDATE_ROUND_START", "one"), ("UPDATE_ROUND_START", "two")]
    assert dead_letters(stack) == []


@pytest.mark.parametrize("name", ["unreadable options", "options that are no map"])
def test_unreadable_options_are_logged_and_counted(
    stack: Stack, running: TrainingRepository, build: Function, name: str
) -> None:
    now = stack.item(TRAINING_UUID)
    assert now is not None
    stack.put(now | item(HARMLESS[name]))
    build(stack.changes())
    (line,) = [each for each in build.lines if each.get("message") == "wrong option"]
    assert line["field"].startswith("options")


def test_an_option_that_nobody_knows_is_logged_and_the_change_is_told(
    stack: Stack, running: TrainingRepository, build: Function
) -> None:
    now = stack.item(TRAINING_UUID)
    assert now is not None
    stack.put(now | item({"round": 1, "options": {"min_participant": 3}}))
    build(stack.changes())
    assert len(told(stack)) == 2
    (line,) = [each for each in build.lines if each.get("message") == "wrong option"]
    assert line["field"] == "options.min_participant"


@pytest.mark.parametrize("actor", [None, {"uuid": ACTOR.uuid}, {"uuid": "me"}])
@pytest.mark.parametrize("state", ["COMPLETED", "ERROR"])
def test_an_unreadable_actor_is_a_dead_letter_and_the_participants_are_told(
    stack: Stack, running: TrainingRepository, build: Function, actor: Any, state: str
) -> None:
    stack.put(training_item(state=state, round=0, actor=actor))
    assert failures(build(stack.changes())) == []
    assert sorted(name for _, name in told(stack)) == ["one", "two"]
    ((_, letter),) = dead_letters(stack)
    assert letter["field"].startswith("actor")


@pytest.mark.parametrize("entity", ["training", "Training", "participant#", "PARTICIPANTS#"])
def test_an_item_that_looks_meant_is_a_dead_letter(
    stack: Stack, build: Function, entity: str
) -> None:
    entity = entity + uuid_of("one") if entity.endswith("#") else entity
    stack.put(training_item(entity=entity), training_item(entity="MODEL#1"))
    assert failures(build(stack.changes())) == []
    ((_, letter),) = dead_letters(stack)
    assert (letter["entity"], letter["field"]) == (entity, "entity")


def test_an_unreadable_participant_is_set_aside_once_at_a_start(
    stack: Stack, server: TrainingRepository, build: Function
) -> None:
    """Although the participants are read twice for it."""
    server.create(TRAINING_UUID, MODEL_UUID, ACTOR, [ONE])
    stack.put(participant_item("bad", message_endpoint=None))
    stack.changes()
    server.start(TRAINING_UUID)
    build(stack.changes())
    assert told(stack) == [("TRAINING_START", "one"), ("UPDATE_ROUND_START", "one")]
    assert len(dead_letters(stack)) == 1


def test_a_start_is_enqueued_once(
    stack: Stack, server: TrainingRepository, build: Function
) -> None:
    server.create(TRAINING_UUID, MODEL_UUID, ACTOR, [ONE, TWO])
    stack.changes()
    server.start(TRAINING_UUID)
    faults = Faults(build.app.clients.sqs)
    build(stack.changes())
    assert [len(call["Entries"]) for call in faults.calls["SendMessageBatch"]] == [2, 2]


def test_the_images_of_a_huge_item_are_left_out_of_its_dead_letter(
    stack: Stack, build: Function
) -> None:
    """SQS takes 1 MiB: two images, and JSON's escapes, may be more."""
    stack.put(training_item(round="three", notes="ß" * 180_000))
    event = stack.changes()
    record = event["Records"][0]
    record["dynamodb"]["OldImage"] = record["dynamodb"]["NewImage"]
    assert failures(build(event)) == []
    ((_, letter),) = dead_letters(stack)
    assert letter["field"] == "round"
    assert letter["record"]["dynamodb"]["SequenceNumber"] == numbers(event)[0]
    assert letter["record"]["dynamodb"]["Keys"] == record["dynamodb"]["Keys"]
    assert not {"NewImage", "OldImage"} & set(letter["record"]["dynamodb"])


def test_a_record_that_is_none_is_reported_and_the_others_are_processed(
    stack: Stack, server: TrainingRepository, build: Function
) -> None:
    server.create(TRAINING_UUID, MODEL_UUID, ACTOR, [ONE])
    server.start(TRAINING_UUID)
    event = stack.changes()
    strange = json.loads(json.dumps(event["Records"][0]))
    strange["eventName"] = "PURGE"
    strange["dynamodb"]["Keys"]["training_uuid"]["S"] = OTHER_UUID
    strange["dynamodb"]["SequenceNumber"] = "999"
    assert failures(build({"Records": [strange, *event["Records"]]})) == ["999"]
    assert told(stack) == [("TRAINING_START", "one"), ("UPDATE_ROUND_START", "one")]


# --- repeats and faults ---------------------------------------------------------------------------


def test_a_record_that_was_told_leads_to_nothing_when_it_comes_again(
    stack: Stack, running: TrainingRepository, build: Function
) -> None:
    running.next_round(TRAINING_UUID)
    event = stack.changes()
    faults = Faults(build.app.clients.sqs)
    build(event)
    build(event)
    assert len(faults.calls["SendMessageBatch"]) == 1
    assert len(stack.delivered()) == 2
    assert len(stack.outcomes()) == 1


def test_a_record_that_comes_again_before_it_is_noted_gives_the_same_messages(
    stack: Stack, running: TrainingRepository, build: Function
) -> None:
    """Which the queue takes once."""
    running.next_round(TRAINING_UUID)
    event = stack.changes()
    sent = Faults(build.app.clients.sqs)
    Faults(build.app.clients.dynamodb).refuse("PutItem", "InternalServerError", times=1)
    assert failures(build(event)) == numbers(event)
    assert failures(build(event)) == []
    first, second = (
        {each["MessageDeduplicationId"] for each in call["Entries"]}
        for call in sent.calls["SendMessageBatch"]
    )
    assert first == second
    assert len(stack.delivered()) == 2


def test_messages_that_the_queue_leaves_out_are_sent_again(
    stack: Stack, running: TrainingRepository, build: Function
) -> None:
    running.add_participants(TRAINING_UUID, [participant(f"p{n}") for n in range(23)])
    running.next_round(TRAINING_UUID)
    faults = Faults(build.app.clients.sqs)
    faults.leave_undone(
        "SendMessageBatch", lambda entry: int(entry["Id"]) % 2 == 0, times=ATTEMPTS - 1
    )
    assert failures(build(stack.changes())) == []
    sent = Counter(
        (each["notification_type"], each["receiver"]["uuid"]) for each in stack.delivered()
    )
    assert set(sent.values()) == {1}
    assert Counter(kind for kind, _ in sent) == {"TRAINING_START": 23, "UPDATE_ROUND_START": 25}


def test_a_message_that_the_queue_never_takes_makes_its_record_come_again(
    stack: Stack, running: TrainingRepository, build: Function
) -> None:
    """The later records of that training wait for it; those of others don't."""
    running.create(OTHER_UUID, MODEL_UUID, ACTOR, [participant("three")])
    build(stack.changes())
    running.next_round(TRAINING_UUID)
    running.start(OTHER_UUID)
    running.finish(TRAINING_UUID)
    event = stack.changes()
    first, other, last = numbers(event)
    faults = Faults(build.app.clients.sqs)
    faults.leave_undone("SendMessageBatch", lambda entry: TWO.uuid in entry["MessageGroupId"])
    assert failures(build(event)) == [first, last]
    assert other not in {first, last}
    assert by_receiver(stack) == {
        "one": ["UPDATE_ROUND_START"],
        "three": ["TRAINING_START", "UPDATE_ROUND_START"],
    }
    # Told five times, and no more, that it is refused.
    refused = [
        call
        for call in faults.calls["SendMessageBatch"]
        if any(TWO.uuid in entry["MessageGroupId"] for entry in call["Entries"])
    ]
    assert len(refused) == 5
    (line,) = [each for each in build.lines if "could not be processed" in each.get("message", "")]
    assert line["training_uuid"] == TRAINING_UUID
    assert line["error"] == ("NotEnqueuedError: the queue refused 1 of 2 messages: InternalError")


def test_when_lambda_brings_the_records_again_all_are_told_in_order(
    stack: Stack, running: TrainingRepository, build: Function
) -> None:
    running.next_round(TRAINING_UUID)
    running.finish(TRAINING_UUID)
    event = stack.changes()
    faults = Faults(build.app.clients.sqs)
    faults.leave_undone(
        "SendMessageBatch", lambda entry: TWO.uuid in entry["MessageGroupId"], times=5
    )
    assert failures(build(event)) == numbers(event)
    assert failures(build(event)) == []
    assert by_receiver(stack) == {
        "one": ["UPDATE_ROUND_START", "TRAINING_FINISHED"],
        "two": ["UPDATE_ROUND_START", "TRAINING_FINISHED"],
        "actor": ["TRAINING_FINISHED"],
    }


def test_the_round_is_not_sent_before_the_queue_has_every_start(
    stack: Stack, server: TrainingRepository, build: Function
) -> None:
    server.create(TRAINING_UUID, MODEL_UUID, ACTOR, [ONE, TWO])
    build(stack.changes())
    server.start(TRAINING_UUID)
    faults = Faults(build.app.clients.sqs)
    faults.leave_undone("SendMessageBatch", lambda entry: TWO.uuid in entry["MessageGroupId"])
    event = stack.changes()
    assert failures(build(event)) == numbers(event)
    assert told(stack) == [("TRAINING_START", "one")]


def test_without_the_queue_all_records_come_again(
    stack: Stack, running: TrainingRepository, build: Function
) -> None:
    running.next_round(TRAINING_UUID)
    event = stack.changes()
    stack.lose_queue("DeliveriesQueueUrl")
    assert failures(build(event)) == numbers(event)
    (line,) = [each for each in build.lines if "could not be processed" in each.get("message", "")]
    assert line["error"] == (
        "QueueDoesNotExist: AWS.SimpleQueueService.NonExistentQueue in SendMessageBatch"
    )


def test_without_the_table_all_records_come_again(
    stack: Stack, running: TrainingRepository, build: Function
) -> None:
    running.next_round(TRAINING_UUID)
    event = stack.changes()
    stack.lose_table("TrainingsTable")
    assert failures(build(event)) == numbers(event)
    assert told(stack) == []


def test_a_throttled_table_is_asked_again_by_boto3_itself(
    stack: Stack, running: TrainingRepository, build: Function
) -> None:
    """Page by page; what was sent before the second page failed is sent again with its id."""
    running.next_round(TRAINING_UUID)
    faults = Faults(build.app.batches.builder.trainings._client)
    faults.refuse("Query", "ProvisionedThroughputExceededException", times=1)
    event = stack.changes()
    # Refused past all of boto3's own tries:
    assert failures(build(event)) == numbers(event)
    assert failures(build(event)) == []
    assert len(told(stack)) == 2


def test_an_unreadable_item_that_cannot_be_set_aside_comes_again(
    stack: Stack, build: Function
) -> None:
    stack.put(training_item(round="three"))
    event = stack.changes()
    stack.lose_queue("StreamDlqUrl")
    assert failures(build(event)) == numbers(event)


def test_without_enough_time_left_records_are_not_begun(
    stack: Stack, running: TrainingRepository, build: Function
) -> None:
    running.next_round(TRAINING_UUID)
    running.finish(TRAINING_UUID)
    event = stack.changes()
    assert failures(build(event, remaining_seconds=59)) == numbers(event)
    assert told(stack) == []
    assert failures(build(event, remaining_seconds=61)) == []


# --- pages, log, metrics --------------------------------------------------------------------------


def test_each_message_is_logged_once_the_queue_has_it_and_nothing_secret_is(
    stack: Stack, running: TrainingRepository, build: Function, clock: StoppedClock
) -> None:
    running.next_round(TRAINING_UUID)
    build(stack.changes())
    built = steps(build.lines, "built")
    assert {line["receiver_uuid"] for line in built} == {ONE.uuid, TWO.uuid}
    assert {line["notification_id"] for line in built} == {
        each["notification_id"] for each in stack.delivered()
    }
    for line in built:
        assert line["notification_type"] == "UPDATE_ROUND_START"
        assert (line["training_uuid"], line["round"]) == (TRAINING_UUID, 1)
        assert "function_request_id" in line
        assert line["queued_ms"] >= 0
    assert [each for each in SECRETS if each in build.text] == []


def test_what_was_built_is_counted_by_type(
    stack: Stack,
    running: TrainingRepository,
    build: Function,
    capsys: pytest.CaptureFixture[str],
) -> None:
    running.next_round(TRAINING_UUID)
    stack.put(participant_item("bad", message_endpoint=None))
    event = stack.changes()
    capsys.readouterr()
    build(event)
    metrics = {
        line.get("notification_type"): check_metrics(line)
        for line in parse_lines(capsys.readouterr().out)
    }
    assert metrics == {"UPDATE_ROUND_START": {"Built": [2]}, None: {"UnreadableItems": [2]}}


def test_a_function_with_a_wrong_environment_does_not_start(stack: Stack, start: Start) -> None:
    with pytest.raises(Exception, match="STREAM_DLQ_URL"):
        start("BuildNotifications", STREAM_DLQ_URL="")

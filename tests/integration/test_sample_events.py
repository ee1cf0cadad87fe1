"""The sample events in events/: real in shape, and each does what its name says."""

import json
from pathlib import Path
from typing import Any

import pytest

from fl_notifications.deliveries.delivery import Delivery
from fl_notifications.outcomes.outcome import OutcomeKind, parse_outcome_event
from tests.aws.patterns import matches
from tests.cloudformation import ROOT, functions
from tests.integration.conftest import Account
from tests.integration.stack import Stack
from tests.log_lines import steps
from tests.made import TRAINING_UUID, participant_item, training_item

EVENTS = {path.stem: path for path in sorted((ROOT / "events").glob("*.json"))}
PARTICIPANT_UUID = "a3c5e7f9-1b2d-4f60-8a7c-9e0f1d2c3b4a"


def load(name: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(EVENTS[name].read_text())
    return event


def triggers(event: dict[str, Any]) -> set[str]:
    """The functions that this event is for, by the triggers of the template."""
    found = set()
    for name, properties in functions().items():
        if "FunctionUrlConfig" in properties and "rawPath" in event:
            found.add(name)
        for each in properties.get("Events", {}).values():
            trigger = each["Properties"]
            if each["Type"] == "EventBridgeRule":
                fits = matches(trigger["Pattern"], event)
            elif each["Type"] == "DynamoDB":
                fits = any(one["eventSource"] == "aws:dynamodb" for one in event.get("Records", []))
            elif each["Type"] == "Schedule":
                fits = event.get("detail-type") == "Scheduled Event"
            else:
                queue, _ = trigger["Queue"]["Fn::GetAtt"]
                fits = any(
                    one["eventSource"] == "aws:sqs" and f"-{queue}-" in one["eventSourceARN"]
                    for one in event.get("Records", [])
                )
            if fits:
                found.add(name)
    return found


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_is_for_one_function(name: str) -> None:
    assert len(triggers(load(name))) == 1


def test_every_function_has_an_event() -> None:
    assert set().union(*(triggers(load(name)) for name in EVENTS)) == set(functions())


@pytest.mark.parametrize("path", EVENTS.values(), ids=lambda path: path.stem)
def test_an_event_is_formatted_for_reading(path: Path) -> None:
    text = path.read_text()
    assert json.dumps(json.loads(text), indent=2, ensure_ascii=False) == text.rstrip("\n")


def shape(value: Any) -> Any:
    """What keys a value has and of what types its leaves are."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return "number" if isinstance(value, int | float) else type(value).__name__


@pytest.mark.parametrize("name", ["training-started", "training-finished", "participant-joined"])
def test_a_stream_record_has_the_shape_of_a_real_one(stack: Stack, name: str) -> None:
    (record,) = load(name)["Records"]
    stream = record["dynamodb"]
    if "OldImage" in stream:
        stack.put(stream["OldImage"])
        stack.changes()
    stack.put(stream["NewImage"])
    (real,) = stack.changes()["Records"]
    assert shape(record) == shape(real)


def test_a_delivery_has_the_shape_of_a_real_one(stack: Stack) -> None:
    (record,) = load("delivery")["Records"]
    delivery = Delivery.model_validate_json(record["body"])
    stack.sqs.send_message(
        QueueUrl=stack.output("DeliveriesQueueUrl"),
        MessageBody=record["body"],
        MessageGroupId=delivery.group,
        MessageDeduplicationId=delivery.notification_id,
    )
    (real,) = stack.receive()["Records"]
    assert record["attributes"]["MessageGroupId"] == delivery.group
    assert record["attributes"]["MessageDeduplicationId"] == delivery.notification_id
    assert record["md5OfBody"] == real["md5OfBody"]
    assert set(record) == set(real)
    known = {"MessageGroupId", "MessageDeduplicationId", "SequenceNumber", "SenderId"}
    assert known <= set(record["attributes"])


def test_a_queued_outcome_has_the_shape_of_a_real_one(stack: Stack) -> None:
    (record,) = load("outcome-rejected")["Records"]
    (real,) = stack.callbacks(json.loads(record["body"]))["Records"]
    assert record["md5OfBody"] == real["md5OfBody"]
    assert set(record) == set(real)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("training-started", ["TRAINING_START", "UPDATE_ROUND_START"]),
        ("training-finished", ["TRAINING_FINISHED", "TRAINING_FINISHED"]),
    ],
)
def test_the_builder_builds_them(
    stack: Stack, account: Account, name: str, expected: list[str]
) -> None:
    event = load(name)
    stack.put(event["Records"][0]["dynamodb"]["NewImage"], participant_item("one"))
    assert account.function("BuildNotifications")(event) == {"batchItemFailures": []}
    assert [each["notification_type"] for each in stack.delivered()] == expected


def test_who_joins_is_told_the_start(stack: Stack, account: Account) -> None:
    event = load("participant-joined")
    assert account.function("BuildNotifications")(event) == {"batchItemFailures": []}
    assert stack.delivered() == []  # there is no such training
    account.function("BuildNotifications")(load("training-started"))
    account.function("BuildNotifications")(event)
    (message,) = stack.delivered()
    assert message["notification_type"] == "TRAINING_START"
    assert message["receiver"]["uuid"] == PARTICIPANT_UUID


def test_a_delivery_to_a_training_that_is_not_there_is_superseded(
    stack: Stack, account: Account
) -> None:
    deliver = account.function("DeliverNotification")
    assert deliver(load("delivery")) == {"batchItemFailures": []}
    ((kind, outcome),) = map(parse_outcome_event, stack.outcomes())
    assert (kind, outcome.reason) == (OutcomeKind.SUPERSEDED, "the training is gone")


def test_an_accepted_outcome_is_logged(account: Account) -> None:
    success = account.function("CallbackSuccess")
    success(load("outcome-accepted"))
    assert [line["reason"] for line in steps(success.lines, "called back")] == ["logged"]


def test_a_rejected_outcome_removes_the_participant(stack: Stack, account: Account) -> None:
    stack.put(
        training_item(options={"min_participants": 0}),
        participant_item("x", entity=f"PARTICIPANT#{PARTICIPANT_UUID}"),
    )
    result = account.function("CallbackFailure")(load("outcome-rejected"))
    assert result == {"batchItemFailures": []}
    assert stack.item(TRAINING_UUID, f"PARTICIPANT#{PARTICIPANT_UUID}") is None


def test_the_events_of_one_notification_belong_together() -> None:
    (record,) = load("delivery")["Records"]
    (queued,) = load("outcome-rejected")["Records"]
    told = (load("outcome-accepted"), json.loads(queued["body"]))
    ids = {Delivery.model_validate_json(record["body"]).notification_id} | {
        outcome["detail"]["notification_id"] for outcome in told
    }
    assert len(ids) == 1

"""The round that a training is in, as the builder keeps it for the sweep."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.integration.conftest import Account
from tests.integration.handlers import Function
from tests.integration.stack import Stack
from tests.made import TRAINING_UUID, participant_item, training_item, uuid_of

DEADLINE = {"round_deadline_seconds": 600, "on_deadline": "remove_unreported"}


@pytest.fixture
def sweep(account: Account) -> Function:
    return account.function("Sweep")


def change(stack: Stack, build: Function, **values: Any) -> dict[str, Any]:
    """Write a training, and build; returns the sequence number of the change."""
    stack.put(training_item(**values))
    event = stack.changes()
    build(event)
    number: dict[str, Any] = event["Records"][-1]["dynamodb"]["SequenceNumber"]
    return number


def round_item(stack: Stack) -> dict[str, Any] | None:
    key = {"owner": {"S": f"TRAINING#{TRAINING_UUID}"}, "what": {"S": "ROUND"}}
    answer = stack.dynamodb.get_item(TableName=stack.output("WaitingTable"), Key=key)
    found: dict[str, Any] | None = answer.get("Item")
    return found


def due_after(item: dict[str, Any]) -> float:
    began_at = datetime.fromisoformat(item["began_at"]["S"])
    return int(item["due_at"]["N"]) - began_at.timestamp()


def test_a_round_with_a_deadline_is_an_item_by_the_contract(stack: Stack, build: Function) -> None:
    stack.put(participant_item("one"))
    number = change(stack, build, options=DEADLINE)
    item = round_item(stack)
    assert item is not None
    assert (item["state"], item["round"]) == ({"S": "ONGOING"}, {"N": "3"})
    assert (item["kind"], item["source"]) == ({"S": "UPDATE_ROUND_START"}, {"S": number})
    assert item["policy"] == {"S": "remove_unreported"}
    assert item["due_shard"]["S"].startswith("due#")
    assert due_after(item) == pytest.approx(600, abs=1)


def test_a_round_without_one_is_in_no_index(stack: Stack, build: Function) -> None:
    change(stack, build)
    item = round_item(stack)
    assert item is not None
    assert not {"due_shard", "due_at"} & set(item)


def test_the_next_round_takes_its_place(stack: Stack, build: Function) -> None:
    change(stack, build, options=DEADLINE)
    number = change(stack, build, state="SWAG_ROUND", options=DEADLINE)
    item = round_item(stack)
    assert item is not None
    assert (item["kind"], item["source"]) == ({"S": "SWAG_ROUND_START"}, {"S": number})


@pytest.mark.parametrize("state", ["COMPLETED", "ERROR", "INITIAL"])
def test_the_end_of_a_run_ends_its_round(stack: Stack, build: Function, state: str) -> None:
    change(stack, build, options=DEADLINE)
    change(stack, build, state=state, options=DEADLINE)
    assert round_item(stack) is None


def test_another_deadline_counts_from_the_rounds_beginning(stack: Stack, build: Function) -> None:
    number = change(stack, build, options=DEADLINE)
    first = round_item(stack)
    change(stack, build, options=DEADLINE | {"round_deadline_seconds": 60, "on_deadline": "error"})
    item = round_item(stack)
    assert item is not None
    assert first is not None
    assert (item["began_at"], item["source"]) == (first["began_at"], {"S": number})
    assert due_after(item) == pytest.approx(60, abs=1)
    assert item["policy"] == {"S": "error"}
    change(stack, build)
    item = round_item(stack)
    assert item is not None
    assert "due_at" not in item


def test_a_change_of_something_else_does_not_revive_a_round_that_was_overdue(
    stack: Stack, build: Function, sweep: Function
) -> None:
    change(stack, build, options=DEADLINE)
    item = round_item(stack)
    assert item is not None
    table = stack.output("WaitingTable")
    long_ago = {
        "due_at": {"N": "1000"},
        "began_at": {"S": (datetime.now().astimezone() - timedelta(days=1)).isoformat()},
    }
    stack.dynamodb.put_item(TableName=table, Item=item | long_ago)
    sweep({})
    assert [e["detail-type"] for e in stack.outcomes()].count("Training Overdue") == 1
    assert round_item(stack) is None
    change(stack, build, options=DEADLINE, settings={"epochs": 2})
    assert round_item(stack) is None
    # Who gives it more time is told again if that is not enough.
    change(stack, build, options=DEADLINE | {"round_deadline_seconds": 900})
    assert round_item(stack) is not None


def test_a_record_that_is_processed_once_more_writes_the_same(
    stack: Stack, build: Function
) -> None:
    stack.put(training_item(options=DEADLINE))
    event = stack.changes()
    build(event)
    first = round_item(stack)
    change(stack, build, round=4, options=DEADLINE)
    build(event)
    item = round_item(stack)
    assert item is not None
    assert first is not None
    assert item["round"] == {"N": "4"}


def test_who_has_not_reported_by_the_deadline_is_removed(
    stack: Stack, build: Function, sweep: Function, account: Account
) -> None:
    callback = account.function("CallbackFailure")
    stack.put(participant_item("silent"), participant_item("done", reported="ONGOING#3"))
    change(stack, build, options=DEADLINE)
    item = round_item(stack)
    assert item is not None
    began_at = datetime.now().astimezone() - timedelta(seconds=700)
    overdue: dict[str, Any] = {
        "began_at": {"S": began_at.isoformat()},
        "due_at": {"N": str(int(began_at.timestamp()) + 600)},
    }
    table = stack.output("WaitingTable")
    stack.dynamodb.put_item(TableName=table, Item={**item, **overdue})
    sweep({})
    for event in stack.outcomes():
        if event["detail-type"] == "Training Overdue":
            callback(stack.callbacks(event))
    assert stack.item(TRAINING_UUID, f"PARTICIPANT#{uuid_of('silent')}") is None
    assert stack.item(TRAINING_UUID, f"PARTICIPANT#{uuid_of('done')}") is not None

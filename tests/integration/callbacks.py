"""CallbackFailure behind its queue: events for it, and what it finds in the tables."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from botocore.exceptions import ClientError

from fl_notifications.outcomes.outcome import OutcomeKind
from tests.events import BEFORE, RUN, bus_event
from tests.integration.faults import Faults
from tests.integration.handlers import Function
from tests.integration.stack import Stack
from tests.log_lines import steps
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


DONE: dict[str, Any] = {"batchItemFailures": []}


@dataclass
class Failure:
    """CallbackFailure behind its queue."""

    stack: Stack
    function: Function

    def __call__(self, *events: dict[str, Any], remaining_seconds: float | None = None) -> int:
        """Bring it events; returns how many of them stay in the queue."""
        batch = self.stack.callbacks(*events)
        result = self.function(batch, remaining_seconds=remaining_seconds)
        return len(result["batchItemFailures"])

    @property
    def lines(self) -> list[dict[str, Any]]:
        return self.function.lines

    @property
    def client(self) -> Any:
        return self.function.app.clients.dynamodb


def event(kind: OutcomeKind, name: str = "one", **values: Any) -> dict[str, Any]:
    """An outcome as the bus brings it."""
    made = delivery(
        name, **{key: values.pop(key) for key in ("notification_type",) if key in values}
    )
    detail = json.loads(outcome(kind, made).message) | {"joined_at": BEFORE, "run": RUN}
    return bus_event(kind.detail_type, detail | values)


def without(told: dict[str, Any], *keys: str) -> dict[str, Any]:
    """An event as an older version has told it."""
    detail = {key: value for key, value in told["detail"].items() if key not in keys}
    return told | {"detail": detail}


def note(stack: Stack, told: dict[str, Any], **values: Any) -> None:
    """What the deliverer has written about a notification that has ended."""
    entry = {
        "notification_id": told["detail"]["notification_id"],
        "attempts": 1,
        "outcome": "rejected",
        "at": NOW.isoformat(),
    }
    stack.dynamodb.put_item(TableName=stack.ledger_table, Item=item(entry | values))


def run(stack: Stack, number: str) -> None:
    """What the builder has written about the training's run."""
    entry = item({"notification_id": f"run#{TRAINING_UUID}", "run": number})
    stack.dynamodb.put_item(TableName=stack.ledger_table, Item=entry)


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


def done(function: Function | Failure) -> str:
    """What the last line says was done."""
    return str(steps(function.lines, "called back")[-1]["reason"])


def dead_letters(stack: Stack) -> list[tuple[str, Any]]:
    return [
        (each["messageAttributes"]["reason"]["stringValue"], json.loads(each["body"]))
        for each in stack.messages(stack.output("CallbacksDlqUrl"))
    ]


def leave(stack: Stack, name: str) -> None:
    key = {key: participant_item(name)[key] for key in ("training_uuid", "entity")}
    stack.dynamodb.delete_item(TableName=stack.trainings_table, Key=key)


def meanwhile(
    failure: Failure, operation: str, happens: Callable[[], object], *, times: int = 1
) -> None:
    """Let something happen just before the function's next calls of an operation."""
    events, left = failure.client.meta.events, times

    def before(**_: Any) -> None:
        nonlocal left
        left -= 1
        if not left:
            events.unregister(f"before-call.dynamodb.{operation}", before)
        happens()

    events.register(f"before-call.dynamodb.{operation}", before)


def cancel(failure: Failure, code: str, *, times: int) -> None:
    """Cancel the next transactions."""
    faults, left = Faults(failure.client), times

    def answer(model: Any, params: Any, **_: Any) -> Any:
        del model, params
        nonlocal left
        left -= 1
        if left < 0:
            return None
        reasons = [{"Code": "None"}, {"Code": code}, {"Code": "None"}]
        error = {"Code": "TransactionCanceledException", "Message": "made up"}
        response = {"Error": error, "CancellationReasons": reasons, "ResponseMetadata": {}}
        raise ClientError(cast("Any", response), "TransactWriteItems")

    faults._register("before-call.dynamodb.TransactWriteItems", answer)


def reason(failure: Failure) -> str:
    """What the last line says was done after a change."""
    lines = [each for each in failure.lines if each.get("message") == "change followed"]
    return str(lines[-1]["reason"])

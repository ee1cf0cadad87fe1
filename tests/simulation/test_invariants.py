"""Do the checks bite? For each invariant, a service with a bug that breaks it is caught."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, override

import pytest

from tests.simulation.clients import Tampering
from tests.simulation.faults import Fault, Kind, Occasion
from tests.simulation.invariants import check
from tests.simulation.plans import DEAD, FLAKY, HEALTHY, SLOW, Action, Plan, Step, rejecting
from tests.simulation.receivers import Behaviour, Mail, Reply
from tests.simulation.scenario import Scenario, run
from tests.simulation.test_scenarios import DEAD_AFTER_THE_START, RUNS
from tests.simulation.world import LEDGER, TRAININGS, WAITING

A = Action
SEVERAL = Plan((HEALTHY, FLAKY, SLOW, DEAD, *(HEALTHY,) * 8), policy="quorum")
ROUNDS = Scenario(
    plans=(SEVERAL,),
    steps=(
        Step(0.5, A.START),
        Step(200.0, A.NEXT_ROUND),
        Step(0.0, A.TOUCH),
        Step(0.1, A.SWAG),
        Step(300.0, A.FINISH),
    ),
)


def unaltered[T](it: T) -> T:
    return it


class Altered(Tampering):
    """Alters requests, answers or results by functions given by name."""

    def __init__(
        self,
        requests: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] | None = None,
        answers: Mapping[str, Callable[[Any], Any]] | None = None,
        results: Mapping[str, Callable[[Any], Any]] | None = None,
    ) -> None:
        self.requests = requests or {}
        self.answers = answers or {}
        self.results = results or {}

    @override
    def request(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        return self.requests.get(operation, unaltered)(request)

    @override
    def answer(self, operation: str, answer: Any) -> Any:
        return self.answers.get(operation, unaltered)(answer)

    @override
    def result(self, function: str, result: Any) -> Any:
        return self.results.get(function, unaltered)(result)


def without(*names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda request: {name: value for name, value in request.items() if name not in names}


def faults(kind: Kind, where: str, *numbers: int, detail: int = 0) -> tuple[Fault, ...]:
    return tuple(Fault(Occasion.CALL, number, kind, detail, where) for number in numbers)


def with_faults(scenario: Scenario, *some: Fault) -> Scenario:
    return Scenario(scenario.plans, scenario.steps, faults=some)


def every_entry(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    return lambda request: {**request, "Entries": [change(each) for each in request["Entries"]]}


def no_ledger(request: dict[str, Any]) -> dict[str, Any]:
    """Nothing is known of what was sent before."""
    tables = dict(request["RequestItems"])
    tables[LEDGER] = {"Keys": [{"notification_id": {"S": "nobody's"}}]}
    return {"RequestItems": tables}


def not_consistent(request: dict[str, Any]) -> dict[str, Any]:
    tables = {name: without("ConsistentRead")(it) for name, it in request["RequestItems"].items()}
    return {"RequestItems": tables}


def always_current(answer: Any) -> Any:
    """The training is always where it was announced to be."""
    for item in answer["Responses"].get(TRAININGS, []):
        if "state" in item:
            item["state"], item["round"] = {"S": "ONGOING"}, {"N": "0"}
    return answer


def unconditional(request: dict[str, Any]) -> dict[str, Any]:
    actions = []
    for action in request["TransactItems"]:
        ((kind, wanted),) = action.items()
        if kind == "ConditionCheck":
            continue
        wanted = without("ConditionExpression")(wanted)
        text = wanted.get("UpdateExpression", "")
        for placeholders in ("ExpressionAttributeNames", "ExpressionAttributeValues"):
            used = {name: it for name, it in wanted.get(placeholders, {}).items() if name in text}
            wanted = {**without(placeholders)(wanted), **({placeholders: used} if used else {})}
        actions.append({kind: wanted})
    return {**request, "TransactItems": actions}


def as_announced(answer: Any) -> Any:
    """The training is always in its first round, and nobody has been removed."""
    answer = always_current(answer)
    for item in answer["Responses"].get(LEDGER, []):
        item.pop("participant_removed", None)
    return answer


def somebody_is_left(answer: Any) -> Any:
    return {**answer, "Items": answer["Items"] or [participant(uuid="somebody")]}


def participant(uuid: str) -> dict[str, Any]:
    return {
        "training_uuid": {"S": "training"},
        "entity": {"S": f"PARTICIPANT#{uuid}"},
        "message_endpoint": {"S": "https://somebody.example/"},
    }


def no_runs(answer: Any) -> Any:
    """Nothing is known of runs."""
    responses = answer["Responses"]
    entries = responses.get(LEDGER, [])
    left = [it for it in entries if not it["notification_id"]["S"].startswith("run#")]
    return {**answer, "Responses": {**responses, LEDGER: left}}


def first_addresses(answer: Any) -> Any:
    """Nobody has moved since."""
    for item in answer["Responses"].get(TRAININGS, []):
        if "message_endpoint" in item:
            text = item["message_endpoint"]["S"]
            item["message_endpoint"] = {"S": re.sub(r"-[0-9]+[.]", "-0.", text)}
    return answer


def in_entries(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """Changes what the builder notes of a run."""

    def changed(request: dict[str, Any]) -> dict[str, Any]:
        item = request.get("Item", {})
        if not item.get("notification_id", {}).get("S", "").startswith("run#"):
            return request
        return {**request, "Item": change(item)}

    return changed


def in_messages(*names: str) -> Any:
    """Leaves members of messages out."""

    def changed(entry: dict[str, Any]) -> dict[str, Any]:
        body = json.loads(entry["MessageBody"])
        return {**entry, "MessageBody": json.dumps(without(*names)(body))}

    return every_entry(changed)


def in_outcomes(*names: str) -> Any:
    """Leaves members of outcome events out."""

    def changed(entry: dict[str, Any]) -> dict[str, Any]:
        if not entry["DetailType"].startswith("Notification"):
            return entry
        return {**entry, "Detail": json.dumps(without(*names)(json.loads(entry["Detail"])))}

    return every_entry(changed)


def without_action(number: int) -> Any:
    """Leaves an action of a removal's transaction out."""

    def changed(request: dict[str, Any]) -> dict[str, Any]:
        actions = request["TransactItems"]
        if len(actions) == 3:
            actions = [*actions[:number], *actions[number + 1 :]]
        return {**request, "TransactItems": actions}

    return changed


def all_taken(answer: Any) -> Any:
    return {"FailedEntryCount": 0, "Entries": [{"EventId": "x"} for _ in answer["Entries"]]}


def elsewhere(item: dict[str, Any]) -> dict[str, Any]:
    return {"notification_id": {"S": f"another {item['notification_id']['S']}"}}


def going_on(item: dict[str, Any]) -> dict[str, Any]:
    if "ended" not in item:
        return item
    training = json.loads(item["training"]["S"]) | {"state": "ONGOING"}
    return {**without("ended")(item), "training": {"S": json.dumps(training)}}


def last_outcome_counts(request: dict[str, Any]) -> dict[str, Any]:
    """An outcome is written over the one before."""
    if "#outcome" not in request.get("ConditionExpression", ""):
        return request
    return without("ConditionExpression")(request)


def not_due_yet(request: dict[str, Any]) -> dict[str, Any]:
    """What is due within the hour counts as due."""
    values = request.get("ExpressionAttributeValues", {})
    if ":now" not in values:
        return request
    sooner = {":now": {"N": str(int(values[":now"]["N"]) + 3500)}}
    return {**request, "ExpressionAttributeValues": {**values, **sooner}}


def not_of_sweep(entry: dict[str, Any]) -> dict[str, Any]:
    """Nobody is told what was not acknowledged."""
    if json.loads(entry["Detail"]).get("reason") != "not acknowledged in time":
        return entry
    return {**entry, "Source": "nobody"}


def never_failed(request: dict[str, Any]) -> dict[str, Any]:
    """The ledger gets another entry instead of that of what was not acknowledged."""
    if request.get("ExpressionAttributeValues", {}).get(":outcome") != {"S": "failed"}:
        return request
    return {**request, "Key": elsewhere(request["Key"])}


def without_deposits(request: dict[str, Any]) -> dict[str, Any]:
    tables = dict(request["RequestItems"])
    for put in tables.get(WAITING, []):
        if "PutRequest" in put and "notification_id" in put["PutRequest"]["Item"]:
            put["PutRequest"]["Item"]["owner"] = {"S": "MAILBOX#nobody"}
            put["PutRequest"]["Item"].pop("due_at", None)
    return {**request, "RequestItems": tables}


def without_deletions(request: dict[str, Any]) -> dict[str, Any]:
    """What is concluded stays in its mailbox."""
    tables = dict(request["RequestItems"])
    for write in tables.get(WAITING, []):
        if "DeleteRequest" in write:
            write["DeleteRequest"]["Key"]["what"] = {"S": "another"}
    return {**request, "RequestItems": tables}


def at_first[T](times: int, change: Callable[[T], T]) -> Callable[[T], T]:
    """Changes only so many: who asks until it is served would ask for ever."""
    left = iter(range(times))
    return lambda it: it if next(left, None) is None else change(it)


def never_concluded(answer: Any) -> Any:
    """The ledger's outcomes are not looked at."""
    for item in answer["Responses"].get(LEDGER, []):
        item.pop("outcome", None)
    return answer


def still_in_its_round(answer: Any) -> Any:
    """Whoever looks whether a training goes on is told that it does."""
    item = answer.get("Item", {})
    if item.get("state", {}).get("S") in {"COMPLETED", "ERROR", "SWAG_ROUND"}:
        item["state"], item["round"] = {"S": "ONGOING"}, {"N": "0"}
    return answer


def of_the_first_mailbox() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Whoever asks is given what is in the mailbox that was asked for first."""
    asked: list[dict[str, str]] = []

    def changed(request: dict[str, Any]) -> dict[str, Any]:
        values = request.get("ExpressionAttributeValues", {})
        if not values.get(":owner", {}).get("S", "").startswith("MAILBOX#"):
            return request
        asked.append(values[":owner"])
        return {**request, "ExpressionAttributeValues": {**values, ":owner": asked[0]}}

    return changed


def as_asked(answer: Any) -> Any:
    """Whoever acknowledges is told that it counts."""
    body = json.loads(answer["body"])
    for told in body.get("acknowledged", []):
        told["outcome"], told["applied"] = "accepted", True
    return {**answer, "body": json.dumps(body)}


def another_time(answer: Any) -> Any:
    """A request with a wrong clock is told a time that is wrong as well."""
    body = json.loads(answer["body"])
    if "server_time" in body:
        body["server_time"] += 1000
    return {**answer, "body": json.dumps(body)}


def nobody_has_reported(answer: Any) -> Any:
    for item in answer.get("Items", []):
        item.pop("reported", None)
    return answer


class Dropping(Tampering):
    """The builder forgets some of the notifications of a type, counted from 0."""

    def __init__(self, kind: str, numbers: range) -> None:
        self.kind = kind
        self.numbers = numbers
        self.seen = 0

    @override
    def queued(self, body: str) -> bool:
        if json.loads(body)["notification_type"] != self.kind:
            return True
        self.seen += 1
        return self.seen - 1 not in self.numbers


def body_changed(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "MessageBody": entry["MessageBody"].replace("global_model_uuid", "model_uuid")}


def without_last_participant(answer: Any) -> Any:
    """A read of several participants, and of nothing else, misses one."""
    items = answer["Responses"].get(TRAININGS, [])
    if len(items) > 1 and all(each["entity"]["S"] != "TRAINING" for each in items):
        items.pop()
    return answer


def no_own_settings(answer: Any) -> Any:
    found = [*answer.get("Items", ()), *answer.get("Responses", {}).get(TRAININGS, ())]
    for each in found:
        each.pop("settings", None)
    return answer


def never_rotated(answer: Any) -> Any:
    return {**answer, "SecretString": "first master secret"}


def nobody_is_unreadable(entry: dict[str, Any]) -> dict[str, Any]:
    """Another event in place of that of an unreadable item."""
    kind = entry["DetailType"]
    return {**entry, "DetailType": "Nothing" if kind == "Participant Unreadable" else kind}


_count = iter(range(10**9))
MOVED_ON = Scenario(
    plans=(Plan((HEALTHY,) * 2, deadline=60),),
    steps=(Step(0.5, A.START), Step(59.0, A.SWAG)),
    faults=faults(Kind.REFUSED, "put_item", *range(3, 40)),
)
"""The builder cannot write of the next round, and a sweep finds the one before."""

LARGE = Plan((HEALTHY,) * 12, policy="quorum", min_participants=1)
BUGS: dict[str, tuple[str, Scenario, Tampering]] = {
    "messages that the queue refused are forgotten": (
        "what a change calls for is built",
        with_faults(ROUNDS, *faults(Kind.PARTIAL, "send_message_batch", 0)),
        Altered(answers={"send_message_batch": without("Failed")}),
    ),
    "only the first page of participants is read": (
        "what a change calls for is built",
        ROUNDS,
        Altered(answers={"query": without("LastEvaluatedKey")}),
    ),
    "a record that failed is not reported": (
        "what a change calls for is built",
        with_faults(ROUNDS, *faults(Kind.REFUSED, "query", 0, 1, 2, 3)),
        Altered(results={"BuildNotifications": lambda _: None}),
    ),
    "a message that waits is not reported": (
        "a notification ends",
        ROUNDS,
        Altered(results={"DeliverNotification": lambda _: None}),
    ),
    "each sending has a deduplication id of its own, and the ledger is not asked": (
        "what the ledger has concluded is not sent again",
        with_faults(ROUNDS, Fault(Occasion.CHECKPOINT, 2, Kind.REPEATED, 1)),
        Altered(
            requests={
                "send_message_batch": every_entry(
                    lambda entry: {**entry, "MessageDeduplicationId": f"{next(_count)}"}
                ),
                "batch_get_item": no_ledger,
            }
        ),
    ),
    "attempts are not counted": (
        "no more attempts than allowed|a notification ends|still busy",
        ROUNDS,
        Altered(requests={"batch_get_item": no_ledger}),
    ),
    "messages are in groups of their own": (
        "notices come in order",
        ROUNDS,
        Altered(
            requests={
                "send_message_batch": every_entry(
                    lambda entry: {**entry, "MessageGroupId": entry["MessageDeduplicationId"]}
                )
            }
        ),
    ),
    "outcomes that the bus refused are forgotten": (
        "an outcome is told to the bus",
        with_faults(ROUNDS, *faults(Kind.PARTIAL, "put_events", 0, 1, 2)),
        Altered(answers={"put_events": all_taken}),
    ),
    "what the ledger did not take is forgotten": (
        "what was answered is sent again|what is told is in the ledger|a notification ends",
        with_faults(ROUNDS, *faults(Kind.PARTIAL, "batch_write_item", 0, 1, 2)),
        Altered(answers={"batch_write_item": lambda _: {"UnprocessedItems": {}}}),
    ),
    "a retry does not wait": (
        "an attempt waits as long as it should",
        ROUNDS,
        Altered(
            requests={
                "change_message_visibility_batch": every_entry(
                    lambda entry: {**entry, "VisibilityTimeout": 0}
                )
            }
        ),
    ),
    "what is over is sent all the same": (
        "nobody is told of what is over",
        Scenario(
            plans=(Plan((HEALTHY, DEAD)),),
            steps=(Step(0.5, A.START), Step(40.0, A.NEXT_ROUND), Step(400.0, A.FINISH)),
        ),
        Altered(answers={"batch_get_item": always_current}),
    ),
    "the state is read with eventual consistency": (
        "nobody is told of what is over|superseded is what is over",
        Scenario(
            plans=(Plan((HEALTHY,) * 5),),
            steps=(Step(0.5, A.START), *(Step(0.2, A.NEXT_ROUND),) * 8),
        ),
        Altered(requests={"batch_get_item": not_consistent}),
    ),
    "the training becomes ERROR whatever it is": (
        "a training is ended only as the policy says",
        Scenario(
            plans=(Plan((DEAD_AFTER_THE_START, HEALTHY)),),
            steps=(Step(0.5, A.START), Step(90.0, A.NEXT_ROUND)),
            faults=tuple(Fault(Occasion.EVENT, number, Kind.DELAYED, 1) for number in range(9)),
        ),
        Altered(
            requests={"transact_write_items": unconditional},
            answers={"batch_get_item": as_announced},
        ),
    ),
    "a participant is deleted whoever it is": (
        "the failure callback deletes only whom the policy says",
        Scenario(
            plans=(Plan((Behaviour((Reply(), Reply(400), Reply())), HEALTHY)),),
            steps=(Step(0.5, A.START), Step(5.0, A.JOIN)),
            faults=tuple(Fault(Occasion.EVENT, number, Kind.REPEATED, 3) for number in range(9)),
        ),
        Altered(
            requests={
                "transact_write_items": unconditional,
                "put_events": in_outcomes("joined_at"),
            },
            answers={"batch_get_item": as_announced},
        ),
    ),
    "nobody is removed": (
        "the participant is removed",
        Scenario(plans=(Plan((rejecting(), HEALTHY)),), steps=(Step(0.5, A.START),)),
        Altered(requests={"transact_write_items": without_action(1)}),
    ),
    "a removal leaves no item": (
        "whom it removes has an item",
        Scenario(plans=(Plan((rejecting(), HEALTHY)),), steps=(Step(0.5, A.START),)),
        Altered(requests={"transact_write_items": without_action(2)}),
    ),
    "a removal is not marked at its notification": (
        "a notification removes once",
        Scenario(
            plans=(Plan((Behaviour((Reply(), Reply(400), Reply())), HEALTHY), joined_at=False),),
            steps=(Step(0.5, A.START), Step(20.0, A.JOIN)),
            faults=tuple(Fault(Occasion.EVENT, number, Kind.REPEATED, 2) for number in range(9)),
        ),
        Altered(requests={"transact_write_items": without_action(0)}),
    ),
    "the training goes on without participants": (
        "a training that lacks participants has ended",
        Scenario(plans=(Plan((rejecting(),)),), steps=(Step(0.5, A.START),)),
        Altered(answers={"query": somebody_is_left}),
    ),
    "changes that the bus refused are forgotten": (
        "a change is told to the bus",
        with_faults(ROUNDS, *faults(Kind.PARTIAL, "put_events", 0, 1, 2)),
        Altered(answers={"put_events": all_taken}),
    ),
    "an outcome does not say whose it is": (
        "an outcome says run and membership",
        ROUNDS,
        Altered(requests={"put_events": in_outcomes("joined_at")}),
    ),
    "a message does not say whose it is": (
        "a notice says which membership it is for",
        ROUNDS,
        Altered(requests={"send_message_batch": in_messages("joined_at")}),
    ),
    "a message does not say which run it belongs to": (
        "a notice says which run it belongs to",
        ROUNDS,
        Altered(requests={"send_message_batch": in_messages("run")}),
    ),
    "addresses are read too early": (
        "an attempt goes to the address that the table has",
        RUNS["an endpoint is corrected while a notice is retried, quorum"],
        Altered(answers={"batch_get_item": first_addresses}),
    ),
    "a run is not noted": (
        "without faults no record is discarded",
        RUNS["joins again in the round that it was told"],
        Altered(requests={"put_item": in_entries(lambda it: it | elsewhere(it))}),
    ),
    "that a run has ended is not noted": (
        "what a change calls for is built|nothing is built",
        RUNS["finished, and cleaned up at once"],
        Altered(requests={"put_item": in_entries(going_on)}),
    ),
    "a run that goes on begins anew": (
        "a notice says which run|what a change calls for is built",
        RUNS["joins during ERROR, long before it goes on"],
        Altered(requests={"put_item": in_entries(lambda it: {**it, "closed": {"BOOL": True}})}),
    ),
    "what has been told is not noted": (
        "nothing is built that no change calls for|what a change calls for is built",
        RUNS["dead letters of a training redriven after newer records"],
        Altered(requests={"put_item": in_entries(lambda it: {**it, "told": {"S": "1"}})}),
    ),
    "the round that was announced is not noted": (
        "what a change calls for is built",
        RUNS["joins again in the round that it was told"],
        Altered(requests={"put_item": in_entries(without("round_change"))}),
    ),
    "a notice of an earlier run is sent": (
        "nobody is told of what is over",
        RUNS["restarted while a notice of the run before is retried, without started_at"],
        Altered(answers={"batch_get_item": no_runs}),
    ),
    "who joins is not told the start": (
        "what a change calls for is built",
        RUNS["an item is put over the old one"],
        Dropping("TRAINING_START", range(3, 99)),
    ),
    "who may have joined meanwhile is told the round first": (
        "TRAINING_START comes before the rounds",
        RUNS["joins just after a round"],
        Dropping("TRAINING_START", range(9, 10)),
    ),
    "who leaves is not told so": (
        "what a change calls for is built",
        RUNS["leaves just before the end"],
        Dropping("CLIENT_REMOVED", range(1)),
    ),
    "who is cleaned up is not told the end": (
        "what a change calls for is built",
        RUNS["finished, and cleaned up at once"],
        Dropping("TRAINING_FINISHED", range(4, 5)),
    ),
    "the actor is not told": (
        "what a change calls for is built",
        RUNS["deleted while it runs"],
        Dropping("TRAINING_ERROR", range(9, 10)),
    ),
    "what goes on does not begin with the start": (
        "what a change calls for is built",
        RUNS["joins during ERROR, long before it goes on"],
        Dropping("TRAINING_START", range(9, 99)),
    ),
    "an acknowledgement counts although another came first": (
        "an acknowledgement is answered with the outcome that counts",
        RUNS[f"a mailbox: {Mail.TWO.value}"],
        Altered(requests={"update_item": last_outcome_counts}),
    ),
    "a sweep does not wait for the deadline": (
        "a notification may wait as long as promised",
        RUNS[f"a mailbox: {Mail.NEVER.value}"],
        Altered(requests={"query": not_due_yet}),
    ),
    "a sweep deletes what it has told nobody": (
        "a callback runs",
        RUNS[f"a mailbox: {Mail.NEVER.value}"],
        Altered(requests={"put_events": every_entry(not_of_sweep)}),
    ),
    "a sweep tells what is not in the ledger": (
        "what is told is in the ledger",
        RUNS[f"a mailbox: {Mail.NEVER.value}"],
        Altered(requests={"update_item": never_failed}),
    ),
    "a deposit is forgotten": (
        "a notification ends",
        RUNS[f"a mailbox: {Mail.PROMPT.value}"],
        Altered(requests={"batch_write_item": without_deposits}),
    ),
    "who crashes is given again what it has acknowledged": (
        "what the ledger has concluded is not given out",
        RUNS[f"a mailbox: {Mail.CRASHES.value}"],
        Altered(
            requests={"batch_write_item": at_first(30, without_deletions)},
            answers={"batch_get_item": at_first(60, never_concluded)},
        ),
    ),
    "a mailbox is another's": (
        "a mailbox is its receiver's",
        RUNS[f"a mailbox: {Mail.PROMPT.value}"],
        Altered(requests={"query": of_the_first_mailbox()}),
    ),
    "who has a wrong clock is told a wrong time": (
        "a request that is right is not refused",
        RUNS[f"a mailbox: {Mail.CLOCK_OFF.value}"],
        Altered(results={"Mailbox": at_first(20, another_time)}),
    ),
    "who acknowledges late is told what it asked for": (
        "an acknowledgement is answered with the outcome that counts",
        RUNS[f"a mailbox: {Mail.OVER_LONG.value}"],
        Altered(results={"Mailbox": as_asked}),
    ),
    "a round that has moved on is overdue": (
        "what is overdue is the training's round",
        MOVED_ON,
        Altered(answers={"get_item": still_in_its_round}),
    ),
    "everybody is removed at a deadline": (
        "the failure callback deletes only whom the policy says",
        RUNS["a deadline that is over: remove_unreported"],
        Altered(
            answers={"query": nobody_has_reported}, requests={"transact_write_items": unconditional}
        ),
    ),
    "the secret is read once, and never again": (
        "the signature is the receiver's",
        Scenario(
            plans=(Plan((HEALTHY,) * 2),),
            steps=(
                Step(0.5, A.START),
                *(Step(200.0, A.ROTATE),) * 2,
                Step(200.0, A.NEXT_ROUND),
            ),
        ),
        Altered(answers={"get_secret_value": never_rotated}),
    ),
    "what a fan-out cannot read is not told": (
        "an unreadable participant is told to the bus",
        Scenario(
            plans=(LARGE,),
            steps=(
                Step(0.5, A.START),
                Step(5.0, A.BREAK_PARTICIPANT),
                Step(5.0, A.NEXT_ROUND),
            ),
        ),
        Altered(requests={"put_events": every_entry(nobody_is_unreadable)}),
    ),
    "others are not told of a removal": (
        "what a change calls for is built",
        RUNS["rounds for some, with settings, and removals are announced, large"],
        Dropping("PARTICIPANT_REMOVED", range(3, 4)),
    ),
    "one of the selected is left out": (
        "what a change calls for is built",
        RUNS["rounds for some, with settings, and removals are announced, small"],
        Altered(answers={"batch_get_item": without_last_participant}),
    ),
    "settings of participants are not told": (
        "the body is as documented",
        RUNS["rounds for some, with settings, and removals are announced, large"],
        Altered(answers={"batch_get_item": no_own_settings, "query": no_own_settings}),
    ),
    "a segment that failed is forgotten": (
        "what a change calls for is built",
        with_faults(
            Scenario((LARGE,), (Step(0.5, A.START), Step(60.0, A.NEXT_ROUND))),
            *(Fault(Occasion.CALL, number, Kind.REFUSED, 0, "FanOut") for number in range(4)),
        ),
        Altered(results={"FanOut": lambda _: None}),
    ),
    "the body is another one": (
        "the body is as documented",
        ROUNDS,
        Altered(requests={"send_message_batch": every_entry(body_changed)}),
    ),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_caught(bug: str) -> None:
    caught_by, scenario, tampering = BUGS[bug]
    with pytest.raises(AssertionError, match=caught_by):
        check(run(scenario, tampering))


@pytest.mark.parametrize("bug", BUGS)
def test_without_the_bug_the_same_run_is_fine(bug: str) -> None:
    _, scenario, _ = BUGS[bug]
    check(run(scenario))

"""Mailboxes: from a message on the queue through a deposit and signed requests to the outcome."""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from fl_notifications.deliveries.delivery import Delivery, DeliveryReceiver
from fl_notifications.deliveries.queue import DeliveryQueue
from fl_notifications.notification_type import NotificationType
from fl_notifications.outcomes.outcome import parse_outcome_event
from fl_notifications.receiver import verify
from fl_notifications.trainings.model import OnDeadline
from fl_notifications.webhooks import signature_headers
from tests.integration.conftest import Account
from tests.integration.faults import Faults
from tests.integration.handlers import Function
from tests.integration.mailboxes import event_of, put_round, secret_of, signed
from tests.integration.stack import Stack
from tests.log_lines import SECRETS, check_metrics, steps
from tests.made import (
    MODEL_UUID,
    NOW,
    TRAINING_UUID,
    delivery,
    participant_item,
    training_item,
    uuid_of,
)

ONE = uuid_of("one")
OTHER_TRAINING = uuid_of("another training")
NUMBERS = count(1)


@pytest.fixture
def mailbox(account: Account) -> Function:
    return account.function("Mailbox")


@pytest.fixture
def sweep(account: Account) -> Function:
    return account.function("Sweep")


@pytest.fixture(autouse=True)
def _participant(stack: Stack) -> None:
    """A training in round 3, and a participant with a mailbox."""
    stack.put(training_item(), participant_item("one", message_endpoint="mailbox:"))


def message(number: int = 1, name: str = "one", **values: Any) -> Delivery:
    receiver = DeliveryReceiver(uuid=uuid_of(name), message_endpoint="mailbox:")
    return delivery(name, receiver=receiver, notification_id=f"{name}-{number}", **values)


def finished(number: int = 1) -> Delivery:
    kind = NotificationType.TRAINING_FINISHED
    return message(number, notification_type=kind, callback_success=None, callback_error=None)


def own(number: int) -> Delivery:
    """Of a program of the user's own: never superseded."""
    return message(number, own=True)


def put_in(stack: Stack, deliver: Function, *deliveries: Delivery) -> list[str]:
    """Enqueue, and let the delivery function deposit; returns the messages that stay."""
    for each in deliveries:
        DeliveryQueue(stack.sqs, stack.output("DeliveriesQueueUrl")).send([each])
    event = stack.receive()
    for record in event["Records"]:
        # moto's are random.
        record["attributes"]["SequenceNumber"] = f"{next(NUMBERS):020}"
    result = deliver(event)
    stack.settle(event, result)
    return [each["itemIdentifier"] for each in result["batchItemFailures"]]


def ask(
    stack: Stack, mailbox: Function, *acknowledge: Mapping[str, str], name: str = "one", **more: Any
) -> dict[str, Any]:
    body = json.dumps({"receiver": uuid_of(name), "acknowledge": acknowledge, **more})
    answer = mailbox(signed(stack, body, name=name))
    assert answer["statusCode"] == 200, answer
    found: dict[str, Any] = json.loads(answer["body"])
    assert set(found) == {"acknowledged", "notifications", "more", "poll_after_seconds"}
    return found


def ids(answer: Mapping[str, Any]) -> list[str]:
    return [each["headers"]["webhook-id"] for each in answer["notifications"]]


def told(answer: Mapping[str, Any]) -> list[tuple[str | None, bool]]:
    return [(each["outcome"], each["applied"]) for each in answer["acknowledged"]]


def outcomes(stack: Stack) -> list[tuple[str, str, str | None]]:
    parsed = map(parse_outcome_event, stack.outcomes())
    return [(kind.value, each.notification_id, each.reason) for kind, each in parsed]


def items(stack: Stack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stack.dynamodb.scan(TableName=stack.output("WaitingTable"))[
        "Items"
    ]
    return sorted(found, key=lambda item: item["what"]["S"])


def waiting(stack: Stack) -> list[str]:
    return [each["notification_id"]["S"] for each in items(stack) if "notification_id" in each]


def make_due(stack: Stack) -> None:
    """Let all deadlines have passed."""
    for item in items(stack):
        if "due_at" in item:
            stack.dynamodb.put_item(
                TableName=stack.output("WaitingTable"),
                Item={**item, "due_at": {"N": str(int(NOW.timestamp()) - 10**6)}},
            )


# --- deposits -------------------------------------------------------------------------------------


def test_a_deposit_is_an_item_by_the_contract_and_leaves_the_queue(
    stack: Stack, deliver: Function
) -> None:
    before = datetime.now(UTC).timestamp()
    assert put_in(stack, deliver, message()) == []
    (item,) = items(stack)
    assert item["owner"] == {"S": f"MAILBOX#{ONE}"}
    training, _, number = item["what"]["S"].partition("#")
    assert (training, len(number)) == (TRAINING_UUID, 40)
    assert item["notification_id"] == {"S": "one-1"}
    assert json.loads(item["delivery"]["S"])["notification_id"] == "one-1"
    assert item["due_shard"]["S"].startswith("due#")
    assert before + 3599 <= int(item["due_at"]["N"]) <= before + 3700
    assert set(item) == {"owner", "what", "notification_id", "delivery", "due_shard", "due_at"}
    assert stack.ledger("one-1") is None
    assert stack.outcomes() == []
    (line,) = steps(deliver.lines, "deposited")
    assert (line["notification_id"], line["receiver_uuid"]) == ("one-1", ONE)


def test_a_deposit_that_nothing_follows_from_waits_for_14_days(
    stack: Stack, deliver: Function
) -> None:
    put_in(stack, deliver, finished())
    (item,) = items(stack)
    assert int(item["due_at"]["N"]) - datetime.now(UTC).timestamp() > 13.9 * 86400


def test_a_batch_is_deposited_in_order(stack: Stack, deliver: Function, mailbox: Function) -> None:
    put_in(stack, deliver, *(own(number) for number in range(5)))
    assert waiting(stack) == [f"one-{number}" for number in range(5)]
    assert ids(ask(stack, mailbox)) == [f"one-{number}" for number in range(5)]


def test_what_is_superseded_is_not_deposited(stack: Stack, deliver: Function) -> None:
    put_in(stack, deliver, message(round=2))
    assert items(stack) == []
    assert [kind for kind, *_ in outcomes(stack)] == ["superseded"]


def test_what_cannot_be_deposited_stays_in_the_queue_with_what_is_behind_it(
    stack: Stack, deliver: Function
) -> None:
    stack.lose_table("WaitingTable")
    assert len(put_in(stack, deliver, own(1), own(2))) == 2
    assert stack.outcomes() == []


def test_what_a_batch_leaves_undone_is_asked_for_again(stack: Stack, deliver: Function) -> None:
    faults = Faults(deliver.app.clients.dynamodb)
    faults.leave_undone("BatchWriteItem", lambda _entry: True, times=1)
    assert put_in(stack, deliver, message()) == []
    assert waiting(stack) == ["one-1"]


# --- fetching -------------------------------------------------------------------------------------


def test_what_waits_is_given_out_just_as_it_would_be_posted(
    stack: Stack, deliver: Function, mailbox: Function
) -> None:
    put_in(stack, deliver, message())
    (found,) = ask(stack, mailbox)["notifications"]
    assert set(found) == {"headers", "body"}
    assert found["body"] == message().payload
    assert set(found["headers"]) == {"webhook-id", "webhook-timestamp", "webhook-signature"}
    assert verify(found["headers"], found["body"], secret_of(stack)).model_uuid == MODEL_UUID


def test_what_is_not_acknowledged_comes_again(
    stack: Stack, deliver: Function, mailbox: Function
) -> None:
    put_in(stack, deliver, message())
    assert ids(ask(stack, mailbox)) == ids(ask(stack, mailbox)) == ["one-1"]
    assert stack.outcomes() == []


def test_at_most_as_many_come_as_are_asked_for_and_none_crowds_out_another_training(
    stack: Stack, deliver: Function, mailbox: Function
) -> None:
    put_in(stack, deliver, *(own(number) for number in range(4)))
    put_in(stack, deliver, own(7).model_copy(update={"training_uuid": OTHER_TRAINING}))
    answer = ask(stack, mailbox, max=3)
    assert (len(ids(answer)), answer["more"]) == (3, True)
    assert [each for each in ids(answer) if each != "one-7"] == ["one-0", "one-1"]
    answer = ask(stack, mailbox, max=25)
    assert (len(ids(answer)), answer["more"]) == (5, False)


def test_what_the_training_has_passed_is_superseded_when_it_would_be_given_out(
    stack: Stack, deliver: Function, mailbox: Function
) -> None:
    put_in(stack, deliver, message())
    stack.put(training_item(round=4))
    assert ids(ask(stack, mailbox)) == []
    assert outcomes(stack) == [("superseded", "one-1", "the training is in another round")]
    assert waiting(stack) == []


def test_a_repeat_is_given_out_once(stack: Stack, deliver: Function, mailbox: Function) -> None:
    put_in(stack, deliver, message())
    (item,) = items(stack)
    again = {**item, "what": {"S": f"{TRAINING_UUID}#{'9' * 40}"}}
    stack.dynamodb.put_item(TableName=stack.output("WaitingTable"), Item=again)
    assert ids(ask(stack, mailbox)) == ["one-1"]
    answer = ask(stack, mailbox, {"id": "one-1", "outcome": "accepted"})
    assert (told(answer), ids(answer)) == ([("accepted", True)], [])
    assert waiting(stack) == []


def test_nobody_gets_what_is_anothers(stack: Stack, deliver: Function, mailbox: Function) -> None:
    put_in(stack, deliver, message())
    assert ids(ask(stack, mailbox, name="two")) == []


def test_the_wait_until_the_next_poll_follows_the_last_notification(
    stack: Stack, deliver: Function, mailbox: Function
) -> None:
    low, high = 1, 2  # of samconfig's `local`
    assert 0.9 * high <= ask(stack, mailbox)["poll_after_seconds"] <= 1.1 * high
    put_in(stack, deliver, message(created_at=datetime.now(UTC)))
    assert 0.9 * low <= ask(stack, mailbox)["poll_after_seconds"] <= 1.1 * low


def test_it_is_kept_when_a_receiver_asks_but_not_each_time(stack: Stack, mailbox: Function) -> None:
    ask(stack, mailbox)
    (seen,) = items(stack)
    assert (seen["owner"], seen["what"]) == ({"S": f"MAILBOX#{ONE}"}, {"S": "#"})
    ask(stack, mailbox)
    assert items(stack) == [seen]
    old = (datetime.now(UTC) - timedelta(minutes=6)).isoformat()
    table = stack.output("WaitingTable")
    stack.dynamodb.put_item(TableName=table, Item={**seen, "seen_at": {"S": old}})
    ask(stack, mailbox)
    assert items(stack)[0]["seen_at"]["S"] > old


# --- acknowledging --------------------------------------------------------------------------------


def test_an_acceptance_is_recorded_told_and_gone(
    stack: Stack, deliver: Function, mailbox: Function
) -> None:
    put_in(stack, deliver, message())
    answer = ask(stack, mailbox, {"id": "one-1", "outcome": "accepted"})
    assert (told(answer), ids(answer)) == ([("accepted", True)], [])
    (event,) = stack.outcomes()
    _, outcome = parse_outcome_event(event)
    assert event["detail-type"] == "Notification Accepted"
    assert (outcome.attempts, outcome.status_code, outcome.reason) == (0, None, None)
    assert outcome.callback == "training_notification_callback_success"
    entry = stack.ledger("one-1")
    assert entry is not None
    assert (entry["outcome"], entry["attempts"]) == ({"S": "accepted"}, {"N": "0"})
    assert waiting(stack) == []
    (line,) = steps(mailbox.lines, "acknowledged")
    assert (line["outcome"], line["notification_id"]) == ("accepted", "one-1")
    assert len(steps(mailbox.lines, "concluded")) == 1


def test_a_rejection_says_why(stack: Stack, deliver: Function, mailbox: Function) -> None:
    put_in(stack, deliver, message())
    ask(stack, mailbox, {"id": "one-1", "outcome": "rejected", "reason": "no-gpu"})
    (event,) = stack.outcomes()
    assert event["detail-type"] == "Notification Rejected"
    assert event["detail"]["reason"] == "rejected: no-gpu"
    assert event["detail"]["callback"] == "training_notification_callback_failure"


@pytest.mark.parametrize(
    ("then", "expected"), [("accepted", ("accepted", True)), ("rejected", ("accepted", False))]
)
def test_the_first_acknowledgement_counts(
    stack: Stack,
    deliver: Function,
    mailbox: Function,
    then: str,
    expected: tuple[str, bool],
) -> None:
    put_in(stack, deliver, message())
    ask(stack, mailbox, {"id": "one-1", "outcome": "accepted"})
    assert told(ask(stack, mailbox, {"id": "one-1", "outcome": then})) == [expected]
    assert {kind for kind, *_ in outcomes(stack)} == {"accepted"}


def test_the_first_of_one_request_counts_too(
    stack: Stack, deliver: Function, mailbox: Function
) -> None:
    put_in(stack, deliver, message())
    answer = ask(
        stack,
        mailbox,
        {"id": "one-1", "outcome": "rejected"},
        {"id": "one-1", "outcome": "accepted"},
    )
    assert told(answer) == [("rejected", True), ("rejected", False)]


def test_a_late_rejection_of_what_the_training_has_passed_removes_nobody(
    stack: Stack, deliver: Function, mailbox: Function
) -> None:
    put_in(stack, deliver, message())
    stack.put(training_item(round=4))
    assert told(ask(stack, mailbox, {"id": "one-1", "outcome": "rejected"})) == [
        ("superseded", False)
    ]
    assert outcomes(stack) == [("superseded", "one-1", "the training is in another round")]


def test_what_is_not_the_receivers_is_told_as_unknown_and_stays(
    stack: Stack, deliver: Function, mailbox: Function
) -> None:
    put_in(stack, deliver, message())
    accepted = {"id": "one-1", "outcome": "accepted"}
    unknown = {"id": f"run#{TRAINING_UUID}", "outcome": "accepted"}
    assert told(ask(stack, mailbox, accepted, unknown, name="two")) == [(None, False)] * 2
    ask(stack, mailbox, accepted)
    assert told(ask(stack, mailbox, accepted, name="two")) == [(None, False)]


def test_what_somebody_has_concluded_and_not_told_is_told_by_the_next_poll(
    stack: Stack, deliver: Function, mailbox: Function
) -> None:
    """Killed between the ledger and the event."""
    put_in(stack, deliver, message())
    with pytest.MonkeyPatch.context() as patch:
        died = KeyboardInterrupt()

        def die(*_: object, **__: object) -> None:
            raise died

        patch.setattr(mailbox.app.clients.events, "put_events", die)
        with pytest.raises(KeyboardInterrupt):
            ask(stack, mailbox, {"id": "one-1", "outcome": "rejected"})
    assert stack.outcomes() == []
    assert waiting(stack) == ["one-1"]

    assert ids(ask(stack, mailbox)) == []
    assert outcomes(stack) == [("rejected", "one-1", "rejected")]
    assert waiting(stack) == []


def test_an_event_that_the_bus_does_not_take_is_told_later(
    stack: Stack, deliver: Function, mailbox: Function
) -> None:
    put_in(stack, deliver, message())
    Faults(mailbox.app.clients.events).leave_undone("PutEvents", lambda _entry: True, times=5)
    answer = ask(stack, mailbox, {"id": "one-1", "outcome": "accepted"})
    assert told(answer) == [("accepted", True)]
    assert waiting(stack) == ["one-1"]
    ask(stack, mailbox)
    assert outcomes(stack) == [("accepted", "one-1", None)]


# --- what is refused ------------------------------------------------------------------------------


def check_refused(mailbox: Function, event: Mapping[str, Any], status: int) -> dict[str, Any]:
    answer = mailbox(event)
    assert answer["statusCode"] == status
    found: dict[str, Any] = json.loads(answer["body"])
    assert "error" in found
    return found


def test_a_wrong_signature_is_told_the_time(stack: Stack, mailbox: Function) -> None:
    body = json.dumps({"receiver": ONE})
    headers = signature_headers([secret_of(stack, "two")], "req_1", datetime.now(UTC), body)
    found = check_refused(mailbox, event_of(body, headers), 401)
    assert abs(found["server_time"] - datetime.now(UTC).timestamp()) < 5


@pytest.mark.parametrize("minutes", [-6, 6])
def test_an_old_or_future_request_is_refused(stack: Stack, mailbox: Function, minutes: int) -> None:
    at = datetime.now(UTC) + timedelta(minutes=minutes)
    check_refused(mailbox, signed(stack, json.dumps({"receiver": ONE}), at=at), 401)


def test_a_request_without_a_signature_is_refused(mailbox: Function) -> None:
    check_refused(mailbox, event_of(json.dumps({"receiver": ONE}), {}), 401)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"receiver": "nobody"},
        {"receiver": ONE, "max": 0},
        {"receiver": ONE, "max": 26},
        {"receiver": ONE, "max": "5"},
        {"receiver": ONE, "more": 1},
        {"receiver": ONE, "acknowledge": [{"id": "a", "outcome": "failed"}]},
        {"receiver": ONE, "acknowledge": [{"id": "", "outcome": "accepted"}]},
        {"receiver": ONE, "acknowledge": [{"id": "a", "outcome": "rejected", "reason": "No GPU"}]},
        {"receiver": ONE, "acknowledge": [{"id": "a", "outcome": "rejected", "reason": "a\n"}]},
        {"receiver": ONE, "acknowledge": [{"id": "a", "outcome": "accepted", "x": 1}]},
        {"receiver": ONE, "acknowledge": [{"id": "a", "outcome": "accepted"}] * 26},
        [ONE],
    ],
)
def test_what_is_no_request_is_refused_although_it_is_signed(
    stack: Stack, mailbox: Function, said: object
) -> None:
    check_refused(mailbox, signed(stack, json.dumps(said)), 400)


def test_a_notification_of_ours_cannot_be_reflected(
    stack: Stack, deliver: Function, mailbox: Function
) -> None:
    put_in(stack, deliver, message())
    (ours,) = ask(stack, mailbox)["notifications"]
    check_refused(mailbox, event_of(ours["body"], ours["headers"]), 400)


def test_more_than_64_kib_is_too_much(stack: Stack, mailbox: Function) -> None:
    body = json.dumps({"receiver": ONE})
    longest = body + " " * (64 * 1024 - len(body))
    assert mailbox(signed(stack, longest))["statusCode"] == 200
    check_refused(mailbox, signed(stack, f"{longest} "), 413)


def test_another_path_and_another_method_are_refused(stack: Stack, mailbox: Function) -> None:
    event = signed(stack, json.dumps({"receiver": ONE}))
    check_refused(mailbox, event | {"rawPath": "/other"}, 404)
    event["requestContext"]["http"]["method"] = "GET"
    check_refused(mailbox, event, 405)


def test_a_body_in_base64_is_read(stack: Stack, mailbox: Function) -> None:
    body = json.dumps({"receiver": ONE})
    event = signed(stack, body)
    encoded = base64.b64encode(body.encode()).decode()
    assert mailbox(event | {"body": encoded, "isBase64Encoded": True})["statusCode"] == 200
    check_refused(mailbox, event | {"body": "é", "isBase64Encoded": True}, 400)


def test_the_secret_before_a_rotation_is_still_accepted(
    stack: Stack, mailbox: Function, deliver: Function
) -> None:
    arn = stack.output("SigningSecretArn")
    before = signed(stack, json.dumps({"receiver": ONE}))
    stack.secrets.put_secret_value(SecretId=arn, SecretString="another master secret")
    mailbox.app.mailbox.secrets._secrets = ()
    assert mailbox(before)["statusCode"] == 200
    assert mailbox(signed(stack, json.dumps({"receiver": ONE})))["statusCode"] == 200
    mailbox.app.mailbox.secrets._secrets = ()
    deliver.app.deliverer.secrets._secrets = ()


def test_trouble_of_ours_is_no_answer_of_the_functions_and_says_nothing(
    stack: Stack, mailbox: Function
) -> None:
    stack.lose_table("WaitingTable")
    answer = mailbox(signed(stack, json.dumps({"receiver": ONE})))
    assert (answer["statusCode"], answer["headers"]["Retry-After"]) == (503, "5")
    assert "ResourceNotFound" not in answer["body"]
    assert any("could not be served" in line.get("message", "") for line in mailbox.lines)


def test_a_bug_of_ours_is_not_shown_to_the_caller(mailbox: Function) -> None:
    answer = mailbox({"rawPath": "/"})
    assert answer["statusCode"] == 500
    assert "KeyError" not in answer["body"]


def test_no_line_quotes_a_secret_a_payload_or_a_request(
    stack: Stack, deliver: Function, mailbox: Function
) -> None:
    put_in(stack, deliver, message())
    ask(stack, mailbox, {"id": "one-1", "outcome": "accepted"})
    ask(stack, mailbox, {"id": "hunter2", "outcome": "accepted"})
    check_refused(mailbox, signed(stack, json.dumps({"hunter2": "hunter2"})), 400)
    assert "hunter2" not in mailbox(signed(stack, json.dumps({"hunter2": "x"})))["body"]
    for secret in (*SECRETS, "hunter2"):
        assert secret not in mailbox.text


# --- deadlines of notifications -------------------------------------------------------------------


def test_what_nobody_acknowledges_in_time_has_failed(
    stack: Stack, deliver: Function, sweep: Function, mailbox: Function
) -> None:
    put_in(stack, deliver, message())
    sweep({})
    assert stack.outcomes() == []
    make_due(stack)
    sweep({})
    (event,) = stack.outcomes()
    assert event["detail-type"] == "Notification Failed"
    assert event["detail"]["reason"] == "not acknowledged in time"
    assert event["detail"]["callback"] == "training_notification_callback_failure"
    assert waiting(stack) == []
    assert told(ask(stack, mailbox, {"id": "one-1", "outcome": "accepted"})) == [("failed", False)]


def test_what_is_due_and_has_been_passed_is_superseded(
    stack: Stack, deliver: Function, sweep: Function
) -> None:
    put_in(stack, deliver, message())
    stack.put(training_item(state="COMPLETED"))
    make_due(stack)
    sweep({})
    assert outcomes(stack) == [("superseded", "one-1", "the training is COMPLETED")]
    assert waiting(stack) == []


def test_what_was_acknowledged_and_not_told_is_told_by_the_sweep(
    stack: Stack, deliver: Function, sweep: Function
) -> None:
    put_in(stack, deliver, message())
    entry = {
        "notification_id": {"S": "one-1"},
        "receiver_uuid": {"S": ONE},
        "attempts": {"N": "0"},
        "outcome": {"S": "accepted"},
        "at": {"S": NOW.isoformat()},
    }
    stack.dynamodb.put_item(TableName=stack.ledger_table, Item=entry)
    make_due(stack)
    sweep({})
    sweep({})
    assert outcomes(stack) == [("accepted", "one-1", None)]


def test_what_cannot_be_read_becomes_a_dead_letter_and_holds_up_nobody(
    stack: Stack, deliver: Function, sweep: Function, mailbox: Function
) -> None:
    put_in(stack, deliver, own(1), own(2))
    first = items(stack)[0]
    table = stack.output("WaitingTable")
    stack.dynamodb.put_item(TableName=table, Item={**first, "delivery": {"S": "{}"}})
    assert ids(ask(stack, mailbox)) == ["one-2"]
    make_due(stack)
    sweep({})
    assert waiting(stack) == []
    (letter,) = stack.messages(stack.output("DeliveriesDlqUrl"))
    assert letter["body"] == "{}"
    assert [kind for kind, *_ in outcomes(stack)] == ["failed"]


def test_a_sweep_that_cannot_conclude_fails_so_that_an_alarm_rings(
    stack: Stack, deliver: Function, sweep: Function
) -> None:
    put_in(stack, deliver, message())
    make_due(stack)
    stack.lose_bus()
    with pytest.raises(Exception, match="SweepError"):
        sweep({})
    assert waiting(stack) == ["one-1"]


def test_a_sweep_without_time_leaves_it_to_the_next(
    stack: Stack, deliver: Function, sweep: Function
) -> None:
    put_in(stack, deliver, message())
    make_due(stack)
    sweep({}, remaining_seconds=5)
    assert waiting(stack) == ["one-1"]


# --- deadlines of rounds --------------------------------------------------------------------------


def test_a_round_that_is_overdue_is_told_once(stack: Stack, sweep: Function) -> None:
    put_round(stack)
    sweep({})
    sweep({})
    (event,) = stack.outcomes()
    assert event["detail-type"] == "Training Overdue"
    assert event["detail"] == {
        "training_uuid": TRAINING_UUID,
        "sequence": "12",
        "run": "7",
        "state": "ONGOING",
        "round": 3,
        "began_at": "2026-03-01T12:00:00Z",
        "due_at": "2026-03-01T12:01:00Z",
        "policy": "remove_unreported",
        "callback": "training_overdue_callback",
    }
    assert items(stack) == []
    (line,) = steps(sweep.lines, "overdue")
    assert (line["training_uuid"], line["policy"]) == (TRAINING_UUID, "remove_unreported")


def test_the_policy_event_has_no_callback(stack: Stack, sweep: Function) -> None:
    put_round(stack, policy=OnDeadline.EVENT)
    sweep({})
    (event,) = stack.outcomes()
    assert event["detail"]["callback"] is None


@pytest.mark.parametrize(
    "now", [{"round": 4}, {"state": "SWAG_ROUND"}, {"state": "COMPLETED"}, None]
)
def test_a_training_that_has_moved_on_is_not_overdue(
    stack: Stack, sweep: Function, now: dict[str, Any] | None
) -> None:
    put_round(stack)
    if now is None:
        key = {name: training_item()[name] for name in ("training_uuid", "entity")}
        stack.dynamodb.delete_item(TableName=stack.trainings_table, Key=key)
    else:
        stack.put(training_item(**now))
    sweep({})
    assert stack.outcomes() == []
    assert items(stack) == []


def test_a_round_is_not_told_before_its_deadline(stack: Stack, sweep: Function) -> None:
    put_round(stack, began_at=datetime.now(UTC))
    put_round(stack, training_uuid=OTHER_TRAINING, deadline_seconds=None)
    sweep({})
    assert stack.outcomes() == []
    assert len(items(stack)) == 2


def test_a_training_that_cannot_be_read_is_asked_again(stack: Stack, sweep: Function) -> None:
    put_round(stack)
    stack.put(training_item(state="SLEEPING"))
    sweep({})
    assert stack.outcomes() == []
    assert len(items(stack)) == 1
    stack.put(training_item())
    sweep({})
    assert len(stack.outcomes()) == 1


def test_metrics_are_written(
    stack: Stack,
    deliver: Function,
    mailbox: Function,
    sweep: Function,
    capsys: pytest.CaptureFixture[str],
) -> None:
    put_in(stack, deliver, message())
    ask(stack, mailbox)
    ask(stack, mailbox, {"id": "one-1", "outcome": "accepted"})
    put_round(stack)
    sweep({})
    metrics = {
        name
        for line in capsys.readouterr().out.splitlines()
        if "_aws" in line
        for name in check_metrics(json.loads(line))
    }
    assert {"Deposited", "Fetched", "Acknowledged", "Accepted", "TrainingsOverdue"} <= metrics

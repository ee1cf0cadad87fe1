"""DeliverNotification: from a message on the queue to a POST, the ledger, the bus, and back."""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from socket import socket
from threading import Event
from time import monotonic
from typing import Any

import pytest
from moto.sqs.models import sqs_backends
from standardwebhooks import Webhook

from fl_notifications.deliveries.delivery import Delivery, DeliveryReceiver
from fl_notifications.deliveries.post import Answer, Responded, Unable, UnableReason
from fl_notifications.deliveries.queue import DeliveryQueue
from fl_notifications.deliveries.signing import receiver_secret
from fl_notifications.notification_type import NotificationType
from fl_notifications.outcomes.ledger import Ledger, LedgerEntry
from fl_notifications.outcomes.outcome import OutcomeKind, parse_outcome_event
from fl_notifications.trainings.model import TrainingState
from functions.deliver_notification.deliverer import RESERVE_SECONDS
from functions.deliver_notification.receipts import MAX_TROUBLED_RECEIVES, TROUBLE_SECONDS
from tests.cloudformation import ACCOUNT, REGION
from tests.integration.conftest import Start
from tests.integration.faults import Faults
from tests.integration.handlers import Function, with_poster
from tests.integration.stack import Record, Stack
from tests.log_lines import SECRETS, check_metrics, parse_lines, steps
from tests.made import (
    NOW,
    TRAINING_UUID,
    delivery,
    participant_item,
    training_item,
    uuid_of,
)
from tests.receivers.wire import (
    Behaviour,
    Receiver,
    drip,
    hang,
    status,
)

# Nothing listens there: of the ports, 1 is one that nobody uses.
NOBODY = "http://127.0.0.1:1/messages"


@dataclass(frozen=True)
class Posted:
    """What a receiver was sent."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def kind(self) -> str:
        return str(json.loads(self.body)["notification_type"])


class Receivers:
    """Receivers on this machine, which are participants of the training."""

    def __init__(self, stack: Stack, running: ExitStack) -> None:
        self._stack = stack
        self._running = running
        self._by_name: dict[str, Receiver] = {}

    def add(self, name: str, behaviour: Behaviour) -> Receiver:
        receiver = self._running.enter_context(Receiver(behaviour))
        self._by_name[name] = receiver
        self._stack.put(participant_item(name, message_endpoint=receiver.url))
        return receiver

    def url(self, name: str) -> str:
        return self._by_name[name].url

    def posts(self, name: str) -> list[Posted]:
        found = []
        for request in self._by_name[name].requests:
            head, _, body = request.partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            assert lines[0] == "POST /inbox HTTP/1.1"
            headers = dict(line.split(": ", 1) for line in lines[1:])
            found.append(Posted({key.lower(): each for key, each in headers.items()}, body))
        return found


@pytest.fixture
def receivers(stack: Stack) -> Iterator[Receivers]:
    """A training in round 3, and receivers that can be made its participants."""
    stack.put(training_item())
    with ExitStack() as running:
        yield Receivers(stack, running)


@pytest.fixture
def faults(deliver: Function, monkeypatch: pytest.MonkeyPatch) -> Faults:
    """What is asked of the queue; no time passes while a batch is worked on."""
    monkeypatch.setattr(deliver.app.deliverer.clock, "monotonic", lambda: 1000.0)
    return Faults(deliver.app.clients.sqs)


def each_in_turn(*behaviours: Behaviour) -> Behaviour:
    """Another behaviour for each request."""
    left = iter(behaviours)

    def behave(connection: socket, over: Event) -> None:
        next(left)(connection, over)

    return behave


def enqueue(stack: Stack, *deliveries: Delivery) -> None:
    DeliveryQueue(stack.sqs, stack.output("DeliveriesQueueUrl")).send(deliveries)


def message(name: str, url: str, number: int = 1, **values: Any) -> Delivery:
    """What tells a participant that round 3 starts just now; another number is another one."""
    made = delivery(name, receiver=DeliveryReceiver(uuid=uuid_of(name), message_endpoint=url))
    given = {"notification_id": f"{name}-{number}", "created_at": datetime.now(UTC), **values}
    return made.model_copy(update=given)


def about(kind: NotificationType, made: Delivery) -> Delivery:
    """The same, of another type."""
    return made.model_copy(
        update={
            "notification_type": kind,
            "content": made.content | {"notification_type": kind.value},
        }
    )


def run(stack: Stack, deliver: Function, **options: Any) -> list[str]:
    """Let the function work on what is visible in the queue; returns the bodies' ids that stay."""
    event = stack.receive()
    result = deliver(event, **options)
    stack.settle(event, result)
    failed = {each["itemIdentifier"] for each in result["batchItemFailures"]}
    return [
        json.loads(record["body"]).get("notification_id", "?")
        for record in event["Records"]
        if record["messageId"] in failed
    ]


def left(stack: Stack) -> int:
    """How many messages are in the queue, visible or not."""
    url = stack.output("DeliveriesQueueUrl")
    names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = stack.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(each) for each in found.values())


def let_time_pass(stack: Stack) -> None:
    """All messages are visible again."""
    name = stack.output("DeliveriesQueueUrl").rpartition("/")[2]
    for each in sqs_backends[ACCOUNT][REGION].queues[name]._messages:
        each.change_visibility(0)


def waits(faults: Faults) -> list[int]:
    """The visibility timeouts that were set by the last call."""
    return [
        entry["VisibilityTimeout"]
        for entry in faults.calls["ChangeMessageVisibilityBatch"][-1]["Entries"]
    ]


def told(stack: Stack, rule: str = "Outcomes") -> list[tuple[str, str, int]]:
    """The outcomes on the bus: kind, notification id, attempts."""
    parsed = map(parse_outcome_event, stack.outcomes(rule))
    return [(kind.value, outcome.notification_id, outcome.attempts) for kind, outcome in parsed]


# --- what is sent ---------------------------------------------------------------------------------


def test_an_accepted_notification_is_posted_recorded_told_and_gone(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    receivers.add("one", status(202))
    made = message("one", receivers.url("one"))
    enqueue(stack, made)
    assert run(stack, deliver) == []
    (posted,) = receivers.posts("one")
    assert posted.body == message("one", "").payload.encode()
    assert posted.headers["content-type"] == "application/json"
    assert posted.headers["content-length"] == str(len(posted.body))
    assert posted.headers["webhook-id"] == "one-1"
    assert left(stack) == 0
    entry = stack.ledger("one-1")
    assert entry is not None
    assert (entry["outcome"], entry["attempts"]) == ({"S": "accepted"}, {"N": "1"})
    assert (entry["status_code"], "reason" in entry) == ({"N": "202"}, False)
    (event,) = stack.outcomes()
    kind, outcome = parse_outcome_event(event)
    assert kind is OutcomeKind.ACCEPTED
    assert outcome.model_dump(exclude={"finished_at"}) == {
        "notification_id": "one-1",
        "notification_type": NotificationType.UPDATE_ROUND_START,
        "training_uuid": TRAINING_UUID,
        "receiver_uuid": uuid_of("one"),
        "round": 3,
        "callback": "training_notification_callback_success",
        "attempts": 1,
        "status_code": 202,
        "reason": None,
        "created_at": made.created_at,
        "joined_at": None,
        "run": None,
    }


def test_a_post_is_signed_with_the_receivers_own_secret(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    receivers.add("one", status(200))
    enqueue(stack, message("one", receivers.url("one")))
    run(stack, deliver)
    (posted,) = receivers.posts("one")
    master = stack.secrets.get_secret_value(SecretId=stack.output("SigningSecretArn"))
    secret = receiver_secret(master["SecretString"], uuid_of("one"))
    verified = Webhook(secret).verify(posted.body.decode(), dict(posted.headers))
    assert verified["notification_type"] == "UPDATE_ROUND_START"
    assert len(posted.headers["webhook-signature"].split(" ")) == 1


def test_while_the_secret_has_a_previous_version_both_sign(
    stack: Stack, start: Start, receivers: Receivers
) -> None:
    arn = stack.output("SigningSecretArn")
    stack.secrets.put_secret_value(SecretId=arn, SecretString="old")
    stack.secrets.put_secret_value(SecretId=arn, SecretString="new")
    receivers.add("one", status(200))
    enqueue(stack, message("one", receivers.url("one")))
    run(stack, start("DeliverNotification"))
    (posted,) = receivers.posts("one")
    assert len(posted.headers["webhook-signature"].split(" ")) == 2
    for master in ("old", "new"):
        secret = receiver_secret(master, uuid_of("one"))
        Webhook(secret).verify(posted.body.decode(), dict(posted.headers))


def test_every_attempt_has_the_same_id_and_a_timestamp_of_its_own(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    receivers.add("one", status(503))
    enqueue(stack, message("one", receivers.url("one")))
    started = datetime.now(UTC).timestamp()
    for _ in range(2):
        run(stack, deliver)
        let_time_pass(stack)
    first, second = receivers.posts("one")
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == "one-1"
    assert first.body == second.body
    for posted in (first, second):
        assert abs(int(posted.headers["webhook-timestamp"]) - started) < 60


# --- what is answered -----------------------------------------------------------------------------


@pytest.mark.parametrize("code", [400, 401, 404, 410, 422, 501, 505])
def test_a_refusal_for_good_is_rejected_at_once(
    stack: Stack, deliver: Function, receivers: Receivers, code: int
) -> None:
    receivers.add("one", status(code))
    enqueue(stack, message("one", receivers.url("one")))
    assert run(stack, deliver) == []
    assert told(stack) == [("rejected", "one-1", 1)]
    entry = stack.ledger("one-1")
    assert entry is not None
    assert (entry["outcome"], entry["reason"]) == ({"S": "rejected"}, {"S": f"answered {code}"})


def test_a_redirect_is_rejected_and_not_followed(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    other = receivers.add("other", status(200))
    receivers.add("one", status(302, f"Location: {other.url}"))
    enqueue(stack, message("one", receivers.url("one")))
    assert run(stack, deliver) == []
    assert told(stack) == [("rejected", "one-1", 1)]
    assert receivers.posts("other") == []


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
def test_a_temporary_refusal_waits_in_the_queue_with_its_attempts_in_the_ledger(
    stack: Stack, deliver: Function, receivers: Receivers, code: int, faults: Faults
) -> None:
    receivers.add("one", status(code))
    enqueue(stack, message("one", receivers.url("one")))
    assert run(stack, deliver) == ["one-1"]
    assert waits(faults) == [1]
    assert (left(stack), told(stack)) == (1, [])
    entry = stack.ledger("one-1")
    assert entry is not None
    assert (entry["attempts"], "outcome" in entry) == ({"N": "1"}, False)
    assert entry["status_code"] == {"N": str(code)}


def test_attempts_are_counted_in_the_ledger_and_end_in_rejected(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    receivers.add("one", status(503))
    enqueue(stack, message("one", receivers.url("one")))
    for _ in range(5):
        assert run(stack, deliver) == ["one-1"]
        let_time_pass(stack)
    assert run(stack, deliver) == []
    assert len(receivers.posts("one")) == 6
    assert told(stack) == [("rejected", "one-1", 6)]
    assert left(stack) == 0
    attempts = [line["attempt"] for line in steps(deliver.lines, "attempted")]
    assert attempts == [1, 2, 3, 4, 5, 6]


def test_a_flaky_receiver_gets_it_in_the_end(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    receivers.add("one", each_in_turn(status(503), status(429), status(200)))
    enqueue(stack, message("one", receivers.url("one")))
    for expected in (["one-1"], ["one-1"], []):
        assert run(stack, deliver) == expected
        let_time_pass(stack)
    assert told(stack) == [("accepted", "one-1", 3)]


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("120", 120),
        ("3600", 900),
        ("garbage", 1),
        ("-1", 1),
        (format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True), 900),
        (format_datetime(datetime.now(UTC) - timedelta(hours=2), usegmt=True), 1),
    ],
    ids=["two minutes", "an hour", "garbage", "negative", "a time to come", "a time gone by"],
)
def test_retry_after_becomes_the_visibility_timeout(
    stack: Stack, deliver: Function, receivers: Receivers, header: str, wait: int, faults: Faults
) -> None:
    receivers.add("one", status(503, f"Retry-After: {header}"))
    enqueue(stack, message("one", receivers.url("one")))
    run(stack, deliver)
    assert waits(faults) == [wait]


def test_who_cannot_be_reached_is_tried_again_and_then_failed(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    stack.put(participant_item("one", message_endpoint=NOBODY))
    enqueue(stack, message("one", NOBODY))
    for _ in range(5):
        assert run(stack, deliver) == ["one-1"]
        let_time_pass(stack)
    assert run(stack, deliver) == []
    assert told(stack) == [("failed", "one-1", 6)]
    entry = stack.ledger("one-1")
    assert entry is not None
    assert (entry["reason"], "status_code" in entry) == ({"S": "connection refused"}, False)


@pytest.mark.parametrize(
    "endpoint",
    ["", "no URL", "ftp://x/", "http://10.0.0.1/", "http://169.254.169.254/latest", "http://[::"],
)
def test_an_endpoint_that_is_no_url_or_not_allowed_is_failed_at_once(
    stack: Stack, deliver: Function, receivers: Receivers, endpoint: str
) -> None:
    stack.put(participant_item("one", message_endpoint=endpoint))
    receivers.add("two", status(200))
    enqueue(stack, message("one", endpoint), message("two", receivers.url("two")))
    assert run(stack, deliver) == []
    assert sorted(kind for kind, *_ in told(stack)) == ["accepted", "failed"]


def test_without_plain_http_it_is_not_allowed(
    stack: Stack, start: Start, receivers: Receivers
) -> None:
    receivers.add("one", status(200))
    enqueue(stack, message("one", receivers.url("one")))
    assert run(stack, start("DeliverNotification", ALLOW_PLAIN_HTTP="false")) == []
    assert [kind for kind, *_ in told(stack)] == ["failed"]
    assert receivers.posts("one") == []


@pytest.mark.parametrize(
    ("behaviour", "rule"),
    [
        (status(200), "CallbackSuccess"),
        (status(400), "CallbackFailure"),
    ],
)
def test_the_rules_bring_an_outcome_to_the_callback_that_it_names_and_to_no_other(
    stack: Stack, deliver: Function, receivers: Receivers, behaviour: Behaviour, rule: str
) -> None:
    receivers.add("one", behaviour)
    enqueue(stack, message("one", receivers.url("one")))
    run(stack, deliver)
    (other,) = {"CallbackSuccess", "CallbackFailure"} - {rule}
    assert len(told(stack, rule)) == 1
    assert told(stack, other) == []


def test_an_outcome_without_a_callback_is_told_and_starts_none(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    receivers.add("one", status(400))
    quiet = message("one", receivers.url("one"), callback_success=None, callback_error=None)
    enqueue(stack, about(NotificationType.TRAINING_FINISHED, quiet))
    run(stack, deliver)
    assert [kind for kind, *_ in told(stack)] == ["rejected"]
    assert told(stack, "CallbackSuccess") == told(stack, "CallbackFailure") == []


# --- what is over ---------------------------------------------------------------------------------

ROUND_TYPES = {
    NotificationType.UPDATE_ROUND_START: TrainingState.ONGOING,
    NotificationType.SWAG_ROUND_START: TrainingState.SWAG_ROUND,
    NotificationType.MODEL_TEST_ROUND: TrainingState.MODEL_TEST,
}
PLACES = [(state, number) for state in TrainingState for number in (2, 3)]


@pytest.mark.parametrize("kind", ROUND_TYPES)
def test_a_round_is_told_only_while_the_training_is_in_it(
    stack: Stack, deliver: Function, receivers: Receivers, kind: NotificationType
) -> None:
    receivers.add("one", status(200))
    for number, (state, current) in enumerate(PLACES):
        stack.put(training_item(state=state.value, round=current))
        enqueue(stack, about(kind, message("one", receivers.url("one"), number)))
        assert run(stack, deliver) == []
    right = PLACES.index((ROUND_TYPES[kind], 3))
    assert told(stack) == [
        ("accepted" if number == right else "superseded", f"one-{number}", int(number == right))
        for number in range(len(PLACES))
    ]
    assert len(receivers.posts("one")) == 1


def test_the_start_is_told_unless_the_training_is_to_begin_anew(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    """Also if it is over: it may go on, and then this start has been told."""
    receivers.add("one", status(200))
    expected = []
    for number, (state, current) in enumerate(PLACES):
        stack.put(training_item(state=state.value, round=current))
        start = about(NotificationType.TRAINING_START, message("one", receivers.url("one"), number))
        enqueue(stack, start.model_copy(update={"round": None}))
        assert run(stack, deliver) == []
        expected.append("superseded" if state is TrainingState.INITIAL else "accepted")
    assert [kind for kind, *_ in told(stack)] == expected


@pytest.mark.parametrize("kind", [*ROUND_TYPES, NotificationType.TRAINING_START])
def test_what_starts_is_not_told_if_the_training_is_gone(
    stack: Stack, deliver: Function, kind: NotificationType
) -> None:
    enqueue(stack, about(kind, message("one", NOBODY)))
    assert run(stack, deliver) == []
    assert told(stack) == [("superseded", "one-1", 0)]


STARTS = [*ROUND_TYPES, NotificationType.TRAINING_START]


def in_the_state_of(kind: NotificationType) -> dict[str, Any]:
    """A training that has just become what a notification tells of."""
    return training_item(state=ROUND_TYPES.get(kind, TrainingState.ONGOING).value)


@pytest.mark.parametrize("kind", STARTS)
def test_what_starts_is_not_told_to_who_is_no_longer_a_participant(
    stack: Stack, deliver: Function, receivers: Receivers, kind: NotificationType
) -> None:
    stack.put(in_the_state_of(kind))
    enqueue(stack, about(kind, message("one", NOBODY)))
    assert run(stack, deliver) == []
    assert told(stack) == [("superseded", "one-1", 0)]
    (line,) = steps(deliver.lines, "concluded")
    assert line["reason"] == "the receiver is no longer a participant"


@pytest.mark.parametrize("kind", STARTS)
def test_what_starts_is_not_told_to_a_later_membership(
    stack: Stack, deliver: Function, receivers: Receivers, kind: NotificationType
) -> None:
    receivers.add("one", status(200))
    stack.put(in_the_state_of(kind))
    joined = participant_item("one", message_endpoint=receivers.url("one"), joined_at="later")
    stack.put(joined)
    built_for = {"joined_at": "earlier"}
    enqueue(stack, about(kind, message("one", NOBODY, 1, **built_for)))
    enqueue(stack, about(kind, message("one", NOBODY, 2, joined_at="later")))
    assert run(stack, deliver) == []
    assert told(stack) == [("superseded", "one-1", 0), ("accepted", "one-2", 1)]


@pytest.mark.parametrize("kind", STARTS)
def test_what_starts_is_not_told_in_a_later_run(
    stack: Stack, deliver: Function, receivers: Receivers, kind: NotificationType
) -> None:
    """State and round do not tell two runs apart."""
    receivers.add("one", status(200))
    stack.put(in_the_state_of(kind))
    key = {"notification_id": {"S": f"run#{TRAINING_UUID}"}}
    stack.dynamodb.put_item(TableName=stack.ledger_table, Item=key | {"run": {"S": "1000"}})
    for number, of in enumerate(("999", "1000", "1001"), 1):
        enqueue(stack, about(kind, message("one", receivers.url("one"), number, run=of)))
    assert run(stack, deliver) == []
    assert [outcome for outcome, *_ in told(stack)] == ["superseded", "accepted", "accepted"]


@pytest.mark.parametrize("kind", STARTS)
def test_a_message_of_the_first_version_is_told_to_whoever_takes_part_now(
    stack: Stack, deliver: Function, receivers: Receivers, kind: NotificationType
) -> None:
    receivers.add("one", status(200))
    stack.put(in_the_state_of(kind))
    joined = participant_item("one", message_endpoint=receivers.url("one"), joined_at="later")
    stack.put(joined)
    whole = json.loads(about(kind, message("one", NOBODY)).message)
    send_raw(stack, json.dumps({k: v for k, v in whole.items() if k not in {"joined_at", "run"}}))
    assert run(stack, deliver) == []
    assert told(stack) == [("accepted", "one-1", 1)]


@pytest.mark.parametrize(
    "values", [{"round": "three"}, {"state": 7}, {"state": "PAUSED"}], ids=lambda v: str(*v)
)
def test_what_cannot_be_read_supersedes_nothing(
    stack: Stack, deliver: Function, receivers: Receivers, values: dict[str, Any]
) -> None:
    receivers.add("one", status(200))
    stack.put(training_item(**values))
    unreadable = participant_item("two", message_endpoint=["x"], joined_at="later")
    stack.put(unreadable)
    enqueue(stack, message("one", receivers.url("one")), message("two", receivers.url("one")))
    assert run(stack, deliver) == []
    assert [outcome for outcome, *_ in told(stack)] == ["accepted", "accepted"]


def test_what_a_program_of_the_users_sends_is_never_superseded_and_goes_where_it_says(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    receivers.add("one", status(200))
    stack.put(training_item(state="INITIAL"), participant_item("one", message_endpoint=NOBODY))
    enqueue(stack, message("one", receivers.url("one"), own=True))
    assert run(stack, deliver) == []
    assert [outcome for outcome, *_ in told(stack)] == ["accepted"]


# --- where to -------------------------------------------------------------------------------------


def test_a_corrected_endpoint_takes_effect_with_the_next_attempt(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    stack.put(participant_item("one", message_endpoint=NOBODY))
    enqueue(stack, message("one", NOBODY))
    assert run(stack, deliver) == ["one-1"]
    receivers.add("one", status(200))
    let_time_pass(stack)
    assert run(stack, deliver) == []
    assert told(stack) == [("accepted", "one-1", 2)]


END_TYPES = [
    NotificationType.TRAINING_FINISHED,
    NotificationType.TRAINING_ERROR,
    NotificationType.CLIENT_REMOVED,
]


@pytest.mark.parametrize("kind", END_TYPES)
def test_the_end_goes_to_the_address_of_the_membership_that_there_is(
    stack: Stack, deliver: Function, receivers: Receivers, kind: NotificationType
) -> None:
    receivers.add("one", status(200))
    stack.put(
        participant_item("one", message_endpoint=receivers.url("one"), joined_at="later"),
        training_item(state="COMPLETED"),
    )
    enqueue(stack, about(kind, message("one", NOBODY, joined_at="earlier")))
    assert run(stack, deliver) == []
    assert told(stack) == [("accepted", "one-1", 1)]


def test_the_actor_is_told_at_the_address_that_the_training_has_now(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    """However its uuid is spelt."""
    actor = receivers.add("elsewhere", status(200))
    values = {"uuid": uuid_of("actor").upper(), "message_endpoint": actor.url}
    stack.put(training_item(state="COMPLETED", actor=values))
    enqueue(stack, about(NotificationType.TRAINING_FINISHED, message("actor", NOBODY)))
    assert run(stack, deliver) == []
    assert told(stack) == [("accepted", "actor-1", 1)]


def test_who_has_left_is_told_at_the_address_that_it_had(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    gone = receivers.add("gone", status(200))
    stack.dynamodb.delete_item(
        TableName=stack.trainings_table,
        Key={
            "training_uuid": {"S": TRAINING_UUID},
            "entity": {"S": f"PARTICIPANT#{uuid_of('gone')}"},
        },
    )
    enqueue(stack, about(NotificationType.CLIENT_REMOVED, message("gone", gone.url)))
    assert run(stack, deliver) == []
    assert told(stack) == [("accepted", "gone-1", 1)]


# --- what always holds ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", END_TYPES)
@pytest.mark.parametrize("there", [True, False], ids=["training is there", "training is gone"])
def test_the_end_and_a_removal_are_told_whatever_has_happened_since(
    stack: Stack,
    deliver: Function,
    receivers: Receivers,
    kind: NotificationType,
    there: bool,  # noqa: FBT001 - a parameter
) -> None:
    """Also to who is no participant: to the actor, and to who was removed."""
    receivers.add("one", status(200))
    stack.empty()
    if there:
        stack.put(training_item(state="ERROR", round=9))
    enqueue(stack, about(kind, message("one", receivers.url("one"))))
    assert run(stack, deliver) == []
    assert [each[0] for each in told(stack)] == ["accepted"]


def test_a_notification_about_no_training_is_never_superseded(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    receivers.add("one", status(200))
    enqueue(stack, message("one", receivers.url("one"), training_uuid=None))
    assert run(stack, deliver) == []
    assert [kind for kind, *_ in told(stack)] == ["accepted"]


def test_what_was_attempted_and_then_superseded_keeps_its_attempts(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    receivers.add("one", status(503))
    enqueue(stack, message("one", receivers.url("one")))
    run(stack, deliver)
    let_time_pass(stack)
    stack.put(training_item(round=4))
    assert run(stack, deliver) == []
    assert told(stack) == [("superseded", "one-1", 1)]
    assert told(stack, "CallbackFailure") == []
    assert len(receivers.posts("one")) == 1


def reads(faults: Faults) -> list[dict[str, bool]]:
    """For each call: of which tables, by output, and whether consistently."""
    return [
        {table: each["ConsistentRead"] for table, each in call["RequestItems"].items()}
        for call in faults.calls["BatchGetItem"]
    ]


def test_a_whole_batch_is_read_in_one_call(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    """The ledger consistently: an attempt that was just recorded is not to be made again."""
    for name in ("one", "two", "three"):
        receivers.add(name, status(200))
        enqueue(stack, message(name, receivers.url(name)))
    faults = Faults(deliver.app.clients.dynamodb)
    run(stack, deliver)
    assert reads(faults) == [{stack.trainings_table: False, stack.ledger_table: True}]


def test_what_supersedes_is_read_again_consistently(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    """Of that notification only. A read may be older than the change that is told."""
    receivers.add("one", status(200))
    stack.put(training_item(state="INITIAL"))
    enqueue(stack, message("one", receivers.url("one")))
    end = about(NotificationType.TRAINING_FINISHED, message("two", receivers.url("one")))
    enqueue(stack, end)
    faults = Faults(deliver.app.clients.dynamodb)
    faults.once_answered("BatchGetItem", lambda: stack.put(training_item()))
    assert run(stack, deliver) == []
    assert [outcome for outcome, *_ in told(stack)] == ["accepted", "accepted"]
    first, second = reads(faults)
    assert (first[stack.trainings_table], second[stack.trainings_table]) == (False, True)
    (keys,) = [
        call["RequestItems"][stack.ledger_table]["Keys"]
        for call in faults.calls["BatchGetItem"][1:]
    ]
    assert {key["notification_id"]["S"] for key in keys} == {"one-1", f"run#{TRAINING_UUID}"}


# --- order ----------------------------------------------------------------------------------------


def test_a_receivers_notifications_are_sent_one_after_the_other(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    receivers.add("one", status(200))
    start = about(NotificationType.TRAINING_START, message("one", receivers.url("one"), 1))
    enqueue(stack, start, message("one", receivers.url("one"), 2))
    assert run(stack, deliver) == []
    assert [each.kind for each in receivers.posts("one")] == [
        "TRAINING_START",
        "UPDATE_ROUND_START",
    ]
    assert [each[1] for each in told(stack)] == ["one-1", "one-2"]


def test_what_is_behind_one_that_waits_is_held_back_and_given_back_at_once(
    stack: Stack, deliver: Function, receivers: Receivers, faults: Faults
) -> None:
    receivers.add("one", each_in_turn(status(503), status(200), status(200)))
    start = about(NotificationType.TRAINING_START, message("one", receivers.url("one"), 1))
    enqueue(stack, start, message("one", receivers.url("one"), 2))
    assert run(stack, deliver) == ["one-1", "one-2"]
    assert waits(faults) == [1, 0]
    (held,) = steps(deliver.lines, "held back")
    assert (held["notification_id"], held["reason"]) == ("one-2", "behind an earlier notification")
    assert stack.ledger("one-2") is None
    # The queue keeps what was given back behind the one that waits.
    assert stack.receive() == {"Records": []}
    let_time_pass(stack)
    assert run(stack, deliver) == []
    assert [each.kind for each in receivers.posts("one")] == [
        "TRAINING_START",
        "TRAINING_START",
        "UPDATE_ROUND_START",
    ]


@pytest.mark.parametrize("first", [status(400), status(200)], ids=["rejected", "accepted"])
def test_what_is_behind_one_that_has_ended_goes_on(
    stack: Stack, deliver: Function, receivers: Receivers, first: Behaviour
) -> None:
    receivers.add("one", each_in_turn(first, status(200)))
    enqueue(stack, *(message("one", receivers.url("one"), number) for number in (1, 2)))
    assert run(stack, deliver) == []
    assert len(receivers.posts("one")) == 2


def test_nobody_waits_for_another_receiver(
    stack: Stack, start: Start, receivers: Receivers
) -> None:
    """The healthy ones have it while the hanging one is still being waited for."""
    had_it: list[float] = []

    def healthy(connection: socket, over: Event) -> None:
        had_it.append(monotonic())
        status(200)(connection, over)

    receivers.add("hanging", hang())
    receivers.add("busy", status(503, "Retry-After: 60"))
    names = [f"healthy{number}" for number in range(4)]
    for name in ("hanging", "busy"):
        enqueue(stack, message(name, receivers.url(name)))
    for name in names:
        receivers.add(name, healthy)
        enqueue(stack, message(name, receivers.url(name), 1), message(name, receivers.url(name), 2))
    deliver = start("DeliverNotification", REQUEST_TIMEOUT_SECONDS="2")
    faults = Faults(deliver.app.clients.sqs)
    started = monotonic()
    assert sorted(run(stack, deliver)) == ["busy-1", "hanging-1"]
    took = monotonic() - started
    assert len(had_it) == 8
    assert max(had_it) - started < took
    assert took >= 2
    (line,) = [
        each
        for each in steps(deliver.lines, "attempted")
        if each["receiver_uuid"] == uuid_of("hanging")
    ]
    assert line["reason"] == "timeout"
    assert sorted(each[0] for each in told(stack)) == ["accepted"] * 8
    # A wait counts from the answer, not from the end of the batch.
    assert 0 < max(waits(faults)) < 60


def test_two_copies_of_one_notification_in_a_batch_are_posted_once(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    """As when the stream brings a record again after the queue's five minutes."""
    receivers.add("one", status(200))
    enqueue(stack, message("one", receivers.url("one")))
    event = stack.receive()
    copy = event["Records"][0] | {"messageId": "copy", "receiptHandle": "copy"}
    event["Records"].append(copy)
    assert deliver(event) == {"batchItemFailures": []}
    assert len(receivers.posts("one")) == 1


# --- bad input ------------------------------------------------------------------------------------


def send_raw(stack: Stack, body: str, group: str = "poison") -> None:
    stack.sqs.send_message(
        QueueUrl=stack.output("DeliveriesQueueUrl"),
        MessageBody=body,
        MessageGroupId=group,
        MessageDeduplicationId=group,
    )


def changed(**values: Any) -> str:
    whole = json.loads(delivery().message) | values
    return json.dumps({key: each for key, each in whole.items() if each != "absent"})


POISON: dict[str, tuple[str, str]] = {
    "no JSON": ("hello", "body"),
    "a list": ("[]", "body"),
    "nothing": ("{}", "notification_id"),
    "a missing field": (changed(content="absent"), "content"),
    "a wrong type": (changed(round="three"), "round"),
    "a type that is no text": (changed(notification_type=1), "notification_type"),
    "an id that is no header": (changed(notification_id="a\nb"), "notification_id"),
    "no uuid": (changed(receiver={"uuid": "x", "message_endpoint": ""}), "receiver.uuid"),
}


@pytest.mark.parametrize("name", POISON)
def test_a_message_that_is_no_delivery_becomes_a_dead_letter_by_name_and_blocks_nobody(
    stack: Stack, deliver: Function, receivers: Receivers, name: str
) -> None:
    body, field = POISON[name]
    receivers.add("one", status(200))
    send_raw(stack, body)
    enqueue(stack, message("one", receivers.url("one")))
    assert run(stack, deliver) == []
    assert left(stack) == 0
    (letter,) = stack.messages(stack.output("DeliveriesDlqUrl"))
    assert letter["body"] == body
    reason = letter["messageAttributes"]["reason"]["stringValue"]
    assert reason.startswith(f"not a delivery: field {field}: ")
    assert [kind for kind, *_ in told(stack)] == ["accepted"]
    (line,) = [each for each in deliver.lines if each["level"] == "ERROR"]
    assert (line["message"], line["reason"]) == ("dead letter", reason)


def test_a_poison_message_stays_while_there_is_no_dead_letter_queue(
    stack: Stack, deliver: Function, receivers: Receivers, faults: Faults
) -> None:
    receivers.add("one", status(200))
    send_raw(stack, "{}")
    enqueue(stack, message("one", receivers.url("one")))
    faults.refuse("SendMessage", "AWS.SimpleQueueService.NonExistentQueue")
    assert run(stack, deliver) == ["?"]
    assert waits(faults) == [TROUBLE_SECONDS]
    assert [kind for kind, *_ in told(stack)] == ["accepted"]


def test_an_unreadable_entry_of_the_ledger_is_a_dead_letter_and_concerns_nobody_else(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    receivers.add("one", status(200))
    enqueue(stack, *(message("one", receivers.url("one"), number) for number in (1, 2)))
    entry = {"attempts": {"N": "1"}, "outcome": {"S": "unheard of"}}
    key = {"notification_id": {"S": "one-1"}}
    stack.dynamodb.put_item(TableName=stack.ledger_table, Item=key | entry)
    assert run(stack, deliver) == []
    (letter,) = stack.messages(stack.output("DeliveriesDlqUrl"))
    reason = letter["messageAttributes"]["reason"]["stringValue"]
    assert reason == "the ledger's entry cannot be read: field outcome"
    assert told(stack) == [("accepted", "one-2", 1)]


def test_an_empty_event_is_no_error(stack: Stack, deliver: Function) -> None:
    assert deliver({"Records": []}) == {"batchItemFailures": []}


# --- faults ---------------------------------------------------------------------------------------


@pytest.fixture
def two(stack: Stack, receivers: Receivers) -> Receivers:
    """Two receivers that accept, each with a message on the queue."""
    for name in ("one", "two"):
        receivers.add(name, status(200))
        enqueue(stack, message(name, receivers.url(name)))
    return receivers


def of_two(entry: Any) -> bool:
    """Whether an entry of any batch call is about the second receiver's notification."""
    return "two-1" in json.dumps(entry, default=str) or uuid_of("two") in json.dumps(
        entry, default=str
    )


def test_keys_that_dynamodb_leaves_out_are_read_again(
    stack: Stack, deliver: Function, two: Receivers
) -> None:
    faults = Faults(deliver.app.clients.dynamodb)
    faults.leave_undone("BatchGetItem", of_two, times=2)
    assert run(stack, deliver) == []
    assert sorted(told(stack)) == [("accepted", "one-1", 1), ("accepted", "two-1", 1)]
    assert len(faults.calls["BatchGetItem"]) == 3


def test_if_dynamodb_never_reads_them_all_nothing_is_sent_and_everything_stays(
    stack: Stack, deliver: Function, two: Receivers, faults: Faults
) -> None:
    Faults(deliver.app.clients.dynamodb).leave_undone("BatchGetItem", of_two)
    assert sorted(run(stack, deliver)) == ["one-1", "two-1"]
    assert waits(faults) == [TROUBLE_SECONDS, TROUBLE_SECONDS]
    assert two.posts("one") == two.posts("two") == []
    assert left(stack) == 2


def test_without_the_tables_nothing_is_sent_and_everything_stays(
    stack: Stack, deliver: Function, two: Receivers
) -> None:
    stack.lose_table("LedgerTable")
    assert sorted(run(stack, deliver)) == ["one-1", "two-1"]
    assert two.posts("one") == two.posts("two") == []
    (line,) = [each for each in deliver.lines if each["level"] == "ERROR"]
    assert line["message"] == "messages could not be prepared"


def test_without_the_secret_nothing_is_sent_and_everything_stays(
    stack: Stack, start: Start, two: Receivers
) -> None:
    deliver = start("DeliverNotification")
    secrets = Faults(deliver.app.clients.secretsmanager)
    secrets.refuse("GetSecretValue", "AccessDeniedException", times=1)
    assert sorted(run(stack, deliver)) == ["one-1", "two-1"]
    assert two.posts("one") == two.posts("two") == []
    let_time_pass(stack)
    assert run(stack, deliver) == []


def test_entries_that_the_ledger_leaves_out_are_written_again(
    stack: Stack, deliver: Function, two: Receivers
) -> None:
    faults = Faults(deliver.app.clients.dynamodb)
    faults.leave_undone("BatchWriteItem", of_two, times=2)
    assert run(stack, deliver) == []
    assert stack.ledger("two-1") is not None
    assert sorted(each[1] for each in told(stack)) == ["one-1", "two-1"]


@pytest.fixture
def hasty(start: Start) -> Function:
    """The function, with receivers that are given a second."""
    return start("DeliverNotification", REQUEST_TIMEOUT_SECONDS="1")


ONE_SECOND = RESERVE_SECONDS + 1.1
"""Of time, so that one is left for an attempt and for the ledger."""


def test_a_table_that_throttles_costs_time_and_no_second_post(
    stack: Stack, deliver: Function, two: Receivers
) -> None:
    faults = Faults(deliver.app.clients.dynamodb)
    code = "ProvisionedThroughputExceededException"
    faults.refuse("BatchWriteItem", code, times=5)
    assert run(stack, deliver) == []
    assert len(faults.calls["BatchWriteItem"]) == 6
    assert sorted(told(stack)) == [("accepted", "one-1", 1), ("accepted", "two-1", 1)]
    assert len(two.posts("one")) == len(two.posts("two")) == 1


def test_after_a_write_that_seemed_to_fail_the_next_attempt_waits_until_it_cannot_come_late(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    receivers.add("one", status(503))
    enqueue(stack, message("one", receivers.url("one")))
    faults = Faults(deliver.app.clients.sqs)
    Faults(deliver.app.clients.dynamodb).refuse("BatchWriteItem", "InternalServerError", times=1)
    assert run(stack, deliver) == ["one-1"]
    assert waits(faults) == [TROUBLE_SECONDS]


def test_the_ledger_is_tried_until_time_is_nearly_over(
    stack: Stack, hasty: Function, two: Receivers
) -> None:
    Faults(hasty.app.clients.dynamodb).refuse("BatchWriteItem", "ThrottlingException")
    started = monotonic()
    assert sorted(run(stack, hasty, remaining_seconds=ONE_SECOND)) == ["one-1", "two-1"]
    assert 0.9 < monotonic() - started < 2
    assert len(two.posts("one")) == 1


def test_what_the_ledger_never_takes_stays_and_is_not_told(
    stack: Stack, hasty: Function, two: Receivers
) -> None:
    Faults(hasty.app.clients.dynamodb).leave_undone("BatchWriteItem", of_two)
    assert run(stack, hasty, remaining_seconds=ONE_SECOND) == ["two-1"]
    assert told(stack) == [("accepted", "one-1", 1)]
    assert stack.ledger("two-1") is None
    assert left(stack) == 1


def test_if_the_ledger_refuses_everything_stays_and_nothing_is_told(
    stack: Stack, hasty: Function, two: Receivers
) -> None:
    Faults(hasty.app.clients.dynamodb).refuse("BatchWriteItem", "ThrottlingException")
    assert sorted(run(stack, hasty, remaining_seconds=ONE_SECOND)) == ["one-1", "two-1"]
    assert told(stack) == []
    messages = {each["message"] for each in hasty.lines if each["level"] == "ERROR"}
    assert messages == {"the ledger could not be written"}


def concluded_meanwhile(stack: Stack, kind: OutcomeKind, then: int) -> Behaviour:
    """Answers when the notification has ended elsewhere: in its receiver's mailbox."""

    def behave(connection: socket, over: Event) -> None:
        entry = LedgerEntry(0, kind, None, None, NOW)
        Ledger(stack.dynamodb, stack.ledger_table).conclude(message("one", NOBODY), entry)
        status(then)(connection, over)

    return behave


@pytest.mark.parametrize(("kind", "then"), [("rejected", 200), ("failed", 200), ("accepted", 503)])
def test_an_outcome_that_was_decided_during_a_post_counts(
    stack: Stack, deliver: Function, receivers: Receivers, kind: str, then: int
) -> None:
    """It waited in a mailbox, was enqueued once more, and its receiver has a URL by now."""
    receivers.add("one", concluded_meanwhile(stack, OutcomeKind(kind), then))
    enqueue(stack, message("one", receivers.url("one"), created_at=NOW))
    assert run(stack, deliver) == []
    entry = stack.ledger("one-1")
    assert entry is not None
    assert (entry["outcome"], entry["attempts"]) == ({"S": kind}, {"N": "0"})
    assert told(stack) == [(kind, "one-1", 0)]
    assert left(stack) == 0


def test_what_may_be_a_repeat_keeps_its_attempts_like_all_others(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    receivers.add("one", status(503))
    enqueue(stack, message("one", receivers.url("one"), created_at=NOW))
    assert run(stack, deliver) == ["one-1"]
    entry = stack.ledger("one-1")
    assert entry is not None
    assert ("outcome" in entry, entry["attempts"]) == (False, {"N": "1"})


def test_what_the_ledger_refuses_of_a_possible_repeat_is_tried_again(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    receivers.add("one", status(200))
    enqueue(stack, message("one", receivers.url("one"), created_at=NOW))
    Faults(deliver.app.clients.dynamodb).refuse("UpdateItem", "InternalServerError", times=1)
    assert run(stack, deliver) == []
    assert told(stack) == [("accepted", "one-1", 1)]
    assert len(receivers.posts("one")) == 1


def test_events_that_the_bus_leaves_out_are_told_again(
    stack: Stack, deliver: Function, two: Receivers
) -> None:
    """FailedEntryCount: the call succeeds, and some of its entries don't."""
    faults = Faults(deliver.app.clients.events)
    faults.leave_undone("PutEvents", of_two, times=2)
    assert run(stack, deliver) == []
    assert sorted(each[1] for each in told(stack)) == ["one-1", "two-1"]


def test_what_the_bus_never_takes_stays_and_is_told_later_without_another_post(
    stack: Stack, deliver: Function, two: Receivers
) -> None:
    faults = Faults(deliver.app.clients.events)
    faults.leave_undone("PutEvents", of_two, times=5)
    assert run(stack, deliver) == ["two-1"]
    assert [each[1] for each in told(stack)] == ["one-1"]
    let_time_pass(stack)
    assert run(stack, deliver) == []
    assert told(stack) == [("accepted", "two-1", 1)]
    assert len(two.posts("two")) == 1


def test_without_the_bus_everything_stays_and_nothing_is_posted_again(
    stack: Stack, deliver: Function, two: Receivers
) -> None:
    stack.lose_bus()
    assert sorted(run(stack, deliver)) == ["one-1", "two-1"]
    let_time_pass(stack)
    assert sorted(run(stack, deliver)) == ["one-1", "two-1"]
    assert len(two.posts("one")) == len(two.posts("two")) == 1


def test_visibility_that_is_changed_in_part_is_changed_again(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    for name in ("one", "two"):
        receivers.add(name, status(503, "Retry-After: 60"))
        enqueue(stack, message(name, receivers.url(name)))
    faults = Faults(deliver.app.clients.sqs)
    faults.leave_undone("ChangeMessageVisibilityBatch", lambda entry: entry["Id"] == "1", times=1)
    assert sorted(run(stack, deliver)) == ["one-1", "two-1"]
    first, second = faults.calls["ChangeMessageVisibilityBatch"]
    assert len(first["Entries"]) == 2
    assert second["Entries"] == [first["Entries"][1]]


def test_if_visibility_cannot_be_changed_the_messages_are_still_reported(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    """They come back after the queue's own timeout, and not as if they had been delivered."""
    receivers.add("one", status(503))
    enqueue(stack, message("one", receivers.url("one")))
    Faults(deliver.app.clients.sqs).refuse("ChangeMessageVisibilityBatch", "ServiceUnavailable")
    assert run(stack, deliver) == ["one-1"]
    assert left(stack) == 1


def test_a_message_whose_receipt_is_stale_does_not_keep_the_others(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    for name in ("one", "two"):
        receivers.add(name, status(503, "Retry-After: 60"))
        enqueue(stack, message(name, receivers.url(name)))
    event = stack.receive()
    event["Records"][0]["receiptHandle"] = "stale"
    result = deliver(event)
    assert len(result["batchItemFailures"]) == 2
    told = [each.get("message", "") for each in deliver.lines]
    let = [each for each in told if each.startswith("messages will come back")]
    assert len(let) == 1


@dataclass
class Faulty:
    """Cannot make POSTs, through no fault of the receivers."""

    reason: UnableReason

    def post(self, url: str, headers: Mapping[str, str], body: bytes, *, turn: int = 0) -> Answer:
        del url, headers, body, turn
        return Unable(self.reason)


@pytest.mark.parametrize(
    "reason", ["no sockets left", "no threads left", "no resolver", "no way out"]
)
def test_a_fault_of_our_own_is_no_attempt(
    stack: Stack, deliver: Function, two: Receivers, reason: UnableReason, faults: Faults
) -> None:
    event = stack.receive()
    result = with_poster(deliver, Faulty(reason)).process(event, lambda: 30.0)
    stack.settle(event, result)
    assert left(stack) == 2
    assert waits(faults) == [TROUBLE_SECONDS, TROUBLE_SECONDS]
    assert (stack.ledger("one-1"), told(stack)) == (None, [])
    assert steps(deliver.lines, "attempted") == []
    told_of = {(line["message"], line["reason"]) for line in deliver.lines if "message" in line}
    assert told_of >= {("an attempt could not be made", reason)}
    let_time_pass(stack)
    assert run(stack, deliver) == []
    assert sorted(told(stack)) == [("accepted", "one-1", 1), ("accepted", "two-1", 1)]


@pytest.mark.parametrize("broken", ["lines", "metrics"])
def test_nothing_that_cannot_be_written_down_stops_the_work(
    stack: Stack, deliver: Function, two: Receivers, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise TypeError("can't subtract offset-naive and offset-aware datetimes")

    journal = deliver.app.deliverer.journal
    for name in ("step", "error") if broken == "lines" else ("count", "observe", "flush"):
        part = journal._logger if broken == "lines" else journal._tally
        monkeypatch.setattr(part, name, fail)
    assert run(stack, deliver) == []
    assert sorted(told(stack)) == [("accepted", "one-1", 1), ("accepted", "two-1", 1)]


class Raising:
    """Makes POSTs that all succeed, but for one receiver's: there it breaks."""

    def __init__(self, url: str) -> None:
        self._url = url

    def post(self, url: str, headers: Mapping[str, str], body: bytes, *, turn: int = 0) -> Answer:
        del headers, body, turn
        if url == self._url:
            raise ZeroDivisionError(f"cannot post to {url}")
        return Responded(200, None)


def test_an_unexpected_error_in_one_attempt_touches_no_other(
    stack: Stack, deliver: Function, two: Receivers
) -> None:
    enqueue(stack, message("two", two.url("two"), 2))
    broken = with_poster(deliver, Raising(two.url("two")))
    event = stack.receive()
    result = broken.process(event, lambda: 30.0)
    stack.settle(event, result)
    assert told(stack) == [("accepted", "one-1", 1)]
    assert left(stack) == 2
    (line,) = [each for each in deliver.lines if each["level"] == "ERROR"]
    assert (line["message"], line["notification_id"]) == (
        "an attempt ended unexpectedly",
        "two-1",
    )
    # Whatever an exception says, endpoints don't get into the log.
    assert [each for each in SECRETS if each in deliver.text] == []


def test_a_message_in_trouble_for_hours_becomes_a_dead_letter_with_the_reason(
    stack: Stack, deliver: Function, two: Receivers
) -> None:
    broken = with_poster(deliver, Raising(two.url("two")))
    event = stack.receive()
    for record in event["Records"]:
        record["attributes"]["ApproximateReceiveCount"] = str(MAX_TROUBLED_RECEIVES)
    result = broken.process(event, lambda: 30.0)
    assert result == {"batchItemFailures": []}
    (letter,) = stack.messages(stack.output("DeliveriesDlqUrl"))
    assert json.loads(letter["body"])["notification_id"] == "two-1"
    # So redriven letters of one receiver keep their order.
    assert letter["attributes"]["MessageGroupId"] == message("two", "").group
    assert letter["messageAttributes"]["reason"]["stringValue"] == (
        f"unexpected ZeroDivisionError, after {MAX_TROUBLED_RECEIVES} receives"
    )


def test_a_message_that_was_received_often_but_is_in_no_trouble_is_no_dead_letter(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    """Held back behind others again and again, it is not to blame."""
    receivers.add("one", status(503))
    enqueue(stack, message("one", receivers.url("one")))
    event = stack.receive()
    event["Records"][0]["attributes"]["ApproximateReceiveCount"] = str(MAX_TROUBLED_RECEIVES)
    assert len(deliver(event)["batchItemFailures"]) == 1
    assert stack.messages(stack.output("DeliveriesDlqUrl")) == []


# --- repeats and time -----------------------------------------------------------------------------


def test_a_repeat_of_what_has_ended_is_told_again_but_not_posted(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    receivers.add("one", status(200))
    for _ in range(2):
        enqueue(stack, message("one", receivers.url("one")))
        assert run(stack, deliver) == []
    assert len(receivers.posts("one")) == 1
    assert told(stack) == [("accepted", "one-1", 1)] * 2


def test_without_time_for_an_attempt_messages_back_off(
    stack: Stack, deliver: Function, two: Receivers, faults: Faults
) -> None:
    """Not at once: if preparing takes that long each time, it would be a hot loop."""
    assert sorted(run(stack, deliver, remaining_seconds=9.9)) == ["one-1", "two-1"]
    assert waits(faults) == [TROUBLE_SECONDS, TROUBLE_SECONDS]
    assert two.posts("one") == two.posts("two") == []
    let_time_pass(stack)
    assert run(stack, deliver, remaining_seconds=10) == []


def test_without_time_again_and_again_a_message_becomes_a_dead_letter_with_the_reason(
    stack: Stack, deliver: Function, two: Receivers
) -> None:
    event = stack.receive()
    for record in event["Records"]:
        record["attributes"]["ApproximateReceiveCount"] = str(MAX_TROUBLED_RECEIVES)
    assert deliver(event, remaining_seconds=9.9) == {"batchItemFailures": []}
    letters = stack.messages(stack.output("DeliveriesDlqUrl"))
    assert {each["messageAttributes"]["reason"]["stringValue"] for each in letters} == {
        f"no time left for an attempt, after {MAX_TROUBLED_RECEIVES} receives"
    }


def test_who_is_served_while_there_is_time_is_given_back_at_once_with_the_rest(
    stack: Stack, start: Start, receivers: Receivers
) -> None:
    deliver = start("DeliverNotification", REQUEST_TIMEOUT_SECONDS="1")
    receivers.add("one", each_in_turn(drip(b"HTTP/1.1 200 OK", 0.02), status(200)))
    enqueue(stack, *(message("one", receivers.url("one"), number) for number in (1, 2)))
    faults = Faults(deliver.app.clients.sqs)
    assert run(stack, deliver, remaining_seconds=RESERVE_SECONDS + 1.05) == ["one-1", "one-2"]
    assert waits(faults)[1] == 0


def test_what_has_ended_needs_no_time(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    enqueue(stack, message("one", NOBODY))
    assert run(stack, deliver, remaining_seconds=1) == []
    assert [kind for kind, *_ in told(stack)] == ["superseded"]


def test_what_was_recorded_and_not_told_is_written_down_when_it_is_told(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    """Killed between ledger and event: the message comes once more, its outcome known."""
    receivers.add("one", status(200))
    enqueue(stack, message("one", receivers.url("one")))
    event = stack.receive()
    entry = LedgerEntry(1, OutcomeKind.ACCEPTED, 200, None, datetime.now(UTC))
    known = entry.to_item(message("one", ""))
    stack.dynamodb.put_item(TableName=stack.ledger_table, Item=known)
    assert deliver(event) == {"batchItemFailures": []}
    assert (receivers.posts("one"), told(stack)) == ([], [("accepted", "one-1", 1)])
    (line,) = steps(deliver.lines, "concluded")
    assert (line["notification_id"], line["outcome"]) == ("one-1", "accepted")


def test_a_repeat_is_not_written_down_as_concluded_again(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    receivers.add("one", status(200))
    before = datetime.now(UTC) - timedelta(minutes=6)
    known = LedgerEntry(1, OutcomeKind.ACCEPTED, 200, None, before).to_item(message("one", ""))
    stack.dynamodb.put_item(TableName=stack.ledger_table, Item=known)
    enqueue(stack, message("one", receivers.url("one")))
    assert run(stack, deliver) == []
    assert steps(deliver.lines, "concluded") == []


def test_what_the_bus_did_not_take_is_written_down_once_it_is_told(
    stack: Stack, deliver: Function, two: Receivers
) -> None:
    faults = Faults(deliver.app.clients.events)
    faults.refuse("PutEvents", "ThrottlingException", times=1)
    run(stack, deliver)
    assert steps(deliver.lines, "concluded") == []
    let_time_pass(stack)
    assert run(stack, deliver) == []
    assert len(steps(deliver.lines, "concluded")) == 2


# --- newer versions -------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [{"a": "b"}, "absent"])
def test_a_type_of_a_newer_version_waits_and_what_is_behind_it_too(
    stack: Stack, deliver: Function, receivers: Receivers, faults: Faults, content: object
) -> None:
    receivers.add("one", status(200))
    group = message("one", "").group
    newer = changed(notification_type="PARTICIPANT_PROMOTED", content=content, something=["new"])
    send_raw(stack, newer, group)
    enqueue(stack, message("one", receivers.url("one")))
    receivers.add("two", status(200))
    enqueue(stack, message("two", receivers.url("two")))
    for _ in range(2):
        assert len(run(stack, deliver)) == 2
        assert waits(faults) == [900, 0]
        let_time_pass(stack)
    assert told(stack) == [("accepted", "two-1", 1)]
    assert stack.messages(stack.output("DeliveriesDlqUrl")) == []


# --- an invocation that waits takes more work -----------------------------------------------------


def test_while_one_hangs_the_same_invocation_serves_the_others(
    stack: Stack, start: Start, receivers: Receivers
) -> None:
    receivers.add("hanging", hang())
    receivers.add("busy", status(503, "Retry-After: 60"))
    healthy = receivers.add("healthy", status(200))
    names = [f"healthy{number}" for number in range(40)]
    for name in names:
        stack.put(participant_item(name, message_endpoint=healthy.url))
    enqueue(stack, *(message(name, receivers.url(name)) for name in ("hanging", "busy")))
    enqueue(stack, *(message(name, healthy.url) for name in names))
    # One is told twice: its second message is behind all the others.
    enqueue(stack, message(names[0], healthy.url, 2))
    deliver = start("DeliverNotification", REQUEST_TIMEOUT_SECONDS="2")
    event = stack.receive()
    assert len(event["Records"]) == 10
    started = monotonic()
    result = deliver(event)
    assert monotonic() - started < 2 + 1
    failed = {each["itemIdentifier"] for each in result["batchItemFailures"]}
    assert failed < {record["messageId"] for record in event["Records"]}
    assert len(failed) == 2
    assert left(stack) == 2  # the others are deleted, also those of Lambda's event
    assert sorted(told(stack)) == sorted(
        [("accepted", f"{name}-1", 1) for name in names] + [("accepted", f"{names[0]}-2", 1)]
    )
    assert len(healthy.requests) == 41


def test_nothing_more_is_received_unless_something_hangs(
    stack: Stack, deliver: Function, two: Receivers
) -> None:
    faults = Faults(deliver.app.clients.sqs)
    assert run(stack, deliver) == []
    assert "ReceiveMessage" not in faults.calls


def test_an_empty_queue_is_asked_again_after_a_second_and_without_time_not_at_all(
    stack: Stack, start: Start, receivers: Receivers
) -> None:
    receivers.add("hanging", hang())
    enqueue(stack, message("hanging", receivers.url("hanging")))
    deliver = start("DeliverNotification", REQUEST_TIMEOUT_SECONDS="2")
    faults = Faults(deliver.app.clients.sqs)
    run(stack, deliver, remaining_seconds=RESERVE_SECONDS + 2.9)
    calls = faults.calls["ReceiveMessage"]
    assert len(calls) == 1
    let_time_pass(stack)
    run(stack, deliver)
    assert 1 < len(calls) <= 4
    assert len({call["ReceiveRequestAttemptId"] for call in calls}) == len(calls)
    assert {call["WaitTimeSeconds"] for call in calls} == {0}


def test_a_queue_that_refuses_costs_nobody_anything(
    stack: Stack, start: Start, receivers: Receivers
) -> None:
    receivers.add("hanging", hang())
    receivers.add("one", status(200))
    for name in ("hanging", "one"):
        enqueue(stack, message(name, receivers.url(name)))
    deliver = start("DeliverNotification", REQUEST_TIMEOUT_SECONDS="1")
    event = stack.receive()
    faults = Faults(deliver.app.clients.sqs)
    for operation in ("ReceiveMessage", "DeleteMessageBatch"):
        faults.refuse(operation, "ServiceUnavailable", status=503)
    assert len(deliver(event)["batchItemFailures"]) == 1
    assert told(stack) == [("accepted", "one-1", 1)]


# --- log and metrics ------------------------------------------------------------------------------


def test_the_log_tells_the_story_of_each_notification_and_nothing_secret(
    stack: Stack, deliver: Function, receivers: Receivers
) -> None:
    receivers.add("one", status(200))
    receivers.add("two", status(400))
    for name in ("one", "two"):
        enqueue(stack, message(name, receivers.url(name)))
    stack.put(participant_item("three", message_endpoint=NOBODY))
    enqueue(stack, message("three", NOBODY))
    send_raw(stack, changed(round="three"))
    run(stack, deliver)
    story = [
        (line["notification_id"], line["step"], line.get("outcome"), line.get("status_code"))
        for line in steps(deliver.lines)
    ]
    assert sorted(story, key=lambda each: (each[0], each[1])) == [
        ("one-1", "attempted", None, 200),
        ("one-1", "concluded", "accepted", 200),
        ("three-1", "attempted", None, None),
        ("two-1", "attempted", None, 400),
        ("two-1", "concluded", "rejected", 400),
    ]
    assert [each for each in SECRETS if each in deliver.text] == []
    master = stack.secrets.get_secret_value(SecretId=stack.output("SigningSecretArn"))
    assert master["SecretString"] not in deliver.text


def test_the_metrics_count_attempts_and_outcomes(
    stack: Stack, deliver: Function, receivers: Receivers, capsys: pytest.CaptureFixture[str]
) -> None:
    receivers.add("one", status(200))
    receivers.add("two", status(400))
    for name in ("one", "two"):
        enqueue(stack, message(name, receivers.url(name)))
    capsys.readouterr()
    run(stack, deliver)
    (line,) = parse_lines(capsys.readouterr().out)
    metrics = check_metrics(line)
    assert line["notification_type"] == "UPDATE_ROUND_START"
    counts = {name: metrics[name] for name in ("Attempts", "Accepted", "Rejected")}
    assert counts == {"Attempts": [2], "Accepted": [1], "Rejected": [1]}
    assert len(metrics["DeliveryLatency"]) == len(metrics["TimeToOutcome"]) == 2


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_answered_every_message_ends_or_stays(
    stack: Stack, deliver: Function, receivers: Receivers, seed: int
) -> None:
    """Nothing is dropped: deleted exactly if it has ended, in the queue exactly if it has not."""
    chosen = random.Random(seed)  # noqa: S311 - no secret
    behaviours: list[Callable[[], Behaviour]] = [
        lambda: status(200),
        lambda: status(400),
        lambda: status(503),
    ]
    names = [f"r{number}" for number in range(5)]
    for name in names:
        receivers.add(name, chosen.choice(behaviours)())
        enqueue(stack, *(message(name, receivers.url(name), number) for number in (1, 2)))
    event: Record = stack.receive()
    stays = {each["itemIdentifier"] for each in deliver(event)["batchItemFailures"]}
    ended = {each[1] for each in told(stack)}
    for record in event["Records"]:
        notification_id = json.loads(record["body"])["notification_id"]
        assert (record["messageId"] in stays) is (notification_id not in ended)

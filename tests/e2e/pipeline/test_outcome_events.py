"""Outcome events: what is on the bus, and how a user adds a callback of their own."""

import time
from datetime import datetime, timedelta
from typing import Any

import pytest

from fl_notifications.deliveries.queue import DeliveryQueue
from fl_notifications.notifications.notification import TrainingFinishedNotification
from fl_notifications.trainings.model import Receiver, Training, TrainingState
from fl_notifications_cli.participants import ParticipantServer, always, flaky
from fl_notifications_cli.stack import Stack
from tests.e2e.pipeline.kit import (
    FINISHED,
    START,
    FlServer,
    Outcomes,
    Rule,
    TrainingItem,
    eventually,
    expect,
    listening,
    log_lines,
    update,
)

SUCCESS = "training_notification_callback_success"
FAILURE = "training_notification_callback_failure"


def check_event(event: Any, training: TrainingItem, **expected: object) -> None:
    """Check an event but for its times, and that these make sense."""
    detail = dict(event["detail"])
    times = [datetime.fromisoformat(detail.pop(name)) for name in ("created_at", "finished_at")]

    assert event["source"] == "fl.notifications"
    assert detail.pop("run").isdigit()
    known = {"training_uuid": training.uuid, "reason": None, "joined_at": None}
    assert detail == known | expected
    assert all(time.tzinfo is not None for time in times)
    # The first is of the stream's record, which has whole seconds.
    assert timedelta(seconds=-1) < times[1] - times[0] < timedelta(minutes=5)


def test_an_accepted_round(
    fl_server: FlServer, participants: ParticipantServer, outcomes: Outcomes
) -> None:
    one = participants.add(flaky(1))
    training = fl_server.training(one, state="ONGOING")

    event = outcomes.wait_for(training, one, update(0))

    assert event["detail-type"] == "Notification Accepted"
    check_event(
        event,
        training,
        notification_id=one.requests[-1].webhook_id,
        notification_type="UPDATE_ROUND_START",
        receiver_uuid=one.uuid,
        round=0,
        callback=SUCCESS,
        attempts=2,
        status_code=200,
    )


@pytest.mark.parametrize(
    ("state", "kind"), [("SWAG_ROUND", "SWAG_ROUND_START"), ("MODEL_TEST", "MODEL_TEST_ROUND")]
)
def test_a_rejected_round(
    state: str,
    kind: str,
    fl_server: FlServer,
    participants: ParticipantServer,
    outcomes: Outcomes,
) -> None:
    one = participants.add(always(418))
    training = fl_server.training(one, state=None, options={"min_participants": 0})
    training.write(state, 2)

    event = outcomes.wait_for(training, one, f"{kind} 2")

    assert event["detail-type"] == "Notification Rejected"
    check_event(
        event,
        training,
        notification_id=next(each.webhook_id for each in one.requests if each.kind == kind),
        notification_type=kind,
        receiver_uuid=one.uuid,
        round=2,
        callback=FAILURE,
        attempts=1,
        status_code=418,
        reason="answered 418",
    )


def test_a_failed_round(
    fl_server: FlServer, participants: ParticipantServer, outcomes: Outcomes
) -> None:
    one = participants.add()
    training = fl_server.training(state="ONGOING")
    training.join(one, message_endpoint="no url at all")
    training.write("ONGOING", 1)

    event = outcomes.wait_for(training, one, update(1))

    assert event["detail-type"] == "Notification Failed"
    notification_id = event["detail"]["notification_id"]
    check_event(
        event,
        training,
        notification_id=notification_id,
        notification_type="UPDATE_ROUND_START",
        receiver_uuid=one.uuid,
        round=1,
        callback=FAILURE,
        attempts=1,
        status_code=None,
        reason=event["detail"]["reason"],
    )
    assert event["detail"]["reason"]


def test_the_success_callback_logs(
    stack: Stack, success_rule: Rule, fl_server: FlServer, participants: ParticipantServer
) -> None:
    one = participants.add()
    since = time.time()
    success_rule.enable()
    training = fl_server.training(one, state="MODEL_TEST")
    _, request = expect(one, START, "MODEL_TEST_ROUND 0")

    lines = eventually(
        lambda: [
            line
            for line in log_lines(stack, training.uuid, since)
            if line.get("step") == "called back"
        ],
        bool,
        "a line of the log by CallbackSuccess",
    )
    success_rule.disable()
    assert {(line["notification_id"], line["outcome"]) for line in lines} == {
        (request.webhook_id, "accepted")
    }


def test_what_has_no_callback(
    fl_server: FlServer, participants: ParticipantServer, outcomes: Outcomes
) -> None:
    one = participants.add()
    training = fl_server.training(one, state="ONGOING")
    expect(one, START, update(0))
    training.write("COMPLETED")
    requests = expect(one, START, update(0), FINISHED)

    for request, kind in ((requests[0], START), (requests[2], FINISHED)):
        event = outcomes.wait_for(training, one, kind)
        assert event["detail-type"] == "Notification Accepted"
        check_event(
            event,
            training,
            notification_id=request.webhook_id,
            notification_type=kind,
            receiver_uuid=one.uuid,
            round=None,
            callback=None,
            attempts=1,
            status_code=200,
        )


def test_a_user_adds_a_callback_with_one_rule(
    stack: Stack, participants: ParticipantServer, fl_server: FlServer
) -> None:
    """A program sends a notification of its own, and names the callbacks."""
    takes, refuses = participants.add(), participants.add(always(403))
    item = fl_server.training(state="COMPLETED")
    training = Training(
        training_uuid=item.uuid,
        state=TrainingState.COMPLETED,
        round=0,
        model_uuid=item.model_uuid,
        actor=Receiver(uuid=takes.uuid, message_endpoint=takes.message_endpoint),
    )

    with (
        listening(stack, {"detail": {"callback": ["all_is_well"]}}) as well,
        listening(stack, {"detail": {"callback": ["all_is_lost"]}}) as badly,
    ):
        sent = TrainingFinishedNotification.from_training(
            training, [Receiver(uuid=refuses.uuid, message_endpoint=refuses.message_endpoint)]
        ).send(
            "all_is_well",
            "all_is_lost",
            queue=DeliveryQueue(stack.client("sqs"), stack.output("DeliveriesQueueUrl")),
        )

        assert len(sent) == 2
        for queue, receiver in ((well, takes), (badly, refuses)):
            [message] = queue.wait_for(lambda _message: True, "the callback's event")
            assert message.json["detail"]["receiver_uuid"] == receiver.uuid
            assert receiver.labels == [FINISHED]

"""What the demo sees of a stack that others use, too."""

from datetime import timedelta
from uuid import uuid4

import boto3
import pytest

from fl_notifications.outcomes.waiting import WaitingNotification, WaitingTable
from fl_notifications.trainings.model import Receiver
from fl_notifications_cli.demo.cast import DEADLINE, Polls, Production, Role
from fl_notifications_cli.demo.record import Record
from fl_notifications_cli.participants import Participant, always
from fl_notifications_cli.stack import Stack as CliStack
from tests.cloudformation import REGION, STACK_NAME
from tests.integration.stack import Stack
from tests.made import NOW, delivery

_OUTPUTS = ("TrainingsTable", "WaitingTable", "DeliveriesQueueUrl")


@pytest.fixture
def seen_by_the_demo(stack: Stack) -> CliStack:
    outputs = {name: stack.output(name) for name in _OUTPUTS}
    clients = {"dynamodb": stack.dynamodb, "sqs": boto3.client("sqs")}
    return CliStack(STACK_NAME, REGION, None, outputs, clients)


def role(uuid: str) -> Role:
    participant = Participant(uuid, uuid, f"http://127.0.0.1:1/{uuid}", always())
    return Role(participant, "", polls=Polls())


def enqueue(stack: Stack, body: str) -> None:
    boto3.client("sqs").send_message(
        QueueUrl=stack.output("DeliveriesQueueUrl"),
        MessageBody=body,
        MessageGroupId=body,
        MessageDeduplicationId=body,
    )


def test_a_message_that_waited_before_is_not_the_demos(
    stack: Stack, seen_by_the_demo: CliStack
) -> None:
    enqueue(stack, "of another training")
    record = Record(seen_by_the_demo)
    before = record.waiting()

    enqueue(stack, "the demo's own")

    assert (before, record.waiting()) == (0, 1)


def test_what_waits_in_a_mailbox_is_shown_by_type_and_round(
    stack: Stack, seen_by_the_demo: CliStack
) -> None:
    made = delivery()
    WaitingTable(stack.dynamodb, stack.output("WaitingTable")).deposit(
        [WaitingNotification.deposited(made, "1", at=NOW, deadline=timedelta(hours=1))]
    )

    waiting = Record(seen_by_the_demo).deposited(role(str(made.receiver.uuid)))

    assert waiting == ["UPDATE_ROUND_START 3"]


def test_who_has_reported_and_who_is_left_out_is_read_from_the_table(
    seen_by_the_demo: CliStack,
) -> None:
    one, two = role(str(uuid4())), role(str(uuid4()))
    production = Production("", DEADLINE, role(str(uuid4())), [one, two])
    record = Record(seen_by_the_demo)
    uuid = production.training_uuid
    before = (record.reported(production), record.left_out(production))
    record.trainings.create(
        uuid,
        str(uuid4()),
        Receiver(uuid=str(uuid4()), message_endpoint="http://127.0.0.1:1/"),
        [each.receiver for each in (one, two)],
        options=DEADLINE,
    )
    record.trainings.start(uuid, selected=[one.participant.uuid])
    record.trainings.reported(uuid, one.participant.uuid)

    assert before == (set(), set())
    assert record.reported(production) == {one.participant.uuid}
    assert record.left_out(production) == {two.participant.uuid}
    assert record.removed(production) == {}

"""What the demo sees of a stack that others use, too."""

import boto3
import pytest

from fl_notifications_cli.demo.record import Record
from fl_notifications_cli.stack import Stack as CliStack
from tests.cloudformation import REGION, STACK_NAME
from tests.integration.stack import Stack


@pytest.fixture
def seen_by_the_demo(stack: Stack) -> CliStack:
    outputs = {name: stack.output(name) for name in ("TrainingsTable", "DeliveriesQueueUrl")}
    clients = {"dynamodb": stack.dynamodb, "sqs": boto3.client("sqs")}
    return CliStack(STACK_NAME, REGION, None, outputs, clients)


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

"""The way back by events: a queue of what the service does to trainings."""

import json
from typing import Any, Final

from fl_notifications.outcomes.changes import ParticipantRemoved, TrainingEnded, TrainingOverdue
from fl_notifications.server.django import mapping, rows

DETAIL_TYPES: Final = [
    each.detail_type for each in (ParticipantRemoved, TrainingEnded, TrainingOverdue)
]


def make(events: Any, sqs: Any, bus: str, name: str) -> str:
    """Make the queue, its dead-letter queue and the rule; made already, they stay as they are.

    Args:
        events: boto3's client of EventBridge.
        sqs: boto3's client of SQS.
        bus: the stack's output `OutcomesBus`.
        name: of queue and rule.

    Returns:
        The queue's URL.
    """
    letters = sqs.create_queue(QueueName=f"{name}-dlq")["QueueUrl"]
    url: str = sqs.create_queue(QueueName=name)["QueueUrl"]
    arns = [
        sqs.get_queue_attributes(QueueUrl=each, AttributeNames=["QueueArn"])["Attributes"][
            "QueueArn"
        ]
        for each in (url, letters)
    ]
    pattern = {"source": ["fl.notifications"], "detail-type": DETAIL_TYPES}
    rule = events.put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps(pattern))
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "events.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": arns[0],
                "Condition": {"ArnEquals": {"aws:SourceArn": rule["RuleArn"]}},
            }
        ],
    }
    redrive = {"deadLetterTargetArn": arns[1], "maxReceiveCount": 10}
    sqs.set_queue_attributes(
        QueueUrl=url,
        Attributes={
            "Policy": json.dumps(policy),
            "RedrivePolicy": json.dumps(redrive),
            "VisibilityTimeout": "60",
        },
    )
    failed = events.put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": "1", "Arn": arns[0]}])
    if failed.get("FailedEntryCount"):
        raise RuntimeError(f"the rule has no target: {failed['FailedEntries'][0]['ErrorCode']}")
    return url


def receive(sqs: Any, url: str, *, wait_seconds: int) -> int:
    """Handle the events that wait; what cannot be handled comes back, and is a dead letter at last.

    An event is a hint only: what became of the training is read from the table.

    Returns:
        How many were handled.
    """
    answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=wait_seconds)
    handled = 0
    for message in answer.get("Messages", []):
        try:
            handle(json.loads(message["Body"]))
        except Exception:  # noqa: BLE001 - one event must not stop the others
            rows.LOGGER.exception("an event could not be handled; it comes back")
            continue
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        handled += 1
    return handled


def handle(event: Any) -> None:
    """Do in the server what an event says.

    Raises:
        KeyError: if it is no event of ours.
    """
    detail = event["detail"]
    training_uuid = str(detail["training_uuid"])
    if event["detail-type"] == TrainingOverdue.detail_type:
        training = mapping.current().find(training_uuid, rows.database())
        if training is not None:
            mapping.current().overdue(training, detail)
    rows.repair(training_uuid)

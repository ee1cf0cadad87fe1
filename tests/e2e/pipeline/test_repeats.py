"""The same state change, processed twice, is sent once."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

from fl_notifications_cli.participants import ParticipantServer, always, flaky
from fl_notifications_cli.stack import Stack, new_client
from tests.e2e.pipeline.kit import (
    FINISHED,
    START,
    FlServer,
    Outcomes,
    TrainingItem,
    eventually,
    expect,
    function_name,
    some_uuid,
    update,
)

EMPTY_ANSWERS: Final = 5


def records_of(stack: Stack, training: TrainingItem) -> list[dict[str, Any]]:
    """The stream's records of a training, as Lambda gets them."""
    table = stack.client("dynamodb").describe_table(TableName=training.table)["Table"]
    streams = new_client("dynamodbstreams", stack.region, stack.endpoint_url)
    stream = table["LatestStreamArn"]
    found = []
    for shard in streams.describe_stream(StreamArn=stream)["StreamDescription"]["Shards"]:
        iterator = streams.get_shard_iterator(
            StreamArn=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        # On AWS there are empty answers before the end, and none that says that it is the end.
        empty = 0
        while iterator and empty < EMPTY_ANSWERS:
            answer = streams.get_records(ShardIterator=iterator)
            empty = 0 if answer["Records"] else empty + 1
            found += [
                record
                for record in answer["Records"]
                if record["dynamodb"]["Keys"]["training_uuid"]["S"] == training.uuid
            ]
            iterator = answer.get("NextShardIterator")
    return [json.loads(json.dumps(record, default=datetime.timestamp)) for record in found]


@contextmanager
def deliveries_paused(stack: Stack) -> Iterator[None]:
    """Let what is enqueued stay in the queue."""
    client = stack.client("lambda")
    [mapping] = client.list_event_source_mappings(
        FunctionName=function_name(stack, "DeliverNotification")
    )["EventSourceMappings"]

    def become(state: str) -> None:
        # On AWS it takes up to a minute.
        eventually(
            lambda: client.get_event_source_mapping(UUID=mapping["UUID"])["State"],
            lambda seen: seen == state,
            f"{state} deliveries",
            seconds=180,
        )

    client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    try:
        become("Disabled")
        yield
    finally:
        client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)
        become("Enabled")


def test_a_record_that_is_processed_again_is_not_sent_again(
    stack: Stack, fl_server: FlServer, participants: ParticipantServer, outcomes: Outcomes
) -> None:
    one, actor = participants.add(), participants.add()
    training = fl_server.training(one, actor=actor, state="ONGOING")
    expect(one, START, update(0))
    training.write("ONGOING", 1)
    expect(one, START, update(0), update(1))
    outcomes.wait_for(training, one, update(1))

    records = records_of(stack, training)
    answer = stack.client("lambda").invoke(
        FunctionName=function_name(stack, "BuildNotifications"),
        Payload=json.dumps({"Records": records}).encode(),
    )

    assert len(records) == 3
    assert not answer.get("FunctionError")
    assert json.loads(answer["Payload"].read()) == {"batchItemFailures": []}
    training.write("COMPLETED", 1)
    expect(one, START, update(0), update(1), FINISHED)
    expect(actor, FINISHED)


def test_a_repeat_after_the_queues_five_minutes_is_caught_by_the_ledger(
    stack: Stack, fl_server: FlServer, participants: ParticipantServer, outcomes: Outcomes
) -> None:
    """The queue forgets an id after five minutes; another deduplication id is as good as that."""
    sqs, url = stack.client("sqs"), stack.output("DeliveriesQueueUrl")
    one = participants.add(flaky(1))
    training = fl_server.training(one, state=None)
    fl_server.let_it_be_read()
    with deliveries_paused(stack):
        training.write("MODEL_TEST")
        [message] = eventually(
            lambda: [
                each
                for each in sqs.receive_message(
                    QueueUrl=url,
                    MaxNumberOfMessages=10,
                    VisibilityTimeout=1,
                    MessageSystemAttributeNames=["MessageGroupId"],
                ).get("Messages", [])
                # What an earlier test has left waits in the queue as well.
                if each["Attributes"]["MessageGroupId"].startswith(training.uuid)
                and "MODEL_TEST_ROUND" in each["Body"]
            ],
            bool,
            "the message of the round",
        )
    told = [START] * 2 + ["MODEL_TEST_ROUND 0"] * 2
    expect(one, *told)
    before = outcomes.wait_for(training, one, "MODEL_TEST_ROUND 0")

    for _ in range(3):
        sqs.send_message(
            QueueUrl=url,
            MessageBody=message["Body"],
            MessageGroupId=message["Attributes"]["MessageGroupId"],
            MessageDeduplicationId=some_uuid(),
        )
    training.write("MODEL_TEST", 1)
    outcomes.wait_for(training, one, "MODEL_TEST_ROUND 1")

    assert one.labels == told + ["MODEL_TEST_ROUND 1"] * 2
    details = [event["detail"] for event in outcomes.events(training, one.uuid)]
    assert all(
        detail == before["detail"]
        for detail in details
        if detail["notification_id"] == before["detail"]["notification_id"]
    ), "a repeated event says the same"


def test_the_ledger_knows_how_a_notification_ended(
    stack: Stack, fl_server: FlServer, participants: ParticipantServer, outcomes: Outcomes
) -> None:
    takes, refuses = participants.add(flaky(1)), participants.add(always(410))
    training = fl_server.training(takes, refuses, state="ONGOING")
    for each in (takes, refuses):
        outcomes.wait_for(training, each, START)

    entries = [_ledger_entry(stack, each.requests[0].webhook_id) for each in (takes, refuses)]

    assert [entry["attempts"] for entry in entries] == [{"N": "2"}, {"N": "1"}]
    assert [entry["outcome"] for entry in entries] == [{"S": "accepted"}, {"S": "rejected"}]
    for entry in entries:
        assert int(entry["expires_at"]["N"]) > 0


def _ledger_entry(stack: Stack, notification_id: str) -> dict[str, Any]:
    answer = stack.client("dynamodb").get_item(
        TableName=stack.output("LedgerTable"),
        Key={"notification_id": {"S": notification_id}},
        ConsistentRead=True,
    )
    return dict(answer["Item"])

"""The stack on a simulated AWS in memory, made of the properties that template.yaml itself has.

A property that is not known here is an error, so that no change of the template goes unnoticed.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import uuid4

import boto3
from botocore.config import Config
from moto.dynamodb.models import dynamodb_backends
from moto.sqs.models import sqs_backends

from fl_notifications.aws.batches import SQS_BATCH
from tests.cloudformation import (
    ACCOUNT,
    REGION,
    STACK_NAME,
    deployed,
    evaluate,
    functions,
    parameters,
    template,
)

type Record = dict[str, Any]


class Stack:
    """Tables, queues, bus, secret and rules; made when they are first referred to."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._parameters = parameters(given)
        self._made: dict[str, dict[str | None, str]] = {}
        self.dynamodb = boto3.client("dynamodb")
        # moto knows streams by their old address only.
        plain = Config(account_id_endpoint_mode="disabled")
        self.streams = boto3.client("dynamodbstreams", config=plain)
        self.sqs = boto3.client("sqs")
        self.events = boto3.client("events")
        self.secrets = boto3.client("secretsmanager")
        for name, resource in template()["Resources"].items():
            if resource["Type"] in _MAKERS:
                self._lookup(name, None)
        self._urls: dict[str, str] = {}  # of the inboxes
        self._inbox("Outcomes", {"source": ["fl.notifications"]})
        for function, properties in functions().items():
            for trigger in properties.get("Events", {}).values():
                if trigger["Type"] == "EventBridgeRule":
                    self._inbox(function, trigger["Properties"]["Pattern"])
        for name, resource in template()["Resources"].items():
            if resource["Type"] == "AWS::Events::Rule":
                self._inbox(name.removesuffix("Rule"), resource["Properties"]["EventPattern"])
        self._iterator: str | None = None  # where the stream was last read
        self.has_lost_something = False

    # --- making -----------------------------------------------------------------------------------

    def value(self, of: Any) -> Any:
        """A value of the template, with everything filled in."""
        return evaluate(of, self._parameters, self._lookup)

    def output(self, name: str) -> str:
        """An output of the stack."""
        return str(self.value(template()["Outputs"][name]["Value"]))

    def environment(self, function: str) -> dict[str, str]:
        """The environment variables of a function."""
        variables = self.value(functions()[function]["Environment"]["Variables"])
        return {name: str(value) for name, value in variables.items()}

    def _lookup(self, name: str, attribute: str | None) -> str:
        if name not in self._made:
            resource = deployed()["Resources"][name]
            properties = self.value(resource.get("Properties", {}))
            self._made[name] = _MAKERS.get(resource["Type"], _pretend)(self, name, properties)
        return self._made[name][attribute]

    def _inbox(self, name: str, pattern: Mapping[str, Any]) -> None:
        """A queue that gets what a rule of the bus lets through, in place of the function."""
        url = self.sqs.create_queue(QueueName=f"inbox-{name}-{uuid4().hex}")["QueueUrl"]
        arn = self._queue_arn(url)
        bus = self._lookup("Outcomes", None)
        self.events.put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps(pattern))
        self.events.put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": "1", "Arn": arn}])
        self._urls[name] = url

    def _queue_arn(self, url: str) -> str:
        return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{url.rpartition('/')[2]}"

    def empty(self) -> None:
        """Leave no items, messages or changes behind; without a hundred calls of the API."""
        tables = dynamodb_backends[ACCOUNT][REGION].tables
        for name in (self.trainings_table, self.ledger_table, self.output("WaitingTable")):
            tables[name].items.clear()
            if (shard := tables[name].stream_shard) is not None:
                shard.items.clear()
        self._iterator = None
        for queue in sqs_backends[ACCOUNT][REGION].queues.values():
            queue._messages.clear()
            queue._pending_messages.clear()

    def lose_queue(self, output: str) -> None:
        """Delete a queue for good."""
        self.has_lost_something = True
        self.sqs.delete_queue(QueueUrl=self.output(output))

    def lose_table(self, output: str) -> None:
        """Delete a table for good."""
        self.has_lost_something = True
        self.dynamodb.delete_table(TableName=self.output(output))

    def lose_bus(self) -> None:
        """Delete the bus, with its rules, for good."""
        self.has_lost_something = True
        bus = self.output("OutcomesBus")
        for rule in self.events.list_rules(EventBusName=bus)["Rules"]:
            self.events.remove_targets(Rule=rule["Name"], EventBusName=bus, Ids=["1"])
            self.events.delete_rule(Name=rule["Name"], EventBusName=bus)
        self.events.delete_event_bus(Name=bus)

    # --- what is in it ----------------------------------------------------------------------------

    @property
    def trainings_table(self) -> str:
        return self.output("TrainingsTable")

    @property
    def ledger_table(self) -> str:
        return self.output("LedgerTable")

    def put(self, *items: Mapping[str, Any]) -> None:
        """Write items to the trainings table, as a server would."""
        for item in items:
            self.dynamodb.put_item(TableName=self.trainings_table, Item=item)

    def item(self, training_uuid: str, entity: str = "TRAINING") -> dict[str, Any] | None:
        """Read an item of the trainings table."""
        key = {"training_uuid": {"S": training_uuid}, "entity": {"S": entity}}
        answer = self.dynamodb.get_item(TableName=self.trainings_table, Key=key)
        found: dict[str, Any] | None = answer.get("Item")
        return found

    def ledger(self, notification_id: str) -> dict[str, Any] | None:
        """Read an item of the ledger."""
        key = {"notification_id": {"S": notification_id}}
        answer = self.dynamodb.get_item(TableName=self.ledger_table, Key=key)
        found: dict[str, Any] | None = answer.get("Item")
        return found

    def messages(self, url: str) -> list[Record]:
        """Take all messages out of a queue, in the shape that Lambda gives to a function."""
        found: list[Record] = []
        while received := self._receive(url):
            found += received
            self.sqs.delete_message_batch(
                QueueUrl=url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": each["receiptHandle"]}
                    for number, each in enumerate(received)
                ],
            )
            if len(received) < SQS_BATCH:
                break
        return found

    def delivered(self) -> list[dict[str, Any]]:
        """Take all messages out of the queue of deliveries; their bodies."""
        return [
            json.loads(each["body"]) for each in self.messages(self.output("DeliveriesQueueUrl"))
        ]

    def outcomes(self, rule: str = "Outcomes") -> list[Record]:
        """Take what the bus has told since, all of it or what a function's rule lets through."""
        messages = self.messages(self._urls[rule])
        return [json.loads(each["body"]) for each in messages]

    # --- triggers ---------------------------------------------------------------------------------

    def changes(self) -> Record:
        """What has been written to the trainings table since, as Lambda shows it to the builder."""
        return {"Records": self._new_records()}

    def _new_records(self) -> list[Record]:
        """What is in the stream since it was last read."""
        arn = self._lookup("Trainings", "StreamArn")
        if self._iterator is None:
            described = self.streams.describe_stream(StreamArn=arn)["StreamDescription"]
            self._iterator = self.streams.get_shard_iterator(
                StreamArn=arn,
                ShardId=described["Shards"][0]["ShardId"],
                ShardIteratorType="TRIM_HORIZON",
            )["ShardIterator"]
        records: list[Record] = []
        while True:
            page = self.streams.get_records(ShardIterator=self._iterator)
            self._iterator = page["NextShardIterator"]
            if not page["Records"]:
                return records
            for each in page["Records"]:
                plain = json.loads(json.dumps(each, default=_plain))
                records.append({**plain, "eventSourceARN": arn})

    @cached_property
    def _delivery_trigger(self) -> dict[str, Any]:
        (trigger,) = [
            each["Properties"]
            for each in functions()["DeliverNotification"]["Events"].values()
            if each["Type"] == "SQS"
        ]
        return dict(trigger)

    def receive(self) -> Record:
        """A batch of the queue of deliveries, as Lambda shows it to the function."""
        url = self.output("DeliveriesQueueUrl")
        return {"Records": self._receive(url, self._delivery_trigger["BatchSize"])}

    def callbacks(self, *events: Record) -> Record:
        """Put events into the queue `Callbacks`, and take them out as Lambda shows them."""
        url = str(self.value({"Ref": "Callbacks"}))
        for event in events:
            self.sqs.send_message(QueueUrl=url, MessageBody=json.dumps(event))
        return {"Records": self._receive(url)}

    def settle(self, event: Record, result: Mapping[str, Any] | None) -> None:
        """Do what Lambda does after an invocation: delete what has not been reported as failed."""
        failed = {each["itemIdentifier"] for each in (result or {})["batchItemFailures"]}
        for record in event["Records"]:
            if record["messageId"] not in failed:
                self.sqs.delete_message(
                    QueueUrl=self.output("DeliveriesQueueUrl"),
                    ReceiptHandle=record["receiptHandle"],
                )

    def _receive(self, url: str, count: int = SQS_BATCH) -> list[Record]:
        answer = self.sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=count,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        return [
            {
                "messageId": each["MessageId"],
                "receiptHandle": each["ReceiptHandle"],
                "body": each["Body"],
                "attributes": each["Attributes"],
                "messageAttributes": {
                    name: {"stringValue": value["StringValue"], "dataType": value["DataType"]}
                    for name, value in each.get("MessageAttributes", {}).items()
                },
                "md5OfBody": each["MD5OfBody"],
                "eventSource": "aws:sqs",
                "eventSourceARN": self._queue_arn(url),
                "awsRegion": REGION,
            }
            for each in answer.get("Messages", [])
        ]


def _plain(value: object) -> object:
    """What is no JSON, as Lambda shows it."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return value.timestamp()
    raise TypeError(f"{value!r}")


# --- one maker for each type of resource: returns `Ref` (None) and attributes ---------------------


def _table(stack: Stack, name: str, properties: dict[str, Any]) -> dict[str | None, str]:
    given = dict(properties)
    table = f"{STACK_NAME}-{name}-{uuid4().hex[:12].upper()}"
    extra: dict[str, Any] = {}
    if "StreamSpecification" in given:
        extra["StreamSpecification"] = {"StreamEnabled": True, **given.pop("StreamSpecification")}
    if "SSESpecification" in given:
        extra["SSESpecification"] = {"Enabled": given.pop("SSESpecification")["SSEEnabled"]}
    recovery = given.pop("PointInTimeRecoverySpecification", None)
    time_to_live = given.pop("TimeToLiveSpecification", None)
    answer = stack.dynamodb.create_table(TableName=table, **given, **extra)["TableDescription"]
    if recovery:
        stack.dynamodb.update_continuous_backups(
            TableName=table, PointInTimeRecoverySpecification=recovery
        )
    if time_to_live:
        stack.dynamodb.update_time_to_live(TableName=table, TimeToLiveSpecification=time_to_live)
    return {
        None: table,
        "Arn": answer["TableArn"],
        "StreamArn": answer.get("LatestStreamArn", ""),
    }


def _queue(stack: Stack, name: str, properties: dict[str, Any]) -> dict[str | None, str]:
    fifo = ".fifo" if properties.get("FifoQueue") else ""
    queue = f"{STACK_NAME}-{name}-{uuid4().hex[:12].upper()}{fifo}"
    attributes: Any = {
        key: json.dumps(value) if not isinstance(value, str) else value
        for key, value in properties.items()
    }
    url = stack.sqs.create_queue(QueueName=queue, Attributes=attributes)["QueueUrl"]
    return {None: url, "Arn": stack._queue_arn(url), "QueueName": queue}


def _bus(stack: Stack, _name: str, properties: dict[str, Any]) -> dict[str | None, str]:
    answer = stack.events.create_event_bus(**properties)
    return {None: properties["Name"], "Arn": answer["EventBusArn"]}


def _secret(stack: Stack, name: str, properties: dict[str, Any]) -> dict[str | None, str]:
    given = dict(properties)
    password = stack.secrets.get_random_password(**given.pop("GenerateSecretString"))
    answer = stack.secrets.create_secret(
        Name=f"{name}-{uuid4().hex[:12]}", SecretString=password["RandomPassword"], **given
    )
    return {None: answer["ARN"], "Id": answer["ARN"]}


def _pretend(_stack: Stack, name: str, _properties: dict[str, Any]) -> dict[str | None, str]:
    """What is not needed here, but referred to."""
    return {None: name, "Arn": f"arn:aws:x:::{name}"}


_MAKERS: dict[str, Callable[[Stack, str, dict[str, Any]], dict[str | None, str]]] = {
    "AWS::DynamoDB::Table": _table,
    "AWS::SQS::Queue": _queue,
    "AWS::Events::EventBus": _bus,
    "AWS::SecretsManager::Secret": _secret,
}


def bodies(records: Sequence[Record]) -> list[dict[str, Any]]:
    """The bodies of messages."""
    return [json.loads(each["body"]) for each in records]

"""Every function may do what it needs, and not what it doesn't: its own role, asked for real."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import botocore.session
import pytest
from boto3 import Session
from botocore.config import Config
from botocore.exceptions import ClientError

from fl_notifications_cli.stack import Stack, new_client
from tests.e2e.pipeline.kit import eventually, function_name, item_of, some_uuid

type Clients = Callable[[str], Any]

FUNCTIONS: Final = (
    "BuildNotifications",
    "DeliverNotification",
    "Mailbox",
    "Sweep",
    "CallbackSuccess",
    "CallbackFailure",
)


@pytest.fixture(scope="module")
def sessions(stack: Stack) -> Iterator[Mapping[str, Clients]]:
    """Clients with the role of each function.

    Only Lambda may assume these roles: for as long as these tests last, the tests may too. What a
    role allows is not touched.
    """
    iam = new_client("iam", stack.region, stack.endpoint_url)
    sts = new_client("sts", stack.region, stack.endpoint_url)
    caller = sts.get_caller_identity()
    account = ":".join((*caller["Arn"].split(":")[:2], "iam:", caller["Account"], "root"))
    may_be_assumed = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": account}, "Action": "sts:AssumeRole"}
        ],
    }
    trusts: dict[str, str] = {}
    found: dict[str, Clients] = {}
    try:
        for function in FUNCTIONS:
            arn = stack.client("lambda").get_function_configuration(
                FunctionName=function_name(stack, function)
            )["Role"]
            name = arn.rpartition("/")[2]
            trusts[name] = json.dumps(
                iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
            )
            iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(may_be_assumed))
            found[function] = _clients(stack, _assume(sts, arn))
        yield found
    finally:
        for name, document in trusts.items():
            iam.update_assume_role_policy(RoleName=name, PolicyDocument=document)


def _assume(sts: Any, role: str) -> Mapping[str, str]:
    """Assume a role, as soon as AWS has heard everywhere that this is allowed."""

    def attempt() -> Mapping[str, str] | None:
        try:
            given: Mapping[str, str] = sts.assume_role(RoleArn=role, RoleSessionName="test")[
                "Credentials"
            ]
        except sts.exceptions.ClientError:
            return None
        return given

    credentials = eventually(attempt, bool, f"may assume {role}")
    assert credentials is not None
    return credentials


def _clients(stack: Stack, credentials: Mapping[str, str]) -> Clients:
    # Nothing of the user's own AWS settings.
    core = botocore.session.Session(
        session_vars={
            "profile": (None, [], None, None),
            "config_file": (None, None, "/dev/null", None),
            "credentials_file": (None, None, "/dev/null", None),
        }
    )
    session = Session(
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
        region_name=stack.region,
        botocore_session=core,
    )
    config = Config(proxies={}, retries={"total_max_attempts": 1})

    def client(service: str) -> Any:
        return session.client(
            service,  # type: ignore[call-overload]  # any service's name
            endpoint_url=stack.endpoint_url,
            config=config,
        )

    return client


class Calls:
    """Calls that a function may make or not."""

    def __init__(self, stack: Stack, clients: Clients) -> None:
        self._stack = stack
        self._clients = clients
        self._key = item_of({"training_uuid": some_uuid(), "entity": "TRAINING"})

    def read_training(self) -> None:
        self._clients("dynamodb").get_item(TableName=self._trainings, Key=self._key)

    def read_trainings_in_a_batch(self) -> None:
        self._clients("dynamodb").batch_get_item(
            RequestItems={self._trainings: {"Keys": [self._key]}}
        )

    def write_training(self) -> None:
        self._clients("dynamodb").put_item(TableName=self._trainings, Item=self._key)

    def update_training(self) -> None:
        self._clients("dynamodb").update_item(
            TableName=self._trainings,
            Key=self._key,
            UpdateExpression="SET #state = :state",
            ConditionExpression="attribute_exists(entity)",
            ExpressionAttributeNames={"#state": "state"},
            ExpressionAttributeValues=item_of({":state": "ERROR"}),
        )

    def delete_participant(self) -> None:
        self._clients("dynamodb").delete_item(TableName=self._trainings, Key=self._key)

    def scan_trainings(self) -> None:
        self._clients("dynamodb").scan(TableName=self._trainings, Limit=1)

    def write_ledger(self) -> None:
        self._clients("dynamodb").batch_write_item(
            RequestItems={
                self._stack.output("LedgerTable"): [
                    {"PutRequest": {"Item": item_of({"notification_id": some_uuid()})}}
                ]
            }
        )

    def read_mailbox(self) -> None:
        self._clients("dynamodb").query(
            TableName=self._stack.output("WaitingTable"),
            KeyConditionExpression="#owner = :owner",
            ExpressionAttributeNames={"#owner": "owner"},
            ExpressionAttributeValues=item_of({":owner": f"MAILBOX#{some_uuid()}"}),
        )

    def delete_from_mailbox(self) -> None:
        key = item_of({"owner": f"MAILBOX#{some_uuid()}", "what": "-#0"})
        self._clients("dynamodb").batch_write_item(
            RequestItems={self._stack.output("WaitingTable"): [{"DeleteRequest": {"Key": key}}]}
        )

    def delete_from_ledger(self) -> None:
        self._clients("dynamodb").delete_item(
            TableName=self._stack.output("LedgerTable"),
            Key=item_of({"notification_id": some_uuid()}),
        )

    def enqueue_delivery(self) -> None:
        self._clients("sqs").send_message(
            QueueUrl=self._stack.output("DeliveriesQueueUrl"),
            MessageBody="from a test of roles",
            MessageGroupId=some_uuid(),
            MessageDeduplicationId=some_uuid(),
        )

    def take_delivery(self) -> None:
        self._clients("sqs").receive_message(
            QueueUrl=self._stack.output("DeliveriesQueueUrl"), VisibilityTimeout=0
        )

    def send_to_stream_dlq(self) -> None:
        self._clients("sqs").send_message(
            QueueUrl=self._stack.output("StreamDlqUrl"), MessageBody="from a test of roles"
        )

    def send_to_callbacks_dlq(self) -> None:
        self._clients("sqs").send_message(
            QueueUrl=self._stack.output("CallbacksDlqUrl"), MessageBody="from a test of roles"
        )

    def tell_outcome(self) -> None:
        answer = self._clients("events").put_events(
            Entries=[
                {
                    "EventBusName": self._stack.output("OutcomesBus"),
                    "Source": "test.of.roles",
                    "DetailType": "Nothing",
                    "Detail": "{}",
                }
            ]
        )
        for entry in answer["Entries"]:
            if "ErrorCode" in entry:
                raise ClientError({"Error": {"Code": entry["ErrorCode"]}}, "PutEvents")

    def read_secret(self) -> None:
        self._clients("secretsmanager").get_secret_value(
            SecretId=self._stack.output("SigningSecretArn")
        )

    def change_secret(self) -> None:
        self._clients("secretsmanager").put_secret_value(
            SecretId=self._stack.output("SigningSecretArn"), SecretString="mine"
        )

    def invoke(self) -> None:
        self._clients("lambda").invoke(
            FunctionName=function_name(self._stack, "CallbackSuccess"),
            InvocationType="DryRun",
        )

    @property
    def _trainings(self) -> str:
        return self._stack.output("TrainingsTable")


type Call = Callable[[Calls], None]

NEEDED: Final[Mapping[str, set[Call]]] = {
    "BuildNotifications": {
        Calls.read_training,
        Calls.read_trainings_in_a_batch,
        Calls.send_to_stream_dlq,
        Calls.tell_outcome,
    },
    "DeliverNotification": {
        Calls.read_trainings_in_a_batch,
        Calls.write_ledger,
        Calls.tell_outcome,
        Calls.read_secret,
        Calls.take_delivery,
    },
    "Mailbox": {
        Calls.read_trainings_in_a_batch,
        Calls.read_mailbox,
        Calls.delete_from_mailbox,
        Calls.tell_outcome,
        Calls.read_secret,
    },
    "Sweep": {
        Calls.read_training,
        Calls.read_trainings_in_a_batch,
        Calls.delete_from_mailbox,
        Calls.tell_outcome,
    },
    "CallbackSuccess": {Calls.send_to_callbacks_dlq},
    "CallbackFailure": {
        Calls.read_trainings_in_a_batch,
        Calls.delete_participant,
        Calls.send_to_callbacks_dlq,
    },
}
NOT_NEEDED: Final[Mapping[str, set[Call]]] = {
    "BuildNotifications": {
        Calls.write_training,
        Calls.update_training,
        Calls.delete_participant,
        Calls.scan_trainings,
        Calls.write_ledger,
        Calls.take_delivery,
        Calls.read_secret,
        Calls.invoke,
    },
    "DeliverNotification": {
        Calls.read_mailbox,
        Calls.write_training,
        Calls.update_training,
        Calls.delete_participant,
        Calls.scan_trainings,
        Calls.delete_from_ledger,
        Calls.enqueue_delivery,
        Calls.change_secret,
        Calls.invoke,
    },
    "Mailbox": {
        Calls.read_training,
        Calls.write_training,
        Calls.update_training,
        Calls.delete_participant,
        Calls.write_ledger,
        Calls.delete_from_ledger,
        Calls.enqueue_delivery,
        Calls.take_delivery,
        Calls.change_secret,
        Calls.invoke,
    },
    "Sweep": {
        Calls.write_training,
        Calls.update_training,
        Calls.delete_participant,
        Calls.read_mailbox,
        Calls.write_ledger,
        Calls.delete_from_ledger,
        Calls.enqueue_delivery,
        Calls.take_delivery,
        Calls.read_secret,
        Calls.invoke,
    },
    "CallbackSuccess": {
        Calls.read_training,
        Calls.read_trainings_in_a_batch,
        Calls.update_training,
        Calls.delete_participant,
        Calls.write_ledger,
        Calls.enqueue_delivery,
        Calls.tell_outcome,
        Calls.read_secret,
    },
    "CallbackFailure": {
        Calls.read_training,
        Calls.write_training,
        Calls.write_ledger,
        Calls.take_delivery,
        Calls.scan_trainings,
        Calls.delete_from_ledger,
        Calls.enqueue_delivery,
        Calls.tell_outcome,
        Calls.read_secret,
        Calls.invoke,
    },
}


def _name(call: Call) -> str:
    return str(getattr(call, "__name__", call))


def _cases(table: Mapping[str, set[Call]]) -> list[Any]:
    return [
        pytest.param(function, call, id=f"{function} {_name(call)}")
        for function, calls in table.items()
        for call in sorted(calls, key=_name)
    ]


@pytest.mark.parametrize(("function", "call"), _cases(NEEDED))
def test_a_function_may(
    function: str, call: Call, sessions: Mapping[str, Clients], stack: Stack
) -> None:
    call(Calls(stack, sessions[function]))


@pytest.mark.parametrize(("function", "call"), _cases(NOT_NEEDED))
def test_a_function_may_not(
    function: str, call: Call, sessions: Mapping[str, Clients], stack: Stack
) -> None:
    with pytest.raises(ClientError) as refusal:
        call(Calls(stack, sessions[function]))

    assert "AccessDenied" in refusal.value.response["Error"]["Code"]

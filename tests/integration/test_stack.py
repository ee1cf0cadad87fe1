"""The resources on the simulated AWS are those of the template, property by property."""

import json

import pytest
from botocore.exceptions import ParamValidationError

from tests.cloudformation import overrides, template
from tests.integration.stack import Stack, _table


def test_the_trainings_table_has_a_stream_with_both_images_and_can_be_restored(
    stack: Stack,
) -> None:
    table = stack.dynamodb.describe_table(TableName=stack.trainings_table)["Table"]
    assert table["StreamSpecification"] == {
        "StreamEnabled": True,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    }
    backups = stack.dynamodb.describe_continuous_backups(TableName=stack.trainings_table)
    recovery = backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
    assert recovery["PointInTimeRecoveryStatus"] == "ENABLED"


def test_the_ledger_forgets(stack: Stack) -> None:
    answer = stack.dynamodb.describe_time_to_live(TableName=stack.ledger_table)
    assert answer["TimeToLiveDescription"] == {
        "TimeToLiveStatus": "ENABLED",
        "AttributeName": "expires_at",
    }


def test_the_deliveries_queue_has_the_visibility_timeout_of_the_local_stack(stack: Stack) -> None:
    url = stack.output("DeliveriesQueueUrl")
    attributes = stack.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert attributes["FifoQueue"] == "true"
    assert attributes["VisibilityTimeout"] == overrides("local")["DeliveryVisibilityTimeoutSeconds"]
    redrive = json.loads(attributes["RedrivePolicy"])
    properties = template()["Resources"]["Deliveries"]["Properties"]
    assert redrive["maxReceiveCount"] == properties["RedrivePolicy"]["maxReceiveCount"]
    assert redrive["deadLetterTargetArn"].endswith(".fifo")


def test_the_secret_is_long_and_without_punctuation(stack: Stack) -> None:
    arn = stack.output("SigningSecretArn")
    secret = stack.secrets.get_secret_value(SecretId=arn)["SecretString"]
    assert len(secret) == 64
    assert secret.isalnum()


def test_the_environment_names_the_resources_and_the_parameters(stack: Stack) -> None:
    environment = stack.environment("DeliverNotification")
    assert environment["TRAININGS_TABLE"] == stack.trainings_table
    assert environment["DELIVERIES_QUEUE_URL"] == stack.output("DeliveriesQueueUrl")
    assert environment["MAX_ATTEMPTS"] == "6"
    assert environment["ALLOW_PLAIN_HTTP"] == "true"


def test_a_property_that_is_not_known_here_is_no_secret(stack: Stack) -> None:
    properties = template()["Resources"]["Ledger"]["Properties"]
    with pytest.raises(ParamValidationError, match="SomethingNew"):
        _table(stack, "Ledger", {**properties, "SomethingNew": True})

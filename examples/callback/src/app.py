"""Keeps a list of who has rejected or missed which notification."""

import json
import os
from collections.abc import Mapping
from typing import Any

import boto3

dynamodb = boto3.client("dynamodb")


def lambda_handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Keep each outcome of a batch; those that could not be kept stay in the queue."""
    failed = []
    for record in event["Records"]:
        try:
            dynamodb.put_item(
                TableName=os.environ["REJECTIONS_TABLE"], Item=item(json.loads(record["body"]))
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, the other records go on
            print(f"not kept, message {record['messageId']}: {type(error).__name__}")
            failed.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failed}


def item(event: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of an outcome event.

    The same event, told twice, makes the same item: outcomes may repeat, so a callback has to be
    idempotent.
    """
    outcome = event["detail"]
    return {
        "receiver_uuid": {"S": outcome["receiver_uuid"]},
        "notification_id": {"S": outcome["notification_id"]},
        "notification_type": {"S": outcome["notification_type"]},
        "training_uuid": {"S": outcome["training_uuid"] or "-"},
        "reason": {"S": outcome["reason"] or "-"},
        "at": {"S": outcome["finished_at"]},
    }

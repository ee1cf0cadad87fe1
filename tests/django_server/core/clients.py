"""Where the tests' DynamoDB is."""

import json
import os
from typing import Any

import boto3

given: dict[str, Any] = {}


def dynamodb() -> Any:
    """What a test has given, or what the environment says, for workers of their own."""
    if "dynamodb" in given:
        return given["dynamodb"]
    return boto3.client("dynamodb", **json.loads(os.environ["DJANGO_SERVER_DYNAMODB"]))

"""Signed requests to the mailbox, and rounds with a deadline."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fl_notifications.deliveries.signing import receiver_secret
from fl_notifications.outcomes.waiting import WaitingRound
from fl_notifications.trainings.model import OnDeadline
from fl_notifications.webhooks import signature_headers
from tests.integration.stack import Stack
from tests.made import NOW, TRAINING_UUID, uuid_of


def secret_of(stack: Stack, name: str = "one") -> str:
    """A receiver's secret."""
    answer = stack.secrets.get_secret_value(SecretId=stack.output("SigningSecretArn"))
    return receiver_secret(answer["SecretString"], uuid_of(name))


def event_of(
    body: str, headers: Mapping[str, str], *, method: str = "POST", path: str = "/"
) -> dict[str, Any]:
    """A request as a function URL hands it over."""
    return {
        "version": "2.0",
        "rawPath": path,
        "headers": dict(headers),
        "requestContext": {"http": {"method": method, "path": path}},
        "body": body,
        "isBase64Encoded": False,
    }


def signed(
    stack: Stack, body: str, *, name: str = "one", at: datetime | None = None
) -> dict[str, Any]:
    """The same, signed by a receiver."""
    headers = signature_headers([secret_of(stack, name)], "req_1", at or datetime.now(UTC), body)
    return event_of(body, headers)


def signed_request(
    stack: Stack, name: str, acknowledge: Sequence[Mapping[str, str]] = ()
) -> dict[str, Any]:
    """A request that acknowledges, and fetches."""
    body = json.dumps({"receiver": uuid_of(name), "acknowledge": list(acknowledge)})
    return signed(stack, body, name=name)


def put_round(stack: Stack, **values: Any) -> None:
    """A round that began long ago."""
    given: dict[str, Any] = {
        "training_uuid": TRAINING_UUID,
        "state": "ONGOING",
        "round": 3,
        "kind": "UPDATE_ROUND_START",
        "run": "7",
        "source": "12",
        "began_at": NOW,
        "policy": OnDeadline.REMOVE_UNREPORTED,
        "deadline_seconds": 60,
    } | values
    table = stack.output("WaitingTable")
    stack.dynamodb.put_item(TableName=table, Item=WaitingRound(**given).to_item())

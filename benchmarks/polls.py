"""In a process of its own: the CPU time of polls of a mailbox, with boto3 and without a network.

    python -m benchmarks.polls POLLS RESULT

Answers of AWS are there at once, in place of the network's; all else is as in Lambda: signatures,
botocore's requests and answers, log lines.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.awsrequest import AWSResponse, HTTPHeaders

from fl_notifications.aws.clients import CLIENT_CONFIG
from fl_notifications.deliveries.signing import receiver_secret
from fl_notifications.notifications.notification import TrainingRoundStartNotification
from fl_notifications.outcomes.waiting import ReceiverSeen, WaitingNotification, mailbox_owner
from fl_notifications.telemetry.journal import Journal
from fl_notifications.telemetry.logger import make_logger
from fl_notifications.telemetry.metrics import Tally
from fl_notifications.trainings.model import Participant, Receiver, Training, TrainingState
from fl_notifications.webhooks import signature_headers
from functions.mailbox.bootstrap import Clients, build
from functions.mailbox.mailbox import Mailbox
from functions.mailbox.settings import Settings

MASTER: Final = "a master secret"
RECEIVER: Final = "a3c5e7f9-1b2d-4f60-8a7c-9e0f1d2c3b4a"
TRAINING: Final = "6b1e6f1c-0f3a-4c57-9d7b-2f6a3e0c9a11"
WARM_UP: Final = 50


class Aws:
    """Has so many notifications in the one mailbox, and takes everything."""

    def __init__(self, waiting: int) -> None:
        seen = ReceiverSeen(datetime.now(UTC), datetime.now(UTC)).to_item(mailbox_owner(RECEIVER))
        self.items = [seen, *(each.to_item() for each in _waiting(waiting))]

    def answer(self, request: Any, **_: Any) -> AWSResponse:
        """Answer a prepared request in place of the network."""
        target = request.headers["X-Amz-Target"]
        operation = (target.decode() if isinstance(target, bytes) else target).rpartition(".")[2]
        body = json.dumps(getattr(self, operation)(json.loads(request.body)))
        return AWSResponse(request.url, 200, HTTPHeaders(), _Raw(body.encode()))

    def GetSecretValue(self, given: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802 - AWS's
        """The master secret, which is its own predecessor."""
        del given
        return {"SecretString": MASTER}

    def Query(self, given: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802 - AWS's
        """What waits."""
        del given
        return {"Items": self.items}

    def BatchGetItem(self, given: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802 - AWS's
        """The training, in its round, and the participant."""
        found = {
            "training_uuid": {"S": TRAINING},
            "entity": {"S": "TRAINING"},
            "state": {"S": "ONGOING"},
            "round": {"N": "3"},
        }
        member = {"training_uuid": {"S": TRAINING}, "entity": {"S": f"PARTICIPANT#{RECEIVER}"}}
        member["message_endpoint"] = {"S": "mailbox:"}
        tables = dict(given["RequestItems"])
        return {"Responses": {t: [found, member] if t == "trainings" else [] for t in tables}}

    def UpdateItem(self, given: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802 - AWS's
        """Accept."""
        del given
        return {}

    def BatchWriteItem(self, given: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802 - AWS's
        """Accept."""
        del given
        return {}

    def PutEvents(self, given: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802 - AWS's
        """Accept."""
        return {"FailedEntryCount": 0, "Entries": [{"EventId": "1"} for _ in given["Entries"]]}


class _Raw(BytesIO):
    """As much of urllib3's response as botocore reads."""

    def stream(self, **_: Any) -> Any:
        yield self.read()


def _waiting(number: int) -> list[WaitingNotification]:
    now = datetime.now(UTC)
    return [mailbox_notification(f"n{each}", str(each), RECEIVER, now) for each in range(number)]


def mailbox_notification(
    notification_id: str, sequence_number: str, receiver: str, at: datetime
) -> WaitingNotification:
    """A notification of a round, as it waits in a receiver's mailbox for an hour."""
    training = Training(
        training_uuid=TRAINING,
        state=TrainingState.ONGOING,
        round=3,
        model_uuid=TRAINING,
        actor=Receiver(uuid=RECEIVER, message_endpoint="mailbox:"),
    )
    participant = Participant(uuid=receiver, message_endpoint="mailbox:")
    notification = TrainingRoundStartNotification.from_training(training, [participant])
    (delivery,) = notification.deliveries(source="1", created_at=at)
    return WaitingNotification.deposited(
        delivery.model_copy(update={"notification_id": notification_id}),
        sequence_number,
        at=at,
        deadline=timedelta(hours=1),
    )


def mailbox(aws: Aws) -> Mailbox:
    """The function's logic, as its app makes it."""
    session = boto3.Session("testing", "testing", region_name="eu-central-1")
    names = ("dynamodb", "events", "secretsmanager")
    made: dict[str, Any] = {name: session.client(name, config=CLIENT_CONFIG) for name in names}  # type: ignore[call-overload] # any service's name
    for client in made.values():
        client.meta.events.register("before-send.*.*", aws.answer)
    settings = Settings(
        stack_name="benchmark",
        log_level="INFO",
        trainings_table="trainings",
        ledger_table="ledger",
        waiting_table="waiting",
        outcomes_bus="outcomes",
        signing_secret_arn="arn",  # noqa: S106 - a name
        mailbox_poll_min_seconds=2,
        mailbox_poll_max_seconds=60,
    )
    journal = Journal(make_logger("mailbox"), Tally("benchmark"))
    return build(settings, Clients(**made), journal)


def milliseconds(waiting: int, acknowledged: int, polls: int) -> float:
    """CPU milliseconds of a poll that finds, and acknowledges, so many."""
    box = mailbox(Aws(waiting))
    said = [{"id": f"n{each}", "outcome": "accepted"} for each in range(acknowledged)]
    body = json.dumps({"receiver": RECEIVER, "acknowledge": said})
    secret = receiver_secret(MASTER, RECEIVER)
    event = {
        "rawPath": "/",
        "requestContext": {"http": {"method": "POST"}},
        "headers": signature_headers([secret], "req_1", datetime.now(UTC), body),
        "body": body,
    }
    for _ in range(WARM_UP):
        answer = box.answer(event)
        if answer["statusCode"] != 200:
            raise RuntimeError(answer["body"])
    started = time.process_time()
    for _ in range(polls):
        box.answer(event)
    return (time.process_time() - started) / polls * 1000


def main(polls: int) -> dict[str, float]:
    """Measure the three kinds of polls."""
    # Log lines and metrics cost their time, but are not this process's result.
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    return {
        "empty": milliseconds(0, 0, polls),
        "ten": milliseconds(10, 0, polls),
        "acknowledging ten": milliseconds(10, 10, polls),
    }


if __name__ == "__main__":
    result = main(int(sys.argv[1]))
    Path(sys.argv[-1]).write_text(json.dumps(result))

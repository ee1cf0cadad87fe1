"""What is known of the two trainings, from outside: receivers, tables and queues."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fl_notifications.server.repository import TrainingRepository
from fl_notifications.trainings.model import Training
from fl_notifications_cli.demo.cast import Production, Role
from fl_notifications_cli.stack import Stack

if TYPE_CHECKING:
    from mypy_boto3_sqs.literals import QueueAttributeNameType

DEAD_LETTER_QUEUES = ("DeliveriesDlqUrl", "FanOutsDlqUrl", "StreamDlqUrl", "CallbacksDlqUrl")

_COUNTS: tuple["QueueAttributeNameType", ...] = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """What the ledger says of a notification.

    Attributes:
        training_uuid: of which training.
        receiver_uuid: to whom.
        kind: the notification's type.
        attempts: how many POSTs were tried.
        outcome: how it ended; None while it hasn't.
        reason: of the last attempt that failed.
    """

    training_uuid: str
    receiver_uuid: str
    kind: str
    attempts: int
    outcome: str | None
    reason: str | None


class Record:
    """Looks into the stack."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.trainings = TrainingRepository(
            stack.client("dynamodb"), stack.output("TrainingsTable")
        )
        # Of other trainings: a stack that was running may hold a retry back for 15 minutes.
        self._waiting_before = self._count("DeliveriesQueueUrl")

    def training(self, production: Production) -> Training:
        """Return the training as it is now."""
        return self.trainings.get(production.training_uuid)

    def participants(self, production: Production) -> set[str]:
        """Return the uuids of those who are participants now."""
        return {each.uuid for each in self.trainings.participants(production.training_uuid)}

    def ledger(self, productions: Sequence[Production]) -> list[Entry]:
        """Return all entries about these trainings."""
        pages = (
            self._stack.client("dynamodb")
            .get_paginator("scan")
            .paginate(
                TableName=self._stack.output("LedgerTable"),
                FilterExpression="training_uuid IN (:one, :other)",
                ExpressionAttributeValues={
                    ":one": {"S": productions[0].training_uuid},
                    ":other": {"S": productions[-1].training_uuid},
                },
            )
        )
        return [
            Entry(
                training_uuid=item["training_uuid"]["S"],
                receiver_uuid=item["receiver_uuid"]["S"],
                kind=item["notification_type"]["S"],
                attempts=int(item["attempts"]["N"]),
                outcome=item.get("outcome", {}).get("S"),
                reason=item.get("reason", {}).get("S"),
            )
            for page in pages
            for item in page["Items"]
            if "attempts" in item  # the ledger has notes of its own too
        ]

    def waiting(self) -> int:
        """Return how many more messages than before are in the queue, visible or not."""
        return max(0, self._count("DeliveriesQueueUrl") - self._waiting_before)

    def dead_letters(self) -> int:
        """Return how many messages are in the dead-letter queues."""
        return sum(map(self._count, DEAD_LETTER_QUEUES))

    def _count(self, queue: str) -> int:
        said = self._stack.client("sqs").get_queue_attributes(
            QueueUrl=self._stack.output(queue), AttributeNames=list(_COUNTS)
        )["Attributes"]
        return sum(int(said[count]) for count in _COUNTS)

    def master_secret(self) -> str:
        """Return the secret that the receivers' secrets are derived from."""
        return self._stack.client("secretsmanager").get_secret_value(
            SecretId=self._stack.output("SigningSecretArn")
        )["SecretString"]


def accepted(role: Role) -> list[str]:
    """Return what a receiver has accepted, in the order of acceptance."""
    return [
        request.label
        for request, answer in role.participant.exchanges
        if answer.status is not None and 200 <= answer.status < 300  # noqa: PLR2004  # 2xx
    ]


def told(role: Role) -> list[str]:
    """Return what a receiver was told, in the order of the first attempts."""
    seen: dict[str, str] = {}
    for request in role.participant.requests:
        seen.setdefault(request.webhook_id, request.label)
    return list(seen.values())


def attempts(role: Role) -> list[int]:
    """Return how often each notification reached a receiver."""
    counts: dict[str, int] = {}
    for request in role.participant.requests:
        counts[request.webhook_id] = counts.get(request.webhook_id, 0) + 1
    return list(counts.values())


def about(entries: Iterable[Entry], production: Production, role: Role) -> list[Entry]:
    """Return the ledger's entries about one receiver in one training."""
    return [
        entry
        for entry in entries
        if entry.training_uuid == production.training_uuid
        and entry.receiver_uuid == role.participant.uuid
    ]

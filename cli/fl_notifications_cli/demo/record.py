"""What is known of the trainings, from outside: receivers, tables, queues and the log."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fl_notifications.server.repository import TrainingNotFoundError, TrainingRepository
from fl_notifications.trainings.model import Training
from fl_notifications_cli.demo.cast import Production, Role
from fl_notifications_cli.stack import Stack
from fl_notifications_cli.trace import read_stories
from fl_notifications_cli.tracing.log_reader import LogReader
from fl_notifications_cli.tracing.steps import Wanted
from fl_notifications_cli.tracing.story import TrainingStory

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
        named = {f":t{i}": {"S": each.training_uuid} for i, each in enumerate(productions)}
        pages = (
            self._stack.client("dynamodb")
            .get_paginator("scan")
            .paginate(
                TableName=self._stack.output("LedgerTable"),
                FilterExpression=f"training_uuid IN ({', '.join(named)})",
                ExpressionAttributeValues=named,
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

    def deposited(self, role: Role) -> list[str]:
        """Return type and round of what waits in a receiver's mailbox."""
        found = self._stack.client("dynamodb").query(
            TableName=self._stack.output("WaitingTable"),
            KeyConditionExpression="#owner = :owner",
            ExpressionAttributeNames={"#owner": "owner"},
            ExpressionAttributeValues={":owner": {"S": f"MAILBOX#{role.participant.uuid}"}},
        )["Items"]
        return [_label(json.loads(each["delivery"]["S"])) for each in found if "delivery" in each]

    def reported(self, production: Production) -> set[str]:
        """Return the uuids of the participants that have reported a round."""
        found = self.trainings.participants(production.training_uuid)
        return {each.uuid for each in found if each.reported}

    def removed(self, production: Production) -> dict[str, str]:
        """Return who was removed, and why."""
        found = self.trainings.removals(production.training_uuid)
        return {each.participant_uuid: each.reason for each in found}

    def left_out(self, production: Production) -> set[str]:
        """Return the uuids of those who are not selected; of nobody if there is no training yet."""
        try:
            selected = self.training(production).selected
        except TrainingNotFoundError:
            return set()
        everybody = {role.participant.uuid for role in production.roles}
        return set() if selected is None else everybody - selected

    def sweep(self) -> None:
        """Call the function that a rule calls once a minute, so that nobody waits for it."""
        found = self._stack.client("cloudformation").describe_stack_resource(
            StackName=self._stack.name, LogicalResourceId="Sweep"
        )
        name = found["StackResourceDetail"]["PhysicalResourceId"]
        self._stack.client("lambda").invoke(FunctionName=name)

    def stories(self, production: Production) -> list[TrainingStory]:
        """Return what the log says of a training: one story, if it says something."""
        reader = LogReader(self._stack.client("logs"), self._stack.output("LogGroup"))
        return read_stories(reader, Wanted(production.training_uuid))

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


def _label(delivery: Mapping[str, Any]) -> str:
    number = delivery["content"]["body"].get("round")
    kind: str = delivery["notification_type"]
    return kind if number is None else f"{kind} {number}"


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

"""Composition root of CallbackFailure: what its parts are made of, wherever it runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from fl_notifications.callbacks import call_back
from fl_notifications.clock import Clock, SystemClock
from fl_notifications.deliveries.queue import DeadLetterQueue
from fl_notifications.telemetry.journal import Journal
from fl_notifications.trainings.table import TrainingTable
from functions.callback_failure.changes import Changes
from functions.callback_failure.policy import FailureCallback
from functions.callback_failure.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient


@dataclass(frozen=True)
class Clients:
    """The clients of AWS that this function needs."""

    dynamodb: "DynamoDBClient"
    sqs: "SQSClient"


def build(
    settings: Settings, clients: Clients, journal: Journal, *, clock: Clock | None = None
) -> Callable[[Mapping[str, Any]], None]:
    """Build the function's logic: what is to be done with an outcome event.

    Args:
        settings: the function's settings.
        clients: the clients of AWS.
        journal: where the steps are written down.
        clock: the machine's, if not given.
    """
    callback = FailureCallback(
        trainings=TrainingTable(clients.dynamodb, settings.trainings_table),
        changes=Changes(clients.dynamodb, settings.trainings_table, settings.ledger_table),
        clock=clock or SystemClock(),
    )
    return partial(
        call_back,
        callback=callback.apply,
        journal=journal,
        dead_letters=DeadLetterQueue(clients.sqs, settings.callbacks_dlq_url),
    )

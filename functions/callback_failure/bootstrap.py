"""Composition root of CallbackFailure: what its parts are made of, wherever it runs."""

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from fl_notifications.aws.batches import Sleep
from fl_notifications.callbacks import call_back, call_back_on_change
from fl_notifications.clock import Clock, SystemClock
from fl_notifications.deliveries.queue import DeadLetterQueue, DeliveryQueue
from fl_notifications.notifications.notification import CALLBACK_FAILURE
from fl_notifications.outcomes.changes import ENFORCE_QUORUM, TRAINING_OVERDUE_CALLBACK
from fl_notifications.outcomes.ledger import Ledger
from fl_notifications.telemetry.journal import Journal
from functions.callback_failure.changes import Changes
from functions.callback_failure.failure import FailureCallback
from functions.callback_failure.options import OptionsReader
from functions.callback_failure.overdue import OverdueCallback
from functions.callback_failure.participants import ParticipantReader
from functions.callback_failure.quorum import QuorumCallback
from functions.callback_failure.settings import Settings
from functions.callback_failure.situation import SituationReader
from functions.callback_failure.worker import Worker

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient


@dataclass(frozen=True)
class Clients:
    """The clients of AWS that this function needs."""

    dynamodb: "DynamoDBClient"
    sqs: "SQSClient"


def build(
    settings: Settings,
    clients: Clients,
    journal: Journal,
    *,
    clock: Clock | None = None,
    sleep: Sleep = time.sleep,
) -> Worker:
    """Build the function's logic.

    Args:
        settings: the function's settings.
        clients: the clients of AWS.
        journal: where the steps are written down.
        clock: the machine's, if not given.
        sleep: waits between two tries of a call, in seconds.
    """
    clock = clock or SystemClock()
    tables = (settings.trainings_table, settings.ledger_table)
    situations = SituationReader(clients.dynamodb, *tables, sleep=sleep)
    changes = Changes(clients.dynamodb, *tables, sleep=sleep)
    options = OptionsReader(journal)
    participants = ParticipantReader(clients.dynamodb, settings.trainings_table, sleep=sleep)
    dead_letters = DeadLetterQueue(clients.sqs, settings.callbacks_dlq_url)
    on_outcome = partial(call_back, journal=journal, dead_letters=dead_letters)
    on_change = partial(call_back_on_change, journal=journal, dead_letters=dead_letters)
    failure = FailureCallback(situations, changes, options, clock)
    quorum = QuorumCallback(situations, participants, changes, options)
    ledger = Ledger(clients.dynamodb, settings.ledger_table, sleep=sleep)
    overdue = OverdueCallback(situations, participants, ledger, changes, options, clock)
    return Worker(
        callbacks={
            CALLBACK_FAILURE: partial(on_outcome, callback=failure.apply),
            ENFORCE_QUORUM: partial(on_change, callback=quorum.apply),
            TRAINING_OVERDUE_CALLBACK: partial(on_change, callback=overdue.apply),
        },
        queue=DeliveryQueue(clients.sqs, settings.callbacks_queue_url, sleep=sleep),
        dead_letters=dead_letters,
        journal=journal,
        clock=clock,
    )

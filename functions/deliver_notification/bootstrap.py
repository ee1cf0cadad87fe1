"""Composition root of DeliverNotification: what its parts are made of, wherever it runs."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from fl_notifications.aws.batches import Sleep
from fl_notifications.clock import Clock, SystemClock
from fl_notifications.deliveries.queue import DeadLetterQueue, DeliveryQueue
from fl_notifications.deliveries.signing import MasterSecrets
from fl_notifications.outcomes.bus import OutcomeBus
from fl_notifications.outcomes.facts import FactsReader
from fl_notifications.outcomes.ledger import Ledger
from fl_notifications.outcomes.waiting import WaitingTable
from fl_notifications.telemetry.journal import Journal
from functions.deliver_notification.answers import RetryPolicy
from functions.deliver_notification.attempts import Attempter, Posts
from functions.deliver_notification.deliverer import Deliverer
from functions.deliver_notification.deposit import Depositor
from functions.deliver_notification.receipts import Receipts
from functions.deliver_notification.settings import Settings
from functions.deliver_notification.settling import Settler

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient


@dataclass(frozen=True)
class Clients:
    """The clients of AWS that this function needs."""

    dynamodb: "DynamoDBClient"
    sqs: "SQSClient"
    events: "EventBridgeClient"
    secretsmanager: "SecretsManagerClient"


def build(  # noqa: PLR0913 - each is something that differs between Lambda, tests and benchmarks
    settings: Settings,
    clients: Clients,
    journal: Journal,
    new_posts: Callable[[], Posts],
    *,
    trace_header: Callable[[], str | None] = lambda: None,
    traceparent: Callable[[], str | None] = lambda: None,
    clock: Clock | None = None,
    sleep: Sleep = time.sleep,
    jitter: random.Random | None = None,
) -> Deliverer:
    """Build the function's logic.

    Args:
        settings: the function's settings.
        clients: the clients of AWS.
        journal: where the steps are written down.
        new_posts: makes what an invocation makes its POSTs with.
        trace_header: gives X-Ray's header for an event; None if nothing is traced.
        traceparent: gives W3C's header for a receiver; None if nothing is traced.
        clock: the machine's, if not given.
        sleep: waits between two tries of a call, in seconds.
        jitter: spreads retries.
    """
    clock = clock or SystemClock()
    queue = DeliveryQueue(clients.sqs, settings.deliveries_queue_url, sleep=sleep)
    return Deliverer(
        facts=FactsReader(
            clients.dynamodb,
            trainings_table=settings.trainings_table,
            ledger_table=settings.ledger_table,
            sleep=sleep,
        ),
        secrets=MasterSecrets(
            clients.secretsmanager, settings.signing_secret_arn, clock, journal.secret_trouble
        ),
        attempter=Attempter(
            RetryPolicy(settings.max_attempts, settings.retry_backoff_seconds),
            clock,
            jitter or random.Random(),  # noqa: S311 - spreads retries; nothing secret
            traceparent,
        ),
        depositor=Depositor(
            waiting=WaitingTable(clients.dynamodb, settings.waiting_table, sleep=sleep),
            deadline=timedelta(seconds=settings.mailbox_deadline_seconds),
            clock=clock,
            journal=journal,
        ),
        settler=Settler(
            Ledger(clients.dynamodb, settings.ledger_table, sleep=sleep),
            OutcomeBus(
                clients.events, settings.outcomes_bus, trace_header=trace_header, sleep=sleep
            ),
            journal,
        ),
        queue=queue,
        new_receipts=partial(
            Receipts,
            queue,
            DeadLetterQueue(clients.sqs, settings.deliveries_dlq_url),
            journal,
            clock,
            settings.retry_backoff_seconds,
        ),
        request_timeout_seconds=settings.request_timeout_seconds,
        new_posts=new_posts,
        sleep=sleep,
        clock=clock,
        journal=journal,
    )

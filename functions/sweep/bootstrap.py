"""Composition root of Sweep: what its parts are made of, wherever it runs."""

import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fl_notifications.aws.batches import Sleep
from fl_notifications.clock import Clock, SystemClock
from fl_notifications.deliveries.queue import DeadLetterQueue
from fl_notifications.outcomes.bus import OutcomeBus
from fl_notifications.outcomes.conclude import Concluder
from fl_notifications.outcomes.facts import FactsReader
from fl_notifications.outcomes.ledger import Ledger
from fl_notifications.outcomes.waiting import WaitingTable
from fl_notifications.telemetry.journal import Journal
from functions.sweep.notifications import Notifications
from functions.sweep.rounds import Rounds
from functions.sweep.settings import Settings
from functions.sweep.sweeper import Sweeper

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_sqs import SQSClient


@dataclass(frozen=True)
class Clients:
    """The clients of AWS that this function needs; usable from several threads."""

    dynamodb: "DynamoDBClient"
    sqs: "SQSClient"
    events: "EventBridgeClient"


def build(  # noqa: PLR0913 - each is something that differs between Lambda, tests and benchmarks
    settings: Settings,
    clients: Clients,
    journal: Journal,
    *,
    executor: Executor | None = None,
    trace_header: Callable[[], str | None] = lambda: None,
    clock: Clock | None = None,
    sleep: Sleep = time.sleep,
) -> Sweeper:
    """Build the function's logic.

    Args:
        settings: the function's settings.
        clients: the clients of AWS.
        journal: where the steps are written down.
        executor: concludes shards side by side; without one they go one by one.
        trace_header: gives X-Ray's header for an event; None if nothing is traced.
        clock: the machine's, if not given.
        sleep: waits between two tries of a call, in seconds.
    """
    clock = clock or SystemClock()
    waiting = WaitingTable(clients.dynamodb, settings.waiting_table, sleep=sleep)
    bus = OutcomeBus(clients.events, settings.outcomes_bus, trace_header=trace_header, sleep=sleep)
    notifications = Notifications(
        facts=FactsReader(
            clients.dynamodb,
            trainings_table=settings.trainings_table,
            ledger_table=settings.ledger_table,
            sleep=sleep,
        ),
        concluder=Concluder(
            ledger=Ledger(clients.dynamodb, settings.ledger_table, sleep=sleep),
            bus=bus,
            waiting=waiting,
            on_concluded=journal.concluded,
        ),
        waiting=waiting,
        dead_letters=DeadLetterQueue(clients.sqs, settings.deliveries_dlq_url),
        journal=journal,
    )
    rounds = Rounds(
        client=clients.dynamodb,
        trainings_table=settings.trainings_table,
        waiting=waiting,
        bus=bus,
        journal=journal,
    )
    return Sweeper(
        waiting=waiting,
        notifications=notifications,
        rounds=rounds,
        clock=clock,
        journal=journal,
        executor=executor,
    )

"""Composition root of FanOut: what its parts are made of, wherever it runs."""

import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fl_notifications.aws.batches import Sleep
from fl_notifications.clock import Clock, SystemClock
from fl_notifications.deliveries.queue import WINDOW, DeadLetterQueue, DeliveryQueue
from fl_notifications.notifications.announcer import Announcer
from fl_notifications.notifications.dead_letters import DeadLetters
from fl_notifications.outcomes.bus import OutcomeBus
from fl_notifications.telemetry.journal import Journal
from fl_notifications.trainings.table import PAGE_SIZE, TrainingTable
from functions.fan_out.batch import Batches
from functions.fan_out.checkpoints import Checkpoints
from functions.fan_out.segment import Segment
from functions.fan_out.settings import Settings

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
    window: int = WINDOW,
    page_size: int = PAGE_SIZE,
    trace_header: Callable[[], str | None] = lambda: None,
    clock: Clock | None = None,
    sleep: Sleep = time.sleep,
) -> Batches:
    """Build the function's logic.

    Args:
        settings: the function's settings.
        clients: the clients of AWS.
        journal: where the steps are written down.
        executor: sends batches of messages side by side; without one they go one by one.
        window: how many batches may be on their way at once.
        page_size: participants read at once.
        trace_header: gives X-Ray's header for a message; None if nothing is traced.
        clock: the machine's, if not given.
        sleep: waits between two tries of a call, in seconds.
    """
    clock = clock or SystemClock()
    queue = DeliveryQueue(
        clients.sqs,
        settings.deliveries_queue_url,
        executor=executor,
        window=window,
        trace_header=trace_header,
        sleep=sleep,
    )
    return Batches(
        segment=Segment(
            trainings=TrainingTable(
                clients.dynamodb, settings.trainings_table, page_size=page_size, sleep=sleep
            ),
            announcer=Announcer(queue, clock, journal),
            checkpoints=Checkpoints(clients.dynamodb, settings.ledger_table, clock),
            dead_letters=DeadLetters(
                DeadLetterQueue(clients.sqs, settings.stream_dlq_url), journal
            ),
            bus=OutcomeBus(
                clients.events, settings.outcomes_bus, trace_header=trace_header, sleep=sleep
            ),
        ),
        queue=DeliveryQueue(clients.sqs, settings.fan_outs_queue_url, sleep=sleep),
        journal=journal,
    )

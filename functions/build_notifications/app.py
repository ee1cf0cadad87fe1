"""BuildNotifications: triggered by the stream of the trainings table."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.build_notifications.batch import Batches
from functions.build_notifications.builder import Builder
from functions.build_notifications.checkpoints import Checkpoints
from functions.build_notifications.settings import Settings
from shared.aws import CLIENT_CONFIG, CONNECTIONS
from shared.clock import SystemClock
from shared.journal import Journal, Tally
from shared.observability import entry_point, make_logger
from shared.queue import DeadLetterQueue, DeliveryQueue
from shared.table import TrainingTable
from shared.tracing import Traces

SERVICE = "build_notifications"

settings = Settings.from_environment(os.environ)
logger = make_logger(SERVICE, settings.log_level)
traces = Traces(os.environ)
clock = SystemClock()
dynamodb = boto3.client("dynamodb", config=CLIENT_CONFIG)
sqs = boto3.client("sqs", config=CLIENT_CONFIG)
journal = Journal(logger, Tally(settings.stack_name), traces)
batches = Batches(
    builder=Builder(
        trainings=TrainingTable(dynamodb, settings.trainings_table),
        checkpoints=Checkpoints(dynamodb, settings.ledger_table, clock),
        queue=DeliveryQueue(
            sqs,
            settings.deliveries_queue_url,
            executor=ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="enqueue"),
            trace_header=traces.message_header,
        ),
        dead_letters=DeadLetterQueue(sqs, settings.stream_dlq_url),
        clock=clock,
        journal=journal,
    ),
    journal=journal,
)


@entry_point(logger)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
    """Build the notifications of a batch; returns the records that failed."""
    return batches.process(event, lambda: context.get_remaining_time_in_millis() / 1000)

"""DeliverNotification: triggered by the queue of deliveries."""

import os
import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.deliver_notification.answers import RetryPolicy
from functions.deliver_notification.deliverer import Deliverer
from functions.deliver_notification.settings import Settings
from shared.aws import CLIENT_CONFIG
from shared.batches import SQS_BATCH
from shared.clock import SystemClock
from shared.events import OutcomeBus
from shared.guard import EndpointGuard, own_services
from shared.http import Poster
from shared.journal import Journal, Tally
from shared.ledger import Ledger
from shared.observability import entry_point, make_logger
from shared.queue import DeadLetterQueue, DeliveryQueue
from shared.signing import MasterSecrets
from shared.tracing import Traces

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse

SERVICE = "deliver_notification"

settings = Settings.from_environment(os.environ)
logger = make_logger(SERVICE, settings.log_level)
traces = Traces(os.environ)
clock = SystemClock()
dynamodb = boto3.client("dynamodb", config=CLIENT_CONFIG)
sqs = boto3.client("sqs", config=CLIENT_CONFIG)
deliverer = Deliverer(
    dynamodb=dynamodb,
    trainings_table=settings.trainings_table,
    ledger_table=settings.ledger_table,
    ledger=Ledger(dynamodb, settings.ledger_table),
    bus=OutcomeBus(
        boto3.client("events", config=CLIENT_CONFIG),
        settings.outcomes_bus,
        trace_header=traces.header,
    ),
    queue=DeliveryQueue(sqs, settings.deliveries_queue_url),
    dead_letters=DeadLetterQueue(sqs, settings.deliveries_dlq_url),
    secrets=MasterSecrets(
        boto3.client("secretsmanager", config=CLIENT_CONFIG),
        settings.signing_secret_arn,
        clock,
        logger,
    ),
    poster=Poster(
        EndpointGuard(
            allowed_private_networks=settings.allowed_private_networks,
            allow_plain_http=settings.allow_plain_http,
            own_services=own_services(os.environ),
        ),
        timeout_seconds=settings.request_timeout_seconds,
    ),
    policy=RetryPolicy(settings.max_attempts, settings.retry_backoff_seconds),
    request_timeout_seconds=settings.request_timeout_seconds,
    executor=ThreadPoolExecutor(SQS_BATCH, thread_name_prefix="attempt"),
    clock=clock,
    jitter=random.Random(),  # noqa: S311 - spreads retries; nothing secret
    journal=Journal(logger, Tally(settings.stack_name), traces),
)


@entry_point(logger)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> "PartialItemFailureResponse":
    """Deliver the messages of a batch; returns those that stay in the queue."""
    return deliverer.process(event, lambda: context.get_remaining_time_in_millis() / 1000)

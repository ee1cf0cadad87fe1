"""CallbackFailure: triggered by the queue of events that name one of its callbacks."""

import os
from typing import TYPE_CHECKING, Any

import boto3

from fl_notifications.aws.clients import CLIENT_CONFIG
from fl_notifications.telemetry.journal import Journal
from fl_notifications.telemetry.logger import LambdaContext, entry_point, make_logger
from fl_notifications.telemetry.metrics import Tally
from fl_notifications.telemetry.tracing import Traces
from functions.callback_failure.bootstrap import Clients, build
from functions.callback_failure.settings import Settings

if TYPE_CHECKING:
    from fl_notifications.aws.batches import PartialItemFailureResponse

SERVICE = "callback_failure"

settings = Settings.from_environment(os.environ)
logger = make_logger(SERVICE, settings.log_level)
clients = Clients(
    dynamodb=boto3.client("dynamodb", config=CLIENT_CONFIG),
    sqs=boto3.client("sqs", config=CLIENT_CONFIG),
)
worker = build(
    settings,
    clients,
    Journal(logger, Tally(settings.stack_name), Traces(os.environ)),
)


@entry_point(logger)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> "PartialItemFailureResponse":
    """Do what the policies say; returns the messages that stay in the queue."""
    return worker.process(event, lambda: context.get_remaining_time_in_millis() / 1000)

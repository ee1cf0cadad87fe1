"""CallbackSuccess: triggered by outcomes that name `training_notification_callback_success`."""

import os
from typing import Any

import boto3

from fl_notifications.aws.clients import CLIENT_CONFIG
from fl_notifications.telemetry.journal import Journal
from fl_notifications.telemetry.logger import LambdaContext, entry_point, make_logger
from fl_notifications.telemetry.metrics import Tally
from fl_notifications.telemetry.tracing import Traces
from functions.callback_success.bootstrap import Clients, build
from functions.callback_success.settings import Settings

SERVICE = "callback_success"

settings = Settings.from_environment(os.environ)
logger = make_logger(SERVICE, settings.log_level)
clients = Clients(
    sqs=boto3.client("sqs", config=CLIENT_CONFIG),
)
call_back = build(
    settings,
    clients,
    Journal(logger, Tally(settings.stack_name), Traces(os.environ)),
)


@entry_point(logger)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Log that a receiver has accepted a notification."""
    del context
    call_back(event)

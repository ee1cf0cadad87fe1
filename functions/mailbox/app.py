"""Mailbox: triggered by a participant's request, through a function URL."""

import os
from typing import Any

import boto3

from fl_notifications.aws.clients import CLIENT_CONFIG
from fl_notifications.telemetry.journal import Journal
from fl_notifications.telemetry.logger import LambdaContext, entry_point, make_logger
from fl_notifications.telemetry.metrics import Tally
from fl_notifications.telemetry.tracing import Traces
from functions.mailbox.bootstrap import Clients, build
from functions.mailbox.settings import Settings

SERVICE = "mailbox"

settings = Settings.from_environment(os.environ)
logger = make_logger(SERVICE, settings.log_level)
traces = Traces(os.environ)
clients = Clients(
    dynamodb=boto3.client("dynamodb", config=CLIENT_CONFIG),
    events=boto3.client("events", config=CLIENT_CONFIG),
    secretsmanager=boto3.client("secretsmanager", config=CLIENT_CONFIG),
)
mailbox = build(
    settings,
    clients,
    Journal(logger, Tally(settings.stack_name), traces),
    trace_header=traces.header,
)


@entry_point(logger)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Take acknowledgements, and answer with what waits."""
    del context
    return mailbox.answer(event)

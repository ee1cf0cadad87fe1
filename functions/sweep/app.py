"""Sweep: triggered by a schedule, once a minute."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3

from fl_notifications.aws.clients import CLIENT_CONFIG, CONNECTIONS
from fl_notifications.telemetry.journal import Journal
from fl_notifications.telemetry.logger import LambdaContext, entry_point, make_logger
from fl_notifications.telemetry.metrics import Tally
from fl_notifications.telemetry.tracing import Traces
from functions.sweep.bootstrap import Clients, build
from functions.sweep.settings import Settings

SERVICE = "sweep"

settings = Settings.from_environment(os.environ)
logger = make_logger(SERVICE, settings.log_level)
traces = Traces(os.environ)
executor = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="shard")
clients = Clients(
    dynamodb=boto3.client("dynamodb", config=CLIENT_CONFIG),
    sqs=boto3.client("sqs", config=CLIENT_CONFIG),
    events=boto3.client("events", config=CLIENT_CONFIG),
)
sweeper = build(
    settings,
    clients,
    Journal(logger, Tally(settings.stack_name), traces),
    executor=executor,
    trace_header=traces.header,
)


@entry_point(logger)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Conclude what is due."""
    del event
    sweeper.sweep(lambda: context.get_remaining_time_in_millis() / 1000)

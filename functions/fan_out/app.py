"""FanOut: triggered by the queue of fan-outs of large trainings."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3

from fl_notifications.aws.batches import PartialItemFailureResponse
from fl_notifications.aws.clients import CONNECTIONS, PATIENT_CONFIG
from fl_notifications.telemetry.journal import Journal
from fl_notifications.telemetry.logger import LambdaContext, entry_point, make_logger
from fl_notifications.telemetry.metrics import Tally
from fl_notifications.telemetry.tracing import Traces
from functions.fan_out.bootstrap import Clients, build
from functions.fan_out.settings import Settings

SERVICE = "fan_out"

settings = Settings.from_environment(os.environ)
logger = make_logger(SERVICE, settings.log_level)
traces = Traces(os.environ)
executor = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="enqueue")
clients = Clients(
    dynamodb=boto3.client("dynamodb", config=PATIENT_CONFIG),
    sqs=boto3.client("sqs", config=PATIENT_CONFIG),
    events=boto3.client("events", config=PATIENT_CONFIG),
)
batches = build(
    settings,
    clients,
    Journal(logger, Tally(settings.stack_name), traces),
    executor=executor,
    trace_header=traces.message_header,
)


@entry_point(logger)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
    """Make the fan-outs of a batch; returns the messages that are not done."""
    return batches.process(event, lambda: context.get_remaining_time_in_millis() / 1000)

"""CallbackFailure: triggered by outcomes that name `training_notification_callback_failure`."""

import os
from typing import Any

import boto3
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.callback_failure.policy import FailureCallback
from functions.callback_failure.settings import Settings
from shared.aws import CLIENT_CONFIG
from shared.callbacks import call_back
from shared.clock import SystemClock
from shared.journal import Journal, Tally
from shared.observability import entry_point, make_logger
from shared.queue import DeadLetterQueue
from shared.table import TrainingTable
from shared.tracing import Traces

SERVICE = "callback_failure"

settings = Settings.from_environment(os.environ)
logger = make_logger(SERVICE, settings.log_level)
traces = Traces(os.environ)
journal = Journal(logger, Tally(settings.stack_name), traces)
dead_letters = DeadLetterQueue(
    boto3.client("sqs", config=CLIENT_CONFIG), settings.callbacks_dlq_url
)
callback = FailureCallback(
    trainings=TrainingTable(
        boto3.client("dynamodb", config=CLIENT_CONFIG), settings.trainings_table
    ),
    ledger_table=settings.ledger_table,
    clock=SystemClock(),
)


@entry_point(logger)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Do what the training's failure policy says."""
    del context
    call_back(event, callback.apply, journal=journal, dead_letters=dead_letters)

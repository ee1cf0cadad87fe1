"""CallbackSuccess: triggered by outcomes that name `training_notification_callback_success`."""

import os
from typing import Any

import boto3
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.callback_success.settings import Settings
from shared.aws import CLIENT_CONFIG
from shared.callbacks import call_back
from shared.journal import Journal, Tally
from shared.observability import entry_point, make_logger
from shared.outcomes import Outcome, OutcomeKind
from shared.queue import DeadLetterQueue
from shared.tracing import Traces

SERVICE = "callback_success"

settings = Settings.from_environment(os.environ)
logger = make_logger(SERVICE, settings.log_level)
traces = Traces(os.environ)
journal = Journal(logger, Tally(settings.stack_name), traces)
dead_letters = DeadLetterQueue(
    boto3.client("sqs", config=CLIENT_CONFIG), settings.callbacks_dlq_url
)


def nothing_more(_kind: OutcomeKind, _outcome: Outcome) -> str:
    """An accepted notification needs nothing but the log line."""
    return "logged"


@entry_point(logger)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Log that a receiver has accepted a notification."""
    del context
    call_back(event, nothing_more, journal=journal, dead_letters=dead_letters)

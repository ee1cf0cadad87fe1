"""CallbackSuccess: triggered by outcomes that name `training_notification_callback_success`."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from shared.journal import Journal, Tally
from shared.observability import make_logger, make_tracer
from shared.outcomes import parse_outcome_event

SERVICE = "callback_success"

logger = make_logger(SERVICE)
tracer = make_tracer(SERVICE)
journal = Journal(logger, Tally(SERVICE))


@logger.inject_lambda_context
@tracer.capture_lambda_handler(capture_response=False)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Log that a receiver has accepted a notification."""
    del context
    kind, outcome = parse_outcome_event(event)
    journal.called_back(outcome, kind, "logged")

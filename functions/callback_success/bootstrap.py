"""Composition root of CallbackSuccess: what its parts are made of, wherever it runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from fl_notifications.callbacks import call_back
from fl_notifications.deliveries.queue import DeadLetterQueue
from fl_notifications.outcomes.outcome import Outcome, OutcomeKind
from fl_notifications.telemetry.journal import Journal
from functions.callback_success.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


@dataclass(frozen=True)
class Clients:
    """The clients of AWS that this function needs."""

    sqs: "SQSClient"


def build(
    settings: Settings, clients: Clients, journal: Journal
) -> Callable[[Mapping[str, Any]], None]:
    """Build the function's logic: what is to be done with an outcome event.

    Args:
        settings: the function's settings.
        clients: the clients of AWS.
        journal: where the acceptance is written down.
    """
    return partial(
        call_back,
        callback=nothing_more,
        journal=journal,
        dead_letters=DeadLetterQueue(clients.sqs, settings.callbacks_dlq_url),
    )


def nothing_more(_kind: OutcomeKind, _outcome: Outcome) -> str:
    """An accepted notification needs nothing but the log line."""
    return "logged"

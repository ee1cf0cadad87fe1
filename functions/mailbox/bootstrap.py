"""Composition root of Mailbox: what its parts are made of, wherever it runs."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fl_notifications.aws.batches import Sleep
from fl_notifications.clock import Clock, SystemClock
from fl_notifications.deliveries.signing import MasterSecrets
from fl_notifications.outcomes.bus import OutcomeBus
from fl_notifications.outcomes.conclude import Concluder
from fl_notifications.outcomes.facts import FactsReader
from fl_notifications.outcomes.ledger import Ledger
from fl_notifications.outcomes.waiting import WaitingTable
from fl_notifications.telemetry.journal import Journal
from functions.mailbox.exchange import Exchange
from functions.mailbox.mailbox import Mailbox
from functions.mailbox.polling import Polling
from functions.mailbox.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_secretsmanager import SecretsManagerClient


@dataclass(frozen=True)
class Clients:
    """The clients of AWS that this function needs."""

    dynamodb: "DynamoDBClient"
    events: "EventBridgeClient"
    secretsmanager: "SecretsManagerClient"


def build(  # noqa: PLR0913 - each is something that differs between Lambda, tests and benchmarks
    settings: Settings,
    clients: Clients,
    journal: Journal,
    *,
    trace_header: Callable[[], str | None] = lambda: None,
    clock: Clock | None = None,
    sleep: Sleep = time.sleep,
    jitter: random.Random | None = None,
) -> Mailbox:
    """Build the function's logic.

    Args:
        settings: the function's settings.
        clients: the clients of AWS.
        journal: where the steps are written down.
        trace_header: gives X-Ray's header for an event; None if nothing is traced.
        clock: the machine's, if not given.
        sleep: waits between two tries of a call, in seconds.
        jitter: spreads polls.
    """
    clock = clock or SystemClock()
    ledger = Ledger(clients.dynamodb, settings.ledger_table, sleep=sleep)
    waiting = WaitingTable(clients.dynamodb, settings.waiting_table, sleep=sleep)
    secrets = MasterSecrets(
        clients.secretsmanager, settings.signing_secret_arn, clock, journal.trouble
    )
    exchange = Exchange(
        facts=FactsReader(
            clients.dynamodb,
            trainings_table=settings.trainings_table,
            ledger_table=settings.ledger_table,
            sleep=sleep,
        ),
        ledger=ledger,
        waiting=waiting,
        concluder=Concluder(
            ledger=ledger,
            bus=OutcomeBus(
                clients.events, settings.outcomes_bus, trace_header=trace_header, sleep=sleep
            ),
            waiting=waiting,
            on_concluded=journal.concluded,
        ),
        polling=Polling(
            settings.mailbox_poll_min_seconds,
            settings.mailbox_poll_max_seconds,
            jitter or random.Random(),  # noqa: S311 - spreads polls; nothing secret
        ),
        clock=clock,
        journal=journal,
    )
    return Mailbox(exchange=exchange, secrets=secrets, clock=clock, journal=journal)

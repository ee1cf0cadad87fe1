"""What has become of notifications that a program has sent itself."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final

import boto3

from fl_notifications.aws.batches import Sleep
from fl_notifications.aws.clients import CLIENT_CONFIG
from fl_notifications.outcomes.ledger import Ledger
from fl_notifications.outcomes.outcome import OutcomeKind
from fl_notifications.settings import SettingsError

LEDGER_VARIABLE: Final = "LEDGER_TABLE"

PENDING: Final = "pending"


@dataclass(frozen=True, slots=True)
class ReceiverOutcome:
    """What has become of a notification to one receiver.

    Attributes:
        notification_id: also the header `webhook-id`.
        outcome: `accepted`, `rejected`, `failed`, `superseded`; or `pending`, also for one that
            lies in a dead-letter queue.
        attempts: POSTs so far.
        status_code: of the last answer, if there was one.
        reason: of the last attempt that was not accepted.
    """

    notification_id: str
    outcome: str = PENDING
    attempts: int = 0
    status_code: int | None = None
    reason: str | None = None

    @property
    def accepted(self) -> bool:
        """Whether the receiver has accepted it."""
        return self.outcome == OutcomeKind.ACCEPTED


@dataclass(frozen=True)
class Sent:
    """Notifications on their way; `len` is how many.

    Attributes:
        ids: the notification's id, by the receiver's uuid.
        ledger: gives the ledger, when it is asked for.
    """

    ids: Mapping[str, str]
    ledger: Callable[[], Ledger] = field(repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.ids)

    def outcomes(self) -> dict[str, ReceiverOutcome]:
        """What has become of each, by the receiver's uuid; as known within 30 days.

        Raises:
            SettingsError: without a ledger and without the environment variable `LEDGER_TABLE`
                (the stack's output `LedgerTable`).
            NotReadError: if the table did not answer, after several tries.
        """
        entries = self.ledger().entries(self.ids.values())
        found = {}
        for receiver, notification_id in self.ids.items():
            entry = entries.get(notification_id)
            found[receiver] = (
                ReceiverOutcome(notification_id)
                if entry is None
                else ReceiverOutcome(
                    notification_id,
                    entry.outcome.value if entry.outcome else PENDING,
                    entry.attempts,
                    entry.status_code,
                    entry.reason,
                )
            )
        return found

    def wait(
        self,
        timeout: float,
        *,
        interval: float = 1.0,
        sleep: Sleep = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> dict[str, ReceiverOutcome]:
        """Wait until nothing is pending.

        Args:
            timeout: how long at most, in seconds. A receiver that is down is tried for minutes.
            interval: between two looks at the ledger.
            sleep: waits so many seconds.
            monotonic: tells the time.

        Returns:
            As `outcomes`; some are pending if the time was up.
        """
        end = monotonic() + timeout
        while True:
            found = self.outcomes()
            left = end - monotonic()
            if left <= 0 or all(each.outcome != PENDING for each in found.values()):
                return found
            sleep(min(interval, left))


@cache
def ledger_from_environment() -> Ledger:
    """The ledger that the environment names, with boto3's own credentials and region.

    Raises:
        SettingsError: if the environment variable is missing.
    """
    table = os.environ.get(LEDGER_VARIABLE)
    if not table:
        raise SettingsError(
            f"set {LEDGER_VARIABLE} to the stack's output LedgerTable, "
            "or pass ledger=Ledger(client, table_name)"
        )
    return Ledger(boto3.client("dynamodb", config=CLIENT_CONFIG), table)

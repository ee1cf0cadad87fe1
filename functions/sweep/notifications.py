"""Concludes notifications that nobody has acknowledged in time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from fl_notifications.deliveries.queue import DeadLetterQueue
from fl_notifications.outcomes.conclude import Concluder, Ending, ended_already, ends_as
from fl_notifications.outcomes.facts import Facts, FactsReader
from fl_notifications.outcomes.ledger import UnreadableEntryError
from fl_notifications.outcomes.outcome import OutcomeKind
from fl_notifications.outcomes.waiting import (
    Item,
    UnreadableWaitingError,
    WaitingNotification,
    WaitingTable,
)
from fl_notifications.telemetry.journal import Journal

NOT_ACKNOWLEDGED: Final = "not acknowledged in time"


@dataclass(frozen=True)
class Notifications:
    """What waits in mailboxes."""

    facts: FactsReader
    concluder: Concluder
    waiting: WaitingTable
    dead_letters: DeadLetterQueue
    journal: Journal

    def conclude(self, items: Sequence[Item], now: datetime) -> None:
        """Conclude notifications that are due, at most 25.

        Args:
            items: of the table.
            now: the time.

        Raises:
            ClientError: if a table, the bus or the queue refuses a call.
            NotReadError: if not all could be read.
        """
        waiting = self._readable(items)
        if not waiting:
            return
        facts = self.facts.read([each.delivery for each in waiting])
        endings = []
        for each in waiting:
            try:
                endings.append(_ending(facts, each, now))
            except UnreadableEntryError as error:
                self._bury(each.delivery.message, each.delivery.notification_id, error)
                self.waiting.clear([each])
        self.concluder.conclude(endings)

    def _readable(self, items: Iterable[Item]) -> list[WaitingNotification]:
        """Parse items; those that are not deliveries become dead letters, in the queue's format."""
        found = []
        for item in items:
            try:
                found.append(WaitingNotification.from_item(item))
            except UnreadableWaitingError as error:
                body = item.get("delivery", {}).get("S", "-")
                self._bury(body, item.get("notification_id", {}).get("S", "-"), error)
                self.waiting.delete(item)
        return found

    def _bury(self, body: str, notification_id: str, error: Exception) -> None:
        self.dead_letters.put(
            body, reason=f"{error}", group=notification_id, deduplication_id=notification_id
        )
        self.journal.trouble("dead letter", error, notification_id=notification_id)


def _ending(facts: Facts, waiting: WaitingNotification, now: datetime) -> Ending:
    ended = ended_already(facts, waiting, now)
    failed = OutcomeKind.FAILED
    return ended or ends_as(failed, facts, waiting, reason=NOT_ACKNOWLEDGED, now=now)

"""Puts notifications into mailboxes, for receivers that nobody can call."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from fl_notifications.clock import Clock
from fl_notifications.deliveries.delivery import Delivery
from fl_notifications.outcomes.waiting import WaitingNotification, WaitingTable
from fl_notifications.telemetry.journal import Journal


@dataclass(frozen=True)
class Depositor:
    """Puts notifications into mailboxes.

    Attributes:
        deadline: after which one of a round has failed that nobody has acknowledged.
    """

    waiting: WaitingTable
    deadline: timedelta
    clock: Clock
    journal: Journal

    def deposit(self, letters: Sequence[tuple[Delivery, str]]) -> set[str]:
        """Deposit notifications, no two of them of one group: AWS writes a batch in any order.

        There is neither an outcome nor an entry in the ledger yet. Doing it again does no harm.

        Args:
            letters: deliveries, each with the queue's sequence number of its message.

        Returns:
            The ids of those that were not deposited.
        """
        now = self.clock.now()
        notifications = [
            WaitingNotification.deposited(delivery, number, at=now, deadline=self.deadline)
            for delivery, number in letters
        ]
        try:
            undone = self.waiting.deposit(notifications)
        except Exception as error:  # noqa: BLE001 - what is not deposited must stay in the queue
            self.journal.trouble("notifications could not be deposited", error)
            return {delivery.notification_id for delivery, _ in letters}
        with self.journal.in_bulk():
            for delivery, _ in letters:
                if delivery.notification_id not in undone:
                    self.journal.deposited(delivery, now)
        return undone

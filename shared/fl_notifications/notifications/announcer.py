"""Makes the fan-out of an announcement: one message per receiver, a page at a time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fl_notifications.clock import Clock
from fl_notifications.deliveries.delivery import Delivery
from fl_notifications.deliveries.queue import DeliveryQueue
from fl_notifications.notification_type import NotificationType
from fl_notifications.notifications.announcement import Announcement, Notice
from fl_notifications.telemetry.journal import Journal
from fl_notifications.trainings.items import UnreadableItemError, item_name, participant_key
from fl_notifications.trainings.model import Participant, Receiver, Training, checked_settings
from fl_notifications.trainings.table import Page, SetAside


@dataclass(frozen=True)
class Announcer:
    """Enqueues deliveries, and writes down that they are built."""

    queue: DeliveryQueue
    clock: Clock
    journal: Journal

    def tell(self, announcement: Announcement, page: Page, set_aside: SetAside) -> None:
        """Tell a page of participants everything; returns when the queue has it all.

        Nobody is told a round who was not told the start: each notice of the page is in the queue
        before the next one is begun.

        Args:
            announcement: what there is to tell.
            page: to whom.
            set_aside: told of each participant whose settings cannot be used; it is not told the
                round.

        Raises:
            NotEnqueuedError: if the queue did not accept all messages.
            ClientError: if the queue refuses a call as a whole.
        """
        for notice in announcement.notices:
            receivers = announcement.concerned(notice, page.participants)
            if notice.of_round:
                receivers = _with_usable_settings(announcement.training, receivers, page, set_aside)
                if announcement.owes_starts:
                    start = Notice(kind=NotificationType.TRAINING_START, source=announcement.run)
                    self._send(announcement, start, announcement.owed_start(receivers))
            self._send(announcement, notice, receivers)

    def tell_actor(self, announcement: Announcement) -> None:
        """Tell the actor, as one more receiver and last.

        One that takes part has been enqueued already, with the same id: the queue drops this one.

        Raises:
            NotEnqueuedError: if the queue did not accept all messages.
            ClientError: if the queue refuses a call as a whole.
        """
        for notice in announcement.notices:
            self._send(announcement, notice, [announcement.training.actor])

    def _send(
        self, announcement: Announcement, notice: Notice, receivers: Sequence[Receiver]
    ) -> None:
        if not receivers:
            return
        with self.journal.building(announcement.training.training_uuid, notice.kind):
            self.queue.send(announcement.deliveries(notice, receivers), self._accepted)

    def _accepted(self, deliveries: Iterable[Delivery]) -> None:
        now = self.clock.now()
        with self.journal.in_bulk():
            for delivery in deliveries:
                self.journal.built(delivery, now)


def _with_usable_settings(
    training: Training, participants: list[Participant], page: Page, set_aside: SetAside
) -> list[Participant]:
    """Those participants that can be told their settings with a round."""
    usable = []
    for participant in participants:
        error = page.without_settings.get(participant.uuid) or _too_large(training, participant)
        if error is None:
            usable.append(participant)
        else:
            key = participant_key(training.training_uuid, participant.uuid)
            set_aside(error, key["entity"]["S"])
    return usable


def _too_large(training: Training, participant: Participant) -> UnreadableItemError | None:
    if training.settings is None or participant.settings is None:
        return None  # each alone was checked when it was read
    merged: dict[str, Any] = {**training.settings, **participant.settings}
    try:
        checked_settings(merged)
    except ValueError as error:
        item = participant_key(training.training_uuid, participant.uuid)
        reason = f"with the training's, they {error}"
        return UnreadableItemError(item_name(item), "settings", reason)
    return None

"""Fans out one segment of a training, from the last checkpoint on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fl_notifications.notifications.announcer import Announcer
from fl_notifications.notifications.dead_letters import DeadLetters
from fl_notifications.notifications.fan_outs import FanOut
from fl_notifications.notifications.segments import key_range
from fl_notifications.notifications.unreadable import UnreadableItems
from fl_notifications.outcomes.bus import OutcomeBus
from fl_notifications.trainings.table import Page, TrainingTable
from functions.fan_out.checkpoints import Checkpoints

PAGE_RESERVE_SECONDS: Final = 20.0
"""No page is begun with less time left than this: pending messages must reach the queue."""


class OutOfTimeError(Exception):
    """The function's timeout is near; the next invocation goes on."""


@dataclass(frozen=True)
class Segment:
    """Enqueues the deliveries of a segment, a page at a time."""

    trainings: TrainingTable
    announcer: Announcer
    checkpoints: Checkpoints
    dead_letters: DeadLetters
    bus: OutcomeBus

    def tell(self, fan_out: FanOut, remaining_seconds: Callable[[], float]) -> None:
        """Enqueue all deliveries of the segment; returns when the queue has them.

        On failure the last whole page is stored, and the next attempt continues there.

        Raises:
            OutOfTimeError: if the time was not enough for all.
            NotEnqueuedError: if the queue did not accept all messages.
            NotToldError: if the bus did not take all events.
            NotReadError: if the table did not give all participants.
            ClientError: if AWS refuses a call as a whole.
        """
        announcement = fan_out.announcement
        unreadable = UnreadableItems(self.dead_letters, self.bus, announcement, fan_out.record)
        if fan_out.participants is not None:
            self._tell(Page([*fan_out.participants]), unreadable)
        elif announcement.only_to_selected:
            training, selected = announcement.training, announcement.training.selected or ()
            uuid = training.training_uuid
            page = self.trainings.participants_by_key(uuid, selected, unreadable)
            self._tell(page, unreadable)
        else:
            self._tell_pages(fan_out, unreadable, remaining_seconds)
        if announcement.to_actor:
            self.announcer.tell_actor(announcement)

    def _tell_pages(
        self,
        fan_out: FanOut,
        unreadable: UnreadableItems,
        remaining_seconds: Callable[[], float],
    ) -> None:
        name = f"{fan_out.name}#{fan_out.segment}"
        done: str | None = None
        pages = self.trainings.participant_pages(
            fan_out.announcement.training.training_uuid,
            unreadable,
            key_range=key_range(fan_out.segment),
            resume_after=lambda: self.checkpoints.read(name),
        )
        try:
            for page in pages:
                self._tell(page, unreadable)
                done = page.last
                if done is not None:
                    _check_time(remaining_seconds, done)
        except Exception:
            if done is not None:
                self.checkpoints.write(name, done)
            raise

    def _tell(self, page: Page, unreadable: UnreadableItems) -> None:
        self.announcer.tell(unreadable.announcement, page, unreadable)
        unreadable.tell()


def _check_time(remaining_seconds: Callable[[], float], done: str) -> None:
    if remaining_seconds() < PAGE_RESERVE_SECONDS:
        raise OutOfTimeError(f"the next invocation goes on after {done}")

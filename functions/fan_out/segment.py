"""Fans out one segment of a training, from the last checkpoint on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fl_notifications.notifications.announcer import Announcer
from fl_notifications.notifications.dead_letters import DeadLetters
from fl_notifications.notifications.fan_outs import FanOut
from fl_notifications.notifications.segments import key_range
from fl_notifications.trainings.items import Item, UnreadableItemError
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

    def tell(self, fan_out: FanOut, remaining_seconds: Callable[[], float]) -> None:
        """Enqueue all deliveries of the segment; returns when the queue has them.

        On failure the last whole page is stored, and the next attempt continues there.

        Raises:
            OutOfTimeError: if the time was not enough for all.
            NotEnqueuedError: if the queue did not accept all messages.
            NotReadError: if the table did not give all participants.
            ClientError: if AWS refuses a call as a whole.
        """
        set_aside = self._set_aside(fan_out)
        if fan_out.participants is not None:
            self.announcer.tell(fan_out.announcement, Page([*fan_out.participants]), set_aside)
        elif fan_out.announcement.only_to_selected:
            self._tell_selected(fan_out)
        else:
            self._tell_pages(fan_out, remaining_seconds)
        if fan_out.announcement.to_actor:
            self.announcer.tell_actor(fan_out.announcement)

    def _tell_selected(self, fan_out: FanOut) -> None:
        training, set_aside = fan_out.announcement.training, self._set_aside(fan_out)

        def on_unreadable(error: UnreadableItemError, item: Item) -> None:
            set_aside(error, item["entity"]["S"])

        selected = training.selected or ()
        page = self.trainings.participants_by_key(training.training_uuid, selected, on_unreadable)
        self.announcer.tell(fan_out.announcement, page, set_aside)

    def _tell_pages(self, fan_out: FanOut, remaining_seconds: Callable[[], float]) -> None:
        name = f"{fan_out.name}#{fan_out.segment}"
        done: str | None = None
        set_aside = self._set_aside(fan_out)

        def on_unreadable(error: UnreadableItemError, item: Item) -> None:
            set_aside(error, item["entity"]["S"])

        pages = self.trainings.participant_pages(
            fan_out.announcement.training.training_uuid,
            on_unreadable,
            key_range=key_range(fan_out.segment),
            resume_after=lambda: self.checkpoints.read(name),
        )
        try:
            for page in pages:
                self.announcer.tell(fan_out.announcement, page, set_aside)
                done = page.last
                if done is not None:
                    _check_time(remaining_seconds, done)
        except Exception:
            if done is not None:
                self.checkpoints.write(name, done)
            raise

    def _set_aside(self, fan_out: FanOut) -> Callable[[UnreadableItemError, str], None]:
        return lambda error, entity: self.dead_letters.unreadable(error, fan_out.record, entity)


def _check_time(remaining_seconds: Callable[[], float], done: str) -> None:
    if remaining_seconds() < PAGE_RESERVE_SECONDS:
        raise OutOfTimeError(f"the next invocation goes on after {done}")

"""Makes the fan-out of a change: directly, or for large trainings through `FanOut`."""

from dataclasses import dataclass

from fl_notifications.notifications.announcement import Announcement
from fl_notifications.notifications.announcer import Announcer
from fl_notifications.notifications.fan_outs import FanOut, FanOutQueue
from fl_notifications.trainings.items import UnreadableItemError
from fl_notifications.trainings.table import Page, SetAside, TrainingTable
from functions.build_notifications.entries import Entries
from functions.build_notifications.records import Change


@dataclass(frozen=True)
class Teller:
    """Fans out small trainings itself, and large ones as one message per segment."""

    trainings: TrainingTable
    announcer: Announcer
    fan_outs: FanOutQueue

    def tell_all(
        self, announcement: Announcement, change: Change, entries: Entries, set_aside: SetAside
    ) -> int | None:
        """Tell everybody whom an announcement concerns.

        Returns:
            How many take part; None if not all were read.
        """
        uuid = change.training_uuid
        if entries.is_large(uuid):
            self._fan_out(announcement, change)
            return None
        page = self._first_page(announcement, set_aside)
        if page.last is not None:
            # Nobody is told by this page: all take the one way that keeps their order.
            entries.mark_large(uuid)
            self._fan_out(announcement, change)
            return None
        self.announcer.tell(announcement, page, set_aside)
        if announcement.to_actor:
            self.announcer.tell_actor(announcement)
        return None if announcement.only_to_selected else len(page.participants)

    def tell_one(
        self,
        announcement: Announcement,
        page: Page,
        change: Change,
        entries: Entries,
        set_aside: SetAside,
    ) -> None:
        """Tell a participant what follows from its own record, behind all that came before."""
        if not entries.is_large(change.training_uuid):
            self.announcer.tell(announcement, page, set_aside)
            return
        for error in page.without_settings.values():
            if any(each.of_round for each in announcement.notices):
                set_aside(error, change.entity)
            notices = tuple(each for each in announcement.notices if not each.of_round)
            announcement = announcement.model_copy(update={"notices": notices})
        self.fan_outs.send(
            FanOut.of_one(announcement, each, change.fan_out, change.without_images)
            for each in page.participants
        )

    def _fan_out(self, announcement: Announcement, change: Change) -> None:
        self.fan_outs.send(FanOut.of_all(announcement, change.fan_out, change.without_images))

    def _first_page(self, announcement: Announcement, set_aside: SetAside) -> Page:
        unreadable: list[tuple[UnreadableItemError, str]] = []

        def keep(error: UnreadableItemError, entity: str) -> None:
            unreadable.append((error, entity))

        uuid = announcement.training.training_uuid
        selected = announcement.training.selected
        if announcement.only_to_selected and selected is not None:
            page = self.trainings.participants_by_key(uuid, selected, keep)
        else:
            page = next(self.trainings.participant_pages(uuid, keep))
        if page.last is None:  # else a `FanOut` reads them again
            for error, entity in unreadable:
                set_aside(error, entity)
        return page

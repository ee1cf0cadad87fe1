"""Does what follows from a change: enqueues, puts events, and notes how far it has got."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from fl_notifications.notifications.announcement import Announcement
from fl_notifications.notifications.announcer import Announcer, SetAside
from fl_notifications.outcomes.bus import OutcomeBus
from fl_notifications.outcomes.changes import ChangeEvent, ParticipantRemoved, TrainingStarted
from fl_notifications.telemetry.journal import Journal
from fl_notifications.trainings.items import Item, UnreadableItemError, item_name
from fl_notifications.trainings.model import RUNNING_STATES
from fl_notifications.trainings.table import Page, TrainingTable
from functions.build_notifications.checkpoints import Checkpoints
from functions.build_notifications.dead_letters import DeadLetters
from functions.build_notifications.entries import Entries
from functions.build_notifications.judge import judge
from functions.build_notifications.options import wrong_options
from functions.build_notifications.participants import follow, participant_unreadable
from functions.build_notifications.records import Change
from functions.build_notifications.rounds import Rounds

FAN_OUT_RESERVE_SECONDS: Final = 60.0
"""No further page is begun with less time than this: what is under way has to reach the queue."""


class OutOfTimeError(Exception):
    """The function's timeout is near; the record will come again."""


@dataclass(frozen=True)
class Builder:
    """Everything that is needed to build, made once per execution environment."""

    trainings: TrainingTable
    checkpoints: Checkpoints
    announcer: Announcer
    bus: OutcomeBus
    rounds: Rounds
    dead_letters: DeadLetters
    journal: Journal

    def build(
        self, change: Change, entries: Entries, remaining_seconds: Callable[[], float]
    ) -> None:
        """Do what follows from a change; returns when the queue and the bus have it all.

        What cannot be read becomes a dead letter, and holds up nothing else.

        Args:
            change: of an item of the trainings table.
            entries: of the runs of trainings.
            remaining_seconds: until the function's timeout.

        Raises:
            OutOfTimeError: if the time was not enough for all participants; the next call with the
                same change goes on where this one stopped.
            NotEnqueuedError: if the queue did not accept all messages.
            NotToldError: if the bus did not take all events.
            EntryChangedError: if somebody else tells changes of the same training.
            ClientError: if AWS refuses a call as a whole.
        """
        if change.of_training:
            self._training_changed(change, entries, remaining_seconds)
        elif change.of_participant:
            self._participant_changed(change, entries)
        elif change.looks_meant and change.new is not None:
            reason = "is neither TRAINING nor PARTICIPANT#<uuid>, but looks meant as one"
            error = UnreadableItemError(item_name(change.new), "entity", reason)
            self.dead_letters.unreadable(error, change, change.entity)

    def _training_changed(
        self, change: Change, entries: Entries, remaining_seconds: Callable[[], float]
    ) -> None:
        if change.options_changed:
            for error in wrong_options(change.new):
                self.journal.wrong_option(error)
        try:
            verdict = judge(change, entries.of(change.training_uuid))
        except UnreadableItemError as error:
            self.dead_letters.unreadable(error, change, change.entity)
            return
        for unreadable in verdict.unreadable:
            self.dead_letters.unreadable(unreadable, change, change.entity)
        announcement, event = verdict.announcement, verdict.event
        participants = None
        if announcement is not None:
            participants = self._announce(announcement, change, remaining_seconds)
        if isinstance(event, TrainingStarted):
            if announcement is None or announcement.only_to_selected:
                participants = self.trainings.count(change.training_uuid)
            event = event.model_copy(update={"participants": participants})
        if event is not None:
            self.bus.tell([event], change.at)
        if verdict.run is not None:
            self.rounds.follow(verdict.run, entries.of(change.training_uuid), change.at)
            entries.write(change.training_uuid, verdict.run)

    def _announce(
        self,
        announcement: Announcement,
        change: Change,
        remaining_seconds: Callable[[], float],
    ) -> int | None:
        """Tell everybody whom it concerns; returns how many were read, if they were one page."""
        read = 0
        pages = 0
        unreadable: list[ChangeEvent] = []

        def set_aside(error: UnreadableItemError, entity: str) -> None:
            self.dead_letters.unreadable(error, change, entity)
            if announcement.training.state in RUNNING_STATES:
                unreadable.append(participant_unreadable(change, announcement.run, entity, error))

        for page in self._pages(announcement, change, set_aside, remaining_seconds):
            self.announcer.tell(announcement, page, set_aside)
            read += len(page.participants)
            pages += 1
        if announcement.to_actor:
            self.announcer.tell_actor(announcement)
        self.bus.tell(unreadable, change.at)
        return read if pages == 1 else None

    def _pages(
        self,
        announcement: Announcement,
        change: Change,
        set_aside: SetAside,
        remaining_seconds: Callable[[], float],
    ) -> Iterator[Page]:
        """Read whom it may concern, from where an earlier invocation stopped."""

        def resume_after() -> str | None:
            return self.checkpoints.read(change.fan_out)

        def on_unreadable(error: UnreadableItemError, item: Item) -> None:
            set_aside(error, item["entity"]["S"])

        selected = announcement.training.selected
        if announcement.only_to_selected and selected is not None:
            yield self.trainings.participants_by_key(change.training_uuid, selected, on_unreadable)
            return
        for page in self.trainings.participant_pages(
            change.training_uuid, on_unreadable, resume_after=resume_after
        ):
            yield page
            if page.last is not None and remaining_seconds() < FAN_OUT_RESERVE_SECONDS:
                self.checkpoints.write(change.fan_out, page.last)
                raise OutOfTimeError(f"the next invocation goes on after {page.last}")

    def _participant_changed(self, change: Change, entries: Entries) -> None:
        following = follow(change, entries.of(change.training_uuid))
        if following.unreadable is not None:
            self.dead_letters.unreadable(following.unreadable, change, change.entity)

        def set_aside(error: UnreadableItemError, entity: str) -> None:
            self.dead_letters.unreadable(error, change, entity)

        if following.announcement is not None and following.page is not None:
            self.announcer.tell(following.announcement, following.page, set_aside)
        if following.event is not None:
            self.bus.tell([self._explained(following.event)], change.at)

    def _explained(self, event: ChangeEvent) -> ChangeEvent:
        """The event of a removal, with its reason, if the service itself has removed somebody."""
        if not isinstance(event, ParticipantRemoved):
            return event
        removal = self.trainings.removal(event.training_uuid, event.receiver_uuid)
        if removal is None or removal.joined_at != event.joined_at:
            return event
        return event.model_copy(
            update={"reason": removal.reason, "notification_id": removal.notification_id}
        )

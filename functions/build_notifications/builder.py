"""Handles a change: enqueues deliveries, puts events, then updates the run's entry."""

from dataclasses import dataclass

from fl_notifications.notifications.announcement import Announcement
from fl_notifications.notifications.dead_letters import DeadLetters
from fl_notifications.notifications.unreadable import UnreadableItems
from fl_notifications.outcomes.bus import OutcomeBus
from fl_notifications.outcomes.changes import ChangeEvent, ParticipantRemoved, TrainingStarted
from fl_notifications.telemetry.journal import Journal
from fl_notifications.trainings.items import UnreadableItemError, item_name
from fl_notifications.trainings.table import TrainingTable
from functions.build_notifications.entries import Entries
from functions.build_notifications.judge import judge
from functions.build_notifications.options import wrong_options
from functions.build_notifications.participants import follow, to_others
from functions.build_notifications.records import Change
from functions.build_notifications.rounds import Rounds
from functions.build_notifications.teller import Teller


@dataclass(frozen=True)
class Builder:
    """Everything that is needed to build, made once per execution environment."""

    trainings: TrainingTable
    teller: Teller
    bus: OutcomeBus
    rounds: Rounds
    dead_letters: DeadLetters
    journal: Journal

    def build(self, change: Change, entries: Entries) -> None:
        """Do what follows from a change; returns when the queues and the bus have it all.

        What cannot be read becomes a dead letter, and holds up nothing else.

        Args:
            change: of an item of the trainings table.
            entries: of the runs of trainings.

        Raises:
            NotEnqueuedError: if a queue did not accept all messages.
            NotToldError: if the bus did not take all events.
            NotReadError: if the table did not give all participants.
            EntryChangedError: if somebody else tells changes of the same training.
            ClientError: if AWS refuses a call as a whole.
        """
        if change.of_training:
            self._training_changed(change, entries)
        elif change.of_participant:
            self._participant_changed(change, entries)
        elif change.looks_meant and change.new is not None:
            reason = "is neither TRAINING nor PARTICIPANT#<uuid>, but looks meant as one"
            error = UnreadableItemError(item_name(change.new), "entity", reason)
            self.dead_letters.unreadable(error, change.record, change.entity)

    def _training_changed(self, change: Change, entries: Entries) -> None:
        if change.options_changed:
            for error in wrong_options(change.new):
                self.journal.wrong_option(error)
        try:
            verdict = judge(change, entries.of(change.training_uuid))
        except UnreadableItemError as error:
            self.dead_letters.unreadable(error, change.record, change.entity)
            return
        for unreadable in verdict.unreadable:
            self.dead_letters.unreadable(unreadable, change.record, change.entity)
        participants = None
        if verdict.announcement is not None:
            told = verdict.announcement
            set_aside = self._unreadable(told, change)
            participants = self.teller.tell_all(told, change, entries, set_aside)
            set_aside.tell()
        if verdict.event is not None:
            event = self._counted(verdict.event, participants, entries)
            self.bus.tell([event], change.at)
        if verdict.run is not None:
            self.rounds.follow(verdict.run, entries.of(change.training_uuid), change.at)
            entries.write(change.training_uuid, verdict.run)

    def _counted(
        self, event: ChangeEvent, participants: int | None, entries: Entries
    ) -> ChangeEvent:
        """The event of a training, with the number of its participants unless it is large."""
        if not isinstance(event, TrainingStarted):
            return event
        if participants is None and not entries.is_large(event.training_uuid):
            participants = self.trainings.count(event.training_uuid)
        return event.model_copy(update={"participants": participants})

    def _participant_changed(self, change: Change, entries: Entries) -> None:
        following = follow(change, entries.of(change.training_uuid))
        if following.unreadable is not None:
            self.dead_letters.unreadable(following.unreadable, change.record, change.entity)
        told, page = following.announcement, following.page
        if told is not None and page is not None:
            set_aside = self._unreadable(told, change)
            self.teller.tell_one(told, page, change, entries, set_aside)
            set_aside.tell()
        if following.event is None:
            return
        event = self._explained(following.event)
        if following.others and told and isinstance(event, ParticipantRemoved):
            others = to_others(told, event, change.sequence_number)
            set_aside = self._unreadable(others, change)
            self.teller.tell_all(others, change, entries, set_aside)
            set_aside.tell()
        self.bus.tell([event], change.at)

    def _unreadable(self, announcement: Announcement, change: Change) -> UnreadableItems:
        return UnreadableItems(self.dead_letters, self.bus, announcement, change.record)

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

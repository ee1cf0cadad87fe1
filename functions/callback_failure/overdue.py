"""`training_overdue_callback`: a round lasts longer than its deadline."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from fl_notifications.aws.batches import BATCH_GET
from fl_notifications.clock import Clock
from fl_notifications.deliveries.delivery import ANNOUNCED_STATE, notification_id
from fl_notifications.outcomes.changes import ChangeEvent, TrainingOverdue
from fl_notifications.outcomes.ledger import Ledger
from fl_notifications.outcomes.outcome import OutcomeKind
from fl_notifications.outcomes.runs import OLDER_THAN_THE_SERVICE, later_than
from fl_notifications.trainings.items import Item
from fl_notifications.trainings.model import (
    LateJoiners,
    OnDeadline,
    TrainingOptions,
    TrainingState,
    Uuid,
    canonical,
)
from functions.callback_failure.changes import (
    READINGS,
    Cause,
    ChangedMeanwhileError,
    Changes,
)
from functions.callback_failure.options import OptionsReader
from functions.callback_failure.participants import ParticipantReader, uuid_of
from functions.callback_failure.situation import CurrentTraining, SituationReader
from functions.callback_failure.worker import NotFinishedError

BUDGET_SECONDS: Final = 20.0
"""Seconds that one invocation spends on removals; the next one continues."""

STREAM_PRECISION: Final = timedelta(seconds=1)
"""The stream rounds the time of a change down to seconds (DynamoDB Streams API Reference)."""

_KIND: Final = {state.value: kind for kind, state in ANNOUNCED_STATE.items()}

_REMOVALS: Final = {
    OnDeadline.REMOVE_UNACCEPTED: "not accepted by the deadline",
    OnDeadline.REMOVE_UNREPORTED: "not reported by the deadline",
}


class EntryLagsError(Exception):
    """The training's entry in the ledger does not know the round yet."""


class _Told(BaseModel):
    """The part of a training, as it was told, that says who was told."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    selected: frozenset[Uuid] | None = Field(default=None)

    def includes(self, uuid: str) -> bool:
        """Whether a participant, in the one spelling, was told the round."""
        return self.selected is None or uuid in set(map(canonical, self.selected))


@dataclass(frozen=True)
class OverdueCallback:
    """Does what `options.on_deadline` says, if the training is still in that round."""

    situations: SituationReader
    participants: ParticipantReader
    ledger: Ledger
    changes: Changes
    options: OptionsReader
    clock: Clock

    def apply(self, event: ChangeEvent) -> str:
        """End the training, or remove those for whom the round waits.

        Args:
            event: of a round whose deadline is over.

        Returns:
            What was done, in a few words.

        Raises:
            NotFinishedError: if there is more to do than one invocation has time for.
            EntryLagsError: if it is not known yet who was told the round.
            UnreadableItemError: if the training's state or round cannot be read.
            ClientError: if a table cannot be read or written.
        """
        if not isinstance(event, TrainingOverdue):
            return "nothing to do: no deadline is over"
        for _ in range(READINGS):
            now = self.situations.read(event.training_uuid, entry_id=_progress_id(event))
            if (why := self._why_not(now.training, event)) is not None:
                return f"nothing to do: {why}"
            if now.training is None:
                break  # told above
            options = self.options.of(now.training)
            unknown = event.sequence == OLDER_THAN_THE_SERVICE
            if unknown and options.on_deadline is OnDeadline.REMOVE_UNACCEPTED:
                return "nothing to do: the round was not told by this service, nor who accepted it"
            if options.on_deadline in _REMOVALS:
                told = _told(now.run, event)
                if told is None:
                    return "nothing to do: the training is further on"
                after = (now.entry or {}).get("worked_off", {}).get("S")
                return self._remove(event, options, told, after)
            cause = Cause("the round was not over by its deadline", self.clock.now())
            if self.changes.end_training(now.training, cause):
                return "training set to ERROR"
        raise ChangedMeanwhileError("the training had changed each time that it was to be written")

    def _why_not(self, training: CurrentTraining | None, event: TrainingOverdue) -> str | None:
        if training is None:
            return "the training is gone"
        progress = training.progress
        if (progress.state, progress.round) != (event.state, event.round):
            return f"the training is {progress.state}, round {progress.round}"
        options = self.options.of(training)
        # Current options, so that a deadline extended at the last moment still counts.
        seconds = options.round_deadline_seconds
        if seconds is None or event.began_at + timedelta(seconds=seconds) > self.clock.now():
            return "its deadline was moved"
        return "no more than the event" if options.on_deadline is OnDeadline.EVENT else None

    def _remove(
        self, event: TrainingOverdue, options: TrainingOptions, told: _Told, after: str | None
    ) -> str:
        until, removed = self.clock.monotonic() + BUDGET_SECONDS, 0
        for page in self.participants.pages(event.training_uuid, after):
            for some in itertools.batched(page, BATCH_GET):
                if self.clock.monotonic() > until:
                    if after is not None:
                        self.changes.note_progress(_progress_id(event), after, self.clock.now())
                    raise NotFinishedError(f"{removed} participants removed so far")
                # The round may end while others are being removed.
                training = self.situations.read(event.training_uuid).training
                if (why := self._why_not(training, event)) is not None:
                    return f"{removed} participants removed; then nothing to do: {why}"
                removed += self._remove_some(some, event, options, told)
                after = some[-1]["entity"]["S"]
        return f"{removed} participants removed"

    def _remove_some(
        self, items: Iterable[Item], event: TrainingOverdue, options: TrainingOptions, told: _Told
    ) -> int:
        """Remove those of some participants for whom the round waits; returns how many."""
        policy = options.on_deadline
        reported = f"{event.state}#{event.round}"
        members = _members(items, event, told)
        doubtful = {n for n, it in members.items() if is_after(_joined_at(it), event.began_at)}
        asked = members if policy is OnDeadline.REMOVE_UNACCEPTED else doubtful
        entries = self.ledger.entries(asked) if asked else {}
        # Who has joined in the very second was there before if it was told, unless who joins later
        # is told, too.
        tells_all = options.late_joiners is LateJoiners.CURRENT_ROUND
        late = doubtful if tells_all else doubtful - entries.keys()
        if policy is OnDeadline.REMOVE_UNACCEPTED:
            done = {n for n, it in entries.items() if it.outcome is OutcomeKind.ACCEPTED}
        else:
            done = {n for n, it in members.items() if it.get("reported", {}).get("S") == reported}
        waited_for = {n: it for n, it in members.items() if n not in late | done}
        return sum(
            self.changes.remove_participant(
                item,
                notification_id=notice,
                reason=f"{_KIND[event.state].value} to a participant: {_REMOVALS[policy]}",
                at=self.clock.now(),
                unless_accepted=policy is OnDeadline.REMOVE_UNACCEPTED,
                unless_reported=reported if policy is OnDeadline.REMOVE_UNREPORTED else None,
            )
            for notice, item in waited_for.items()
        )


def _told(run: Mapping[str, Any] | None, event: TrainingOverdue) -> _Told | None:
    """Who was told the round; None if a later one has been told since.

    Raises:
        EntryLagsError: if the entry does not know the round yet.
    """
    announced = (run or {}).get("round_change", {}).get("S")
    if run is None or announced is None or later_than(event.sequence, announced):
        raise EntryLagsError("the training's entry does not know the round yet")
    if later_than(announced, event.sequence):
        return None
    return _Told.model_validate_json(run["training"]["S"])


def _members(items: Iterable[Item], event: TrainingOverdue, told: _Told) -> dict[str, Item]:
    """Those of some participants that may have been told the round, by the id of its notice."""
    members = {}
    for item in items:
        uuid, joined_at = uuid_of(item), _joined_at(item)
        if uuid is None or not told.includes(uuid):
            continue
        if not is_after(joined_at, event.began_at + STREAM_PRECISION):
            members[_notice(event, uuid, joined_at)] = item
    return members


def _joined_at(item: Item) -> str | None:
    return item.get("joined_at", {}).get("S")


def _notice(event: TrainingOverdue, uuid: str, joined_at: str | None) -> str:
    """The id of the notification that has told a participant the round."""
    return notification_id(
        _KIND[TrainingState(event.state)],
        uuid,
        training_uuid=event.training_uuid,
        run=event.run,
        source=event.sequence,
        joined_at=joined_at,
    )


def _progress_id(event: TrainingOverdue) -> str:
    return f"overdue#{event.training_uuid}#{event.sequence}"


def is_after(joined_at: str | None, moment: datetime) -> bool:
    """Whether somebody joined after a moment; not if that is missing or cannot be read."""
    try:
        return joined_at is not None and datetime.fromisoformat(joined_at) > moment
    except (ValueError, TypeError):  # TypeError: it has no time zone
        return False

"""`enforce_quorum`: a training in which too few take part ends, whoever has removed them."""

from dataclasses import dataclass

from fl_notifications.outcomes.changes import (
    ChangeEvent,
    ParticipantRemoved,
    ParticipantUnreadable,
    TrainingStarted,
)
from fl_notifications.trainings.model import RUNNING_STATES, same_uuid
from functions.callback_failure.changes import (
    READINGS,
    Cause,
    ChangedMeanwhileError,
    Changes,
)
from functions.callback_failure.options import OptionsReader
from functions.callback_failure.participants import ParticipantReader
from functions.callback_failure.situation import CurrentTraining, SituationReader


@dataclass(frozen=True)
class QuorumCallback:
    """Asks whether all that are required and enough others take part; judged by what is so now."""

    situations: SituationReader
    participants: ParticipantReader
    changes: Changes
    options: OptionsReader

    def apply(self, event: ChangeEvent) -> str:
        """Let the training become `ERROR` if it has to.

        Args:
            event: of a change after which there may be too few.

        Returns:
            What was done, in a few words.

        Raises:
            UnreadableItemError: if the training's state or round cannot be read.
            ChangedMeanwhileError: if the training changed each time that it was to be written.
            ClientError: if the table cannot be read or written.
        """
        if not isinstance(event, ParticipantRemoved | ParticipantUnreadable | TrainingStarted):
            return "nothing to do: nobody can be missing after that"
        for _ in range(READINGS):
            training = self.situations.read(event.training_uuid).training
            if training is None:
                return "nothing to do: the training is gone"
            if training.progress.state not in RUNNING_STATES:
                return f"nothing to do: the training is {training.progress.state}"
            if (cause := self._too_few(training, event)) is None:
                return "enough participants take part"
            if self.changes.end_training(training, cause):
                return "training set to ERROR"
        raise ChangedMeanwhileError("the training had changed each time that it was to be written")

    def _too_few(
        self,
        training: CurrentTraining,
        event: ParticipantRemoved | ParticipantUnreadable | TrainingStarted,
    ) -> Cause | None:
        options = self.options.of(training)
        removed = event if isinstance(event, ParticipantRemoved) else None
        missing = self.participants.missing(training.uuid, options.required_participants)
        if missing:
            out = next((uuid for uuid in missing if _is(removed, uuid)), None)
            said = "a required participant is out"
            if removed is None or out is None:
                return Cause(said, event.at, missing[0])
            return _because_of(removed, said)
        if self.participants.are_at_least(training.uuid, options.min_participants):
            return None
        said = f"fewer than {options.min_participants} participants are left"
        return Cause(said, event.at) if removed is None else _because_of(removed, said)


def _is(removed: ParticipantRemoved | None, uuid: str) -> bool:
    return removed is not None and same_uuid(removed.receiver_uuid, uuid)


def _because_of(removed: ParticipantRemoved, said: str) -> Cause:
    """What the training's error says if somebody's removal has led to it."""
    reason = said if removed.reason is None else f"{said}: {removed.reason}"
    return Cause(reason, removed.at, removed.receiver_uuid, removed.notification_id)

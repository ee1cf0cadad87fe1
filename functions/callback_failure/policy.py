"""The failure policy: what becomes of a training when a participant rejects or cannot be told."""

from dataclasses import dataclass

from fl_notifications.clock import Clock
from fl_notifications.deliveries.delivery import ANNOUNCED_STATE
from fl_notifications.outcomes.outcome import Outcome, OutcomeKind
from fl_notifications.trainings.model import FailurePolicy, Training, TrainingState
from fl_notifications.trainings.table import TrainingTable
from functions.callback_failure.changes import Changes, Removal


@dataclass(frozen=True)
class FailureCallback:
    """Does what the failure policy of the training says, however often it is told to."""

    trainings: TrainingTable
    changes: Changes
    clock: Clock

    def apply(self, kind: OutcomeKind, outcome: Outcome) -> str:
        """Remove the participant or end the training, as its failure policy says.

        Args:
            kind: rejected or failed.
            outcome: of a round notification.

        Returns:
            What was done, in a few words.

        Raises:
            UnreadableItemError: if the training's item cannot be read.
            ClientError: if the table cannot be read or written.
        """
        state = ANNOUNCED_STATE.get(outcome.notification_type)
        if outcome.training_uuid is None or outcome.round is None or state is None:
            return "nothing to do: not about a round of a training"
        training = self.trainings.training(outcome.training_uuid)
        if training is None:
            return "nothing to do: the training is gone"
        if kind is OutcomeKind.FAILED and training.options.failure_policy is FailurePolicy.STRICT:
            return self._end(training, state, outcome, f"{outcome.reason}")
        removal = self.changes.remove_participant(
            training.training_uuid,
            outcome.receiver_uuid,
            because_of=outcome,
            at=self.clock.now(),
        )
        if removal is Removal.JOINED_AGAIN:
            return removal.value
        # Even if it was gone already: whoever removed it may have died before the next step.
        if (reason := self._too_few(training, outcome)) is not None:
            return f"{removal.value}; {self._end(training, state, outcome, reason)}"
        return removal.value

    def _too_few(self, training: Training, outcome: Outcome) -> str | None:
        options = training.options
        if options.requires(outcome.receiver_uuid):
            return f"a required participant is out: {outcome.reason}"
        if not self.trainings.has_participants(training.training_uuid, options.min_participants):
            return f"fewer than {options.min_participants} participants are left: {outcome.reason}"
        return None

    def _end(self, training: Training, state: TrainingState, outcome: Outcome, reason: str) -> str:
        ended = self.changes.set_error(
            training.training_uuid,
            state=state,
            round_number=outcome.round or 0,
            reason=f"{outcome.notification_type.value} to a participant: {reason}",
            receiver_uuid=outcome.receiver_uuid,
            notification_id=outcome.notification_id,
            at=outcome.finished_at,
        )
        return "training set to ERROR" if ended else "training left alone: it is over or further on"

"""The failure policy: what becomes of a training when a participant rejects or cannot be told."""

from dataclasses import dataclass

from shared.clock import Clock
from shared.deliveries import ANNOUNCED_STATE
from shared.outcomes import Outcome, OutcomeKind
from shared.table import Removal, TrainingTable
from shared.trainings import FailurePolicy, Training, TrainingState


@dataclass(frozen=True)
class FailureCallback:
    """Does what the failure policy of the training says, however often it is told to."""

    trainings: TrainingTable
    ledger_table: str
    clock: Clock

    def apply(self, kind: OutcomeKind, outcome: Outcome) -> str:
        """Remove the participant or end the training, as its failure policy says.

        Args:
            kind: rejected or failed.
            outcome: of a round notification.

        Returns:
            What was done, in a few words.

        Raises:
            shared.trainings.UnreadableItemError: if the training's item cannot be read.
            botocore.exceptions.ClientError: if the table cannot be read or written.
        """
        state = ANNOUNCED_STATE.get(outcome.notification_type)
        if outcome.training_uuid is None or outcome.round is None or state is None:
            return "nothing to do: not about a round of a training"
        training = self.trainings.training(outcome.training_uuid)
        if training is None:
            return "nothing to do: the training is gone"
        if kind is OutcomeKind.FAILED and training.options.failure_policy is FailurePolicy.STRICT:
            return self._end(training, state, outcome, f"{outcome.reason}")
        removal = self.trainings.remove_participant(
            training.training_uuid,
            outcome.receiver_uuid,
            because_of=outcome,
            ledger_table=self.ledger_table,
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
        ended = self.trainings.set_error(
            training.training_uuid,
            state=state,
            round_number=outcome.round or 0,
            reason=f"{outcome.notification_type.value} to a participant: {reason}",
            receiver_uuid=outcome.receiver_uuid,
            notification_id=outcome.notification_id,
            at=outcome.finished_at,
        )
        return "training set to ERROR" if ended else "training left alone: it is over or further on"

"""`training_notification_callback_failure`: a participant rejects a round, or cannot be told it."""

from dataclasses import dataclass

from fl_notifications.clock import Clock
from fl_notifications.deliveries.delivery import ANNOUNCED_STATE
from fl_notifications.outcomes.outcome import Outcome, OutcomeKind
from fl_notifications.outcomes.runs import later_than
from fl_notifications.trainings.items import Item
from fl_notifications.trainings.model import (
    RUNNING_STATES,
    FailurePolicy,
    TrainingState,
)
from functions.callback_failure.changes import (
    READINGS,
    Cause,
    ChangedMeanwhileError,
    Changes,
)
from functions.callback_failure.options import OptionsReader
from functions.callback_failure.situation import CurrentTraining, Situation, SituationReader


@dataclass(frozen=True)
class FailureCallback:
    """Removes the participant or ends the training, as its options say, however often it is told.

    Whether enough participants are left is asked by `enforce_quorum`, as for every removal.
    """

    situations: SituationReader
    changes: Changes
    options: OptionsReader
    clock: Clock

    def apply(self, kind: OutcomeKind, outcome: Outcome) -> str:
        """Do what the failure policy says about an outcome.

        Args:
            kind: rejected or failed.
            outcome: of a round notification.

        Returns:
            What was done, in a few words.

        Raises:
            UnreadableItemError: if the training's state or round cannot be read.
            ChangedMeanwhileError: if the tables changed each time that they were to be written.
            ClientError: if a table cannot be read or written.
        """
        state = ANNOUNCED_STATE.get(outcome.notification_type)
        if outcome.training_uuid is None or outcome.round is None or state is None:
            return "nothing to do: not about a round of a training"
        for _ in range(READINGS):
            now = self.situations.read(
                outcome.training_uuid,
                participant_uuid=outcome.receiver_uuid,
                entry_id=outcome.notification_id,
            )
            training, participant = now.training, now.participant
            if training is None:
                return "nothing to do: the training is gone"
            if (why := _why_over(training, now, state, outcome)) is not None:
                return f"nothing to do: {why}"
            if participant is None:
                return "nothing to do: it takes part no more"
            if (why := _why_another(participant, now, outcome)) is not None:
                return f"nothing to do: {why}"
            if (done := self._follow(kind, outcome, training, participant)) is not None:
                return done
        raise ChangedMeanwhileError("what was read had changed each time that it was to be written")

    def _follow(
        self, kind: OutcomeKind, outcome: Outcome, training: CurrentTraining, participant: Item
    ) -> str | None:
        """Change the tables; None if what was read is no longer so."""
        reason = f"{outcome.notification_type.value} to a participant: {outcome.reason}"
        strict = self.options.of(training).failure_policy is FailurePolicy.STRICT
        if kind is OutcomeKind.FAILED and strict:
            cause = Cause(
                reason, outcome.finished_at, outcome.receiver_uuid, outcome.notification_id
            )
            ended = self.changes.end_training(training, cause, participant=participant)
            return "training set to ERROR" if ended else None
        removed = self.changes.remove_participant(
            participant,
            notification_id=outcome.notification_id,
            reason=reason,
            at=self.clock.now(),
        )
        return "participant removed" if removed else None


def _why_over(
    training: CurrentTraining, now: Situation, state: TrainingState, outcome: Outcome
) -> str | None:
    """Why the round that was announced is no longer that of the training; None if it is."""
    progress = training.progress
    if progress.state not in RUNNING_STATES:
        return f"the training is {progress.state}"
    if (progress.state, progress.round) != (state, outcome.round):
        return "the training is further on"
    if outcome.run is None:
        return None  # of an older version, which knew no runs
    current = (now.run or {}).get("run", {}).get("S")
    # The entry may lag behind the outcome: an earlier run than the outcome's is all right.
    if current is not None and later_than(current, outcome.run):
        return "the training is in a later run"
    # Where the entry lags behind a restart. The ledger has it, as the event's contract has not.
    if now.entry is not None and _text(now.entry, "started_at") != _text(
        training.item, "started_at"
    ):
        return "the training was started again"
    return None


def _why_another(participant: Item, now: Situation, outcome: Outcome) -> str | None:
    """Why the membership that the outcome concerns is not the one of now; None if it is."""
    if "participant_removed" in (now.entry or {}):
        return "it was removed because of this before"
    if outcome.knows_membership and _text(participant, "joined_at") != outcome.joined_at:
        return "it has joined again"
    return None


def _text(item: Item, attribute: str) -> str | None:
    """A text, as it is compared; NULL counts as absent, and what is no text is like no text."""
    value = item.get(attribute, {"NULL": True})
    return None if "NULL" in value else str(value.get("S", value))

"""Keeps the round that a training is in, so that the sweep can tell when it lasts too long."""

from dataclasses import dataclass, replace
from datetime import datetime

from fl_notifications.deliveries.delivery import ANNOUNCED_STATE
from fl_notifications.outcomes.runs import Run
from fl_notifications.outcomes.waiting import WaitingRound, WaitingTable

_KIND_OF_STATE = {state: kind for kind, state in ANNOUNCED_STATE.items()}


@dataclass(frozen=True)
class Rounds:
    """The rounds of trainings."""

    waiting: WaitingTable

    def follow(self, run: Run, before: Run | None, at: datetime) -> None:
        """Write, move or delete a training's round, as its entry says.

        With other options the deadline counts from the round's beginning, as before; but if the
        round was overdue already, from now on.

        Args:
            run: the entry, once the change is told.
            before: the entry until then.
            at: when the change was made.

        Raises:
            UnreadableWaitingError: if the round that is there cannot be read.
            ClientError: if the table refuses a call.
        """
        training_uuid = run.training.training_uuid
        if not run.runs:
            self.waiting.end_round(training_uuid, run.told)
            return
        if run.round_change == run.told:
            self.waiting.put_round(_round(run, at))
        elif before is None or before.training.options != run.training.options:
            known = self.waiting.round_of(training_uuid)
            began_at = at if known is None or known.source != run.round_change else known.began_at
            self.waiting.put_round(replace(_round(run, at), began_at=began_at))


def _round(run: Run, began_at: datetime) -> WaitingRound:
    training = run.training
    return WaitingRound(
        training_uuid=training.training_uuid,
        state=training.state.value,
        round=training.round,
        kind=_KIND_OF_STATE[training.state].value,
        run=run.run,
        source=run.round_change or run.run,
        began_at=began_at,
        policy=training.options.on_deadline,
        deadline_seconds=training.options.round_deadline_seconds,
    )

"""What follows an attempt: its entry in the ledger, then the outcome event."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fl_notifications.aws.batches import EVENTS_BATCH
from fl_notifications.deliveries.delivery import Delivery
from fl_notifications.outcomes.bus import Conclusion, OutcomeBus
from fl_notifications.outcomes.ledger import Ledger, LedgerEntry
from fl_notifications.outcomes.outcome import outcome_of
from fl_notifications.telemetry.journal import Journal

MAX_STEPS: Final = EVENTS_BATCH
"""Steps per call: PutEvents takes 10, BatchWriteItem 25."""


@dataclass(frozen=True, slots=True)
class Step:
    """Result of handling a message: its new entry in the ledger, and the retry delay if undecided.

    Attributes:
        wait_seconds: how long the next attempt is to wait, if the entry has no outcome.
        known: whether the ledger has that entry already: the message comes once more.
        contested: whether another one may conclude the notification at the same time.
        is_news: whether its conclusion is to be written down, once it is told.
    """

    delivery: Delivery
    entry: LedgerEntry
    wait_seconds: int = 0
    known: bool = False
    contested: bool = False
    is_news: bool = True


@dataclass(frozen=True, slots=True)
class Settler:
    """Records steps and tells outcomes; each at most `MAX_STEPS` at a time."""

    ledger: Ledger
    bus: OutcomeBus
    journal: Journal

    def record(self, steps: Sequence[Step]) -> dict[str, LedgerEntry]:
        """Write steps to the ledger.

        Contested ones one by one, and only if there is no outcome yet: such a write costs as much,
        but a call of its own.

        Returns:
            The entries that count, by notification id; those that could not be written are missing.
        """
        contested = [step for step in steps if step.contested]
        counting = self._record_all([step for step in steps if not step.contested])
        for step in contested:
            try:
                entry, _ = self.ledger.conclude(step.delivery, step.entry)
            except Exception as error:  # noqa: BLE001 - see below
                self.journal.trouble("the ledger could not be written", error)
            else:
                counting[step.delivery.notification_id] = entry
        return counting

    def _record_all(self, steps: Sequence[Step]) -> dict[str, LedgerEntry]:
        if not steps:
            return {}
        try:
            left = self.ledger.record([(step.delivery, step.entry) for step in steps])
        except Exception as error:  # noqa: BLE001 - what is not recorded must stay in the queue
            self.journal.trouble("the ledger could not be written", error)
            return {}
        entries = {step.delivery.notification_id: step.entry for step in steps}
        return {each: entry for each, entry in entries.items() if each not in left}

    def tell(self, steps: Sequence[Step]) -> set[str]:
        """Tell the outcomes of concluded steps to the bus; returns the ids of those not taken."""
        conclusions = [
            (step, conclusion) for step in steps if (conclusion := _conclusion(step)) is not None
        ]
        if not conclusions:
            return set()
        # As of the time before: a callback may be quicker than the bus's answer.
        with self.journal.in_bulk():
            try:
                untold = self.bus.put([conclusion for _, conclusion in conclusions])
            except Exception as error:  # noqa: BLE001 - what is not told must stay in the queue
                self.journal.trouble("outcomes could not be told", error)
                return {outcome.notification_id for _, (_, outcome) in conclusions}
            for step, (kind, outcome) in conclusions:
                if step.is_news and outcome.notification_id not in untold:
                    self.journal.concluded(kind, outcome)
        return untold


def _conclusion(step: Step) -> Conclusion | None:
    entry = step.entry
    if entry.outcome is None:
        return None
    outcome = outcome_of(
        step.delivery,
        entry.outcome,
        attempts=entry.attempts,
        status_code=entry.status_code,
        reason=entry.reason,
        finished_at=entry.at,
    )
    return entry.outcome, outcome

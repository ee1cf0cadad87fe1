"""Concludes notifications that wait in a mailbox: once each, whoever else tries at the same time.

Always in this order: ledger (conditionally), event, item. Who dies after the first leaves an item
whose outcome the ledger knows: it is told and deleted by whoever finds it next. Who dies after the
second leaves an event that is repeated.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from fl_notifications.aws.batches import EVENTS_BATCH
from fl_notifications.outcomes.bus import Conclusion, OutcomeBus
from fl_notifications.outcomes.facts import Facts
from fl_notifications.outcomes.ledger import Ledger, LedgerEntry
from fl_notifications.outcomes.outcome import Outcome, OutcomeKind, outcome_of
from fl_notifications.outcomes.waiting import ReceiverSeen, WaitingNotification, WaitingTable


@dataclass(frozen=True, slots=True)
class Ending:
    """How a waiting notification is to end.

    Attributes:
        entry: for the ledger, with an outcome.
        known: whether the ledger has that already, so that it only has to be told.
    """

    waiting: WaitingNotification
    entry: LedgerEntry
    known: bool = False


def ended_already(facts: Facts, waiting: WaitingNotification, now: datetime) -> Ending | None:
    """How a notification has ended, or has to, whatever its receiver says; None if it has not.

    Raises:
        UnreadableEntryError: if the ledger's entry cannot be read.
    """
    before = facts.entry_of(waiting.delivery)
    if before is not None and before.outcome is not None:
        return Ending(waiting, before, known=True)
    if (reason := facts.why_superseded(waiting.delivery)) is None:
        return None
    return ends_as(OutcomeKind.SUPERSEDED, facts, waiting, reason=reason, now=now)


def ends_as(
    kind: OutcomeKind,
    facts: Facts,
    waiting: WaitingNotification,
    *,
    reason: str | None,
    now: datetime,
) -> Ending:
    """Let a notification end so; the attempts that were made before it came here stay.

    Raises:
        UnreadableEntryError: if the ledger's entry cannot be read.
    """
    before = facts.entry_of(waiting.delivery)
    return Ending(waiting, LedgerEntry(before.attempts if before else 0, kind, None, reason, now))


@dataclass(frozen=True)
class Concluder:
    """Concludes waiting notifications.

    Attributes:
        on_concluded: told of each that this call has decided.
    """

    ledger: Ledger
    bus: OutcomeBus
    waiting: WaitingTable
    on_concluded: Callable[[OutcomeKind, Outcome], None]

    def conclude(
        self, endings: Sequence[Ending], *seen: tuple[str, ReceiverSeen]
    ) -> dict[str, LedgerEntry]:
        """Conclude notifications.

        Args:
            endings: how each is to end; of several for one notification the first counts.
            seen: what is to be written of receivers, with the same call as the deletions.

        Returns:
            By notification id: the entry that counts. Another one than that asked for, if somebody
            else was first.

        Raises:
            ClientError: if a table or the bus refuses a call. Doing it again is safe.
        """
        counting: dict[str, LedgerEntry] = {}
        told: dict[str, Conclusion] = {}
        for ending in endings:
            delivery = ending.waiting.delivery
            if delivery.notification_id in counting:
                continue
            if ending.known:
                entry, first = ending.entry, False
            else:
                entry, first = self.ledger.conclude(delivery, ending.entry)
            counting[delivery.notification_id] = entry
            if entry.outcome is None:
                continue
            outcome = outcome_of(
                delivery,
                entry.outcome,
                attempts=entry.attempts,
                status_code=entry.status_code,
                reason=entry.reason,
                finished_at=entry.at,
            )
            told[delivery.notification_id] = entry.outcome, outcome
            if first:
                self.on_concluded(entry.outcome, outcome)
        untold: set[str] = set()
        for batch in itertools.batched(told.values(), EVENTS_BATCH):
            untold |= self.bus.put(batch)
        gone = [
            ending.waiting
            for ending in endings
            if (each := ending.waiting.delivery.notification_id) in told and each not in untold
        ]
        if gone or seen:
            self.waiting.clear(gone, *seen)
        return counting

"""Time limit for a failing record (a poison message): one training must not block its shard."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from fl_notifications.clock import Clock

PATIENCE: Final = timedelta(minutes=5)

_FORGOTTEN_AFTER: Final = timedelta(days=1)
"""The stream keeps a record no longer than this."""


@dataclass(frozen=True)
class Patience:
    """Since when records have been failing, as far as this execution environment has seen it.

    A record that another environment fails with is known there: it takes longer then, never less.
    """

    clock: Clock
    _first_failures: dict[str, datetime] = field(default_factory=dict)

    def is_over(self, sequence_number: str) -> bool:
        """Note that a record has failed; says whether it has been failing for too long."""
        now = self.clock.now()
        for number, at in list(self._first_failures.items()):
            if now - at > _FORGOTTEN_AFTER:
                del self._first_failures[number]
        return now - self._first_failures.setdefault(sequence_number, now) >= PATIENCE

    def forget(self, sequence_number: str) -> None:
        """Note that a record fails no longer."""
        self._first_failures.pop(sequence_number, None)

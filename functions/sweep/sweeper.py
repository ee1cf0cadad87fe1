"""Concludes what is due, the shards of the index side by side."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from fl_notifications.clock import Clock
from fl_notifications.outcomes.facts import MAX_DELIVERIES
from fl_notifications.outcomes.waiting import ROUND, SHARDS, Item, WaitingTable
from fl_notifications.telemetry.journal import Journal
from functions.sweep.notifications import Notifications
from functions.sweep.rounds import Rounds

RESERVE_SECONDS: Final = 10.0
"""No page is begun with less time left than this; the next sweep continues."""


class SweepError(Exception):
    """Some due items could not be concluded; the next sweep retries them."""


@dataclass(frozen=True)
class Sweeper:
    """Everything that is needed to sweep, built once per execution environment.

    Attributes:
        executor: concludes shards side by side; without one they go one by one. A shard is
            concluded in order, one page after the other.
    """

    waiting: WaitingTable
    notifications: Notifications
    rounds: Rounds
    clock: Clock
    journal: Journal
    executor: Executor | None = None

    def sweep(self, remaining_seconds: Callable[[], float]) -> None:
        """Conclude what is due, as far as there is time.

        Two sweeps at once do no harm: the ledger's entries are conditional.

        Args:
            remaining_seconds: until the function's timeout.

        Raises:
            SweepError: if some of it could not be concluded; all the rest is.
        """
        now = self.clock.now()
        # Each sweep begins with another shard, so that none is always the last.
        first = int(now.timestamp() // 60)
        shards = [(first + number) % SHARDS for number in range(SHARDS)]
        side_by_side = map if self.executor is None else self.executor.map
        try:
            failures = sum(
                side_by_side(lambda shard: self._shard(shard, now, remaining_seconds), shards)
            )
        finally:
            self.journal.flush()
        if failures:
            raise SweepError(f"{failures} pages")

    def _shard(self, shard: int, now: datetime, remaining_seconds: Callable[[], float]) -> int:
        """Conclude what is due in a shard; returns how many pages of it failed."""
        failures = 0
        try:
            for page in self.waiting.due(shard, now, limit=MAX_DELIVERIES):
                if remaining_seconds() < RESERVE_SECONDS:
                    return failures
                failures += self._page(page, now)
        except Exception as error:  # noqa: BLE001 - the other shards are not held up by it
            self.journal.trouble("what is due could not be read", error)
            failures += 1
        return failures

    def _page(self, page: Sequence[Item], now: datetime) -> int:
        rounds = [item for item in page if item["what"]["S"] == ROUND]
        try:
            self.notifications.conclude([item for item in page if item not in rounds], now)
            for item in rounds:
                self.rounds.conclude(item, now)
        except Exception as error:  # noqa: BLE001 - neither are the other pages
            self.journal.trouble("what is due could not be concluded", error)
            return 1
        return 0

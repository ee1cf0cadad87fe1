"""Decides how long a participant waits until its next poll."""

import random
from dataclasses import dataclass
from datetime import datetime
from typing import Final

SHARE: Final = 20
"""The wait is this share of the time since the last notification."""

JITTER: Final = 0.1


@dataclass(frozen=True, slots=True)
class Polling:
    """How long to wait between two polls.

    Attributes:
        min_seconds: the shortest wait.
        max_seconds: the longest one, and that of who was never told anything.
    """

    min_seconds: float
    max_seconds: float
    jitter: random.Random

    def wait_seconds(self, last: datetime | None, now: datetime) -> float:
        """Seconds to wait, if the last notification came about at this time."""
        age = None if last is None else (now - last).total_seconds() / SHARE
        seconds = (
            self.max_seconds if age is None else min(max(age, self.min_seconds), self.max_seconds)
        )
        return round(seconds * self.jitter.uniform(1 - JITTER, 1 + JITTER), 1)

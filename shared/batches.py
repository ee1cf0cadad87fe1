"""Batch APIs answer 200 and fail in part; what they leave undone is asked for again here."""

import time
from collections.abc import Callable
from typing import Any, Final

from tenacity import Retrying, retry_if_result, stop_after_attempt, wait_random_exponential

ATTEMPTS: Final = 5
"""Calls for one batch; the waits between them, at most 2 s each, add up to at most 8 s."""

SQS_BATCH: Final = 10
EVENTS_BATCH: Final = 10
BATCH_WRITE: Final = 25
"""How many entries AWS takes in one call."""


def until_done[T](
    pending: T, call: Callable[[T], T], *, sleep: Callable[[float], Any] = time.sleep
) -> T:
    """Call with what is pending until nothing is left, at most `ATTEMPTS` times.

    Args:
        pending: what the first call is to do; empty means nothing to do.
        call: does what it is given, and returns what it was not able to do.
        sleep: how to wait between two calls, in seconds.

    Returns:
        What was still undone in the end; empty if all was done.
    """

    def once() -> T:
        nonlocal pending
        if pending:
            pending = call(pending)
        return pending

    return Retrying(
        sleep=sleep,
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_random_exponential(multiplier=0.1, max=2),
        retry=retry_if_result(bool),
        retry_error_callback=lambda _state: pending,
    )(once)

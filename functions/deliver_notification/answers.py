"""What an answer means: the rules of the table "Answer → outcome"."""

import math
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from fl_notifications.deliveries.post import Forbidden, Responded, Unreachable
from fl_notifications.outcomes.outcome import OutcomeKind

MAX_WAIT_SECONDS: Final = 15 * 60
JITTER: Final = 0.2

_LATER_STATUSES: Final = frozenset({408, 425, 429})
_FINAL_SERVER_ERRORS: Final = frozenset({501, 505})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and when an attempt is repeated.

    Attributes:
        max_attempts: POSTs per notification.
        backoff_seconds: the wait before attempt n+1 is n times this, ±20 %.
    """

    max_attempts: int
    backoff_seconds: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from an attempt.

    Attributes:
        outcome: how the delivery has ended; None if it is to be tried again.
        status_code: of the answer, if there was one.
        reason: why it was not accepted.
        wait_seconds: how long to wait before the next attempt.
    """

    outcome: OutcomeKind | None
    status_code: int | None
    reason: str | None
    wait_seconds: int = 0


def judge(
    answer: Responded | Unreachable | Forbidden,
    attempt: int,
    policy: RetryPolicy,
    now: datetime,
    jitter: random.Random,
) -> Verdict:
    """Say what follows from the answer to attempt number `attempt`, counted from 1."""
    if isinstance(answer, Forbidden):
        return Verdict(OutcomeKind.FAILED, None, answer.reason)
    if isinstance(answer, Unreachable):
        if attempt >= policy.max_attempts:
            return Verdict(OutcomeKind.FAILED, None, answer.reason)
        wait = wait_seconds(attempt, policy, None, now, jitter)
        return Verdict(None, None, answer.reason, wait)
    status, reason = answer.status, f"answered {answer.status}"
    if _is_successful(status):
        return Verdict(OutcomeKind.ACCEPTED, status, None)
    if attempt >= policy.max_attempts or not _is_temporary(status):
        return Verdict(OutcomeKind.REJECTED, status, reason)
    wait = wait_seconds(attempt, policy, answer.retry_after, now, jitter)
    return Verdict(None, status, reason, wait)


def _is_successful(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004 - RFC 9110, 15.3: the class 2xx


def _is_temporary(status: int) -> bool:
    if status in _LATER_STATUSES:
        return True
    server_error = 500 <= status < 600  # noqa: PLR2004 - RFC 9110, 15.6: the class 5xx
    return server_error and status not in _FINAL_SERVER_ERRORS


def wait_seconds(
    attempt: int,
    policy: RetryPolicy,
    retry_after: str | None,
    now: datetime,
    jitter: random.Random,
) -> int:
    """Whole seconds to wait after attempt `attempt`: backoff or `Retry-After`, the longer one."""
    backoff = policy.backoff_seconds * attempt
    # The queue takes whole seconds: one within the jitter, and not before the time asked for.
    shortest, longest = math.ceil(backoff * (1 - JITTER)), math.floor(backoff * (1 + JITTER))
    seconds = jitter.randint(shortest, longest) if shortest <= longest else round(backoff)
    wanted = max(seconds, math.ceil(retry_after_seconds(retry_after, now)))
    # Never 0, which would mean at once.
    return max(1, min(wanted, MAX_WAIT_SECONDS))


def retry_after_seconds(value: str | None, now: datetime) -> float:
    """What a `Retry-After` header asks for, in seconds: it holds seconds or an HTTP date.

    RFC 9110, 10.2.3. Anything else, and a date in the past, asks for nothing.
    """
    if value is None:
        return 0.0
    text = value.strip()
    try:
        if text.isascii() and text.isdigit():
            return float(min(int(text), MAX_WAIT_SECONDS))
        at = parsedate_to_datetime(text)
        if at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        return max(0.0, (at - now).total_seconds())
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0

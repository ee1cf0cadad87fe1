"""The table "Answer → outcome", row by row, and how long is waited before the next attempt."""

import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fl_notifications.deliveries.post import (
    Forbidden,
    Responded,
    Unreachable,
)
from fl_notifications.outcomes.outcome import OutcomeKind
from functions.deliver_notification.answers import (
    MAX_WAIT_SECONDS,
    RetryPolicy,
    Verdict,
    judge,
    retry_after_seconds,
    wait_seconds,
)
from tests.made import NOW

POLICY = RetryPolicy(max_attempts=6, backoff_seconds=5)
AGAIN = {408, 425, 429, *range(500, 600)} - {501, 505}


class Middle(random.Random):
    """No jitter."""

    def randint(self, a: int, b: int) -> int:
        return (a + b) // 2


def verdict(answer: Responded | Unreachable | Forbidden, attempt: int = 1) -> Verdict:
    return judge(answer, attempt, POLICY, NOW, Middle())


# --- what an answer means -------------------------------------------------------------------------


@pytest.mark.parametrize("attempt", [1, 6])
def test_2xx_is_accepted(attempt: int) -> None:
    for status in range(200, 300):
        accepted = Verdict(OutcomeKind.ACCEPTED, status, None)
        assert verdict(Responded(status, None), attempt) == accepted


def test_a_temporary_refusal_is_tried_again_until_attempts_are_used_up() -> None:
    for status in AGAIN:
        reason = f"answered {status}"
        assert verdict(Responded(status, None), 1) == Verdict(None, status, reason, 5)
        assert verdict(Responded(status, None), 5) == Verdict(None, status, reason, 25)
        assert verdict(Responded(status, None), 6) == Verdict(OutcomeKind.REJECTED, status, reason)
        assert verdict(Responded(status, "9"), 6) == Verdict(OutcomeKind.REJECTED, status, reason)


def test_any_other_status_is_rejected_at_once() -> None:
    """Redirects included; what 600 and above mean, nobody has said."""
    for status in {*range(100, 200), *range(300, 1000)} - AGAIN:
        rejected = Verdict(OutcomeKind.REJECTED, status, f"answered {status}")
        assert verdict(Responded(status, None)) == rejected
        assert verdict(Responded(status, "10")) == rejected


@pytest.mark.parametrize(
    "reason", ["connection refused", "timeout", "tls error", "name not resolved", "protocol error"]
)
def test_unreachable_is_tried_again_until_attempts_are_used_up_and_then_failed(reason: str) -> None:
    answer = Unreachable(reason)  # type: ignore[arg-type]
    assert verdict(answer, 1) == Verdict(None, None, reason, wait_seconds=5)
    assert verdict(answer, 5) == Verdict(None, None, reason, wait_seconds=25)
    assert verdict(answer, 6) == Verdict(OutcomeKind.FAILED, None, reason)


@pytest.mark.parametrize("attempt", [1, 6])
def test_a_forbidden_endpoint_is_failed_at_once(attempt: int) -> None:
    answer = Forbidden("invalid host")
    assert verdict(answer, attempt) == Verdict(OutcomeKind.FAILED, None, "invalid host")


def test_with_one_attempt_nothing_is_tried_again() -> None:
    once = RetryPolicy(max_attempts=1, backoff_seconds=5)
    busy = judge(Responded(503, "10"), 1, once, NOW, Middle())
    down = judge(Unreachable("timeout"), 1, once, NOW, Middle())
    assert (busy.outcome, down.outcome) == (OutcomeKind.REJECTED, OutcomeKind.FAILED)


@given(st.integers(100, 999), st.none() | st.text(max_size=64), st.integers(1, 30), st.randoms())
def test_whatever_is_answered_ends_or_waits(
    status: int, retry_after: str | None, attempt: int, jitter: random.Random
) -> None:
    """Attempts past the last, as after MaxAttempts was lowered, end as well."""
    result = judge(Responded(status, retry_after), attempt, POLICY, NOW, jitter)
    if result.outcome is None:
        assert attempt < POLICY.max_attempts
        assert 1 <= result.wait_seconds <= 15 * 60
    else:
        assert result.wait_seconds == 0
    assert (result.reason is None) == (result.outcome is OutcomeKind.ACCEPTED)


# --- how long is waited ---------------------------------------------------------------------------


@given(st.integers(1, 20), st.integers(1, 900), st.randoms())
def test_the_backoff_grows_with_the_attempts_give_or_take_20_percent(
    attempt: int, backoff: int, jitter: random.Random
) -> None:
    waited = wait_seconds(attempt, RetryPolicy(20, backoff), None, NOW, jitter)
    exact = backoff * attempt
    limit = 15 * 60
    assert min(8 * exact, 10 * limit) <= 10 * waited <= min(12 * exact, 10 * limit)


def test_the_jitter_uses_the_whole_range() -> None:
    jitter = random.Random(1)  # noqa: S311 - spreads retries
    waits = {wait_seconds(2, RetryPolicy(6, 50), None, NOW, jitter) for _ in range(2000)}
    assert (min(waits), max(waits)) == (80, 120)


def test_a_wait_is_never_zero() -> None:
    """Zero would mean at once."""
    assert wait_seconds(1, RetryPolicy(6, 0.01), None, NOW, Middle()) == 1


@pytest.mark.parametrize(
    ("retry_after", "expected"),
    [
        ("120", 120),
        ("7", 7),
        ("5", 5),
        ("4", 5),  # the backoff is longer
        ("0", 5),
        (" 30 ", 30),
        ("0000000000000030", 30),
        ("900", 900),
        ("901", 900),
        ("86400", 900),
        ("9" * 64, 900),
        ("9" * 5000, 5),  # no number that Python reads
    ],
)
def test_retry_after_in_seconds(retry_after: str, expected: int) -> None:
    assert wait_seconds(1, POLICY, retry_after, NOW, Middle()) == expected


@pytest.mark.parametrize(
    ("retry_after", "expected"),
    [
        ("Sun, 01 Mar 2026 12:01:00 GMT", 60),
        ("Sunday, 01-Mar-26 12:01:00 GMT", 60),
        ("Sun Mar  1 12:01:00 2026", 60),
        ("Sun, 01 Mar 2026 13:01:00 +0100", 60),
        ("Sun, 01 Mar 2026 12:00:02 GMT", 5),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 5),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 5),
        ("Sun, 01 Mar 2026 13:00:00 GMT", 900),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 900),
    ],
)
def test_retry_after_as_a_date(retry_after: str, expected: int) -> None:
    assert wait_seconds(1, POLICY, retry_after, NOW, Middle()) == expected


@given(st.integers(6, 899), st.integers(1, 999_999))
def test_nobody_is_asked_before_the_date_that_it_named(ahead: int, microseconds: int) -> None:
    """Dates have no fractions of a second, but the clock has."""
    now = NOW + timedelta(microseconds=microseconds)
    named = NOW + timedelta(seconds=ahead + 1)
    waited = wait_seconds(1, POLICY, format_datetime(named, usegmt=True), now, Middle())
    assert named <= now + timedelta(seconds=waited) < named + timedelta(seconds=1)


@pytest.mark.parametrize(
    "retry_after",
    [
        None,
        "",
        " ",
        "soon",
        "-5",
        "+300",
        "300.5",
        "3e2",
        "300 s",
        "٣٠٠",
        "²",
        "Sun, 99 Mar 2026 12:01:00 GMT",
        "Sun, 01 Mar 0000 12:01:00 GMT",
        "Sun, 01 Mar 2026 12:01:00 +9999",
        "2026-03-01T12:10:00Z",
    ],
)
def test_a_retry_after_that_is_neither_asks_for_nothing(retry_after: str | None) -> None:
    assert wait_seconds(1, POLICY, retry_after, NOW, Middle()) == 5


@given(
    st.one_of(
        st.text(max_size=64),
        st.text(alphabet="0123456789 ,:+-SunMarGT", max_size=40),
        st.from_regex(r"[A-Z][a-z]{2}, \d{1,2} Mar \d{1,5} \d\d:\d\d:\d\d [+-]\d{1,9}"),
    )
)
@example("Mon, 1 Mar 9999 23:59:59 -2400")
@example("1 Mar 1 00:00:00 +2359")
def test_whatever_is_in_retry_after_it_asks_for_no_negative_wait(text: str) -> None:
    assert retry_after_seconds(text, NOW) >= 0


@given(st.integers(1, 5), st.integers(0, 2000), st.randoms())
def test_the_longer_of_backoff_and_retry_after_counts_up_to_15_minutes(
    attempt: int, asked: int, jitter: random.Random
) -> None:
    state = jitter.getstate()
    backoff = wait_seconds(attempt, POLICY, None, NOW, jitter)
    jitter.setstate(state)
    waited = wait_seconds(attempt, POLICY, str(asked), NOW, jitter)
    assert waited == max(backoff, min(asked, MAX_WAIT_SECONDS))


def test_a_date_without_a_time_zone_means_utc() -> None:
    """RFC 9110 wants GMT; the obsolete asctime form does not say it."""
    assert (
        retry_after_seconds("Sun Mar  1 12:00:09 2026", datetime(2026, 3, 1, 12, tzinfo=UTC)) == 9
    )

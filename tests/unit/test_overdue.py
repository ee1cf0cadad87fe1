"""Who joined after an overdue round began, and has time still."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.callback_failure.overdue import is_after

BEGAN_AT = datetime(2026, 1, 1, tzinfo=UTC)

moments = st.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001 - the time zone is added
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001 - likewise
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)


@given(moments, moments)
def test_moments_are_compared_not_texts(one: datetime, other: datetime) -> None:
    assert is_after(one.isoformat(), other) == (one > other)


def test_the_same_moment_in_another_time_zone_is_not_after() -> None:
    assert not is_after("2026-01-01T02:00:00+02:00", BEGAN_AT)
    assert is_after("2026-01-01T02:00:00+01:00", BEGAN_AT)


@pytest.mark.parametrize("joined_at", [None, "yesterday", "2026-01-02T00:00:00"])
def test_what_is_missing_unreadable_or_without_time_zone_is_before(joined_at: str | None) -> None:
    assert not is_after(joined_at, BEGAN_AT)


@given(st.text(max_size=64))
def test_any_text_can_be_asked_for(joined_at: str) -> None:
    assert is_after(joined_at, BEGAN_AT) in {True, False}

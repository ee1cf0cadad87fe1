from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_notifications_cli.tracing.since import parse_since

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("2h", timedelta(hours=2)),
        (" 2 H ", timedelta(hours=2)),
        ("1d", timedelta(days=1)),
        ("1w", timedelta(weeks=1)),
    ],
)
def test_an_age_is_counted_from_now(text: str, ago: timedelta) -> None:
    assert parse_since(text, NOW) == NOW - ago


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-03-01T02:30", datetime(2026, 3, 1, 2, 30, tzinfo=UTC)),
        ("2026-03-01 02:30:15", datetime(2026, 3, 1, 2, 30, 15, tzinfo=UTC)),
        ("2026-03-01T02:30Z", datetime(2026, 3, 1, 2, 30, tzinfo=UTC)),
        ("2026-03-01T02:30+02:00", datetime(2026, 3, 1, 0, 30, tzinfo=UTC)),
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
    ],
)
def test_an_iso_time_is_taken_as_utc_unless_it_says_otherwise(text: str, at: datetime) -> None:
    assert parse_since(text, NOW) == at


@pytest.mark.parametrize(
    "text", ["", "soon", "15", "m", "-5m", "1.5h", "5 minutes", "999999999w", "٣m"]
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="15m, 2h or 1d"):
        parse_since(text, NOW)


@given(st.integers(0, 10_000_000))
def test_no_age_is_in_the_future(seconds: int) -> None:
    assert parse_since(f"{seconds}s", NOW) <= NOW


@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)))  # noqa: DTZ001
def test_what_the_log_says_can_be_given_back(at: datetime) -> None:
    aware = at.replace(tzinfo=UTC)

    assert parse_since(aware.isoformat(), NOW) == aware


@given(st.text())
def test_no_text_is_another_error(text: str) -> None:
    try:
        assert parse_since(text, NOW).tzinfo is not None
    except ValueError as error:
        assert "is not a time" in str(error)  # noqa: PT017  # hypothesis finds valid ones too

"""`--since`: how far back to read."""

import re
from datetime import UTC, datetime, timedelta

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_since(text: str, now: datetime) -> datetime:
    """Read a point in time in the past.

    Args:
        text: an age (`90s`, `15m`, `2h`, `1d`, `1w`) or an ISO 8601 time; without an offset it is
            in UTC, like the times in the log.
        now: the current time, with an offset.

    Raises:
        ValueError: the text is neither; the message says what would be.
    """
    wanted = text.strip()
    age = re.fullmatch(r"(\d{1,9})\s*([smhdw])", wanted, re.ASCII | re.IGNORECASE)
    try:
        if age:
            unit = _UNITS[age[2].lower()]
            return now - timedelta(**{unit: int(age[1])})
        at = datetime.fromisoformat(wanted)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is not a time: give an age like 15m, 2h or 1d, "
            "or an ISO time like 2026-03-01T02:30"
        ) from None

"""An entry of the ledger: what is written is read again."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_notifications.outcomes.ledger import (
    RETENTION,
    LedgerEntry,
    UnreadableEntryError,
    expiry,
    ledger_key,
)
from fl_notifications.outcomes.outcome import OutcomeKind
from tests.made import NOW, TRAINING_UUID, delivery, uuid_of

entries = st.builds(
    LedgerEntry,
    attempts=st.integers(0, 20),
    outcome=st.none() | st.sampled_from(OutcomeKind),
    status_code=st.none() | st.integers(100, 999),
    reason=st.none() | st.text(max_size=40),
    at=st.datetimes(
        min_value=datetime(2000, 1, 1),  # noqa: DTZ001 - the time zone is added
        max_value=datetime(2100, 1, 1),  # noqa: DTZ001 - likewise
        timezones=st.just(UTC),
    ),
)


@settings(max_examples=50)
@given(entries)
def test_what_is_written_is_read_again(entry: LedgerEntry) -> None:
    assert LedgerEntry.from_item(entry.to_item(delivery())) == entry


def test_an_item_has_what_people_look_for_and_goes_after_thirty_days() -> None:
    entry = LedgerEntry(2, OutcomeKind.REJECTED, 400, "answered 400", NOW)
    assert entry.to_item(delivery()) == {
        "notification_id": {"S": delivery().notification_id},
        "notification_type": {"S": "UPDATE_ROUND_START"},
        "training_uuid": {"S": TRAINING_UUID},
        "receiver_uuid": {"S": uuid_of("one")},
        "attempts": {"N": "2"},
        "outcome": {"S": "rejected"},
        "status_code": {"N": "400"},
        "reason": {"S": "answered 400"},
        "at": {"S": "2026-03-01T12:00:00+00:00"},
        "expires_at": {"N": str(int((NOW + timedelta(days=30)).timestamp()))},
    }


def test_what_is_not_known_is_absent() -> None:
    item = LedgerEntry(1, None, None, None, NOW).to_item(delivery(training_uuid=None))
    assert set(item) == {
        "notification_id",
        "notification_type",
        "receiver_uuid",
        "attempts",
        "at",
        "expires_at",
    }


def test_an_entry_outlives_any_message() -> None:
    """A message waits up to 14 days in the queue, and then 14 in the dead-letter queue."""
    assert timedelta(days=28) < RETENTION
    assert expiry(NOW) == (NOW + RETENTION).timestamp()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("attempts", {"N": "many"}),
        ("attempts", {"S": "1"}),
        ("outcome", {"S": "unheard of"}),
        ("status_code", {"S": "200"}),
        ("at", {"S": "yesterday"}),
        ("at", {"NULL": True}),
    ],
)
def test_an_entry_that_cannot_be_read_is_refused_by_field(
    field: str, value: dict[str, object]
) -> None:
    entry = LedgerEntry(2, OutcomeKind.REJECTED, 400, "answered 400", NOW)
    with pytest.raises(UnreadableEntryError, match=f"field {field}$"):
        LedgerEntry.from_item(entry.to_item(delivery()) | {field: value})


@pytest.mark.parametrize(
    "item", [{}, ledger_key("x"), {**ledger_key("x"), "participant_removed": {"BOOL": True}}]
)
def test_an_item_without_attempts_is_no_entry(item: dict[str, dict[str, str]]) -> None:
    """The failure callback keeps a note of its own there."""
    assert LedgerEntry.from_item(item) is None

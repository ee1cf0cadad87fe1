"""The outcome event: a contract with whoever adds a rule to the bus."""

import json
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from fl_notifications.deliveries.delivery import Delivery
from fl_notifications.notification_type import NotificationType
from fl_notifications.outcomes.bus import OutcomeBus
from fl_notifications.outcomes.outcome import (
    SOURCE,
    Outcome,
    OutcomeKind,
    UnknownEventError,
    parse_outcome_event,
)
from tests.made import NOW, TRAINING_UUID, delivery, outcome, uuid_of

ACCEPTED, REJECTED = OutcomeKind.ACCEPTED, OutcomeKind.REJECTED
FAILED, SUPERSEDED = OutcomeKind.FAILED, OutcomeKind.SUPERSEDED


def event(kind: OutcomeKind, **detail: Any) -> dict[str, Any]:
    """An event as a rule's target gets it."""
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": kind.detail_type,
        "source": SOURCE,
        "account": "123456789012",
        "time": "2026-03-01T12:00:02Z",
        "region": "eu-central-1",
        "resources": [],
        "detail": json.loads(outcome(kind).model_dump_json()) | detail,
    }


def test_source_and_detail_types() -> None:
    assert SOURCE == "fl.notifications"
    assert {kind.value: kind.detail_type for kind in OutcomeKind} == {
        "accepted": "Notification Accepted",
        "rejected": "Notification Rejected",
        "failed": "Notification Failed",
        "superseded": "Notification Superseded",
    }


def test_the_detail_of_an_accepted_notification() -> None:
    text = outcome(ACCEPTED).model_dump_json()
    assert json.loads(text) == {
        "notification_id": delivery().notification_id,
        "notification_type": "UPDATE_ROUND_START",
        "training_uuid": TRAINING_UUID,
        "receiver_uuid": uuid_of("one"),
        "round": 3,
        "callback": "training_notification_callback_success",
        "attempts": 1,
        "status_code": 200,
        "reason": None,
        "created_at": "2026-03-01T12:00:00Z",
        "finished_at": "2026-03-01T12:00:02Z",
        "joined_at": None,
        "run": None,
    }


def test_what_is_not_known_is_null_and_not_absent() -> None:
    """Rules may match on null."""
    nothing = delivery(training_uuid=None, round=None, callback_error=None)
    detail = json.loads(outcome(FAILED, nothing, reason=None).model_dump_json())
    assert set(detail) == set(Outcome.model_fields)
    assert [key for key, value in detail.items() if value is None] == [
        "training_uuid",
        "round",
        "callback",
        "status_code",
        "reason",
        "joined_at",
        "run",
    ]


@pytest.mark.parametrize(
    ("kind", "callback"),
    [(ACCEPTED, "good"), (REJECTED, "bad"), (FAILED, "bad"), (SUPERSEDED, None)],
)
def test_the_callback_is_the_one_that_the_notification_names_for_that_end(
    kind: OutcomeKind, callback: str | None
) -> None:
    made = delivery(callback_success="good", callback_error="bad")
    assert outcome(kind, made).callback == callback


@pytest.mark.parametrize("kind", OutcomeKind)
def test_a_notification_that_names_no_callback_has_none_however_it_ends(kind: OutcomeKind) -> None:
    assert outcome(kind, delivery(callback_success=None, callback_error=None)).callback is None


@pytest.mark.parametrize("kind", OutcomeKind)
def test_an_event_is_read_as_it_was_told(kind: OutcomeKind) -> None:
    assert parse_outcome_event(event(kind)) == (kind, outcome(kind))


def test_more_in_an_event_than_is_known_does_no_harm() -> None:
    """A later release may add to it while the callbacks are still the old ones."""
    assert parse_outcome_event(event(ACCEPTED, extra=1)) == (ACCEPTED, outcome(ACCEPTED))


def test_an_outcome_of_a_delivery_that_knows_no_membership_knows_none() -> None:
    message = json.loads(delivery().message)
    del message["joined_at"]
    detail = json.loads(outcome(FAILED, Delivery.model_validate(message)).message)
    assert "joined_at" not in detail
    assert not Outcome.model_validate(detail).knows_membership


@pytest.mark.parametrize("field", sorted(set(Outcome.model_fields) - {"joined_at", "run"}))
def test_a_missing_field_is_named(field: str) -> None:
    told = event(REJECTED)
    del told["detail"][field]
    with pytest.raises(ValidationError, match=field):
        parse_outcome_event(told)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("notification_type", 7),
        ("training_uuid", "no uuid"),
        ("receiver_uuid", "no uuid"),
        ("attempts", -1),
        ("round", "three"),
        ("finished_at", "yesterday"),
    ],
)
def test_a_wrong_field_is_named(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        parse_outcome_event(event(REJECTED, **{field: value}))


@pytest.mark.parametrize(
    "newer", [{"notification_type": "NEW_TYPE"}, {"detail-type": "Notification Delegated"}]
)
def test_a_type_that_a_newer_version_may_know_is_no_fault(newer: dict[str, str]) -> None:
    told = event(REJECTED)
    (told if "detail-type" in newer else told["detail"]).update(newer)
    with pytest.raises(UnknownEventError):
        parse_outcome_event(told)
    told["detail"]["attempts"] = -1
    with pytest.raises(ValidationError, match="attempts"):
        parse_outcome_event(told)


@pytest.mark.parametrize(
    "told", [{}, {"detail-type": "Notification Lost", "detail": {}}, {"detail-type": "x"}]
)
def test_what_is_no_outcome_event_is_refused(told: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="detail-type"):
        parse_outcome_event(told)


@pytest.mark.parametrize("kind", NotificationType)
def test_every_type_of_notification_can_be_told_of(kind: NotificationType) -> None:
    told = event(ACCEPTED, notification_type=kind.value)
    assert parse_outcome_event(told)[1].notification_type is kind


class Events:
    """EventBridge, which keeps what it is told."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []

    def put_events(self, *, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 - AWS's
        self.entries += Entries
        return {"FailedEntryCount": 0, "Entries": [{"EventId": "1"} for _ in Entries]}


def test_the_entry_on_the_bus() -> None:
    events = Events()
    told = outcome(REJECTED, finished_at=NOW + timedelta(seconds=7))
    assert OutcomeBus(events, "the-bus").put([(REJECTED, told)]) == set()  # type: ignore[arg-type]
    assert events.entries == [
        {
            "EventBusName": "the-bus",
            "Source": "fl.notifications",
            "DetailType": "Notification Rejected",
            "Detail": told.model_dump_json(),
            "Time": NOW + timedelta(seconds=7),
        }
    ]


def test_more_than_ten_outcomes_at_once_are_refused_before_anything_is_told() -> None:
    events = Events()
    with pytest.raises(ValueError, match="11 outcomes"):
        OutcomeBus(events, "the-bus").put([(ACCEPTED, outcome(ACCEPTED))] * 11)  # type: ignore[arg-type]
    assert events.entries == []

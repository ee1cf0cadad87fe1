"""Events of changes, as a callback reads them from the bus."""

from typing import Any

import pytest
from pydantic import ValidationError

from fl_notifications.outcomes.changes import (
    CHANGE_EVENTS,
    ParticipantRemoved,
    TrainingOverdue,
    parse_change_event,
)
from fl_notifications.outcomes.outcome import UnknownEventError
from fl_notifications.trainings.model import OnDeadline
from tests.events import change

ENDED = {"state": "ERROR", "round": 3, "reason": None, "receiver_uuid": None, "callback": None}


def event(detail_type: str, **values: Any) -> dict[str, Any]:
    ended: dict[str, Any] = {}
    if detail_type == "Training Ended":
        ended = ENDED | {"notification_id": None}
    told: dict[str, Any] = change(detail_type, **(ended | values))
    return told


@pytest.mark.parametrize("detail_type", CHANGE_EVENTS)
def test_every_event_that_is_told_is_read_as_what_it_is(detail_type: str) -> None:
    read = parse_change_event(event(detail_type))
    assert type(read) is CHANGE_EVENTS[detail_type]
    assert read.detail_type == detail_type


def test_a_removal_by_the_server_has_no_reason() -> None:
    read = parse_change_event(event("Participant Removed"))
    assert isinstance(read, ParticipantRemoved)
    assert (read.reason, read.notification_id) == (None, None)


@pytest.mark.parametrize("policy", OnDeadline)
def test_every_policy_of_a_deadline_can_be_told(policy: OnDeadline) -> None:
    read = parse_change_event(event("Training Overdue", policy=policy.value))
    assert isinstance(read, TrainingOverdue)
    assert read.policy is policy


@pytest.mark.parametrize("detail_type", CHANGE_EVENTS)
def test_keys_of_a_newer_version_are_ignored(detail_type: str) -> None:
    assert parse_change_event(event(detail_type, weather="fine")) == parse_change_event(
        event(detail_type)
    )


@pytest.mark.parametrize("detail_type", ["Training Paused", "Notification Accepted", ""])
def test_an_event_of_another_type_is_unknown(detail_type: str) -> None:
    with pytest.raises(UnknownEventError):
        parse_change_event(event(detail_type))


@pytest.mark.parametrize("detail_type", CHANGE_EVENTS)
@pytest.mark.parametrize("field", ["training_uuid", "sequence", "run"])
def test_a_missing_field_is_named(detail_type: str, field: str) -> None:
    told = event(detail_type)
    del told["detail"][field]
    with pytest.raises(ValidationError, match=field):
        parse_change_event(told)


@pytest.mark.parametrize("told", [{}, {"detail-type": "Training Ended"}, {"detail": {}}])
def test_what_is_no_event_is_refused(told: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        parse_change_event(told)

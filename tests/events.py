"""Made-up events, as EventBridge brings them."""

from datetime import timedelta
from typing import Any

from fl_notifications.outcomes.outcome import SOURCE
from tests.made import NOW, TRAINING_UUID, uuid_of

FINISHED_AT = NOW + timedelta(seconds=2)
AFTERWARDS = (FINISHED_AT + timedelta(seconds=1)).isoformat()
RUN = "99"
"""Sequence number of the change that began the run; one digit less than the next one's."""
BEGAN_AT = NOW - timedelta(minutes=10)
BEFORE = (NOW - timedelta(hours=1)).isoformat()


def bus_event(detail_type: str, detail: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": detail_type,
        "source": SOURCE,
        "account": "123456789012",
        "time": "2026-03-01T12:00:02Z",
        "region": "eu-central-1",
        "resources": [],
        "detail": detail,
    }


def change(detail_type: str = "Participant Removed", name: str = "gone", **values: Any) -> Any:
    """A change as the builder tells it."""
    details: dict[str, dict[str, Any]] = {
        "Participant Removed": {
            "receiver_uuid": uuid_of(name),
            "joined_at": BEFORE,
            "reason": None,
            "notification_id": None,
        },
        "Participant Unreadable": {
            "entity": f"PARTICIPANT#{uuid_of(name)}",
            "field": "message_endpoint",
            "reason": "Field required",
        },
        "Training Overdue": {
            "state": "ONGOING",
            "round": 3,
            "began_at": BEGAN_AT.isoformat(),
            "due_at": NOW.isoformat(),
            "policy": "error",
            "callback": "training_overdue_callback",
        },
        "Training Started": {"state": "ONGOING", "round": 3, "participants": 1},
        "Training Changed": {"state": "ONGOING", "round": 3, "participants": None},
    }
    common = {"training_uuid": TRAINING_UUID, "sequence": "200", "run": RUN}
    common |= {"at": NOW.isoformat(), "callback": "enforce_quorum"}
    return bus_event(detail_type, common | details.get(detail_type, {}) | values)

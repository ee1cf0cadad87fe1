"""Outcomes: how the delivery of a notification to a receiver ended."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fl_notifications.deliveries.delivery import Delivery
from fl_notifications.notification_type import NotificationType
from fl_notifications.trainings.model import Uuid

SOURCE = "fl.notifications"
"""The source of all outcome events."""


class UnknownEventError(Exception):
    """An event is of a type that this version of the service does not know; a newer one may."""


class OutcomeKind(StrEnum):
    """The four ways in which a delivery can end; a dead-letter queue is the fifth."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    FAILED = "failed"
    SUPERSEDED = "superseded"

    @property
    def detail_type(self) -> str:
        """The detail-type of its event."""
        return f"Notification {self.value.capitalize()}"


_NEWER_TYPES = frozenset({"TRAINING_ERROR", "CLIENT_REMOVED", "PARTICIPANT_REMOVED"})
"""Types that clients of fl-demonstrator do not know."""

_DO_NOT_KNOW = frozenset({400, 404, 405, 501})
"""What a client answers to a type that it does not know."""

_BRIDGED = frozenset(f"rejected: answered-{status}" for status in _DO_NOT_KNOW)
"""The same, acknowledged by the bridge of a client that fetches: `receiver.forward.Forwarder`."""

_KINDS = {kind.detail_type: kind for kind in OutcomeKind}


class Outcome(BaseModel):
    """The detail of an outcome event.

    Attributes:
        callback: name of the callback that is to follow, if any.
        attempts: how many POSTs were made.
        status_code: of the last answer, if there was one.
        reason: why it was not accepted: from our fixed vocabulary, never the peer's text.
        created_at: when the state changed.
        finished_at: when the delivery ended.
        joined_at: the membership of the receiver that it concerns; see `knows_membership`.
        run: the training's run that it concerns; None if unknown.
    """

    model_config = ConfigDict(frozen=True)

    notification_id: str
    notification_type: NotificationType
    training_uuid: Uuid | None
    receiver_uuid: Uuid
    round: int | None
    callback: str | None
    attempts: Annotated[int, Field(ge=0)]
    status_code: int | None
    reason: str | None
    created_at: datetime
    finished_at: datetime
    joined_at: str | None = None
    run: str | None = None

    @property
    def knows_membership(self) -> bool:
        """Whether it says whose membership it concerns; otherwise whoever takes part now."""
        return "joined_at" in self.model_fields_set

    @property
    def type_unknown(self) -> bool:
        """Whether, if it was rejected, that says only that the client does not know the type."""
        unknown = self.status_code in _DO_NOT_KNOW or self.reason in _BRIDGED
        return unknown and self.notification_type.value in _NEWER_TYPES

    @property
    def message(self) -> str:
        """The detail of the event; without `joined_at` if the delivery had no such key."""
        return self.model_dump_json(exclude_unset=True)


class _Envelope(BaseModel):
    """The part of EventBridge's envelope that matters here."""

    detail_type: Annotated[
        Literal[
            "Notification Accepted",
            "Notification Rejected",
            "Notification Failed",
            "Notification Superseded",
        ],
        Field(alias="detail-type"),
    ]
    detail: Outcome


_TYPES = {("detail-type",), ("detail", "notification_type")}


def outcome_of(
    delivery: Delivery,
    kind: OutcomeKind,
    *,
    attempts: int,
    status_code: int | None,
    reason: str | None,
    finished_at: datetime,
) -> Outcome:
    """How a delivery ended, with the callback that its notification names for such an end."""
    callback = {
        OutcomeKind.ACCEPTED: delivery.callback_success,
        OutcomeKind.REJECTED: delivery.callback_error,
        OutcomeKind.FAILED: delivery.callback_error,
        OutcomeKind.SUPERSEDED: None,
    }[kind]
    membership = {"joined_at": delivery.joined_at} if delivery.knows_membership else {}
    return Outcome(
        notification_id=delivery.notification_id,
        notification_type=delivery.notification_type,
        training_uuid=delivery.training_uuid,
        receiver_uuid=delivery.receiver.uuid,
        round=delivery.round,
        callback=callback,
        attempts=attempts,
        status_code=status_code,
        reason=reason,
        created_at=delivery.created_at,
        finished_at=finished_at,
        run=delivery.run,
        **membership,
    )


def parse_outcome_event(event: Mapping[str, Any]) -> tuple[OutcomeKind, Outcome]:
    """Parse an outcome event as a callback gets it from the bus.

    Raises:
        ValidationError: names the field that is missing or wrong.
        UnknownEventError: if nothing is wrong but that a type in it is not known here.
    """
    try:
        envelope = _Envelope.model_validate(event)
    except ValidationError as error:
        if all(each["loc"] in _TYPES and isinstance(each["input"], str) for each in error.errors()):
            raise UnknownEventError("it is of a type that is not known here") from None
        raise
    return _KINDS[envelope.detail_type], envelope.detail

"""Events of changes: what was done to a training, told to its server on the stack's event bus.

They are put by BuildNotifications from the stream, after the notifications are enqueued, may come
twice and in any order.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from fl_notifications.outcomes.outcome import UnknownEventError
from fl_notifications.trainings.model import OnDeadline, Uuid

ENFORCE_QUORUM: Final = "enforce_quorum"
"""Callback that asks whether enough participants are left."""

TRAINING_OVERDUE_CALLBACK: Final = "training_overdue_callback"
"""Callback that does what `options.on_deadline` says."""


class ChangeEvent(BaseModel):
    """Base of the details of all these events.

    Attributes:
        detail_type: of the event.
        sequence: sequence number of the change's record in the stream.
        run: sequence number of the change that began the training's run.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    detail_type: ClassVar[str]

    training_uuid: Uuid
    sequence: str
    run: str | None


class ParticipantRemoved(ChangeEvent):
    """A participant's item was deleted while its training ran.

    Attributes:
        joined_at: of the membership that ended.
        reason: why the failure policy removed it; None if somebody else did.
        notification_id: of the notification that led to it, likewise.
        at: when it was deleted.
    """

    detail_type = "Participant Removed"

    receiver_uuid: Uuid
    joined_at: str | None
    reason: str | None
    notification_id: str | None
    at: datetime
    callback: Literal["enforce_quorum"] = ENFORCE_QUORUM


class ParticipantUnreadable(ChangeEvent):
    """A participant's item of a running training cannot be read.

    Attributes:
        entity: sort key of the item.
        field: the attribute that is missing or wrong.
        reason: what is wrong with it.
        at: when it was changed so.
    """

    detail_type = "Participant Unreadable"

    entity: str
    field: str
    reason: str
    at: datetime
    callback: Literal["enforce_quorum"] = ENFORCE_QUORUM


class TrainingStarted(ChangeEvent):
    """A run begins or goes on.

    Attributes:
        participants: how many there were; None for large trainings.
        at: when the training was changed.
    """

    detail_type = "Training Started"

    state: str
    round: int
    participants: int | None
    at: datetime
    callback: Literal["enforce_quorum"] = ENFORCE_QUORUM


class TrainingChanged(TrainingStarted):
    """State, round or options of a running training changed otherwise."""

    detail_type = "Training Changed"


class TrainingEnded(ChangeEvent):
    """A run ended.

    Attributes:
        state: `COMPLETED`, `ERROR`, or `DELETED` if the training was.
        reason: of the training's `error`, as are the next two; None if it says nothing.
        receiver_uuid: whose outcome led to it.
        notification_id: of the notification that led to it.
        at: when the training was changed.
    """

    detail_type = "Training Ended"

    state: str
    round: int | None
    reason: str | None
    receiver_uuid: str | None
    notification_id: str | None
    at: datetime
    callback: None = None


class TrainingOverdue(ChangeEvent):
    """A training is in the same round for longer than its deadline.

    Attributes:
        began_at: when the round was announced.
        due_at: when it should have been over.
        policy: what is to follow.
        callback: None if nothing but this event is to follow.
    """

    detail_type = "Training Overdue"

    state: str
    round: int
    began_at: datetime
    due_at: datetime
    policy: OnDeadline
    callback: Literal["training_overdue_callback"] | None


class _Envelope(BaseModel):
    """The part of EventBridge's envelope that matters here."""

    detail_type: Annotated[str, Field(alias="detail-type")]
    detail: dict[str, Any]


CHANGE_EVENTS: Final[Mapping[str, type[ChangeEvent]]] = {
    model.detail_type: model
    for model in (
        ParticipantRemoved,
        ParticipantUnreadable,
        TrainingStarted,
        TrainingChanged,
        TrainingEnded,
        TrainingOverdue,
    )
}


def parse_change_event(event: Mapping[str, Any]) -> ChangeEvent:
    """Parse the event of a change as a callback gets it from the bus.

    Raises:
        ValidationError: names the field of its detail that is missing or wrong.
        UnknownEventError: if its detail-type is none of these.
    """
    envelope = _Envelope.model_validate(event)
    model = CHANGE_EVENTS.get(envelope.detail_type)
    if model is None:
        raise UnknownEventError("its detail-type is not known here")
    return model.model_validate(envelope.detail)

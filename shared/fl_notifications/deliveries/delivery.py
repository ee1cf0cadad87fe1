"""A delivery: one notification on its way to one receiver; the message on the queue."""

import json
from typing import Annotated, Any
from uuid import UUID, uuid5

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from fl_notifications.notification_type import NotificationType
from fl_notifications.trainings.model import TrainingState, Uuid, canonical

_NAMESPACE = UUID("5c1e7a5c-1f4a-5d0e-9b61-6c1a2f0d7b3e")
"""Ours; a random one, fixed once: ids must be the same for as long as the ledger lives."""

ANNOUNCED_STATE = {
    NotificationType.UPDATE_ROUND_START: TrainingState.ONGOING,
    NotificationType.SWAG_ROUND_START: TrainingState.SWAG_ROUND,
    NotificationType.MODEL_TEST_ROUND: TrainingState.MODEL_TEST,
}
"""The round types, and the state of the training that each of them announces."""


class DeliveryReceiver(BaseModel):
    """Who is told, and where."""

    # A newer version may know more keys: they are no reason for a dead letter.
    model_config = ConfigDict(frozen=True, extra="ignore")

    uuid: Uuid
    message_endpoint: str


class Delivery(BaseModel):
    """One notification for one receiver.

    Attributes:
        notification_id: the same for every attempt and every repeat of the same state change.
        content: the JSON object to be POSTed.
        created_at: when the state changed.
        joined_at: the receiver's membership that it was built for; None is that of a participant
            without `joined_at`. A message of an older version has no such key, see
            `knows_membership`.
        run: the sequence number of the change that began the training's run; None if unknown.
        started_at: the training's, as of the change.
        own: whether a program of the user's own has sent it: the table then decides nothing.
        again: whether it repeats what is current to one receiver, as somebody asked for.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    # As the queue's deduplication id, and as a header.
    notification_id: Annotated[str, Field(max_length=128, pattern="^[!-~]+$")]
    notification_type: NotificationType
    training_uuid: Uuid | None
    receiver: DeliveryReceiver
    round: int | None
    content: dict[str, Any]
    callback_success: str | None
    callback_error: str | None
    created_at: AwareDatetime
    joined_at: str | None = None
    run: str | None = None
    started_at: str | None = None
    own: bool = False
    again: bool = False

    @property
    def built_elsewhere(self) -> str | None:
        """How it came to be, if not by a function of the stack; nobody has logged that then."""
        return "sent by a program" if self.own else "told again" if self.again else None

    @property
    def knows_membership(self) -> bool:
        """Whether it says whose membership it concerns; otherwise whoever takes part now."""
        return "joined_at" in self.model_fields_set

    @property
    def group(self) -> str:
        """The queue's message group: what is to stay in order."""
        training = "-" if self.training_uuid is None else canonical(self.training_uuid)
        return f"{training}:{canonical(self.receiver.uuid)}"

    @property
    def message(self) -> str:
        """The message on the queue.

        In ASCII, as SQS does not take all characters that an endpoint or a reason may have.
        """
        return self.model_dump_json(ensure_ascii=True, exclude_unset=True)

    @property
    def payload(self) -> str:
        """The body of the POST."""
        return json.dumps(self.content)


def notification_id(
    kind: NotificationType,
    receiver_uuid: str,
    *,
    training_uuid: str | None,
    run: str | None,
    source: str,
    joined_at: str | None = None,
) -> str:
    """Deterministic id of a notification: the same arguments always give the same id.

    Uuids count in one spelling, however they are written.

    Args:
        kind: the type of notification.
        receiver_uuid: who is told.
        training_uuid: of the training, if it is about one.
        run: of the training: the sequence number of the change that began it.
        source: the change that it comes from: the sequence number of its record. That of
            `TRAINING_START` in a fan-out is the run, so that a membership without `joined_at` is
            told once by the fan-outs of a run.
        joined_at: of the receiver's membership. `TRAINING_START` is told once in a run to each
            membership that has one, whatever the source; round types count it as well.
    """
    training = "" if training_uuid is None else canonical(training_uuid)
    parts = ["notification", training, run or "", kind.value, canonical(receiver_uuid)]
    if kind is NotificationType.TRAINING_START and joined_at is not None:
        return _id(*parts, "", joined_at)
    told_once = joined_at if kind in ANNOUNCED_STATE else None
    return _id(*parts, source, told_once or "")


def _id(*parts: str) -> str:
    return str(uuid5(_NAMESPACE, json.dumps(parts)))

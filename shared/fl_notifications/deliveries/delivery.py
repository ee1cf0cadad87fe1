"""A delivery: one notification on its way to one receiver; the message on the queue."""

import json
from datetime import datetime
from hashlib import sha1
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from fl_notifications.notification_type import NotificationType
from fl_notifications.trainings.model import TrainingState, Uuid

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

    model_config = ConfigDict(frozen=True, extra="forbid")

    uuid: Uuid
    message_endpoint: str


class Delivery(BaseModel):
    """One notification for one receiver.

    Attributes:
        notification_id: the same for every attempt and every repeat of the same state change.
        content: the JSON object to be POSTed.
        created_at: when the state changed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    notification_id: Annotated[str, Field(min_length=1, max_length=128)]
    notification_type: NotificationType
    training_uuid: Uuid | None
    receiver: DeliveryReceiver
    round: int | None
    content: dict[str, Any]
    callback_success: str | None
    callback_error: str | None
    created_at: datetime

    @property
    def group(self) -> str:
        """The queue's message group: what is to stay in order."""
        return f"{self.training_uuid or '-'}:{self.receiver.uuid}"

    @property
    def message(self) -> str:
        """The message on the queue.

        In ASCII, as SQS does not take all characters that an endpoint or a reason may have.
        """
        return self.model_dump_json(ensure_ascii=True)

    @property
    def payload(self) -> str:
        """The body of the POST."""
        return json.dumps(self.content)


def notification_id(
    training_uuid: str | None, source: str, kind: NotificationType, receiver_uuid: str
) -> str:
    """The id of what one state change (`source`) says to one receiver."""
    return _id("change", training_uuid or "", source, kind.value, receiver_uuid)


def start_id(training_uuid: str, receiver_uuid: str, joined_at: str | None) -> str:
    """The id of `TRAINING_START`, which a participant is told once each time it joins."""
    kind = NotificationType.TRAINING_START.value
    return _id("start", training_uuid, joined_at or "", kind, receiver_uuid)


def _id(*parts: str) -> str:
    # As uuid5 does (RFC 9562, 5.5), in a third of the time: 4 bits are the version, 2 the variant.
    name = _NAMESPACE.bytes + json.dumps(parts).encode()
    digest = sha1(name, usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"

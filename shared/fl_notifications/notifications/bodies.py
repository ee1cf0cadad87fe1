"""Bodies of the notifications: what goes over the wire beside the type and the training."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from fl_notifications.trainings.model import Uuid


class Body(BaseModel):
    """Base of all bodies; `serialize` gives the JSON object on the wire."""

    model_config = ConfigDict(frozen=True)

    def serialize(self) -> dict[str, Any]:
        """The body as it goes over the wire."""
        return self.model_dump(mode="json", exclude_none=True)


class ModelBody(Body):
    """Names the global model."""

    global_model_uuid: Uuid


class RoundBody(Body):
    """Names the round and the global model, and the settings, if there are any."""

    round: int
    global_model_uuid: Uuid
    settings: Mapping[str, Any] | None = None


class SwagRoundBody(RoundBody):
    """Like `RoundBody`, and the same two again as `data`.

    The stock client hands only `data` to its hook for types that it doesn't know.
    """

    data: RoundBody


class EmptyData(BaseModel):
    """An object without members."""

    model_config = ConfigDict(frozen=True)


class ClientRemovedBody(Body):
    """Says nothing but that there is `data`, which the stock client needs."""

    data: EmptyData = EmptyData()


class ErrorData(BaseModel):
    """Why a training ended, and in which round."""

    model_config = ConfigDict(frozen=True)

    reason: str
    round: int


class TrainingErrorBody(Body):
    """Says why a training ended."""

    data: ErrorData


class RemovedData(BaseModel):
    """Which participant is out, and why."""

    model_config = ConfigDict(frozen=True)

    participant_uuid: Uuid
    reason: str


class ParticipantRemovedBody(Body):
    """Says which other participant is out."""

    data: RemovedData

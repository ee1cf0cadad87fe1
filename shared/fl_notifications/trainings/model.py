"""Trainings and participants as the trainings table holds them, parsed into frozen models."""

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from fl_notifications.trainings.items import (
    PARTICIPANT_PREFIX,
    AnyUuid,
    Item,
    UnreadableItemError,
    item_name,
    listed,
    plain,
)
from fl_notifications.validation import all_errors, first_error

# UUID() also reads spaces, signs and digits of other scripts, which SQS refuses in a group id.
_SPELLINGS = re.compile(r"(?:urn:uuid:)?\{?[0-9A-Fa-f-]+\}?")
# As nearly all are spelt; UUID() takes twenty times as long to read one.
_USUAL = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_MAX_SPELLING = 45  # urn:uuid: and 36 characters


def _as_text(value: object) -> object:
    """The text of a UUID object; text that is no UUID is refused, all else is left to pydantic."""
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, str) and len(value) <= _MAX_SPELLING:
        _check_uuid(value)
    return value


def _check_uuid(value: str) -> None:
    if _USUAL.fullmatch(value):
        return
    try:
        UUID(value)
        readable = _SPELLINGS.fullmatch(value) is not None
    except ValueError:
        readable = False
    if not readable:
        raise ValueError("must be a UUID")


Uuid = Annotated[str, Field(max_length=_MAX_SPELLING), BeforeValidator(_as_text)]
"""A UUID as text, spelt as it came, since it may be part of a key; an object gets the usual one."""


def canonical(uuid: AnyUuid) -> str:
    """The one spelling that ids and message groups are made of: lower case, with hyphens."""
    text = str(uuid)
    return text.lower() if _USUAL.fullmatch(text) else str(UUID(text))


def same_uuid(one: AnyUuid, other: AnyUuid) -> bool:
    """Whether two spellings mean the same UUID."""
    return UUID(str(one)) == UUID(str(other))


MAX_SETTINGS_BYTES: Final = 16 * 1024
"""Of the settings that a participant is told with a round, as JSON."""


def json_values(value: object) -> Any:
    """A plain value of an item as JSON has it: numbers are numbers, sets are sorted lists."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Decimal():
            return float(value)
        case Mapping():
            return {key: json_values(inner) for key, inner in value.items()}
        case list():
            return [json_values(inner) for inner in value]
        case set() | frozenset():
            return sorted(json_values(inner) for inner in value)
        case _:
            raise ValueError("must hold nothing but what JSON can say")


def checked_settings(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings of a round as JSON has them.

    Raises:
        ValueError: if JSON cannot say them, or they are too large.
    """
    values: Mapping[str, Any] = json_values(settings)
    if len(json.dumps(values, separators=(",", ":")).encode()) > MAX_SETTINGS_BYTES:
        raise ValueError(f"must be at most {MAX_SETTINGS_BYTES // 1024} KiB as JSON")
    return values


RoundSettings = Annotated[Mapping[str, Any], AfterValidator(checked_settings)]
"""What participants are told with a round, for their own use."""


class TrainingState(StrEnum):
    """The states of a training, named as in fl-demonstrator."""

    INITIAL = "INITIAL"
    ONGOING = "ONGOING"
    SWAG_ROUND = "SWAG_ROUND"
    MODEL_TEST = "MODEL_TEST"
    COMPLETED = "COMPLETED"
    ERROR = "ERROR"


RUNNING_STATES = frozenset(
    {TrainingState.ONGOING, TrainingState.SWAG_ROUND, TrainingState.MODEL_TEST}
)
FINAL_STATES = frozenset({TrainingState.COMPLETED, TrainingState.ERROR})


class LateJoiners(StrEnum):
    """Which round somebody who joins a running training is told first."""

    NEXT_ROUND = "next_round"
    CURRENT_ROUND = "current_round"


class OnDeadline(StrEnum):
    """What follows when a round lasts longer than its deadline."""

    EVENT = "event"
    ERROR = "error"
    REMOVE_UNACCEPTED = "remove_unaccepted"
    REMOVE_UNREPORTED = "remove_unreported"


class FailurePolicy(StrEnum):
    """What one participant that cannot be reached means for its training."""

    STRICT = "strict"
    QUORUM = "quorum"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class Receiver(_Model):
    """Somebody who can be notified.

    The endpoint is any string here: whether it is a usable URL is for the delivery to find out.
    """

    uuid: Uuid
    message_endpoint: str

    if (
        TYPE_CHECKING
    ):  # what pydantic makes of the fields, but for the UUID object that it takes, too

        def __init__(self, *, uuid: AnyUuid, message_endpoint: str) -> None: ...


class Participant(Receiver):
    """A receiver that takes part in a training.

    Attributes:
        joined_at: when it joined, ISO 8601, as the write side set it; part of an id, so kept as is.
        model_uuid: the model that it trains in the next round, if not the training's.
        settings: for the rounds; each key goes before the training's.
        reported: the last round whose result the server has, `<state>#<round>`.
    """

    joined_at: Annotated[str, Field(max_length=64)] | None = None
    model_uuid: Uuid | None = None
    settings: RoundSettings | None = None
    reported: str | None = None

    @classmethod
    def from_item(cls, item: Item) -> Self:
        """Parse an item of the table, or an image of its stream.

        Raises:
            UnreadableItemError: if it is not a participant by the contract.
        """
        name = item_name(item)
        entity = plain(item, "entity", name)
        if not isinstance(entity, str) or not entity.startswith(PARTICIPANT_PREFIX):
            raise UnreadableItemError(name, "entity", f"must be {PARTICIPANT_PREFIX}<uuid>")
        _check_key(item, name)
        values = {
            "uuid": entity.removeprefix(PARTICIPANT_PREFIX),
            **listed(item, name, tuple(cls.model_fields)),
        }
        return _validate(cls, values, name, {"uuid": "entity"})

    @classmethod
    def read(cls, item: Item) -> "tuple[Self, UnreadableItemError | None]":
        """Parse what all notifications need; its settings, which only rounds need, if possible.

        Returns:
            The participant, and what is wrong with its settings; it has none then.

        Raises:
            UnreadableItemError: if it is not a participant by the contract, settings aside.
        """
        try:
            return cls.from_item(item), None
        except UnreadableItemError as error:
            if error.field.partition(".")[0] != "settings":
                raise
            others = {key: value for key, value in item.items() if key != "settings"}
            return cls.from_item(others), error


class TrainingOptions(_Model):
    """What a training wants to be done in cases that not all trainings treat alike.

    Attributes:
        failure_policy: `strict` ends the training with the first unreachable participant, `quorum`
            removes that participant instead.
        min_participants: how many have to be left after a removal.
        required_participants: those whose removal ends the training in any case.
        late_joiners: which round somebody is told first who joins while the training runs.
        announce_removals: whether all others are told `PARTICIPANT_REMOVED` when one is removed.
        round_deadline_seconds: how long a round may last; None: for ever.
        on_deadline: what follows when it lasts longer.
    """

    failure_policy: Annotated[FailurePolicy, Field(strict=False)] = FailurePolicy.STRICT
    min_participants: Annotated[int, Field(ge=0)] = 1
    required_participants: Annotated[frozenset[Uuid], Field(strict=False)] = frozenset()
    late_joiners: Annotated[LateJoiners, Field(strict=False)] = LateJoiners.NEXT_ROUND
    announce_removals: bool = False
    round_deadline_seconds: Annotated[int, Field(ge=60)] | None = None
    on_deadline: Annotated[OnDeadline, Field(strict=False)] = OnDeadline.EVENT

    def requires(self, participant_uuid: str) -> bool:
        """Whether the training cannot go on without this participant."""
        return any(same_uuid(participant_uuid, uuid) for uuid in self.required_participants)

    @classmethod
    def from_item(cls, item: Item) -> Self:
        """Parse the options of a training's item, whatever else it says; none are the defaults.

        Raises:
            UnreadableItemError: if they cannot be read.
        """
        name = item_name(item)
        options = listed(item, name, ("options",)).get("options", {})
        return _validate(cls, options, name, {}, within="options")


class Progress(_Model):
    """Where a training is, whatever else its item says.

    Attributes:
        round: the current round, counted from 0.
    """

    state: Annotated[TrainingState, Field(strict=False)]
    round: Annotated[int, Field(ge=0)]

    @classmethod
    def from_item(cls, item: Item) -> Self:
        """Parse an item of the table, or an image of its stream.

        Raises:
            UnreadableItemError: if one of these attributes is missing or wrong.
        """
        name = item_name(item)
        return _validate(cls, listed(item, name, tuple(cls.model_fields)), name, {})


class Training(Progress):
    """A training, without its participants.

    Attributes:
        actor: who ordered the training.
        error: set together with the state `ERROR` by the failure callback.
        started_at: when the current run started, ISO 8601, as the write side set it.
        selected: the participants that round notifications go to; None: all of them.
        settings: of the rounds, handed to every participant.
        last_update: when the server last changed it, ISO 8601.
    """

    training_uuid: Uuid
    model_uuid: Uuid
    actor: Receiver
    options: TrainingOptions = TrainingOptions()
    error: Mapping[str, Any] | None = None
    started_at: Annotated[str, Field(max_length=64)] | None = None
    selected: Annotated[frozenset[Uuid], Field(strict=False, max_length=1000)] | None = None
    settings: RoundSettings | None = None
    last_update: Annotated[str, Field(max_length=64)] | None = None

    @property
    def error_reason(self) -> str | None:
        """Why it became `ERROR`, if whoever set that said so; at most 1,000 characters."""
        reason = (self.error or {}).get("reason")
        return reason[:1000] if isinstance(reason, str) else None

    @classmethod
    def from_item(cls, item: Item) -> Self:
        """Parse an item of the table, or an image of its stream.

        Raises:
            UnreadableItemError: if it is not a training by the contract.
        """
        name = item_name(item)
        values = listed(item, name, tuple(cls.model_fields))
        if not isinstance(values.get("error", {}), dict):
            # `error` may be the FL server's own value: ignore it, and still send TRAINING_ERROR.
            del values["error"]
        return _validate(cls, values, name, {})

    @classmethod
    def read(cls, item: Item) -> tuple[Self, dict[str, UnreadableItemError]]:
        """Parse what can be read: only key, state and round have to be.

        Returns:
            The training, and what is wrong with which attributes; they are as if they were absent,
            and a missing model or actor is a placeholder that must not be used.

        Raises:
            UnreadableItemError: if it does not say which training it is, or where that is.
        """
        name = item_name(item)
        _check_key(item, name)
        values: dict[str, Any] = {}
        unreadable: dict[str, UnreadableItemError] = {}
        for attribute in cls.model_fields:
            try:
                values |= listed(item, name, (attribute,))
            except UnreadableItemError as no_value:
                unreadable[attribute] = no_value
        if not isinstance(values.get("error", {}), dict):
            del values["error"]
        try:
            return cls.model_validate(values), unreadable
        except ValidationError as invalid:
            for field, why in all_errors(invalid):
                wrong = UnreadableItemError(name, field, why)
                unreadable.setdefault(field.partition(".")[0], wrong)
        for attribute in _NEEDED:
            if attribute in unreadable:
                raise unreadable[attribute]
        readable = {key: value for key, value in values.items() if key not in unreadable}
        return cls.model_validate(_PLACEHOLDERS | readable), unreadable


_NEEDED: Final = ("training_uuid", "state", "round")
_PLACEHOLDERS: Final = {
    "model_uuid": str(UUID(int=0)),
    "actor": {"uuid": str(UUID(int=0)), "message_endpoint": ""},
}


def _validate[M: _Model](
    model: type[M],
    values: Mapping[str, Any],
    name: str,
    renamed: Mapping[str, str],
    *,
    within: str = "",
) -> M:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        field, why = first_error(error)
        path = ".".join(part for part in (within, renamed.get(field, field)) if part)
        raise UnreadableItemError(name, path, why) from None


def _check_key(item: Item, name: str) -> None:
    try:
        _check_uuid(item["training_uuid"]["S"])
    except (KeyError, ValueError, TypeError, AttributeError):
        raise UnreadableItemError(name, "training_uuid", "must be a UUID") from None

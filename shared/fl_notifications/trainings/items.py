"""Items of the trainings table: their keys, and what is in them, in DynamoDB's own format."""

import base64
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Any, Final, cast
from uuid import UUID

from boto3.dynamodb.types import Binary, TypeDeserializer

TRAINING_ENTITY = "TRAINING"


PARTICIPANT_PREFIX = "PARTICIPANT#"

REMOVED_PREFIX = "REMOVED#"
"""Of the item that says why the failure policy has removed a participant."""


REDRIVEN_AS: Final = "redrivenAs"
"""Key of a stream record that comes from a dead letter instead of the stream: the letter's id."""


type AnyUuid = str | UUID
"""A uuid as the public methods take it."""

type Item = Mapping[str, Mapping[str, Any]]
"""An item as DynamoDB's API and its streams show it: a type descriptor around each value."""


class UnreadableItemError(Exception):
    """An item of the trainings table is not what the contract says; names the item and the field.

    Attributes:
        item: the item's keys, as people would name it.
        field: the attribute that is missing or wrong, dotted if nested.
        reason: what is wrong with it.
    """

    def __init__(self, item: str, field: str, reason: str) -> None:
        """Name the item, the field, and what is wrong with it."""
        super().__init__(f"{item}: field {field}: {reason}")
        self.item = item
        self.field = field
        self.reason = reason


def item_name(item: Item) -> str:
    """How people would name an item: its keys."""
    training = item.get("training_uuid", {}).get("S", "?")
    entity = item.get("entity", {}).get("S", "?")
    return f"item {str(entity)[:100]!r} of training {str(training)[:100]!r}"


def listed(item: Item, name: str, attributes: tuple[str, ...]) -> dict[str, Any]:
    """The attributes that the contract lists; all others are the FL server's own."""
    values = {key: plain(item, key, name) for key in attributes if key in item}
    return {key: value for key, value in values.items() if value is not None}


class _Deserializer(TypeDeserializer):
    """Reads binary values of streams too: Lambda shows them as base64 text."""

    def _deserialize_b(self, value: bytes | str) -> Binary:
        return Binary(base64.b64decode(value) if isinstance(value, str) else value)


@cache
def _deserializer() -> TypeDeserializer:
    return _Deserializer()


def plain(item: Item, key: str, name: str) -> object:
    """One attribute as a plain Python value; whole numbers are int.

    Raises:
        UnreadableItemError: if it is not an attribute value.
    """
    try:
        match item[key]:
            case {"S": str(text), **others} if not others:  # nearly all, of up to 100,000 items
                return text
        # What is no attribute value raises one of the errors below.
        value = _deserializer().deserialize(cast("Any", item[key]))
    except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError):
        raise UnreadableItemError(name, key, "is not a value that DynamoDB can hold") from None
    return _whole_numbers(value)


def _whole_numbers(value: object) -> object:
    """DynamoDB has one number type; a whole number is an int to us."""
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(value)
    if isinstance(value, dict):
        # NULL counts as absent, in maps too.
        return {k: _whole_numbers(inner) for k, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_whole_numbers(inner) for inner in value]
    return value


def training_key(training_uuid: AnyUuid) -> dict[str, Any]:
    """The key of a training's item."""
    return {"training_uuid": {"S": str(training_uuid)}, "entity": {"S": TRAINING_ENTITY}}


def participant_key(training_uuid: AnyUuid, participant_uuid: AnyUuid) -> dict[str, Any]:
    """The key of a participant's item."""
    return {
        "training_uuid": {"S": str(training_uuid)},
        "entity": {"S": f"{PARTICIPANT_PREFIX}{participant_uuid}"},
    }


def removed_key(training_uuid: str, participant_uuid: str) -> dict[str, Any]:
    """The key of the item that says why a participant was removed."""
    return {
        "training_uuid": {"S": training_uuid},
        "entity": {"S": f"{REMOVED_PREFIX}{participant_uuid}"},
    }

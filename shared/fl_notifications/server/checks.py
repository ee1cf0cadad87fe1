"""What is checked before anything is written: endpoints, options, settings, uuids."""

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from fl_notifications.deliveries.guard import EndpointGuard, ForbiddenEndpointError
from fl_notifications.server.errors import EndpointError, OptionError, SettingsValueError
from fl_notifications.trainings.items import AnyUuid
from fl_notifications.trainings.model import Receiver, TrainingOptions, Uuid
from fl_notifications.validation import first_error

MAILBOX: Final = "mailbox:"
"""The endpoint of a participant that fetches its notifications: exactly this."""

MAX_SELECTED: Final = 1000
MAX_SETTINGS_BYTES: Final = 16 * 1024

DEFAULT_GUARD: Final = EndpointGuard(allow_plain_http=True)
"""Whether plain http may be called is the stack's choice, which the write side does not know."""

_LARGEST_INT: Final = 10**38
_SMALLEST: Final = 1e-130
_LARGEST: Final = 1e126
"""What a number of DynamoDB's can hold."""

type Options = TrainingOptions | Mapping[str, Any]
"""A training's options, as a model or by name."""

_UUID: Final = TypeAdapter[str](Uuid)


def checked_uuid(value: AnyUuid, name: str) -> str:
    """The uuid, if it is one.

    Raises:
        ValueError: names what is no uuid.
    """
    try:
        return _UUID.validate_python(value)
    except ValidationError:
        raise ValueError(f"{name}: must be a UUID") from None


def check_endpoint(guard: EndpointGuard, receiver: Receiver, who: str) -> None:
    """Refuse an endpoint that no delivery could call.

    What a name leads to is not looked at: that may change until the delivery.

    Raises:
        EndpointError: says whose it is, and what is wrong with it.
    """
    if receiver.message_endpoint == MAILBOX:
        return
    try:
        guard.read(receiver.message_endpoint)
    except ForbiddenEndpointError as error:
        raise EndpointError(f"{who} {receiver.uuid}: message_endpoint: {error.reason}") from None


def read_options(options: Options) -> TrainingOptions:
    """A training's options, each of them known.

    Raises:
        OptionError: names the option, and for an unknown one the nearest that is known.
    """
    if isinstance(options, TrainingOptions):
        return options
    known = tuple(TrainingOptions.model_fields)
    for name in options:
        if name not in known:
            near = get_close_matches(str(name), known, n=1, cutoff=0.0)
            raise OptionError(
                f"options: {name!r} is not known; did you mean {near[0]!r}? "
                f"There are {', '.join(known)}."
            )
    try:
        return TrainingOptions.model_validate(dict(options))
    except ValidationError as error:
        field, why = first_error(error)
        raise OptionError(f"options: {field}: {why}") from None


def check_selected(selected: Iterable[AnyUuid]) -> list[str]:
    """The uuids of who is selected, each once, in order.

    Raises:
        ValueError: if there are too many, or one of them is no uuid.
    """
    uuids = list(dict.fromkeys(checked_uuid(each, "selected") for each in selected))
    if len(uuids) > MAX_SELECTED:
        raise ValueError(f"selected: {len(uuids)} participants; at most {MAX_SELECTED}")
    return uuids


def check_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as DynamoDB takes them: numbers that are no whole ones become decimals.

    Raises:
        SettingsValueError: names the key whose value is no JSON, or says how large they are.
    """
    plain = {key: _plain(value, str(key)) for key, value in settings.items()}
    size = len(json.dumps(plain, default=float).encode())
    if size > MAX_SETTINGS_BYTES:
        raise SettingsValueError(f"settings: {size} bytes as JSON; at most {MAX_SETTINGS_BYTES}")
    return plain


def _plain(value: object, path: str) -> object:
    match value:
        case None | bool() | str():
            return value
        case int() if abs(value) < _LARGEST_INT:
            return value
        case float() if value == 0 or _SMALLEST <= abs(value) < _LARGEST:
            return Decimal(repr(value))
        case Decimal():
            return value
        case Mapping():
            return {str(key): _plain(inner, f"{path}.{key}") for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner, f"{path}[{place}]") for place, inner in enumerate(value)]
    wrong = (
        "out of range" if isinstance(value, int | float) else f"{type(value).__name__} is no JSON"
    )
    raise SettingsValueError(f"settings: {path}: {wrong}")

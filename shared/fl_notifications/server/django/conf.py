"""The setting `FL_NOTIFICATIONS`: which of the server's models and fields are meant."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fl_notifications.trainings.model import TrainingState
from fl_notifications.validation import first_error


class Settings(BaseModel):
    """What the app has to know; in the settings module the names are in capitals.

    Attributes:
        table: the stack's output `TrainingsTable`.
        training: the model of a training, `app.Model`. Its key is a UUID.
        states: the states, by the values of the model's field.
        state: name of the field with the state.
        round: where the round is, dotted: `model.round`.
        model: the field with the global model; its key is a UUID.
        actor: the field with the user who has ordered the training.
        participants: the many-to-many field with those who take part.
        endpoint: the users' field with the endpoint.
        reason: the field that says why a training is in `ERROR`; None: there is none.
        rounds: how rounds are told: by `state` and `round` as they are saved (`fields`), or by
            calls of `send`, as in fl-demonstrator (`notifications`).
        options: of all trainings, or the path of a function that gives a training's.
        own_models: path of a function that gives the models that participants train instead of
            the global one, by the participants' keys; with `notifications` the calls say so.
        recheck: path of a function that is given a training from which somebody was removed: the
            round may be complete now.
        mapping: path of a subclass of `mapping.Mapping`, where names are not enough.
        dynamodb: arguments of `boto3.client("dynamodb", …)`, or the path of a function that makes
            the client.
        on_commit: whether to carry over right after the commit; otherwise only the command does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    training: str
    states: Mapping[str, TrainingState]
    state: str = "state"
    round: str = "round"
    model: str = "model"
    actor: str = "actor"
    participants: str = "participants"
    endpoint: str = "message_endpoint"
    reason: str | None = None
    rounds: Literal["fields", "notifications"] = "fields"
    options: Mapping[str, Any] | str = Field(default_factory=dict)
    own_models: str | None = None
    recheck: str | None = None
    mapping: str = "fl_notifications.server.django.mapping.Mapping"
    dynamodb: Mapping[str, Any] | str = Field(default_factory=dict)
    on_commit: bool = True


def read(given: Mapping[str, Any]) -> Settings:
    """Read the setting.

    Raises:
        ImproperlyConfigured: names what is unknown, missing or wrong.
    """
    known = {name.upper() for name in Settings.model_fields}
    for name in given:
        if name not in known:
            (near,) = get_close_matches(name, known, n=1, cutoff=0.0)
            raise ImproperlyConfigured(
                f"FL_NOTIFICATIONS: {name} is not known; did you mean {near}?"
            )
    try:
        return Settings.model_validate({name.lower(): value for name, value in given.items()})
    except ValidationError as error:
        field, why = first_error(error)
        raise ImproperlyConfigured(f"FL_NOTIFICATIONS: {field.upper()}: {why}") from None


@cache
def current() -> Settings:
    """The setting of this process."""
    return read(getattr(settings, "FL_NOTIFICATIONS", {}))


def function(path: str | None) -> Callable[..., Any] | None:
    """The function at a path."""
    found: Callable[..., Any] | None = None if path is None else import_string(path)
    return found

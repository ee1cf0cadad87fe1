"""From the server's models to what the trainings table should say, and back."""

from collections import abc
from collections.abc import Iterable
from functools import cache
from operator import attrgetter
from typing import Any

from django.apps import apps
from django.utils.module_loading import import_string

from fl_notifications.server.checks import read_options
from fl_notifications.server.desired import Seen
from fl_notifications.server.django import conf
from fl_notifications.server.reconciler import Ended
from fl_notifications.trainings.model import Receiver, TrainingState
from fl_notifications.trainings.removals import Removal


class Mapping:
    """Reads the server's models by the names in the setting; a subclass may read them otherwise.

    Attributes:
        settings: the setting.
    """

    def __init__(self, settings: conf.Settings) -> None:
        self.settings = settings

    @property
    def training_model(self) -> Any:
        """The model of a training."""
        return apps.get_model(self.settings.training)

    @property
    def participants_field(self) -> Any:
        """The many-to-many field with those who take part."""
        return self.training_model._meta.get_field(self.settings.participants)

    def find(self, training_uuid: str, using: str) -> Any | None:
        """A training, as the database has it now; None if there is none."""
        return self.training_model._base_manager.using(using).filter(pk=training_uuid).first()

    # --- from the server to the table ------------------------------------------------------------

    def seen(self, training: Any) -> Seen:
        """What the table should know of a training."""
        return Seen(
            training_uuid=str(training.pk),
            state=self.state(training),
            round=int(attrgetter(self.settings.round)(training)),
            model_uuid=str(getattr(training, self.settings.model).pk),
            actor=self.receiver(getattr(training, self.settings.actor)),
            participants=[self.receiver(each) for each in self.participants(training)],
            options=self.options(training),
            models=self.own_models(training),
            reason=self.reason(training),
        )

    def state(self, training: Any) -> TrainingState:
        """The state."""
        return self.settings.states[str(getattr(training, self.settings.state))]

    def participants(self, training: Any) -> Iterable[Any]:
        """Who takes part."""
        found: Iterable[Any] = getattr(training, self.settings.participants).all()
        return found

    def receiver(self, user: Any) -> Receiver:
        """Who is told, and where."""
        return Receiver(
            uuid=str(user.pk), message_endpoint=str(getattr(user, self.settings.endpoint))
        )

    def options(self, training: Any) -> abc.Mapping[str, Any]:
        """The training's options; an unknown one is refused by name."""
        given = self.settings.options
        if isinstance(given, str):
            given = import_string(given)(training)
        return read_options(given).model_dump(mode="json", exclude_unset=True, exclude_none=True)

    def own_models(self, training: Any) -> abc.Mapping[str, str] | None:
        """The models that participants train instead of the global one; None: calls say so."""
        function = conf.function(self.settings.own_models)
        if function is not None:
            return {str(uuid): str(model) for uuid, model in function(training).items()}
        return None if self.settings.rounds == "notifications" else {}

    def reason(self, training: Any) -> str | None:
        """Why it is in `ERROR`."""
        name = self.settings.reason
        return None if name is None else str(getattr(training, name) or "") or None

    # --- and back --------------------------------------------------------------------------------

    def removed(self, training: Any, removal: Removal) -> None:
        """The service has removed a participant: so does the server.

        Called in a transaction, and again until the participant is out.
        """
        getattr(training, self.settings.participants).remove(removal.participant_uuid)

    def ended(self, training: Any, ended: Ended) -> None:
        """The service has ended a training: so does the server.

        Called in a transaction, and again until the server says so, too.
        """
        by_state = {state: value for value, state in self.settings.states.items()}
        setattr(training, self.settings.state, by_state[ended.state])
        fields = [self.settings.state]
        if self.settings.reason is not None:
            setattr(training, self.settings.reason, ended.reason or "")
            fields.append(self.settings.reason)
        training.save(update_fields=fields)

    def recheck(self, training: Any) -> None:
        """Somebody was removed: look again whether the round is complete.

        Called after the commit; at least once.
        """
        if (function := conf.function(self.settings.recheck)) is not None:
            function(training)

    def overdue(self, training: Any, detail: abc.Mapping[str, Any]) -> None:
        """A round is longer than its deadline (`Training Overdue`); does nothing by itself."""


@cache
def current() -> Mapping:
    """The mapping of this process."""
    settings = conf.current()
    mapping: Mapping = import_string(settings.mapping)(settings)
    return mapping

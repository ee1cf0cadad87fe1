"""Tells the participants of a federated training what happens to it.

These names are what an FL server needs: the write side (`TrainingRepository`), the notifications,
and the queue that `send` puts them into. Participants import from `fl_notifications.receiver`. All
else is the service's own and may change.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fl_notifications.deliveries.queue import (
        DeliveryQueue,
        NotEnqueuedError,
        queue_from_environment,
    )
    from fl_notifications.notification_type import NotificationType
    from fl_notifications.notifications.notification import (
        ClientRemovedNotification,
        Notification,
        TrainingErrorNotification,
        TrainingFinishedNotification,
        TrainingModelTestNotification,
        TrainingNotification,
        TrainingRoundStartNotification,
        TrainingStartNotification,
        TrainingSWAGRoundStartNotification,
    )
    from fl_notifications.server.errors import (
        EndpointError,
        NotDeletedError,
        OptionError,
        ParticipantExistsError,
        ParticipantNotFoundError,
        ParticipantsNotWrittenError,
        SettingsValueError,
        TooFewParticipantsError,
        TrainingExistsError,
        TrainingNotFoundError,
        TrainingRepositoryError,
        WrongStateError,
    )
    from fl_notifications.server.repository import TrainingRepository, TrainingStatus
    from fl_notifications.settings import SettingsError
    from fl_notifications.trainings.items import UnreadableItemError
    from fl_notifications.trainings.model import (
        FailurePolicy,
        LateJoiners,
        OnDeadline,
        Participant,
        Receiver,
        Training,
        TrainingOptions,
        TrainingState,
    )
    from fl_notifications.trainings.removals import Removal

_PLACES = {
    "deliveries.queue": "DeliveryQueue NotEnqueuedError queue_from_environment",
    "notification_type": "NotificationType",
    "notifications.notification": (
        "ClientRemovedNotification Notification TrainingErrorNotification"
        " TrainingFinishedNotification TrainingModelTestNotification TrainingNotification"
        " TrainingRoundStartNotification TrainingStartNotification"
        " TrainingSWAGRoundStartNotification"
    ),
    "server.errors": (
        "EndpointError NotDeletedError OptionError ParticipantExistsError ParticipantNotFoundError"
        " ParticipantsNotWrittenError SettingsValueError TooFewParticipantsError"
        " TrainingExistsError TrainingNotFoundError TrainingRepositoryError WrongStateError"
    ),
    "trainings.removals": "Removal",
    "server.repository": "TrainingRepository TrainingStatus",
    "settings": "SettingsError",
    "trainings.items": "UnreadableItemError",
    "trainings.model": (
        "FailurePolicy LateJoiners OnDeadline Participant Receiver Training TrainingOptions"
        " TrainingState"
    ),
}
"""Where the names are. A function imports this package, too, and must not load the write side."""

__all__ = [
    "ClientRemovedNotification",
    "DeliveryQueue",
    "EndpointError",
    "FailurePolicy",
    "LateJoiners",
    "NotDeletedError",
    "NotEnqueuedError",
    "Notification",
    "NotificationType",
    "OnDeadline",
    "OptionError",
    "Participant",
    "ParticipantExistsError",
    "ParticipantNotFoundError",
    "ParticipantsNotWrittenError",
    "Receiver",
    "Removal",
    "SettingsError",
    "SettingsValueError",
    "TooFewParticipantsError",
    "Training",
    "TrainingErrorNotification",
    "TrainingExistsError",
    "TrainingFinishedNotification",
    "TrainingModelTestNotification",
    "TrainingNotFoundError",
    "TrainingNotification",
    "TrainingOptions",
    "TrainingRepository",
    "TrainingRepositoryError",
    "TrainingRoundStartNotification",
    "TrainingSWAGRoundStartNotification",
    "TrainingStartNotification",
    "TrainingState",
    "TrainingStatus",
    "UnreadableItemError",
    "WrongStateError",
    "queue_from_environment",
]


if not TYPE_CHECKING:  # to a type checker, any name would do

    def __getattr__(name: str) -> Any:
        """Import a name's module when the name is first asked for."""
        for place, names in _PLACES.items():
            if name in names.split():
                value = getattr(import_module(f"{__name__}.{place}"), name)
                globals()[name] = value
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """What can be imported from here."""
    return __all__

"""The types of notification that a participant of a training can get."""

from enum import Enum
from typing import Self


class NotificationType(Enum):
    """A type of notification, with a short description for people.

    The names and values are those of fl-demonstrator; `TRAINING_ERROR` and
    `PARTICIPANT_REMOVED` are ours.
    """

    UPDATE_ROUND_START = "UPDATE_ROUND_START", "Start update round"
    SWAG_ROUND_START = "SWAG_ROUND_START", "Start swag round"
    TRAINING_START = "TRAINING_START", "Training start"
    TRAINING_FINISHED = "TRAINING_FINISHED", "Training finished"
    CLIENT_REMOVED = "CLIENT_REMOVED", "Client removed"
    MODEL_TEST_ROUND = "MODEL_TEST_ROUND", "Start model round"
    TRAINING_ERROR = "TRAINING_ERROR", "Training error"
    PARTICIPANT_REMOVED = "PARTICIPANT_REMOVED", "Participant removed"

    def __new__(cls, value: str, _description: str = "") -> Self:
        """Make the first of the two strings the member's value."""
        member = object.__new__(cls)
        member._value_ = value
        return member

    def __init__(self, _value: str, description: str = "") -> None:
        """Keep the second of the two strings as the description."""
        self._description = description

    @property
    def description(self) -> str:
        """What the type means, in a few words."""
        return self._description

"""Parses messages of the queue: deliveries, poison messages, and those of newer versions."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from pydantic import ValidationError

from fl_notifications.deliveries.delivery import Delivery
from fl_notifications.deliveries.queue import ReceivedMessage
from fl_notifications.validation import first_error

_TYPE: Final = "notification_type"

_SURELY_ONCE: Final = timedelta(seconds=290)
"""The queue drops repeats for five minutes; the time of a change is known to the second."""


class PoisonError(Exception):
    """A poison message: retrying cannot help. Says why."""


@dataclass(frozen=True, slots=True)
class Message:
    """A delivery as it was received.

    Attributes:
        delivery: None if it is of a type that only a newer version of the service knows.
    """

    received: ReceivedMessage
    delivery: Delivery | None

    @property
    def group(self) -> str:
        """The message group: what is to stay in order."""
        return self.received.group or (self.delivery.group if self.delivery else "")

    @property
    def may_be_a_repeat(self) -> bool:
        """Whether the same notification may have been enqueued before, and wait in a mailbox now.

        Not if it was enqueued so soon after its change that the queue would have dropped it.
        """
        sent_at = self.received.sent_at
        if sent_at is None or self.delivery is None:
            return True
        return sent_at - self.delivery.created_at >= _SURELY_ONCE


def parse(received: ReceivedMessage) -> Message:
    """Parse a message.

    Raises:
        PoisonError: if it is no delivery.
    """
    try:
        return Message(received, Delivery.model_validate_json(received.body))
    except ValidationError as error:
        if _is_of_a_newer_version(error):
            return Message(received, None)
        field, why = first_error(error)
        raise PoisonError(f"not a delivery: field {field or 'body'}: {why}") from None


def _is_of_a_newer_version(error: ValidationError) -> bool:
    """Whether its type is not known here: what else a message of that type has is not, either."""
    return any(
        each["loc"] == (_TYPE,) and each["type"] == "enum" and isinstance(each["input"], str)
        for each in error.errors(include_url=False, include_context=False)
    )

"""What a fan-out cannot read: dead letters at once, events when all others are told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fl_notifications.notifications.announcement import Announcement
from fl_notifications.notifications.dead_letters import DeadLetters
from fl_notifications.outcomes.bus import OutcomeBus
from fl_notifications.outcomes.changes import ChangeEvent, ParticipantUnreadable
from fl_notifications.trainings.items import UnreadableItemError
from fl_notifications.trainings.model import RUNNING_STATES


@dataclass(frozen=True)
class UnreadableItems:
    """What cannot be read while an announcement is enqueued.

    Call it with an error and the sort key of the item: that becomes a dead letter.

    Attributes:
        record: that the announcement comes from.
    """

    dead_letters: DeadLetters
    bus: OutcomeBus
    announcement: Announcement
    record: Mapping[str, Any]
    _events: list[ChangeEvent] = field(default_factory=list)

    def __call__(self, error: UnreadableItemError, entity: str) -> None:
        """Set an item aside.

        Raises:
            ClientError: if the dead-letter queue does not take it.
        """
        self.dead_letters.unreadable(error, self.record, entity)
        if self.announcement.training.state in RUNNING_STATES:
            self._events.append(
                ParticipantUnreadable(
                    training_uuid=self.announcement.training.training_uuid,
                    sequence=self.record["dynamodb"]["SequenceNumber"],
                    run=self.announcement.run,
                    entity=entity,
                    field=error.field,
                    reason=error.reason,
                    at=self.announcement.created_at,
                )
            )

    def tell(self) -> None:
        """Tell the bus what was set aside of a running training since the last time.

        Raises:
            NotToldError: if the bus did not take all events.
            ClientError: if the bus refuses a call as a whole.
        """
        self.bus.tell(self._events, self.announcement.created_at)
        self._events.clear()

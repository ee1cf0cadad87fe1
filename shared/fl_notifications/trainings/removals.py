"""Who was removed by the service, and why: the `REMOVED#` items of the trainings table."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fl_notifications.trainings.items import (
    REMOVED_PREFIX,
    Item,
    UnreadableItemError,
    item_name,
    listed,
    plain,
)
from fl_notifications.trainings.model import Uuid
from fl_notifications.validation import first_error


class Removal(BaseModel):
    """A participant that the failure policy, or a deadline, has removed.

    Attributes:
        participant_uuid: of whom.
        reason: why, in words of the service.
        notification_id: of the notification that led to it.
        joined_at: of the membership that ended; None if it had none.
        at: when, ISO 8601.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    participant_uuid: Uuid
    reason: str
    notification_id: str | None = None
    joined_at: Annotated[str, Field(max_length=64)] | None = None
    at: str | None = None

    @classmethod
    def from_item(cls, item: Item) -> Self:
        """Parse an item of the table.

        Raises:
            UnreadableItemError: if it is not what the failure policy writes.
        """
        name = item_name(item)
        values = listed(item, name, ("reason", "notification_id", "joined_at", "at"))
        entity = plain(item, "entity", name)
        try:
            return cls.model_validate(
                {**values, "participant_uuid": str(entity).removeprefix(REMOVED_PREFIX)}
            )
        except ValidationError as error:
            raise UnreadableItemError(name, *first_error(error)) from None

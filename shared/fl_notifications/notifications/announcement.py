"""What a change has to tell, before it is known to whom: the beginning of a fan-out."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict

from fl_notifications.deliveries.delivery import ANNOUNCED_STATE, Delivery
from fl_notifications.notification_type import NotificationType
from fl_notifications.notifications.bodies import RemovedData
from fl_notifications.notifications.notification import (
    NOTIFICATION_CLASSES,
    AnyTrainingNotification,
    ParticipantRemovedNotification,
)
from fl_notifications.trainings.model import Participant, Receiver, Training, canonical

CLOCK_MARGIN: Final = timedelta(minutes=5)
"""How far a server's clock may be behind, when it says who joined before a run began."""


class Notice(BaseModel):
    """One type of notification that a change calls for.

    Attributes:
        source: what its id is made of, see `notification_id`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: NotificationType
    source: str

    @property
    def of_round(self) -> bool:
        """Whether it announces a round."""
        return self.kind in ANNOUNCED_STATE


class Announcement(BaseModel):
    """What a change has to tell, with the training as of the change.

    Attributes:
        run: sequence number of the change that began the training's run.
        began_at: when that change was made.
        created_at: when this change was made.
        notices: in the order of sending.
        to_actor: whether the actor is told as well.
        removed: who was removed, if it is about that; is not told itself.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    training: Training
    run: str
    began_at: AwareDatetime
    created_at: AwareDatetime
    notices: tuple[Notice, ...]
    to_actor: bool = False
    removed: RemovedData | None = None

    def deliveries(self, notice: Notice, receivers: Sequence[Receiver]) -> Iterator[Delivery]:
        """One message per receiver, made as they are asked for."""
        return self.notification(notice.kind, receivers).deliveries(
            source=notice.source,
            created_at=self.created_at,
            run=self.run,
            started_at=self.training.started_at,
        )

    def notification(
        self, kind: NotificationType, receivers: Sequence[Receiver]
    ) -> AnyTrainingNotification:
        """The notification of one type for some receivers."""
        if self.removed is not None:
            return ParticipantRemovedNotification.about(self.training, receivers, self.removed)
        return NOTIFICATION_CLASSES[kind].to(self.training, receivers)

    @property
    def owes_starts(self) -> bool:
        """Whether a round is announced without the start before it."""
        return any(each.of_round for each in self.notices) and not any(
            each.kind is NotificationType.TRAINING_START for each in self.notices
        )

    @property
    def only_to_selected(self) -> bool:
        """Whether nobody but the training's selected participants is told anything."""
        return self.training.selected is not None and all(each.of_round for each in self.notices)

    def concerned(self, notice: Notice, participants: Sequence[Participant]) -> list[Participant]:
        """Those of some participants whom a notice is for."""
        if self.removed is not None:
            gone = canonical(self.removed.participant_uuid)
            return [each for each in participants if canonical(each.uuid) != gone]
        if self._selected is None or not notice.of_round:
            return list(participants)
        return [each for each in participants if canonical(each.uuid) in self._selected]

    @cached_property
    def _selected(self) -> frozenset[str] | None:
        selected = self.training.selected
        return None if selected is None else frozenset(canonical(each) for each in selected)

    def owed_start(self, participants: Iterable[Participant]) -> list[Participant]:
        """Those who may not have been told the start of the run yet.

        Whoever has a `joined_at` that is not clearly before the run's beginning. The id is that of
        their own record's notice, so that the queue or the ledger drops the repeat.
        """
        return [
            each
            for each in participants
            if each.joined_at is not None and not _clearly_before(each.joined_at, self.began_at)
        ]


def _clearly_before(moment: str, than: datetime) -> bool:
    try:
        at = datetime.fromisoformat(moment)
        return at.tzinfo is not None and at <= than - CLOCK_MARGIN
    except (ValueError, OverflowError):
        return False

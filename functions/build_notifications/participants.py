"""What a participant's own record leads to: judged by the entry of the training's run alone."""

from dataclasses import dataclass

from pydantic import ValidationError

from fl_notifications.notification_type import NotificationType
from fl_notifications.notifications.announcement import Announcement, Notice
from fl_notifications.notifications.bodies import RemovedData
from fl_notifications.notifications.changes import ROUND_TYPES
from fl_notifications.outcomes.changes import ChangeEvent, ParticipantRemoved, ParticipantUnreadable
from fl_notifications.outcomes.runs import RETENTION, EndedAs, Run, later_than
from fl_notifications.trainings.items import PARTICIPANT_PREFIX, Item, UnreadableItemError
from fl_notifications.trainings.model import LateJoiners, Participant
from fl_notifications.trainings.table import Page
from functions.build_notifications.records import Change


@dataclass(frozen=True, slots=True)
class Following:
    """What follows from a participant's record.

    Attributes:
        announcement: what there is to tell; None: nothing.
        page: the participant, to be told that.
        event: what there is to put on the bus.
        others: whether all others are told of the removal.
        unreadable: why the record, or a part of it, is a dead letter.
    """

    announcement: Announcement | None = None
    page: Page | None = None
    event: ChangeEvent | None = None
    unreadable: UnreadableItemError | None = None
    others: bool = False


def follow(change: Change, entry: Run | None) -> Following:
    """What follows from a record of a participant.

    Args:
        change: the record.
        entry: of the training's run; None if none has begun as far as the stream was read.
    """
    try:
        if change.new is None:
            return _left(change, entry)
        return _is_there(change, entry)
    except UnreadableItemError as error:
        return Following(event=_unreadable(change, entry, error), unreadable=error)


def _is_there(change: Change, entry: Run | None) -> Following:
    new, settings_error = Participant.read(change.new or {})
    old = _readable(change.old)
    if old is not None and old.joined_at == new.joined_at:
        return Following()
    is_mended = old is None and change.old is not None
    page = Page([new], without_settings={new.uuid: settings_error} if settings_error else {})
    if entry is not None and _in_run(change, entry):
        current = entry.training.options.late_joiners is LateJoiners.CURRENT_ROUND
        notices = _joined(change, entry, with_round=current or is_mended)
        return Following(_announcement(change, entry, notices), page)
    if is_mended and entry is not None and (end := _end(change, entry)) is not None:
        return Following(_announcement(change, entry, (end,)), page)
    return Following()


def _left(change: Change, entry: Run | None) -> Following:
    if entry is None:
        Participant.read(change.old or {})
        return Following()
    in_run = _in_run(change, entry)
    event = _removed(change, entry) if in_run else None
    if change.by_ttl:
        return Following(event=event)
    try:
        participant, _ = Participant.read(change.old or {})
    except UnreadableItemError as error:
        return Following(event=event or _unreadable(change, entry, error), unreadable=error)
    removed = Notice(kind=NotificationType.CLIENT_REMOVED, source=change.sequence_number)
    if in_run:
        return Following(
            _announcement(change, entry, (removed,)),
            Page([participant]),
            event,
            others=entry.training.options.announce_removals,
        )
    end = _end(change, entry)
    if end is None:
        return Following()
    failed = entry.ended is not None and entry.ended.how is EndedAs.ERROR
    notices = (end, removed) if failed else (end,)
    return Following(_announcement(change, entry, notices), Page([participant]))


def _joined(change: Change, entry: Run, *, with_round: bool) -> tuple[Notice, ...]:
    start = Notice(kind=NotificationType.TRAINING_START, source=change.sequence_number)
    if not with_round or entry.round_change is None:
        return (start,)
    kind = ROUND_TYPES[entry.training.state]
    return start, Notice(kind=kind, source=entry.round_change)


def _end(change: Change, entry: Run) -> Notice | None:
    """The notice of the run's end, for a leaver whom its fan-out may have missed."""
    end = entry.ended
    if end is None or end.how is EndedAs.INITIAL or change.at - end.at > RETENTION:
        return None
    if not change.redriven and later_than(end.sequence, change.sequence_number):
        return None  # of an earlier run
    finished = end.how is EndedAs.COMPLETED
    kind = NotificationType.TRAINING_FINISHED if finished else NotificationType.TRAINING_ERROR
    return Notice(kind=kind, source=end.sequence)


def _in_run(change: Change, entry: Run) -> bool:
    """Whether a change was made during the run; one from a dead letter counts as made now."""
    if change.redriven:
        return entry.ended is None
    number = change.sequence_number
    begun = later_than(number, entry.run)
    return begun and (entry.ended is None or later_than(entry.ended.sequence, number))


def _announcement(change: Change, entry: Run, notices: tuple[Notice, ...]) -> Announcement:
    training = entry.training
    if entry.ended is not None:
        training = training.model_copy(update={"error": {"reason": entry.ended.reason}})
    return Announcement(
        training=training,
        run=entry.run,
        began_at=entry.began_at,
        created_at=change.at,
        notices=notices,
    )


def to_others(
    announcement: Announcement, removed: ParticipantRemoved, sequence_number: str
) -> Announcement:
    """What all others are told of a removal.

    Args:
        announcement: what the one who is out is told.
        removed: the event, with its reason.
        sequence_number: of the record.
    """
    reason = removed.reason or "removed by the server"
    kind = NotificationType.PARTICIPANT_REMOVED
    return announcement.model_copy(
        update={
            "notices": (Notice(kind=kind, source=sequence_number),),
            "removed": RemovedData(participant_uuid=removed.receiver_uuid, reason=reason),
        }
    )


def _removed(change: Change, entry: Run) -> ChangeEvent | None:
    """The event of a removal, if it can be said who was removed; its reason is still open."""
    try:
        return ParticipantRemoved(
            training_uuid=change.training_uuid,
            sequence=change.sequence_number,
            run=entry.run,
            receiver_uuid=change.entity.removeprefix(PARTICIPANT_PREFIX),
            joined_at=(change.old or {}).get("joined_at", {}).get("S"),
            reason=None,
            notification_id=None,
            at=change.at,
        )
    except ValidationError:
        return None


def _unreadable(
    change: Change, entry: Run | None, error: UnreadableItemError
) -> ChangeEvent | None:
    if entry is None or not _in_run(change, entry):
        return None
    return ParticipantUnreadable(
        training_uuid=change.training_uuid,
        sequence=change.sequence_number,
        run=entry.run,
        entity=change.entity,
        field=error.field,
        reason=error.reason,
        at=change.at,
    )


def _readable(image: Item | None) -> Participant | None:
    try:
        return None if image is None else Participant.read(image)[0]
    except UnreadableItemError:
        return None

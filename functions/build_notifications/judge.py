"""What a training's record leads to: judged by the training as it was last told."""

from dataclasses import dataclass, replace
from typing import Any, Final

from fl_notifications.notification_type import NotificationType
from fl_notifications.notifications.announcement import Announcement, Notice
from fl_notifications.notifications.changes import notification_types
from fl_notifications.notifications.notification import NOTIFICATION_CLASSES
from fl_notifications.outcomes.changes import (
    ChangeEvent,
    TrainingChanged,
    TrainingEnded,
    TrainingStarted,
)
from fl_notifications.outcomes.runs import (
    OLDER_THAN_THE_SERVICE,
    End,
    EndedAs,
    Run,
    later_than,
)
from fl_notifications.trainings.items import Item, UnreadableItemError
from fl_notifications.trainings.model import (
    FINAL_STATES,
    RUNNING_STATES,
    Training,
    TrainingOptions,
    TrainingState,
)
from functions.build_notifications.records import Change

DELETED: Final = "the training was deleted"

_NEEDED_BY_ROUNDS: Final = ("model_uuid", "selected", "settings")
_NEEDED: Final = {
    NotificationType.TRAINING_START: ("model_uuid",),
    NotificationType.UPDATE_ROUND_START: _NEEDED_BY_ROUNDS,
    NotificationType.SWAG_ROUND_START: _NEEDED_BY_ROUNDS,
    NotificationType.MODEL_TEST_ROUND: _NEEDED_BY_ROUNDS,
    NotificationType.TRAINING_FINISHED: ("model_uuid",),
}
"""What has to be readable for a notification, beside key, state and round."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a record.

    Attributes:
        announcement: what there is to tell; None: nothing.
        event: what there is to put on the bus; its number of participants is still open.
        run: the entry to write last; None: it stays as it is.
        unreadable: what could not be read, and holds up nothing.
    """

    announcement: Announcement | None = None
    event: ChangeEvent | None = None
    run: Run | None = None
    unreadable: tuple[UnreadableItemError, ...] = ()


def judge(change: Change, entry: Run | None) -> Verdict:
    """What follows from a record of a training.

    Args:
        change: the record.
        entry: of the training's run; None if none has begun as far as the stream was read.

    Raises:
        UnreadableItemError: if something that is needed cannot be read; the record moves nothing.
    """
    if entry is not None and not later_than(change.sequence_number, entry.told):
        return _again(change, entry) if change.redriven else Verdict()
    if change.new is None:
        return _deleted(change, entry)
    training, unreadable = Training.read(change.new)
    told: Training | None
    if entry is None or change.adopted:
        told = _readable(change.new if change.adopted else change.old)
        entry = _under_way(change, told) if entry is None or told else entry
    else:
        told = None if entry.deleted else entry.training
    kinds = notification_types(told, training)
    _check(kinds, unreadable)
    run = _run_after(change, entry, training, kinds, unreadable)
    return Verdict(
        announcement=_announcement(change, run, training, kinds, unreadable),
        event=_event(change, entry, run, training, kinds),
        run=run if kinds or _differs(run, entry) else None,
        unreadable=_actor(kinds, unreadable),
    )


def _under_way(change: Change, training: Training | None) -> Run | None:
    """The run that a training is in already when the first of its records is read."""
    if training is None or training.state not in RUNNING_STATES:
        return None
    number = change.sequence_number if change.adopted else OLDER_THAN_THE_SERVICE
    return Run(
        number,
        change.at,
        OLDER_THAN_THE_SERVICE,
        training,
        round_change=OLDER_THAN_THE_SERVICE,
    )


def _run_after(
    change: Change,
    entry: Run | None,
    training: Training,
    kinds: tuple[NotificationType, ...],
    unreadable: dict[str, UnreadableItemError],
) -> Run:
    """The entry, once the change is told."""
    number, at = change.sequence_number, change.at
    # Nobody is told of an end that is older than the first record read.
    unknown = End(number, EndedAs.INITIAL, at)
    run = entry or Run(number, at, number, training, ended=unknown, closed=True)
    run = replace(run, told=number, deleted=False)
    run = replace(run, training=_stored(training, entry, kinds, unreadable))
    if training.state in RUNNING_STATES:
        if run.closed:
            run = replace(run, run=number, began_at=at)
        if kinds:
            run = replace(run, round_change=number)
        return replace(run, ended=None, closed=False)
    if training.state in FINAL_STATES and kinds:
        reason = _reason(training, change, entry)
        return replace(run, ended=End(number, EndedAs(training.state.value), at, reason))
    if training.state is TrainingState.INITIAL:
        # A run that has ended before stays ended as it was: whoever leaves only now is told so.
        return replace(run, ended=run.ended or End(number, EndedAs.INITIAL, at), closed=True)
    return run


def _announcement(
    change: Change,
    run: Run,
    training: Training,
    kinds: tuple[NotificationType, ...],
    unreadable: dict[str, UnreadableItemError],
) -> Announcement | None:
    if not kinds:
        return None
    reason = None if run.ended is None else {"reason": run.ended.reason}
    kept = {"error": reason, "options": TrainingOptions(), "last_update": None}
    return Announcement(
        training=training.model_copy(update=kept),
        run=run.run,
        began_at=run.began_at,
        created_at=change.at,
        notices=tuple(_notice(kind, change.sequence_number, run) for kind in kinds),
        to_actor=_tell_actor(kinds) and "actor" not in unreadable,
    )


def _notice(kind: NotificationType, source: str, run: Run) -> Notice:
    is_start = kind is NotificationType.TRAINING_START
    return Notice(kind=kind, source=run.run if is_start else source)


def _event(
    change: Change,
    entry: Run | None,
    run: Run,
    training: Training,
    kinds: tuple[NotificationType, ...],
) -> ChangeEvent | None:
    ran = entry is not None and entry.runs
    about: dict[str, Any] = {
        "training_uuid": change.training_uuid,
        "sequence": change.sequence_number,
        "run": run.run,
        "state": training.state.value,
        "round": training.round,
        "at": change.at,
    }
    if NotificationType.TRAINING_START in kinds:
        return TrainingStarted(participants=None, **about)
    if run.runs and (kinds or change.options_changed):
        return TrainingChanged(participants=None, **about)
    if ran and run.ended is not None and kinds:
        error = _news(training, change, entry)
        return TrainingEnded(
            reason=run.ended.reason,
            receiver_uuid=error.get("receiver_uuid"),
            notification_id=error.get("notification_id"),
            **about,
        )
    return None


def _deleted(change: Change, entry: Run | None) -> Verdict:
    old = _running(change.old)
    ended = None if entry is None or entry.ended is None else entry.ended.how
    ran = entry is not None and entry.runs
    if old is not None and ended is not EndedAs.COMPLETED:
        ran = True  # what began the run may be a dead letter
    entry = entry or _under_way(change, old)
    if entry is None:
        return Verdict()
    if not ran:
        gone = replace(entry, told=change.sequence_number, closed=True, deleted=True)
        return Verdict(run=gone)
    training = entry.training if entry.runs or old is None else old
    number = change.sequence_number
    run = replace(
        entry,
        told=number,
        training=_stored(training, entry, (), {}),
        ended=End(number, EndedAs.DELETED, change.at, DELETED),
        closed=True,
        deleted=True,
    )
    event = TrainingEnded(
        training_uuid=change.training_uuid,
        sequence=number,
        run=run.run,
        state=EndedAs.DELETED.value,
        round=training.round,
        reason=DELETED,
        receiver_uuid=None,
        notification_id=None,
        at=change.at,
    )
    if change.by_ttl:
        return Verdict(event=event, run=run)
    kinds = (NotificationType.TRAINING_ERROR,)
    return Verdict(_announcement(change, run, training, kinds, {}), event, run=run)


def _again(change: Change, entry: Run) -> Verdict:
    """Handle a redriven record at or below `told`.

    The last one that was told is told once more, to whoever missed it. Of an earlier one only the
    start, with the ids of the run that there is now: the rest of it is overtaken.
    """
    if change.new is None:
        return Verdict()
    training, unreadable = Training.read(change.new)
    kinds = notification_types(_readable(change.old), training)
    if change.sequence_number != entry.told:
        start = NotificationType.TRAINING_START
        if start not in kinds or not entry.runs:
            return Verdict()
        return Verdict(_announcement(change, entry, entry.training, (start,), {}))
    _check(kinds, unreadable)
    return Verdict(
        _announcement(change, entry, training, kinds, unreadable),
        unreadable=_actor(kinds, unreadable),
    )


def _check(kinds: tuple[NotificationType, ...], unreadable: dict[str, UnreadableItemError]) -> None:
    for kind in kinds:
        for attribute in _NEEDED.get(kind, ()):
            if attribute in unreadable:
                raise unreadable[attribute]


def _actor(
    kinds: tuple[NotificationType, ...], unreadable: dict[str, UnreadableItemError]
) -> tuple[UnreadableItemError, ...]:
    """Why the actor is unreadable, if the notification goes to it."""
    return (unreadable["actor"],) if _tell_actor(kinds) and "actor" in unreadable else ()


def _tell_actor(kinds: tuple[NotificationType, ...]) -> bool:
    return any(NOTIFICATION_CLASSES[kind].tells_actor for kind in kinds)


def _readable(image: Item | None) -> Training | None:
    """A training as an image shows it, if all can be read that a round needs."""
    try:
        training, unreadable = Training.read(image or {})
    except UnreadableItemError:
        return None
    return None if unreadable.keys() & set(_NEEDED_BY_ROUNDS) else training


def _running(image: Item | None) -> Training | None:
    """A training as an image shows it, if it runs there, whatever else can be read."""
    try:
        training, _ = Training.read(image or {})
    except UnreadableItemError:
        return None
    return training if training.state in RUNNING_STATES else None


def _differs(run: Run, entry: Run | None) -> bool:
    """Whether an entry says more than it did; a lock or a time is no reason to write it."""
    if entry is None:
        return True
    return replace(run, told=entry.told) != entry or entry.told == OLDER_THAN_THE_SERVICE


_KEPT: Final = ("model_uuid", "actor", "selected", "settings")


def _stored(
    training: Training,
    entry: Run | None,
    kinds: tuple[NotificationType, ...],
    unreadable: dict[str, UnreadableItemError],
) -> Training:
    """A training as its entry keeps it: what later records need of it, and no more.

    What could not be read stays as it was. Its `error` is that of its last end, so that the next
    one can tell whether it has a reason of its own.
    """
    values: dict[str, Any] = {"last_update": None}
    values["options"] = training.options.model_copy(update={"required_participants": frozenset()})
    if entry is not None:
        values |= {each: getattr(entry.training, each) for each in _KEPT if each in unreadable}
    stays = entry is not None and not (training.state in FINAL_STATES and kinds)
    values["error"] = _known(entry.training.error if entry and stays else training.error)
    return training.model_copy(update=values)


def _known(error: Any) -> dict[str, str] | None:
    names = ("reason", "receiver_uuid", "notification_id", "at")
    found = {name: error[name][:1000] for name in names if isinstance((error or {}).get(name), str)}
    return found or None


def _news(training: Training, change: Change, entry: Run | None) -> dict[str, str]:
    """What an `error` says, if it was not there when the training ended for the last time."""
    old = _readable(change.old) if entry is None else entry.training
    error = _known(training.error) or {}
    return {} if old is not None and _known(old.error) == error else error


def _reason(training: Training, change: Change, entry: Run | None) -> str | None:
    if training.state is not TrainingState.ERROR:
        return None
    return _news(training, change, entry).get("reason")

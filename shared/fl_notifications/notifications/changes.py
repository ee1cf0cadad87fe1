"""Which notifications a change of a training calls for."""

from fl_notifications.notification_type import NotificationType
from fl_notifications.trainings.model import Progress, TrainingState

_ROUND_TYPES = {
    TrainingState.ONGOING: NotificationType.UPDATE_ROUND_START,
    TrainingState.SWAG_ROUND: NotificationType.SWAG_ROUND_START,
    TrainingState.MODEL_TEST: NotificationType.MODEL_TEST_ROUND,
}
_FINAL_TYPES = {
    TrainingState.COMPLETED: NotificationType.TRAINING_FINISHED,
    TrainingState.ERROR: NotificationType.TRAINING_ERROR,
}


def notification_types(old: Progress | None, new: Progress) -> tuple[NotificationType, ...]:
    """The types of notification that follow a change of a training, in the order of sending.

    Args:
        old: where it was before the change; None if there was none, or none that could be read.
        new: where it is after it.
    """
    state_changed = old is None or old.state is not new.state
    round_changed = old is None or old.round != new.round
    if new.state is TrainingState.ONGOING and (old is None or old.state is TrainingState.INITIAL):
        return NotificationType.TRAINING_START, NotificationType.UPDATE_ROUND_START
    if new.state in _ROUND_TYPES and (state_changed or round_changed):
        return (_ROUND_TYPES[new.state],)
    if new.state in _FINAL_TYPES and state_changed:
        return (_FINAL_TYPES[new.state],)
    return ()

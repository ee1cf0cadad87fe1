"""Which notifications a change of a training calls for."""

from typing import Final

from fl_notifications.deliveries.delivery import ANNOUNCED_STATE
from fl_notifications.notification_type import NotificationType
from fl_notifications.trainings.model import RUNNING_STATES, Progress, TrainingState

ROUND_TYPES: Final = {state: kind for kind, state in ANNOUNCED_STATE.items()}
"""What announces a round, by the state of the training."""

END_TYPES: Final = {
    TrainingState.COMPLETED: NotificationType.TRAINING_FINISHED,
    TrainingState.ERROR: NotificationType.TRAINING_ERROR,
}
"""What tells the end, by the state of the training."""


def notification_types(old: Progress | None, new: Progress | None) -> tuple[NotificationType, ...]:
    """The types of notification that follow a change of a training, in the order of sending.

    Args:
        old: where it was as last told; None if there was none.
        new: where it is after the change; None if it was deleted.
    """
    ran = old is not None and old.state in RUNNING_STATES
    if new is None:
        return (NotificationType.TRAINING_ERROR,) if ran else ()
    state_changed = old is None or old.state is not new.state
    if new.state in END_TYPES:
        return (END_TYPES[new.state],) if state_changed else ()
    if new.state not in ROUND_TYPES:
        return ()
    if not ran:
        return NotificationType.TRAINING_START, ROUND_TYPES[new.state]
    round_changed = old is None or old.round != new.round
    return (ROUND_TYPES[new.state],) if state_changed or round_changed else ()

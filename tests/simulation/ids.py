"""The ids of notifications, as the contract says what they are made of."""

from fl_notifications.deliveries.delivery import notification_id
from fl_notifications.notification_type import NotificationType

T = NotificationType
ROUNDS = {T.UPDATE_ROUND_START, T.SWAG_ROUND_START, T.MODEL_TEST_ROUND}


def id_of(
    kind: NotificationType,
    receiver: str,
    *,
    training: str,
    run: str,
    source: str,
    joined_at: str | None,
) -> str:
    """What the same notice to the same membership is always called.

    Args:
        kind: of notification.
        receiver: its uuid.
        training: its uuid.
        run: the sequence number of the change that began it.
        source: of the record that it comes from; the run for a start in a fan-out.
        joined_at: of the membership.
    """
    return notification_id(
        kind, receiver, training_uuid=training, run=run, source=source, joined_at=joined_at
    )

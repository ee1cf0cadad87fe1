"""A drop-in for the reference's `Notification.send`: its call sites stay as they are.

With `ROUNDS: "notifications"`, who is told which round is what the server's calls say; starts and
ends are what it saves. In fl-demonstrator the calls reach us by a setting of Celery's:

    CELERY_TASK_ANNOTATIONS = {
        "fl_server_ai.notification.notification.send_notifications": SEND_IN_TRANSACTION,
    }

Elsewhere call `announce(notification)` where the notification was sent.
"""

from collections.abc import Callable
from typing import Any, Final

from fl_notifications.deliveries.delivery import ANNOUNCED_STATE
from fl_notifications.notification_type import NotificationType
from fl_notifications.server.desired import Announced


def announce(notification: Any) -> None:
    """Write down what a notification of the reference's says, in the current transaction.

    Types that no round begins with are told by the training's state; nothing is to be done.

    Args:
        notification: has `type`, `body`, `receivers` and `training_uuid`.
    """
    # Settings modules import this one before there are models.
    from fl_notifications.server.django import rows  # noqa: PLC0415

    kind = NotificationType(getattr(notification.type, "value", notification.type))
    state = ANNOUNCED_STATE.get(kind)
    if state is None:
        return
    receivers = frozenset(
        str(each.pk if hasattr(each, "pk") else each.id) for each in notification.receivers
    )
    rows.told(
        str(notification.training_uuid),
        Announced(
            state=state,
            round=int(notification.body.round),
            told=receivers,
            model_uuid=str(notification.body.global_model_uuid),
        ),
    )


def _instead(_apply_async: Callable[..., Any]) -> Callable[..., None]:
    """Stands in for `apply_async` of the reference's task: there is nothing for Celery to do."""

    def apply_async(_task: Any, args: Any = None, kwargs: Any = None, **_: Any) -> None:
        given = dict(kwargs or {})
        announce(given["notification"] if "notification" in given else args[0])

    return apply_async


SEND_IN_TRANSACTION: Final = {"@apply_async": _instead}
"""Annotation of Celery's for the task that sends the reference's notifications."""

"""For participants: verify what arrives, serve it, or fetch it from the mailbox.

    from fl_notifications.receiver import verify

needs nothing but the base install; `Mailbox` and `Forwarder` need the extra `receiver` (httpx).
"""

from typing import TYPE_CHECKING, Any

from fl_notifications.receiver.notification import (
    BadSecretError,
    LaterError,
    NotANotificationError,
    Notification,
    RejectedError,
    verify,
)
from fl_notifications.receiver.serve import Reply, respond
from fl_notifications.receiver.token import MailboxToken
from fl_notifications.webhooks import (
    MessageTooNewError,
    MessageTooOldError,
    MissingHeaderError,
    SignatureError,
    WrongSignatureError,
)

if TYPE_CHECKING:
    from fl_notifications.receiver.forward import Forwarder
    from fl_notifications.receiver.mailbox import Mailbox, MailboxError, Received

__all__ = [
    "BadSecretError",
    "Forwarder",
    "LaterError",
    "Mailbox",
    "MailboxError",
    "MailboxToken",
    "MessageTooNewError",
    "MessageTooOldError",
    "MissingHeaderError",
    "NotANotificationError",
    "Notification",
    "Received",
    "RejectedError",
    "Reply",
    "SignatureError",
    "WrongSignatureError",
    "respond",
    "verify",
]

_IN_MAILBOX = frozenset({"Mailbox", "MailboxError", "Received"})


def __getattr__(name: str) -> Any:
    """Import what needs httpx when it is asked for."""
    if name in _IN_MAILBOX:
        from fl_notifications.receiver import mailbox  # noqa: PLC0415 - needs an extra

        return getattr(mailbox, name)
    if name == "Forwarder":
        from fl_notifications.receiver.forward import Forwarder  # noqa: PLC0415 - needs an extra

        return Forwarder
    raise AttributeError(f"module {__name__} has no attribute {name}")

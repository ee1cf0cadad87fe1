"""A notification as a participant gets it, verified."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from fl_notifications.webhooks import SignatureError, check_signature


class BadSecretError(SignatureError):
    """The secret is none: it must be `whsec_` and base64."""


class NotANotificationError(SignatureError):
    """The signature fits, but the body is no notification."""


class RejectedError(Exception):
    """Raise it to reject a notification; the participant is then taken out of the training."""

    def __init__(self, reason: str | None = None) -> None:
        """Say why, in one word of `[a-z0-9_-]{1,64}`: it ends up in the server's log."""
        super().__init__(reason or "rejected")
        self.reason = reason


class LaterError(Exception):
    """Raise it to be given a notification once more, later."""

    def __init__(self, seconds: float | None = None) -> None:
        """Say in how many seconds; None leaves it to the other side."""
        super().__init__("later")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification.

    Attributes:
        id: the same on every repeat; remember those that you have worked on.
        at: when this attempt was made.
        type: `TRAINING_START`, `UPDATE_ROUND_START` and so on; more may come to be.
        training_uuid: of the training, if it is about one.
        body: what it says.
        headers: as they came, names in lower case.
        content: the body as it came, to the byte.
    """

    id: str
    at: datetime
    type: str
    training_uuid: str | None
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)

    @property
    def round(self) -> int | None:
        """The round that starts, if one does."""
        found = self.body.get("round")
        return found if isinstance(found, int) else None

    @property
    def model_uuid(self) -> str | None:
        """The model to work with, if it names one."""
        found = self.body.get("global_model_uuid")
        return found if isinstance(found, str) else None

    @property
    def settings(self) -> Mapping[str, Any]:
        """The round's settings; empty if it has none."""
        found = self.body.get("settings")
        return found if isinstance(found, dict) else {}


def verify(
    headers: Mapping[str, str],
    body: bytes | str,
    secret: str | Sequence[str],
    *,
    now: datetime | None = None,
) -> Notification:
    """Verify a notification, and read it.

    Args:
        headers: of the request, in any case.
        body: exactly as it came.
        secret: yours, `whsec_…`; or several, while yours is being changed.
        now: the time; this machine's if not given.

    Raises:
        MissingHeaderError: it is not signed at all.
        MessageTooOldError: it was signed more than five minutes ago; check the clock.
        MessageTooNewError: it was signed in the future; check the clock.
        WrongSignatureError: the secret is another one, or it was forged or altered.
        NotANotificationError: it is signed, but no notification.
        BadSecretError: the secret can't be read.
    """
    content = body.encode() if isinstance(body, str) else body
    secrets = [secret] if isinstance(secret, str) else list(secret)
    for each in secrets:
        _check_secret(each)
    message_id, at = check_signature(headers, content, secrets, now=now or datetime.now(UTC))
    said = _read(content)
    return Notification(
        id=message_id,
        at=at,
        type=said["notification_type"],
        training_uuid=said.get("training_uuid"),
        body=said["body"],
        headers={name.lower(): value for name, value in headers.items()},
        content=content,
    )


def _check_secret(secret: str) -> None:
    try:
        Webhook(secret)
    except (ValueError, EmptyWebhookSecretError):
        readable = False
    else:
        readable = secret.startswith("whsec_")
    if not readable:
        raise BadSecretError("the secret must be whsec_ and base64")


def _read(content: bytes) -> dict[str, Any]:
    try:
        said = json.loads(content)
    except ValueError:
        raise NotANotificationError("the body is not JSON") from None
    if not isinstance(said, dict):
        raise NotANotificationError("the body is not a JSON object")
    expected = {"notification_type": str, "body": dict, "training_uuid": str | None}
    for key, kind in expected.items():
        if not isinstance(said.get(key), kind):
            raise NotANotificationError(f"the body's {key} is missing or wrong")
    return said

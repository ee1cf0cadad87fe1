"""Serve notifications in any web framework: three values in, a status out."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fl_notifications.receiver.notification import (
    BadSecretError,
    LaterError,
    NotANotificationError,
    Notification,
    RejectedError,
    verify,
)
from fl_notifications.webhooks import MissingHeaderError, SignatureError


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer; the body is empty.

    Attributes:
        status: of HTTP.
        headers: beside `Content-Length: 0`.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)


def respond(
    headers: Mapping[str, str],
    body: bytes,
    secret: str | Sequence[str],
    handle: Callable[[Notification], object],
) -> Reply:
    """Verify a notification, hand it on, and say what to answer.

    Args:
        headers: of the request, in any case.
        body: exactly as it came.
        secret: yours, `whsec_…`; or several, while yours is being changed.
        handle: returns to accept, raises `RejectedError` to reject and `LaterError` to be given it
            again. Return soon, and do the work afterwards: after 10 s the sender gives up waiting.

    Raises:
        BadSecretError: your secret can't be read.
        Exception: what `handle` raises beside those; answer 500, and it comes again.
    """
    try:
        handle(verify(headers, body, secret))
    except BadSecretError:
        raise
    except (MissingHeaderError, NotANotificationError):
        return Reply(400)
    except SignatureError:
        return Reply(401)
    except RejectedError:
        return Reply(422)
    except LaterError as later:
        wait = {} if later.seconds is None else {"Retry-After": str(math.ceil(later.seconds))}
        return Reply(503, wait)
    return Reply(200)

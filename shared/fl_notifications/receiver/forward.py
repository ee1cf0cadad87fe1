"""The bridge: hands each notification on to a local server, as if it had come by a POST."""

from typing import Final

import httpx

from fl_notifications.receiver.notification import LaterError, Notification, RejectedError

TIMEOUT_SECONDS: Final = 10.0
"""How long the local server may take, as with a POST from the service."""

_LATER_STATUSES: Final = frozenset({408, 425, 429})
_FINAL_SERVER_ERRORS: Final = frozenset({501, 505})
_HEADERS: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")


class Forwarder:
    """POSTs notifications, unchanged, to a URL: an unchanged push receiver gets them.

    2xx accepts. 408, 425, 429, 5xx other than 501 and 505, and no answer at all mean later. All
    else rejects, as it would by push.
    """

    def __init__(self, url: str, *, client: httpx.Client | None = None) -> None:
        """Forward to a URL.

        Args:
            url: of the local server.
            client: httpx's; one that follows no redirects, as the service itself.
        """
        self._url = url
        self._client = client or httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False)

    def __call__(self, notification: Notification) -> None:
        """POST a notification; returns if it was accepted.

        Raises:
            RejectedError: with `answered-<status>` as reason.
            LaterError: the server is not there, or asks to try again.
        """
        headers = {"content-type": "application/json"}
        headers |= {name: notification.headers[name] for name in _HEADERS}
        try:
            # Streamed, so that an answer without end is not read.
            with self._client.stream(
                "POST", self._url, content=notification.content, headers=headers
            ) as answer:
                status, retry_after = answer.status_code, answer.headers.get("retry-after", "")
        except httpx.HTTPError:
            raise LaterError from None
        if answer.is_success:
            return
        server_error = answer.is_server_error and status not in _FINAL_SERVER_ERRORS
        if status in _LATER_STATUSES or server_error:
            digits = retry_after.isascii() and retry_after.isdigit()
            raise LaterError(float(retry_after[:6]) if digits else None)
        raise RejectedError(f"answered-{status}")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

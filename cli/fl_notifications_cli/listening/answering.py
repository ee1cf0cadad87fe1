"""What `listen` answers: a script of statuses, or what another server answers."""

import re
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Final

from fl_notifications_cli.participants import Answer, Request

FORWARD_SECONDS: Final = 10.0
"""How long the other server may take: about as long as the service waits."""

CLOSE: Final = "close"
_MOST_REPEATS: Final = 1000
_PART: Final = re.compile(rf"({CLOSE}|[2-9][0-9]{{2}})(?:x([1-9][0-9]{{0,3}}))?")
_KEPT: Final = ("content-type", "webhook-id", "webhook-timestamp", "webhook-signature")
_NO_ANSWER: Final = 502


def parse_script(text: str) -> tuple[int | None, ...]:
    """Read what to answer to a notification's attempts: `503x2,202`.

    Args:
        text: statuses, or `close` for none, in order; `x3` repeats one. The last one goes on.

    Returns:
        A status for each attempt; None closes the connection without a word.

    Raises:
        ValueError: it is no such script; the message says what would be.
    """
    found: list[int | None] = []
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None or int(match[2] or 1) > _MOST_REPEATS:
            raise ValueError(
                f"{part.strip()!r} is no answer: give statuses like 503x2,202, or 'close'"
            )
        found += [None if match[1] == CLOSE else int(match[1])] * int(match[2] or 1)
    return tuple(found)


def scripted(script: Sequence[int | None], attempt: int) -> Answer:
    """The answer to a notification's how many-th attempt, from 1."""
    return Answer(script[min(attempt, len(script)) - 1])


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Follow none: neither does the service."""


def forwarded(url: str, request: Request) -> Answer:
    """Hand a request on unchanged, and answer as the other server does; 502 if it is not there."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects)
    headers = {name: request.headers[name] for name in _KEPT if name in request.headers}
    posted = urllib.request.Request(url, request.body, headers)  # noqa: S310  # http, as checked
    try:
        with opener.open(posted, timeout=FORWARD_SECONDS) as answer:
            return Answer(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            wait = error.headers.get("Retry-After")
            return Answer(error.code, {"Retry-After": wait} if wait else {})
    except OSError:
        return Answer(_NO_ANSWER)

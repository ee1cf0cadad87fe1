"""Fetches notifications from the mailbox: for participants that nobody can call.

One signed POST acknowledges what was worked on and fetches what waits. What was fetched and not
acknowledged comes again, with the same id: nothing is lost by a crash at any point.
"""

import json
import logging
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fl_notifications.receiver.notification import (
    LaterError,
    Notification,
    RejectedError,
    verify,
)
from fl_notifications.receiver.token import MailboxToken
from fl_notifications.webhooks import signature_headers

MOST: Final = 25
"""Notifications fetched, and acknowledged, by one request; by the contract."""

TIMEOUT_SECONDS: Final = 30.0
FIRST_BACKOFF_SECONDS: Final = 1.0
LONGEST_BACKOFF_SECONDS: Final = 60.0

SOON_SECONDS: Final = 5.0
"""What was worked on is acknowledged within this time, even if more of the same answer is to do."""

STOP_SECONDS: Final = 0.5
"""After how long a wait notices that it is to stop."""

logger = logging.getLogger("fl_notifications.receiver")


class MailboxError(Exception):
    """The mailbox refuses us, and will do so again: the secret, the address, or a bug."""


class _Forgiving(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Acknowledged(_Forgiving):
    id: str
    outcome: str | None
    applied: bool


class _Waiting(_Forgiving):
    headers: dict[str, str]
    body: str


class _Answer(_Forgiving):
    acknowledged: list[_Acknowledged]
    notifications: list[_Waiting]
    more: bool
    poll_after_seconds: float = Field(ge=0, le=86400)


@dataclass(slots=True)
class Received:
    """A notification to be worked on: use it as a context manager.

    Leaving the block accepts; `RejectedError` rejects and `LaterError` postpones, and neither goes
    any further. Any other exception does, and acknowledges nothing: the notification comes again.
    """

    notification: Notification
    outcome: str | None = None
    reason: str | None = None
    wait_seconds: float | None = None

    def __enter__(self) -> Notification:
        """The notification."""
        return self.notification

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Note what is to be acknowledged."""
        match error:
            case None:
                self.outcome = "accepted"
            case RejectedError():
                self.outcome, self.reason = "rejected", error.reason
            case LaterError():
                self.wait_seconds = error.seconds
            case _:
                return False
        return True


@dataclass(slots=True)
class _Postponed:
    """A notification that was not acknowledged: how often, and when to hand it out again."""

    times: int = 0
    due: float = 0.0


@dataclass(slots=True)
class _Unsent:
    """Acknowledgements that the mailbox does not have yet, by notification id."""

    entries: dict[str, dict[str, str]] = field(default_factory=dict)
    since: float = 0.0


class Mailbox:
    """A receiver's mailbox; iterate over it for as long as the program is to run.

        with Mailbox.from_token(token) as mailbox:
            for received in mailbox:
                with received as notification:
                    work_on(notification)

    The notifications of one training come in order: none before the one before it is acknowledged.
    Not safe for use by two threads, but for `stop`.
    """

    def __init__(  # noqa: PLR0913 - the last four are for tests
        self,
        url: str,
        receiver: str,
        secret: str,
        *,
        client: httpx.Client | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Use a mailbox.

        Args:
            url: the stack's output `MailboxUrl`.
            receiver: the receiver's uuid.
            secret: the receiver's, `whsec_…`.
            client: httpx's, with a proxy or certificates of its own, say.
            now: tells the time.
            monotonic: seconds that never go back.
            sleep: waits so many seconds.
        """
        if not url.startswith(("https://", "http://")):
            raise ValueError("a mailbox's address begins with https://")
        self._url = url
        self._receiver = receiver
        self._secret = secret
        self._client = client or httpx.Client(timeout=TIMEOUT_SECONDS)
        self._now = now
        self._monotonic = monotonic
        self._sleep = sleep
        # No threading.Event: a signal's handler that sets it could wait for itself.
        self._stopping = False
        self._clock_offset = timedelta()
        self._unsent = _Unsent()
        self._postponed: dict[str, _Postponed] = {}

    @classmethod
    def from_token(cls, token: str, **options: Any) -> Self:
        """Use the mailbox that a token says, as `fl-notifications invite` has printed it."""
        said = MailboxToken.parse(token)
        return cls(said.url, str(said.receiver), said.secret, **options)

    def __enter__(self) -> Self:
        """The mailbox."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def stop(self) -> None:
        """End the iteration after the notification that is being worked on.

        May be called from another thread, or a signal's handler.
        """
        self._stopping = True

    def close(self) -> None:
        """Acknowledge what is worked on and not acknowledged yet, and close the connections."""
        self._acknowledge()
        self._client.close()

    def __iter__(self) -> Iterator[Received]:
        """Fetch for ever, or until `stop`.

        Raises:
            MailboxError: the mailbox refuses this receiver for good.
            SignatureError: what the mailbox gives out is not signed with this receiver's secret.
        """
        try:
            while not self._stopping:
                answer = self._request_until_answered()
                if answer is None:
                    return
                yield from self._hand_out(answer)
                # At once, if there is something to acknowledge: the answer brings what has come.
                if not self._unsent.entries:
                    self._wait(answer.poll_after_seconds)
        finally:
            self._acknowledge()

    def run(self, handle: Callable[[Notification], object]) -> None:
        """Hand every notification to a function, until `stop`.

        Args:
            handle: returns to accept; raises `RejectedError` or `LaterError`. Whatever else it
                raises is logged, and the notification comes again.
        """
        for received in self:
            try:
                with received as notification:
                    handle(notification)
            except Exception as error:  # noqa: BLE001 - a bug there must not end the service
                logger.error(  # noqa: TRY400 - what it quotes may be anything
                    "%s: %s; it comes again", describe(received.notification), type(error).__name__
                )

    def _wait(self, seconds: float) -> None:
        """Wait, but not much longer than until `stop` is called."""
        until = self._monotonic() + seconds
        while not self._stopping and (left := until - self._monotonic()) > 0:
            self._sleep(min(left, STOP_SECONDS))

    def _acknowledge(self) -> None:
        """Send what is not acknowledged yet, if that works at once; else it comes again."""
        if not self._unsent.entries:
            return
        try:
            self._request()
        except (MailboxError, httpx.HTTPError, _TryAgainError):
            logger.warning("%d acknowledgements are not sent", len(self._unsent.entries))

    def _hand_out(self, answer: _Answer) -> Iterator[Received]:
        blocked: set[str | None] = set()
        waiting = [self._verified(each) for each in answer.notifications]
        known = {each.id for each in waiting}
        self._postponed = {k: v for k, v in self._postponed.items() if k in known}
        for notification in waiting:
            if notification.training_uuid in blocked or self._stopping:
                continue
            if notification.id in self._unsent.entries:
                continue
            if self._is_postponed(notification):
                blocked.add(notification.training_uuid)
                continue
            received = Received(notification)
            yield received
            if not self._note(received):
                blocked.add(notification.training_uuid)
            elif self._monotonic() - self._unsent.since > SOON_SECONDS:
                self._request_until_answered()

    def _verified(self, waiting: _Waiting) -> Notification:
        now = self._now() + self._clock_offset
        return verify(waiting.headers, waiting.body, self._secret, now=now)

    def _is_postponed(self, notification: Notification) -> bool:
        postponed = self._postponed.get(notification.id)
        return postponed is not None and postponed.due > self._monotonic()

    def _note(self, received: Received) -> bool:
        """Keep an outcome to be acknowledged; false if there is none yet."""
        notification = received.notification
        if received.outcome is None:
            postponed = self._postponed.setdefault(notification.id, _Postponed())
            postponed.times += 1
            wait = received.wait_seconds
            seconds = _backoff(postponed.times) if wait is None else wait
            postponed.due = self._monotonic() + seconds
            logger.info("%s: again in %.0f s or more", describe(notification), seconds)
            return False
        self._postponed.pop(notification.id, None)
        entry = {"id": notification.id, "outcome": received.outcome}
        if received.reason is not None:
            entry["reason"] = received.reason
        if not self._unsent.entries:
            self._unsent.since = self._monotonic()
        self._unsent.entries[notification.id] = entry
        logger.info("%s: %s", describe(notification), received.outcome)
        return True

    def _request_until_answered(self) -> _Answer | None:
        """Ask, and ask again for as long as that may help; None if stopped meanwhile."""
        failures = 0
        while True:
            try:
                return self._request()
            except (httpx.HTTPError, _TryAgainError) as error:
                failures += 1
                asked = error.seconds if isinstance(error, _TryAgainError) else 0.0
                seconds = max(asked, _backoff(failures))
                logger.warning("the mailbox does not answer (%s); again in %.0f s", error, seconds)
            self._wait(seconds)
            if self._stopping:
                return None

    def _request(self, *, clock_corrected: bool = False) -> _Answer:
        entries = list(self._unsent.entries.values())[:MOST]
        said = {"receiver": self._receiver, "max": MOST, "acknowledge": entries}
        payload = json.dumps(said)
        now = self._now() + self._clock_offset
        headers = {
            "content-type": "application/json",
            **signature_headers([self._secret], f"req_{uuid4().hex}", now, payload),
        }
        answer = self._client.post(self._url, content=payload, headers=headers)
        if answer.status_code == httpx.codes.UNAUTHORIZED and not clock_corrected:
            self._correct_clock(answer)
            return self._request(clock_corrected=True)
        self._judge(answer)
        try:
            read = _Answer.model_validate_json(answer.content)
        except ValidationError:
            raise _TryAgainError("an answer that is none") from None
        self._take(read.acknowledged)
        return read

    def _judge(self, answer: httpx.Response) -> None:
        status = answer.status_code
        if answer.is_success:
            return
        if status == httpx.codes.UNAUTHORIZED:
            raise MailboxError(
                "the mailbox does not take our signature (401): this receiver's secret is another"
            )
        if answer.is_server_error or status in {408, 425, 429}:
            asked = answer.headers.get("retry-after", "")
            seconds = float(asked[:6]) if asked.isascii() and asked.isdigit() else 0.0
            raise _TryAgainError(f"status {status}", min(seconds, LONGEST_BACKOFF_SECONDS))
        raise MailboxError(f"the mailbox refuses our request ({status}): is its address right?")

    def _correct_clock(self, answer: httpx.Response) -> None:
        try:
            server_time = datetime.fromtimestamp(float(answer.json()["server_time"]), UTC)
        except (ValueError, KeyError, TypeError, OverflowError, OSError):
            return
        self._clock_offset = server_time - self._now()
        if abs(self._clock_offset) > timedelta(minutes=1):
            logger.warning(
                "this machine's clock is off by %.0f s; corrected here",
                -self._clock_offset.total_seconds(),
            )

    def _take(self, acknowledged: list[_Acknowledged]) -> None:
        for each in acknowledged:
            entry = self._unsent.entries.pop(each.id, None)
            if entry is not None and not each.applied:
                logger.info(
                    "notification %s: %s comes too late: %s",
                    each.id,
                    entry["outcome"],
                    each.outcome or "nobody knows it any more",
                )


class _TryAgainError(Exception):
    """The mailbox cannot answer now."""

    def __init__(self, what: str, seconds: float = 0.0) -> None:
        """Say what it was, and after how many seconds to ask again."""
        super().__init__(what)
        self.seconds = seconds


def describe(notification: Notification) -> str:
    """A notification in a few words, for a log."""
    number = "" if notification.round is None else f" {notification.round}"
    training = notification.training_uuid or "-"
    return f"{notification.type}{number}, training {training}, id {notification.id}"


def _backoff(failures: int) -> float:
    seconds = min(FIRST_BACKOFF_SECONDS * 2.0 ** min(failures - 1, 10), LONGEST_BACKOFF_SECONDS)
    return float(seconds) * random.uniform(0.8, 1.2)  # noqa: S311 - spreads requests; nothing secret

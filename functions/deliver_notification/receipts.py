"""Keeps what is to happen to each message that an invocation has received.

Each is concluded (it may leave the queue), stays there for a while, or becomes a dead letter.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from fl_notifications.clock import Clock
from fl_notifications.deliveries.queue import DeadLetterQueue, DeliveryQueue, ReceivedMessage
from fl_notifications.telemetry.journal import Journal
from functions.deliver_notification.answers import MAX_WAIT_SECONDS
from functions.deliver_notification.messages import Message

TROUBLE_SECONDS: Final = 5
"""The shortest wait after trouble of ours.

A write of the ledger that seemed to fail may still take effect, as long as its call could have
lasted (4 s, `fl_notifications.aws.clients`). The next attempt must see it, or it would overwrite
what came after.
"""

MAX_TROUBLED_RECEIVES: Final = 220
"""After this many receives, a message that still fails goes to the dead-letter queue.

The waits between them add up to some hours: an outage of that length loses nothing. The queue's own
limit (250 in the template) is above it, and is for what kills the function itself.
"""


@dataclass
class Receipts:
    """The messages of one invocation, until Lambda is told of them.

    Attributes:
        backoff_seconds: linear backoff after trouble: this, times the receive count.
    """

    queue: DeliveryQueue
    dead_letters: DeadLetterQueue
    journal: Journal
    clock: Clock
    backoff_seconds: float
    _concluded: list[str] = field(default_factory=list)
    _visible_at: dict[str, tuple[str, float]] = field(default_factory=dict)  # by message id
    _staying: dict[str, None] = field(default_factory=dict)

    def conclude(self, message: Message) -> None:
        """A message may leave the queue."""
        self._concluded.append(message.received.receipt_handle)
        self._staying.pop(message.received.message_id, None)

    def wait(self, message: Message, seconds: int) -> None:
        """Make a message visible again in this many seconds, counted from now."""
        received, now = message.received, self.clock.monotonic()
        self._visible_at[received.message_id] = (received.receipt_handle, now + seconds)
        self._staying[received.message_id] = None
        if received.sent_at is not None:
            age = (self.clock.now() - received.sent_at).total_seconds()
            kind = message.delivery.notification_type if message.delivery else None
            self.journal.stays(kind, max(0.0, age))

    def hold_back(self, message: Message, reason: str) -> None:
        """Make a message visible again at once; FIFO keeps it behind those before it."""
        if message.delivery is not None:
            self.journal.held_back(message.delivery, reason)
        self.wait(message, 0)

    def wait_out_trouble(self, message: Message, reason: str) -> None:
        """A message waits because of trouble that is not its receiver's: for some hours at most."""
        receives = message.received.receives
        if receives >= MAX_TROUBLED_RECEIVES and self.bury(
            message.received, f"{reason}, after {receives} receives"
        ):
            return
        wait = min(self.backoff_seconds * receives, MAX_WAIT_SECONDS)
        self.wait(message, max(TROUBLE_SECONDS, round(wait)))

    def bury(self, received: ReceivedMessage, reason: str) -> bool:
        """Put a message into the dead-letter queue; says whether it is there.

        In its own message group, so that those of one receiver stay in order.
        """
        message_id = received.message_id
        try:
            self.dead_letters.put(
                received.body,
                reason=reason,
                group=received.group or message_id,
                deduplication_id=message_id,
            )
        except Exception as error:  # noqa: BLE001 - then it stays where it is
            self.journal.trouble("a dead letter could not be put away", error)
            return False
        self._concluded.append(received.receipt_handle)
        self._staying.pop(message_id, None)
        self.journal.trouble("dead letter", reason=reason, message_id=message_id)
        return True

    def settle(self) -> None:
        """Apply what is known so far: delete concluded messages, set visibility timeouts."""
        concluded, self._concluded = self._concluded, []
        if concluded:
            self._try("concluded messages will come back", lambda: self.queue.delete(concluded))
        self._tell_when_visible()

    def finish(self) -> list[str]:
        """End the invocation; returns the ids of messages that stay in the queue.

        What else Lambda's event has is concluded, and deleted by Lambda.
        """
        self._tell_when_visible()
        return list(self._staying)

    def _tell_when_visible(self) -> None:
        visible_at, self._visible_at = self._visible_at, {}
        if not visible_at:
            return
        now = self.clock.monotonic()
        visibility = [
            (receipt, max(0, math.ceil(due - now))) for receipt, due in visible_at.values()
        ]
        self._try(
            "messages will come back later than they should",
            lambda: self.queue.change_visibility(visibility),
        )

    def _try(self, trouble: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - they come back after the visibility timeout
            self.journal.trouble(trouble, error)

"""Delivers messages of the queue: groups side by side, in order within each group.

A message ends in one of five ways here: concluded (its outcome is in the ledger and on the bus, so
that it may leave the queue), deposited in its receiver's mailbox (likewise), waiting for its next
attempt, held back behind such a one, or in trouble. The last three stay in the queue; when they
come back is set by their visibility timeout.

An invocation whose POSTs hang receives more messages itself: the healthy receivers among them would
otherwise wait for a place until their neighbours' timeout.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from fl_notifications.aws.batches import SQS_BATCH, Sleep
from fl_notifications.clock import Clock
from fl_notifications.deliveries.delivery import Delivery
from fl_notifications.deliveries.posts import Ended
from fl_notifications.deliveries.queue import DeliveryQueue, ReceivedMessage
from fl_notifications.deliveries.signing import MasterSecrets
from fl_notifications.outcomes.facts import Facts, FactsReader
from fl_notifications.outcomes.ledger import LedgerEntry, UnreadableEntryError
from fl_notifications.outcomes.outcome import OutcomeKind
from fl_notifications.outcomes.waiting import MAILBOX_ENDPOINT
from fl_notifications.telemetry.journal import Journal
from functions.deliver_notification.answers import MAX_WAIT_SECONDS
from functions.deliver_notification.attempts import Attempter, NotAttempted, Posts
from functions.deliver_notification.deposit import Depositor
from functions.deliver_notification.messages import Message, PoisonError, parse
from functions.deliver_notification.receipts import TROUBLE_SECONDS, Receipts
from functions.deliver_notification.settling import MAX_STEPS, Settler, Step

if TYPE_CHECKING:
    from datetime import datetime

    from fl_notifications.aws.batches import PartialItemFailureResponse

RESERVE_SECONDS: Final = 5.0
"""Seconds reserved before the function's timeout, to record and report results."""

LINGER_SECONDS: Final = 0.02
"""How long to wait for more answers once one has come, so that one write serves several."""

MAX_POSTS: Final = 64
"""Concurrent POSTs of one invocation; a function that is killed can repeat this many."""

HANGING_SECONDS: Final = 0.3
"""While a POST takes longer than this, the invocation receives more work."""

EMPTY_SECONDS: Final = 1.0
"""The wait after an empty receive."""

LEDGER_WAIT_SECONDS: Final = (0.2, 2.0)
"""The first and the longest wait before the ledger is tried again."""

_TOLERANCE_SECONDS: Final = 0.001
"""A remaining wait that is shorter is over: in floating point, it may never become zero."""

_BEHIND: Final = "behind an earlier notification"


@dataclass(frozen=True)
class Deliverer:
    """Everything that is needed to deliver, built once per execution environment.

    Attributes:
        new_receipts: makes the receipts of an invocation.
        new_posts: makes what an invocation makes its POSTs with.
    """

    facts: FactsReader
    secrets: MasterSecrets
    attempter: Attempter
    depositor: Depositor
    settler: Settler
    queue: DeliveryQueue
    new_receipts: Callable[[], Receipts]
    request_timeout_seconds: float
    new_posts: Callable[[], Posts]
    sleep: Sleep
    clock: Clock
    journal: Journal

    def process(
        self, event: Mapping[str, Any], remaining_seconds: Callable[[], float]
    ) -> "PartialItemFailureResponse":
        """Deliver the messages of an SQS event.

        Args:
            event: as Lambda gets it from the queue.
            remaining_seconds: until the function's timeout.

        Returns:
            The messages that stay in the queue.
        """
        messages = [ReceivedMessage.from_record(record) for record in event["Records"]]
        try:
            staying = _Invocation(self, remaining_seconds()).deliver(messages)
        finally:
            self.journal.flush()
        ids = {message.message_id for message in messages}
        return {"batchItemFailures": [{"itemIdentifier": i} for i in staying if i in ids]}


@dataclass(slots=True)
class _Load:
    """What was received at once, and is known of it.

    Attributes:
        recorded: entries written since the facts were read, by notification id. Two copies of one
            notification can be in one load: if the stream brought its record once more after the
            queue's five minutes of deduplication.
    """

    facts: Facts
    master_secrets: tuple[str, ...]
    recorded: dict[str, LedgerEntry] = field(default_factory=dict)

    def entry_of(self, delivery: Delivery) -> LedgerEntry | None:
        return self.recorded.get(delivery.notification_id) or self.facts.entry_of(delivery)


@dataclass(slots=True)
class _Group:
    """The messages of one message group, in order; the first one is worked on.

    Attributes:
        progressed: whether an attempt was made since they were received.
    """

    messages: deque[Message]
    load: _Load
    progressed: bool = False


@dataclass(frozen=True, slots=True)
class _Attempt:
    """An attempt that is under way.

    Attributes:
        number: counted from 1.
        started: when, on the clock.
    """

    group: _Group
    number: int
    started: float


class _Invocation:
    """The work of one invocation."""

    def __init__(self, deliverer: Deliverer, remaining_seconds: float) -> None:
        self._on = deliverer
        self._receipts = deliverer.new_receipts()
        self._ends = deliverer.clock.monotonic() + remaining_seconds
        self._ready: list[_Group] = []
        self._posts = deliverer.new_posts()
        self._under_way: dict[int, _Attempt] = {}  # by the number of the POST
        self._for_mailboxes: list[_Group] = []
        self._steps: deque[tuple[Step, _Group]] = deque()
        self._unrecorded: deque[tuple[Step, _Group]] = deque()
        self._record_again_at, self._record_wait = 0.0, LEDGER_WAIT_SECONDS[0]
        self._concluded: set[str] = set()  # ids of notifications
        self._has_hung = False
        self._receive_at = 0.0

    def deliver(self, messages: Sequence[ReceivedMessage]) -> list[str]:
        """Deliver what was received; returns the ids of messages that stay in the queue."""
        try:
            self._admit(messages)
            while self._ready or self._under_way or self._steps or self._unrecorded:
                self._advance_all()
                self._wait_for_answers()
                self._settle()
                self._receive_if_hanging()
            return self._receipts.finish()
        finally:
            self._posts.close()

    # --- in ---------------------------------------------------------------------------------------

    def _admit(self, received: Sequence[ReceivedMessage]) -> None:
        """Begin the work on messages."""
        by_group: dict[str, deque[Message]] = {}
        for each in received:
            if (message := self._parse(each)) is not None:
                by_group.setdefault(message.group, deque()).append(message)
        groups = list(by_group.values())
        if not groups:
            return
        deliveries = [each.delivery for group in groups for each in group if each.delivery]
        try:
            load = _Load(self._on.facts.read(deliveries), self._on.secrets.get())
        except Exception as error:  # noqa: BLE001 - whatever it is, no message may get lost by it
            self._on.journal.trouble(
                "messages could not be prepared", error, messages=len(deliveries)
            )
            for group in groups:
                self._give_up(group, f"could not be prepared: {type(error).__name__}")
            return
        self._ready += [_Group(group, load) for group in groups]

    def _parse(self, received: ReceivedMessage) -> Message | None:
        """Parse a message; one that is no delivery becomes a dead letter, and blocks nobody."""
        try:
            return parse(received)
        except PoisonError as error:
            if not self._receipts.bury(received, str(error)):
                self._receipts.wait_out_trouble(Message(received, None), str(error))
            return None

    def _advance_all(self) -> None:
        """Do with each group that is ready what is to be done, until all wait for something."""
        while self._ready:
            ready, self._ready = self._ready, []
            for group in ready:
                self._advance(group)
            self._deposit()

    def _advance(self, group: _Group) -> None:
        """Do with a group's first message what is to be done."""
        while group.messages:
            message = group.messages[0]
            if message.delivery is None:
                # A newer version of the function will know its type.
                self._receipts.wait(group.messages.popleft(), MAX_WAIT_SECONDS)
                self._hold_back(group.messages, _BEHIND)
                return
            try:
                before = group.load.entry_of(message.delivery)
            except UnreadableEntryError as error:
                self._set_aside(group.messages, str(error))
                continue
            step = self._end_without_attempt(message, message.delivery, before, group.load.facts)
            if step is not None:
                self._steps.append((step, group))
            else:
                self._start(group, message.delivery, before)
            return

    def _end_without_attempt(
        self, message: Message, delivery: Delivery, before: LedgerEntry | None, facts: Facts
    ) -> Step | None:
        if before is not None and before.outcome is not None:
            is_news = self._is_news(message, delivery, before.at)
            if not is_news:
                self._on.journal.repeated(delivery)
            return Step(delivery, before, known=True, is_news=is_news)
        if (reason := facts.why_superseded(delivery)) is not None:
            self._note_building(delivery, before)
            entry = LedgerEntry(
                attempts=before.attempts if before else 0,
                outcome=OutcomeKind.SUPERSEDED,
                status_code=before.status_code if before else None,
                reason=reason,
                at=self._on.clock.now(),
            )
            return Step(delivery, entry, contested=message.may_be_a_repeat)
        return None

    def _is_news(self, message: Message, delivery: Delivery, concluded_at: "datetime") -> bool:
        """Whether a message with a known outcome was concluded without that being told.

        So it is if it was in the queue then: whoever concluded it ended before it was deleted. A
        repeat is enqueued later.
        """
        sent_at = message.received.sent_at
        if sent_at is None or delivery.notification_id in self._concluded:
            return False
        return sent_at <= concluded_at

    def _deposit(self) -> None:
        """Put the first message of each group that is for a mailbox into it."""
        groups, self._for_mailboxes = self._for_mailboxes, []
        deposits = [
            (delivery, message.received.sequence_number)
            for group in groups
            if (delivery := (message := group.messages[0]).delivery) is not None
        ]
        undone = self._on.depositor.deposit(deposits) if deposits else set()
        for group, (delivery, _) in zip(groups, deposits, strict=True):
            if delivery.notification_id in undone:
                self._give_up(group.messages, "the mailbox did not take it")
                continue
            self._receipts.conclude(group.messages.popleft())
            if group.messages:
                self._ready.append(group)

    # --- attempts ---------------------------------------------------------------------------------

    def _start(self, group: _Group, delivery: Delivery, before: LedgerEntry | None) -> None:
        """Start an attempt, or a deposit, if there is time for one."""
        if not self._has_time():
            if group.progressed:
                self._hold_back(group.messages, "no time left")
            else:  # it may be so each time
                self._give_up(group.messages, "no time left for an attempt")
            return
        load = group.load
        address = load.facts.address_of(delivery)
        if address == MAILBOX_ENDPOINT:
            self._note_building(delivery, before)
            self._for_mailboxes.append(group)
            return
        number = (before.attempts if before else 0) + 1
        started = self._on.clock.monotonic()
        try:
            post = self._on.attempter.start(
                self._posts, delivery, number, address, load.master_secrets
            )
        except Exception as error:  # noqa: BLE001 - one must not stop the others
            self._unexpected(group, delivery, error)
            return
        self._under_way[post] = _Attempt(group, number, started)
        self._note_building(delivery, before)

    def _note_building(self, delivery: Delivery, before: LedgerEntry | None) -> None:
        """Log what was built outside of the stack when it is worked on first."""
        if before is None and delivery.built_elsewhere is not None:
            self._on.journal.built(delivery, self._on.clock.now())

    def _wait_for_answers(self) -> None:
        """Wait until there is something to do; what has ended is then a step to settle."""
        now = self._on.clock.monotonic()
        if self._steps:
            return
        patience = max(0.0, min(self._waits(now), default=0.0))
        if not self._under_way:
            if patience > 0:
                self._on.sleep(patience)
            return
        ended = self._posts.wait(patience, linger=LINGER_SECONDS)
        with self._on.journal.in_bulk():
            for each in ended:
                self._take(each, self._under_way.pop(each.number))
        if self._left() <= RESERVE_SECONDS / 2 + _TOLERANCE_SECONDS:
            for attempt in self._under_way.values():
                self._give_up(attempt.group.messages, "the attempt did not end in time")
            self._under_way.clear()

    def _waits(self, now: float) -> Iterable[float]:
        """How long it is until each thing that is to be done next, other than an answer."""
        if self._unrecorded:
            yield self._record_again_at - now
        if self._under_way:
            yield self._left() - RESERVE_SECONDS / 2
            if self._has_room() and self._has_time():
                yield max(self._oldest() + HANGING_SECONDS, self._receive_at) - now

    def _take(self, ended: Ended, attempt: _Attempt) -> None:
        """Look at an attempt that has ended."""
        group = attempt.group
        delivery = group.messages[0].delivery
        assert delivery is not None  # noqa: S101 - others are not attempted
        if isinstance(ended.answer, Exception):
            self._unexpected(group, delivery, ended.answer)
            return
        result = self._on.attempter.result(attempt.number, ended.answer, ended.seconds)
        if isinstance(result, NotAttempted):
            self._on.journal.trouble(
                "an attempt could not be made",
                reason=result.reason,
                notification_id=delivery.notification_id,
            )
            self._give_up(group.messages, f"no attempt: {result.reason}")
            return
        group.progressed = True
        self._on.journal.attempted(
            delivery,
            attempt=result.entry.attempts,
            status_code=result.entry.status_code,
            reason=result.entry.reason,
            latency_ms=result.latency_ms,
        )
        contested = group.messages[0].may_be_a_repeat
        step = Step(delivery, result.entry, result.wait_seconds, contested=contested)
        self._steps.append((step, group))

    def _unexpected(self, group: _Group, delivery: Delivery, error: Exception) -> None:
        self._on.journal.trouble(
            "an attempt ended unexpectedly", error, notification_id=delivery.notification_id
        )
        self._give_up(group.messages, f"unexpected {type(error).__name__}")

    # --- what follows -----------------------------------------------------------------------------

    def _settle(self) -> None:
        """Record and tell what has ended; the groups go on."""
        while self._steps:
            some = [self._steps.popleft() for _ in range(min(MAX_STEPS, len(self._steps)))]
            self._settle_some(some)
        if self._unrecorded and self._is_due(self._record_again_at):
            some = [
                self._unrecorded.popleft() for _ in range(min(MAX_STEPS, len(self._unrecorded)))
            ]
            self._settle_some(some)

    def _settle_some(self, steps: Sequence[tuple[Step, _Group]]) -> None:
        counting = self._on.settler.record([step for step, _ in steps if not step.known])
        recorded, unrecorded = [], []
        for step, group in steps:
            entry = step.entry if step.known else counting.get(step.delivery.notification_id)
            if entry is None:
                unrecorded.append((step, group))
            elif entry == step.entry:
                recorded.append((step, group))
            else:  # concluded elsewhere meanwhile
                known = replace(step, entry=entry, known=True, is_news=False)
                recorded.append((known, group))
        self._record_later(unrecorded)
        untold = self._on.settler.tell([step for step, _ in recorded])
        for step, group in recorded:
            notification_id = step.delivery.notification_id
            group.load.recorded[notification_id] = step.entry
            if notification_id in untold:
                self._give_up(group.messages, "the event bus did not take it")
            elif step.entry.outcome is None:
                self._receipts.wait(group.messages.popleft(), step.wait_seconds)
                self._hold_back(group.messages, _BEHIND)
            else:
                self._concluded.add(notification_id)
                self._receipts.conclude(group.messages.popleft())
                if group.messages:
                    self._ready.append(group)
        if self._has_hung:
            self._receipts.settle()

    def _record_later(self, steps: Sequence[tuple[Step, _Group]]) -> None:
        """Retry the ledger until time is nearly over: what it lacks would be POSTed again.

        The write that seemed to fail may still take effect, so the next attempt waits as long as
        after any other trouble.
        """
        if not steps:
            self._record_wait = LEDGER_WAIT_SECONDS[0]
        elif self._left() <= RESERVE_SECONDS:
            for _, group in steps:
                self._give_up(group.messages, "the ledger did not take it")
        else:
            self._unrecorded.extend((_waiting_longer(step), group) for step, group in steps)
            self._record_again_at = self._on.clock.monotonic() + min(
                self._record_wait, self._left() - RESERVE_SECONDS
            )
            self._record_wait = min(self._record_wait * 2, LEDGER_WAIT_SECONDS[1])

    def _receive_if_hanging(self) -> None:
        """Receive more messages, if what is under way hangs and there is room and time for them."""
        hangs = self._under_way and self._is_due(self._oldest() + HANGING_SECONDS)
        if not hangs:
            return
        if not self._has_hung:
            # Lambda deletes what is concluded only when this invocation ends.
            self._has_hung = True
            self._receipts.settle()
        if not self._has_room() or not self._has_time() or not self._is_due(self._receive_at):
            return
        room = min(SQS_BATCH, MAX_POSTS - len(self._under_way) - len(self._ready))
        try:
            messages = self._on.queue.receive(room, uuid4().hex)
        except Exception as error:  # noqa: BLE001 - then Lambda brings them
            self._on.journal.trouble("no more messages could be received", error)
            messages = []
        if not messages:
            self._receive_at = self._on.clock.monotonic() + EMPTY_SECONDS
        self._admit(messages)

    # --- out --------------------------------------------------------------------------------------

    def _set_aside(self, messages: deque[Message], reason: str) -> None:
        """Put a group's first message into the dead-letter queue, as retrying cannot help."""
        if self._receipts.bury(messages[0].received, reason):
            messages.popleft()
        else:
            self._give_up(messages, reason)

    def _give_up(self, messages: deque[Message], reason: str) -> None:
        """Let a group's first message wait because of trouble that is not the receiver's."""
        self._receipts.wait_out_trouble(messages.popleft(), reason)
        self._hold_back(messages, _BEHIND)

    def _hold_back(self, messages: deque[Message], reason: str) -> None:
        for message in messages:
            self._receipts.hold_back(message, reason)
        messages.clear()

    # --- time and room ----------------------------------------------------------------------------

    def _left(self) -> float:
        return self._ends - self._on.clock.monotonic()

    def _is_due(self, moment: float) -> bool:
        return self._on.clock.monotonic() + _TOLERANCE_SECONDS >= moment

    def _has_time(self) -> bool:
        """Whether an attempt that is started now ends in time."""
        needed = self._on.request_timeout_seconds + RESERVE_SECONDS
        return self._left() + _TOLERANCE_SECONDS >= needed

    def _has_room(self) -> bool:
        return len(self._under_way) + len(self._ready) < MAX_POSTS

    def _oldest(self) -> float:
        """When the oldest POST that is under way was started: they are kept in that order."""
        return next(iter(self._under_way.values())).started


def _waiting_longer(step: Step) -> Step:
    """A step whose write seemed to fail, and may still take effect during the next attempt."""
    return replace(step, wait_seconds=max(step.wait_seconds, TROUBLE_SECONDS))

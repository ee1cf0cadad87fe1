"""Delivers a batch of the queue: groups side by side, in order within each group.

A message ends in one of five ways here: concluded (its outcome is in the ledger and on the bus, so
that it may leave the queue), deposited in its receiver's mailbox (likewise), waiting for its next
attempt, held back behind such a one, or in trouble. The last three stay in the queue; when they
come back is set by their visibility timeout.
"""

import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Executor, Future
from concurrent.futures import wait as wait_for_futures
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from pydantic import ValidationError

from fl_notifications.clock import Clock
from fl_notifications.deliveries.delivery import Delivery
from fl_notifications.deliveries.post import Answer
from fl_notifications.deliveries.queue import DeadLetterQueue, DeliveryQueue
from fl_notifications.deliveries.signing import MasterSecrets, receiver_secret, signature_headers
from fl_notifications.outcomes.bus import OutcomeBus, Told
from fl_notifications.outcomes.facts import Facts, FactsReader
from fl_notifications.outcomes.ledger import Ledger, LedgerEntry, UnreadableEntryError
from fl_notifications.outcomes.outcome import OutcomeKind, outcome_of
from fl_notifications.outcomes.waiting import MAILBOX_ENDPOINT
from fl_notifications.telemetry.journal import Journal
from fl_notifications.validation import first_error
from functions.deliver_notification.answers import MAX_WAIT_SECONDS, RetryPolicy, judge
from functions.deliver_notification.deposit import Depositor

if TYPE_CHECKING:
    # Lambda doesn't need it: with it comes a module for each of AWS's sources of events.
    from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse

RESERVE_SECONDS: Final = 5.0
"""Kept free before the function's timeout, to record and report what was done."""

LINGER_SECONDS: Final = 0.02
"""How long to wait for more answers once one has come, so that one write serves several."""

TROUBLE_SECONDS: Final = 5
"""The shortest wait after trouble of ours.

A write of the ledger that seemed to fail may still take effect, as long as its call could have
lasted (4 s, `fl_notifications.aws.clients`). The next attempt must see it, or it would overwrite
what came after.
"""

MAX_TROUBLED_RECEIVES: Final = 220
"""A message that is still in trouble after so many receives goes to the dead-letter queue.

The waits between them add up to some hours: an outage of that length loses nothing. The queue's own
limit (250 in the template) is above it, and is for what kills the function itself.
"""


class Poster(Protocol):
    """Makes one POST; never raises for anything that a receiver can do."""

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """POST and tell what came of it."""
        ...


class Wait(Protocol):
    """Waits for futures as `concurrent.futures.wait` does."""

    def __call__[T](
        self, fs: Iterable[Future[T]], timeout: float | None, return_when: str
    ) -> tuple[set[Future[T]], set[Future[T]]]:
        """Return those that are done and those that are not."""
        ...


@dataclass(frozen=True)
class Deliverer:
    """Everything that is needed to deliver, built once per execution environment."""

    facts: FactsReader
    ledger: Ledger
    bus: OutcomeBus
    queue: DeliveryQueue
    dead_letters: DeadLetterQueue
    secrets: MasterSecrets
    poster: Poster
    depositor: Depositor
    policy: RetryPolicy
    request_timeout_seconds: float
    executor: Executor
    clock: Clock
    jitter: random.Random
    journal: Journal
    wait: "Wait" = wait_for_futures

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
        try:
            return _Batch(self, remaining_seconds).process(event["Records"])
        finally:
            self.journal.flush()


@dataclass(frozen=True, slots=True)
class _Message:
    """A delivery with what the queue knows of it."""

    message_id: str
    receipt_handle: str
    receives: int
    sequence_number: str
    body: str
    delivery: Delivery


@dataclass(frozen=True, slots=True)
class _Step:
    """Where a message has got to: its new entry in the ledger, and how long it waits if undecided.

    `known` says that the ledger has that entry already: the message is a repeat.
    """

    message: _Message
    entry: LedgerEntry
    wait_seconds: int = 0
    known: bool = False
    latency_ms: float | None = None


type _Group = deque[_Message]


class _Batch:
    """The work on one batch."""

    def __init__(self, deliverer: Deliverer, remaining_seconds: Callable[[], float]) -> None:
        self._on = deliverer
        self._remaining_seconds = remaining_seconds
        self._staying: dict[str, tuple[str, float]] = {}  # by message id: receipt handle, when due
        # By notification id. Two copies of one notification can be in one batch: if the stream
        # brought its record once more after the queue's five minutes of deduplication.
        self._recorded: dict[str, LedgerEntry] = {}

    def process(self, records: Sequence[Mapping[str, Any]]) -> "PartialItemFailureResponse":
        messages = [message for record in records if (message := self._parse(record)) is not None]
        if messages:
            self._deliver(messages)
        try:
            now = self._on.clock.monotonic()
            self._on.queue.change_visibility(
                (receipt_handle, max(0, math.ceil(due - now)))
                for receipt_handle, due in self._staying.values()
            )
        except Exception as error:  # noqa: BLE001 - they come back after the visibility timeout
            self._on.journal.trouble("messages will come back later than they should", error)
        return {"batchItemFailures": [{"itemIdentifier": each} for each in self._staying]}

    def _parse(self, record: Mapping[str, Any]) -> _Message | None:
        """Parse a record; one that is no delivery becomes a dead letter, and blocks nobody."""
        receives = int(record["attributes"]["ApproximateReceiveCount"])
        try:
            delivery = Delivery.model_validate_json(record["body"])
        except ValidationError as error:
            field, why = first_error(error)
            reason = f"not a delivery: field {field or 'body'}: {why}"
            if not self._bury(record["messageId"], record["body"], reason):
                self._stay(record["messageId"], record["receiptHandle"], self._backoff(receives))
            return None
        return _Message(
            record["messageId"],
            record["receiptHandle"],
            receives,
            record["attributes"]["SequenceNumber"],
            record["body"],
            delivery,
        )

    def _deliver(self, messages: Sequence[_Message]) -> None:
        on = self._on
        groups: dict[str, _Group] = {}
        for message in messages:
            groups.setdefault(message.delivery.group, deque()).append(message)
        try:
            facts = on.facts.read([message.delivery for message in messages])
            master_secrets = on.secrets.get()
        except Exception as error:  # noqa: BLE001 - whatever it is, no message may get lost by it
            on.journal.trouble("a batch could not be prepared", error, messages=len(messages))
            for group in groups.values():
                self._give_up(group, f"could not be prepared: {type(error).__name__}")
            return
        self._work(list(groups.values()), facts, master_secrets)

    def _work(self, groups: list[_Group], facts: Facts, master_secrets: tuple[str, ...]) -> None:
        """Take all groups forward; a group's next message starts once the one before is settled."""
        ready = groups
        on_the_way: dict[Future[_Step], _Group] = {}
        while ready or on_the_way:
            steps: list[tuple[_Step, _Group]] = []
            for_mailboxes: list[_Group] = []
            for group in ready:
                self._set_unreadable_aside(group, facts)
                if not group:
                    continue
                message = group[0]
                if (end := self._end_without_attempt(message, facts)) is not None:
                    steps.append((end, group))
                elif not self._time_for_an_attempt():
                    self._hold_back(group, "no time left")
                elif (address := facts.address_of(message.delivery)) == MAILBOX_ENDPOINT:
                    for_mailboxes.append(group)
                else:
                    before = self._entry(message.delivery, facts)
                    number = (before.attempts if before else 0) + 1
                    attempt = self._on.executor.submit(
                        self._attempt,
                        message,
                        number,
                        address,
                        master_secrets,
                    )
                    on_the_way[attempt] = group
            going_on = self._deposit(for_mailboxes)
            if not steps and not going_on:
                steps = self._collect(on_the_way)
            ready = [*self._settle(steps), *going_on]

    def _deposit(self, groups: Sequence[_Group]) -> list[_Group]:
        """Put the first message of each group into its receiver's mailbox; who can go on then."""
        if not groups:
            return []
        undone = self._on.depositor.deposit(
            [(group[0].delivery, group[0].sequence_number) for group in groups]
        )
        going_on = []
        for group in groups:
            if group[0].delivery.notification_id in undone:
                self._give_up(group, "the mailbox did not take it")
                continue
            group.popleft()
            if group:
                going_on.append(group)
        return going_on

    def _set_unreadable_aside(self, group: _Group, facts: Facts) -> None:
        """Make dead letters of a group's first messages whose entries cannot be read."""
        while group:
            try:
                self._entry(group[0].delivery, facts)
            except UnreadableEntryError as error:
                self._set_aside(group, str(error))
            else:
                return

    def _end_without_attempt(self, message: _Message, facts: Facts) -> _Step | None:
        delivery = message.delivery
        before = self._entry(delivery, facts)
        if before is not None and before.outcome is not None:
            self._on.journal.repeated(delivery)
            return _Step(message, before, known=True)
        if (reason := facts.why_superseded(delivery)) is not None:
            entry = LedgerEntry(
                attempts=before.attempts if before else 0,
                outcome=OutcomeKind.SUPERSEDED,
                status_code=before.status_code if before else None,
                reason=reason,
                at=self._on.clock.now(),
            )
            return _Step(message, entry)
        return None

    def _entry(self, delivery: Delivery, facts: Facts) -> LedgerEntry | None:
        """What the ledger has of a delivery by now."""
        notification_id = delivery.notification_id
        return self._recorded.get(notification_id) or facts.entry_of(delivery)

    def _time_for_an_attempt(self) -> bool:
        needed = self._on.request_timeout_seconds + RESERVE_SECONDS
        return self._remaining_seconds() >= needed

    def _attempt(
        self, message: _Message, number: int, address: str, master_secrets: tuple[str, ...]
    ) -> _Step:
        """Make one POST; runs in a thread of the executor."""
        on, delivery = self._on, message.delivery
        payload = delivery.payload
        secrets = [receiver_secret(each, delivery.receiver.uuid) for each in master_secrets]
        headers = {
            "content-type": "application/json",
            **signature_headers(secrets, delivery.notification_id, on.clock.now(), payload),
        }
        started = on.clock.monotonic()
        answer = on.poster.post(address, headers, payload.encode())
        latency_ms = (on.clock.monotonic() - started) * 1000
        now = on.clock.now()
        verdict = judge(answer, number, on.policy, now, on.jitter)
        entry = LedgerEntry(number, verdict.outcome, verdict.status_code, verdict.reason, now)
        return _Step(message, entry, verdict.wait_seconds, latency_ms=latency_ms)

    def _collect(self, on_the_way: dict[Future[_Step], _Group]) -> list[tuple[_Step, _Group]]:
        """Wait for attempts to end, and take them off what is on the way."""
        if not on_the_way:
            return []
        longest = max(0.0, self._remaining_seconds() - RESERVE_SECONDS / 2)
        ended, _ = self._on.wait(on_the_way, longest, FIRST_COMPLETED)
        if not ended:
            for group in on_the_way.values():
                self._give_up(group, "the attempt did not end in time")
            on_the_way.clear()
            return []
        ended, _ = self._on.wait(on_the_way, LINGER_SECONDS, ALL_COMPLETED)
        with self._on.journal.together():
            taken = [
                self._take(each, on_the_way.pop(each)) for each in list(on_the_way) if each in ended
            ]
        return [each for each in taken if each is not None]

    def _take(self, attempt: Future[_Step], group: _Group) -> tuple[_Step, _Group] | None:
        """Look at an attempt that has ended; None if it did so in a way that nobody foresaw."""
        if (error := attempt.exception()) is not None:
            delivery = group[0].delivery
            self._on.journal.trouble(
                "an attempt ended unexpectedly", error, notification_id=delivery.notification_id
            )
            self._give_up(group, f"unexpected {type(error).__name__}")
            return None
        step = attempt.result()
        self._on.journal.attempted(
            step.message.delivery,
            attempt=step.entry.attempts,
            status_code=step.entry.status_code,
            reason=step.entry.reason,
            latency_ms=step.latency_ms or 0.0,
        )
        return step, group

    def _settle(self, steps: Sequence[tuple[_Step, _Group]]) -> list[_Group]:
        """Record steps and tell outcomes; returns the groups that can go on."""
        if not steps:
            return []
        unrecorded = self._record([step for step, _ in steps if not step.known])
        untold = self._tell(
            [step for step, _ in steps if step.message.delivery.notification_id not in unrecorded]
        )
        going_on = []
        for step, group in steps:
            message = step.message
            notification_id = message.delivery.notification_id
            if notification_id in unrecorded:
                self._give_up(group, "the ledger did not take it")
                continue
            self._recorded[notification_id] = step.entry
            if notification_id in untold:
                self._give_up(group, "the event bus did not take it")
            elif step.entry.outcome is None:
                group.popleft()
                self._stay(message.message_id, message.receipt_handle, step.wait_seconds)
                self._hold_back(group, "behind an earlier notification")
            else:
                group.popleft()
                if group:
                    going_on.append(group)
        return going_on

    def _record(self, steps: Sequence[_Step]) -> set[str]:
        """Write steps to the ledger; returns the ids of those that could not be written."""
        if not steps:
            return set()
        try:
            return self._on.ledger.record([(step.message.delivery, step.entry) for step in steps])
        except Exception as error:  # noqa: BLE001 - what is not recorded must stay in the queue
            self._on.journal.trouble("the ledger could not be written", error)
            return {step.message.delivery.notification_id for step in steps}

    def _tell(self, steps: Sequence[_Step]) -> set[str]:
        """Tell outcomes to the bus; returns the ids of those that it did not take."""
        told: list[Told] = []
        with self._on.journal.together():
            for step in steps:
                entry = step.entry
                if entry.outcome is None:
                    continue
                outcome = outcome_of(
                    step.message.delivery,
                    entry.outcome,
                    attempts=entry.attempts,
                    status_code=entry.status_code,
                    reason=entry.reason,
                    finished_at=entry.at,
                )
                told.append((entry.outcome, outcome))
                if not step.known:
                    self._on.journal.concluded(entry.outcome, outcome)
        if not told:
            return set()
        try:
            return self._on.bus.put(told)
        except Exception as error:  # noqa: BLE001 - what is not told must stay in the queue
            self._on.journal.trouble("outcomes could not be told", error)
            return {outcome.notification_id for _, outcome in told}

    def _set_aside(self, group: _Group, reason: str) -> None:
        """Put a group's first message into the dead-letter queue, as no repetition can help it."""
        message = group[0]
        if self._bury(message.message_id, message.body, reason):
            group.popleft()
        else:
            self._give_up(group, reason)

    def _give_up(self, group: _Group, reason: str) -> None:
        """Let a group's first message wait because of trouble that is not the receiver's."""
        message = group.popleft()
        if message.receives < MAX_TROUBLED_RECEIVES or not self._bury(
            message.message_id, message.body, f"{reason}, after {message.receives} receives"
        ):
            self._stay(message.message_id, message.receipt_handle, self._backoff(message.receives))
        self._hold_back(group, "behind an earlier notification")

    def _bury(self, message_id: str, body: str, reason: str) -> bool:
        """Put a message into the dead-letter queue; says whether it is there."""
        try:
            self._on.dead_letters.put(
                body, reason=reason, group=message_id, deduplication_id=message_id
            )
        except Exception as error:  # noqa: BLE001 - then it stays where it is
            self._on.journal.trouble("a dead letter could not be put away", error)
            return False
        self._on.journal.trouble("dead letter", reason=reason, message_id=message_id)
        return True

    def _backoff(self, receives: int) -> int:
        wait = min(self._on.policy.backoff_seconds * receives, MAX_WAIT_SECONDS)
        return max(TROUBLE_SECONDS, round(wait))

    def _stay(self, message_id: str, receipt_handle: str, seconds: int) -> None:
        # From now on, not from the end of the batch: others in it may take long.
        self._staying[message_id] = (receipt_handle, self._on.clock.monotonic() + seconds)

    def _hold_back(self, group: _Group, reason: str) -> None:
        """Give back what is left of a group at once: the queue keeps it behind its first one."""
        for message in group:
            self._on.journal.held_back(message.delivery, reason)
            self._stay(message.message_id, message.receipt_handle, 0)
        group.clear()

"""SQS queues in memory: FIFO with all that the service relies on, and plain ones for dead letters.

Kept for FIFO: order within a group; a group with a message in flight gives no other; a
deduplication id is remembered for five minutes from the first time it was accepted, whatever became
of the message; the visibility timeout; a receipt handle is good until the message becomes visible
again; the receive count, and redrive when it exceeds the limit; retention; batches that fail in
part.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from tests.aws.dynamodb import client_error
from tests.aws.kernel import Kernel, NotModelledError

DEDUPLICATION_SECONDS = 300.0
MAX_BATCH = 10
MAX_BYTES = 1_048_576
MAX_VISIBILITY = 43_200

type Answer = dict[str, Any]


@dataclass(slots=True, eq=False)
class Message:
    """A message and its life in one queue."""

    message_id: str
    body: str
    attributes: Mapping[str, Any]
    group: str
    deduplication_id: str
    sequence_number: int
    sent_at: float
    visible_at: float
    receive_count: int = 0
    first_received_at: float | None = None
    receipt: str = ""
    deleted: bool = False
    dead: bool = False

    def system_attributes(self, *, fifo: bool) -> dict[str, str]:
        """What the queue says of it."""
        first = self.first_received_at or 0.0
        found = {
            "ApproximateReceiveCount": str(self.receive_count),
            "SentTimestamp": str(int(self.sent_at * 1000)),
            "ApproximateFirstReceiveTimestamp": str(int(first * 1000)),
            "SenderId": "AIDAIENQZJOLO23YVJ4VO",
        }
        if fifo:
            found |= {
                "SequenceNumber": f"{self.sequence_number:020}",
                "MessageGroupId": self.group,
                "MessageDeduplicationId": self.deduplication_id,
            }
        return found


@lru_cache(maxsize=100_000)
def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Redrive:
    """Where a message goes that was received too often."""

    queue: "Queue"
    max_receive_count: int


@dataclass(eq=False)
class Queue:
    """One queue.

    Attributes:
        keeps: whether a message that was accepted is kept, by its body; for tests of checks.
        wake: called when a message may have become receivable.
        expired: messages that nobody took until the retention period ended: lost.
    """

    kernel: Kernel
    name: str
    visibility_timeout: float = 30.0
    retention: float = 1_209_600.0
    redrive: Redrive | None = None
    keeps: Callable[[str], bool] = lambda _: True
    wake: Callable[[], object] = lambda: None
    expired: list[Message] = field(default_factory=list)
    moved: list[Message] = field(default_factory=list)
    accepted: list[Message] = field(default_factory=list)
    groups: dict[str, list[Message]] = field(default_factory=dict)
    _known: dict[tuple[str, str], tuple[float, Message]] = field(default_factory=dict)
    _receipts: dict[str, Message] = field(default_factory=dict)
    _attempts: dict[str, tuple[float, list[Message]]] = field(default_factory=dict)
    _count: int = 0

    @property
    def fifo(self) -> bool:
        return self.name.endswith(".fifo")

    @property
    def url(self) -> str:
        return f"https://sqs.eu-central-1.amazonaws.com/123456789012/{self.name}"

    @property
    def arn(self) -> str:
        return f"arn:aws:sqs:eu-central-1:123456789012:{self.name}"

    @property
    def messages(self) -> list[Message]:
        """All that are in the queue, in flight or not."""
        return [message for group in self.groups.values() for message in group]

    def send(self, request: Mapping[str, Any]) -> Answer:
        """Accept a message; one that is a duplicate is accepted but not delivered."""
        body = request["MessageBody"]
        group = request.get("MessageGroupId", "")
        deduplication_id = request.get("MessageDeduplicationId", "")
        if self.fifo and not (group and deduplication_id):
            raise _Invalid("MissingParameter", "a FIFO queue needs a group and a deduplication id")
        if self.fifo and not (_IDENTIFIER.fullmatch(group + deduplication_id)):
            raise _Invalid("InvalidParameterValue", "a character in group or deduplication id")
        if len(group) > 128 or len(deduplication_id) > 128:
            raise _Invalid("InvalidParameterValue", "group or deduplication id is too long")
        attributes = request.get("MessageAttributes", {})
        _check_text(body, *(value["StringValue"] for value in attributes.values()))
        if not body or len(body.encode()) > MAX_BYTES:
            raise _Invalid("InvalidParameterValue", "the message is empty or too long")
        now = self.kernel.now
        self._count += 1
        known = self._known.get((group, deduplication_id)) if self.fifo else None
        if known is not None and known[0] > now:
            message = known[1]
        else:
            message = Message(
                message_id=f"{self.name}-{self._count:08}",
                body=body,
                attributes=attributes,
                group=group if self.fifo else f"{self._count}",
                deduplication_id=deduplication_id,
                sequence_number=self._count,
                sent_at=now,
                visible_at=now,
            )
            self._known[group, deduplication_id] = (now + DEDUPLICATION_SECONDS, message)
            if self.keeps(body):
                self._put(message)
                self.accepted.append(message)
        answer = {"MessageId": message.message_id, "MD5OfMessageBody": md5(body)}
        if self.fifo:
            answer["SequenceNumber"] = f"{message.sequence_number:020}"
        return answer

    def _put(self, message: Message) -> None:
        self.groups.setdefault(message.group, []).append(message)
        self.kernel.after(0.0, self.wake)

    def receive(self, limit: int, first: int = 0) -> list[Message]:
        """Take up to so many messages, beginning with any group; FIFO within each."""
        now = self.kernel.now
        taken: list[Message] = []
        names = list(self.groups)
        start = first % len(names) if names else 0
        for name in names[start:] + names[:start]:
            group = self.groups[name]
            self._bury(group)
            if not group:
                del self.groups[name]
                continue
            if any(message.visible_at > now for message in group):
                continue
            for message in list(group):
                if len(taken) == limit:
                    return taken
                if self.redrive and message.receive_count >= self.redrive.max_receive_count:
                    self._drive(message, self.redrive)
                    continue
                message.receive_count += 1
                message.first_received_at = message.first_received_at or now
                message.visible_at = now + self.visibility_timeout
                message.receipt = f"{message.message_id}#{message.receive_count}"
                self._receipts[message.receipt] = message
                self.kernel.at(message.visible_at, self.wake)
                taken.append(message)
        return taken

    def received(self, attempt: str | None) -> list[Message]:
        """What a call with the same attempt id got within five minutes, if nothing became of it."""
        at, messages = self._attempts.get(attempt or "", (0.0, []))
        if at + DEDUPLICATION_SECONDS <= self.kernel.now:
            return []
        if any(
            each.deleted or each.dead or each.visible_at <= self.kernel.now for each in messages
        ):
            return []
        for each in messages:
            each.visible_at = self.kernel.now + self.visibility_timeout
            self.kernel.at(each.visible_at, self.wake)
        return messages

    def keep(self, attempt: str, messages: list[Message]) -> None:
        self._attempts[attempt] = self.kernel.now, messages

    def _bury(self, group: list[Message]) -> None:
        """Let messages go that are older than the retention period."""
        limit = self.kernel.now - self.retention
        while group and group[0].sent_at < limit and group[0].visible_at <= self.kernel.now:
            message = group.pop(0)
            message.dead = True
            self.expired.append(message)

    def _drive(self, message: Message, redrive: Redrive) -> None:
        self.groups[message.group].remove(message)
        message.dead = True
        self.moved.append(message)
        copy = Message(
            message_id=message.message_id,
            body=message.body,
            attributes=message.attributes,
            group=message.group if redrive.queue.fifo else message.message_id,
            deduplication_id=message.deduplication_id,
            sequence_number=message.sequence_number,
            sent_at=self.kernel.now,
            visible_at=self.kernel.now,
        )
        redrive.queue._put(copy)
        redrive.queue.accepted.append(copy)

    def next_visible(self) -> float | None:
        """When the next message in flight becomes visible."""
        return min(
            (m.visible_at for m in self.messages if m.visible_at > self.kernel.now), default=None
        )

    def held(self, receipt: str) -> Message:
        """The message in flight that a receipt handle stands for."""
        message = self._receipts.get(receipt)
        if message is None:
            raise _Invalid("ReceiptHandleIsInvalid", "no such receipt handle")
        if message.deleted or message.dead or message.receipt != receipt:
            raise _Invalid("InvalidParameterValue", "the receipt handle has expired")
        if message.visible_at <= self.kernel.now:
            raise _Invalid("InvalidParameterValue", "the receipt handle has expired")
        return message

    def delete(self, receipt: str) -> bool:
        """Delete a message; false if the receipt handle is no longer good."""
        try:
            message = self.held(receipt)
        except _Invalid:
            return False
        message.deleted = True
        group = self.groups[message.group]
        group.remove(message)
        if not group:
            del self.groups[message.group]
        self.kernel.after(0.0, self.wake)
        return True

    def change_visibility(self, receipt: str, seconds: int) -> None:
        if not 0 <= seconds <= MAX_VISIBILITY:
            raise _Invalid("InvalidParameterValue", "the visibility timeout is out of range")
        message = self.held(receipt)
        now = self.kernel.now
        received = message.first_received_at or now
        if now + seconds > received + MAX_VISIBILITY and not self.fifo:
            raise _Invalid("InvalidParameterValue", "the visibility timeout is over 12 hours")
        message.visible_at = now + seconds
        self.kernel.at(message.visible_at, self.wake)


# Alphanumeric characters and punctuation (SendMessage, MessageGroupId).
_IDENTIFIER = re.compile(r"[!-~]*")
# What XML 1.0 can hold (SendMessage, MessageBody).
_TEXT = re.compile(r"[\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")


def _check_text(*texts: str) -> None:
    for text in texts:
        if not _TEXT.fullmatch(text):
            raise _Invalid("InvalidMessageContents", "a character that XML can't hold")


class _Invalid(Exception):  # noqa: N818 - of this module
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Sqs:
    """The service: what its calls do and answer. Faults are put around it elsewhere.

    Attributes:
        left_undone: which entries of a batch fail; set by the caller.
        doubtful: whether the failed ones take effect all the same; set by the caller.
    """

    def __init__(self) -> None:
        self.queues: dict[str, Queue] = {}
        self.left_undone: Callable[[int], bool] = lambda _: False
        self.doubtful = False

    def add(self, queue: Queue) -> Queue:
        self.queues[queue.url] = queue
        return queue

    def send_message(self, *, QueueUrl: str, **request: Any) -> Answer:  # noqa: N803
        _check("SendMessage", request, _MESSAGE)
        try:
            return self._queue(QueueUrl).send(request)
        except _Invalid as error:
            raise client_error("SendMessage", error.code, str(error)) from None

    def receive_message(self, *, QueueUrl: str, **request: Any) -> Answer:  # noqa: N803
        _check("ReceiveMessage", request, _RECEIVE)
        queue = self._queue(QueueUrl)
        if request.get("WaitTimeSeconds"):
            raise NotModelledError("ReceiveMessage that waits")
        limit = request.get("MaxNumberOfMessages", 1)
        if not 1 <= limit <= MAX_BATCH:
            raise client_error("ReceiveMessage", "InvalidParameterValue", "MaxNumberOfMessages")
        attempt = request.get("ReceiveRequestAttemptId")
        if attempt is not None and not queue.fifo:
            raise client_error("ReceiveMessage", "InvalidParameterValue", "not a FIFO queue")
        messages = queue.received(attempt) or queue.receive(limit)
        if attempt is not None:
            queue.keep(attempt, messages)
        return {"Messages": [_shown(queue, each) for each in messages]} if messages else {}

    def delete_message_batch(self, *, QueueUrl: str, Entries: list[Any]) -> Answer:  # noqa: N803
        queue = self._queue(QueueUrl)
        _check_batch("DeleteMessageBatch", Entries)

        def one(entry: Mapping[str, Any]) -> Answer:
            _check("DeleteMessageBatch", entry, {"Id", "ReceiptHandle"})
            if not queue.delete(entry["ReceiptHandle"]) and queue.fifo:
                raise _Invalid("InvalidParameterValue", "the receipt handle has expired")
            return {}

        return self._batch(Entries, one)

    def send_message_batch(self, *, QueueUrl: str, Entries: list[Any]) -> Answer:  # noqa: N803
        queue = self._queue(QueueUrl)
        _check_batch("SendMessageBatch", Entries)
        size = sum(len(entry["MessageBody"].encode()) for entry in Entries)
        if size > MAX_BYTES:
            raise client_error("SendMessageBatch", "AWS.SimpleQueueService.BatchRequestTooLong")

        def one(entry: Mapping[str, Any]) -> Answer:
            request = {name: value for name, value in entry.items() if name != "Id"}
            _check("SendMessageBatch", request, _MESSAGE)
            return queue.send(request)

        return self._batch(Entries, one)

    def change_message_visibility_batch(
        self,
        *,
        QueueUrl: str,  # noqa: N803
        Entries: list[Any],  # noqa: N803
    ) -> Answer:
        queue = self._queue(QueueUrl)
        _check_batch("ChangeMessageVisibilityBatch", Entries)

        def one(entry: Mapping[str, Any]) -> Answer:
            _check("ChangeMessageVisibilityBatch", entry, _VISIBILITY)
            queue.change_visibility(entry["ReceiptHandle"], entry["VisibilityTimeout"])
            return {}

        return self._batch(Entries, one)

    def change_message_visibility(self, *, QueueUrl: str, **request: Any) -> Answer:  # noqa: N803
        _check("ChangeMessageVisibility", request, {"ReceiptHandle", "VisibilityTimeout"})
        try:
            self._queue(QueueUrl).change_visibility(
                request["ReceiptHandle"], request["VisibilityTimeout"]
            )
        except _Invalid as error:
            raise client_error("ChangeMessageVisibility", error.code, str(error)) from None
        return {}

    def _batch(self, entries: list[Any], one: Callable[[Any], Answer]) -> Answer:
        answer: Answer = {"Successful": [], "Failed": []}
        for index, entry in enumerate(entries):
            fails = self.left_undone(index)
            if fails:
                answer["Failed"].append(
                    {"Id": entry["Id"], "Code": "InternalError", "SenderFault": False}
                )
                if not self.doubtful:
                    continue
            try:
                result = one(entry)
            except _Invalid as error:
                if not fails:
                    answer["Failed"].append(
                        {
                            "Id": entry["Id"],
                            "Code": error.code,
                            "Message": str(error),
                            "SenderFault": True,
                        }
                    )
            else:
                if not fails:
                    answer["Successful"].append({"Id": entry["Id"], **result})
        return {name: listed for name, listed in answer.items() if listed}

    def _queue(self, url: str) -> Queue:
        try:
            return self.queues[url]
        except KeyError:
            raise NotModelledError(f"no queue {url!r}") from None


_MESSAGE = {"MessageBody", "MessageGroupId", "MessageDeduplicationId", "MessageAttributes"}
_RECEIVE = {
    *("MaxNumberOfMessages", "WaitTimeSeconds", "ReceiveRequestAttemptId"),
    *("MessageSystemAttributeNames", "MessageAttributeNames"),
}
_VISIBILITY = {"Id", "ReceiptHandle", "VisibilityTimeout"}


def _shown(queue: Queue, message: Message) -> Answer:
    """A message as ReceiveMessage answers it."""
    shown: Answer = {
        "MessageId": message.message_id,
        "ReceiptHandle": message.receipt,
        "Body": message.body,
        "MD5OfBody": md5(message.body),
        "Attributes": message.system_attributes(fifo=queue.fifo),
    }
    if message.attributes:
        shown["MessageAttributes"] = dict(message.attributes)
    return shown


def _check(operation: str, request: Mapping[str, Any], allowed: set[str]) -> None:
    unknown = request.keys() - allowed
    if unknown:
        raise NotModelledError(f"{operation} with {sorted(unknown)}")


def _check_batch(operation: str, entries: list[Any]) -> None:
    ids = [entry["Id"] for entry in entries]
    if not ids:
        raise client_error(operation, "AWS.SimpleQueueService.EmptyBatchRequest")
    if len(ids) > MAX_BATCH:
        raise client_error(operation, "AWS.SimpleQueueService.TooManyEntriesInBatchRequest")
    if len(set(ids)) != len(ids):
        raise client_error(operation, "AWS.SimpleQueueService.BatchEntryIdsNotDistinct")

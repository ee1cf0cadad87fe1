"""The queues: deliveries on their way, and dead letters."""

import itertools
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Self

import boto3

from fl_notifications.aws.batches import SQS_BATCH, Sleep, until_done
from fl_notifications.aws.clients import CLIENT_CONFIG, CONNECTIONS
from fl_notifications.deliveries.delivery import Delivery
from fl_notifications.settings import SettingsError
from fl_notifications.text import printable

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import MessageSystemAttributeNameType
    from mypy_boto3_sqs.type_defs import (
        ChangeMessageVisibilityBatchRequestEntryTypeDef,
        DeleteMessageBatchRequestEntryTypeDef,
        SendMessageBatchRequestEntryTypeDef,
    )

QUEUE_VARIABLE = "DELIVERIES_QUEUE_URL"

MAX_MESSAGE_BYTES: Final = 1024 * 1024
"""What SQS takes in one message, and in all messages of one call."""

WINDOW = CONNECTIONS
"""Batches on their way to the queue at once; with ten small messages each, about 100 KiB."""


_ATTRIBUTES: "Final[list[MessageSystemAttributeNameType]]" = [
    "ApproximateReceiveCount",
    "MessageGroupId",
    "SentTimestamp",
    "SequenceNumber",
]


class NotEnqueuedError(Exception):
    """The queue did not accept all messages, after several tries."""


class MessageTooLargeError(NotEnqueuedError):
    """A message is larger than the queue takes; names the notification and its receiver."""


class NotChangedError(Exception):
    """The queue did not change the visibility of all messages, after several tries."""


class NotDeletedError(Exception):
    """The queue did not delete all messages, after several tries."""


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message as the queue gives it out.

    Attributes:
        receives: how often it was received, this time included.
        group: its message group; empty if the queue does not say.
        sent_at: when it was enqueued; None if the queue does not say.
        sequence_number: later messages of the queue have higher ones.
    """

    message_id: str
    receipt_handle: str
    receives: int
    group: str
    sent_at: datetime | None
    sequence_number: str
    body: str

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """As Lambda shows it in an event."""
        values = (record["messageId"], record["receiptHandle"], record["body"])
        return cls._of(*values, record["attributes"])

    @classmethod
    def from_answer(cls, message: Mapping[str, Any]) -> Self:
        """As the API shows it."""
        values = (message["MessageId"], message["ReceiptHandle"], message["Body"])
        return cls._of(*values, message.get("Attributes", {}))

    @classmethod
    def _of(
        cls, message_id: str, receipt_handle: str, body: str, attributes: Mapping[str, str]
    ) -> Self:
        sent = attributes.get("SentTimestamp")
        return cls(
            message_id=message_id,
            receipt_handle=receipt_handle,
            receives=int(attributes.get("ApproximateReceiveCount", 1)),
            group=attributes.get("MessageGroupId", ""),
            sent_at=None if sent is None else datetime.fromtimestamp(int(sent) / 1000, UTC),
            sequence_number=attributes.get("SequenceNumber", ""),
            body=body,
        )


class DeliveryQueue:
    """The FIFO queue of deliveries."""

    def __init__(
        self,
        client: "SQSClient",
        queue_url: str,
        *,
        executor: Executor | None = None,
        window: int = WINDOW,
        trace_header: Callable[[], str | None] = lambda: None,
        sleep: Sleep = time.sleep,
    ) -> None:
        """Use a queue.

        Args:
            client: boto3's client; it must be usable from the executor's threads.
            queue_url: of the FIFO queue.
            executor: sends batches side by side; without one they are sent one by one.
            window: how many batches may be on their way at once.
            trace_header: gives X-Ray's header for a message; None if nothing is traced.
            sleep: waits between two tries of a call, in seconds.
        """
        self._client = client
        self._queue_url = queue_url
        self._executor = executor
        self._window = window
        self._trace_header = trace_header
        self._sleep = sleep

    def send(
        self,
        deliveries: Iterable[Delivery],
        on_accepted: Callable[[Sequence[Delivery]], None] = lambda _deliveries: None,
    ) -> int:
        """Enqueue deliveries; returns when the queue has accepted all of them.

        They are taken from the iterable as they are sent, so that any number of them takes no more
        memory than one window.

        Args:
            deliveries: no two of them for the same receiver, as batches go side by side.
            on_accepted: told of those that the queue has accepted, some at a time, in the caller's
                thread.

        Returns:
            How many were accepted.

        Raises:
            MessageTooLargeError: if the queue cannot take one of them; those before it may have
                been accepted.
            NotEnqueuedError: if one was not accepted after several tries; some later ones may
                have been. Sending all again is safe: the queue and the ledger know the ids.
        """
        accepted = 0
        on_the_way: deque[Future[tuple[Delivery, ...]]] = deque()
        try:
            for batch in _batches(deliveries):
                on_the_way.append(self._start(batch))
                if len(on_the_way) >= self._window or self._executor is None:
                    accepted += _settle(on_the_way, on_accepted)
            while on_the_way:
                accepted += _settle(on_the_way, on_accepted)
        finally:
            for future in on_the_way:
                future.cancel()
            for future in on_the_way:
                # Not until the last one has ended may the caller try again: order.
                if not future.cancelled():
                    future.exception()
        return accepted

    def receive(self, at_most: int, attempt_id: str) -> list[ReceivedMessage]:
        """Receive messages that are there already; waits for none.

        Args:
            at_most: how many, up to ten.
            attempt_id: of this attempt: repeated with the same one, as boto3 does if the answer is
                lost, it gives the same messages.

        Raises:
            ClientError: if the queue refuses the call.
        """
        answer = self._client.receive_message(
            QueueUrl=self._queue_url,
            MaxNumberOfMessages=min(at_most, SQS_BATCH),
            WaitTimeSeconds=0,
            MessageSystemAttributeNames=_ATTRIBUTES,
            ReceiveRequestAttemptId=attempt_id,
        )
        return [ReceivedMessage.from_answer(each) for each in answer.get("Messages", [])]

    def delete(self, receipt_handles: Iterable[str]) -> None:
        """Delete messages that were received.

        Raises:
            NotDeletedError: if the queue did not do so for all, after several tries.
            ClientError: if the queue refuses the call as a whole.
        """
        left: list[str] = []

        def call(
            entries: "list[DeleteMessageBatchRequestEntryTypeDef]",
        ) -> "list[DeleteMessageBatchRequestEntryTypeDef]":
            answer = self._client.delete_message_batch(QueueUrl=self._queue_url, Entries=entries)
            failed = {entry["Id"] for entry in answer.get("Failed", [])}
            return [entry for entry in entries if entry["Id"] in failed]

        for batch in itertools.batched(receipt_handles, SQS_BATCH):
            entries: list[DeleteMessageBatchRequestEntryTypeDef] = [
                {"Id": str(number), "ReceiptHandle": receipt}
                for number, receipt in enumerate(batch)
            ]
            left.extend(entry["Id"] for entry in until_done(entries, call, sleep=self._sleep))
        if left:
            raise NotDeletedError(f"{len(left)} messages")

    def change_visibility(self, messages: Iterable[tuple[str, int]]) -> None:
        """Say when messages that were received come back.

        Args:
            messages: receipt handles, and seconds from now; 0 means at once.

        Raises:
            NotChangedError: if the queue did not do so for all, after several tries.
            ClientError: if the queue refuses the call as a whole.
        """
        gone: list[str] = []

        def call(
            entries: "list[ChangeMessageVisibilityBatchRequestEntryTypeDef]",
        ) -> "list[ChangeMessageVisibilityBatchRequestEntryTypeDef]":
            answer = self._client.change_message_visibility_batch(
                QueueUrl=self._queue_url, Entries=entries
            )
            failed = {entry["Id"]: entry for entry in answer.get("Failed", [])}
            # A stale receipt stays so: that message is already visible, or was received again.
            gone.extend(entry["Code"] for entry in failed.values() if entry["SenderFault"])
            return [
                entry
                for entry in entries
                if entry["Id"] in failed and not failed[entry["Id"]]["SenderFault"]
            ]

        for batch in itertools.batched(messages, SQS_BATCH):
            entries: list[ChangeMessageVisibilityBatchRequestEntryTypeDef] = [
                {"Id": str(number), "ReceiptHandle": receipt, "VisibilityTimeout": seconds}
                for number, (receipt, seconds) in enumerate(batch)
            ]
            gone.extend("NotDone" for _ in until_done(entries, call, sleep=self._sleep))
        if gone:
            raise NotChangedError(f"{len(gone)} messages: {', '.join(sorted(set(gone)))}")

    def _start(self, batch: "_Batch") -> Future[tuple[Delivery, ...]]:
        if self._executor is not None:
            return self._executor.submit(self._send_batch, batch)
        done: Future[tuple[Delivery, ...]] = Future()
        done.set_result(self._send_batch(batch))
        return done

    def _send_batch(self, batch: "_Batch") -> tuple[Delivery, ...]:
        refused: list[str] = []

        def call(
            entries: "list[SendMessageBatchRequestEntryTypeDef]",
        ) -> "list[SendMessageBatchRequestEntryTypeDef]":
            answer = self._client.send_message_batch(QueueUrl=self._queue_url, Entries=entries)
            failed = {entry["Id"]: entry for entry in answer.get("Failed", [])}
            refused[:] = [f"{entry['Code']}" for entry in failed.values()]
            return [entry for entry in entries if entry["Id"] in failed]

        entries = [self._entry(number, *each) for number, each in enumerate(batch)]
        if until_done(entries, call, sleep=self._sleep):
            codes = ", ".join(sorted(set(refused)))
            raise NotEnqueuedError(
                f"the queue refused {len(refused)} of {len(batch)} messages: {codes}"
            )
        return tuple(delivery for delivery, _ in batch)

    def _entry(
        self, number: int, delivery: Delivery, message: str
    ) -> "SendMessageBatchRequestEntryTypeDef":
        entry: SendMessageBatchRequestEntryTypeDef = {
            "Id": str(number),
            "MessageBody": message,
            "MessageGroupId": delivery.group,
            "MessageDeduplicationId": delivery.notification_id,
        }
        if (header := self._trace_header()) is not None:
            entry["MessageSystemAttributes"] = {
                "AWSTraceHeader": {"DataType": "String", "StringValue": header}
            }
        return entry


type _Batch = Sequence[tuple[Delivery, str]]
"""Deliveries, each with its message: to make it costs as much as to make the delivery."""


def _batches(deliveries: Iterable[Delivery]) -> Iterator[_Batch]:
    """Cut by number and by bytes: one call takes ten messages, and as many bytes as one message."""
    batch: list[tuple[Delivery, str]] = []
    size = 0
    for delivery in deliveries:
        message = delivery.message
        length = len(message)  # in ASCII
        if length > MAX_MESSAGE_BYTES:
            raise MessageTooLargeError(
                f"notification {delivery.notification_id} to receiver {delivery.receiver.uuid}: "
                f"{length} bytes; the queue takes {MAX_MESSAGE_BYTES}"
            )
        if len(batch) == SQS_BATCH or size + length > MAX_MESSAGE_BYTES:
            yield batch
            batch, size = [], 0
        batch.append((delivery, message))
        size += length
    if batch:
        yield batch


def _settle(
    on_the_way: deque[Future[tuple[Delivery, ...]]],
    on_accepted: Callable[[Sequence[Delivery]], None],
) -> int:
    batch = on_the_way.popleft().result()
    on_accepted(batch)
    return len(batch)


class DeadLetterQueue:
    """A queue for what cannot be processed, with the reason why."""

    def __init__(self, client: "SQSClient", queue_url: str) -> None:
        """Use a queue; it may be FIFO."""
        self._client = client
        self._queue_url = queue_url

    def put(
        self,
        body: str,
        *,
        reason: str,
        group: str | None = None,
        deduplication_id: str | None = None,
    ) -> None:
        """Put a message there.

        Args:
            body: the message, as it can be redriven.
            reason: why it could not be processed; becomes the message attribute `reason`.
            group: message group, for a FIFO queue.
            deduplication_id: for a FIFO queue.

        Raises:
            ClientError: if the queue does not take it.
        """
        fifo: dict[str, Any] = {}
        if group is not None and deduplication_id is not None:
            fifo = {"MessageGroupId": group, "MessageDeduplicationId": deduplication_id}
        self._client.send_message(
            QueueUrl=self._queue_url,
            MessageBody=body,
            MessageAttributes={
                "reason": {"DataType": "String", "StringValue": printable(reason) or "-"}
            },
            **fifo,
        )


@cache
def queue_from_environment() -> DeliveryQueue:
    """The queue whose URL is in the environment, with boto3's own credentials and region.

    Raises:
        SettingsError: if the environment variable is missing.
    """
    queue_url = os.environ.get(QUEUE_VARIABLE)
    if not queue_url:
        raise SettingsError(
            f"set {QUEUE_VARIABLE} to the stack's output DeliveriesQueueUrl, "
            "or pass queue=DeliveryQueue(client, queue_url)"
        )
    return DeliveryQueue(boto3.client("sqs", config=CLIENT_CONFIG), queue_url)

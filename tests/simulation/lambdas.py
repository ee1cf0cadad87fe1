"""Lambda: functions in warm or new environments, timeouts, and what triggers them.

Kept for streams: order per item under a parallelization factor, retry from the lowest failed
record, bisecting, limits of retries and of a record's age, the on-failure destination, event
filters. For queues, FIFO or not: up to ten messages, one group never in two invocations, partial
batch responses, deletion after success only. For the bus: asynchronous invocation with two retries,
then the dead-letter queue.
"""

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from tests.aws.dynamodb import Table, Write
from tests.aws.kernel import Kernel, Process
from tests.aws.patterns import matches
from tests.aws.sqs import Message, Queue, md5
from tests.simulation.faults import Faults, Kind, Occasion

type Handler = Callable[[dict[str, Any], Context], Any]

ASYNC_RETRY_SECONDS = (60.0, 120.0)
ASYNC_EVENT_AGE = 6 * 3600.0
MAX_CONCURRENCY = 50
THROTTLE_SECONDS = 1.0


class End(Enum):
    """How an invocation ended."""

    ANSWERED = "answered"
    FAILED = "the handler raised"
    DIED = "the process died"
    TIMED_OUT = "the function's timeout"
    LOST = "it answered, but Lambda did not get the answer"
    THROTTLED = "it was not started"


@dataclass(eq=False)
class Invocation:
    """One run of a function; the history of a run keeps all of them.

    Attributes:
        troubles: when a fault struck in it, or it ended badly.
    """

    number: int
    function: str
    began: float
    deadline: float
    end: End | None = None
    ended: float = 0.0
    answer: Any = None
    error: Exception | None = None
    troubles: list[float] = field(default_factory=list)

    def troubled_since(self, moment: float) -> bool:
        return any(at >= moment for at in self.troubles)


@dataclass(frozen=True)
class Context:
    """What Lambda hands to a handler beside the event."""

    kernel: Kernel
    invocation: Invocation
    function_name: str
    aws_request_id: str
    memory_limit_in_mb: int = 256
    invoked_function_arn: str = "arn:aws:lambda:eu-central-1:123456789012:function:simulated"
    function_version: str = "$LATEST"

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self.invocation.deadline - self.kernel.now) * 1000))


@dataclass(eq=False)
class _Environment:
    process: Process
    handler: Handler | None = None


class Function:
    """A function: builds its handler once per environment, runs one event at a time in each."""

    def __init__(
        self,
        kernel: Kernel,
        faults: Faults,
        name: str,
        build: Callable[[Process], Handler],
        *,
        timeout: float,
    ) -> None:
        self.kernel = kernel
        self.faults = faults
        self.name = name
        self.build = build
        self.timeout = timeout
        self.invocations: list[Invocation] = []
        self.running: dict[Process, Invocation] = {}
        self._idle: list[_Environment] = []

    def invoke(self, event: Mapping[str, Any], done: Callable[[Invocation], object]) -> Invocation:
        """Run an event; `done` is called when it has ended, in whichever way."""
        kernel = self.kernel
        invocation = Invocation(
            len(self.invocations), self.name, kernel.now, kernel.now + self.timeout
        )
        self.invocations.append(invocation)
        fault = self.faults.at(Occasion.INVOKE, kernel.now - kernel.start, where=(self.name,))
        if fault is not None and fault.kind is Kind.THROTTLED:
            self._finish(invocation, End.THROTTLED, done)
            return invocation
        environment = self._idle.pop() if self._idle else _Environment(Process(kernel, self.name))
        process = environment.process
        self.running[process] = invocation
        text = json.dumps(event)
        context = Context(kernel, invocation, self.name, f"request-{invocation.number}")

        def work() -> object:
            if fault is not None and fault.kind is Kind.DIE_BEFORE:
                process.die()
            if environment.handler is None:
                environment.handler = self.build(process)
            answer = environment.handler(json.loads(text), context)
            return json.loads(json.dumps(answer))

        task = kernel.spawn(work, process)

        def timed_out() -> None:
            invocation.end = End.TIMED_OUT
            process.kill()

        deadline = kernel.at(invocation.deadline, timed_out)

        def ended() -> None:
            deadline.cancel()
            del self.running[process]
            if task.killed:
                end = invocation.end or End.DIED
            elif task.error is not None:
                end, invocation.error = End.FAILED, task.error
                self._idle.append(environment)
            else:
                lost = fault is not None and fault.kind is Kind.DIE_AFTER
                end, invocation.answer = (End.LOST if lost else End.ANSWERED), task.result
                if not lost:
                    self._idle.append(environment)
            self._finish(invocation, end, done)

        task.on_done(ended)
        return invocation

    def _finish(
        self, invocation: Invocation, end: End, done: Callable[[Invocation], object]
    ) -> None:
        invocation.end = end
        invocation.ended = self.kernel.now
        if end is not End.ANSWERED:
            invocation.troubles.append(self.kernel.now)
        self.kernel.after(0.0, lambda: done(invocation))


def failed_ids(answer: object, known: Sequence[str]) -> list[str] | None:
    """The items that a partial batch response names; None if the batch failed as a whole.

    Anything but the documented form is a failure of the whole batch: an answer that is no object,
    an item without an identifier, an identifier that is not of this batch.
    """
    if not answer:
        return []
    if not isinstance(answer, dict):
        return None
    failures = answer.get("batchItemFailures")
    if not failures:
        return []
    ids = []
    for failure in failures:
        identifier = failure.get("itemIdentifier") if isinstance(failure, dict) else None
        if not isinstance(identifier, str) or identifier not in known:
            return None
        ids.append(identifier)
    return ids


@dataclass(frozen=True)
class StreamSettings:
    """The settings of an event source mapping of a stream."""

    batch_size: int = 100
    parallelization_factor: int = 1
    bisects: bool = False
    reports_failures: bool = True
    max_retries: int | None = 10
    max_record_age: float | None = None
    filters: tuple[Mapping[str, Any], ...] = ()
    shards: int = 1
    partial_resets_retries: bool = False


class _Lane:
    """The records of a shard that are processed one batch after the other."""

    def __init__(self) -> None:
        self.waiting: list[dict[str, Any]] = []
        self.busy = False


class StreamPoller:
    """An event source mapping: a table's stream to a function."""

    def __init__(
        self,
        kernel: Kernel,
        faults: Faults,
        table: Table,
        function: Function,
        on_failure: Queue,
        settings: StreamSettings,
    ) -> None:
        self.kernel = kernel
        self.faults = faults
        self.function = function
        self.on_failure = on_failure
        self.settings = settings
        self.lanes: dict[tuple[int, int], _Lane] = {}
        self.discarded: list[dict[str, Any]] = []
        self.filtered: list[dict[str, Any]] = []
        self.batches: list[tuple[Invocation, list[int]]] = []
        self.table = table
        self._made: dict[str, float] = {}
        table.listeners.append(self.emit)

    def emit(self, write: Write) -> None:
        record = stream_record(write, self.table)
        self._made[record["dynamodb"]["SequenceNumber"]] = write.at
        filters = self.settings.filters
        if filters and not any(matches(pattern, record) for pattern in filters):
            self.filtered.append(record)
            return
        shard = zlib.crc32(write.key[0].encode()) % self.settings.shards
        item = zlib.crc32("#".join(write.key).encode())
        lane = self.lanes.setdefault((shard, item % self.settings.parallelization_factor), _Lane())
        lane.waiting.append(record)
        self.kernel.after(0.2, lambda: self._next(lane))

    @property
    def idle(self) -> bool:
        return not any(lane.busy or lane.waiting for lane in self.lanes.values())

    def _next(self, lane: _Lane) -> None:
        if lane.busy or not lane.waiting:
            return
        lane.busy = True
        size = self.settings.batch_size
        batch, lane.waiting = lane.waiting[:size], lane.waiting[size:]

        def finished() -> None:
            lane.busy = False
            self._next(lane)

        self._process(batch, 0, finished)

    def _process(
        self, batch: list[dict[str, Any]], retries: int, finished: Callable[[], None]
    ) -> None:
        old = [record for record in batch if self._too_old(record)]
        if old:
            self._discard(old, "RecordAgeExceeded")
            batch = batch[len(old) :]
            if not batch:
                finished()
                return
        ids = [record["dynamodb"]["SequenceNumber"] for record in batch]

        def done(invocation: Invocation) -> None:
            if invocation.end is End.THROTTLED:
                self.kernel.after(THROTTLE_SECONDS, lambda: self._process(batch, retries, finished))
                return
            failed = None
            if invocation.end is End.ANSWERED:
                reports = self.settings.reports_failures
                failed = failed_ids(invocation.answer, ids) if reports else []
            if failed == []:
                self._checkpoint(batch, retries, finished)
                return
            if failed is None:
                self._failed(batch, retries, finished, bisect=True)
                return
            # The checkpoint is the lowest sequence number that failed: all from there on again.
            lowest = min(ids.index(identifier) for identifier in failed)
            if lowest and self.settings.partial_resets_retries:
                self.kernel.after(1.0, lambda: self._process(batch[lowest:], 0, finished))
            else:
                self._failed(batch[lowest:], retries, finished, bisect=False)

        invocation = self.function.invoke({"Records": batch}, done)
        self.batches.append((invocation, [int(identifier) for identifier in ids]))

    def _too_old(self, record: dict[str, Any]) -> bool:
        limit = self.settings.max_record_age
        made = self._made[record["dynamodb"]["SequenceNumber"]]
        return limit is not None and self.kernel.now > made + limit

    def _checkpoint(
        self, batch: list[dict[str, Any]], retries: int, finished: Callable[[], None]
    ) -> None:
        fault = self.faults.at(Occasion.CHECKPOINT, self.kernel.now - self.kernel.start)
        if fault is None:
            finished()
            return
        # It was processed, but the poller forgets that, and reads it again.
        delay = fault.pick((0.5, 30.0, 400.0))
        self.kernel.after(delay, lambda: self._process(batch, retries, finished))

    def _failed(
        self,
        batch: list[dict[str, Any]],
        retries: int,
        finished: Callable[[], None],
        *,
        bisect: bool,
    ) -> None:
        delay = min(60.0, 2.0**retries)
        if bisect and self.settings.bisects and len(batch) > 1:
            # Splitting does not count as a retry.
            middle = len(batch) // 2
            second = batch[middle:]
            self.kernel.after(
                delay,
                lambda: self._process(
                    batch[:middle], retries, lambda: self._process(second, retries, finished)
                ),
            )
        elif self.settings.max_retries is not None and retries >= self.settings.max_retries:
            self._discard(batch, "RetryAttemptsExhausted")
            finished()
        else:
            self.kernel.after(delay, lambda: self._process(batch, retries + 1, finished))

    def _discard(self, batch: list[dict[str, Any]], condition: str) -> None:
        self.discarded += batch
        numbers = [record["dynamodb"]["SequenceNumber"] for record in batch]
        body = {
            "requestContext": {"condition": condition},
            "DDBStreamBatchInfo": {
                "batchSize": len(batch),
                "startSequenceNumber": numbers[0],
                "endSequenceNumber": numbers[-1],
            },
        }
        self.on_failure.send({"MessageBody": json.dumps(body)})


def stream_record(write: Write, table: Table) -> dict[str, Any]:
    """A record as Lambda gets it, with new and old images."""
    item = write.new if write.new is not None else write.old
    if item is None:
        raise AssertionError("a write of nothing over nothing")
    change: dict[str, Any] = {
        "ApproximateCreationDateTime": float(int(write.at)),
        "Keys": table.keys_of(item),
        "SequenceNumber": str(write.sequence_number),
        "SizeBytes": 100,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    }
    if write.new is not None:
        change["NewImage"] = write.new
    if write.old is not None:
        change["OldImage"] = write.old
    names = {(True, False): "INSERT", (True, True): "MODIFY", (False, True): "REMOVE"}
    record: dict[str, Any] = {
        "eventID": f"event-{write.sequence_number}",
        "eventName": names[write.new is not None, write.old is not None],
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "eu-central-1",
        "dynamodb": change,
        "eventSourceARN": f"arn:aws:dynamodb:eu-central-1:123456789012:table/{table.name}/stream/1",
    }
    if write.by_ttl:
        record["userIdentity"] = {
            "type": "Service",
            "principalId": "dynamodb.amazonaws.com",
        }
    return record


class QueuePoller:
    """An event source mapping: a queue to a function, with partial batch responses."""

    def __init__(
        self,
        kernel: Kernel,
        faults: Faults,
        queue: Queue,
        function: Function,
        *,
        batch_size: int = 10,
        max_concurrency: int = MAX_CONCURRENCY,
        choose: Callable[[int], int] = lambda _: 0,
    ) -> None:
        self.kernel = kernel
        self.faults = faults
        self.queue = queue
        self.function = function
        self.batch_size = batch_size
        self.max_concurrency = max_concurrency
        self.choose = choose
        self.running = 0
        self.handled: list[tuple[Message, Invocation]] = []
        self._planned = False
        queue.wake = self.wake

    def wake(self) -> None:
        if not self._planned:
            self._planned = True
            self.kernel.after(0.01, self._poll)

    def _poll(self) -> None:
        self._planned = False
        while self.running < self.max_concurrency:
            limit = self.batch_size - self.choose(self.batch_size)
            batch = self.queue.receive(limit, first=self.choose(1000))
            if not batch:
                return
            self._invoke(batch)

    def _invoke(self, batch: list[Message]) -> None:
        self.running += 1
        receipts = {message.message_id: message.receipt for message in batch}
        messages = {message.message_id: message for message in batch}

        def done(invocation: Invocation) -> None:
            self.running -= 1
            failed = None
            if invocation.end is End.ANSWERED:
                failed = failed_ids(invocation.answer, list(receipts))
            if failed is not None:
                fault = self.faults.at(Occasion.DELETE, self.kernel.now - self.kernel.start)
                for index, (message_id, receipt) in enumerate(receipts.items()):
                    if message_id not in failed:
                        self.handled.append((messages[message_id], invocation))
                    # A message that was processed but not deleted comes again.
                    kept = fault is not None and (fault.detail >> index) % 2 == 0
                    if message_id not in failed and not kept:
                        self.queue.delete(receipt)
            self.wake()

        self.function.invoke({"Records": [queue_record(self.queue, m) for m in batch]}, done)


def queue_record(queue: Queue, message: Message) -> dict[str, Any]:
    """A message as Lambda gets it."""
    return {
        "messageId": message.message_id,
        "receiptHandle": message.receipt,
        "body": message.body,
        "attributes": message.system_attributes(fifo=queue.fifo),
        "messageAttributes": {
            name: {
                "stringValue": value["StringValue"],
                "dataType": value["DataType"],
                "stringListValues": [],
                "binaryListValues": [],
            }
            for name, value in message.attributes.items()
        },
        "md5OfBody": md5(message.body),
        "eventSource": "aws:sqs",
        "eventSourceARN": queue.arn,
        "awsRegion": "eu-central-1",
    }


class QueueTarget:
    """A queue that a rule sends its events to."""

    def __init__(self, kernel: Kernel, queue: Queue) -> None:
        self.kernel = kernel
        self.queue = queue
        self.waiting = 0

    def invoke(self, event: dict[str, Any]) -> None:
        self.queue.send({"MessageBody": json.dumps(event)})


class AsyncInvoker:
    """Asynchronous invocation: retried twice after an error, then the event is a dead letter."""

    def __init__(
        self,
        kernel: Kernel,
        function: Function,
        dead_letters: Queue,
        *,
        retries: int = 2,
    ) -> None:
        self.kernel = kernel
        self.function = function
        self.dead_letters = dead_letters
        self.retries = retries
        self.dead: list[dict[str, Any]] = []
        self.handled: list[tuple[dict[str, Any], Invocation]] = []
        self.waiting = 0

    def invoke(self, event: dict[str, Any]) -> None:
        self.waiting += 1
        self._try(event, 0, self.kernel.now)

    def _try(self, event: dict[str, Any], retry: int, since: float) -> None:
        def done(invocation: Invocation) -> None:
            if invocation.end is End.ANSWERED:
                self.handled.append((event, invocation))
                self.waiting -= 1
            elif invocation.end is End.THROTTLED and self.kernel.now - since < ASYNC_EVENT_AGE:
                # Throttling does not use up the retries.
                self.kernel.after(THROTTLE_SECONDS, lambda: self._try(event, retry, since))
            elif retry < self.retries:
                delay = ASYNC_RETRY_SECONDS[min(retry, 1)]
                self.kernel.after(delay, lambda: self._try(event, retry + 1, since))
            else:
                self.dead.append(event)
                self.waiting -= 1
                self.dead_letters.send({"MessageBody": json.dumps(event)})

        self.function.invoke(event, done)

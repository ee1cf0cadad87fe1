"""The stand-ins of Lambda and its event sources against the documentation."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.aws.dynamodb import DynamoDB, Table
from tests.aws.eventbridge import EventBridge, Rule
from tests.aws.kernel import Kernel, Process
from tests.aws.patterns import matches
from tests.aws.sqs import Queue
from tests.simulation.faults import Fault, Faults, Kind, Occasion
from tests.simulation.lambdas import (
    AsyncInvoker,
    Context,
    End,
    Function,
    Handler,
    Invocation,
    QueuePoller,
    QueueTarget,
    StreamPoller,
    StreamSettings,
    failed_ids,
)

type Work = Callable[[Any, Context], Any]


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


def function(kernel: Kernel, work: Work, *faults: Fault, timeout: float = 30) -> Function:
    def build(_: Process) -> Handler:
        return work

    return Function(kernel, Faults(faults), "function", build, timeout=timeout)


def invoke(kernel: Kernel, tried: Function, event: Any = None) -> Invocation:
    ended: list[Invocation] = []
    tried.invoke(event or {}, ended.append)
    kernel.run()
    (invocation,) = ended
    return invocation


# Functions


def test_a_function_answers(kernel: Kernel) -> None:
    invocation = invoke(kernel, function(kernel, lambda event, _: event["x"]), {"x": [1]})
    assert (invocation.end, invocation.answer) == (End.ANSWERED, [1])


def test_a_function_that_raises_has_failed_and_its_environment_is_used_again(
    kernel: Kernel,
) -> None:
    environments: list[int] = []

    def build(process: Process) -> Handler:
        environments.append(process.number)

        def fails(_: object, __: Context) -> None:
            raise ValueError("x")

        return fails

    tried = Function(kernel, Faults(), "function", build, timeout=30)
    assert invoke(kernel, tried).end is End.FAILED
    assert invoke(kernel, tried).end is End.FAILED
    assert len(environments) == 1


def test_a_function_ends_with_its_timeout_and_begins_anew(kernel: Kernel) -> None:
    environments: list[int] = []
    order: list[str] = []

    def build(process: Process) -> Handler:
        environments.append(process.number)

        def hangs(_: object, context: Context) -> None:
            assert context.get_remaining_time_in_millis() == 30_000
            kernel.sleep(31)
            order.append("goes on")

        return hangs

    tried = Function(kernel, Faults(), "function", build, timeout=30)
    assert invoke(kernel, tried).end is End.TIMED_OUT
    assert invoke(kernel, tried).end is End.TIMED_OUT
    assert order == []
    assert len(environments) == 2


def test_two_events_at_a_time_run_in_two_environments(kernel: Kernel) -> None:
    tried = function(kernel, lambda _, __: kernel.sleep(1))
    for _ in range(2):
        tried.invoke({}, lambda _: None)
    kernel.run()

    assert kernel.now - kernel.start < 1.5 or kernel.now - kernel.start == 30


@pytest.mark.parametrize(
    ("kind", "end", "ran"),
    [
        (Kind.THROTTLED, End.THROTTLED, False),
        (Kind.DIE_BEFORE, End.DIED, False),
        (Kind.DIE_AFTER, End.LOST, True),
    ],
)
def test_an_invocation_can_go_wrong(kernel: Kernel, kind: Kind, end: End, *, ran: bool) -> None:
    calls: list[int] = []
    tried = function(kernel, lambda _, __: calls.append(1), Fault(Occasion.INVOKE, 0, kind))

    assert invoke(kernel, tried).end is end
    assert bool(calls) is ran


# Partial batch responses


@pytest.mark.parametrize(
    "answer", [None, {}, {"batchItemFailures": []}, {"batchItemFailures": None}]
)
def test_these_answers_mean_that_all_is_done(answer: object) -> None:
    assert failed_ids(answer, ["1"]) == []


@pytest.mark.parametrize(
    "answer",
    [
        {"batchItemFailures": [{"itemIdentifier": ""}]},
        {"batchItemFailures": [{"itemIdentifier": None}]},
        {"batchItemFailures": [{"wrong": "1"}]},
        {"batchItemFailures": [{"itemIdentifier": "of another batch"}]},
        {"batchItemFailures": ["1"]},
        "text",
    ],
)
def test_these_answers_mean_that_the_whole_batch_has_failed(answer: object) -> None:
    assert failed_ids(answer, ["1"]) is None


# Streams


class Stream:
    """A table, its stream, and a function that keeps the batches that it gets."""

    def __init__(self, kernel: Kernel, answers: list[Any], *faults: Fault, **settings: Any) -> None:
        self.kernel = kernel
        self.table = Table(kernel, "table", "h", "r")
        self.service = DynamoDB(kernel)
        self.service.add(self.table)
        self.batches: list[list[str]] = []
        self.answers = answers
        self.dead_letters = Queue(kernel, "dead")
        chosen = StreamSettings(**settings)
        all_faults = Faults(faults)
        tried = Function(kernel, all_faults, "function", lambda _: self._handle, timeout=30)
        self.poller = StreamPoller(kernel, all_faults, self.table, tried, self.dead_letters, chosen)

    def _handle(self, event: Any, _: Context) -> Any:
        batch = [record["dynamodb"]["NewImage"]["r"]["S"] for record in event["Records"]]
        self.batches.append(batch)
        self.kernel.sleep(0.1)
        answer = self.answers.pop(0) if self.answers else None
        if answer == "raise":
            raise ValueError("x")
        if answer is None:
            return None
        numbers = {
            record["dynamodb"]["NewImage"]["r"]["S"]: record["dynamodb"]["SequenceNumber"]
            for record in event["Records"]
        }
        return {"batchItemFailures": [{"itemIdentifier": numbers[name]} for name in answer]}

    def write(self, *names: str) -> None:
        for name in names:
            self.service.put_item(TableName="table", Item={"h": {"S": "h"}, "r": {"S": name}})

    def run(self) -> list[list[str]]:
        self.kernel.run()
        return self.batches


def test_records_come_in_order_and_in_batches(kernel: Kernel) -> None:
    stream = Stream(kernel, [], batch_size=2)
    stream.write("a", "b", "c")
    assert stream.run() == [["a", "b"], ["c"]]


def test_a_batch_that_failed_comes_again_before_the_next(kernel: Kernel) -> None:
    stream = Stream(kernel, ["raise"], batch_size=2)
    stream.write("a", "b", "c")
    assert stream.run() == [["a", "b"], ["a", "b"], ["c"]]


def test_all_from_the_lowest_that_failed_come_again(kernel: Kernel) -> None:
    stream = Stream(kernel, [["c", "b"]])
    stream.write("a", "b", "c", "d")
    assert stream.run() == [["a", "b", "c", "d"], ["b", "c", "d"]]


def test_after_so_many_retries_the_batch_is_discarded_and_the_next_comes(kernel: Kernel) -> None:
    stream = Stream(kernel, ["raise"] * 3, batch_size=2, max_retries=2)
    stream.write("a", "b", "c")
    assert stream.run() == [["a", "b"], ["a", "b"], ["a", "b"], ["c"]]
    (message,) = stream.dead_letters.messages
    assert json.loads(message.body)["DDBStreamBatchInfo"]["batchSize"] == 2


def test_records_of_other_items_behind_one_that_failed_come_again_after_newer_ones(
    kernel: Kernel,
) -> None:
    stream = Stream(kernel, [["a"], ["a"]])
    stream.write("a", "b1", "b2")
    assert stream.run() == [["a", "b1", "b2"]] * 3


def test_records_that_are_too_old_are_discarded(kernel: Kernel) -> None:
    stream = Stream(kernel, [["a"]] * 10, max_retries=None, max_record_age=300.0)
    stream.write("a")
    kernel.after(0.1, lambda: stream.write("b"))
    kernel.after(290, lambda: stream.write("c"))
    stream.run()

    assert stream.batches == [["a", "b"]] * 10 + [["c"]]
    (message,) = stream.dead_letters.messages
    body = json.loads(message.body)
    assert body["requestContext"] == {"condition": "RecordAgeExceeded"}
    assert body["DDBStreamBatchInfo"]["batchSize"] == 2


def test_a_batch_that_failed_is_split_in_two(kernel: Kernel) -> None:
    stream = Stream(kernel, ["raise", None, "raise", None, "raise"], bisects=True, max_retries=0)
    stream.write("a", "b", "c", "d")
    assert stream.run() == [["a", "b", "c", "d"], ["a", "b"], ["c", "d"], ["c"], ["d"]]
    assert len(stream.dead_letters.messages) == 1


def test_each_item_keeps_its_order_when_batches_run_side_by_side(kernel: Kernel) -> None:
    stream = Stream(kernel, [], batch_size=1, parallelization_factor=10)
    for number in range(3):
        for name in "abcdef":
            stream.service.put_item(
                TableName="table",
                Item={"h": {"S": "h"}, "r": {"S": name}, "n": {"N": str(number)}},
            )
    seen: dict[str, list[str]] = {}

    def keep(event: Any, _: Context) -> None:
        kernel.sleep(1)
        for record in event["Records"]:
            image = record["dynamodb"]["NewImage"]
            seen.setdefault(image["r"]["S"], []).append(image["n"]["N"])

    stream.poller.function.build = lambda _: keep
    stream.run()

    assert seen == {name: ["0", "1", "2"] for name in "abcdef"}
    lanes = {invocation.began for invocation, _ in stream.poller.batches}
    assert len(lanes) < 18


def test_a_batch_may_come_again_although_it_was_processed(kernel: Kernel) -> None:
    stream = Stream(kernel, [], Fault(Occasion.CHECKPOINT, 0, Kind.REPEATED), batch_size=1)
    stream.write("a", "b")
    assert stream.run() == [["a"], ["a"], ["b"]]


def test_records_that_no_filter_matches_are_left_out(kernel: Kernel) -> None:
    wanted = {"dynamodb": {"Keys": {"r": {"S": [{"prefix": "wanted"}]}}}}
    stream = Stream(kernel, [], filters=(wanted,))
    stream.write("wanted 1", "unwanted", "wanted 2")
    assert stream.run() == [["wanted 1", "wanted 2"]]


def test_a_throttled_batch_comes_later_and_counts_as_no_retry(kernel: Kernel) -> None:
    stream = Stream(kernel, [], Fault(Occasion.INVOKE, 0, Kind.THROTTLED), max_retries=0)
    stream.write("a")
    assert stream.run() == [["a"]]


# Queues


class Fifo:
    """A queue and a function that keeps the batches that it gets."""

    def __init__(self, kernel: Kernel, answers: list[Any], *faults: Fault, **more: Any) -> None:
        self.kernel = kernel
        self.queue = Queue(kernel, "queue.fifo", visibility_timeout=60)
        self.batches: list[tuple[float, list[str]]] = []
        self.answers = answers
        self.running: set[str] = set()
        all_faults = Faults(faults)
        tried = Function(kernel, all_faults, "function", lambda _: self._handle, timeout=10)
        self.poller = QueuePoller(kernel, all_faults, self.queue, tried, **more)

    def _handle(self, event: Any, _: Context) -> Any:
        records = event["Records"]
        groups = {record["attributes"]["MessageGroupId"] for record in records}
        assert not groups & self.running, "a group runs twice at a time"
        self.running |= groups
        bodies = [record["body"] for record in records]
        self.batches.append((round(self.kernel.now - self.kernel.start), bodies))
        self.kernel.sleep(1)
        self.running -= groups
        answer = self.answers.pop(0) if self.answers else None
        if answer == "raise":
            raise ValueError("x")
        ids = {record["body"]: record["messageId"] for record in records}
        return {"batchItemFailures": [{"itemIdentifier": ids[body]} for body in answer or []]}

    def send(self, *bodies: str) -> None:
        for body in bodies:
            self.queue.send(
                {
                    "MessageBody": body,
                    "MessageGroupId": body[0],
                    "MessageDeduplicationId": body,
                }
            )

    def run(self) -> list[list[str]]:
        self.kernel.run()
        return [bodies for _, bodies in self.batches]


def test_a_batch_has_up_to_ten_messages_of_any_groups(kernel: Kernel) -> None:
    fifo = Fifo(kernel, [])
    fifo.send(*(f"{group}{number}" for group in "abcd" for number in range(3)))
    assert [len(batch) for batch in fifo.run()] == [10, 2]
    assert fifo.queue.messages == []


def test_a_message_that_failed_comes_again_after_the_visibility_timeout(kernel: Kernel) -> None:
    fifo = Fifo(kernel, [["a2"]])
    fifo.send("a1", "a2", "b1")
    assert fifo.run() == [["a1", "a2", "b1"], ["a2"]]
    assert fifo.batches[1][0] == 60


def test_a_batch_that_failed_comes_again_as_a_whole(kernel: Kernel) -> None:
    fifo = Fifo(kernel, ["raise"])
    fifo.send("a1", "b1")
    assert fifo.run() == [["a1", "b1"], ["a1", "b1"]]


def test_a_group_never_runs_twice_at_a_time(kernel: Kernel) -> None:
    fifo = Fifo(kernel, [], batch_size=1)
    fifo.send(*(f"{group}{number}" for group in "abc" for number in range(4)))
    batches = fifo.run()
    assert sorted(batches) == [[f"{group}{number}"] for group in "abc" for number in range(4)]
    assert fifo.batches[-1][0] < 12


def test_a_message_may_come_again_although_it_was_processed(kernel: Kernel) -> None:
    fifo = Fifo(kernel, [], Fault(Occasion.DELETE, 0, Kind.REPEATED, 0b10))
    fifo.send("a1", "b1")
    assert fifo.run() == [["a1", "b1"], ["a1"]]


# The bus


def test_an_event_is_retried_twice_and_then_a_dead_letter(kernel: Kernel) -> None:
    moments: list[int] = []

    def fails(_: object, __: Context) -> None:
        moments.append(round(kernel.now - kernel.start))
        raise ValueError("x")

    dead_letters = Queue(kernel, "dead")
    invoker = AsyncInvoker(kernel, function(kernel, fails), dead_letters)
    invoker.invoke({"id": "1"})
    kernel.run()

    assert moments == [0, 60, 180]
    assert json.loads(dead_letters.messages[0].body) == {"id": "1"}


def bus(kernel: Kernel, seen: list[Any], *faults: Fault) -> EventBridge:
    def keep(event: Any, _: Context) -> None:
        seen.append(event["detail"])

    service = EventBridge(kernel, Faults(faults), "bus")
    target = AsyncInvoker(kernel, function(kernel, keep), Queue(kernel, "dead"))
    service.rules = [Rule({"detail": {"callback": ["c"]}}, target)]
    return service


def put_event(service: EventBridge, *details: dict[str, Any]) -> dict[str, Any]:
    return service.put_events(
        Entries=[
            {
                "EventBusName": "bus",
                "Source": "s",
                "DetailType": "d",
                "Detail": json.dumps(detail),
            }
            for detail in details
        ]
    )


def test_a_rule_chooses_by_the_detail(kernel: Kernel) -> None:
    seen: list[Any] = []
    put_event(bus(kernel, seen), {"callback": "c"}, {"callback": None}, {"callback": "other"}, {})
    kernel.run()
    assert seen == [{"callback": "c"}]


def test_a_rule_may_send_to_a_queue_that_a_function_takes_from(kernel: Kernel) -> None:
    seen: list[Any] = []

    def keep(event: Any, _: Context) -> Any:
        bodies = [json.loads(record["body"]) for record in event["Records"]]
        seen.extend((body["detail-type"], body["detail"]["n"]) for body in bodies)
        failed = event["Records"] if len(seen) == 1 else []
        return {"batchItemFailures": [{"itemIdentifier": each["messageId"]} for each in failed]}

    faults = Faults()
    queue = Queue(kernel, "callbacks", visibility_timeout=60)
    QueuePoller(kernel, faults, queue, function(kernel, keep), batch_size=1)
    service = EventBridge(kernel, faults, "bus")
    pattern = {"source": ["s"], "detail-type": ["d", "other"], "detail": {"n": [{"exists": True}]}}
    service.rules = [Rule(pattern, QueueTarget(kernel, queue))]
    put_event(service, {"n": 1}, {}, {"n": 2})
    kernel.run()

    assert seen == [("d", 1), ("d", 2), ("d", 1)]
    assert queue.messages == []


def test_events_fail_in_part(kernel: Kernel) -> None:
    seen: list[Any] = []
    service = bus(kernel, seen)
    service.left_undone = lambda index: index == 0
    answer = put_event(service, {"callback": "c", "n": 1}, {"callback": "c", "n": 2})
    kernel.run()

    assert answer["FailedEntryCount"] == 1
    assert ["ErrorCode" in entry for entry in answer["Entries"]] == [True, False]
    assert seen == [{"callback": "c", "n": 2}]


def test_an_event_may_come_twice(kernel: Kernel) -> None:
    seen: list[Any] = []
    put_event(bus(kernel, seen, Fault(Occasion.EVENT, 0, Kind.REPEATED)), {"callback": "c"})
    kernel.run()
    assert len(seen) == 2


# Event patterns


@pytest.mark.parametrize(
    ("pattern", "event", "matched"),
    [
        ({"a": ["x"]}, {"a": "x"}, True),
        ({"a": ["x"]}, {"a": "y"}, False),
        ({"a": ["x"]}, {}, False),
        ({"a": [1]}, {"a": True}, False),
        ({"a": [None]}, {"a": None}, True),
        ({"a": ["x"]}, {"a": ["w", "x"]}, True),
        ({"a": {"b": ["x"]}}, {"a": {"b": "x"}}, True),
        ({"a": {"b": ["x"]}}, {"a": "x"}, False),
        ({"a": [{"prefix": "x"}]}, {"a": "xy"}, True),
        ({"a": [{"prefix": "x"}]}, {"a": 1}, False),
        ({"a": [{"suffix": "y"}]}, {"a": "xy"}, True),
        ({"a": [{"exists": True}]}, {"a": None}, True),
        ({"a": [{"exists": False}]}, {}, True),
        ({"a": [{"anything-but": ["x"]}]}, {"a": "y"}, True),
        ({"a": [{"anything-but": "x"}]}, {"a": "x"}, False),
        ({"a": [{"anything-but": {"prefix": "x"}}]}, {"a": "yx"}, True),
        ({"a": [{"equals-ignore-case": "X"}]}, {"a": "x"}, True),
        ({"$or": [{"a": ["x"]}, {"b": ["y"]}]}, {"b": "y"}, True),
        ({"$or": [{"a": ["x"]}, {"b": ["y"]}]}, {"b": "x"}, False),
    ],
)
def test_event_patterns(pattern: Any, event: Any, *, matched: bool) -> None:
    assert matches(pattern, event) is matched

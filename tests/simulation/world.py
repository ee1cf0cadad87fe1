"""The whole service in one process: real logic, stand-ins for AWS, receivers, a virtual clock."""

import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

from aws_lambda_powertools.metrics import MetricUnit

from functions.build_notifications.batch import Batches
from functions.build_notifications.builder import Builder
from functions.build_notifications.checkpoints import Checkpoints
from functions.callback_failure.policy import FailureCallback
from functions.deliver_notification.answers import RetryPolicy
from functions.deliver_notification.deliverer import Deliverer
from shared import batches as batches_module
from shared.callbacks import call_back
from shared.events import OutcomeBus
from shared.journal import Journal, Tally
from shared.ledger import Ledger
from shared.outcomes import Outcome, OutcomeKind
from shared.queue import DeadLetterQueue, DeliveryQueue
from shared.signing import MasterSecrets
from shared.table import TrainingTable
from tests.simulation.clients import Around, Client, Latency, Tampering
from tests.simulation.dynamodb import DynamoDB, Table
from tests.simulation.eventbridge import EventBridge, Rule
from tests.simulation.faults import Faults
from tests.simulation.kernel import Kernel, Process, SimulatedExecutor, SimulatedFuture
from tests.simulation.lambdas import (
    AsyncInvoker,
    Context,
    Function,
    Handler,
    Invocation,
    QueuePoller,
    StreamPoller,
)
from tests.simulation.receivers import Receivers, SimulatedPoster
from tests.simulation.secrets import SecretsManager
from tests.simulation.sqs import Queue, Redrive, Sqs
from tests.simulation.stack import Stack, read_stack

TRAININGS = "trainings"
LEDGER = "ledger"
BUS = "outcomes"
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:simulated"
WINDOW = 4


class SimulatedClock:
    """The clock that the logic is given."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._kernel.now, UTC)

    def monotonic(self) -> float:
        return self._kernel.now - self._kernel.start


class Lines:
    """A logger that keeps its lines."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.lines: list[tuple[float, str, str, Mapping[str, Any]]] = []

    def _keep(self, level: str, message: str, extra: Mapping[str, Any] | None) -> None:
        self.lines.append((self._kernel.now, level, message, extra or {}))

    def together(self) -> AbstractContextManager[None]:
        return nullcontext()

    def step(self, level: int, message: str, values: Mapping[str, Any]) -> None:
        self._keep(logging.getLevelName(level), message, values)

    def debug(self, message: str, *, extra: Mapping[str, Any] | None = None, **_: Any) -> None:
        self._keep("DEBUG", message, extra)

    def info(self, message: str, *, extra: Mapping[str, Any] | None = None, **_: Any) -> None:
        self._keep("INFO", message, extra)

    def warning(self, message: str, *, extra: Mapping[str, Any] | None = None, **_: Any) -> None:
        self._keep("WARNING", message, extra)

    def error(self, message: str, *, extra: Mapping[str, Any] | None = None, **_: Any) -> None:
        self._keep("ERROR", message, extra)


class _NoTally(Tally):
    """Metrics are not the simulation's business."""

    def count(self, name: str, kind: str | None) -> None:
        pass

    def observe(
        self, name: str, kind: str, value: float, unit: MetricUnit = MetricUnit.Milliseconds
    ) -> None:
        pass

    def flush(self) -> None:
        pass


class World:
    """One deployed stack, with its receivers, at the beginning of time."""

    def __init__(
        self,
        faults: Faults | None = None,
        *,
        seed: int = 0,
        stack: Stack | None = None,
        page_items: int = 7,
        tampering: Tampering | None = None,
    ) -> None:
        self.stack = stack = stack or read_stack()
        self.kernel = kernel = Kernel()
        self.faults = faults = faults or Faults()
        self.latency = Latency(seed)
        self.jitter = random.Random(seed)  # noqa: S311 - a simulation
        self.lines = Lines(kernel)
        self.tampering = tampering or Tampering()
        self.around = Around(kernel, faults, self.latency, self.tampering)

        self.dynamodb = DynamoDB(kernel, page_items=page_items)
        self.trainings = self.dynamodb.add(Table(kernel, TRAININGS, "training_uuid", "entity"))
        self.ledger = self.dynamodb.add(Table(kernel, LEDGER, "notification_id"))
        self.sqs = Sqs()
        self.deliveries_dlq = self._queue("DeliveriesDlq.fifo")
        self.stream_dlq = self._queue("StreamDlq")
        self.callbacks_dlq = self._queue("CallbacksDlq")
        self.deliveries = self._queue("Deliveries.fifo")
        self.deliveries.visibility_timeout = stack.visibility_timeout
        self.deliveries.retention = stack.retention
        self.deliveries.redrive = Redrive(self.deliveries_dlq, stack.max_receive_count)
        self.bus = EventBridge(kernel, faults, BUS)
        self.secrets = SecretsManager(kernel, SECRET, "first master secret")
        self.receivers = Receivers(kernel, stack.request_timeout_seconds)

        self.build = self._function("BuildNotifications", self._builder)
        self.deliver = self._function("DeliverNotification", self._deliverer)
        self.stream_poller = StreamPoller(
            kernel, faults, self.trainings, self.build, self.stream_dlq, stack.stream
        )
        self.queue_poller = QueuePoller(
            kernel,
            faults,
            self.deliveries,
            self.deliver,
            batch_size=stack.delivery_batch_size,
            max_concurrency=stack.delivery_max_concurrency,
            choose=self.latency.choose,
        )
        self.callbacks = {
            name: AsyncInvoker(
                kernel,
                self._function(name, build),
                self.callbacks_dlq,
                retries=stack.callback_retries,
            )
            for name, build in (
                ("CallbackSuccess", self._callback_success),
                ("CallbackFailure", self._callback_failure),
            )
        }
        self.bus.rules = [
            Rule(stack.patterns[name], target) for name, target in self.callbacks.items()
        ]

    @property
    def functions(self) -> list[Function]:
        return [self.build, self.deliver, *(each.function for each in self.callbacks.values())]

    @property
    def invocations(self) -> Iterator[Invocation]:
        for function in self.functions:
            yield from function.invocations

    def run(self, until: float = float("inf")) -> None:
        """Let everything happen that is to happen, up to a time since the start."""
        random.seed(self.latency.seed)  # tenacity's waits
        with _patched(self.kernel):
            self.kernel.run(self.kernel.start + until)

    def close(self) -> None:
        """End what still runs."""
        for function in self.functions:
            for process in list(function.running):
                process.kill()

    # Parts

    def _queue(self, name: str) -> Queue:
        return self.sqs.add(Queue(self.kernel, name))

    def _function(self, name: str, build: Callable[[Process], Handler]) -> Function:
        def tampered(process: Process) -> Handler:
            handler = build(process)
            return lambda event, context: self.tampering.result(name, handler(event, context))

        return Function(self.kernel, self.faults, name, tampered, timeout=self.stack.timeouts[name])

    def _client(self, process: Process, function: Function, name: str, service: object) -> Any:
        return Client(self.around, process, lambda: function.running[process], name, service)

    def _wait[T](
        self, fs: Iterable[Future[T]], timeout: float | None, return_when: str
    ) -> tuple[set[Future[T]], set[Future[T]]]:
        """What `concurrent.futures.wait` does, in virtual time."""
        listed = cast("list[SimulatedFuture[T]]", list(fs))
        ended = self.kernel.wait(listed, timeout, first=return_when == FIRST_COMPLETED)
        done: set[Future[T]] = set(ended)
        rest: set[Future[T]] = set(listed)
        return done, rest - done

    def _journal(self) -> Journal:
        return Journal(cast("Any", self.lines), _NoTally("simulated"))

    # The composition roots, as in each app.py

    def _builder(self, process: Process) -> Handler:
        dynamodb = self._client(process, self.build, "dynamodb", self.dynamodb)
        sqs = self._client(process, self.build, "sqs", self.sqs)
        journal = self._journal()
        clock = SimulatedClock(self.kernel)
        batches = Batches(
            builder=Builder(
                trainings=TrainingTable(dynamodb, TRAININGS),
                checkpoints=Checkpoints(dynamodb, LEDGER, clock),
                queue=DeliveryQueue(
                    sqs,
                    self.deliveries.url,
                    executor=SimulatedExecutor(self.kernel, WINDOW),
                    window=WINDOW,
                ),
                dead_letters=DeadLetterQueue(sqs, self.stream_dlq.url),
                clock=clock,
                journal=journal,
            ),
            journal=journal,
        )
        return lambda event, context: batches.process(event, _seconds(context))

    def _deliverer(self, process: Process) -> Handler:
        dynamodb = self._client(process, self.deliver, "dynamodb", self.dynamodb)
        sqs = self._client(process, self.deliver, "sqs", self.sqs)
        events = self._client(process, self.deliver, "events", self.bus)
        secrets = self._client(process, self.deliver, "secretsmanager", self.secrets)
        clock = SimulatedClock(self.kernel)
        deliverer = Deliverer(
            dynamodb=dynamodb,
            trainings_table=TRAININGS,
            ledger_table=LEDGER,
            ledger=Ledger(dynamodb, LEDGER),
            bus=OutcomeBus(events, BUS),
            queue=DeliveryQueue(sqs, self.deliveries.url),
            dead_letters=DeadLetterQueue(sqs, self.deliveries_dlq.url),
            secrets=MasterSecrets(secrets, SECRET, clock, cast("Any", self.lines)),
            poster=SimulatedPoster(
                self.receivers,
                self.faults,
                self.latency,
                process,
                lambda: self.deliver.running[process],
            ),
            policy=RetryPolicy(self.stack.max_attempts, self.stack.retry_backoff_seconds),
            request_timeout_seconds=self.stack.request_timeout_seconds,
            executor=SimulatedExecutor(self.kernel, 10),
            clock=clock,
            jitter=self.jitter,
            journal=self._journal(),
            wait=self._wait,
        )
        return lambda event, context: deliverer.process(event, _seconds(context))

    def _callback_success(self, process: Process) -> Handler:
        return self._callback(process, "CallbackSuccess", lambda _kind, _outcome: "logged")

    def _callback_failure(self, process: Process) -> Handler:
        function = self.callbacks["CallbackFailure"].function
        dynamodb = self._client(process, function, "dynamodb", self.dynamodb)
        callback = FailureCallback(
            trainings=TrainingTable(dynamodb, TRAININGS),
            ledger_table=LEDGER,
            clock=SimulatedClock(self.kernel),
        )
        return self._callback(process, "CallbackFailure", callback.apply)

    def _callback(
        self, process: Process, name: str, callback: Callable[[OutcomeKind, Outcome], str]
    ) -> Handler:
        journal = self._journal()
        sqs = self._client(process, self.callbacks[name].function, "sqs", self.sqs)
        dead_letters = DeadLetterQueue(sqs, self.callbacks_dlq.url)

        def handle(event: dict[str, Any], _: Context) -> None:
            call_back(event, callback, journal=journal, dead_letters=dead_letters)

        return handle


def with_stream(stack: Stack, **changes: Any) -> Stack:
    """A stack whose stream is processed with other settings."""
    return replace(stack, stream=replace(stack.stream, **changes))


def _seconds(context: Context) -> Callable[[], float]:
    return lambda: context.get_remaining_time_in_millis() / 1000


@contextmanager
def _patched(kernel: Kernel) -> Iterator[None]:
    """Let the logic's waits be waits in virtual time, for as long as the world runs."""
    defaults = batches_module.until_done.__kwdefaults__ or {}
    sleep = defaults["sleep"]
    defaults["sleep"] = kernel.sleep
    try:
        yield
    finally:
        defaults["sleep"] = sleep

"""The whole service in one process: real logic, stand-ins for AWS, receivers, a virtual clock."""

import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

from aws_lambda_powertools.metrics import MetricUnit

from fl_notifications.telemetry.journal import Journal
from fl_notifications.telemetry.metrics import Tally
from functions.build_notifications import bootstrap as build_notifications
from functions.build_notifications.settings import Settings as BuilderSettings
from functions.callback_failure import bootstrap as callback_failure
from functions.callback_failure.settings import Settings as FailureSettings
from functions.callback_success import bootstrap as callback_success
from functions.callback_success.settings import Settings as SuccessSettings
from functions.deliver_notification import bootstrap as deliver_notification
from functions.deliver_notification.settings import Settings as DelivererSettings
from functions.fan_out import bootstrap as fan_out
from functions.fan_out.settings import Settings as FanOutSettings
from tests.aws.dynamodb import DynamoDB, Table
from tests.aws.eventbridge import EventBridge, Rule
from tests.aws.kernel import (
    Kernel,
    Process,
    SimulatedExecutor,
    SimulatedFuture,
)
from tests.aws.secrets import SecretsManager
from tests.aws.sqs import Queue, Redrive, Sqs
from tests.simulation.clients import Around, Client, Latency, Tampering
from tests.simulation.faults import Faults
from tests.simulation.lambdas import (
    AsyncInvoker,
    Context,
    Function,
    Handler,
    Invocation,
    QueuedInvoker,
    QueuePoller,
    StreamPoller,
)
from tests.simulation.receivers import Receivers, SimulatedPoster
from tests.simulation.stack import Stack, read_stack

TRAININGS = "trainings"
LEDGER = "ledger"
WAITING = "waiting"
BUS = "outcomes"
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:simulated"
WINDOW = 4
TRANSACTION_SECONDS = 0.03
_FUNCTION: Any = {"stack_name": "simulated", "log_level": "INFO"}


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
        self, name: str, kind: str | None, value: float, unit: MetricUnit = MetricUnit.Milliseconds
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
        self.dynamodb.transaction_seconds = TRANSACTION_SECONDS
        self.trainings = self.dynamodb.add(Table(kernel, TRAININGS, "training_uuid", "entity"))
        self.ledger = self.dynamodb.add(Table(kernel, LEDGER, "notification_id"))
        self.dynamodb.add(
            Table(kernel, WAITING, "owner", "what", indexes={"due": ("due_shard", "due_at")})
        )
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

        self.fan_outs_dlq = self._queue("FanOutsDlq.fifo")
        self.fan_outs = self._queue("FanOuts.fifo")
        self.fan_outs.visibility_timeout = 6 * stack.timeouts["FanOut"]
        self.fan_outs.redrive = Redrive(self.fan_outs_dlq, 100)
        self.build = self._function("BuildNotifications", self._builder)
        self.fan_out = self._function("FanOut", self._fan_out)
        self.fan_outs_poller = QueuePoller(
            kernel, faults, self.fan_outs, self.fan_out, batch_size=1, choose=self.latency.choose
        )
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
        self.callbacks_queue = self._queue("Callbacks")
        self.callbacks_queue.visibility_timeout = stack.callbacks_visibility_timeout
        self.callbacks_queue.redrive = Redrive(
            self.callbacks_dlq, stack.callbacks_max_receive_count
        )
        self.callbacks: dict[str, AsyncInvoker | QueuedInvoker] = {
            "CallbackSuccess": AsyncInvoker(
                kernel,
                self._function("CallbackSuccess", self._callback_success),
                self.callbacks_dlq,
                retries=stack.callback_retries,
            ),
            "CallbackFailure": QueuedInvoker(
                QueuePoller(
                    kernel,
                    faults,
                    self.callbacks_queue,
                    self._function("CallbackFailure", self._callback_failure),
                    max_concurrency=stack.callbacks_max_concurrency,
                    choose=self.latency.choose,
                )
            ),
        }
        self.bus.rules = [
            Rule(stack.patterns[name], each.target) for name, each in self.callbacks.items()
        ]

    @property
    def functions(self) -> list[Function]:
        return [
            self.build,
            self.fan_out,
            self.deliver,
            *(each.function for each in self.callbacks.values()),
        ]

    @property
    def invocations(self) -> Iterator[Invocation]:
        for function in self.functions:
            yield from function.invocations

    def run(self, until: float = float("inf")) -> None:
        """Let everything happen that is to happen, up to a time since the start."""
        random.seed(self.latency.seed)  # the waits between two tries of a call
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

    # The composition roots, with what each app.py would give them

    def _builder(self, process: Process) -> Handler:
        batches = build_notifications.build(
            BuilderSettings(
                **_FUNCTION,
                deliveries_queue_url=self.deliveries.url,
                stream_dlq_url=self.stream_dlq.url,
                outcomes_bus=BUS,
                waiting_table=WAITING,
                fan_outs_queue_url=self.fan_outs.url,
                trainings_table=TRAININGS,
                ledger_table=LEDGER,
            ),
            build_notifications.Clients(
                dynamodb=self._client(process, self.build, "dynamodb", self.dynamodb),
                sqs=self._client(process, self.build, "sqs", self.sqs),
                events=self._client(process, self.build, "events", self.bus),
            ),
            self._journal(),
            executor=SimulatedExecutor(self.kernel, WINDOW),
            window=WINDOW,
            clock=SimulatedClock(self.kernel),
            sleep=self.kernel.sleep,
        )
        return lambda event, context: batches.process(event, _seconds(context))

    def _fan_out(self, process: Process) -> Handler:
        batches = fan_out.build(
            FanOutSettings(
                **_FUNCTION,
                deliveries_queue_url=self.deliveries.url,
                fan_outs_queue_url=self.fan_outs.url,
                stream_dlq_url=self.stream_dlq.url,
                trainings_table=TRAININGS,
                ledger_table=LEDGER,
            ),
            fan_out.Clients(
                dynamodb=self._client(process, self.fan_out, "dynamodb", self.dynamodb),
                sqs=self._client(process, self.fan_out, "sqs", self.sqs),
            ),
            self._journal(),
            executor=SimulatedExecutor(self.kernel, WINDOW),
            window=WINDOW,
            clock=SimulatedClock(self.kernel),
            sleep=self.kernel.sleep,
        )
        return lambda event, context: batches.process(event, _seconds(context))

    def _deliverer(self, process: Process) -> Handler:
        deliverer = deliver_notification.build(
            DelivererSettings(
                **_FUNCTION,
                deliveries_queue_url=self.deliveries.url,
                deliveries_dlq_url=self.deliveries_dlq.url,
                trainings_table=TRAININGS,
                ledger_table=LEDGER,
                outcomes_bus=BUS,
                signing_secret_arn=SECRET,
                max_attempts=self.stack.max_attempts,
                retry_backoff_seconds=self.stack.retry_backoff_seconds,
                request_timeout_seconds=self.stack.request_timeout_seconds,
                allowed_private_networks=(),
                allow_plain_http=True,
                waiting_table=WAITING,
                mailbox_deadline_seconds=3600,
            ),
            deliver_notification.Clients(
                dynamodb=self._client(process, self.deliver, "dynamodb", self.dynamodb),
                sqs=self._client(process, self.deliver, "sqs", self.sqs),
                events=self._client(process, self.deliver, "events", self.bus),
                secretsmanager=self._client(process, self.deliver, "secretsmanager", self.secrets),
            ),
            self._journal(),
            SimulatedPoster(
                self.receivers,
                self.faults,
                self.latency,
                process,
                lambda: self.deliver.running[process],
            ),
            SimulatedExecutor(self.kernel, 10),
            clock=SimulatedClock(self.kernel),
            sleep=self.kernel.sleep,
            jitter=self.jitter,
            wait=self._wait,
        )
        return lambda event, context: deliverer.process(event, _seconds(context))

    def _callback_success(self, process: Process) -> Handler:
        function = self.callbacks["CallbackSuccess"].function
        call_back = callback_success.build(
            SuccessSettings(**_FUNCTION, callbacks_dlq_url=self.callbacks_dlq.url),
            callback_success.Clients(sqs=self._client(process, function, "sqs", self.sqs)),
            self._journal(),
        )
        return lambda event, _: call_back(event)

    def _callback_failure(self, process: Process) -> Handler:
        function = self.callbacks["CallbackFailure"].function
        worker = callback_failure.build(
            FailureSettings(
                **_FUNCTION,
                callbacks_queue_url=self.callbacks_queue.url,
                callbacks_dlq_url=self.callbacks_dlq.url,
                trainings_table=TRAININGS,
                ledger_table=LEDGER,
            ),
            callback_failure.Clients(
                dynamodb=self._client(process, function, "dynamodb", self.dynamodb),
                sqs=self._client(process, function, "sqs", self.sqs),
            ),
            self._journal(),
            clock=SimulatedClock(self.kernel),
            sleep=self.kernel.sleep,
        )
        return lambda event, context: worker.process(event, _seconds(context))


def with_stream(stack: Stack, **changes: Any) -> Stack:
    """A stack whose stream is processed with other settings."""
    return replace(stack, stream=replace(stack.stream, **changes))


def _seconds(context: Context) -> Callable[[], float]:
    return lambda: context.get_remaining_time_in_millis() / 1000

"""The whole service in one process: real logic, stand-ins for AWS, receivers, a virtual clock."""

import json
import logging
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

from fl_notifications.telemetry.journal import Journal
from fl_notifications.telemetry.metrics import MetricUnit, Tally
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
from functions.mailbox import bootstrap as mailbox
from functions.mailbox.settings import Settings as MailboxSettings
from functions.sweep import bootstrap as sweep
from functions.sweep.settings import Settings as SweepSettings
from tests.aws.dynamodb import DynamoDB, Table
from tests.aws.eventbridge import EventBridge, Rule
from tests.aws.kernel import (
    Kernel,
    Process,
    SimulatedExecutor,
)
from tests.aws.secrets import SecretsManager
from tests.aws.sqs import Message, Queue, Redrive, Sqs
from tests.simulation.clients import Around, Client, Latency, Tampering
from tests.simulation.faults import Faults
from tests.simulation.lambdas import (
    MAX_CONCURRENCY,
    AsyncInvoker,
    Context,
    End,
    Function,
    Handler,
    Invocation,
    QueuePoller,
    QueueTarget,
    StreamPoller,
    failed_ids,
)
from tests.simulation.mailboxes import Mailboxes, Sweeps
from tests.simulation.receivers import Receivers, SimulatedPoster, SimulatedPosts
from tests.simulation.stack import Stack, read_stack

TRAININGS = "trainings"
LEDGER = "ledger"
WAITING = "waiting"
BUS = "outcomes"
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:simulated"
WINDOW = 4
TRANSACTION_SECONDS = 0.03
REDRIVEN_AS = "redrivenAs"
_NEW_KEYS = {"joined_at", "run", "started_at", "own", "again"}
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

    def in_bulk(self) -> AbstractContextManager[None]:
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
        self.around = Around(kernel, faults, self.latency, self.tampering, self._as_sent)
        self.stamps = 0
        self.of_an_older_version = False
        self.upgraded_at: float | None = None
        self.redriven: list[tuple[Invocation, list[int]]] = []

        self.dynamodb = DynamoDB(kernel, page_items=page_items)
        self.dynamodb.transaction_seconds = TRANSACTION_SECONDS
        self.trainings = self.dynamodb.add(Table(kernel, TRAININGS, "training_uuid", "entity"))
        self.ledger = self.dynamodb.add(Table(kernel, LEDGER, "notification_id"))
        self.waiting = self.dynamodb.add(
            Table(kernel, WAITING, "owner", "what", indexes={"due": ("due_shard", "due_at")})
        )
        self.sqs = Sqs()
        self.deliveries_dlq = self._queue("DeliveriesDlq.fifo")
        self.stream_dlq = self._queue("StreamDlq")
        self.callbacks_dlq = self._queue("CallbacksDlq")
        self.deliveries = self._queue("Deliveries.fifo", dead_letters=self.deliveries_dlq)
        self.deliveries.visibility_timeout = stack.visibility_timeout
        self.deliveries.keeps = self.tampering.queued
        self.callbacks = self._queue("Callbacks", dead_letters=self.callbacks_dlq)
        self.fan_outs_dlq = self._queue("FanOutsDlq.fifo")
        self.fan_outs = self._queue("FanOuts.fifo", dead_letters=self.fan_outs_dlq)
        self.bus = EventBridge(kernel, faults, BUS)
        self.secrets = SecretsManager(kernel, SECRET, "first master secret")
        self.receivers = Receivers(kernel, stack.request_timeout_seconds)

        self.build = self._function("BuildNotifications", self._builder)
        self.fan_out = self._function("FanOut", self._fan_out)
        self.deliver = self._function("DeliverNotification", self._deliverer)
        self.call_back_failure = self._function("CallbackFailure", self._callback_failure)
        self.call_back_success = AsyncInvoker(
            kernel,
            self._function("CallbackSuccess", self._callback_success),
            self.callbacks_dlq,
            retries=stack.callback_retries,
        )
        self.mailbox = self._function("Mailbox", self._mailbox)
        self.sweep = self._function("Sweep", self._sweep)
        self.mailboxes = Mailboxes(kernel, self.mailbox, self.secrets)
        self.mailboxes.watch(self.waiting)
        self.sweeps = Sweeps(kernel, self.sweep, self.waiting)
        self.stream_poller = StreamPoller(
            kernel, faults, self.trainings, self.build, self.stream_dlq, stack.stream
        )
        self.queue_pollers = {
            "Deliveries": self._poller(self.deliveries, self.deliver),
            "FanOuts": self._poller(self.fan_outs, self.fan_out),
            "Callbacks": self._poller(self.callbacks, self.call_back_failure),
        }
        self.targets: dict[str, AsyncInvoker | QueueTarget] = {
            "CallbackSuccess": self.call_back_success,
            "Callbacks": QueueTarget(kernel, self.callbacks),
        }
        self.bus.rules = [
            Rule(stack.patterns[name], target) for name, target in self.targets.items()
        ]

    @property
    def functions(self) -> list[Function]:
        success = self.call_back_success.function
        asked = [self.mailbox, self.sweep]
        told = [self.build, self.fan_out, self.deliver]
        return [*told, success, self.call_back_failure, *asked]

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

    def handled_events(self) -> dict[str, list[tuple[dict[str, Any], Invocation]]]:
        """The events that each callback has handled, and in which invocation."""
        policies = self.queue_pollers["Callbacks"].handled
        return {
            "CallbackSuccess": self.call_back_success.handled,
            "CallbackFailure": [(json.loads(message.body), it) for message, it in policies],
        }

    # What people do with a deployed stack

    def upgrade(self) -> None:
        """Become this version of the service: runs and memberships are known from now on.

        Between two invocations: one of the older version knows no entry that could vanish.
        """
        if not self.of_an_older_version:
            return
        if self.build.running:
            self.kernel.after(0.1, self.upgrade)
            return
        self.of_an_older_version = False
        self.upgraded_at = self.kernel.now
        for key in list(self.ledger.items):
            if key[0].startswith("run#"):
                self.ledger.write(key, None, "upgrade")

    def _as_sent(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """What an older version sends to the queue has no keys for runs and memberships."""
        if not self.of_an_older_version or operation != "send_message_batch":
            return request
        entries = []
        for entry in request["Entries"]:
            body = json.loads(entry["MessageBody"])
            old = {name: it for name, it in body.items() if name not in _NEW_KEYS}
            entries.append({**entry, "MessageBody": json.dumps(old)})
        return {**request, "Entries": entries}

    def redrive_stream(self) -> None:
        """Have the builder process the stream's dead letters again, as the command does."""
        letters = [each for each in self.stream_dlq.messages if not each.deleted]
        letters.sort(key=lambda letter: min(map(_number, self._records(letter)), default=0))
        self._redrive(letters)

    def _redrive(self, letters: list[Message]) -> None:
        if not letters:
            return
        letter, rest = letters[0], letters[1:]
        records = [{**record, REDRIVEN_AS: letter.message_id} for record in self._records(letter)]
        if not records:
            self._redrive(rest)
            return

        def done(invocation: Invocation) -> None:
            if invocation.end is End.ANSWERED and failed_ids(invocation.answer, numbers) == []:
                letter.deleted = True
                del self.stream_dlq.groups[letter.group]
            self._redrive(rest)

        numbers = [record["dynamodb"]["SequenceNumber"] for record in records]
        invocation = self.build.invoke({"Records": records}, done)
        self.redriven.append((invocation, [int(number) for number in numbers]))

    def _records(self, letter: Message) -> list[dict[str, Any]]:
        """The records that a letter stands for, if what was wrong with them is mended."""
        body = json.loads(letter.body)
        if "DDBStreamBatchInfo" in body:
            first, last = (
                int(body["DDBStreamBatchInfo"][f"{end}SequenceNumber"]) for end in ("start", "end")
            )
            return [
                record
                for record in self.stream_poller.discarded
                if first <= _number(record) <= last
            ]
        record = body["record"]
        keys = record["dynamodb"]["Keys"]
        now = self.trainings.items.get((keys["training_uuid"]["S"], keys["entity"]["S"]))
        if body.get("field") is None or body["entity"] != keys["entity"]["S"]:
            return [record]
        if now is None or not ("message_endpoint" in now or "model_uuid" in now):
            return []
        image = dict(now)
        if keys["entity"]["S"] == "TRAINING":
            then = record["dynamodb"].get("NewImage", now)
            image |= {name: then[name] for name in ("state", "round")}
        return [{**record, "dynamodb": {**record["dynamodb"], "NewImage": image}}]

    # Parts

    def _queue(self, name: str, *, dead_letters: Queue | None = None) -> Queue:
        queue = self.sqs.add(Queue(self.kernel, name))
        if dead_letters is not None:
            settings = self.stack.queues[name.removesuffix(".fifo")]
            queue.visibility_timeout = settings.visibility_timeout
            queue.retention = settings.retention
            queue.redrive = Redrive(dead_letters, settings.max_receive_count)
        return queue

    def _poller(self, queue: Queue, function: Function) -> QueuePoller:
        settings = self.stack.queues[queue.name.removesuffix(".fifo")]
        return QueuePoller(
            self.kernel,
            self.faults,
            queue,
            function,
            batch_size=settings.batch_size,
            max_concurrency=min(settings.max_concurrency, MAX_CONCURRENCY),
            choose=self.latency.choose,
        )

    def _function(self, name: str, build: Callable[[Process], Handler]) -> Function:
        def tampered(process: Process) -> Handler:
            handler = build(process)
            return lambda event, context: self.tampering.result(name, handler(event, context))

        return Function(self.kernel, self.faults, name, tampered, timeout=self.stack.timeouts[name])

    def _client(self, process: Process, function: Function, name: str, service: object) -> Any:
        return Client(self.around, process, lambda: function.running[process], name, service)

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
                fan_outs_queue_url=self.fan_outs.url,
                trainings_table=TRAININGS,
                ledger_table=LEDGER,
                waiting_table=WAITING,
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
                outcomes_bus=BUS,
            ),
            fan_out.Clients(
                dynamodb=self._client(process, self.fan_out, "dynamodb", self.dynamodb),
                sqs=self._client(process, self.fan_out, "sqs", self.sqs),
                events=self._client(process, self.fan_out, "events", self.bus),
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
                private_authorities="",
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
            lambda: SimulatedPosts(
                SimulatedPoster(
                    self.receivers,
                    self.faults,
                    self.latency,
                    process,
                    lambda: self.deliver.running[process],
                ),
                self.kernel,
            ),
            clock=SimulatedClock(self.kernel),
            sleep=self.kernel.sleep,
            jitter=self.jitter,
        )
        return lambda event, context: deliverer.process(event, _seconds(context))

    def _mailbox(self, process: Process) -> Handler:
        function = self.mailbox
        served = mailbox.build(
            MailboxSettings(
                **_FUNCTION,
                trainings_table=TRAININGS,
                ledger_table=LEDGER,
                waiting_table=WAITING,
                outcomes_bus=BUS,
                signing_secret_arn=SECRET,
                mailbox_poll_min_seconds=2,
                mailbox_poll_max_seconds=60,
            ),
            mailbox.Clients(
                dynamodb=self._client(process, function, "dynamodb", self.dynamodb),
                events=self._client(process, function, "events", self.bus),
                secretsmanager=self._client(process, function, "secretsmanager", self.secrets),
            ),
            self._journal(),
            clock=SimulatedClock(self.kernel),
            sleep=self.kernel.sleep,
            jitter=self.jitter,
        )
        return lambda event, _: served.answer(event)

    def _sweep(self, process: Process) -> Handler:
        function = self.sweep
        sweeper = sweep.build(
            SweepSettings(
                **_FUNCTION,
                trainings_table=TRAININGS,
                ledger_table=LEDGER,
                waiting_table=WAITING,
                outcomes_bus=BUS,
                deliveries_dlq_url=self.deliveries_dlq.url,
            ),
            sweep.Clients(
                dynamodb=self._client(process, function, "dynamodb", self.dynamodb),
                sqs=self._client(process, function, "sqs", self.sqs),
                events=self._client(process, function, "events", self.bus),
            ),
            self._journal(),
            clock=SimulatedClock(self.kernel),
            sleep=self.kernel.sleep,
        )
        return lambda _, context: sweeper.sweep(_seconds(context))

    def _callback_success(self, process: Process) -> Handler:
        function = self.call_back_success.function
        call_back = callback_success.build(
            SuccessSettings(**_FUNCTION, callbacks_dlq_url=self.callbacks_dlq.url),
            callback_success.Clients(sqs=self._client(process, function, "sqs", self.sqs)),
            self._journal(),
        )
        return lambda event, _: call_back(event)

    def _callback_failure(self, process: Process) -> Handler:
        function = self.call_back_failure
        worker = callback_failure.build(
            FailureSettings(
                **_FUNCTION,
                callbacks_queue_url=self.callbacks.url,
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


def _number(record: Mapping[str, Any]) -> int:
    return int(record["dynamodb"]["SequenceNumber"])


def with_stream(stack: Stack, **changes: Any) -> Stack:
    """A stack whose stream is processed with other settings."""
    return replace(stack, stream=replace(stack.stream, **changes))


def _seconds(context: Context) -> Callable[[], float]:
    return lambda: context.get_remaining_time_in_millis() / 1000

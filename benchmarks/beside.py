"""How fast 100 participants are told by POST while 1,000 others poll their mailboxes, locally.

    python -m benchmarks.beside URL MASTER_FILE MAILBOXES SECONDS

is the process of those who poll, by the client library: for the first time within so many seconds,
and then at the pace that the answers ask for.
SIGUSR1 holds all of their clocks, SIGUSR2 lets them go on: so rounds with and without polls take
turns, and after a pause the polls that would have been made meanwhile do not come all at once.
"""

import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final
from uuid import uuid4

import httpx

from benchmarks.measuring import PROJECT
from fl_notifications.deliveries.signing import receiver_secret
from fl_notifications.receiver.mailbox import Mailbox
from fl_notifications.server.repository import TrainingRepository
from fl_notifications.trainings.model import Receiver
from fl_notifications_cli.local.stack import LocalStack
from fl_notifications_cli.participants import Participant, ParticipantServer
from fl_notifications_cli.progress import Steps
from fl_notifications_cli.stack import Stack

MAILBOXES: Final = 1000
PUSHED: Final = 100
WARM_UP: Final = 2
IDLE_SECONDS: Final = 60.0
"""What an answer asks for that has nothing: the first polls are spread over as long."""

PACE: Final = {"MailboxPollMinSeconds": "2", "MailboxPollMaxSeconds": f"{IDLE_SECONDS:.0f}"}

AT_ONCE: Final = 4
"""Polls under way: for each one more the emulator starts one more process, and two would do."""

_STEPS: Final = 8
"""Times as long as asked: 1,000 threads that look twice a second take half of a core."""

_ARRIVAL_SECONDS: Final = 60.0
_SETTLE_SECONDS: Final = 3.0
_READY_SECONDS: Final = 240.0


# Those who poll


class _Clock:
    """Seconds that stand still while it is held."""

    def __init__(self) -> None:
        self.held_since: float | None = None
        self._held = 0.0

    def now(self) -> float:
        held_since = self.held_since  # another thread may change it
        return (time.monotonic() if held_since is None else held_since) - self._held

    def hold(self) -> None:
        if self.held_since is None:
            self.held_since = time.monotonic()

    def go_on(self) -> None:
        if self.held_since is not None:
            self._held += time.monotonic() - self.held_since
            self.held_since = None


@dataclass
class _Polls(httpx.BaseTransport):
    """Counts polls, and how long each takes."""

    inner: httpx.HTTPTransport = field(
        default_factory=lambda: httpx.HTTPTransport(limits=httpx.Limits(max_connections=AT_ONCE))
    )
    seconds: list[float] = field(default_factory=list)
    failures: int = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send it on."""
        began = time.monotonic()
        response = self.inner.handle_request(request)
        response.read()
        self.seconds.append(time.monotonic() - began)
        self.failures += response.status_code != httpx.codes.OK
        return response


def poll(url: str, master: str, mailboxes: int, within_seconds: float) -> None:
    """Poll so many mailboxes until SIGTERM; prints what was polled then."""
    clock = _Clock()
    polls = _Polls()
    client = httpx.Client(transport=polls, timeout=httpx.Timeout(30, pool=None))
    over = threading.Event()

    def live() -> None:
        receiver = str(uuid4())
        secret = receiver_secret(master, receiver)
        box = Mailbox(
            url,
            receiver,
            secret,
            client=client,
            monotonic=clock.now,
            sleep=lambda seconds: time.sleep(_STEPS * seconds),
        )
        over.wait(random.uniform(0, within_seconds))  # noqa: S311 - spreads requests
        box.run(lambda _: None)

    signal.signal(signal.SIGUSR1, lambda *_: clock.hold())
    signal.signal(signal.SIGUSR2, lambda *_: clock.go_on())
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    threading.stack_size(256 * 1024)
    began = time.monotonic()
    for _ in range(mailboxes):
        threading.Thread(target=live, daemon=True).start()
    while len(polls.seconds) < mailboxes and not over.wait(0.2):
        pass
    print(json.dumps({"ready": time.monotonic() - began}), flush=True)
    first = len(polls.seconds)
    since = clock.now()
    over.wait()
    lasted = clock.now() - since
    found = {
        "per_second": (len(polls.seconds) - first) / lasted,
        "median_ms": statistics.median(polls.seconds) * 1000,
        "failures": polls.failures,
    }
    print(json.dumps(found), flush=True)


# Those who are told


@dataclass
class Pollers:
    """The process of those who poll."""

    process: subprocess.Popen[str]

    def let(self, poll: bool) -> None:  # noqa: FBT001 - it is what it says
        """Let them poll, or hold them."""
        self.process.send_signal(signal.SIGUSR2 if poll else signal.SIGUSR1)

    @property
    def output(self) -> IO[str]:
        """Its standard output."""
        assert self.process.stdout is not None  # noqa: S101 - asked for
        return self.process.stdout

    def end(self) -> dict[str, float]:
        """End them; what they have measured."""
        self.process.terminate()
        said: dict[str, float] = json.loads(self.output.readline())
        return said


@contextmanager
def _pollers(stack: Stack, mailboxes: int) -> Iterator[Pollers]:
    secrets = stack.client("secretsmanager")
    master = secrets.get_secret_value(SecretId=stack.output("SigningSecretArn"))["SecretString"]
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(master)
        file.flush()
        process = subprocess.Popen(  # noqa: S603 - ours
            [
                *(sys.executable, "-m", "benchmarks.beside"),
                *(stack.output("MailboxUrl"), file.name, str(mailboxes), str(IDLE_SECONDS)),
            ],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            text=True,
        )
        watchdog = threading.Timer(_READY_SECONDS, process.kill)
        watchdog.start()
        try:
            pollers = Pollers(process)
            if not pollers.output.readline():
                raise RuntimeError(f"{mailboxes} mailboxes were not polled in {_READY_SECONDS} s")
            watchdog.cancel()
            yield pollers
        finally:
            watchdog.cancel()
            process.kill()
            process.communicate()


def measure(rounds: int, mailboxes: int = MAILBOXES) -> dict[str, Any]:
    """Tell so many rounds with, and as many without polls beside, in turn.

    Returns:
        Seconds from a round's change until half of the participants, and until all are told, with
        and without; and what was polled.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-beside-") as directory:
        local = LocalStack(Path(directory), Steps(None))
        # As on AWS; the local stack's own are shorter, for the demo.
        stack = local.start(usual_port=None, parameters=PACE)
        try:
            with ParticipantServer() as server, _pollers(stack, mailboxes) as pollers:
                return _measure(stack, server, pollers, rounds)
        finally:
            local.stop()


def _measure(
    stack: Stack, server: ParticipantServer, pollers: Pollers, rounds: int
) -> dict[str, Any]:
    _without_callbacks(stack)
    repository = TrainingRepository(stack.client("dynamodb"), stack.output("TrainingsTable"))
    told = [server.add() for _ in range(PUSHED)]
    receivers = [Receiver(uuid=each.uuid, message_endpoint=each.message_endpoint) for each in told]
    training = str(uuid4())
    repository.create(training, str(uuid4()), receivers[0], receivers)
    repository.start(training)
    found: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for number in range(1, WARM_UP + 2 * rounds + 1):
        # Of two rounds one is with polls: the first, then the second, and so on.
        polled = (number // 2) % 2 == 0
        pollers.let(polled)
        time.sleep(_SETTLE_SECONDS)
        began = time.time()
        repository.next_round(training, model_uuid=str(uuid4()))
        arrivals = sorted(_arrival(each, number) - began for each in told)
        if number > WARM_UP:
            found[polled].append((statistics.median(arrivals), arrivals[-1]))
    pollers.let(True)  # noqa: FBT003 - likewise
    return {
        "half": {polled: [half for half, _ in each] for polled, each in found.items()},
        "all": {polled: [last for _, last in each] for polled, each in found.items()},
        "polls": pollers.end(),
    }


def _arrival(participant: Participant, number: int) -> float:
    if not participant.wait_for(
        lambda requests: any(each.round == number for each in requests),
        timeout_seconds=_ARRIVAL_SECONDS,
    ):
        raise RuntimeError(f"round {number} did not arrive")
    return next(each.at for each in participant.requests if each.round == number)


def _without_callbacks(stack: Stack) -> None:
    """Disable the rule of CallbackSuccess: the emulator starts a worker for each event of many."""
    client, bus = stack.client("events"), stack.output("OutcomesBus")
    for rule in client.list_rules(EventBusName=bus)["Rules"]:
        if "training_notification_callback_success" in rule.get("EventPattern", ""):
            client.disable_rule(Name=rule["Name"], EventBusName=bus)


if __name__ == "__main__":
    poll(sys.argv[1], Path(sys.argv[2]).read_text(), int(sys.argv[3]), float(sys.argv[4]))

"""Processes to measure in, and how much of the machine others used meanwhile."""

import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.servers import HOSTS

PROJECT: Final = Path(__file__).parent.parent
FOREIGN_LIMIT: Final = 0.08
"""A run during which others used more of the machine than this is made again, if there is time."""

CORE_MB: Final = 1769
"""Memory at which a function has one whole core (Lambda Developer Guide, "Configure Lambda function
memory"); below it has its share.
"""

CPU_SHARE: Final = 512 / CORE_MB
"""Of a core, that `million` gives FanOut: less than it has, to need several invocations."""

_TICK: Final = os.sysconf("SC_CLK_TCK")
_CHILD_SECONDS: Final = 900.0


@dataclass(frozen=True)
class Series:
    """The same figure from several runs."""

    values: tuple[float, ...]

    @property
    def middle(self) -> float:
        """The median."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """The lowest."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The highest."""
        return max(self.values)


@dataclass(frozen=True)
class Servers:
    """The stand-ins, running."""

    aws_port: int
    receivers_port: int
    refusing_port: int
    processes: tuple[int, ...]

    @property
    def environment(self) -> dict[str, str]:
        """What the functions' environment is with them."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.aws_port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "eu-central-1",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "TRAININGS_TABLE": "fl-notifications-Trainings-1ABCDEFGHIJKL",
            "LEDGER_TABLE": "fl-notifications-Ledger-1ABCDEFGHIJKL",
            "DELIVERIES_QUEUE_URL": f"http://127.0.0.1:{self.aws_port}/000000000000/deliveries.fifo",
            "DELIVERIES_DLQ_URL": f"http://127.0.0.1:{self.aws_port}/000000000000/dlq.fifo",
            "FAN_OUTS_QUEUE_URL": f"http://127.0.0.1:{self.aws_port}/000000000000/fan-outs.fifo",
            "STREAM_DLQ_URL": f"http://127.0.0.1:{self.aws_port}/000000000000/stream-dlq",
            "CALLBACKS_QUEUE_URL": f"http://127.0.0.1:{self.aws_port}/000000000000/callbacks",
            "CALLBACKS_DLQ_URL": f"http://127.0.0.1:{self.aws_port}/000000000000/callbacks-dlq",
            "OUTCOMES_BUS": "fl-notifications-outcomes",
            "WAITING_TABLE": "waiting",
            "MAILBOX_DEADLINE_SECONDS": "3600",
            "MAILBOX_POLL_MIN_SECONDS": "2",
            "MAILBOX_POLL_MAX_SECONDS": "60",
            "SIGNING_SECRET_ARN": "arn:aws:secretsmanager:eu-central-1:000000000000:secret:s-A1",
            "STACK_NAME": "fl-notifications",
            "MAX_ATTEMPTS": "6",
            "RETRY_BACKOFF_SECONDS": "5",
            "REQUEST_TIMEOUT_SECONDS": "10",
            "ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
            "ALLOW_PLAIN_HTTP": "true",
            "PRIVATE_AUTHORITIES": "",
            "LOG_LEVEL": "INFO",
            "POWERTOOLS_LOG_LEVEL": "INFO",
            # What Lambda sets for each invocation of a traced function; X-Ray keeps one in twenty.
            "_X_AMZN_TRACE_ID": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;"
            "Sampled=0",
        }

    def calls(self) -> list[tuple[str, dict[str, Any]]]:
        """The calls that AWS was sent since this was last asked."""
        found: list[tuple[str, dict[str, Any]]] = taken("127.0.0.1", self.aws_port)
        return found

    def forget_calls(self) -> None:
        """Let go of the calls so far: those of a large fan-out are some 100 MiB."""
        taken("127.0.0.1", self.aws_port, "/forget")

    def arrivals(self) -> list[tuple[str, int]]:
        """The POSTs that receivers got since then: path, and CLOCK_MONOTONIC in ns."""
        found: list[tuple[str, int]] = taken(HOSTS[0], self.receivers_port)
        return found

    def to_json(self) -> str:
        """For a child process."""
        return json.dumps(self.__dict__)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """In a child process."""
        return cls(**json.loads(text))


def taken(host: str, port: int, path: str = "/taken") -> Any:
    """What a stand-in was sent since this was last asked."""
    connection = HTTPConnection(host, port, timeout=60)
    with closing(connection):
        connection.request("GET", path)
        return [tuple(each) for each in json.load(connection.getresponse())]


@contextmanager
def servers() -> Iterator[Servers]:
    """Run the stand-ins."""
    with ExitStack() as stack:
        # Bound and not listening: a connection is refused, and nobody else gets the port.
        refusing = stack.enter_context(socket.socket())
        refusing.bind(("127.0.0.1", 0))
        aws_port, receivers_port = free_port(), free_port()
        arguments = (["aws", aws_port, receivers_port], ["receivers", receivers_port])
        processes = []
        for each in arguments:
            process = subprocess.Popen(  # noqa: S603 - ours
                [sys.executable, "-m", "benchmarks.servers", *map(str, each)],
                cwd=PROJECT,
                stdout=subprocess.PIPE,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdout is not None  # noqa: S101 - asked for above
            if process.stdout.readline() != b"ready\n":
                raise RuntimeError(f"the stand-in for {each[0]} did not start")
            processes.append(process.pid)
        yield Servers(aws_port, receivers_port, refusing.getsockname()[1], tuple(processes))


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run_child(
    module: str,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    python: str = sys.executable,
) -> dict[str, Any]:
    """Run a module in a fresh process; gives what it writes, as JSON, to the file named last.

    Its standard output goes to a file: the functions log there, as they do in Lambda.
    """
    with tempfile.TemporaryDirectory() as directory:
        result, log = Path(directory, "result.json"), Path(directory, "log")
        with log.open("wb") as stdout:
            subprocess.run(  # noqa: S603 - ours
                [python, "-m", module, *arguments, str(result)],
                cwd=PROJECT,
                env={**os.environ, **(environment or {})},
                stdout=stdout,
                check=True,
                timeout=_CHILD_SECONDS,
            )
        given: dict[str, Any] = json.loads(result.read_text())
        return {**given, "log": log.read_text()}


class Load:
    """How much of the machine others use from now on."""

    def __init__(self, own_processes: Sequence[int]) -> None:
        """Processes that are ours beside this one and its finished children."""
        self._processes = own_processes
        self._since = time.monotonic()
        self._busy, self._own = _busy_seconds(), self._own_seconds()

    def foreign(self) -> float:
        """The share of all cores, 0 to 1."""
        span = (time.monotonic() - self._since) * (os.cpu_count() or 1)
        others = (_busy_seconds() - self._busy) - (self._own_seconds() - self._own)
        return max(0.0, others / span)

    def _own_seconds(self) -> float:
        return sum(os.times()[:4]) + sum(map(_process_seconds, self._processes))


def _busy_seconds() -> float:
    user, nice, system, _idle, _wait, irq, softirq = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8]
    )
    return (user + nice + system + irq + softirq) / _TICK


def _process_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def tree_seconds(pid: int) -> float:
    """The CPU seconds of a process and all below it, those that have ended included."""
    total = 0.0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended; who waited for it has its time
        if int(entry.parent.name) == pid:
            total += sum(map(int, fields[11:15])) / _TICK
        elif int(fields[1]) == pid:
            total += tree_seconds(int(entry.parent.name))
    return total


def repeat[T](
    runs: int, once: Callable[[], T], own_processes: Sequence[int] = ()
) -> tuple[list[T], float]:
    """Call `once` until `runs` runs were undisturbed, at most half as often again.

    Returns:
        The undisturbed results, or all if there are none, and the largest share of the machine
        that others used during one of them.
    """
    done: list[tuple[float, T]] = []
    for _ in range(runs + (runs + 1) // 2):
        load = Load(own_processes)
        result = once()
        done.append((load.foreign(), result))
        if sum(foreign <= FOREIGN_LIMIT for foreign, _ in done) == runs:
            break
    kept = [each for each in done if each[0] <= FOREIGN_LIMIT] or done
    return [result for _, result in kept], max(foreign for foreign, _ in kept)


def memory_mib(field: str) -> float:
    """`VmRSS` (resident now) or `VmHWM` (the most there was) of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {field}")


def machine() -> dict[str, str | int]:
    """What this was measured on."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": names[0] if names else platform.machine(),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.platform(),
        "python": platform.python_version(),
    }

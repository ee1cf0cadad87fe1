"""Measures everything: `make bench`, or `python -m benchmarks [--only PART] [--peer DIRECTORY …]`.

Prints a table and writes `benchmarks/results.json`. Each figure is a ratio within one run of this
program, or is made of such; nothing is compared with another day or another machine.
"""

import argparse
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from benchmarks import beside, imports, latency, layer, million
from benchmarks.measuring import (
    CPU_SHARE,
    PROJECT,
    Load,
    Series,
    Servers,
    machine,
    repeat,
    run_child,
    servers,
)
from benchmarks.pipeline import ROUND, START
from benchmarks.report import Figure, show
from fl_notifications.aws.clients import CONNECTIONS

RESULTS: Final = PROJECT / "benchmarks" / "results.json"
NOTIFICATIONS: Final = 1000
POLLS: Final = 500
SILENT: Final = 1000
PARTICIPANTS: Final = 100_000
MANY: Final = 1_000_000
PEER_WORKERS: Final = 2

_CPU: Final = "CPU s / 1,000"
_FEW: Final[dict[str, Any]] = {"dead": 0.1, "functions": 5, "at_first": 5}
_NEW_ACCOUNT: Final[dict[str, Any]] = {"dead": 0.1, "functions": 10, "at_first": 10}
_POLLS: Final = {"empty": 1.0, "ten": 4.0, "acknowledging ten": 17.0}
_OF_PEER: Final = {START: 0.22, ROUND: 0.16}
_OVER_FLOOR: Final = 1.6


@dataclass(frozen=True)
class Peer:
    """Where the peer is.

    Attributes:
        python: of an environment with what benchmarks/peer/requirements.txt says.
        checkouts: of fl-demonstrator and of fl-logging-base.
    """

    python: str
    checkouts: Sequence[str]


class Bench:
    """All measurements, with the stand-ins that they share."""

    def __init__(self, running: Servers, peer: Peer | None, console: Console) -> None:
        """Use servers that run."""
        self._servers = running
        self._peer = peer
        self._console = console

    def cpu(self, runs: int) -> Iterator[Figure]:
        """CPU seconds of the handlers, against the floor and the peer."""
        for kind in (START, ROUND):
            results, foreign = self._repeat(
                runs,
                lambda: self._child("pipeline", kind, str(NOTIFICATIONS)),  # noqa: B023
            )
            totals = _series(sum(each["handlers"].values()) for each in results)
            parts = {
                name: _series(each["handlers"][name] for each in results).middle
                for name in results[0]["handlers"]
            }
            details = {"by_function": parts, "log_bytes": _log_bytes(results[0]["log"], kind)}
            yield Figure(
                f"handlers, {kind}",
                totals,
                _CPU,
                None,
                foreign,
                ", ".join(f"{name} {value:.2f}" for name, value in parts.items()),
                details,
            )
            ratios = (sum(each["handlers"].values()) / each["floor"] for each in results)
            floor = _series(each["floor"] for each in results)
            note = f"the floor takes {floor.middle:.2f}"
            yield Figure(
                f"… over the floor, {kind}", _series(ratios), "x", _OVER_FLOOR, foreign, note
            )
            if self._peer is not None:
                yield self._against_peer(kind, totals, min(runs, 3))

    def _against_peer(self, kind: str, ours: Series, runs: int) -> Figure:
        assert self._peer is not None  # noqa: S101 - the caller has looked
        peer = self._peer
        results, foreign = self._repeat(
            runs,
            lambda: run_child(
                "benchmarks.peer.run",
                str(self._servers.receivers_port),
                kind,
                str(NOTIFICATIONS),
                str(PEER_WORKERS),
                environment={"PYTHONPATH": ":".join(peer.checkouts)},
                python=peer.python,
            ),
        )
        theirs = _series(each["seconds"] for each in results)
        shares = _series(ours.middle / value for value in theirs.values)
        note = f"the peer's workers take {theirs.middle:.2f} [{theirs.low:.2f} … {theirs.high:.2f}]"
        name = f"… over the peer's, {kind}"
        return Figure(name, shares, "x", _OF_PEER[kind], foreign, note)

    def fan_out(self, runs: int) -> Iterator[Figure]:
        """One segment of a training with very many participants."""

        def once() -> tuple[dict[str, Any], dict[str, Any]]:
            built = self._child("fan_out", "builder", count=str(PARTICIPANTS))
            self._servers.forget_calls()
            bare = self._child("fan_out", "bare", count=str(PARTICIPANTS))
            self._servers.forget_calls()
            return built, bare

        results, foreign = self._repeat(runs, once)
        seconds = _series(built["seconds"] for built, _ in results)
        ratios = _series(built["seconds"] / bare["seconds"] for built, bare in results)
        cpu = _series(built["cpu"] / bare["cpu"] for built, bare in results)
        memory = _series(built["memory_mib"] for built, _ in results)
        growth = _series(built["memory_mib"] - built["memory_mib_of_few"] for built, _ in results)
        name = f"a segment of {PARTICIPANTS:,} participants"
        note = f"in CPU seconds {cpu.middle:.2f} x"
        yield Figure(f"{name}, over a bare loop", ratios, "x", 1.3, foreign, note)
        yield Figure(f"{name}, wall time", seconds, "s", 600, foreign)
        yield Figure(f"{name}, most memory", memory, "MiB", 256, foreign)
        yield Figure("… more than for 10,000", growth, "MiB", 16, foreign)
        each = _series(built["cpu"] / PARTICIPANTS for built, _ in results).middle
        yield from self._million(each)

    def _million(self, cpu_seconds: float) -> Iterator[Figure]:
        """More participants than one invocation has time for; one of them is killed."""
        result = self._child("million", str(MANY), str(cpu_seconds), servers=False)
        name = f"a segment of {MANY:,} participants (simulated time)"
        note = (
            f"at {CPU_SHARE:.0%} of a core, {cpu_seconds * 1e6:.0f} us of it each; the second "
            f"invocation is killed after {million.KILLED_AFTER_SECONDS:.0f} s; "
            f"{result['repeated']:,.0f} are enqueued again, with the same ids"
        )
        yield Figure(f"{name}, invocations", _series([result["invocations"]]), "", None, None, note)
        yield Figure("… the longest of them", _series([result["longest"]]), "s", 60)
        yield Figure("… participants not told", _series([result["missed"]]), "", 0)
        yield Figure("… most memory", _series([result["memory_mib"]]), "MiB", 256)

    def faults(self, runs: int) -> Iterator[Figure]:
        """The last healthy receiver, if others are not."""
        # A FIFO queue's consumer gets as many environments as there are groups, up to the maximum
        # concurrency; "at first" is what is documented for other queues: 5, and 5 more a second.
        for how, concurrency, bar in (("all", "20+0", 1.2), ("5 at first", "5+5", 2.0)):
            for kind in ("refusing", "dead"):
                seeds = iter(range(100))

                def once() -> tuple[float, float]:
                    seed = str(next(seeds))  # noqa: B023
                    return (
                        self._child("faults", "none", concurrency, seed)["seconds"],  # noqa: B023
                        self._child("faults", kind, concurrency, seed)["seconds"],  # noqa: B023
                    )

                results, foreign = self._repeat(runs, once)
                healthy = _series(each for each, _ in results)
                ratios = _series(faulty / healthy.middle for _, faulty in results)
                yield Figure(
                    f"last healthy of 200, 10 % {kind}, {how}",
                    ratios,
                    "x",
                    bar,
                    foreign,
                    f"{healthy.middle:.2f} s if all are healthy",
                )

    def limits(self, _runs: int) -> Iterator[Figure]:
        """Very many participants against what AWS allows in a second, in simulated time."""
        few = 10_000
        cases: list[tuple[str, int, dict[str, Any], float]] = [
            (f"{PARTICIPANTS:,} told", PARTICIPANTS, {}, 30),
            (f"{MANY:,} told", MANY, {}, 300),
            (f"{few:,}, 10 % dead, 5 functions", few, _FEW, 180),
            (f"{few:,}, 10 % dead, 10 functions", few, _NEW_ACCOUNT, 60),
        ]
        for name, receivers, given, bar in cases:
            found = self._limits(receivers=receivers, **given)
            note = f"{found['throttled']:,.0f} calls throttled"
            told = _series([found["last_healthy"]])
            yield Figure(f"{name} (simulated)", told, "s", bar, None, note)
            repeated = _series([found["repeated_posts"]])
            yield Figure("… POSTs repeated", repeated, "", 0)
        healthy = self._limits(receivers=PARTICIPANTS)["last_healthy"]
        some = self._limits(receivers=PARTICIPANTS, aws={"throttled": 0.01})["last_healthy"]
        name = f"{PARTICIPANTS:,}, 1 % of calls throttled (simulated)"
        yield Figure(name, _series([some / healthy]), "x", 1.5)

    def _limits(self, **case: Any) -> dict[str, Any]:
        return self._child("limits", json.dumps(case), servers=False)

    def polls(self, runs: int) -> Iterator[Figure]:
        """A poll of a mailbox: with nothing in it, with ten, and acknowledging ten."""
        results, foreign = self._repeat(
            runs, lambda: self._child("polls", str(POLLS), servers=False)
        )
        for name, bar in _POLLS.items():
            values = _series(each[name] for each in results)
            yield Figure(f"mailbox, a poll: {name}", values, "CPU ms", bar, foreign)

    def sweep(self, runs: int) -> Iterator[Figure]:
        """Participants that never acknowledge, all due at once: until all are concluded."""
        for threads, bar in ((CONNECTIONS, 1.6), (0, None)):
            results, foreign = self._repeat(
                runs,
                lambda: self._child("sweep", str(SILENT), str(threads), servers=False),  # noqa: B023
            )
            each = _series(found["seconds"] / SILENT * 1000 for found in results)
            cpu = _series(found["cpu"] / SILENT * 1000 for found in results).middle
            how = f"{threads} shards at once" if threads else "one shard after the other"
            name = f"sweep of {SILENT:,} that are silent, {how}"
            yield Figure(name, each, "ms each", bar, foreign, f"{cpu:.2f} of them CPU")

    def imports(self, runs: int) -> Iterator[Figure]:
        """What it takes to import each handler's module."""

        def once() -> dict[str, float]:
            return {
                name: self._child("imports", name, servers=False)["seconds"]
                for name in (imports.FLOOR, *imports.MODULES)
            }

        once()  # compiles
        results, foreign = self._repeat(runs, once)
        floor = _series(each[imports.FLOOR] for each in results)
        for name in imports.MODULES:
            ratios = _series(each[name] / each[imports.FLOOR] for each in results)
            note = f"boto3, one client and one model take {floor.middle * 1000:.0f} ms"
            yield Figure(f"import of {name.split('.')[1]}", ratios, "x", 1.5, foreign, note)

    def stack(self, runs: int) -> Iterator[Figure]:
        """One change to its arrival on the local stack; and the layer that was built for it."""
        load = Load(self._servers.processes)
        times, directory = latency.measure(runs)
        foreign = load.foreign()
        note = ", ".join(f"{name} {_series(times[name]).middle:.0f}" for name in latency.STEPS)
        yield Figure(
            "change to arrival, local stack", _series(times["all"]), "ms", None, foreign, note
        )
        built = layer.look_at(directory / "build" / "SharedLayer", directory / "zip", self._servers)
        shutil.rmtree(directory)
        yield Figure("layer, unzipped", Series((built.unzipped_mib,)), "MiB")
        yield Figure("layer, zipped", Series((built.zipped_mib,)), "MiB")
        unused = Series((float(len(built.unused)),))
        yield Figure(
            "layer, what no function imports", unused, "", 0, None, ", ".join(built.unused)
        )

    def beside(self, runs: int) -> Iterator[Figure]:
        """Those who are told by POST while many others poll, on the local stack."""
        load = Load(self._servers.processes)
        found = beside.measure(runs)
        foreign, polls = load.foreign(), found["polls"]
        note = (
            f"{polls['per_second']:.1f} polls a second, {polls['median_ms']:.0f} ms each, "
            f"{polls['failures']:.0f} failed"
        )
        for what in ("half", "all"):
            without = _series(found[what][False])
            ratios = _series(each / without.middle for each in found[what][True])
            name = f"{what} of {beside.PUSHED} told beside {beside.MAILBOXES:,} that poll"
            told = f"{without.middle:.2f} s without; {note}"
            yield Figure(name, ratios, "x", 1.1, foreign, told)

    def _child(
        self, module: str, first: str, *more: str, count: str | None = None, servers: bool = True
    ) -> dict[str, Any]:
        known = [self._servers.to_json()] if servers else []
        arguments = [first, *known, count] if count is not None else [*known, first, *more]
        return run_child(f"benchmarks.{module}", *arguments, environment=self._servers.environment)

    def _repeat[T](self, runs: int, once: Callable[[], T]) -> tuple[list[T], float]:
        return repeat(runs, once, self._servers.processes)


def _series(values: Any) -> Series:
    return Series(tuple(values))


def _log_bytes(log: str, kind: str) -> dict[str, float]:
    """Bytes of log for each notification, by function; metrics apart."""
    found: dict[str, int] = {}
    for line in log.splitlines():
        said = json.loads(line)
        if said.get("notification_type", kind) != kind:
            continue  # the round that is built together with a start
        name = "metrics" if "_aws" in said else said["service"]
        found[name] = found.get(name, 0) + len(line) + 1
    notifications = sum('"step":"concluded"' in line for line in log.splitlines())
    return {name: round(size / notifications, 1) for name, size in found.items()}


PARTS: Final = {
    "cpu": 5,
    "polls": 5,
    "sweep": 3,
    "imports": 7,
    "faults": 5,
    "fan_out": 3,
    "limits": 1,
    "stack": 10,
    "beside": 12,
}
"""What can be measured, and how often each is by default."""


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this part alone")
    parser.add_argument("--runs", type=int, help="of each figure, instead of the usual number")
    parser.add_argument(
        "--peer", nargs=2, metavar=("FL_DEMONSTRATOR", "FL_LOGGING_BASE"), help="its two checkouts"
    )
    parser.add_argument("--peer-python", default="python3", help="with the peer's requirements")
    given = parser.parse_args()
    console = Console()
    if not console.is_terminal:
        console = Console(width=150)
    peer = None
    if given.peer and all(Path(each).is_dir() for each in given.peer):
        peer = Peer(given.peer_python, [str(Path(each).resolve()) for each in given.peer])
    else:
        console.print("The peer is skipped: no checkouts given (see benchmarks/README.md).")
    figures: list[Figure] = []
    with servers() as running:
        bench = Bench(running, peer, console)
        for part in given.only or PARTS:
            console.print(f"Measuring {part} …", highlight=False)
            figures += getattr(bench, part)(given.runs or PARTS[part])
    show(figures, console)
    described = machine()
    console.print(f"On {described['cores']} cores of {described['cpu']}, {described['system']}.")
    if not given.only:
        content = {
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": described,
            "figures": [each.to_json() for each in figures],
        }
        RESULTS.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()

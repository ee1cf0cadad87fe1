"""What AWS allows in a second, simulated: how long a large training's fan-out takes, and why.

    python -m benchmarks.limits CASE RESULT

A discrete-event simulation (simpy) of FanOut and DeliverNotification for one notification to very
many participants. What bounds them on AWS is in it: units a second of a partition and of a new
table, calls a second of a queue and a bus, functions at once, and calls that are throttled. A call
over a limit is refused, waits as `fl_notifications.aws.batches` and botocore do, and is made again.
The CPU that a notification takes is what was measured (`benchmarks/results.json`).
"""

import json
import random
import sys
from collections import Counter, deque
from collections.abc import Generator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import simpy

from fl_notifications.aws.batches import ATTEMPTS, FIRST_WAIT_SECONDS, SQS_BATCH

PAGE: Final = 1000
SEGMENTS: Final = 16
TIMEOUT_SECONDS: Final = 30.0
RESERVE_SECONDS: Final = 5.0
"""Of DeliverNotification: after a POST the ledger is tried until this long before the timeout."""

POSTS_AT_ONCE: Final = 64
MAX_ATTEMPTS: Final = 6
RETRY_BACKOFF_SECONDS: Final = 5.0

HANG_SECONDS: Final = 0.3
"""After so long an invocation that waits for an answer takes more messages."""

type Process = Generator[Any, Any, Any]


@dataclass(frozen=True)
class Aws:
    """What AWS allows, and how long it takes.

    Attributes:
        partition_reads: read units a second of one partition: all items of a training.
        table_reads: read units a second of the ledger, a new on-demand table.
        table_writes: write units a second of the ledger.
        queue_calls: of each API action of the queue a second (FIFO, high throughput).
        bus_calls: PutEvents a second.
        call_seconds: that a call waits for its answer.
        throttled: share of calls that are refused whatever the limits.
    """

    partition_reads: float = 3000.0
    table_reads: float = 12_000.0
    table_writes: float = 4000.0
    queue_calls: float = 9000.0
    bus_calls: float = 2400.0
    call_seconds: float = 0.008
    throttled: float = 0.0


@dataclass(frozen=True)
class Case:
    """One notification to very many.

    Attributes:
        receivers: participants of the training.
        functions: delivery functions at once.
        at_first: of them at the beginning; one more each `1 / per_second` afterwards.
        per_second: see there.
        answer_seconds: how long a receiver takes.
        dead: share of receivers that never answer.
        request_timeout: how long those are waited for.
        takes_more: whether an invocation that waits takes more messages meanwhile.
        build_cpu: CPU seconds of a notification in FanOut.
        deliver_cpu: likewise in DeliverNotification.
        fan_out_share: of a core, that FanOut has.
        deliver_share: of a core, that DeliverNotification has.
        account: functions at once in the account, those that serve polls included.
        polled: mailboxes that are polled meanwhile, each once a minute, and are empty. A poll reads
            only a table that nothing else here uses: a function is all that it shares.
        poll_cpu: CPU seconds of a poll.
        aws: what AWS allows.
    """

    receivers: int
    functions: int = 200
    at_first: int = 200
    per_second: float = 100.0
    answer_seconds: float = 0.05
    dead: float = 0.0
    request_timeout: float = 10.0
    takes_more: bool = True
    build_cpu: float = 0.00038
    deliver_cpu: float = 0.0017
    fan_out_share: float = 1.0
    deliver_share: float = 512 / 1769
    account: int = 1000
    polled: int = 0
    poll_cpu: float = 0.0009
    aws: Aws = field(default_factory=Aws)


class Limit:
    """So many units a second, with a second's worth saved at the most."""

    def __init__(self, world: simpy.Environment, per_second: float) -> None:
        """Begin full."""
        self._world, self._rate = world, per_second
        self._units, self._at = per_second, 0.0

    def take(self, units: float) -> float:
        """Take as many units as there are, at most what is asked for; returns how many."""
        self._units = min(self._rate, self._units + (self._world.now - self._at) * self._rate)
        self._at = self._world.now
        taken = max(0.0, min(units, self._units))
        self._units -= taken
        return taken


class Simulation:
    """One case."""

    def __init__(self, case: Case, seed: int = 1) -> None:
        """Prepare it; nothing happens yet."""
        self.case, aws = case, case.aws
        self.world = world = simpy.Environment()
        self.chance = random.Random(seed)  # noqa: S311 - a simulation
        self.trainings = Limit(world, aws.partition_reads)
        self.reads = Limit(world, aws.table_reads)
        self.writes = Limit(world, aws.table_writes)
        self.sends = Limit(world, aws.queue_calls)
        self.puts = Limit(world, aws.bus_calls)
        self.queue: deque[tuple[bool, int]] = deque()  # whether it is dead, and which attempt
        self.filled = world.event()
        self.account = simpy.Resource(world, case.account)
        self.counts: Counter[str] = Counter()
        self.last_post = self.last_healthy = 0.0
        self.healthy_left = 0
        self.done = world.event()

    def run(self) -> dict[str, float]:
        """Run until each healthy receiver is told and its entry written."""
        case = self.case
        told = random.Random(2)  # noqa: S311 - likewise
        dead = [told.random() < case.dead for _ in range(case.receivers)]
        self.healthy_left = dead.count(False)
        for number in range(SEGMENTS):
            self.world.process(self._segment(dead[number::SEGMENTS]))
        for number in range(case.functions):
            late = max(0.0, (number + 1 - case.at_first) / case.per_second)
            self.world.process(self._environment(late))
        if case.polled:
            self.world.process(self._polls())
        self.world.run(until=self.done)
        return {
            "seconds": self.last_post,
            "last_healthy": self.last_healthy,
            "throttled": self.counts["throttled"],
            "polls": self.counts["polls"],
            "polls_refused": self.counts["polls refused"],
            "repeated_posts": self.counts["repeated posts"],
            "longest_wait_for_the_ledger": self.counts["longest wait, ms"] / 1000,
        }

    # FanOut

    def _segment(self, dead: list[bool]) -> Process:
        for start in range(0, len(dead), PAGE):
            page = dead[start : start + PAGE]
            yield from self._until(self.trainings, len(page) * 350 / 4096)
            yield self.world.timeout(len(page) * self.case.build_cpu / self.case.fan_out_share)
            for at in range(0, len(page), SQS_BATCH):
                batch = page[at : at + SQS_BATCH]
                if self.sends.take(1) < 1 or self._refused():
                    yield from self._until(self.sends, 1)
                self.queue.extend((each, 1) for each in batch)
            self._wake()

    def _wake(self) -> None:
        if not self.filled.triggered:
            self.filled.succeed()

    # DeliverNotification

    def _environment(self, late: float) -> Process:
        yield self.world.timeout(late)
        while True:
            if not self.queue:
                self.filled = self.world.event() if self.filled.triggered else self.filled
                yield self.filled
                continue
            with self.account.request() as function:
                yield function
                if batch := self._receive(SQS_BATCH):
                    yield from self._invocation(batch)

    def _receive(self, most: int) -> list[tuple[bool, int]]:
        return [self.queue.popleft() for _ in range(min(most, len(self.queue)))]

    def _invocation(self, batch: list[tuple[bool, int]]) -> Process:
        """Until all of its POSTs are over; while some hang it may take more."""
        began, case = self.world.now, self.case
        hanging: list[float] = []  # when each of them will be over
        while batch:
            hanging += yield from self._batch(batch, began)
            batch = []
            hanging = [each for each in hanging if each > self.world.now]
            while hanging:
                left = TIMEOUT_SECONDS - (self.world.now - began)
                room = POSTS_AT_ONCE - len(hanging)
                takes = case.takes_more and left >= case.request_timeout + RESERVE_SECONDS
                if takes and room > 0 and self.queue:
                    batch = self._receive(min(SQS_BATCH, room))
                    break
                pause = 1.0 if takes and room > 0 else max(hanging) - self.world.now
                yield self.world.timeout(min(pause, max(hanging) - self.world.now))
                hanging = [each for each in hanging if each > self.world.now]

    def _batch(self, batch: list[tuple[bool, int]], began: float) -> Process:
        """Read, POST, record, tell; returns when those that hang will be over."""
        case, aws, size = self.case, self.case.aws, len(batch)
        # Eventually consistent: training and participants; of the ledger an entry each and the run.
        yield from self._until(self.trainings, (size + 1) / 2)
        yield from self._until(self.reads, size + 1)
        yield self.world.timeout(aws.call_seconds + size * case.deliver_cpu / case.deliver_share)
        posted = self.world.now
        healthy = sum(not dead for dead, _ in batch)
        hangs = [posted + case.request_timeout] * (size - healthy)
        for dead, attempt in batch:
            if dead and attempt < MAX_ATTEMPTS:
                self.world.process(self._again(attempt))
        if not healthy:
            yield self.world.timeout(HANG_SECONDS)
            return hangs
        yield self.world.timeout(case.answer_seconds)
        self.last_post = self.world.now
        yield from self._record(healthy, began)
        yield from self._until(self.puts, 1)
        yield self.world.timeout(aws.call_seconds)
        self.last_healthy = self.world.now
        self.healthy_left -= healthy
        if not self.healthy_left and not self.done.triggered:
            self.done.succeed()
        if hangs and case.takes_more:
            yield self.world.timeout(max(0.0, HANG_SECONDS - case.answer_seconds))
        return hangs

    # Mailbox

    def _polls(self) -> Process:
        while True:
            yield self.world.timeout(60 / self.case.polled)
            self.world.process(self._poll())

    def _poll(self) -> Process:
        """Poll an empty mailbox: one query; 429 if all functions are busy."""
        self.counts["polls"] += 1
        if self.account.count >= self.account.capacity:
            self.counts["polls refused"] += 1
            return
        with self.account.request() as function:
            yield function
            cpu = self.case.poll_cpu / self.case.deliver_share
            yield self.world.timeout(self.case.aws.call_seconds + cpu)

    def _again(self, attempt: int) -> Process:
        """A receiver that never answers is tried again, as the template's defaults say."""
        wait = RETRY_BACKOFF_SECONDS * attempt * self.chance.uniform(0.8, 1.2)
        yield self.world.timeout(self.case.request_timeout + wait)
        self.queue.append((True, attempt + 1))
        self._wake()

    def _record(self, entries: float, began: float) -> Process:
        """Write entries of the ledger, until there is no time left for it."""
        started = self.world.now
        tries = 0
        left = entries
        while True:
            yield self.world.timeout(self.case.aws.call_seconds)
            if not self._refused():
                left -= self.writes.take(left)
            if left < 1:
                break
            self.counts["throttled"] += 1
            if self.world.now - began > TIMEOUT_SECONDS - RESERVE_SECONDS:
                self.counts["repeated posts"] += int(left)
                break
            yield self.world.timeout(self._pause(tries))
            tries += 1
        waited = int((self.world.now - started) * 1000)
        self.counts["longest wait, ms"] = max(self.counts["longest wait, ms"], waited)

    # Calls

    def _refused(self) -> bool:
        return self.chance.random() < self.case.aws.throttled

    def _pause(self, tries: int) -> float:
        longest = FIRST_WAIT_SECONDS * 2 ** min(tries, ATTEMPTS - 1)
        return self.chance.uniform(0, longest)

    def _until(self, limit: Limit, units: float) -> Process:
        """Ask again, with backoff, until all units were had."""
        tries = 0
        while True:
            if not self._refused():
                units -= limit.take(units)
            if units <= 1e-9:
                return
            self.counts["throttled"] += 1
            yield self.world.timeout(self._pause(tries))
            tries += 1


def simulate(case: Case) -> dict[str, float]:
    """Run a case."""
    return Simulation(case).run()


if __name__ == "__main__":
    given: dict[str, Any] = json.loads(sys.argv[1])
    limits = Aws(**given.pop("aws", {}))
    result = simulate(Case(**given, aws=limits))
    Path(sys.argv[-1]).write_text(json.dumps({**result, "limits": asdict(limits)}))

"""In a process of its own: a fan-out that takes several invocations, one of which is killed.

    python -m benchmarks.million PARTICIPANTS CPU_SECONDS RESULT

The function is the real one, all are in one segment; AWS is in this process and costs nothing. Time
is simulated: each participant takes so much of an invocation's 60 s as was measured, at a given
share of a core.
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final, cast

from benchmarks.events import fan_out_event
from benchmarks.measuring import CPU_SHARE, memory_mib
from benchmarks.servers import Aws
from fl_notifications.telemetry.journal import Journal
from fl_notifications.telemetry.logger import make_logger
from fl_notifications.telemetry.metrics import Tally
from functions.fan_out.bootstrap import Clients, build
from functions.fan_out.settings import Settings

TIMEOUT_SECONDS: Final = 60.0
KILLED: Final = 2
KILLED_AFTER_SECONDS: Final = 20.0
"""The second invocation is killed after so long."""


class Killed(BaseException):
    """The end of the process."""


@dataclass
class Stand:
    """DynamoDB and SQS; counts how often each participant is told."""

    participants: int
    told: bytearray = field(init=False)
    sent: int = 0
    ledger: dict[str, Any] = field(default_factory=dict)
    aws: Aws = field(default_factory=lambda: Aws(80))

    def __post_init__(self) -> None:
        """Nobody is told yet."""
        self.told = bytearray(self.participants)

    def query(self, **call: Any) -> dict[str, Any]:
        """A page of participants."""
        found: dict[str, Any] = json.loads(self.aws.answer("Query", json.dumps(call).encode())[1])
        self.aws.taken.clear()
        return found

    def get_item(self, **call: Any) -> dict[str, Any]:
        """A checkpoint, if there is one."""
        item = self.ledger.get(call["Key"]["notification_id"]["S"])
        return {} if item is None else {"Item": item}

    def put_item(self, **call: Any) -> dict[str, Any]:
        """Keep a checkpoint; of the round nothing."""
        if call["TableName"] == "waiting":
            return {}
        self.ledger[call["Item"]["notification_id"]["S"]] = call["Item"]
        return {}

    def change_message_visibility_batch(self, **call: Any) -> dict[str, Any]:
        """Give all back."""
        return {"Successful": [{"Id": entry["Id"]} for entry in call["Entries"]], "Failed": []}

    def send_message_batch(self, **call: Any) -> dict[str, Any]:
        """Accept all."""
        self.sent += len(call["Entries"])
        for entry in call["Entries"]:
            _, _, receiver = entry["MessageGroupId"].partition(":")
            self.told[int(receiver[:8], 16)] += 1
        return {"Successful": [{"Id": entry["Id"]} for entry in call["Entries"]], "Failed": []}


@dataclass
class Time:
    """What is left of an invocation."""

    stand: Stand
    seconds_each: float
    before: int
    killed_after: float

    @property
    def used(self) -> float:
        """Seconds since the invocation began."""
        return (self.stand.sent - self.before) * self.seconds_each

    def remaining(self) -> float:
        """Seconds until the timeout."""
        if self.used > self.killed_after:
            raise Killed
        return TIMEOUT_SECONDS - self.used


def invocations(
    process: Callable[[Any, Callable[[], float]], Any], event: Any, stand: Stand, each: float
) -> Iterator[float]:
    """Bring the record again as the stream does; yields the simulated seconds of each time."""
    for number in count(1):
        killed_after = KILLED_AFTER_SECONDS if number == KILLED else TIMEOUT_SECONDS
        time = Time(stand, each, stand.sent, killed_after)
        try:
            failed = process(event, time.remaining)["batchItemFailures"]
        except Killed:
            failed = ["all"]
        yield time.used
        if not failed:
            return


def main(participants: int, cpu_seconds: float) -> dict[str, float]:
    """Take a round of so many participants through the builder."""
    stand = Stand(participants)
    client = cast("Any", stand)
    batches = build(
        Settings(
            stack_name="benchmark",
            log_level="INFO",
            trainings_table="trainings",
            ledger_table="ledger",
            deliveries_queue_url="deliveries.fifo",
            stream_dlq_url="stream-dlq",
            fan_outs_queue_url="fan-outs.fifo",
            outcomes_bus="outcomes",
        ),
        Clients(dynamodb=client, sqs=client, events=client),
        Journal(make_logger("million"), Tally("benchmark")),
    )
    event = fan_out_event(participants)
    seconds = list(invocations(batches.process, event, stand, cpu_seconds / CPU_SHARE))
    return {
        "invocations": len(seconds),
        "seconds": sum(seconds),
        "longest": max(seconds),
        "missed": stand.told.count(0),
        "repeated": stand.sent - participants,
        "memory_mib": memory_mib("VmHWM"),
    }


if __name__ == "__main__":
    result = main(int(sys.argv[1]), float(sys.argv[2]))
    Path(sys.argv[-1]).write_text(json.dumps(result))

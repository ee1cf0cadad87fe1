"""In a process of its own: how long Sweep takes for notifications that nobody acknowledges.

    python -m benchmarks.sweep NOTIFICATIONS THREADS RESULT

The function's logic is the real one, with boto3; each answer of AWS, which is in this process,
comes 8 ms after its call. Time is the machine's, with as much of it in each minute as a sweep uses;
the rest of the minute is not waited for. With 0 threads the shards go one by one.
"""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import boto3

from benchmarks.limits import Aws as Limits
from benchmarks.measuring import memory_mib
from benchmarks.polls import Aws, mailbox_notification
from fl_notifications.aws.clients import CLIENT_CONFIG
from fl_notifications.outcomes.waiting import SHARDS
from fl_notifications.telemetry.journal import Journal
from fl_notifications.telemetry.logger import make_logger
from fl_notifications.telemetry.metrics import Tally
from functions.sweep.bootstrap import Clients, build
from functions.sweep.settings import Settings

CALL_SECONDS: Final = Limits.call_seconds
TIMEOUT_SECONDS: Final = 60.0


class OrderError(Exception):
    """The order ledger, event, deletion was not kept."""


class Due(Aws):
    """Has so many notifications, each of another receiver, all of them due.

    Refuses an event whose outcome is not in the ledger, and a deletion of what was not told.

    Attributes:
        calls: that were made.
        failed: notifications that have failed by the ledger.
        told: events by notification.
    """

    def __init__(self, notifications: int) -> None:
        super().__init__(0)
        self.calls = 0
        self.failed: set[str] = set()
        self.told: Counter[str] = Counter()
        self.shards: dict[str, dict[str, Any]] = {f"due#{each}": {} for each in range(SHARDS)}
        made = datetime.now(UTC) - timedelta(days=1)
        for number in range(notifications):
            one = mailbox_notification(f"n{number}", f"{number}", str(UUID(int=number + 1)), made)
            item = one.to_item()
            self.shards[item["due_shard"]["S"]][item["owner"]["S"]] = item

    @property
    def left(self) -> int:
        """How many wait."""
        return sum(map(len, self.shards.values()))

    def answer(self, request: Any, **options: Any) -> Any:
        """Answer when a call to AWS would be answered."""
        time.sleep(CALL_SECONDS)
        self.calls += 1
        return super().answer(request, **options)

    def Query(self, given: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802 - AWS's
        """A page of what is due. What the page before had is deleted meanwhile."""
        shard = self.shards[given["ExpressionAttributeValues"][":shard"]["S"]]
        items = [shard[owner] for owner in list(shard)[: given["Limit"]]]
        more = len(items) == given["Limit"]
        return {"Items": items, **({"LastEvaluatedKey": {"owner": {"S": "-"}}} if more else {})}

    def BatchGetItem(self, given: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802 - AWS's
        """The training, in its round, and whichever participants are asked for."""
        found = super().BatchGetItem(given)
        asked = given["RequestItems"].get("trainings", {"Keys": []})["Keys"]
        endpoint = {"message_endpoint": {"S": "mailbox:"}}
        participants = [{**key, **endpoint} for key in asked if "#" in key["entity"]["S"]]
        found["Responses"]["trainings"] = [*found["Responses"]["trainings"][:1], *participants]
        return found

    def UpdateItem(self, given: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802 - AWS's
        """Write an entry of the ledger."""
        if given["ExpressionAttributeValues"][":outcome"] == {"S": "failed"}:
            self.failed.add(given["Key"]["notification_id"]["S"])
        return super().UpdateItem(given)

    def BatchWriteItem(self, given: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802 - AWS's
        """Delete what is concluded."""
        gone = {
            each["DeleteRequest"]["Key"]["owner"]["S"] for each in given["RequestItems"]["waiting"]
        }
        for shard in self.shards.values():
            for owner in gone & shard.keys():
                if shard.pop(owner)["notification_id"]["S"] not in self.told:
                    raise OrderError("deleted before it was told")
        return {}

    def PutEvents(self, given: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802 - AWS's
        """Count what is told."""
        ids = [json.loads(each["Detail"])["notification_id"] for each in given["Entries"]]
        if not self.failed.issuperset(ids):
            raise OrderError("told before the ledger had it")
        self.told.update(ids)
        return super().PutEvents(given)


def main(notifications: int, threads: int) -> dict[str, float]:
    """Sweep, a minute after the other, until nothing is due any more."""
    due = Due(notifications)
    session = boto3.Session("testing", "testing", region_name="eu-central-1")
    names = ("dynamodb", "events", "sqs")
    made: dict[str, Any] = {name: session.client(name, config=CLIENT_CONFIG) for name in names}  # type: ignore[call-overload] # any service's name
    for client in made.values():
        client.meta.events.register("before-send.*.*", due.answer)
    executor = ThreadPoolExecutor(threads) if threads else None
    sweeper = build(
        Settings(
            stack_name="benchmark",
            log_level="INFO",
            trainings_table="trainings",
            ledger_table="ledger",
            waiting_table="waiting",
            outcomes_bus="outcomes",
            deliveries_dlq_url="https://sqs/dlq",
        ),
        Clients(**made),
        Journal(make_logger("sweep"), Tally("benchmark")),
        executor=executor,
    )
    sweeps, seconds, last, cpu = 0, 0.0, 0.0, time.process_time()
    while due.left:
        began = time.monotonic()
        sweeper.sweep(lambda began=began: began + TIMEOUT_SECONDS - time.monotonic())  # type: ignore[misc] # mypy's
        last = time.monotonic() - began
        seconds += last
        sweeps += 1
    cpu, began = time.process_time() - cpu, time.monotonic()
    sweeper.sweep(lambda: TIMEOUT_SECONDS)
    return {
        "sweeps": sweeps,
        "seconds": seconds,
        "cpu": cpu,
        "idle_seconds": time.monotonic() - began,
        "minutes": sweeps - 1 + last / 60,
        "calls": due.calls,
        "failed": len(due.failed),
        "told": len(due.told),
        "repeated": due.told.total() - len(due.told),
        "memory_mib": memory_mib("VmHWM"),
    }


if __name__ == "__main__":
    # Log lines and metrics cost their time, but are not this process's result.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    result = main(int(sys.argv[1]), int(sys.argv[2]))
    Path(sys.argv[-1]).write_text(json.dumps(result))

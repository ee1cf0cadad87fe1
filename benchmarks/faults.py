"""In a process of its own: how long until the last healthy receiver is told, if some are not.

    python -m benchmarks.faults SERVERS KIND CONCURRENCY SEED RESULT

Plays what AWS does between a FIFO queue and a function: hands out batches of ten, no two at once of
one group, each to an execution environment of its own (a process), as many at once as it is told.
The queue is the stand-in's, so that a function can receive from it, too.
"""

import itertools
import json
import multiprocessing
import os
import random
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

from benchmarks.events import SQS_BATCH, Context, queue_event
from benchmarks.measuring import Servers
from benchmarks.servers import HOSTS, KEPT_QUEUE, participant_uuid, training_uuid
from fl_notifications.deliveries.delivery import Delivery, DeliveryReceiver
from fl_notifications.notification_type import NotificationType

RECEIVERS: Final = 200
FAULTY_SHARE: Final = 0.1
HEALTHY: Final = "after-50"
"""Healthy receivers answer after 50 ms."""

RAMP_PER_SECOND: Final = 5
"""How many more environments AWS starts each second, where it starts with few: 300 a minute."""

LONGEST_SECONDS: Final = 60.0


@dataclass
class Concurrency:
    """How many batches are handed out at once: `first`, and `per_second` more each second."""

    first: int
    per_second: int = 0

    def at(self, seconds: float) -> int:
        """After so many seconds."""
        return self.first + int(seconds * self.per_second)


def messages(servers: Servers, kind: str, seed: int) -> list[dict[str, Any]]:
    """A round's messages for all receivers, a share of which is faulty."""
    chosen = random.Random(seed)  # noqa: S311 - the same places for each kind
    faulty = set(chosen.sample(range(RECEIVERS), int(RECEIVERS * FAULTY_SHARE)))
    training = training_uuid(RECEIVERS)
    entries = []
    for number in range(RECEIVERS):
        host, port, path = HOSTS[number % len(HOSTS)], servers.receivers_port, HEALTHY
        if number in faulty and kind == "refusing":
            host, port = "127.0.0.1", servers.refusing_port
        elif number in faulty and kind == "dead":
            path = "dead"
        delivery = Delivery(
            notification_id=participant_uuid(number + (seed << 16)),
            notification_type=NotificationType.UPDATE_ROUND_START,
            training_uuid=training,
            receiver=DeliveryReceiver(
                uuid=participant_uuid(number), message_endpoint=f"http://{host}:{port}/{path}"
            ),
            round=3,
            content={"notification_type": "UPDATE_ROUND_START"},
            callback_success=None,
            callback_error=None,
            created_at="2026-11-24T09:00:00Z",  # type: ignore[arg-type]  # pydantic reads it
            own=True,  # it goes where it says, whatever the stand-in's table says
        )
        entries.append(
            {
                "MessageBody": delivery.message,
                "MessageGroupId": delivery.group,
                "MessageDeduplicationId": delivery.notification_id,
            }
        )
    return entries


def _start(count: int) -> list[tuple[BaseProcess, Connection]]:
    """Start environments, each with the pipe to it."""
    forking = multiprocessing.get_context("fork")
    started: list[tuple[BaseProcess, Connection]] = []
    for _ in range(count):
        ours, theirs = forking.Pipe()
        process = forking.Process(target=_environment, args=(theirs,))
        process.start()
        started.append((process, ours))
    return started


def _received(sqs: Any, queue_url: str) -> dict[str, Any] | None:
    """A batch of the queue, as Lambda hands it out; None if there is nothing."""
    answer = sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=SQS_BATCH)
    entries = [
        {
            "MessageBody": message["Body"],
            "MessageGroupId": message["Attributes"]["MessageGroupId"],
            "MessageDeduplicationId": message["MessageId"],
        }
        for message in answer.get("Messages", [])
    ]
    return queue_event(entries) if entries else None


def _environment(pipe: Connection) -> None:
    """An execution environment: one event after the other."""
    from functions.deliver_notification import app  # noqa: PLC0415 - imported before the fork

    while (event := pipe.recv()) is not None:
        pipe.send(app.lambda_handler(event, Context()))  # type: ignore[arg-type]


def until_all_are_told(servers: Servers, kind: str, concurrency: Concurrency, seed: int) -> float:
    """The seconds from the first batch to the arrival at the last healthy receiver.

    Only first attempts are handed out: those that follow come seconds later, to the faulty alone.
    """
    queue_url = f"http://127.0.0.1:{servers.aws_port}/000000000000/{KEPT_QUEUE}"
    os.environ["DELIVERIES_QUEUE_URL"] = queue_url
    from functions.deliver_notification import app  # noqa: PLC0415 - for the forks

    warm_up, entries = messages(servers, "none", seed), messages(servers, kind, seed)
    most = RECEIVERS // SQS_BATCH
    environments = _start(most)
    idle = [pipe for _, pipe in environments]
    # Warm environments: each has read the secret and made its connections.
    for number, pipe in enumerate(idle):
        pipe.send(queue_event(warm_up[number : number + 1]))
    for pipe in idle:
        pipe.recv()
    servers.arrivals()
    sqs = app.clients.sqs
    for batch in itertools.batched(entries, SQS_BATCH):
        some: Any = [{"Id": str(number), **each} for number, each in enumerate(batch)]
        sqs.send_message_batch(QueueUrl=queue_url, Entries=some)
    healthy = RECEIVERS - (0 if kind == "none" else int(RECEIVERS * FAULTY_SHARE))
    busy: list[Connection] = []
    arrived: list[int] = []
    started = time.monotonic()
    while len(arrived) < healthy:
        elapsed = time.monotonic() - started
        if elapsed > LONGEST_SECONDS:
            raise RuntimeError(f"{len(arrived)} of {healthy} were told")
        while idle and len(busy) < concurrency.at(elapsed):
            if (event := _received(sqs, queue_url)) is None:
                break
            busy.append(idle.pop())
            busy[-1].send(event)
        ready = wait(busy, timeout=0.02)
        for pipe in [each for each in busy if each in ready]:
            pipe.recv()
            busy.remove(pipe)
            idle.append(pipe)
        arrived += [at for path, at in servers.arrivals() if HEALTHY in path]
    for process, _ in environments:
        process.kill()
        process.join()
    return max(arrived) / 1e9 - started


if __name__ == "__main__":
    first, per_second = map(int, sys.argv[3].split("+"))
    seconds = until_all_are_told(
        Servers.from_json(sys.argv[1]),
        sys.argv[2],
        Concurrency(first, per_second),
        int(sys.argv[4]),
    )
    Path(sys.argv[-1]).write_text(json.dumps({"seconds": seconds}))

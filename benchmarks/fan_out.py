"""In a process of its own: one invocation of the builder for many participants, or a bare loop.

    python -m benchmarks.fan_out builder|bare SERVERS PARTICIPANTS RESULT

The bare loop sends as many messages of the same size by the same calls, ten each, as many at once.
All it sends is there before the clock starts: it reads no participants, and makes no messages.
"""

import itertools
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import boto3

from benchmarks.events import SQS_BATCH, Context, fan_out_event
from benchmarks.measuring import Servers, memory_mib
from benchmarks.servers import participant_uuid, training_uuid
from fl_notifications.aws.clients import CLIENT_CONFIG, CONNECTIONS
from fl_notifications.telemetry.tracing import HEADER_VARIABLE

FEW: Final = 10_000
"""Participants of the warm-up, after which memory is looked at for the first time."""


def build(participants: int) -> float:
    """The seconds that one segment takes."""
    from functions.fan_out import app  # noqa: PLC0415 - it reads the environment

    event = fan_out_event(participants)
    started = time.monotonic()
    answer = app.lambda_handler(event, Context(remaining_ms=890_000))  # type: ignore[arg-type]
    took = time.monotonic() - started
    if answer["batchItemFailures"]:
        raise RuntimeError("the function reports a failure")
    return took


def send_bare(servers: Servers, participants: int) -> float:
    """The seconds that the calls alone take."""
    client = boto3.client("sqs", config=CLIENT_CONFIG)
    queue_url = servers.environment["DELIVERIES_QUEUE_URL"]
    batches = list(itertools.batched(_entries(participants), SQS_BATCH))

    def send(batch: Any) -> int:
        answer = client.send_message_batch(QueueUrl=queue_url, Entries=batch)
        return len(answer["Successful"])

    with ThreadPoolExecutor(CONNECTIONS) as threads:
        started = time.monotonic()
        sent = sum(threads.map(send, batches))
        took = time.monotonic() - started
    if sent != participants:
        raise RuntimeError(f"{sent} messages were accepted")
    return took


def _entries(participants: int) -> list[dict[str, Any]]:
    training, header = training_uuid(participants), os.environ[HEADER_VARIABLE]
    # As long as a delivery of a round.
    body = json.dumps({"notification_id": "5aec6cd4-74b6-563f-a657-43a23d278f6e"}).ljust(720)
    return [
        {
            "Id": str(number % SQS_BATCH),
            "MessageBody": body,
            "MessageGroupId": f"{training}:{participant_uuid(number)}",
            "MessageDeduplicationId": participant_uuid(number),
            "MessageSystemAttributes": {
                "AWSTraceHeader": {"DataType": "String", "StringValue": header}
            },
        }
        for number in range(participants)
    ]


def main(what: str, servers: Servers, participants: int) -> dict[str, float]:
    """Measure one of the two, after a warm-up."""
    if what == "bare":
        send_bare(servers, FEW // 10)
        servers.forget_calls()
        cpu = time.process_time()
        return {"seconds": send_bare(servers, participants), "cpu": time.process_time() - cpu}
    build(FEW)
    servers.forget_calls()
    memory = memory_mib("VmHWM")
    cpu = time.process_time()
    seconds = build(participants)
    return {
        "seconds": seconds,
        "cpu": time.process_time() - cpu,
        "memory_mib": memory_mib("VmHWM"),
        "memory_mib_of_few": memory,
    }


if __name__ == "__main__":
    result = main(sys.argv[1], Servers.from_json(sys.argv[2]), int(sys.argv[3]))
    Path(sys.argv[-1]).write_text(json.dumps(result))

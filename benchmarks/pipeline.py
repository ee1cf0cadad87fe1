"""In a process of its own: the handlers' CPU for some notifications, and the floor beside it.

    python -m benchmarks.pipeline SERVERS KIND COUNT RESULT

The handlers are the real ones with real clients. What is counted is the CPU time of this process
(user and system, all threads) while a handler runs: neither what makes the events nor the servers.
The floor is the calls of AWS that the handlers made, one by one again, and as many bare POSTs.
"""

import json
import socket
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.events import SQS_BATCH, Context, callback_events, queue_events, training_changed
from benchmarks.measuring import Servers
from benchmarks.servers import HOSTS

START: Final = "TRAINING_START"
ROUND: Final = "UPDATE_ROUND_START"
WARM_UP: Final = 100

_CHANGES: Final = {
    # Always followed by the round's, which is built in the same invocation.
    START: {"old": ("INITIAL", 0), "new": ("ONGOING", 3)},
    ROUND: {"old": ("ONGOING", 2), "new": ("ONGOING", 3)},
}


class Stopwatch:
    """Adds up CPU seconds of this process by name."""

    def __init__(self) -> None:
        """Start from nothing."""
        self.seconds: dict[str, float] = {}

    def run[T](self, name: str, call: Callable[[], T]) -> T:
        """Call, and add what it took."""
        before = time.process_time()
        result = call()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - before
        return result


def run_handlers(servers: Servers, kind: str, count: int) -> tuple[Stopwatch, list[Any]]:
    """Take `count` notifications of a kind through all the handlers.

    Returns:
        The CPU seconds by function, and the calls of AWS that are `kind`'s.
    """
    from functions.build_notifications import app as build  # noqa: PLC0415 - they read the
    from functions.callback_success import app as succeed  # noqa: PLC0415   environment
    from functions.deliver_notification import app as deliver  # noqa: PLC0415

    stopwatch = Stopwatch()
    servers.forget_calls()
    change = training_changed(count, **_CHANGES[kind])
    answer = stopwatch.run("build", lambda: build.lambda_handler(change, Context()))  # type: ignore[arg-type]
    _nothing_left(answer)
    built = servers.calls()
    messages = [call for call in built if call[0] == "SendMessageBatch"]
    ours = [call for call in messages if kind in call[1]["Entries"][0]["MessageBody"]]
    stopwatch.seconds["build"] *= len(ours) / len(messages)
    for event in queue_events(ours, kind):
        answer = stopwatch.run("deliver", lambda: deliver.lambda_handler(event, Context()))  # type: ignore[arg-type]  # noqa: B023
        _nothing_left(answer)
    delivered = servers.calls()
    for event in callback_events(delivered):
        stopwatch.run("callback", lambda: succeed.lambda_handler(event, Context()))  # type: ignore[arg-type]  # noqa: B023
    others = [call for call in built if call[0] != "SendMessageBatch"]
    others = others[: len(others) * len(ours) // len(messages)]
    return stopwatch, [*others, *ours, *delivered]


def _nothing_left(answer: Any) -> None:
    if answer["batchItemFailures"]:
        raise RuntimeError(f"not all went well: {answer}")


def run_floor(servers: Servers, calls: Iterable[tuple[str, dict[str, Any]]], count: int) -> float:
    """Make the same calls and `count` POSTs; gives the CPU seconds."""
    import boto3  # noqa: PLC0415 - after the environment is set

    from fl_notifications.aws.clients import CLIENT_CONFIG  # noqa: PLC0415 - likewise

    dynamodb = boto3.client("dynamodb", config=CLIENT_CONFIG)
    sqs = boto3.client("sqs", config=CLIENT_CONFIG)
    events = boto3.client("events", config=CLIENT_CONFIG)
    methods: dict[str, Callable[..., Any]] = {
        "Query": dynamodb.query,
        "GetItem": dynamodb.get_item,
        "PutItem": dynamodb.put_item,
        "BatchGetItem": dynamodb.batch_get_item,
        "BatchWriteItem": dynamodb.batch_write_item,
        "SendMessageBatch": sqs.send_message_batch,
        "PutEvents": events.put_events,
    }
    prepared = [(methods[operation], _arguments(call), operation) for operation, call in calls]

    def make_all(some: Iterable[tuple[Any, dict[str, Any], str]]) -> None:
        posts = count
        for call, arguments, operation in some:
            call(**arguments)
            if operation == "BatchGetItem":
                bare_posts(servers.receivers_port, min(SQS_BATCH, posts))
                posts -= SQS_BATCH

    make_all(prepared[-WARM_UP:])
    before = time.process_time()
    make_all(prepared)
    return time.process_time() - before


def _arguments(call: dict[str, Any]) -> dict[str, Any]:
    for entry in call.get("Entries", ()):
        if "Time" in entry:  # the only argument that is not JSON's own
            entry["Time"] = datetime.fromtimestamp(entry["Time"], UTC)
    return call


def bare_posts(port: int, count: int) -> None:
    """POST what a notification is to a socket, each on a connection of its own."""
    body = b'{"notification_type":"UPDATE_ROUND_START","body":{"round":3}}'.ljust(220)
    head = (
        b"POST /ok/1 HTTP/1.1\r\nHost: 127.0.0.2\r\nContent-Type: application/json\r\n"
        b"webhook-id: 5aec6cd4-74b6-563f-a657-43a23d278f6e\r\nwebhook-timestamp: 1795500000\r\n"
        b"webhook-signature: v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=\r\n"
        b"Content-Length: %d\r\nConnection: close\r\n\r\n"
    ) % len(body)
    for number in range(count):
        with socket.create_connection((HOSTS[number % len(HOSTS)], port)) as connection:
            connection.sendall(head + body)
            if not connection.recv(4096).startswith(b"HTTP/1.1 200"):
                raise RuntimeError("a receiver did not accept")


def main(servers: Servers, kind: str, count: int) -> dict[str, Any]:
    """Measure both, after a warm-up."""
    run_handlers(servers, kind, WARM_UP)
    stopwatch, calls = run_handlers(servers, kind, count)
    return {
        "handlers": stopwatch.seconds,
        "floor": run_floor(servers, calls, count),
        "calls": len(calls),
    }


if __name__ == "__main__":
    result = main(Servers.from_json(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    Path(sys.argv[-1]).write_text(json.dumps(result))

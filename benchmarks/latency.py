"""One state change to its arrival at one receiver, on the local stack, warm, step by step."""

import json
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from fl_notifications.server.repository import TrainingRepository
from fl_notifications.trainings.model import Receiver
from fl_notifications_cli.local.stack import LocalStack
from fl_notifications_cli.participants import ParticipantServer
from fl_notifications_cli.progress import Steps
from fl_notifications_cli.stack import Stack

WARM_UP: Final = 3
_ARRIVAL_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 1.0

STEPS: Final = (
    "write of the table",
    "stream, builder, until the queue has it",
    "queue, until the POST begins",
    "POST, until it has arrived",
)


def measure(rounds: int) -> tuple[dict[str, list[float]], Path]:
    """Start a local stack and change a training's round so often.

    Returns:
        Milliseconds by step, and under "all" from the change to the arrival; and where the layer
        that was built lies: in a temporary directory, which is the caller's to remove.
    """
    directory = Path(tempfile.mkdtemp(prefix="benchmark-stack-"))
    local = LocalStack(directory, Steps(None))
    stack = local.start(usual_port=None)
    try:
        with ParticipantServer() as server:
            return _measure(stack, server, rounds), directory
    finally:
        # Its built functions and layer are looked at later.
        (local.work / "build").rename(directory / "build")
        local.stop()


def _measure(stack: Stack, server: ParticipantServer, rounds: int) -> dict[str, list[float]]:
    repository = TrainingRepository(stack.client("dynamodb"), stack.output("TrainingsTable"))
    participant = server.add()
    training = str(uuid4())
    receiver = Receiver(uuid=participant.uuid, message_endpoint=participant.message_endpoint)
    repository.create(training, str(uuid4()), receiver, [receiver])
    repository.start(training)
    seen: dict[int, tuple[float, float, float]] = {}
    for number in range(1, WARM_UP + rounds + 1):
        time.sleep(
            _PAUSE_SECONDS
        )  # as in life, the stream and the queue have been empty for a while
        began = time.time()
        repository.next_round(training, model_uuid=str(uuid4()))
        written = time.time()
        if not participant.wait_for(
            lambda requests: any(each.round == number for each in requests),  # noqa: B023
            timeout_seconds=_ARRIVAL_SECONDS,
        ):
            raise RuntimeError(f"round {number} did not arrive")
        arrived = next(each.at for each in participant.requests if each.round == number)
        if number > WARM_UP:
            seen[number] = began, written, arrived
    return _steps(stack, seen)


def _steps(stack: Stack, seen: dict[int, tuple[float, float, float]]) -> dict[str, list[float]]:
    at: dict[tuple[str, int], dict[str, Any]] = {}
    deadline = time.monotonic() + _ARRIVAL_SECONDS
    while any((step, number) not in at for step in ("built", "attempted") for number in seen):
        if time.monotonic() > deadline:
            raise RuntimeError("the log lacks lines")
        at = {
            (line["step"], line["round"]): line
            for line in _lines(stack)
            if line.get("notification_type") == "UPDATE_ROUND_START"
        }
    times: dict[str, list[float]] = {name: [] for name in (*STEPS, "all")}
    for number, (began, written, arrived) in seen.items():
        attempted = at["attempted", number]
        posted = _seconds(attempted) - attempted["latency_ms"] / 1000
        moments = (began, written, _seconds(at["built", number]), posted, arrived)
        for name, earlier, later in zip(STEPS, moments, moments[1:], strict=False):
            times[name].append((later - earlier) * 1000)
        times["all"].append((arrived - began) * 1000)
    return times


def _lines(stack: Stack) -> Iterator[dict[str, Any]]:
    pages = stack.client("logs").get_paginator("filter_log_events")
    for page in pages.paginate(logGroupName=stack.output("LogGroup")):
        for event in page["events"]:
            try:
                line = json.loads(event["message"])
            except ValueError:
                continue
            if isinstance(line, dict) and "step" in line:
                yield line


def _seconds(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()

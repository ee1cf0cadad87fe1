"""CPU seconds of the peer's workers for some notifications; runs in the peer's environment.

    python -m benchmarks.peer.run RECEIVERS_PORT KIND COUNT CONCURRENCY RESULT

Starts a Redis of its own on loopback and the peer's worker, and ends both.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.measuring import PROJECT, free_port, taken, tree_seconds
from benchmarks.peer import stand_ins  # before anything of the peer
from benchmarks.servers import HOSTS

import redis  # type: ignore[import-not-found]  # isort: skip - the peer's environment has it

WARM_UP: Final = 50
_SECONDS: Final = 120.0


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait, at most some minutes."""
    end = time.monotonic() + _SECONDS
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.2)


@contextmanager
def running(*command: str, log: Path) -> Iterator[int]:
    """Run a program in the background."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=log.parent)  # noqa: S603
        try:
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def notification(kind: str, port: int, count: int) -> Any:
    """The peer's own notification."""
    # Its settings read the environment when they are imported.
    from fl_server_ai.notification import (  # type: ignore[import-not-found]  # noqa: PLC0415
        training,
    )

    receivers = [
        stand_ins.NotificationReceiver(number, f"http://{HOSTS[number % 10]}:{port}/ok/{number}")
        for number in range(count)
    ]
    if kind == "TRAINING_START":
        cls, body = training.TrainingStartNotification, {}
    else:
        cls, body = training.TrainingRoundStartNotification, {"round": 3}
    content = cls.Body(global_model_uuid=uuid.uuid4(), **body)
    return cls(receivers=receivers, body=content, training_uuid=uuid.uuid4())


def measure(port: int, kind: str, count: int, worker: int, broker: Any) -> dict[str, float]:
    """Send to `count` receivers, and wait until the last callback is done."""
    arrived = 0

    def done(expected: int) -> bool:
        nonlocal arrived
        arrived += len(taken(HOSTS[0], port))
        return arrived == expected and not broker.llen("celery") and not broker.hlen("unacked")

    taken(HOSTS[0], port)  # what others have sent
    notification(kind, port, WARM_UP).send()
    wait_until(lambda: done(WARM_UP))
    arrived = 0
    before, started = tree_seconds(worker), time.monotonic()
    notification(kind, port, count).send()
    wait_until(lambda: done(count))
    took = time.monotonic() - started
    time.sleep(0.5)  # the last callback may be under way
    return {"seconds": tree_seconds(worker) - before, "took": took}


def main(port: int, kind: str, count: int, concurrency: int) -> dict[str, float]:
    """Run it all."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        redis_port = free_port()
        os.environ["FL_REDIS_LOCATION"] = f"redis://127.0.0.1:{redis_port}/1"
        os.environ["C_FORCE_ROOT"] = "1"
        os.environ["PYTHONPATH"] = f"{os.environ['PYTHONPATH']}:{PROJECT}"
        options = (
            "--bind",
            "127.0.0.1",
            "--port",
            str(redis_port),
            "--save",
            "",
            "--dir",
            directory,
        )
        command = (sys.executable, "-m", "benchmarks.peer.worker", str(concurrency))
        with (
            running("redis-server", *options, log=place / "redis.log"),
            running(*command, log=place / "worker.log") as worker,
        ):
            broker = redis.Redis(port=redis_port, db=1)
            try:
                return measure(port, kind, count, worker, broker)
            except BaseException:
                print((place / "worker.log").read_text()[-3000:], file=sys.stderr)
                raise


if __name__ == "__main__":
    result = main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    Path(sys.argv[-1]).write_text(json.dumps(result))

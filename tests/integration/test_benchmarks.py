"""The benchmarks run: what nobody runs every day breaks unseen."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from benchmarks import imports
from benchmarks.measuring import Servers, run_child, servers
from benchmarks.pipeline import ROUND, START


@pytest.fixture(scope="module")
def running() -> Iterator[Servers]:
    with servers() as made:
        yield made


def measured(running: Servers, module: str, *arguments: str) -> dict[str, Any]:
    """What a part of the benchmarks gives, in a process of its own."""
    return run_child(f"benchmarks.{module}", *arguments, environment=running.environment)


@pytest.mark.parametrize("kind", [START, ROUND])
def test_all_handlers_are_measured_and_their_calls_made_again(running: Servers, kind: str) -> None:
    found = measured(running, "pipeline", running.to_json(), kind, "20")
    assert {"build", "deliver"} <= found["handlers"].keys()
    assert all(seconds > 0 for seconds in found["handlers"].values())
    assert found["floor"] > 0
    # A query, two of each of the four calls for ten, and what is written once for the change.
    assert 9 <= found["calls"] <= 14


def test_a_sweep_side_by_side_concludes_each_once_in_ledger_event_deletion_order(
    running: Servers,
) -> None:
    found = measured(running, "sweep", "400", "16")
    assert (found["failed"], found["told"], found["repeated"]) == (400, 400, 0)
    # 400 entries; for each page of up to 25 a query, a read, three of events and a deletion; and
    # the idle sweep.
    assert 400 < found["calls"] < 640


@pytest.mark.parametrize("module", imports.MODULES)
def test_each_function_starts_with_what_the_benchmarks_set(running: Servers, module: str) -> None:
    assert module in measured(running, "imports", module)["modules"]


class Empty(BaseHTTPRequestHandler):
    """A mailbox with nothing in it, which wants to be asked again soon."""

    polls = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        Empty.polls += 1
        said = {"acknowledged": [], "notifications": [], "more": False, "poll_after_seconds": 0.05}
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        pass


def test_those_who_poll_are_held_and_go_on(tmp_path: Path) -> None:
    (tmp_path / "master").write_text("a master secret")
    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.beside", url, tmp_path / "master", "3", "0.1"],
            env={**os.environ, "NO_PROXY": "127.0.0.1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        try:
            assert json.loads(process.stdout.readline())["ready"] < 30
            process.send_signal(signal.SIGUSR1)
            time.sleep(0.3)
            held = Empty.polls
            time.sleep(0.3)
            assert Empty.polls == held
            process.send_signal(signal.SIGUSR2)
            time.sleep(0.6)
            process.terminate()
            said = json.loads(process.stdout.readline())
        finally:
            process.kill()
            process.communicate()
            server.shutdown()
    assert Empty.polls > held
    assert said["failures"] == 0
    assert said["per_second"] > 3

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fl_notifications_cli.errors import CommandError
from fl_notifications_cli.local import emulator
from fl_notifications_cli.local.stack import LocalStack
from fl_notifications_cli.local.tools import EMULATOR_PYTHON, wait_for
from fl_notifications_cli.progress import Steps
from fl_notifications_cli.stack import Stack, StackNotFoundError, find_stack

pytestmark = pytest.mark.local("it is about the local stack itself")


def test_the_description_says_what_was_deployed(local_stack: LocalStack, stack: Stack) -> None:
    said = json.loads((local_stack.directory / "stack.json").read_text())

    assert said == {
        "endpoint_url": stack.endpoint_url,
        "region": stack.region,
        "stack_name": stack.name,
        "outputs": stack.outputs,
    }


def test_queue_urls_lead_to_this_machine(stack: Stack) -> None:
    assert stack.output("DeliveriesQueueUrl").startswith(f"{stack.endpoint_url}/")


def test_a_missing_output_is_named(stack: Stack) -> None:
    with pytest.raises(StackNotFoundError, match="no output Nonsense"):
        stack.output("Nonsense")


def test_another_stack_at_the_same_port_is_not_taken_for_ours(stack: Stack, tmp_path: Path) -> None:
    stale = tmp_path / "stack.json"
    stale.write_text(
        json.dumps(
            {
                "endpoint_url": stack.endpoint_url,
                "region": stack.region,
                "stack_name": stack.name,
                "outputs": {"TrainingsTable": "of another one"},
            }
        )
    )

    with pytest.raises(StackNotFoundError, match="another stack"):
        find_stack(stack_file=stale)


def test_a_second_emulator_runs_beside_and_leaves_nothing(stack: Stack, tmp_path: Path) -> None:
    taken = int(str(stack.endpoint_url).rpartition(":")[2])

    second = emulator.start(tmp_path, usual_port=taken)
    try:
        assert second.emulator.port != taken
        assert emulator.running(tmp_path) == second.emulator
    finally:
        second.end()

    assert emulator.processes(tmp_path) == []
    assert emulator.running(tmp_path) is None


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """Even if that is killed and can't stop it any more."""
    script = (
        "import pathlib, sys, time\n"
        "from fl_notifications_cli.local import emulator\n"
        "emulator.start(pathlib.Path(sys.argv[1]), usual_port=None)\n"
        "print('started', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout
        assert starter.stdout.readline() == "started\n"
        assert len(emulator.processes(tmp_path)) == 1
        starter.kill()

    assert wait_for(lambda: not emulator.processes(tmp_path), timeout_seconds=10)


def test_a_released_one_lives_on_until_it_is_ended(tmp_path: Path) -> None:
    started = emulator.start(tmp_path, usual_port=None)
    started.release()
    time.sleep(0.3)

    assert emulator.running(tmp_path) == started.emulator
    assert emulator.end(tmp_path)
    os.waitpid(started.emulator.pid, 0)
    assert not emulator.end(tmp_path)


def test_a_stranger_with_the_recorded_pid_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        (tmp_path / "emulator.json").write_text(
            json.dumps({"pid": stranger.pid, "port": 1, "token": "x"})
        )

        assert emulator.running(tmp_path) is None
        assert not emulator.end(tmp_path)
        assert stranger.poll() is None
        stranger.kill()


def test_a_failed_start_leaves_nothing_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fl_notifications_cli.local.stack.SAM", EMULATOR_PYTHON)  # can't build

    local = LocalStack(tmp_path, Steps(None))
    with pytest.raises(CommandError, match=r"failed \(exit status 2\)\nThe end of .*build\.log"):
        local.start(usual_port=None)

    assert emulator.processes(local.work) == []
    assert not (tmp_path / "stack.json").exists()


def test_a_function_that_does_not_start_fails_the_start(tmp_path: Path) -> None:
    """Not only its invocations, which nobody looks at.

    The pattern of the parameter takes any colons for an IPv6 network, the function does not.
    """
    local = LocalStack(tmp_path, Steps(None))

    why = r"function DeliverNotification does not start:(.|\n)*ALLOWED_PRIVATE_NETWORKS"
    with pytest.raises(CommandError, match=why):
        local.start(usual_port=None, parameters={"AllowedPrivateNetworks": ":::/8"})

    assert emulator.processes(local.work) == []


def test_an_interrupted_start_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys\n"
        "from fl_notifications_cli.local.commands import end_tidily\n"
        "from fl_notifications_cli.local.stack import LocalStack\n"
        "from fl_notifications_cli.progress import Steps\n"
        "end_tidily()\n"
        "LocalStack(pathlib.Path(sys.argv[1]), Steps(None)).start(usual_port=None)\n"
    )
    work = tmp_path / "stack"
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path], stderr=subprocess.DEVNULL
    ) as starter:
        assert wait_for((work / "logs" / "build.log").exists, timeout_seconds=60)
        starter.send_signal(signal.SIGTERM)
        assert starter.wait(30) != 0

    assert emulator.processes(work) == []
    assert not (tmp_path / "stack.json").exists()

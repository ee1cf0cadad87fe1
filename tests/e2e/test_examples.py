"""The examples, run as people run them, on the local stack."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from fl_notifications_cli.local.stack import LocalStack
from fl_notifications_cli.local.tools import PROJECT, SAM, run_logged, sam_environment
from fl_notifications_cli.outputs import variables
from fl_notifications_cli.participants import ParticipantServer, rejecting
from fl_notifications_cli.secret import read_secret
from fl_notifications_cli.stack import Stack, new_client

pytestmark = pytest.mark.local("their programs listen at 127.0.0.1")

EXAMPLES = PROJECT / "examples"
WITHIN_SECONDS = 60.0
ALL = [
    "TRAINING_START",
    "UPDATE_ROUND_START 0",
    "UPDATE_ROUND_START 1",
    "MODEL_TEST_ROUND 1",
    "TRAINING_FINISHED",
]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.fixture
def environment(local_stack: LocalStack, stack: Stack) -> dict[str, str]:
    """What `eval "$(fl-notifications outputs --export)"` gives a shell."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return (
        own
        | dict(variables(stack))
        | {
            "FL_NOTIFICATIONS_STACK": str(local_stack.directory / "stack.json"),
            "PYTHONUNBUFFERED": "1",
        }
    )


def test_hello_leads_to_a_traced_notification(environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        [EXAMPLES / "hello" / "hello.sh"],
        cwd=PROJECT,
        env={
            **environment,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}",
            "PORT": str(free_port()),
            "PATIENCE": "3",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "✓ accepted: answered 202" in done.stdout  # the ring
    for label in ("TEST", "TRAINING_START", "UPDATE_ROUND_START 1", "TRAINING_FINISHED"):
        assert f"{label}  ✓ verified  → 202" in done.stdout
    assert "1 receiver, 4 notifications: ✓ 4 accepted" in done.stdout


@contextmanager
def running(
    *command: str | Path, log: Path, port: int, **variables_: str
) -> Iterator[Callable[[], str]]:
    """A program that runs and listens at a port; gives what it has printed so far."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=PROJECT, env=variables_, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            wait_until(lambda: process.poll() is not None or listens(port), log.read_text)
            yield log.read_text
        finally:
            process.kill()
            process.wait()


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def wait_until(condition: Callable[[], bool], said: Callable[[], str]) -> None:
    deadline = time.monotonic() + WITHIN_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited in vain; what it says: {said()}")
        time.sleep(0.1)


@pytest.fixture
def rejections(local_stack: LocalStack, stack: Stack) -> str:
    """The callback's stack, beside the service's; the name of its table."""
    work = local_stack.work / "callback"
    template = work / "template.yaml"
    own = sam_environment(work, network=False)
    own |= {**dict(variables(stack)), "SAM_CLI_POLL_DELAY": "0.5"}
    for name, arguments in (
        ("build", ["--template-file", EXAMPLES / "callback" / "template.yaml"]),
        (
            "deploy",
            [
                *("--template-file", template, "--stack-name", "rejections"),
                *("--capabilities", "CAPABILITY_IAM", "--resolve-s3", "--no-progressbar"),
                *("--parameter-overrides", f"OutcomesBus={stack.output('OutcomesBus')}"),
            ],
        ),
    ):
        build = ["--build-dir", work] if name == "build" else []
        run_logged(
            [str(each) for each in (SAM, name, *arguments, *build)],
            environment=own,
            log=work / f"{name}.log",
            timeout_seconds=120,
        )
    client = new_client("cloudformation", stack.region, stack.endpoint_url)
    [found] = client.describe_stacks(StackName="rejections")["Stacks"]
    return next(str(output["OutputValue"]) for output in found["Outputs"])


def test_a_server_two_receivers_and_a_callback_work_together(
    stack: Stack,
    environment: dict[str, str],
    rejections: str,
    participants: ParticipantServer,
    tmp_path: Path,
) -> None:
    """In plain Python, FastAPI and Node; the callback sees who rejects."""
    node = shutil.which("node")
    refuses = participants.add(rejecting(1))
    python = Path(sys.executable)
    ports = {name: free_port() for name in ("fastapi", "node")}
    uuids = {name: str(uuid4()) for name in ports}
    secrets = {name: read_secret(stack, uuid) for name, uuid in uuids.items()}
    programs: dict[str, list[str | Path]] = {
        "fastapi": [
            *(python, "-m", "uvicorn", "--port", str(ports["fastapi"])),
            "examples.receiver_fastapi.main:app",
        ]
    }
    if node is not None:
        programs["node"] = [node, EXAMPLES / "receiver_node" / "receiver.mjs"]
    with ExitStack() as stack_of:
        said = {
            name: stack_of.enter_context(
                running(
                    *program,
                    log=tmp_path / name,
                    port=ports[name],
                    **environment,
                    WEBHOOK_SECRET=secrets[name],
                    PORT=str(ports[name]),
                )
            )
            for name, program in programs.items()
        }
        done = subprocess.run(
            [
                *(python, EXAMPLES / "server" / "train.py"),
                *(f"{uuids[name]}=http://127.0.0.1:{ports[name]}/messages" for name in programs),
                f"{refuses.uuid}={refuses.message_endpoint}",
            ],
            cwd=PROJECT,
            env=environment | {"TRAINING_SECONDS": "4"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert f"finished with {len(programs)} of {len(programs) + 1} participants" in done.stdout
        for output in said.values():
            wait_until(lambda output=output: "TRAINING_FINISHED" in output(), output)  # type: ignore[misc]
            assert re.findall(r"^working on (.*)$", output(), re.MULTILINE) == ALL

    def kept() -> list[dict[str, object]]:
        items: list[dict[str, object]] = stack.client("dynamodb").query(
            TableName=rejections,
            KeyConditionExpression="receiver_uuid = :receiver",
            ExpressionAttributeValues={":receiver": {"S": refuses.uuid}},
        )["Items"]  # type: ignore[assignment]
        return items

    wait_until(lambda: bool(kept()), lambda: "nothing is kept")
    [item] = kept()
    assert item["reason"] == {"S": "answered 400"}
    assert item["notification_type"] == {"S": "UPDATE_ROUND_START"}

"""Where the tools of the local stack are, and how to run one."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from fl_notifications_cli.errors import CommandError

PROJECT = Path(__file__).resolve().parents[3]
"""The checkout."""

_TOOLS = PROJECT / ".local" / "tools"
SAM = _TOOLS / "sam" / "bin" / "sam"
EMULATOR_PYTHON = _TOOLS / "ministack" / "bin" / "python"

_SHOWN_LINES = 25


def require_tools() -> None:
    """Check that the tools are there.

    Raises:
        CommandError: one is missing.
    """
    for tool in (SAM, EMULATOR_PYTHON):
        if not tool.exists():
            raise CommandError(f"{tool} is missing: run 'make tools', which fetches it")


def sam_environment(directory: Path, *, network: bool) -> dict[str, str]:
    """Return the environment that SAM CLI runs in: nothing of the user's AWS settings.

    Args:
        directory: where SAM CLI may keep what it notes for itself.
        network: whether it has to reach package indexes, with the user's proxies and pip settings.
    """
    own = directory / "sam"
    own.mkdir(parents=True, exist_ok=True)
    # SAM CLI asks PyPI for a newer version unless it has done so within a week.
    (own / "metadata.json").write_text(
        '{"telemetryEnabled": false, "lastVersionCheck": 32503680000}'
    )
    unwanted = ("AWS_", "SAM_", "PYTHON", "VIRTUAL_ENV", "UV_", "DOCKER_")
    kept = (
        {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
        if network
        else {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(own)}
    )
    # `sam build` runs the first python3.13 of the path that has pip: the one beside it.
    path = os.pathsep.join([str(SAM.parent), kept.get("PATH", os.defpath)])
    return kept | {
        "PATH": path,
        "LANG": "C.UTF-8",
        "SAM_CLI_TELEMETRY": "0",
        "__SAM_CLI_APP_DIR": str(own),
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def run_logged(
    command: Sequence[str], *, environment: Mapping[str, str], log: Path, timeout_seconds: float
) -> None:
    """Run a program with its output in a file, in the checkout's directory.

    Whatever happens, an interrupt too, nothing that it started is left running.

    Raises:
        CommandError: it failed or took too long; the message ends with the log's last lines.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    name = " ".join([Path(command[0]).name, *command[1:2]])
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  # our own command
            command,
            cwd=PROJECT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(timeout_seconds)
        except subprocess.TimeoutExpired as error:
            raise CommandError(
                f"'{name}' was still running after {timeout_seconds:.0f} s\n{tail(log)}"
            ) from error
        finally:
            # The group: `sam build` starts pip, and an interrupt must end that too.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if status != 0:
        raise CommandError(f"'{name}' failed (exit status {status})\n{tail(log)}")


def tail(log: Path) -> str:
    """Return a log's last lines, with its path, for a message."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return f"(no log at {log})"
    shown = "\n".join(f"  | {line}" for line in lines[-_SHOWN_LINES:] if line.strip())
    return f"The end of {log}:\n{shown}"


def wait_for(
    condition: Callable[[], bool], *, timeout_seconds: float, poll_seconds: float = 0.05
) -> bool:
    """Ask until a condition holds; return whether it did within the time."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(poll_seconds)
    return True

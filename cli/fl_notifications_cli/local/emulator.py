"""MiniStack as a process: started, recognised, ended.

It runs in a session of its own with its functions' worker processes. Each of them carries the
stack's directory on its command line: that is how they are told from processes of others, and from
those of another checkout's stack.
"""

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from fl_notifications_cli.errors import CommandError
from fl_notifications_cli.local.tools import EMULATOR_PYTHON, tail, wait_for
from fl_notifications_cli.stack import LOCAL_KEY

USUAL_PORT = 4566
"""Taken when it is free: what people know from other emulators."""

REGION = "eu-central-1"

_START_SECONDS = 60.0
_END_SECONDS = 10.0
_STARTS = 5

# The guard ends the emulator's whole group when its standard input closes without a word, which
# happens when the process that started it ends, in whatever way.
_GUARD = """
import os, signal, sys
if sys.stdin.readline() != "release\\n":
    try:
        os.killpg(int(sys.argv[1]), signal.SIGKILL)
    except ProcessLookupError:
        pass
"""


class _PidFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: int
    port: int
    token: str


@dataclass(frozen=True, slots=True)
class Emulator:
    """A running emulator.

    Attributes:
        directory: the stack's directory, which nothing of it leaves.
        pid: its process and process group.
        port: where it listens on 127.0.0.1.
        token: what it answers to whoever asks which one it is.
    """

    directory: Path
    pid: int
    port: int
    token: str

    @property
    def endpoint_url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def answers(self) -> bool:
        """Whether it, and no other, answers at its port and is ready."""
        try:
            return _get_json(f"{self.endpoint_url}/_ministack/health").get("edition") == self.token
        except (OSError, ValueError):
            return False


@dataclass(frozen=True, slots=True)
class Process:
    """A process of an emulator.

    Attributes:
        pid: its id.
        function: the name of the Lambda function whose worker it is; None for the emulator itself.
    """

    pid: int
    function: str | None


class Started:
    """An emulator that this process started, and that ends with it unless it is released.

    Attributes:
        emulator: the emulator.
    """

    def __init__(self, emulator: Emulator, process: "subprocess.Popen[bytes]") -> None:
        self.emulator = emulator
        self._process = process
        self._guard = subprocess.Popen(  # noqa: S603  # our own command
            [sys.executable, "-I", "-c", _GUARD, str(emulator.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._process.poll() is not None

    def end(self) -> None:
        """End it, with all its workers."""
        end(self.emulator.directory)
        self._process.wait(_END_SECONDS)
        self._dismiss_guard()

    def release(self) -> None:
        """Let it live on when this process ends."""
        self._dismiss_guard()
        self._process.returncode = 0  # nobody waits for it any more: no warning about that

    def _dismiss_guard(self) -> None:
        with suppress(OSError):
            self._guard.communicate("release\n", timeout=_END_SECONDS)


def start(directory: Path, *, usual_port: int | None) -> Started:
    """Start an emulator and wait until it is ready.

    Args:
        directory: where everything of it lies, as an absolute path.
        usual_port: the port to take if it is free; another is chosen when it isn't, or for None.

    Raises:
        CommandError: it doesn't start.
    """
    log = directory / "logs" / "emulator.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(_STARTS):
        started = _spawn(directory, _free_port(usual_port if attempt == 0 else None), log)
        try:
            in_time = _wait_until_ready(started)
        except BaseException:
            started.end()
            raise
        if in_time and not started.ended():
            return started
        started.end()
        if not in_time:
            raise CommandError(f"MiniStack was not ready after {_START_SECONDS:.0f} s\n{tail(log)}")
        # Somebody may have taken the port between the look and the bind: another one, then.
    raise CommandError(f"MiniStack does not start\n{tail(log)}")


def _wait_until_ready(started: Started) -> bool:
    return wait_for(
        lambda: started.ended() or started.emulator.answers(), timeout_seconds=_START_SECONDS
    )


def _spawn(directory: Path, port: int, log: Path) -> Started:
    token = secrets.token_hex(8)
    temporary = _temporary(directory)
    temporary.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  # our own command
            _command(directory),
            cwd=directory,
            env=_environment(directory, temporary, port, token),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _pid_file(directory).write_text(
            _PidFile(pid=process.pid, port=port, token=token).model_dump_json()
        )
        return Started(Emulator(directory, process.pid, port, token), process)
    except BaseException:
        process.kill()
        process.wait()
        raise


def _command(directory: Path) -> list[str]:
    # -X: an option that Python knows nothing of, and passes over; it marks the process as ours.
    return [str(EMULATOR_PYTHON), "-X", f"stack={directory}", "-m", "ministack"]


def _environment(directory: Path, temporary: Path, port: int, token: str) -> dict[str, str]:
    """Return all that the emulator and its functions see: nothing of the user's environment."""
    return {
        "PATH": f"{EMULATOR_PYTHON.parent}{os.pathsep}{os.defpath}",
        "HOME": str(directory),
        "TMPDIR": str(temporary),
        "STATE_DIR": str(temporary / "state"),
        "S3_DATA_DIR": str(temporary / "s3"),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONUNBUFFERED": "1",
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",  # in queue URLs
        "MINISTACK_REGION": REGION,
        "MINISTACK_EDITION": token,  # shown by its health page: that it is this one that answers
        "AUTH": "true",
        "AWS_ACCESS_KEY_ID": LOCAL_KEY,
        "AWS_SECRET_ACCESS_KEY": LOCAL_KEY,
        "PERSIST_STATE": "0",
        "IOT_MTLS_ENABLED": "0",  # a port more
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": "unix:///nonexistent",  # it would clean up containers
    }


def running(directory: Path) -> Emulator | None:
    """Return the emulator of a directory if it runs and answers."""
    try:
        said = _PidFile.model_validate_json(_pid_file(directory).read_bytes())
    except (OSError, ValidationError):
        return None
    emulator = Emulator(directory, said.pid, said.port, said.token)
    return emulator if emulator.answers() else None


def end(directory: Path) -> bool:
    """End the emulator of a directory and all its workers; return whether there was any.

    Raises:
        CommandError: a process can't be ended.
    """
    found = bool(processes(directory))
    # Again and again: a worker may just be being started. There is nothing to save, so nothing to
    # wait for.
    if not wait_for(lambda: not _kill_all(directory), timeout_seconds=_END_SECONDS):
        left = ", ".join(str(process.pid) for process in processes(directory))
        raise CommandError(f"these processes of the local stack can't be ended: {left}")
    _pid_file(directory).unlink(missing_ok=True)
    return found


def _kill_all(directory: Path) -> bool:
    found = processes(directory)
    for process in found:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    return bool(found)


def processes(directory: Path) -> list[Process]:
    """Return the processes of a directory's emulator that run, its workers included."""
    leader = " ".join(_command(directory))
    worker = re.compile(
        re.escape(f"{EMULATOR_PYTHON} {_temporary(directory)}/ministack-lambda-")
        + r"(?P<function>.+)-[^-/]+/_worker\.py"
    )
    found = []
    for pid, command in _commands():
        if command == leader:
            found.append(Process(pid, None))
        elif match := worker.fullmatch(command):
            found.append(Process(pid, match["function"]))
    return found


def _commands() -> Iterator[tuple[int, str]]:
    """Yield pid and command line of every process of this user's that has not ended."""
    proc = Path("/proc")
    if (proc / "self" / "cmdline").exists():
        for entry in proc.iterdir():
            if entry.name.isdigit():
                with suppress(OSError):  # ended meanwhile, or not ours to see
                    # Empty for one that has ended and was not waited for.
                    command = (entry / "cmdline").read_bytes().decode(errors="replace")
                    yield int(entry.name), command.rstrip("\0").replace("\0", " ")
        return
    listed = subprocess.run(  # macOS
        ["ps", "-xww", "-o", "pid=,command="],  # noqa: S607  # wherever it is
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    for line in listed.stdout.splitlines():
        pid, _, command = line.strip().partition(" ")
        yield int(pid), command


def _pid_file(directory: Path) -> Path:
    return directory / "emulator.json"


def _temporary(directory: Path) -> Path:
    return directory / "tmp"


def _free_port(usual: int | None) -> int:
    for port in (usual, 0):
        if port is None:
            continue
        with socket.socket() as probe, suppress(OSError):
            # As servers do: a port in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            taken: int = probe.getsockname()[1]
            return taken
    raise CommandError("there is no free port on 127.0.0.1")


def _get_json(url: str) -> dict[str, object]:
    # No proxy: the address is this machine's.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=5) as answer:
        said = json.loads(answer.read(1_000_000))
    return said if isinstance(said, dict) else {}

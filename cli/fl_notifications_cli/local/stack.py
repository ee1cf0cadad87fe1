"""The local stack: the template, built and deployed onto an emulator by SAM CLI."""

import fcntl
import platform
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fl_notifications_cli.errors import CommandError
from fl_notifications_cli.local import emulator
from fl_notifications_cli.local.deployed import deployed_functions
from fl_notifications_cli.local.emulator import USUAL_PORT, Emulator, Started
from fl_notifications_cli.local.imports import check_imports
from fl_notifications_cli.local.tools import (
    PROJECT,
    SAM,
    require_tools,
    run_logged,
    sam_environment,
    wait_for,
)
from fl_notifications_cli.progress import Steps
from fl_notifications_cli.stack import (
    LOCAL_KEY,
    STACK_FILE,
    STACK_NAME,
    Stack,
    StackFile,
    find_stack,
    read_outputs,
)

HOME = PROJECT / STACK_FILE.parent
"""The directory of the stack that `make up` starts."""

_ENVIRONMENT = "local"

CONFIG = ("--config-file", str(PROJECT / "samconfig.toml"), "--config-env", _ENVIRONMENT)
"""How each call of SAM CLI finds its settings."""

_BUILD_SECONDS = 600.0
_DEPLOY_SECONDS = 300.0
_LOCK_SECONDS = 900.0


class LocalStack:
    """A stack on this machine, with all that belongs to it in one directory.

    Several may run at once, each in its own directory. Not safe for use by two threads.

    Args:
        directory: where its description (`stack.json`), its logs and its data lie; made if missing.
        steps: where progress is shown.
    """

    def __init__(self, directory: Path, steps: Steps) -> None:
        self.directory = directory.resolve()
        self._steps = steps
        self._started: Started | None = None

    @property
    def work(self) -> Path:
        """What belongs to the running stack, and goes when it stops."""
        return self.directory / "stack"

    @property
    def built_template(self) -> Path:
        """The template as `sam build` leaves it, with the code beside it."""
        return self.work / "build" / "template.yaml"

    def start(
        self, *, usual_port: int | None = USUAL_PORT, parameters: Mapping[str, str] | None = None
    ) -> Stack:
        """Start the stack, or deploy changed code onto the running one.

        A stack that this call starts ends with this process, in whatever way that ends, until
        `release` is called.

        Args:
            usual_port: the port to take if it is free; another is chosen when it isn't, or for
                None.
            parameters: template parameters that differ from samconfig.toml's environment `local`.

        Raises:
            CommandError: it can't be started. Nothing is left running, except a stack that was
                running before.
        """
        require_tools()
        if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
            raise CommandError(
                "the layer holds packages compiled for Linux on x86_64, and the local stack runs"
                " them on this machine: it can't here"
            )
        with self._alone():
            return self._start(usual_port, parameters or {})

    def _start(self, usual_port: int | None, parameters: Mapping[str, str]) -> Stack:
        running = emulator.running(self.work)
        try:
            if running is None:
                self._clear()
                with self._steps.step("Starting MiniStack"):
                    self._started = emulator.start(self.work, usual_port=usual_port)
                running = self._started.emulator
            with self._steps.step("Building the functions and their layer (sam build)"):
                self._build()
            with self._steps.step("Deploying the template (sam deploy)"):
                self._deploy(running, parameters)
            stack = self._describe(running)
            with self._steps.step("Checking that each function starts"):
                check_imports(stack, self.built_template.parent, deployed_functions(stack).values())
        except BaseException as error:
            if self._started is not None:
                self._stop()
            elif isinstance(error, CommandError):
                error.add_note("The stack that was running is left running ('make down' stops it).")
            raise
        return stack

    def stop(self) -> bool:
        """Stop the stack and remove its data; return whether one was running."""
        with self._alone():
            return self._stop()

    def release(self) -> None:
        """Let the stack that `start` started live on when this process ends."""
        if self._started is not None:
            self._started.release()
            self._started = None

    def _stop(self) -> bool:
        (self.directory / STACK_FILE.name).unlink(missing_ok=True)
        if self._started is not None:
            self._started.end()
            self._started = None
            found = True
        else:
            found = emulator.end(self.work)
        # The logs stay: they tell why a start failed.
        for part in ("tmp", "build", "sam"):
            shutil.rmtree(self.work / part, ignore_errors=True)
        (self.work / "build.toml").unlink(missing_ok=True)
        return found

    def _clear(self) -> None:
        """Remove what a stack that ended without being stopped left behind."""
        emulator.end(self.work)
        (self.directory / STACK_FILE.name).unlink(missing_ok=True)
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)

    def _build(self) -> None:
        # The cache serves every stack of the checkout, so that the dependencies are fetched once;
        # one build at a time may write to it.
        cache = HOME / "build-cache"
        cache.mkdir(parents=True, exist_ok=True)
        with _lock(HOME / "build.lock", _LOCK_SECONDS, "another build of this checkout"):
            run_logged(
                [
                    str(SAM),
                    "build",
                    *CONFIG,
                    "--template-file",
                    str(PROJECT / "template.yaml"),
                    "--build-dir",
                    str(self.built_template.parent),
                    "--cache-dir",
                    str(cache),
                ],
                environment=sam_environment(self.work, network=True),
                log=self.work / "logs" / "build.log",
                timeout_seconds=_BUILD_SECONDS,
            )

    def _deploy(self, running: Emulator, parameters: Mapping[str, str]) -> None:
        run_logged(
            [
                str(SAM),
                "deploy",
                *CONFIG,
                "--template-file",
                str(self.built_template),
                "--stack-name",
                STACK_NAME,
                *_overrides(parameters),
            ],
            environment=sam_environment(self.work, network=False)
            | {
                "AWS_ENDPOINT_URL": running.endpoint_url,
                "AWS_ACCESS_KEY_ID": LOCAL_KEY,
                "AWS_SECRET_ACCESS_KEY": LOCAL_KEY,
                "SAM_CLI_POLL_DELAY": "0.5",  # seconds; made for AWS, its default is 5
            },
            log=self.work / "logs" / "deploy.log",
            timeout_seconds=_DEPLOY_SECONDS,
        )

    def _describe(self, running: Emulator) -> Stack:
        """Write `stack.json` and return the stack that it describes."""
        client = Stack(STACK_NAME, emulator.REGION, running.endpoint_url, {}).client(
            "cloudformation"
        )
        [found] = client.describe_stacks(StackName=STACK_NAME)["Stacks"]
        description = StackFile(
            endpoint_url=running.endpoint_url,
            region=emulator.REGION,
            stack_name=STACK_NAME,
            outputs=read_outputs(found, running.endpoint_url),
        )
        path = self.directory / STACK_FILE.name
        new = path.with_suffix(".new")
        new.write_text(description.model_dump_json(indent=2) + "\n")
        new.replace(path)
        return find_stack(stack_file=path)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other commands away from this stack while it is started or stopped."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with _lock(self.directory / "stack.lock", 0, "another command that starts or stops it"):
            yield


@contextmanager
def _lock(path: Path, timeout_seconds: float, holder: str) -> Iterator[None]:
    """Hold a lock that ends with the process."""
    with path.open("a") as file:
        if not wait_for(
            lambda: _try_lock(file.fileno()), timeout_seconds=timeout_seconds, poll_seconds=0.2
        ):
            raise CommandError(f"{holder} is at work (it holds {path}): try again when it is done")
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _overrides(parameters: Mapping[str, str]) -> list[str]:
    """Return the option that sets template parameters, if any differ from samconfig.toml."""
    if not parameters:
        return []
    config = tomllib.loads((PROJECT / "samconfig.toml").read_text())
    pairs: list[str] = config[_ENVIRONMENT]["deploy"]["parameters"]["parameter_overrides"]
    merged = dict(pair.split("=", 1) for pair in pairs) | dict(parameters)
    return ["--parameter-overrides", *(f"{name}={value}" for name, value in merged.items())]

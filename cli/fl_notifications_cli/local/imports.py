"""Whether the functions start: each is imported as it was built, with its environment as deployed.

A function that can't be imported, or finds its environment wrong, would otherwise only be seen in
the emulator's log. It also shows what the layer lacks, and the emulator's own packages fill in for.
"""

import subprocess
from collections.abc import Iterable
from pathlib import Path

from fl_notifications_cli.errors import CommandError
from fl_notifications_cli.local.deployed import Function
from fl_notifications_cli.local.tools import EMULATOR_PYTHON
from fl_notifications_cli.stack import LOCAL_KEY, Stack

_SECONDS = 120.0
_SHOWN_LINES = 15

# What Lambda's runtime has.
_RUNTIME = "boto3 botocore dateutil jmespath s3transfer six urllib3"

_IMPORT = """
import importlib, sys
handler, runtime, *places = sys.argv[1:]
sys.path[:0] = places
module, _, name = handler.rpartition(".")
getattr(importlib.import_module(module), name)
for name, module in sys.modules.items():
    place = getattr(module, "__file__", None) or ""
    if "site-packages" in place and name.partition(".")[0] not in runtime.split():
        if not name.startswith("_"):  # what environments do at their start
            sys.exit(f"{name} is neither in the layer nor in Lambda's runtime")
"""


def check_imports(stack: Stack, build: Path, functions: Iterable[Function]) -> None:
    """Import each function, all at once.

    Args:
        stack: the stack that they are deployed to.
        build: where `sam build` has put them.
        functions: the functions.

    Raises:
        CommandError: one can't be imported; the message ends with the traceback.
    """
    started = [(function, _start(stack, build, function)) for function in functions]
    try:
        for function, process in started:
            _, said = process.communicate(timeout=_SECONDS)
            if process.returncode != 0:
                end = "\n".join(f"  | {line}" for line in said.splitlines()[-_SHOWN_LINES:])
                raise CommandError(f"function {function.name} does not start:\n{end}")
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"a function does not start within {_SECONDS:.0f} s") from error
    finally:
        for _, process in started:
            process.kill()
            process.communicate()


def _start(stack: Stack, build: Path, function: Function) -> "subprocess.Popen[str]":
    return subprocess.Popen(  # noqa: S603  # our own command
        [
            EMULATOR_PYTHON,
            "-c",
            _IMPORT,
            function.handler,
            _RUNTIME,
            build / function.name,
            *(layer for layer in build.glob("*/python") if layer.is_dir()),
        ],
        cwd=build,
        env={
            **function.variables,
            "PYTHONDONTWRITEBYTECODE": "1",
            "AWS_DEFAULT_REGION": stack.region,
            "AWS_REGION": stack.region,
            "AWS_ENDPOINT_URL": str(stack.endpoint_url),
            "AWS_ACCESS_KEY_ID": LOCAL_KEY,
            "AWS_SECRET_ACCESS_KEY": LOCAL_KEY,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )

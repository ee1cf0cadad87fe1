"""The command `invoke`: one function on one event, in AWS's own container image."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
import yaml

from fl_notifications_cli.errors import CommandError
from fl_notifications_cli.local.deployed import Function, deployed_functions
from fl_notifications_cli.local.forward import forwarding
from fl_notifications_cli.local.stack import CONFIG, HOME, LocalStack
from fl_notifications_cli.local.tools import (
    PROJECT,
    SAM,
    require_tools,
    sam_environment,
)
from fl_notifications_cli.progress import Steps
from fl_notifications_cli.stack import Stack, find_stack, new_client

_IMAGE = "public.ecr.aws/lambda/python:3.13-x86_64"
_NETWORK = "{{with index .IPAM.Config 0}}{{.Subnet}} {{.Gateway}}{{end}}"

_TIMEOUT_SECONDS = 1200.0
"""Longer than any function may run, and the image's download."""


def invoke(
    function: Annotated[str, typer.Argument(help="A function's name in template.yaml.")],
    event: Annotated[Path, typer.Argument(help="A file with the event, such as those in events/.")],
) -> None:
    """Run a function in Docker on one event, against the running local stack.

    AWS's image is pulled when it isn't there; 'docker pull' fetches a newer one.
    """
    require_tools()
    if not event.is_file():
        raise CommandError(f"there is no file {event}: see events/")
    stack = find_stack(stack_file=HOME / "stack.json")
    local = LocalStack(HOME, Steps(None))
    functions = deployed_functions(stack)
    if function not in functions:
        raise CommandError(f"there is no function {function}; there are {', '.join(functions)}")
    variables = dict(functions[function].variables)
    credentials = _credentials(stack, functions[function])
    port = urlsplit(stack.endpoint_url or "").port or 0
    gateway = _docker_gateway()
    with forwarding(gateway, port) as forwarded:
        # Docker Desktop's containers have a name for this machine, and reach its 127.0.0.1 by it.
        host = gateway if forwarded else "host.docker.internal"
        variables["AWS_ENDPOINT_URL"] = f"http://{host}:{port}"
        status = _run(stack, local, function, event, variables, credentials)
    sys.exit(status)


def _run(
    stack: Stack,
    local: LocalStack,
    function: str,
    event: Path,
    variables: Mapping[str, str],
    credentials: Mapping[str, str],
) -> int:
    """Run `sam local invoke` with its output on ours; return its exit status."""
    built = yaml.safe_load(local.built_template.read_text())
    # SAM CLI sets no variable that the template doesn't name, and the emulator's address is none.
    built["Resources"][function]["Properties"]["Environment"] = {"Variables": dict(variables)}
    work = local.built_template.parent  # beside the code, which the template names by its place
    template, environment = work / "invoke-template.json", work / "invoke-environment.json"
    template.write_text(json.dumps(built))
    environment.write_text(json.dumps({function: dict(variables)}))
    docker = {name: value for name, value in os.environ.items() if name.startswith("DOCKER_")}
    return subprocess.run(  # noqa: S603  # our own command
        [
            str(SAM),
            "local",
            "invoke",
            function,
            *CONFIG,
            "--template",
            str(template),
            "--event",
            str(event.resolve()),
            "--env-vars",
            str(environment),
            # As of 1.170 SAM CLI takes this for the default network, hence the forwarding.
            "--docker-network",
            "host",
        ],
        cwd=PROJECT,
        env=sam_environment(local.work, network=True)
        | dict(credentials)
        | docker
        | {
            "AWS_ENDPOINT_URL": str(stack.endpoint_url),  # SAM CLI itself asks who it is
            "SAM_SKIP_PULL_IMAGE": str(_docker("image", "inspect", _IMAGE) is not None).lower(),
        },
        stdin=subprocess.DEVNULL,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    ).returncode


def _docker_gateway() -> str:
    """Return the address of this machine on Docker's default network."""
    said = _docker("network", "inspect", "bridge", "--format", _NETWORK)
    if said is None:
        raise CommandError("Docker does not answer: 'sam local invoke' runs functions in Docker")
    subnet, *gateway = said.split()
    # Some versions don't say it: then it is the network's first address.
    return gateway[0] if gateway else str(next(ip_network(subnet).hosts()))


def _docker(*arguments: str) -> str | None:
    """Ask Docker; return what it says, or None if it says no or doesn't answer."""
    docker = shutil.which("docker")
    if docker is None:
        raise CommandError("there is no 'docker': 'sam local invoke' runs functions in Docker")
    try:
        return subprocess.run(  # noqa: S603  # our own command
            [docker, *arguments], capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None


def _credentials(stack: Stack, function: Function) -> dict[str, str]:
    """Return credentials of the function's own role, so that it may here what it may there."""
    sts: Any = new_client("sts", stack.region, stack.endpoint_url)
    session = sts.assume_role(RoleArn=function.role, RoleSessionName=function.name)
    return {
        "AWS_ACCESS_KEY_ID": session["Credentials"]["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": session["Credentials"]["SecretAccessKey"],
        "AWS_SESSION_TOKEN": session["Credentials"]["SessionToken"],
        "AWS_DEFAULT_REGION": stack.region,
    }

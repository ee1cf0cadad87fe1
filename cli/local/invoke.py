"""The command `invoke`: one function on one event, in AWS's own container image."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from cli.errors import CommandError
from cli.local.stack import CONFIG, HOME, LocalStack
from cli.local.tools import PROJECT, SAM, require_tools, sam_environment
from cli.progress import Steps
from cli.stack import Stack, find_stack, new_client

_TIMEOUT_SECONDS = 1200.0
"""Longer than any function may run, and the image's download."""


def invoke(
    function: Annotated[str, typer.Argument(help="A function's name in template.yaml.")],
    event: Annotated[Path, typer.Argument(help="A file with the event, such as those in events/.")],
) -> None:
    """Run a function in Docker on one event, against the running local stack.

    With SAM_SKIP_PULL_IMAGE=1 an image that is already there is used without a look for a newer.
    """
    require_tools()
    local = LocalStack(HOME, Steps(None))
    stack = find_stack(stack_file=HOME / "stack.json")
    if not event.is_file():
        raise CommandError(f"there is no file {event}: see events/")
    variables, credentials = _as_deployed(stack, function)
    # SAM CLI sets only variables that the template names; the emulator's address is none of them.
    variables["AWS_ENDPOINT_URL"] = str(stack.endpoint_url)
    template = json.loads(json.dumps(yaml.safe_load(local.built_template.read_text())))
    properties = template["Resources"][function]["Properties"]
    properties["Environment"] = {"Variables": variables}
    work = local.built_template.parent  # beside the code, which the template names by its place
    (work / "invoke-template.json").write_text(json.dumps(template))
    (work / "invoke-environment.json").write_text(json.dumps({function: variables}))
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("DOCKER_") or name == "SAM_SKIP_PULL_IMAGE"
    }
    finished = subprocess.run(  # noqa: S603  # our own command
        [
            str(SAM),
            "local",
            "invoke",
            function,
            *CONFIG,
            "--template",
            str(work / "invoke-template.json"),
            "--event",
            str(event.resolve()),
            "--env-vars",
            str(work / "invoke-environment.json"),
            "--docker-network",
            "host",  # the emulator listens on 127.0.0.1 only
        ],
        cwd=PROJECT,
        env=sam_environment(local.work, network=True) | credentials | kept,
        stdin=subprocess.DEVNULL,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )
    if finished.returncode != 0:
        print(
            "'sam local invoke' failed (see above). It needs Docker, running, and the image of"
            " AWS Lambda for Python 3.13.",
            file=sys.stderr,
        )
        sys.exit(finished.returncode)


def _as_deployed(stack: Stack, function: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the function's environment as deployed, and credentials of its own role."""
    resources = stack.client("cloudformation").describe_stack_resources(StackName=stack.name)
    functions = {
        resource["LogicalResourceId"]: resource["PhysicalResourceId"]
        for resource in resources["StackResources"]
        if resource["ResourceType"] == "AWS::Lambda::Function"
    }
    if function not in functions:
        raise CommandError(f"there is no function {function}; there are {', '.join(functions)}")
    configuration = stack.client("lambda").get_function_configuration(
        FunctionName=functions[function]
    )
    sts: Any = new_client("sts", stack.region, stack.endpoint_url)
    session = sts.assume_role(RoleArn=configuration["Role"], RoleSessionName=function)
    credentials = {
        "AWS_ACCESS_KEY_ID": session["Credentials"]["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": session["Credentials"]["SecretAccessKey"],
        "AWS_SESSION_TOKEN": session["Credentials"]["SessionToken"],
        "AWS_DEFAULT_REGION": stack.region,
    }
    return dict(configuration.get("Environment", {}).get("Variables", {})), credentials

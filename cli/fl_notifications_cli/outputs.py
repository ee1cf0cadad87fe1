"""The command `outputs`: what a stack is reached by."""

import json
import shlex
from collections.abc import Iterator
from typing import Annotated

import typer

from fl_notifications_cli.options import Region, StackName
from fl_notifications_cli.stack import LOCAL_KEY, Stack, find_stack

VARIABLES = {
    "TRAININGS_TABLE": "TrainingsTable",
    "DELIVERIES_QUEUE_URL": "DeliveriesQueueUrl",
    "OUTCOMES_BUS": "OutcomesBus",
}
"""Environment variable -> the output that it holds: what a program that uses the stack needs."""


def outputs(
    *,
    export: Annotated[
        bool,
        typer.Option("--export", help='As shell: eval "$(fl-notifications outputs --export)"'),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As a JSON object.")] = False,
    stack_name: StackName = None,
    region: Region = None,
) -> None:
    """Print the stack's outputs: its tables, queues, and bus.

    With `--export`, as shell variables for programs of your own: the region, the names of
    table, queue and bus, and for the local stack also its endpoint and its key and secret, which
    are `test` and `test`. Credentials for AWS stay your own.
    """
    if export and as_json:
        raise typer.BadParameter("--export and --json don't go together")
    stack = find_stack(stack_name, region=region)
    if export:
        for name, value in variables(stack):
            print(f"export {name}={shlex.quote(value)}")
    elif as_json:
        print(json.dumps(dict(stack.outputs), indent=2))
    else:
        width = max(map(len, stack.outputs), default=0)
        for name, value in sorted(stack.outputs.items()):
            print(f"{name:{width}}  {value}")


def variables(stack: Stack) -> Iterator[tuple[str, str]]:
    """Environment variables with which boto3 and this project's library find the stack."""
    if stack.endpoint_url is not None:
        yield "AWS_ENDPOINT_URL", stack.endpoint_url
        yield "AWS_ACCESS_KEY_ID", LOCAL_KEY
        yield "AWS_SECRET_ACCESS_KEY", LOCAL_KEY
    yield "AWS_DEFAULT_REGION", stack.region
    yield "AWS_REGION", stack.region
    for variable, output in VARIABLES.items():
        yield variable, stack.output(output)

"""The commands `up` and `down`."""

import signal
from types import FrameType

from rich.console import Console

from cli.local.stack import HOME, LocalStack
from cli.progress import Steps


def up() -> None:
    """Start the local stack, or deploy changed code onto the running one."""
    _end_tidily()
    local = LocalStack(HOME, Steps(Console()))
    stack = local.start()
    local.release()
    console.print(
        f"\nThe stack [bold]{stack.name}[/] runs at {stack.endpoint_url}", highlight=False
    )
    for name, value in stack.outputs.items():
        console.print(f"  {name:20} {value}", highlight=False, soft_wrap=True)
    console.print("It is described in .local/stack.json. 'make down' stops it.", highlight=False)


def down() -> None:
    """Stop the local stack."""
    stopped = LocalStack(HOME, Steps(Console())).stop()
    print("The local stack is stopped." if stopped else "No local stack was running.")


def _end_tidily() -> None:
    """Take a request to end as an interrupt, which stops what was begun."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGHUP, interrupt)

"""The commands `up` and `down`."""

import signal
from types import FrameType

from rich.console import Console

from fl_notifications_cli.local.stack import HOME, LocalStack
from fl_notifications_cli.progress import Steps


def up() -> None:
    """Start the local stack, or deploy changed code onto the running one."""
    end_tidily()
    local = LocalStack(HOME, Steps(Console()))
    stack = local.start()
    local.release()
    print(f"\nThe stack {stack.name} runs at {stack.endpoint_url}; 'make down' stops it.")
    print("It is described in .local/stack.json. Next, in each terminal:")
    print('  export PATH="$PWD/.venv/bin:$PATH"')
    print("  fl-notifications listen     a participant that shows what it is told")
    print("  fl-notifications training   create a training, and lead it to its end")
    print("  fl-notifications status     how the stack is doing")
    print("  fl-notifications outputs    the names of its tables, queues and bus")


def down() -> None:
    """Stop the local stack."""
    stopped = LocalStack(HOME, Steps(Console())).stop()
    print("The local stack is stopped." if stopped else "No local stack was running.")


def end_tidily() -> None:
    """Take a request to end as an interrupt, so that what was begun is stopped."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGHUP, interrupt)

"""The console script `fl-notifications`: one subcommand per entry of `COMMANDS`."""

import importlib
import sys
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from fl_notifications_cli.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable

COMMANDS = {
    "demo": "fl_notifications_cli.demo.command:demo",
    "up": "fl_notifications_cli.local.commands:up",
    "down": "fl_notifications_cli.local.commands:down",
    "invoke": "fl_notifications_cli.local.invoke:invoke",
    "trace": "fl_notifications_cli.trace:trace",
    "status": "fl_notifications_cli.status:status",
    "dead-letters": "fl_notifications_cli.dead_letters.commands:dead_letters",
    "redrive": "fl_notifications_cli.dead_letters.commands:redrive",
    "secret": "fl_notifications_cli.secret:secret",
    "invite": "fl_notifications_cli.secret:invite",
    "receive": "fl_notifications_cli.receive:receive",
}
"""Subcommand -> module:function. The function's parameters are its arguments and options, as Typer
reads them, and its docstring is the help; the module is imported only when the command is used."""


class _LazyGroup(TyperGroup):
    """Imports a command's module when it is asked for: `down` needn't wait for what `demo` uses."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  # Typer's signature
        """Return the names in the order in which the help shows them."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  # Typer's signature
        """Return the command, or None if there is no such."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        function: Callable[..., None] = getattr(importlib.import_module(module), name)
        single = typer.Typer(add_completion=False)
        single.command(cmd_name)(function)
        return typer.main.get_command(single)


app = typer.Typer(
    cls=_LazyGroup,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a crash is ours to read: the plain traceback is best
)


@app.callback()
def _root() -> None:
    """Run, watch and look after the notification service."""


def main() -> None:
    """Run the command that the arguments name.

    Exits with 1 and a message on standard error when the command can't go on.
    """
    try:
        app()
    except CommandError as error:
        print("\n".join([f"error: {error}", *getattr(error, "__notes__", [])]), file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)

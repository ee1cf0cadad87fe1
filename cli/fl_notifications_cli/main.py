"""The console script `fl-notifications`: one subcommand per entry of `COMMANDS`."""

import importlib
import os
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as ConnectionFailedError
from rich.console import Console
from rich.text import Text
from typer.core import TyperArgument, TyperGroup, TyperOption

from fl_notifications_cli.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable

COMMANDS = {
    "demo": "fl_notifications_cli.demo.command:demo",
    "up": "fl_notifications_cli.local.commands:up",
    "down": "fl_notifications_cli.local.commands:down",
    "invoke": "fl_notifications_cli.local.invoke:invoke",
    "outputs": "fl_notifications_cli.outputs:outputs",
    "listen": "fl_notifications_cli.listening.command:listen",
    "ring": "fl_notifications_cli.ring:ring",
    "training": "fl_notifications_cli.training:app",
    "trainings": "fl_notifications_cli.trainings:trainings",
    "participants": "fl_notifications_cli.liveness:participants",
    "trace": "fl_notifications_cli.trace:trace",
    "tell-again": "fl_notifications_cli.tell_again:tell_again",
    "status": "fl_notifications_cli.status:status",
    "dead-letters": "fl_notifications_cli.dead_letters.commands:dead_letters",
    "redrive": "fl_notifications_cli.dead_letters.commands:redrive",
    "secret": "fl_notifications_cli.secret:secret",
    "invite": "fl_notifications_cli.secret:invite",
    "receive": "fl_notifications_cli.receive:receive",
}
"""Subcommand -> module:name. A function's parameters are its arguments and options, as Typer reads
them, and its docstring is the help; a Typer app is a group of commands. The module is imported only
when the command is used."""

PANELS = {
    "The local stack": ("demo", "up", "down", "invoke", "outputs"),
    "Trainings": ("training", "trainings", "participants", "trace", "tell-again"),
    "Receivers": ("listen", "ring", "secret", "invite", "receive"),
    "Looking after it": ("status", "dead-letters", "redrive"),
}
"""The commands as the help groups them, in this order."""

HELP = {"help_option_names": ["-h", "--help"]}


class _LazyGroup(TyperGroup):
    """Imports a command's module when it is asked for: `down` needn't wait for what `demo` uses."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # For "did you mean", which asks for the names only.
        self.commands = dict.fromkeys(COMMANDS)  # type: ignore[assignment]

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options, as the help shows them."""
        return [_labelled(each) for each in super().get_params(ctx)]

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  # Typer's signature
        """Return the names in the order in which the help shows them."""
        return [name for names in PANELS.values() for name in names]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command, or None if there is no such."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        found: typer.Typer | Callable[..., None] = getattr(importlib.import_module(module), name)
        if not isinstance(found, typer.Typer):
            single = typer.Typer(add_completion=False, rich_markup_mode="markdown")
            single.command(cmd_name, context_settings=HELP)(found)
            found = single
        command: Any = typer.main.get_command(found)
        command.name = cmd_name
        command.rich_help_panel = next(panel for panel in PANELS if cmd_name in PANELS[panel])
        for each in (command, *getattr(command, "commands", {}).values()):
            for parameter in (*each.params, each.get_help_option(ctx)):
                _labelled(parameter)
        return command


def _labelled(parameter: Any) -> Any:
    """Name a parameter in the help by what it stands for, not by Python's type.

    Typer would show `<bool>` behind a switch, which takes nothing, and arguments as Python names.
    """
    if parameter is None or parameter.metavar is not None:
        return parameter
    if isinstance(parameter, TyperArgument):
        parameter.metavar = (parameter.name or "").upper()
    elif isinstance(parameter, TyperOption) and parameter.is_flag:
        parameter.metavar = ""
    return parameter


app = typer.Typer(
    cls=_LazyGroup,
    no_args_is_help=True,
    rich_markup_mode="markdown",  # docstrings' paragraphs stay paragraphs
    context_settings=HELP,
    pretty_exceptions_enable=False,  # a crash is ours to read: the plain traceback is best
)


def _show_version(wanted: bool) -> None:  # noqa: FBT001  # Typer's signature
    if wanted:
        print(f"fl-notifications {version('fl-notifications')}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Run, watch and look after the notification service."""


def main() -> None:
    """Run the command that the arguments name.

    Exits with 1 and a message on standard error when the command can't go on.
    """
    try:
        app()
    except CommandError as error:
        _fail("\n".join([str(error), *getattr(error, "__notes__", [])]))
    except (ConnectionFailedError, HTTPClientError) as error:
        _fail(f"the stack does not answer any more ({error})")
    except ClientError as error:
        _fail(str(error))
    except BrokenPipeError:  # whoever reads has seen enough: `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        print(file=sys.stderr)  # so that the prompt does not follow on ^C
        sys.exit(130)


def _fail(message: str) -> NoReturn:
    """Say on standard error why a command ends; on a terminal with no word broken."""
    console = Console(stderr=True, highlight=False)
    console.print(
        Text.assemble(("error: ", "bold red"), message), soft_wrap=not console.is_terminal
    )
    sys.exit(1)

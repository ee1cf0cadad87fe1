"""The command `trainings`: all trainings of a stack."""

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console, Group, RenderableType
from rich.text import Text

from fl_notifications.trainings.model import TrainingState
from fl_notifications_cli.errors import CommandError
from fl_notifications_cli.options import Region, StackName
from fl_notifications_cli.progress import working
from fl_notifications_cli.scanning import TrainingRow, count_participants, scan_trainings
from fl_notifications_cli.stack import Stack, find_stack
from fl_notifications_cli.tracing.terminal import (
    Unbroken,
    count,
    explain,
    output_console,
    plain_table,
    printable,
    shown,
    since,
    state_counts,
    state_rank,
)

_STYLES = {"ERROR": "red", "COMPLETED": "dim", "INITIAL": "dim"}


def trainings(
    *,
    state: Annotated[
        TrainingState | None,
        typer.Option(
            case_sensitive=False,
            metavar="STATE",
            help=f"Only those in this state: {', '.join(TrainingState).lower()}.",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, metavar="N", help="Trainings shown, at the most.")
    ] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="As a list of JSON objects.")] = False,
    stack_name: StackName = None,
    region: Region = None,
) -> None:
    """List the trainings by state, each with its age and how many participants it has.

    The age is the time since the FL server last touched it (`last_update`).
    """
    stack = find_stack(stack_name, region=region)
    try:
        with working("Reading the trainings table"):
            listed = read(stack, None if state is None else state.value, limit)
    except (ClientError, BotoCoreError) as error:
        raise CommandError(f"the trainings table can't be read: {explain(error)}") from error
    if as_json:
        print(json.dumps([_as_dict(row, counted) for row, counted in listed.rows], indent=2))
        return
    console = output_console()
    console.print(render(stack, listed, datetime.now(UTC)))
    _hint(console, listed)


class Listed:
    """What the table holds.

    Attributes:
        rows: those to be shown, each with its participants and whether there are more.
        states: how many there are in each state.
        left_out: how many more fit the question.
        complete: whether the whole table was read.
    """

    def __init__(
        self,
        rows: list[tuple[TrainingRow, tuple[int, bool]]],
        states: Counter[str],
        left_out: int,
        *,
        complete: bool,
    ) -> None:
        self.rows = rows
        self.states = states
        self.left_out = left_out
        self.complete = complete


def read(stack: Stack, state: str | None, limit: int) -> Listed:
    """Read the trainings, and count the participants of those that are shown."""
    client, table = stack.client("dynamodb"), stack.output("TrainingsTable")
    found = list(scan_trainings(client, table))
    rows = [row for row in found if row is not None]
    wanted = sorted(
        (row for row in rows if state in (None, row.state)),
        key=lambda row: row.last_update or "",
        reverse=True,
    )
    wanted.sort(key=lambda row: state_rank(row.state))
    return Listed(
        [(row, count_participants(client, table, row.training_uuid)) for row in wanted[:limit]],
        Counter(row.state for row in rows),
        max(0, len(wanted) - limit),
        complete=None not in found,
    )


def render(stack: Stack, listed: Listed, now: datetime) -> RenderableType:
    """The list as a screen."""
    head = Text.assemble(
        (count(listed.states.total(), "training"), "bold"), f" in stack {stack.name}:"
    )
    parts: list[RenderableType] = [Unbroken(head, state_counts(listed.states))]
    if listed.rows:
        table = plain_table("training", "state", "round", "participants", "age")
        for row, (participants, more) in listed.rows:
            table.add_row(
                printable(row.training_uuid),
                printable(row.state),
                shown(row.round),
                f"{'≥ ' if more else ''}{participants:,}",
                since(row.last_update, now),
                style=_STYLES.get(row.state, "" if row.state in TrainingState else "yellow"),
            )
        parts.append(table)
    if unknown := sorted({row.state for row, _ in listed.rows} - set(TrainingState)):
        parts.append(
            Text(
                f"{printable(', '.join(unknown))}: no such state, so nobody is told;"
                " fl-notifications dead-letters",
                style="yellow",
            )
        )
    if listed.left_out:
        parts.append(Text(f"… and {listed.left_out:,} more (--limit, --state)", style="dim"))
    if not listed.complete:
        parts.append(Text("The table is large: not all of it was read.", style="yellow"))
    return Group(*parts)


def _hint(console: Console, listed: Listed) -> None:
    if listed.rows and console.is_terminal:
        console.print("[dim]Next: fl-notifications trace TRAINING (its first letters do)[/]")


def _as_dict(row: TrainingRow, counted: tuple[int, bool]) -> dict[str, Any]:
    participants, more = counted
    return {
        "training_uuid": row.training_uuid,
        "state": row.state,
        "round": row.round,
        "participants": participants,
        "more_participants": more,
        "last_update": row.last_update,
        "actor_uuid": row.actor_uuid,
    }

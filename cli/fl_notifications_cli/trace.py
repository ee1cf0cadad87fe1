"""The command `trace`: what happened to the notifications of one training, and why."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from fl_notifications.outcomes.runs import Runs
from fl_notifications.trainings.model import TrainingState
from fl_notifications_cli.errors import CommandError
from fl_notifications_cli.options import Region, StackName
from fl_notifications_cli.progress import working
from fl_notifications_cli.scanning import (
    TrainingRow,
    find_training,
    is_uuid,
    look_up_training,
    several,
    spellings,
)
from fl_notifications_cli.stack import Stack, find_stack
from fl_notifications_cli.tracing.log_reader import Follower, LogReader
from fl_notifications_cli.tracing.page import page
from fl_notifications_cli.tracing.since import parse_since
from fl_notifications_cli.tracing.steps import Step, Wanted, in_order, spelled
from fl_notifications_cli.tracing.story import TrainingStory, tell_all
from fl_notifications_cli.tracing.terminal import (
    Name,
    explain,
    nameless,
    output_console,
    printable,
    render,
    shown,
    step_line,
    summary,
)

POLL_SECONDS = 2.0
"""How long `--follow` waits between two looks; CloudWatch allows few calls per second."""

_INCOMPLETE = 3
_MOST_TROUBLES = 10


def trace(  # noqa: PLR0913  # Typer makes one option of each
    training_uuid: Annotated[
        str | None,
        typer.Argument(
            help="The training: its uuid, or how it begins. Not needed with --receiver or"
            " --notification.",
            metavar="TRAINING",
            show_default=False,
        ),
    ] = None,
    *,
    receiver: Annotated[
        str | None,
        typer.Option(metavar="UUID", help="Only this receiver: its uuid, or how it begins."),
    ] = None,
    notification: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Only this notification: its id, or how it begins."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="Only what is not older: 15m, 2h, 1d, or an ISO time (UTC).", metavar="TIME"
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is new, until Ctrl-C.")
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="A JSON list of steps; with --follow, one object per line."),
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(
            help="Write a page with a timeline to this file.", metavar="FILE", dir_okay=False
        ),
    ] = None,
    stack_name: StackName = None,
    region: Region = None,
) -> None:
    """Show what happened to a training's notifications, and why.

    Reads the stack's log and shows a table for each receiver, in the order of time and with what
    failed in red, and a summary. Times are in UTC, "after" is counted from the state change.

    A receiver's log has the notification's id as `webhook-id`: `--notification` finds what it
    belongs to.

    Exit status: 1 if there is nothing to show, 3 if there was too much to read all of it.
    """
    if follow and html is not None:
        raise typer.BadParameter("--follow and --html don't go together")
    if training_uuid is None and receiver is None and notification is None:
        raise typer.BadParameter("name a training, or --receiver or --notification")
    stack = find_stack(stack_name, region=region)
    wanted, row = _resolve(
        stack, Wanted(training_uuid, receiver, notification, _parse_since(since))
    )
    name = _actor(row.actor_uuid) if row and row.actor_uuid else nameless
    reader = LogReader(stack.client("logs"), stack.output("LogGroup"))
    if follow:
        _follow(reader, wanted, as_json=as_json)
        return
    stories = read_stories(reader, wanted)
    if not stories and not as_json:
        raise CommandError(_nothing_found(stack, wanted))
    if html is not None and len(stories) > 1:
        raise CommandError(
            several(
                "a page shows one training; name one of these",
                [each.training_uuid for each in stories],
            )
        )
    if html is not None and stories:
        write_page(stories[0], html, note=_note(wanted, stories[0], reader.cut_short), name=name)
    if as_json:
        steps = in_order(step for story in stories for step in story.steps)
        print(json.dumps([step.as_json() for step in steps], indent=2))
    console = output_console(stderr=as_json)
    _show(stories, console, name, html=html, as_json=as_json)
    if row is not None and (behind := _behind(stack, row)) is not None:
        console.print(f"\n{behind}", style="yellow", markup=False)
    if reader.cut_short is not None:
        print(f"incomplete: {reader.cut_short}; --since or --receiver reads less", file=sys.stderr)
        raise typer.Exit(_INCOMPLETE)


def _show(
    stories: list[TrainingStory], console: Console, name: Name, *, html: Path | None, as_json: bool
) -> None:
    for story in stories:
        if html is not None:
            console.print(summary(story, name=name))
            size = html.stat().st_size / 1_000_000
            console.print(f"The timeline is in {html} ({size:.1f} MB): open it in a browser.")
        elif not as_json:
            for part in render(story, width=console.width, name=name):
                console.print(part)
            if len(stories) > 1:
                console.print()


def _resolve(stack: Stack, wanted: Wanted) -> tuple[Wanted, TrainingRow | None]:
    """Look the training up: its whole uuid for the beginning of one, and what the table says."""
    if wanted.training_uuid is None:
        return wanted, None
    text = wanted.training_uuid.strip()
    wanted = replace(wanted, training_uuid=text)
    if is_uuid(text):
        row = look_up_training(stack, text)
    else:
        try:
            row = find_training(stack, text)
        except (ClientError, BotoCoreError, CommandError):
            return wanted, None  # the log may know it: by how it begins
        wanted = replace(wanted, training_uuid=row.training_uuid)
    return wanted, row


def _behind(stack: Stack, row: TrainingRow) -> str | None:
    """What the table says and nobody has been told yet; None if all is told, or nothing known."""
    if row.state == TrainingState.INITIAL:
        return None
    try:
        run = Runs(stack.client("dynamodb"), stack.output("LedgerTable")).read(row.training_uuid)
    except (ClientError, BotoCoreError, CommandError):
        return None
    now = f"{row.state}, round {shown(row.round)}"
    told = None if run is None else f"{run.training.state.value}, round {run.training.round}"
    if told == now:
        return None
    so_far = "nothing has been announced so far" if told is None else f"announced so far: {told}"
    return f"The table says {printable(now)}; {so_far}."


def _actor(actor_uuid: str) -> Name:
    return lambda uuid: "actor" if spelled(uuid) == spelled(actor_uuid) else None


def read_stories(reader: LogReader, wanted: Wanted) -> list[TrainingStory]:
    """Read what the log says about trainings.

    Args:
        reader: reads the stack's log group; its `cut_short` then says whether that was all.
        wanted: which steps.

    Returns:
        One story for each training, in the order in which they begin.

    Raises:
        CommandError: the log can't be read, or there is more than one training that begins so.
    """
    steps: list[Step] = []
    with working("Reading the log") as update:
        for spelling in _spellings(wanted):
            steps = list(_watched(_read(reader, spelling), update))
            if steps:
                break
    stories = tell_all(steps)
    if wanted.training_uuid is not None and len(stories) > 1:
        raise CommandError(
            several(f"{len(stories)} trainings begin so", [each.training_uuid for each in stories])
        )
    return stories


def write_page(
    story: TrainingStory, to: Path, *, note: str | None = None, name: Name = nameless
) -> None:
    """Write a training's story as one self-contained HTML page.

    Args:
        story: the training's story.
        to: the file; replaced if it exists.
        note: what a reader has to know about what is missing, if anything is.
        name: what receivers are called.

    Raises:
        CommandError: the file can't be written.
    """
    try:
        to.write_text(
            page(story, made_at=datetime.now(UTC), note=note, name=name), encoding="utf-8"
        )
    except OSError as error:
        raise CommandError(f"{to} can't be written: {error.strerror or error}") from error


def _parse_since(text: str | None) -> datetime | None:
    try:
        return None if text is None else parse_since(text, datetime.now(UTC))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from error


def _spellings(wanted: Wanted) -> list[Wanted]:
    """What is asked for, in the spellings that the log may have: CloudWatch's filter heeds case."""
    if wanted.training_uuid is None:
        return [wanted]
    return [replace(wanted, training_uuid=text) for text in spellings(wanted.training_uuid)]


def _read(reader: LogReader, wanted: Wanted) -> Iterator[Step]:
    try:
        yield from reader.steps(wanted)
    except (ClientError, BotoCoreError) as error:
        raise CommandError(f"the log can't be read: {explain(error)}") from error


def _watched(steps: Iterator[Step], update: Callable[[str], None]) -> Iterator[Step]:
    for number, step in enumerate(steps, 1):
        if number % 1000 == 0:
            update(f"Reading the log: {number:,} steps so far")
        yield step


def _follow(reader: LogReader, wanted: Wanted, *, as_json: bool) -> None:
    console = output_console()
    width = console.width if console.is_terminal else None
    followers = [Follower(reader, spelling) for spelling in _spellings(wanted)]
    troubles, shown = 0, False
    try:
        while True:
            try:
                steps = in_order(step for follower in followers for step in follower.poll())
                troubles = 0
            except (ClientError, BotoCoreError) as error:
                troubles += 1
                if troubles == _MOST_TROUBLES:
                    raise CommandError(f"the log can't be read: {explain(error)}") from error
                print(f"the log can't be read now: {explain(error)}", file=sys.stderr)
                steps = ()
            for step in steps:
                if as_json:
                    print(json.dumps(step.as_json()), flush=True)
                else:
                    console.print(step_line(step, width=width), soft_wrap=width is None)
            if not shown and not steps and not troubles:
                print("Nothing yet. Waiting for new steps; Ctrl-C ends this.", file=sys.stderr)
            shown = True
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        print(file=sys.stderr)  # so that the prompt does not follow on ^C


def note_for(story: TrainingStory) -> str | None:
    """What a training's page has to say above its timeline: what belongs to no notification."""
    told = [f"Not announced: {reason}." for reason in {step.reason for step in story.unreadable}]
    if story.overdue:
        steps = "; ".join(f"{step.at:%H:%M:%S} {step.reason}" for step in story.overdue)
        told.append(f"Overdue: {steps}.")
    return " ".join(told) or None


def _note(wanted: Wanted, story: TrainingStory, cut_short: str | None) -> str | None:
    """The same, and what the page does not show."""
    told, parts = note_for(story), []
    if wanted.receiver is not None:
        parts.append(f"only receiver {wanted.receiver}")
    if wanted.notification is not None:
        parts.append(f"only notification {wanted.notification}")
    if wanted.since is not None:
        parts.append(f"only since {wanted.since:%Y-%m-%d %H:%M:%S} UTC")
    if cut_short is not None:
        parts.append(f"incomplete: {cut_short}")
    if parts:
        missing = f"This page shows not all of the training: {', '.join(parts)}."
        return f"{told} {missing}" if told else missing
    return told


def _nothing_found(stack: Stack, wanted: Wanted) -> str:
    """Say what was looked for, what is known, and what to do next."""
    narrowed = [
        name
        for name, value in (
            ("--receiver", wanted.receiver),
            ("--notification", wanted.notification),
            ("--since", wanted.since),
        )
        if value is not None
    ]
    of = "" if wanted.training_uuid is None else f" of training {printable(wanted.training_uuid)}"
    with_ = f" with this {' and '.join(narrowed)}" if narrowed else ""
    lines = [f"the log of stack {stack.name} has no steps{of}{with_}"]
    if narrowed and wanted.training_uuid is not None:
        lines.append(f"Try it without {' and '.join(narrowed)}.")
    if wanted.training_uuid is not None:
        lines += filter(None, [_known_state(stack, wanted.training_uuid)])
    lines.append(
        "Is it in another stack? --stack-name and --region choose one."
        if not stack.local
        else "Is it on AWS? --stack-name chooses a stack there."
    )
    return "\n".join(lines)


def _known_state(stack: Stack, training_uuid: str) -> str | None:
    """What the table says of a training that the log is silent about; None if it can't be read.

    Its state is shown as written: an unknown one is why nobody was told.
    """
    try:
        row = find_training(stack, training_uuid)
    except (ClientError, BotoCoreError):
        return None
    except CommandError:
        return (
            "The trainings table has no such training: see to the uuid;"
            " 'fl-notifications trainings' lists them."
        )
    known = f"state {printable(row.state)}, round {shown(row.round)}"
    if row.state == TrainingState.INITIAL:
        return f"The training exists ({known}): nobody is told anything before it starts."
    if row.state not in TrainingState:
        return (
            f"The training exists ({known}), but {printable(row.state)} is no state:"
            f" it must be {', '.join(TrainingState)}. 'fl-notifications dead-letters' has it."
        )
    return (
        f"The training exists ({known}). Lines take some seconds to become readable, and"
        " are deleted after the log group's retention time. What could not be announced is in"
        " 'fl-notifications dead-letters'."
    )

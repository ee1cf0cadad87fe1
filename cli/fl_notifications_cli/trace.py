"""The command `trace`: what happened to the notifications of one training, and why."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from fl_notifications_cli.errors import CommandError
from fl_notifications_cli.options import Region, StackName
from fl_notifications_cli.stack import Stack, find_stack
from fl_notifications_cli.tracing.log_reader import Follower, LogReader
from fl_notifications_cli.tracing.page import page
from fl_notifications_cli.tracing.since import parse_since
from fl_notifications_cli.tracing.steps import Step, Wanted, in_order
from fl_notifications_cli.tracing.story import TrainingStory, tell
from fl_notifications_cli.tracing.terminal import (
    output_console,
    printable,
    render,
    step_line,
    summary,
)

POLL_SECONDS = 2.0
"""How long `--follow` waits between two looks; CloudWatch allows few calls per second."""

_INCOMPLETE = 3
_MOST_TROUBLES = 10


def trace(  # noqa: PLR0913  # Typer makes one option of each
    training_uuid: Annotated[str, typer.Argument(help="The training.", metavar="TRAINING_UUID")],
    *,
    receiver: Annotated[
        str | None, typer.Option(help="Only this receiver: its uuid, or how it begins.")
    ] = None,
    notification: Annotated[
        str | None, typer.Option(help="Only this notification: its id, or how it begins.")
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

    Exit status: 1 if there is nothing to show, 3 if there was too much to read all of it.
    """
    if follow and html is not None:
        raise typer.BadParameter("--follow and --html don't go together")
    wanted = Wanted(training_uuid.strip(), receiver, notification, _parse_since(since))
    stack = find_stack(stack_name, region=region)
    reader = LogReader(stack.client("logs"), stack.output("LogGroup"))
    if follow:
        _follow(reader, wanted, as_json=as_json)
        return
    story = read_story(reader, wanted, console=Console(stderr=True))
    if not story.steps and not as_json:
        raise CommandError(_nothing_found(stack, wanted))
    if html is not None and story.steps:
        write_page(story, html, note=_note(wanted, reader.cut_short))
    if as_json:
        print(json.dumps([step.as_json() for step in story.steps], indent=2))
    console = output_console(stderr=as_json)
    if html is not None and story.steps:
        console.print(summary(story, width=console.width))
        size = html.stat().st_size / 1_000_000
        console.print(f"The timeline is in {html} ({size:.1f} MB): open it in a browser.")
    elif not as_json:
        for part in render(story, width=console.width):
            console.print(part)
    if reader.cut_short is not None:
        print(f"incomplete: {reader.cut_short}; --since or --receiver reads less", file=sys.stderr)
        raise typer.Exit(_INCOMPLETE)


def read_story(
    reader: LogReader, wanted: Wanted, *, console: Console | None = None
) -> TrainingStory:
    """Read what the log says about a training.

    Args:
        reader: Reads the stack's log group; its `cut_short` then says whether that was all.
        wanted: Which steps.
        console: Where to show that it reads, on a terminal; None shows nothing.

    Raises:
        CommandError: The log can't be read.
    """
    steps: list[Step] = []
    for spelling in _spellings(wanted.training_uuid):
        spelled = replace(wanted, training_uuid=spelling)
        steps = list(_watched(_read(reader, spelled), console))
        if steps:
            break
    # As the log spells it, which is what the FL server knows it by.
    return tell(steps[0].training_uuid if steps else wanted.training_uuid, steps)


def write_page(story: TrainingStory, to: Path, *, note: str | None = None) -> None:
    """Write a training's story as one self-contained HTML page.

    Args:
        story: The training's story.
        to: The file; replaced if it exists.
        note: What a reader has to know about what is missing, if anything is.

    Raises:
        CommandError: The file can't be written.
    """
    try:
        to.write_text(page(story, made_at=datetime.now(UTC), note=note), encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{to} can't be written: {error.strerror or error}") from error


def _parse_since(text: str | None) -> datetime | None:
    try:
        return None if text is None else parse_since(text, datetime.now(UTC))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from error


def _spellings(uuid: str) -> list[str]:
    """The uuid as given and, if that is another one, as it is usually spelled.

    The log has the spelling of the trainings table, and CloudWatch's filter heeds case.
    """
    try:
        return list(dict.fromkeys((uuid, str(UUID(uuid)))))
    except ValueError:
        return [uuid]


def _read(reader: LogReader, wanted: Wanted) -> Iterator[Step]:
    try:
        yield from reader.steps(wanted)
    except (ClientError, BotoCoreError) as error:
        raise CommandError(f"the log can't be read: {explain(error)}") from error


def _watched(steps: Iterator[Step], console: Console | None) -> Iterator[Step]:
    if console is None or not console.is_terminal:
        yield from steps
        return
    with console.status("Reading the log") as status:
        for number, step in enumerate(steps, 1):
            if number % 1000 == 0:
                status.update(f"Reading the log: {number:,} steps so far")
            yield step


def explain(error: ClientError | BotoCoreError) -> str:
    """What AWS said, on one line and without the request around it."""
    if isinstance(error, ClientError):
        said = error.response.get("Error", {})
        return printable(f"{said.get('Message') or said.get('Code') or error}")
    return printable(str(error))


def _follow(reader: LogReader, wanted: Wanted, *, as_json: bool) -> None:
    console = output_console()
    followers = [
        Follower(reader, replace(wanted, training_uuid=spelling))
        for spelling in _spellings(wanted.training_uuid)
    ]
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
                    console.print(step_line(step), soft_wrap=True)
            if not shown and not steps and not troubles:
                print("Nothing yet. Waiting for new steps; Ctrl-C ends this.", file=sys.stderr)
            shown = True
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        return


def _note(wanted: Wanted, cut_short: str | None) -> str | None:
    """What the page has to say about what it does not show."""
    parts = []
    if wanted.receiver is not None:
        parts.append(f"only receiver {wanted.receiver}")
    if wanted.notification is not None:
        parts.append(f"only notification {wanted.notification}")
    if wanted.since is not None:
        parts.append(f"only since {wanted.since:%Y-%m-%d %H:%M:%S} UTC")
    if cut_short is not None:
        parts.append(f"incomplete: {cut_short}")
    return "This page shows not all of the training: " + ", ".join(parts) if parts else None


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
    lines = [
        f"the log of stack {stack.name} has no steps of training "
        f"{printable(wanted.training_uuid)}"
        + (f" with this {' and '.join(narrowed)}" if narrowed else "")
    ]
    if narrowed:
        lines.append(f"Try it without {' and '.join(narrowed)}.")
    known = _known_state(stack, wanted.training_uuid)
    if known is None:
        lines.append(
            "The trainings table has no such training: see to the uuid;"
            " 'fl-notifications status' lists the trainings that are running."
        )
    elif known:
        lines.append(
            f"The training exists ({known}). Lines take some seconds to become readable, and"
            " are deleted after the log group's retention time."
        )
    lines.append(
        "Is it in another stack? --stack-name and --region choose one."
        if not stack.local
        else "Is it on AWS? --stack-name chooses a stack there."
    )
    return "\n".join(lines)


def _known_state(stack: Stack, training_uuid: str) -> str | None:
    """The training's state in words, None if there is no such training, empty if unknown."""
    try:
        client, table = stack.client("dynamodb"), stack.output("TrainingsTable")
        for spelling in _spellings(training_uuid):
            found = client.get_item(
                TableName=table,
                Key={"training_uuid": {"S": spelling}, "entity": {"S": "TRAINING"}},
            )
            if "Item" in found:
                state = found["Item"].get("state", {}).get("S", "?")
                number = found["Item"].get("round", {}).get("N", "?")
                return printable(f"state {state}, round {number}")
    except (ClientError, BotoCoreError, CommandError):
        return ""
    return None

"""The command `status`: one screen that says how the stack is doing."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from fl_notifications_cli.options import Region, StackName
from fl_notifications_cli.overview import (
    RECENT,
    Overview,
    QueueState,
    RunningTraining,
    look,
)
from fl_notifications_cli.stack import Stack, find_stack
from fl_notifications_cli.tracing.steps import timestamp
from fl_notifications_cli.tracing.terminal import (
    STYLES,
    count,
    notification_name,
    outcome_counts,
    output_console,
    printable,
    result,
)

UNKNOWN = "\N{EN DASH}"
"""Shown for what can't be had here."""

_SHORT = 13
_WIDE = 130
_MEDIUM = 100


def status(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
    stack_name: StackName = None,
    region: Region = None,
) -> None:
    """Show queues, dead letters, alarms, running trainings and the last outcomes.

    What can't be had, for instance metrics on the local stack, is shown as a dash. Times are in
    UTC.
    """
    stack = find_stack(stack_name, region=region)
    console = output_console(stderr=False)
    if console.is_terminal and not as_json:
        with Console(stderr=True).status("Asking the stack"):
            overview = look(stack, datetime.now(UTC))
    else:
        overview = look(stack, datetime.now(UTC))
    if as_json:
        print(json.dumps(as_dict(stack, overview), indent=2))
    else:
        console.print(render(stack, overview, width=console.width))


def as_dict(stack: Stack, overview: Overview) -> dict[str, Any]:
    """The overview as `--json` shows it; null is what can't be had."""
    trainings, outcomes = overview.trainings, overview.outcomes
    return {
        "stack": stack.name,
        "region": stack.region,
        "endpoint_url": stack.endpoint_url,
        "at": timestamp(overview.at),
        "queues": [
            {
                "name": queue.name,
                "waiting": queue.waiting,
                "in_flight": queue.in_flight,
                "delayed": queue.delayed,
                "oldest_seconds": queue.oldest_seconds,
            }
            for queue in overview.queues
        ],
        "alarms": None
        if overview.alarms is None
        else [
            {
                "name": alarm.name,
                "since": alarm.since and timestamp(alarm.since),
                "reason": alarm.reason,
            }
            for alarm in overview.alarms
        ],
        "trainings": None
        if trainings is None
        else {
            "running": [
                {
                    "training_uuid": training.training_uuid,
                    "state": training.state,
                    "round": training.round,
                    "participants": training.participants,
                    "last_update": training.last_update,
                }
                for training in trainings.running
            ],
            "states": dict(trainings.states),
            "complete": trainings.complete,
        },
        "outcomes": None
        if outcomes is None
        else {
            "recent": dict(outcomes.recent),
            "recent_minutes": RECENT.total_seconds() / 60,
            "complete": outcomes.complete,
            "last": [
                {"training_uuid": step.training_uuid} | step.as_json() for step in outcomes.last
            ],
        },
        "problems": list(overview.problems),
    }


def render(stack: Stack, overview: Overview, *, width: int) -> RenderableType:
    """The overview as a screen.

    Args:
        stack: The stack that was asked.
        overview: What it answered.
        width: How many characters fit into a line.
    """
    place = stack.endpoint_url or stack.region
    parts: list[RenderableType] = [
        Text.assemble(
            (f"Stack {stack.name}", "bold"),
            f" at {place}, {overview.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        ),
        Text(),
        _queues(overview.queues),
        Text(),
        _alarms(overview),
        Text(),
        *_trainings(overview, width),
        Text(),
        *_outcomes(overview, width),
    ]
    parts += [
        Text(f"Not to be had: {printable(problem)}", style="yellow")
        for problem in overview.problems
    ]
    return Group(*parts)


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 3, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=True, justify="right" if column in _RIGHT else "left")
    return table


_RIGHT = {"waiting", "in flight", "delayed", "oldest", "round", "participants"}


def _queues(queues: tuple[QueueState, ...]) -> Table:
    table = _table("queue", "waiting", "in flight", "delayed", "oldest")
    for queue in queues:
        bad = queue.dead and (queue.waiting or queue.in_flight)
        table.add_row(
            queue.name,
            _shown(queue.waiting),
            _shown(queue.in_flight),
            _shown(queue.delayed),
            UNKNOWN if queue.oldest_seconds is None else _age(queue.oldest_seconds),
            style="bold red" if bad else "",
        )
    return table


def _alarms(overview: Overview) -> RenderableType:
    if overview.alarms is None or not overview.alarm_count:
        return Text(f"alarms   {UNKNOWN}", style="dim")
    if not overview.alarms:
        return Text(f"alarms   none of {overview.alarm_count} ringing", style="green")
    lines = [Text(f"alarms   {len(overview.alarms)} of {overview.alarm_count} ringing", "bold red")]
    for alarm in overview.alarms:
        since = f" since {alarm.since.astimezone(UTC):%Y-%m-%d %H:%M}" if alarm.since else ""
        lines.append(
            Text(f"  ✗ {printable(alarm.name)}{since}: {printable(alarm.reason)}", style="red")
        )
    return Group(*lines)


def _trainings(overview: Overview, width: int) -> list[RenderableType]:
    trainings = overview.trainings
    if trainings is None:
        return [Text(f"trainings   {UNKNOWN}", style="dim")]
    others = ", ".join(
        f"{count:,} {printable(state)}" for state, count in sorted(trainings.states.items())
    )
    more = "" if trainings.complete else " (the table is large: not all of it was looked at)"
    head = Text.assemble(
        (f"{count(len(trainings.running), 'training')} running", "bold"),
        (f"   in the table: {others or 'none'}{more}", "dim"),
    )
    if not trainings.running:
        return [head]
    update = ["last update"] if width >= _MEDIUM else []
    table = _table("training", "state", "round", "participants", *update)
    for training in trainings.running[:_MOST_ROWS]:
        table.add_row(
            printable(training.training_uuid),
            training.state,
            _shown(training.round),
            _participants(training),
            *[printable(training.last_update or UNKNOWN) for _ in update],
        )
    parts: list[RenderableType] = [head, table]
    if len(trainings.running) > _MOST_ROWS:
        parts.append(Text(f"… and {len(trainings.running) - _MOST_ROWS:,} more", style="dim"))
    return parts


_MOST_ROWS = 10


def _participants(training: RunningTraining) -> str:
    return f"≥ {training.participants:,}" if training.more else _shown(training.participants)


def _outcomes(overview: Overview, width: int) -> list[RenderableType]:
    outcomes = overview.outcomes
    if outcomes is None:
        return [Text(f"outcomes   {UNKNOWN}", style="dim")]
    minutes = f"{RECENT.total_seconds() / 60:.0f} minutes"
    head = Text.assemble(("Last outcomes", "bold"), f"   in the last {minutes}: ")
    head.append_text(outcome_counts(outcomes.recent))
    if not outcomes.complete:
        head.append(" (at least: not all lines were read)", style="yellow")
    if not outcomes.last:
        return [head]
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False, show_edge=False)
    cut = None if width >= _WIDE else _SHORT
    table.add_column("time (UTC)", no_wrap=True)
    if width >= _MEDIUM:
        table.add_column("training", no_wrap=True, max_width=cut)
    table.add_column("receiver", no_wrap=True, max_width=cut)
    table.add_column("notification", no_wrap=True)
    table.add_column("outcome", overflow="fold")
    for step in outcomes.last:
        at = step.at.astimezone(UTC)
        table.add_row(
            f"{at:%H:%M:%S}" if at.date() == overview.at.date() else f"{at:%m-%d %H:%M}",
            *([printable(step.training_uuid)] if width >= _MEDIUM else []),
            printable(step.receiver_uuid or ""),
            notification_name(step.notification_type, step.round),
            Text(result(step), style=STYLES.get(step.outcome or "", "")),
        )
    return [head, table]


def _shown(number: int | None) -> str:
    return UNKNOWN if number is None else f"{number:,}"


def _age(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:  # noqa: PLR2004  # from two days on, days are easier to read
        return f"{hours // 24} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"

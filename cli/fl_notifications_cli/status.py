"""The command `status`: one screen that says how the stack is doing."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fl_notifications_cli.options import Region, StackName
from fl_notifications_cli.overview import (
    RECENT,
    OutcomeGroup,
    Outcomes,
    Overview,
    QueueState,
    RunningTraining,
    look,
)
from fl_notifications_cli.progress import working
from fl_notifications_cli.stack import Stack, find_stack
from fl_notifications_cli.tracing.steps import timestamp
from fl_notifications_cli.tracing.terminal import (
    STYLES,
    UNKNOWN,
    Unbroken,
    count,
    marked,
    notification_name,
    outcome_parts,
    output_console,
    plain_table,
    printable,
    shown,
    since,
    state_counts,
)

_MOST_ROWS = 10
_MOST_GROUPS = 6
_MOST_TOLD = 5


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
    console = output_console()
    with working("Asking the stack"):
        overview = look(stack, datetime.now(UTC))
    if as_json:
        print(json.dumps(as_dict(stack, overview), indent=2))
    else:
        console.print(render(stack, overview))


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
            "groups_minutes": outcomes.window.total_seconds() / 60,
            "groups": [
                {
                    "training_uuid": group.training_uuid,
                    "outcome": group.outcome,
                    "notification_type": group.notification_type,
                    "round": group.round,
                    "why": group.why,
                    "count": group.number,
                    "last_at": timestamp(group.last.at),
                    "last_receiver_uuid": group.last.receiver_uuid,
                }
                for group in outcomes.groups
            ],
        },
        "problems": list(overview.problems),
    }


def render(stack: Stack, overview: Overview) -> RenderableType:
    """The overview as a screen.

    Args:
        stack: the stack that was asked.
        overview: what it answered.
    """
    place = stack.endpoint_url or stack.region
    parts: list[RenderableType] = [
        Text.assemble(
            (f"Stack {stack.name}", "bold"),
            f" at {place}, {overview.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        ),
        Text(),
        *_queues(overview.queues),
        Text(),
        _alarms(overview, local=stack.local),
        Text(),
        *_trainings(overview),
        Text(),
        *_outcomes(overview),
    ]
    parts += [
        Text(f"Not to be had: {printable(problem)}", style="yellow")
        for problem in overview.problems
    ]
    return Group(*parts)


def _queues(queues: tuple[QueueState, ...]) -> Iterator[RenderableType]:
    table = plain_table("queue", "waiting", "in flight", "delayed", "oldest")
    bad = [queue for queue in queues if queue.dead and (queue.waiting or queue.in_flight)]
    for queue in queues:
        table.add_row(
            queue.name,
            shown(queue.waiting),
            shown(queue.in_flight),
            shown(queue.delayed),
            UNKNOWN if queue.oldest_seconds is None else _age(queue.oldest_seconds),
            style="bold red" if queue in bad else "",
        )
    yield table
    if bad:
        yield Text("What is dead, and why: fl-notifications dead-letters", style="dim")


def _alarms(overview: Overview, *, local: bool) -> RenderableType:
    if local:
        return Text(f"alarms   {UNKNOWN} (the emulator evaluates none)", style="dim")
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


def _trainings(overview: Overview) -> list[RenderableType]:
    trainings = overview.trainings
    if trainings is None:
        return [Text(f"trainings   {UNKNOWN}", style="dim")]
    head = Text(f"{count(len(trainings.running), 'training')} running", "bold")
    parts: list[RenderableType] = [
        Unbroken(head.append("   in the table:", "not bold dim"), state_counts(trainings.states))
    ]
    if not trainings.complete:
        parts.append(Text("The table is large: not all of it was looked at.", style="yellow"))
    if not trainings.running:
        return parts
    table = plain_table("training", "state", "round", "participants", "age")
    for training in trainings.running[:_MOST_ROWS]:
        table.add_row(
            printable(training.training_uuid),
            training.state,
            shown(training.round),
            _participants(training),
            since(training.last_update, overview.at),
        )
    parts.append(table)
    if len(trainings.running) > _MOST_ROWS:
        parts.append(Text(f"… and {len(trainings.running) - _MOST_ROWS:,} more", style="dim"))
    return parts


def _participants(training: RunningTraining) -> str:
    return f"≥ {training.participants:,}" if training.more else shown(training.participants)


def _outcomes(overview: Overview) -> list[RenderableType]:
    outcomes = overview.outcomes
    if outcomes is None:
        return [Text(f"outcomes   {UNKNOWN}", style="dim")]
    minutes = f"{RECENT.total_seconds() / 60:.0f} minutes"
    head = Text(f"Outcomes of the last {minutes}:", "bold")
    parts: list[RenderableType] = [Unbroken(head, outcome_parts(outcomes.recent))]
    if not outcomes.complete:
        parts.append(Text("At least: not all lines were read.", style="yellow"))
    if outcomes.groups and outcomes.window != RECENT:
        parts.append(Text(f"The last before, within {_window(outcomes)}:", style="dim"))
    trainings = list(dict.fromkeys(group.training_uuid for group in outcomes.groups))
    for uuid in trainings[:_MOST_TOLD]:
        groups = [group for group in outcomes.groups if group.training_uuid == uuid]
        parts.append(Text(f"training {printable(uuid)}"))
        parts.append(
            Padding(_groups(groups[:_MOST_GROUPS], overview.at), (0, 0, 0, 2), expand=False)
        )
        if len(groups) > _MOST_GROUPS:
            parts.append(Text(f"  … and {len(groups) - _MOST_GROUPS} more kinds", style="dim"))
    if len(trainings) > _MOST_TOLD:
        parts.append(
            Text(f"… and {count(len(trainings) - _MOST_TOLD, 'more training')}", style="dim")
        )
    if trainings:
        parts.append(Text("Who and why: fl-notifications trace TRAINING", style="dim"))
    return parts


def _window(outcomes: Outcomes) -> str:
    hours = outcomes.window.total_seconds() / 3600
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"  # noqa: PLR2004


def _groups(groups: Sequence[OutcomeGroup], now: datetime) -> Table:
    """How a training's notifications ended: how many, what, when the last one, and why."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for group in groups:
        at = group.last.at.astimezone(UTC)
        what = group.notification_type and notification_name(group.notification_type, group.round)
        table.add_row(
            f"{group.number:,}",
            marked(group.outcome),
            f"{at:%H:%M:%S}" if at.date() == now.date() else f"{at:%m-%d %H:%M}",
            ": ".join(part for part in (what, group.why) if part),
            style=STYLES.get(group.outcome, ""),
        )
    return table


def _age(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:  # noqa: PLR2004  # from two days on, days are easier to read
        return f"{hours // 24} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"

"""The story of a training for people at a terminal."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from fl_notifications_cli.tracing.steps import Step, StepKind
from fl_notifications_cli.tracing.story import (
    OUTCOMES,
    UNDECIDED,
    UNSUCCESSFUL,
    NotificationStory,
    ReceiverStory,
    TrainingStory,
)

MANY_RECEIVERS = 30
"""Above this, receivers without any trouble are counted instead of shown."""

MOST_TABLES = 100
"""The most receivers that are shown one by one."""

MOST_FAILURES = 20
"""The most failures that the summary lists."""

STYLES = {
    "accepted": "green",
    "rejected": "bold red",
    "failed": "bold red",
    "superseded": "dim",
    UNDECIDED: "yellow",
}
_MARKS = {"accepted": "✓", "rejected": "✗", "failed": "✗", "superseded": "-", UNDECIDED: "…"}
_ID_LENGTH = 12
_WIDE = 115
_PIPED_WIDTH = 160


def render(story: TrainingStory, *, width: int) -> Iterator[RenderableType]:
    """What `trace` prints: a table for each receiver, then a summary with what went wrong.

    The summary comes last because that is what stays on the screen.

    Args:
        story: The training's story, with at least one step.
        width: How many characters fit into a line.
    """
    shown = story.receivers
    quiet: tuple[ReceiverStory, ...] = ()
    if len(shown) > MANY_RECEIVERS:
        quiet = tuple(receiver for receiver in shown if not receiver.needs_a_look)
        shown = tuple(receiver for receiver in shown if receiver.needs_a_look)
    for receiver in shown[:MOST_TABLES]:
        yield _receiver_table(receiver, width)
        yield Text()
    if quiet:
        retried = sum(receiver.retried for receiver in quiet)
        yield Text(
            f"{len(quiet):,} receivers accepted everything"
            + (f", {retried:,} of them not at the first attempt" if retried else "")
            + "; they are not shown one by one.",
            style="green",
        )
    if len(shown) > MOST_TABLES:
        yield Text(
            f"{len(shown) - MOST_TABLES:,} more receivers had trouble and are not shown.",
            style="yellow",
        )
    if quiet or len(shown) > MOST_TABLES:
        yield Text("--receiver UUID shows one of them, --html FILE and --json show all.\n")
    yield summary(story, width=width)


def summary(story: TrainingStory, *, width: int) -> RenderableType:
    """How many notifications ended how, and what failed.

    Args:
        story: The training's story, with at least one step.
        width: How many characters fit into a line.
    """
    begin, end = story.steps[0].at, story.steps[-1].at
    lines: list[RenderableType] = []
    head = Text()
    head.append(f"Training {printable(story.training_uuid)}", style="bold")
    head.append(
        f"  {_day(begin)} {begin:%H:%M:%S} to "
        f"{'' if _day(begin) == _day(end) else _day(end) + ' '}{end:%H:%M:%S} UTC\n"
    )
    head.append(
        f"{count(len(story.receivers), 'receiver')}, "
        f"{count(len(story.notifications), 'notification')}: "
    )
    head.append_text(outcome_counts(story.outcomes))
    lines.append(head)
    failures = story.failures
    if failures:
        table = _table(Text("What failed", style="bold red"))
        table.add_column(
            f"{_day((failures[0].conclusion or failures[0].steps[-1]).at)} UTC", no_wrap=True
        )
        # The beginning of a uuid is enough to go on with: --receiver takes it.
        table.add_column("receiver", no_wrap=True, max_width=None if width >= _WIDE else 13)
        table.add_column("notification", no_wrap=True)
        table.add_column("why", overflow="fold")
        day = _day((failures[0].conclusion or failures[0].steps[-1]).at)
        for failure in failures[:MOST_FAILURES]:
            ended = failure.conclusion or failure.steps[-1]
            day = _new_day(table, day, ended.at)
            table.add_row(
                _time(ended.at),
                printable(failure.receiver_uuid or ""),
                notification_name(failure.notification_type, failure.round),
                _why(failure),
                style="red",
            )
        lines.append(table)
        if len(failures) > MOST_FAILURES:
            lines.append(Text(f"… and {len(failures) - MOST_FAILURES:,} more", style="red"))
    return Group(*lines)


def step_line(step: Step) -> Text:
    """One step as one line, as `--follow` prints it."""
    line = Text(no_wrap=True, overflow="ignore")
    line.append(_time(step.at), style="dim")
    line.append(f"  {printable(step.receiver_uuid or '?')}")
    line.append(f"  {notification_name(step.notification_type, step.round):<24}")
    line.append(f"  {step.kind.value:<11}", style=_step_style(step))
    line.append("  " + result(step), style=_step_style(step))
    return line


def output_console(*, stderr: bool = False) -> Console:
    """A console for a command's result; a file has no width, so it gets a generous one."""
    console = Console(stderr=stderr, highlight=False)
    if console.is_terminal:
        return console
    return Console(stderr=stderr, highlight=False, width=_PIPED_WIDTH)


def printable(text: str) -> str:
    """The text with everything that could steer a terminal shown as what it is."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def outcome_counts(counts: Counter[str]) -> Text:
    """How many notifications ended how, the worst first."""
    known = [outcome for outcome in OUTCOMES if counts[outcome]]
    others = sorted(set(counts) - set(OUTCOMES))
    parts = [
        Text(
            f"{_MARKS.get(outcome, '?')} {counts[outcome]:,} {printable(outcome)}",
            style=STYLES.get(outcome, ""),
        )
        for outcome in [*known, *others]
    ]
    return Text(", ").join(parts) if parts else Text("none", style="dim")


def _receiver_table(receiver: ReceiverStory, width: int) -> Table:
    title = Text()
    title.append(f"Receiver {printable(receiver.receiver_uuid or '(not named)')}", style="bold")
    title.append("  ")
    title.append_text(outcome_counts(receiver.outcomes))
    table = _table(title)
    table.add_column(f"{_day(receiver.steps[0].at)} UTC", no_wrap=True)
    table.add_column("notification", no_wrap=True)
    if width >= _WIDE:
        table.add_column("id", no_wrap=True, style="dim", max_width=_ID_LENGTH)
    table.add_column("step", no_wrap=True)
    table.add_column("try", justify="right", no_wrap=True)
    table.add_column("what happened", overflow="fold")
    day = _day(receiver.steps[0].at)
    outcome = {n.steps[0].notification_key: n.outcome for n in receiver.notifications}
    for step in receiver.steps:
        style = _step_style(step)
        ended_badly = outcome[step.notification_key] in UNSUCCESSFUL
        day = _new_day(table, day, step.at)
        table.add_row(
            _time(step.at),
            Text(
                notification_name(step.notification_type, step.round),
                style="red" if ended_badly else "",
            ),
            *([printable(step.notification_id or "")] if width >= _WIDE else []),
            Text(step.kind.value, style=style),
            str(step.attempt) if step.attempt is not None else "",
            Text(result(step), style=style),
        )
    return table


def _table(title: Text) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="",
        header_style="dim",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )


def _why(story: NotificationStory) -> str:
    parts = [
        f"{_MARKS.get(story.outcome, '')} {story.outcome}",
        *([story.why] if story.why else []),
    ]
    ended = story.conclusion
    if ended is not None and ended.attempt is not None:
        parts.append(count(ended.attempt, "attempt"))
    follow_up = next(
        (s.reason for s in reversed(story.steps) if s.kind is StepKind.CALLED_BACK and s.reason),
        None,
    )
    if follow_up:
        parts.append(f"then: {follow_up}")
    return printable(", ".join(parts))


def _step_style(step: Step) -> str:
    if step.kind is StepKind.CONCLUDED:
        return STYLES.get(step.outcome or "", "")
    if step.kind is StepKind.ATTEMPTED and not _succeeded(step):
        return "red"
    if step.kind is StepKind.HELD_BACK:
        return "yellow"
    return "green" if step.kind is StepKind.ATTEMPTED else "dim"


def _succeeded(step: Step) -> bool:
    return step.status_code is not None and step.status_code // 100 == 2  # noqa: PLR2004  # 2xx


def result(step: Step) -> str:
    """What came of a step, in words."""
    parts: list[str] = []
    if step.kind is StepKind.CONCLUDED and step.outcome:
        parts.append(f"{_MARKS.get(step.outcome, '?')} {step.outcome}")
    if step.status_code is not None and step.kind is not StepKind.CALLED_BACK:
        parts.append(f"HTTP {step.status_code}")
    if step.reason and step.reason != f"answered {step.status_code}":
        parts.append(step.reason)
    if step.latency_ms is not None:
        parts.append(f"in {_duration(step.latency_ms)}")
    if step.queued_ms is not None:
        parts.append(f"after {_duration(step.queued_ms)}")
    return printable(", ".join(parts))


def _duration(milliseconds: int) -> str:
    if milliseconds < 1000:  # noqa: PLR2004  # a second
        return f"{milliseconds} ms"
    seconds = milliseconds / 1000
    if seconds < 120:  # noqa: PLR2004  # up to two minutes, seconds are easier to read
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"


def notification_name(kind: str | None, number: int | None) -> str:
    """A notification's type, with its round if it has one."""
    name = printable(kind or "?")
    return name if number is None else f"{name} {number}"


def count(number: int, noun: str) -> str:
    """A number of things, in words."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _day(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d}"


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%H:%M:%S.%f")[:-3]


def _new_day(table: Table, before: str, at: datetime) -> str:
    """The day of a row; if it is another than that of the row before, the table says so."""
    day = _day(at)
    if day != before:
        table.add_row(day, style="dim")
    return day

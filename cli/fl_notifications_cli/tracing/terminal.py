"""The story of a training for people at a terminal."""

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from textwrap import wrap
from typing import IO, cast

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fl_notifications_cli.tracing.steps import OF_TRAININGS, TYPE_UNKNOWN, Step, StepKind
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

MOST_FAILURES = 10
"""The most kinds of failure that the summary lists."""

MOST_NAMED = 3
"""The most receivers that are named for each of them."""

STYLES = {
    "accepted": "green",
    "rejected": "bold red",
    "failed": "bold red",
    "superseded": "dim",
    TYPE_UNKNOWN: "dim",
    UNDECIDED: "yellow",
}
_MARKS = {
    "accepted": "✓",
    "rejected": "✗",
    "failed": "✗",
    "superseded": "-",
    TYPE_UNKNOWN: "-",
    UNDECIDED: "…",
}
UNKNOWN = "\N{EN DASH}"
"""Shown for what can't be had here."""

_RIGHT = {"waiting", "in flight", "delayed", "oldest", "round", "participants", "age", "try"}
_SHORTEST = 8
_PADDING = re.compile(r" +\n")
_WIDE = 115
_PIPED_WIDTH = 1_000
"""Of what goes into a file or a pipe: no line of a table is broken there, so that grep finds it."""


class Unbroken:
    """A list in one sentence, broken over lines only between its parts.

    Args:
        head: What it begins with, without the space after it.
        parts: What follows, with commas between.
    """

    def __init__(self, head: Text, parts: Iterable[Text]) -> None:
        self._head = head
        self._parts = list(parts)

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Yield the lines; all but the first are indented."""
        line = self._head.copy()
        for number, part in enumerate(self._parts, 1):
            text = part if number == len(self._parts) else part + Text(",")
            if line.cell_len + 1 + text.cell_len > options.max_width:
                yield line
                line = Text(" ")
            line.append(" ").append_text(text)
        yield line


type Name = Callable[[str], str | None]
"""What a receiver is called, by its uuid: `actor`, or None."""


def nameless(_receiver_uuid: str) -> None:
    """Call nobody by a name."""


def render(story: TrainingStory, *, width: int, name: Name = nameless) -> Iterator[RenderableType]:
    """What `trace` prints: a table for each receiver, then a summary with what went wrong.

    The summary comes last because that is what stays on the screen.

    Args:
        story: The training's story, with at least one step.
        width: How many characters fit into a line.
        name: What receivers are called.
    """
    shown = story.receivers
    quiet: tuple[ReceiverStory, ...] = ()
    if len(shown) > MANY_RECEIVERS:
        quiet = tuple(receiver for receiver in shown if not receiver.needs_a_look)
        shown = tuple(receiver for receiver in shown if receiver.needs_a_look)
    for receiver in shown[:MOST_TABLES]:
        yield _receiver_title(receiver, name)
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
    yield summary(story, name=name)


def summary(story: TrainingStory, *, name: Name = nameless) -> RenderableType:
    """How many notifications ended how, and what failed.

    Args:
        story: The training's story, with at least one step.
        name: What receivers are called.
    """
    begin, end = story.steps[0].at, story.steps[-1].at
    lines: list[RenderableType] = []
    head = Text()
    head.append(f"Training {printable(story.training_uuid)}\n", style="bold")
    head.append(
        f"{_day(begin)} {begin:%H:%M:%S} to "
        f"{'' if _day(begin) == _day(end) else _day(end) + ' '}{end:%H:%M:%S} UTC"
    )
    lines.append(head)
    receivers, notifications = len(story.receivers), len(story.notifications)
    if notifications:
        told = f"{count(receivers, 'receiver')}, {count(notifications, 'notification')}:"
        lines.append(Unbroken(Text(told), outcome_parts(story.outcomes)))
    else:
        lines.append(Text("No notifications.", style="yellow"))
    lines += _failures(story.failures, name)
    lines += _overdue(story.overdue)
    lines += _not_announced(story.unreadable)
    return Group(*lines)


def _failures(failures: Sequence[NotificationStory], name: Name) -> Iterator[RenderableType]:
    """What failed, alike ones together: those with consequences first, then the most frequent."""
    groups: dict[tuple[str, str, str | None], list[NotificationStory]] = {}
    for failure in failures:
        key = (failure.outcome, _what(failure), failure.follow_up)
        groups.setdefault(key, []).append(failure)
    if groups:
        yield Text("\nWhat failed", style="bold red")
    ranked = sorted(groups.items(), key=lambda group: (_weight(group[0][2]), -len(group[1])))
    for (outcome, what, follow_up), alike in ranked[:MOST_FAILURES]:
        mark = _MARKS.get(outcome, "?")
        yield Text(f"{mark} {len(alike):,} {printable(outcome)}: {what}", style="red")
        if follow_up:
            yield _indented(Text(f"then: {printable(follow_up)}", style="bold red"))
        for failure in alike[:MOST_NAMED]:
            ended = failure.conclusion or failure.steps[-1]
            receiver = failure.receiver_uuid or ""
            yield _indented(
                Text(f"{_day(ended.at)} {_time(ended.at)}  {printable(receiver)}").append(
                    _called(receiver, name)
                )
            )
        if len(alike) > MOST_NAMED:
            yield _indented(Text(f"… and {len(alike) - MOST_NAMED:,} more", style="dim"))
    if len(ranked) > MOST_FAILURES:
        yield Text(f"… and {len(ranked) - MOST_FAILURES:,} more kinds", style="red")


def _weight(follow_up: str | None) -> int:
    """How much came of a failure: a training's end, a removal, something, nothing."""
    if follow_up is None:
        return 3
    return 0 if "ERROR" in follow_up else 1 if "removed" in follow_up else 2


def _overdue(steps: Sequence[Step]) -> Iterator[RenderableType]:
    """Rounds that lasted longer than their deadline, and what followed."""
    if not steps:
        return
    yield Text("\nOverdue", style="bold red")
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    for step in steps:
        table.add_row(
            f"{_day(step.at)} {_time(step.at)}", Text(printable(step.reason or ""), "red")
        )
    yield table


def _not_announced(unreadable: Sequence[Step]) -> Iterator[RenderableType]:
    """Changes that nobody was told of, as an item could not be read."""
    last: dict[str, Step] = {step.reason or "": step for step in unreadable}
    numbers = Counter(step.reason or "" for step in unreadable)
    if last:
        yield Text("\nNot announced", style="bold red")
    for reason, step in last.items():
        times = f"{numbers[reason]:,} times, last " if numbers[reason] > 1 else ""
        yield Text(printable(reason), style="red")
        yield _indented(Text(f"{times}{_day(step.at)} {_time(step.at)}"))
    if last:
        yield _indented(
            Text(
                "While it lies there, 'fl-notifications dead-letters' shows it; mend the item,"
                " then 'fl-notifications redrive stream'."
            )
        )


def _indented(text: Text) -> RenderableType:
    return Padding(text, (0, 0, 0, 2), expand=False)


def _called(receiver_uuid: str, name: Name) -> Text:
    called = name(receiver_uuid)
    return Text(f" ({printable(called)})" if called else "", style="cyan")


def step_line(step: Step, *, width: int | None = None) -> Text:
    """One step as `--follow` prints it.

    Args:
        step: The step.
        width: How many characters fit into a line: what is too long for one goes on in a second,
            between words. None for one line, however long.
    """
    line = Text(no_wrap=width is None, overflow="ignore" if width is None else "fold")
    line.append(_time(step.at), style="dim")
    line.append(f"  {printable(step.receiver_uuid or step.training_uuid):<36}")
    name = notification_name(step.notification_type, step.round)
    made = f"{step.kind.value} {step.attempt}" if _is_attempt(step) else step.kind.value
    what = f"{made:<12}  {result(step)}"
    if width is None or len(line) + max(24, len(name)) + len(what) + 4 <= width:
        return line.append(f"  {name:<24}  ").append(what, style=_step_style(step))
    line.append(f"  {name}\n")
    rows = wrap(what, width, initial_indent=" " * 14, subsequent_indent=" " * 28)
    return line.append("\n".join(rows), style=_step_style(step))


def output_console(*, stderr: bool = False) -> Console:
    """A console for a command's result; a file has no width, so it gets a generous one."""
    console = Console(stderr=stderr, highlight=False)
    if console.is_terminal:
        return console
    file = _Trimmed(sys.stderr if stderr else sys.stdout)
    return Console(file=cast("IO[str]", file), highlight=False, width=_PIPED_WIDTH)


class _Trimmed:
    """A file into which no line ends in the spaces that tables are padded with."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        """Write a text; Rich writes whole lines."""
        return self._file.write(_PADDING.sub("\n", text))

    def flush(self) -> None:
        """Hand on what was written."""
        self._file.flush()


def printable(text: str) -> str:
    """The text with everything that could steer a terminal shown as what it is."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def outcome_parts(counts: Counter[str]) -> list[Text]:
    """How many notifications ended how, the worst first."""
    known = [outcome for outcome in OUTCOMES if counts[outcome]]
    others = sorted(set(counts) - set(OUTCOMES))
    return [
        Text(
            f"{_MARKS.get(outcome, '?')} {counts[outcome]:,} {printable(outcome)}",
            style=STYLES.get(outcome, ""),
        )
        for outcome in [*known, *others]
    ] or [Text("none", style="dim")]


_STATES = ["ONGOING", "SWAG_ROUND", "MODEL_TEST", "INITIAL", "ERROR", "COMPLETED"]
"""Running ones first: those that somebody may have to look after."""


def state_rank(state: str) -> int:
    """Where a state stands in a list; what is no state is first, as nobody is told of it."""
    return _STATES.index(state) if state in _STATES else -1


def state_counts(counts: Counter[str]) -> list[Text]:
    """How many trainings are in which state."""
    return [
        Text(f"{counts[state]:,} {printable(state)}", style="dim" if state in _STATES else "yellow")
        for state in sorted(counts, key=lambda each: (state_rank(each), each))
    ] or [Text("none", style="dim")]


def since(last_update: str | None, now: datetime) -> str:
    """How long ago the FL server wrote a training; a dash if it has not said so readably."""
    try:
        at = datetime.fromisoformat(last_update or "")
        return age((now - at).total_seconds())
    except (ValueError, TypeError):  # TypeError: without a time zone
        return UNKNOWN


def marked(outcome: str) -> str:
    """An outcome with its mark."""
    return f"{_MARKS.get(outcome, '?')} {printable(outcome)}"


def explain(error: ClientError | BotoCoreError) -> str:
    """What AWS said, on one line and without the request around it."""
    if isinstance(error, ClientError):
        said = error.response.get("Error", {})
        return printable(f"{said.get('Message') or said.get('Code') or error}")
    return printable(str(error))


def plain_table(*columns: str) -> Table:
    """A table without lines, whose cells are never cut: uuids can be copied from it."""
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=True, justify="right" if column in _RIGHT else "left")
    return table


def shortened(ids: Iterable[str]) -> dict[str, str]:
    """The shortest beginning of each id that no other one has, of eight characters or more."""
    known = set(ids)
    length = _SHORTEST
    while len({each[:length] for each in known}) < len(known):
        length += 1
    return {each: printable(each[:length]) for each in known}


def shown(number: int | None) -> str:
    """A number, or a dash."""
    return UNKNOWN if number is None else f"{number:,}"


def age(seconds: float) -> str:
    """A time that has passed, in its largest unit."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size:,.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


def _receiver_title(receiver: ReceiverStory, name: Name) -> Unbroken:
    title = Text()
    title.append(f"Receiver {printable(receiver.receiver_uuid or '(not named)')}", style="bold")
    title.append_text(_called(receiver.receiver_uuid or "", name))
    return Unbroken(title.append(" "), outcome_parts(receiver.outcomes))


def _receiver_table(receiver: ReceiverStory, width: int) -> Table:
    ids = ["id"] if width >= _WIDE else []
    table = plain_table(_day(receiver.steps[0].at), "notification", *ids, "step", "try")
    table.add_column("what happened", overflow="fold")
    day = _day(receiver.steps[0].at)
    outcome = {n.steps[0].notification_key: n.outcome for n in receiver.notifications}
    ids_of_all = shortened([n.notification_id or "" for n in receiver.notifications])
    built: set[tuple[str | int | None, ...]] = set()
    for step in receiver.steps:
        style = _step_style(step)
        again = step.kind is StepKind.BUILT and step.notification_key in built
        if step.kind is StepKind.BUILT:
            built.add(step.notification_key)
        ended_badly = outcome[step.notification_key] in UNSUCCESSFUL
        day = _new_day(table, day, step.at)
        table.add_row(
            _time(step.at),
            Text(
                notification_name(step.notification_type, step.round),
                style="red" if ended_badly else "",
            ),
            *([ids_of_all[step.notification_id or ""]] if width >= _WIDE else []),
            Text(step.kind.value, style=style),
            str(step.attempt) if step.attempt else "",
            Text("again: the same id is told once" if again else result(step), style=style),
        )
    return table


def _what(story: NotificationStory) -> str:
    """What failed, and why."""
    parts = [notification_name(story.notification_type, story.round)]
    parts += [story.why] if story.why else []
    ended = story.conclusion
    if ended is not None and ended.attempt:
        parts.append(count(ended.attempt, "attempt"))
    return printable(", ".join(parts))


def _step_style(step: Step) -> str:
    if step.kind in OF_TRAININGS:
        return "bold red"
    if step.kind is StepKind.CONCLUDED:
        return STYLES.get(step.outcome or "", "")
    if step.kind is StepKind.ATTEMPTED and not _succeeded(step):
        return "red"
    if step.kind is StepKind.HELD_BACK:
        return "yellow"
    return "green" if step.kind is StepKind.ATTEMPTED else "dim"


def _is_attempt(step: Step) -> bool:
    return step.kind is StepKind.ATTEMPTED and step.attempt is not None


def _succeeded(step: Step) -> bool:
    return step.status_code is not None and step.status_code // 100 == 2  # noqa: PLR2004  # 2xx


def why(step: Step) -> str:
    """Status and reason of a step, in words."""
    parts: list[str] = []
    if step.status_code is not None and step.kind is not StepKind.CALLED_BACK:
        parts.append(f"HTTP {step.status_code}")
    if step.reason and step.reason != f"answered {step.status_code}":
        parts.append(step.reason)
    return printable(", ".join(parts))


def result(step: Step) -> str:
    """What came of a step, in words."""
    parts: list[str] = []
    if step.kind in {StepKind.ACKNOWLEDGED, StepKind.CONCLUDED} and step.outcome:
        parts.append(marked(step.outcome))
    if step.kind is StepKind.DEPOSITED:
        parts.append("in mailbox")
    # What accepted has said is in the attempt's own line.
    if (said := why(step)) and not (step.kind is StepKind.CONCLUDED and _succeeded(step)):
        parts.append(said)
    if step.latency_ms is not None:
        parts.append(f"in {_duration(step.latency_ms)}")
    if step.queued_ms is not None:
        parts.append(f"after {_duration(step.queued_ms)}")
    return printable(", ".join(parts))


def _duration(milliseconds: int) -> str:
    """A duration as one word: a narrow table breaks lines between words only."""
    if milliseconds < 1000:  # noqa: PLR2004  # a second
        return f"{milliseconds}ms"
    seconds = milliseconds / 1000
    if seconds < 120:  # noqa: PLR2004  # up to two minutes, seconds are easier to read
        return f"{seconds:.1f}s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s"


def notification_name(kind: str | None, number: int | None) -> str:
    """A notification's type, with its round if it has one."""
    name = printable(kind or "?")
    return name if number is None else f"{name} {number}"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number of things, in words."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


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

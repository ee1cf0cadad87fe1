"""How the demo is shown: a table that lives on a terminal, lines elsewhere."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fl_notifications_cli.demo.cast import Cast, Production, Role
from fl_notifications_cli.demo.record import Entry, Record, about
from fl_notifications_cli.participants import Answer
from fl_notifications_cli.tracing.terminal import count

_LEDGER_SECONDS = 1.0
_REDRAWS_PER_SECOND = 8
# Wide enough from the beginning, so that nothing moves.
_NAME_WIDTH = 10
_CELL_WIDTH = 9
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

# Column -> the labels that are shown in it.
_COLUMNS = {
    "start": {"TRAINING_START"},
    "round 0": {"UPDATE_ROUND_START 0"},
    "round 1": {"UPDATE_ROUND_START 1"},
    "SWAG": {"SWAG_ROUND_START 1"},
    "test": {"MODEL_TEST_ROUND 1"},
    "end": {"TRAINING_FINISHED", "TRAINING_ERROR"},
    "removed": {"CLIENT_REMOVED"},
}
_DEADLINE_COLUMN = "round 0"
_SELECTED_COLUMN = "round 1"
# The same by type, for those whose notifications never arrive: only the ledger knows of them.
_COLUMN_OF_KIND = {
    "TRAINING_START": "start",
    "UPDATE_ROUND_START": "round 0",
    "TRAINING_FINISHED": "end",
    "TRAINING_ERROR": "end",
    "CLIENT_REMOVED": "removed",
}


class View(Protocol):
    """Shows what happens."""

    def say(self, text: str) -> None:
        """Show what begins now."""

    def refresh(self) -> None:
        """Show what has happened since."""


class Lines:
    """Prints a line for each thing that happens: for logs and pipes.

    Args:
        cast: the trainings.
        began: when the demo began, unix time in seconds.
    """

    def __init__(self, cast: Cast, began: float) -> None:
        self._cast = cast
        self._began = began
        self._shown: dict[str, int] = {}

    def say(self, text: str) -> None:
        """Print a heading."""
        print(f"{time.time() - self._began:6.1f} s  == {text}", flush=True)

    def refresh(self) -> None:
        """Print what has arrived since the last time, in the order of arrival."""
        new = []
        for production in self._cast.all:
            for role in production.told:
                exchanges = role.participant.exchanges
                shown = self._shown.get(role.participant.uuid, 0)
                new += [(request, answer, role) for request, answer in exchanges[shown:]]
                self._shown[role.participant.uuid] = len(exchanges)
        for request, answer, role in sorted(new, key=lambda each: each[0].at):
            print(
                f"{request.at - self._began:6.1f} s     {role.name:12} {request.label:24}"
                f" -> {answer.status or 'nothing'}"
                f"{', fetched from its mailbox' if role.polls else ''}",
                flush=True,
            )


@dataclass(frozen=True, slots=True)
class Looked:
    """What no participant's server knows.

    Attributes:
        entries: of the ledger.
        deposited: type and round of what waits in mailboxes, by receiver.
        reported: who has reported the round with a deadline.
        overdue: who was removed, as it has not.
        left_out: who is not selected for the other round.
    """

    entries: Sequence[Entry] = ()
    deposited: Mapping[str, Sequence[str]] = field(default_factory=dict)
    reported: frozenset[str] = frozenset()
    overdue: frozenset[str] = frozenset()
    left_out: frozenset[str] = frozenset()


def look(record: Record, cast: Cast) -> Looked:
    """Read what is shown beside the participants' answers."""
    mailboxes = [role for production in cast.all for role in production.told if role.polls]
    return Looked(
        entries=record.ledger(cast.all),
        deposited={role.participant.uuid: record.deposited(role) for role in mailboxes},
        reported=frozenset(record.reported(cast.deadline)),
        overdue=frozenset(record.removed(cast.deadline)),
        left_out=frozenset(record.left_out(cast.deadline)),
    )


class LiveTable:
    """Redraws a table on a terminal, while what was said before it scrolls away above.

    Args:
        cast: the trainings.
        began: when the demo began, unix time in seconds.
        record: for what no participant's server knows.
        live: where it is drawn.
    """

    def __init__(self, cast: Cast, began: float, record: Record, live: Live) -> None:
        self._cast = cast
        self._began = began
        self._record = record
        self._live = live
        self._seen = Looked()
        self._looked = 0.0
        self._text = ""

    def say(self, text: str) -> None:
        """Show a heading above the table."""
        self._text = text
        self._live.console.print(
            f"[dim]{time.time() - self._began:6.1f} s[/]  {text}", highlight=False
        )
        self.refresh()

    def refresh(self) -> None:
        """Redraw."""
        now = time.monotonic()
        if now - self._looked >= _LEDGER_SECONDS:
            self._looked = now
            self._seen = look(self._record, self._cast)
        self._live.update(self._draw(), refresh=True)

    def finish(self) -> None:
        """Redraw for the last time, with nothing that still goes on."""
        self._seen = look(self._record, self._cast)
        self._live.update(self._draw(going_on=False), refresh=True)

    def _draw(self, *, going_on: bool = True) -> Group:
        elapsed = time.time() - self._began
        turning = _SPINNER[int(elapsed * _REDRAWS_PER_SECOND) % len(_SPINNER)]
        now = [Text(f"{turning} {elapsed:5.1f} s  {self._text}", style="dim")] if going_on else []
        return Group(drawn(self._cast, self._seen), *now)


def drawn(cast: Cast, seen: Looked) -> Table:
    """Draw all trainings as one table, so that they fit on a small terminal."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True, min_width=_NAME_WIDTH)
    for column in _COLUMNS:
        table.add_column(column, no_wrap=True, min_width=_CELL_WIDTH)
    for production in cast.all:
        table.add_row(Text(production.title, style="bold"), *_polls(production))
        for role in production.told:
            cells = _tries(seen, production, role) if role.down else _answers(role)
            _waiting(cells, seen, role)
            if production is cast.deadline:
                _deadline(cells, seen, role)
            table.add_row(role.name, *(cells.get(column, Text()) for column in _COLUMNS))
    return table


def _polls(production: Production) -> list[Text]:
    """How often mailboxes were asked, below the last column's head."""
    polls = [role.polls.number for role in production.told if role.polls]
    said = count(sum(polls), "poll", "polls") if polls else ""
    return [*([Text()] * (len(_COLUMNS) - 1)), Text(said, style="dim")]


def _tries(seen: Looked, production: Production, role: Role) -> dict[str, Text]:
    cells = {}
    for entry in about(seen.entries, production, role):
        if column := _COLUMN_OF_KIND.get(entry.kind):
            text = count(entry.attempts, "try", "tries")
            cells[column] = Text(
                f"{text} ✗" if entry.outcome else text,
                style="red" if entry.outcome else "yellow",
            )
    return cells


def _answers(role: Role) -> dict[str, Text]:
    cells: dict[str, Text] = {}
    for request, answer in role.participant.exchanges:
        if column := _column(request.label):
            cell = cells.setdefault(column, Text())
            cell.append(" " if cell else "").append_text(_mark(answer))
            if role.polls:
                cell.append(" fetched", style="dim")
    return cells


def _waiting(cells: dict[str, Text], seen: Looked, role: Role) -> None:
    """Show what is in a mailbox, until it has been fetched."""
    for label in seen.deposited.get(role.participant.uuid, ()):
        if column := _column(label):
            cells.setdefault(column, Text("deposited", style="yellow"))


def _deadline(cells: dict[str, Text], seen: Looked, role: Role) -> None:
    """Show who has reported, who has not in time, and who is not asked to."""
    uuid = role.participant.uuid
    cell = cells.setdefault(_DEADLINE_COLUMN, Text())
    if uuid in seen.overdue:
        cell.append(" overdue", style="red")
    elif uuid in seen.reported:
        cell.append(" result", style="green")
    if uuid in seen.left_out and uuid not in seen.overdue:
        cells.setdefault(_SELECTED_COLUMN, Text("not asked", style="dim"))


def _column(label: str) -> str | None:
    return next((column for column, labels in _COLUMNS.items() if label in labels), None)


def _mark(answer: Answer) -> Text:
    if answer.status is None:
        return Text("-", style="red")
    if 200 <= answer.status < 300:  # noqa: PLR2004  # 2xx
        return Text("✓", style="green")
    if answer.status >= 500:  # noqa: PLR2004  # 5xx
        return Text(str(answer.status), style="yellow")
    return Text(str(answer.status), style="red")


@contextmanager
def shown(console: Console, cast: Cast, began: float, record: Record) -> Iterator[View]:
    """Show the trainings as the console allows."""
    if not console.is_terminal:
        yield Lines(cast, began)
        return
    with Live(console=console, auto_refresh=False, transient=False) as live:
        table = LiveTable(cast, began, record, live)
        yield table
        table.finish()

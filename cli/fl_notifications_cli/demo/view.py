"""How the demo is shown: a table that lives on a terminal, lines elsewhere."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fl_notifications_cli.demo.cast import Production, Role
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
        productions: the trainings.
        began: when the demo began, unix time in seconds.
    """

    def __init__(self, productions: Sequence[Production], began: float) -> None:
        self._productions = productions
        self._began = began
        self._shown: dict[str, int] = {}

    def say(self, text: str) -> None:
        """Print a heading."""
        print(f"{time.time() - self._began:6.1f} s  == {text}", flush=True)

    def refresh(self) -> None:
        """Print what has arrived since the last time, in the order of arrival."""
        new = []
        for production in self._productions:
            for role in production.told:
                exchanges = role.participant.exchanges
                shown = self._shown.get(role.participant.uuid, 0)
                new += [(request, answer, role) for request, answer in exchanges[shown:]]
                self._shown[role.participant.uuid] = len(exchanges)
        for request, answer, role in sorted(new, key=lambda each: each[0].at):
            print(
                f"{request.at - self._began:6.1f} s     {role.name:12} {request.label:24}"
                f" -> {answer.status or 'nothing'}",
                flush=True,
            )


class LiveTable:
    """Redraws a table on a terminal, while what was said before it scrolls away above.

    Args:
        productions: the trainings.
        began: when the demo began, unix time in seconds.
        record: for what only the ledger knows.
        live: where it is drawn.
    """

    def __init__(
        self, productions: Sequence[Production], began: float, record: Record, live: Live
    ) -> None:
        self._productions = productions
        self._began = began
        self._record = record
        self._live = live
        self._entries: list[Entry] = []
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
            self._entries = self._record.ledger(self._productions)
        self._live.update(self._draw(), refresh=True)

    def finish(self) -> None:
        """Redraw for the last time, with nothing that still goes on."""
        self._entries = self._record.ledger(self._productions)
        self._live.update(self._draw(going_on=False), refresh=True)

    def _draw(self, *, going_on: bool = True) -> Group:
        elapsed = time.time() - self._began
        turning = _SPINNER[int(elapsed * _REDRAWS_PER_SECOND) % len(_SPINNER)]
        now = [Text(f"{turning} {elapsed:5.1f} s  {self._text}", style="dim")] if going_on else []
        return Group(*(self._table(production) for production in self._productions), *now)

    def _table(self, production: Production) -> Table:
        table = Table(
            title=production.title,
            title_justify="left",
            title_style="bold",
            box=None,  # so that both tables fit on a small terminal
            padding=(0, 1, 0, 0),
        )
        table.add_column("", no_wrap=True, min_width=_NAME_WIDTH)
        for column in _COLUMNS:
            table.add_column(column, no_wrap=True, min_width=_CELL_WIDTH)
        for role in production.told:
            cells = self._down(production, role) if role.down else _answers(role)
            table.add_row(role.name, *(cells.get(column, Text()) for column in _COLUMNS))
        return table

    def _down(self, production: Production, role: Role) -> dict[str, Text]:
        cells = {}
        for entry in about(self._entries, production, role):
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
        for column, labels in _COLUMNS.items():
            if request.label in labels:
                cell = cells.setdefault(column, Text())
                cell.append(" " if cell else "").append_text(_mark(answer))
    return cells


def _mark(answer: Answer) -> Text:
    if answer.status is None:
        return Text("-", style="red")
    if 200 <= answer.status < 300:  # noqa: PLR2004  # 2xx
        return Text("✓", style="green")
    if answer.status >= 500:  # noqa: PLR2004  # 5xx
        return Text(str(answer.status), style="yellow")
    return Text(str(answer.status), style="red")


@contextmanager
def shown(
    console: Console, productions: Sequence[Production], began: float, record: Record
) -> Iterator[View]:
    """Show the trainings as the console allows."""
    if not console.is_terminal:
        yield Lines(productions, began)
        return
    with Live(console=console, auto_refresh=False, transient=False) as live:
        table = LiveTable(productions, began, record, live)
        yield table
        table.finish()

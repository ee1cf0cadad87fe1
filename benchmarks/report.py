"""Figures against bars: as a table, and as JSON."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.measuring import Series


@dataclass(frozen=True)
class Figure:
    """One thing that was measured.

    Attributes:
        bar: the most it may be; None if it is only reported.
        foreign: the largest share of the machine that others used during a run.
        note: what else there is to say.
    """

    name: str
    series: Series
    unit: str
    bar: float | None = None
    foreign: float | None = None
    note: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the median is within the bar; None if there is none."""
        return None if self.bar is None else self.series.middle <= self.bar

    def to_json(self) -> dict[str, Any]:
        """For results.json."""
        return {
            "figure": self.name,
            "median": self.series.middle,
            "lowest": self.series.low,
            "highest": self.series.high,
            "runs": len(self.series.values),
            "unit": self.unit,
            "bar": self.bar,
            "met": self.met,
            "foreign_load": self.foreign,
            "note": self.note,
            **self.details,
        }


def show(figures: Iterable[Figure], console: Console) -> None:
    """Print the table."""
    table = Table(title="fl-notifications, measured", title_justify="left", show_lines=False)
    for name in ("figure", "median", "range", "unit", "bar", "", "others' load"):
        right = name in {"median", "range", "bar", "others' load"}
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for each in figures:
        said = {None: "", True: "[green]met[/]", False: "[red]missed[/]"}[each.met]
        name = escape(each.name) + (f"\n[dim]{escape(each.note)}[/]" if each.note else "")
        table.add_row(
            name,
            _number(each.series.middle),
            f"{_number(each.series.low)} … {_number(each.series.high)}",
            each.unit,
            "" if each.bar is None else f"≤ {_number(each.bar)}",
            said,
            "" if each.foreign is None else f"{each.foreign:.0%}",
        )
    console.print(table)


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}"

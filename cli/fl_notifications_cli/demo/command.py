"""The command `demo`."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fl_notifications_cli.demo.cast import Cast, cast
from fl_notifications_cli.demo.checks import Check, Evidence, checks
from fl_notifications_cli.demo.record import Record
from fl_notifications_cli.demo.story import Story
from fl_notifications_cli.demo.view import shown
from fl_notifications_cli.local.commands import end_tidily
from fl_notifications_cli.local.stack import HOME, LocalStack
from fl_notifications_cli.progress import Steps
from fl_notifications_cli.stack import Stack, StackNotFoundError, find_stack
from fl_notifications_cli.trace import note_for, write_page

_PIPED_WIDTH = 10_000

PAGE = HOME / "demo.html"
"""Where the demo leaves the trace of its first training."""

DEADLINE_PAGE = HOME / "demo-deadline.html"
"""Where it leaves that of the training with a deadline."""


def demo() -> None:
    """Run three trainings with real HTTP participants, show what happens, and check it.

    Uses the local stack if it runs; if not, starts one for as long as this takes.
    """
    end_tidily()
    console = Console()
    began = time.time()
    with _stack(console) as (stack, kept), cast(stack) as trainings:
        record = Record(stack)
        seen = _play(console, record, trainings)
        failed = _summary(console, list(checks(seen)))
        _trace(console, record, trainings, kept=kept)
    console.print(f"[dim]{time.time() - began:.0f} s in all[/]", highlight=False)
    sys.exit(1 if failed else 0)


@contextmanager
def _stack(console: Console) -> Iterator[tuple[Stack, bool]]:
    """Use the stack that runs, which is kept, or one of our own that is stopped in the end."""
    try:
        stack = find_stack(stack_file=HOME / "stack.json")
    except StackNotFoundError:
        local = LocalStack(HOME, Steps(console))
        try:
            # Fewer attempts than `make up` has: the unreachable are given up sooner.
            yield local.start(parameters={"MaxAttempts": "4"}), False
        finally:
            with Steps(console).step("Stopping the stack"):
                local.stop()
    else:
        console.print(f"Using the local stack at {stack.endpoint_url}", highlight=False)
        yield stack, True


def _play(console: Console, record: Record, trainings: Cast) -> Evidence:
    quorum, strict, deadline = trainings.all
    dead_before = record.dead_letters()
    with shown(console, trainings, time.time(), record) as view:
        story = Story(trainings, record, view)
        story.play()
    return Evidence(
        cast=trainings,
        quorum_training=record.training(quorum),
        strict_training=record.training(strict),
        deadline_training=record.training(deadline),
        quorum_participants=record.participants(quorum),
        strict_participants=record.participants(strict),
        deadline_participants=record.participants(deadline),
        deadline_removals=record.removed(deadline),
        overdue=[step.reason or "" for each in record.stories(deadline) for step in each.overdue],
        ledger=record.ledger(trainings.all),
        master_secret=record.master_secret(),
        waiting=record.waiting(),
        new_dead_letters=record.dead_letters() - dead_before,
        missed=story.missed,
    )


def _summary(console: Console, done: list[Check]) -> int:
    """Print what was checked; return how much of it doesn't hold."""
    console.print("\nWhat was checked", style="bold")
    # Words are kept whole on a terminal, lines elsewhere.
    if not console.is_terminal:
        console = Console(highlight=False, width=_PIPED_WIDTH)
    table = Table.grid(padding=(0, 1, 0, 0))
    for check in done:
        style = "green" if check.holds else "red"
        table.add_row(Text("✓" if check.holds else "✗", style), Text(check.text))
        if not check.holds:
            table.add_row("", Text(f"found: {check.found}", "red"))
    console.print(table)
    failed = sum(not check.holds for check in done)
    verdict = f"{failed} of {len(done)} differ" if failed else f"All {len(done)} as they should be"
    console.print(verdict, style="bold red" if failed else "bold green", highlight=False)
    return failed


def _trace(console: Console, record: Record, trainings: Cast, *, kept: bool) -> None:
    """Write the pages that trace two trainings, and say how to ask for more."""
    HOME.mkdir(parents=True, exist_ok=True)
    pages = [(trainings.quorum, PAGE), (trainings.deadline, DEADLINE_PAGE)]
    console.print()
    for production, path in pages:
        names = {role.participant.uuid: role.name for role in production.told}
        for story in record.stories(production):
            write_page(story, path, note=note_for(story), name=names.get)
        console.print(f"{production.title} as a timeline: {path}", soft_wrap=True)
    if kept:
        command = f".venv/bin/fl-notifications trace {trainings.quorum.training_uuid}"
        console.print(f"The first as tables:\n  {command}", soft_wrap=True)
    else:
        console.print("'make up' keeps a stack running: 'make demo' uses it, and says how to trace")

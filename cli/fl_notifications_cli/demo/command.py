"""The command `demo`."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fl_notifications_cli.demo.cast import Production, cast
from fl_notifications_cli.demo.checks import Check, Evidence, checks
from fl_notifications_cli.demo.record import Record
from fl_notifications_cli.demo.story import Story
from fl_notifications_cli.demo.view import shown
from fl_notifications_cli.local.commands import end_tidily
from fl_notifications_cli.local.stack import HOME, LocalStack
from fl_notifications_cli.progress import Steps
from fl_notifications_cli.stack import Stack, StackNotFoundError, find_stack
from fl_notifications_cli.trace import read_stories, write_page
from fl_notifications_cli.tracing.log_reader import LogReader
from fl_notifications_cli.tracing.steps import Wanted

_PIPED_WIDTH = 10_000

PAGE = HOME / "demo.html"
"""Where the demo leaves the trace of its first training."""


def demo() -> None:
    """Run two trainings with real HTTP participants, show what happens, and check it.

    Uses the local stack if it runs; if not, starts one for as long as this takes.
    """
    end_tidily()
    console = Console()
    began = time.time()
    with _stack(console) as (stack, kept), cast(stack) as (quorum, strict):
        seen = _play(console, Record(stack), quorum, strict)
        failed = _summary(console, list(checks(seen)))
        _trace(console, stack, quorum, kept=kept)
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


def _play(console: Console, record: Record, quorum: Production, strict: Production) -> Evidence:
    dead_before = record.dead_letters()
    with shown(console, [quorum, strict], time.time(), record) as view:
        story = Story(quorum, strict, record, view)
        story.play()
    return Evidence(
        quorum=quorum,
        strict=strict,
        quorum_training=record.training(quorum),
        strict_training=record.training(strict),
        quorum_participants=record.participants(quorum),
        strict_participants=record.participants(strict),
        ledger=record.ledger([quorum, strict]),
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


def _trace(console: Console, stack: Stack, production: Production, *, kept: bool) -> None:
    """Write the page that traces the first training, and say how to ask for more."""
    reader = LogReader(stack.client("logs"), stack.output("LogGroup"))
    HOME.mkdir(parents=True, exist_ok=True)
    names = {role.participant.uuid: role.name for role in production.told}
    for story in read_stories(reader, Wanted(production.training_uuid)):
        write_page(story, PAGE, name=names.get)
    console.print(f"\nThe first training as a timeline: {PAGE}", soft_wrap=True)
    if kept:
        command = f".venv/bin/fl-notifications trace {production.training_uuid}"
        console.print(f"The same as tables:\n  {command}", soft_wrap=True)
    else:
        console.print("'make up' keeps a stack running: 'make demo' uses it, and says how to trace")

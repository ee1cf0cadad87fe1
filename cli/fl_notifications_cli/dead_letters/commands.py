"""The commands `dead-letters` and `redrive`."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fl_notifications_cli.dead_letters.letters import (
    Box,
    Letter,
    discard,
    hide,
    read_letters,
)
from fl_notifications_cli.dead_letters.redriving import CannotRedriveError, redrive_letter
from fl_notifications_cli.options import Region, StackName
from fl_notifications_cli.progress import working
from fl_notifications_cli.stack import Stack, find_stack
from fl_notifications_cli.tracing.terminal import count, output_console, printable

_KEY_WIDTH = 21

Most = Annotated[
    int, typer.Option("--limit", min=1, metavar="N", help="Letters per queue, at the most.")
]


def dead_letters(
    *,
    limit: Most = 100,
    as_json: Annotated[bool, typer.Option("--json", help="As a list of JSON objects.")] = False,
    stack_name: StackName = None,
    region: Region = None,
) -> None:
    """List what lies in the dead-letter queues, and why.

    Nothing is taken out. While they are read, letters are hidden from others for some seconds.
    Of deliveries to one receiver the first ten are listed: they are in order, and hide the rest.
    """
    stack = find_stack(stack_name, region=region)
    letters = _read_all(stack, limit)
    if as_json:
        print(json.dumps([_as_dict(letter) for letter in letters], indent=2))
        return
    console = output_console(stderr=False)
    if not letters:
        console.print(f"No dead letters in stack {escape(stack.name)}.")
        return
    for box in Box:
        in_box = sorted((each for each in letters if each.box is box), key=lambda each: each.at)
        if in_box:
            console.print(
                Text.assemble(
                    (f"{box}: {len(in_box)}", "bold"),
                    (f"   once mended, put back by: fl-notifications redrive {box}\n", "dim"),
                )
            )
        for letter in in_box:
            for part in _block(letter):
                console.print(part)
    console.print("The messages themselves: --json", style="dim")


def redrive(
    queue: Annotated[Box, typer.Argument(help="Which dead-letter queue.")],
    *,
    limit: Most = 10_000,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    stack_name: StackName = None,
    region: Region = None,
) -> None:
    """Put the dead letters of a queue back where they came from.

    Deliveries and fan-outs go back into their queues, outcomes back onto the bus, and changes
    through BuildNotifications again, with the items as they are now. What cannot be put back stays.
    """
    stack = find_stack(stack_name, region=region)
    console = output_console(stderr=False)
    attributes = stack.client("sqs").get_queue_attributes(
        QueueUrl=stack.output(queue.output), AttributeNames=["ApproximateNumberOfMessages"]
    )["Attributes"]
    waiting = min(limit, int(attributes["ApproximateNumberOfMessages"]))
    if not waiting:
        console.print(f"No dead letters of {queue} in stack {escape(stack.name)}.")
        return
    if not yes:
        letters = count(waiting, "dead letter")
        typer.confirm(f"Put back about {letters} of {queue} (stack {stack.name})?", abort=True)
    with working("Putting them back"):
        done, left = _redrive(stack, queue, waiting)
    unseen = max(0, waiting - done - len(left))
    console.print(f"{done} put back, {len(left) + unseen} left.")
    if unseen:
        console.print(f"  {unseen} could not be seen just now: redrive once more for them.")
    for letter, why in left:
        console.print(f"  {letter.message_id}")
        console.print(Padding(Text(printable(why), "red"), (0, 0, 0, 4), expand=False))
    if left or unseen:
        raise typer.Exit(1)


def _redrive(stack: Stack, box: Box, waiting: int) -> tuple[int, list[tuple[Letter, str]]]:
    done = 0
    left: dict[str, tuple[Letter, str]] = {}
    # In small portions: a letter must be dealt with while it is hidden from others. Those that
    # are left stay hidden until the end, or come once more and end the work.
    while done + len(left) < waiting:
        most = min(10, waiting - done - len(left))
        portion = [each for each in read_letters(stack, box, most) if each.message_id not in left]
        if not portion:
            break
        for letter in portion:
            try:
                redrive_letter(stack, letter)
                discard(stack, letter)
            except (CannotRedriveError, ClientError, BotoCoreError) as error:
                left[letter.message_id] = letter, str(error)
            else:
                done += 1
    for letter, _ in left.values():
        hide(stack, letter, 0)
    return done, list(left.values())


def _read_all(stack: Stack, limit: int) -> list[Letter]:
    """Read all queues side by side: each takes some seconds to be found empty."""
    stack.client("sqs")  # made once, here
    with working("Reading the dead-letter queues"), ThreadPoolExecutor(len(Box)) as executor:
        each = executor.map(lambda box: _read(stack, box, limit), Box)
        return [letter for letters in each for letter in letters]


def _read(stack: Stack, box: Box, limit: int) -> list[Letter]:
    letters: list[Letter] = []
    try:
        letters.extend(read_letters(stack, box, limit))
    finally:
        for letter in letters:
            hide(stack, letter, 0)
    return letters


def _block(letter: Letter) -> Iterator[RenderableType]:
    """A letter: when and why, then what it is about, a line each, so that ids can be copied."""
    about = {key: value for key, value in letter.about.items() if value is not None}
    why = letter.why
    if letter.box is Box.STREAM and about.get("field"):
        # The reason names item and field, which stand below.
        why = why.partition(": field ")[2] or why
        about.pop("field")
    head = Table.grid(padding=(0, 2, 0, 0))
    head.add_column(no_wrap=True)
    head.add_row(Text(f"{letter.at:%Y-%m-%d %H:%M:%S} UTC", "dim"), Text(printable(why), "red"))
    yield head
    for key, value in {**about, "message_id": letter.message_id}.items():
        yield Text(f"  {printable(key):{_KEY_WIDTH}}  {printable(str(value))}", no_wrap=False)
    yield Text()


def _as_dict(letter: Letter) -> dict[str, object]:
    return {
        "queue": letter.box.value,
        "message_id": letter.message_id,
        "at": letter.at.isoformat(),
        "why": letter.why,
        "about": dict(letter.about),
        "body": letter.content if letter.content is not None else letter.body,
    }

"""The command `participants`: who takes part in a training, and who does not answer."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from fl_notifications.aws.batches import NotReadError
from fl_notifications.server.liveness import Liveness, ParticipantStatus
from fl_notifications_cli.errors import CommandError
from fl_notifications_cli.options import Region, StackName
from fl_notifications_cli.progress import working
from fl_notifications_cli.scanning import find_training
from fl_notifications_cli.stack import Stack, find_stack
from fl_notifications_cli.tracing.terminal import (
    STYLES,
    UNKNOWN,
    age,
    count,
    explain,
    output_console,
    plain_table,
    printable,
    shown,
)

_WIDE = 120
"""From this width on, all that is known of a participant fits into one line."""


def participants(
    training: Annotated[str, typer.Argument(help="The training: its uuid, or how it begins.")],
    *,
    limit: Annotated[
        int, typer.Option(min=1, metavar="N", help="Participants shown, at the most.")
    ] = 100,
    silent: Annotated[
        bool, typer.Option("--silent", help="Only those that have not accepted or not reported.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    stack_name: StackName = None,
    region: Region = None,
) -> None:
    """List the participants of a training: what each was last told, and what came of it.

    Also whether the FL server has its result of this round (`reported`), and when it last asked for
    its mailbox. Read from what is stored anyway, page by page.
    """
    stack = find_stack(stack_name, region=region)
    try:
        row = find_training(stack, training)
        with working("Reading the participants"):
            found = list(islice(_found(stack, row.training_uuid, silent=silent), limit + 1))
    except (ClientError, BotoCoreError) as error:
        raise CommandError(f"the participants can't be read: {explain(error)}") from error
    except NotReadError as error:
        raise CommandError("DynamoDB is busy: try again in a minute") from error
    if as_json:
        for each in found[:limit]:
            print(json.dumps(asdict(each), default=_plain))
        return
    console = output_console()
    console.print(
        Text.assemble(
            (f"Training {printable(row.training_uuid)}", "bold"),
            f": {printable(row.state)}, round {shown(row.round)}",
        )
    )
    if not found:
        nobody = "Everybody has accepted and reported." if silent else "It has no participants."
        console.print(nobody)
        return
    console.print(render(found[:limit], datetime.now(UTC), width=console.width))
    if len(found) > limit:
        console.print(f"… and more: --limit {limit * 10} shows more of them.", style="dim")


def _found(stack: Stack, training_uuid: str, *, silent: bool) -> Iterator[ParticipantStatus]:
    liveness = Liveness(
        stack.client("dynamodb"),
        trainings_table=stack.output("TrainingsTable"),
        ledger_table=stack.output("LedgerTable"),
        waiting_table=stack.output("WaitingTable"),
    )
    for page in liveness.pages(training_uuid):
        for each in page:
            if not silent or each.outcome != "accepted" or each.reported is False:
                yield each


def render(
    found: Sequence[ParticipantStatus], now: datetime, *, width: int = _WIDE
) -> RenderableType:
    """Show participants, one a line; where that is too narrow for uuids, in two.

    Args:
        found: what is known of them.
        now: the time, for ages.
        width: how many characters fit into a line.
    """
    if width < _WIDE:
        return Group(*(line for each in found for line in _two_lines(each, now)))
    made = plain_table("participant", "by", "last told", "when", "reported", "polled")
    made.add_column("answer", overflow="fold")
    for each in found:
        made.add_row(
            each.uuid,
            "mailbox" if each.mailbox else "push",
            each.told.value if each.told else UNKNOWN,
            _age(each.at, now),
            {True: "yes", False: "no", None: UNKNOWN}[each.reported],
            _age(each.seen_at, now) if each.mailbox else UNKNOWN,
            Text(printable(_answer(each)), _style(each)),
        )
    return made


def _two_lines(each: ParticipantStatus, now: datetime) -> Iterator[RenderableType]:
    polled = "never polled" if each.seen_at is None else f"polled {_age(each.seen_at, now)} ago"
    yield Text(f"{printable(each.uuid)}  {f'mailbox, {polled}' if each.mailbox else 'push'}")
    if each.told is None:
        yield Text("  told nothing yet", "dim")
        return
    ago = "" if each.at is None else f", {_age(each.at, now)} ago"
    reported = {True: "; reported", False: "; not reported", None: ""}[each.reported]
    said = f"{each.told.value}: {_answer(each)}{ago}{reported}"
    yield Padding(Text(printable(said), _style(each)), (0, 0, 0, 2), expand=False)


def _style(each: ParticipantStatus) -> str:
    return STYLES.get(each.outcome.value if each.outcome else "undecided", "")


def _answer(each: ParticipantStatus) -> str:
    if each.told is None:
        return UNKNOWN
    if each.outcome is None:
        return "in its mailbox" if each.mailbox else f"under way, {count(each.attempts, 'attempt')}"
    return each.outcome.value if each.reason is None else f"{each.outcome.value}: {each.reason}"


def _age(at: datetime | None, now: datetime) -> str:
    return UNKNOWN if at is None else age((now - at).total_seconds())


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else getattr(value, "value", str(value))

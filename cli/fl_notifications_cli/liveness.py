"""The command `participants`: who takes part in a training, and who does not answer."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.table import Table

from fl_notifications.server.liveness import Liveness, NotReadError, ParticipantStatus
from fl_notifications_cli.errors import CommandError
from fl_notifications_cli.options import Region, StackName
from fl_notifications_cli.stack import Stack, find_stack
from fl_notifications_cli.tracing.terminal import UNKNOWN, age, explain, output_console, plain_table


def participants(
    training_uuid: Annotated[str, typer.Argument(help="The training's uuid, as the table has it.")],
    *,
    limit: Annotated[int, typer.Option(min=1, help="Participants shown, at the most.")] = 100,
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
        found = list(islice(_found(stack, training_uuid, silent=silent), limit + 1))
    except (ClientError, BotoCoreError) as error:
        raise CommandError(f"the participants can't be read: {explain(error)}") from error
    except NotReadError as error:
        raise CommandError("DynamoDB is busy: try again in a minute") from error
    if as_json:
        for each in found[:limit]:
            print(json.dumps(asdict(each), default=_plain))
        return
    console = output_console()
    if not found:
        console.print("Nobody." if silent else "The training has no participants.")
        return
    console.print(table(found[:limit], datetime.now(UTC)))
    if len(found) > limit:
        console.print(f"There are more than {limit}: --limit shows more, --json all it has.")


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


def table(found: Sequence[ParticipantStatus], now: datetime) -> Table:
    """Show participants, one a line.

    Args:
        found: what is known of them.
        now: the time, for ages.
    """
    made = plain_table("participant", "by", "last told", "answer", "when", "reported", "polled")
    for each in found:
        made.add_row(
            each.uuid,
            "mailbox" if each.mailbox else "push",
            each.told.value if each.told else UNKNOWN,
            _answer(each),
            _age(each.at, now),
            {True: "yes", False: "no", None: UNKNOWN}[each.reported],
            _age(each.seen_at, now) if each.mailbox else UNKNOWN,
        )
    return made


def _answer(each: ParticipantStatus) -> str:
    if each.told is None:
        return UNKNOWN
    if each.outcome is None:
        return "waits in its mailbox" if each.mailbox else f"under way, {each.attempts} attempts"
    return each.outcome.value if each.reason is None else f"{each.outcome.value}: {each.reason}"


def _age(at: datetime | None, now: datetime) -> str:
    return UNKNOWN if at is None else age((now - at).total_seconds())


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else getattr(value, "value", str(value))

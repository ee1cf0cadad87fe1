"""The commands `training …`: the write side from the shell, for trying things and emergencies."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Annotated
from uuid import UUID, uuid4

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fl_notifications.outcomes.waiting import MAILBOX_ENDPOINT
from fl_notifications.server.checks import DEFAULT_GUARD, check_endpoint
from fl_notifications.server.errors import EndpointError
from fl_notifications.server.repository import TrainingRepository, TrainingRepositoryError
from fl_notifications.trainings.items import UnreadableItemError
from fl_notifications.trainings.model import FailurePolicy, Receiver, Training, TrainingOptions
from fl_notifications_cli.errors import CommandError
from fl_notifications_cli.options import Region, StackName
from fl_notifications_cli.participants import uuid_of
from fl_notifications_cli.scanning import find_training
from fl_notifications_cli.stack import Stack, find_stack
from fl_notifications_cli.tracing.terminal import count, output_console, printable

_MOST_PARTICIPANTS = 50

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Write a training: create it, start it, lead it through its rounds, end it.",
)

Which = Annotated[
    str, typer.Argument(help="The training: its uuid, or how it begins.", metavar="TRAINING")
]
Model = Annotated[
    UUID | None,
    typer.Option(metavar="UUID", help="The new global model; without it, it stays as it is."),
]


@app.command()
def create(  # noqa: PLR0913  # Typer makes one option of each
    training_uuid: Annotated[
        UUID | None,
        typer.Argument(help="The new training's uuid; a random one if not given."),
    ] = None,
    *,
    participant: Annotated[
        list[str] | None,
        typer.Option(
            help="May be given several times. Without UUID, one that is made of the URL, as"
            " 'listen' has it.",
            metavar="[UUID=]URL",
        ),
    ] = None,
    actor: Annotated[
        str | None,
        typer.Option(
            help="Who ordered the training; if not given, the first participant.",
            metavar="[UUID=]URL",
        ),
    ] = None,
    model: Annotated[
        UUID | None, typer.Option(metavar="UUID", help="The global model; else random.")
    ] = None,
    failure_policy: Annotated[
        FailurePolicy, typer.Option(help="What an unreachable participant means.")
    ] = FailurePolicy.STRICT,
    min_participants: Annotated[
        int, typer.Option(min=0, metavar="N", help="How many have to be left after a removal.")
    ] = 1,
    stack_name: StackName = None,
    region: Region = None,
) -> None:
    """Create a training in the state INITIAL; nobody is told yet.

    Prints the training's uuid and nothing else, so that it can be kept:
    `T=$(fl-notifications training create --participant URL)`. Who takes part is said on standard
    error.
    """
    participants = [_receiver(text, "--participant") for text in participant or []]
    if actor is None and not participants:
        raise typer.BadParameter("name a --participant or an --actor")
    ordered = participants[0] if actor is None else _receiver(actor, "--actor")
    uuid = str(training_uuid or uuid4())
    options = TrainingOptions(failure_policy=failure_policy, min_participants=min_participants)
    stack = find_stack(stack_name, region=region)
    with _said():
        _repository(stack).create(
            uuid, str(model or uuid4()), ordered, participants, options=options
        )
    notes = Console(stderr=True, highlight=False)
    for each in participants:
        notes.print(f"participant {each.uuid}  {printable(each.message_endpoint)}", markup=False)
    print(uuid)


@app.command()
def start(training: Which, *, stack_name: StackName = None, region: Region = None) -> None:
    """Start a training: tells TRAINING_START and UPDATE_ROUND_START."""
    trainings, uuid = _found(training, stack_name, region)
    with _said():
        trainings.start(uuid)
    _done(uuid, "is started")


@app.command("next-round")
def next_round(
    training: Which,
    *,
    model: Model = None,
    after: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="ROUND",
            help="The round that has ended: a repeated call skips none then.",
        ),
    ] = None,
    stack_name: StackName = None,
    region: Region = None,
) -> None:
    """Begin the next round: tells UPDATE_ROUND_START."""
    trainings, uuid = _found(training, stack_name, region)
    with _said():
        number = trainings.next_round(uuid, model_uuid=_text(model), after=after)
    _done(uuid, f"is in round {number}")


@app.command("test")
def model_test(
    training: Which,
    *,
    model: Model = None,
    advance: Annotated[
        bool, typer.Option("--advance", help="As a new round, as after another test.")
    ] = False,
    stack_name: StackName = None,
    region: Region = None,
) -> None:
    """Have the global model tested: tells MODEL_TEST_ROUND."""
    trainings, uuid = _found(training, stack_name, region)
    with _said():
        number = trainings.model_test(uuid, model_uuid=_text(model), advance=advance)
    _done(uuid, f"is in the test of round {number}")


@app.command()
def finish(
    training: Which, *, model: Model = None, stack_name: StackName = None, region: Region = None
) -> None:
    """Complete a training: tells TRAINING_FINISHED, the actor too."""
    trainings, uuid = _found(training, stack_name, region)
    with _said():
        trainings.finish(uuid, model_uuid=_text(model))
    _done(uuid, "is completed")


@app.command()
def fail(
    training: Which,
    reason: Annotated[str, typer.Argument(help="Why; the participants are told.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    stack_name: StackName = None,
    region: Region = None,
) -> None:
    """End a training with an error: tells TRAINING_ERROR with the reason, the actor too."""
    trainings, uuid = _found(training, stack_name, region)
    if not yes:
        typer.confirm(f"End training {uuid} for everybody?", abort=True)
    with _said():
        trainings.fail(uuid, reason)
    _done(uuid, "has ended with an error")


@app.command()
def show(training: Which, *, stack_name: StackName = None, region: Region = None) -> None:
    """Show what the table says of a training and its participants."""
    trainings, uuid = _found(training, stack_name, region)
    console = output_console()
    with _said():
        console.print(_facts(trainings.get(uuid)))
        participants = list(islice(trainings.participants(uuid), _MOST_PARTICIPANTS + 1))
    console.print(Text(f"\n{count(min(len(participants), _MOST_PARTICIPANTS), 'participant')}"))
    for each in participants[:_MOST_PARTICIPANTS]:
        joined = f"  joined {each.joined_at}" if each.joined_at else ""
        console.print(Text(printable(f"  {each.uuid}{joined}")))
        console.print(Text(printable(f"    {each.message_endpoint}")), soft_wrap=True)
    if len(participants) > _MOST_PARTICIPANTS:
        console.print("  … and more")


def _facts(training: Training) -> Table:
    facts = {
        "training": training.training_uuid,
        "state": training.state.value,
        "round": str(training.round),
        "model": training.model_uuid,
        "actor": training.actor.uuid,
        "started": training.started_at or "",
        "last update": training.last_update or "",
        "selected": "" if training.selected is None else f"{len(training.selected):,} of them",
        "error": training.error_reason or "",
        **{
            name.replace("_", " "): str(value)
            for name, value in training.options.model_dump(
                mode="json", exclude_defaults=True
            ).items()
        },
    }
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    for name, value in facts.items():
        if value:
            table.add_row(name, Text(printable(value)))
    return table


def _receiver(text: str, option: str) -> Receiver:
    uuid, equals, url = text.partition("=")
    if not equals or "://" in uuid:  # a URL may have an equals sign, too
        # Each mailbox is somebody's own: its endpoint is the same for all.
        uuid, url = str(uuid4()) if text == MAILBOX_ENDPOINT else uuid_of(text), text
    try:
        receiver = Receiver(uuid=str(UUID(uuid)), message_endpoint=url)
    except ValueError:
        raise typer.BadParameter(f"{uuid!r} is no uuid", param_hint=option) from None
    try:
        check_endpoint(DEFAULT_GUARD, receiver, "endpoint of")
    except EndpointError as error:
        reason = str(error).rpartition(": ")[2]
        raise typer.BadParameter(f"{url!r}: {reason}", param_hint=option) from None
    return receiver


def _repository(stack: Stack) -> TrainingRepository:
    return TrainingRepository(stack.client("dynamodb"), stack.output("TrainingsTable"))


def _found(
    training: str, stack_name: str | None, region: str | None
) -> tuple[TrainingRepository, str]:
    stack = find_stack(stack_name, region=region)
    return _repository(stack), find_training(stack, training).training_uuid


def _text(uuid: UUID | None) -> str | None:
    return None if uuid is None else str(uuid)


def _done(uuid: str, what: str) -> None:
    print(f"Training {uuid} {what}.\nWho is told: fl-notifications trace {uuid}")


@contextmanager
def _said() -> Iterator[None]:
    """Turn what the write side refuses into a message."""
    try:
        yield
    except UnreadableItemError as error:
        raise CommandError(
            f"{error}\nMend the item; then 'fl-notifications dead-letters' has what was missed"
        ) from error
    except TrainingRepositoryError as error:
        raise CommandError(str(error)) from error

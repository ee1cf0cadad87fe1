"""The command `tell-again`: tells one participant what is current."""

from typing import Annotated

import typer

from fl_notifications.deliveries.queue import DeliveryQueue
from fl_notifications.server.tell_again import NothingToTellError, TellAgain
from fl_notifications.trainings.items import UnreadableItemError
from fl_notifications_cli.errors import CommandError
from fl_notifications_cli.options import Region, StackName
from fl_notifications_cli.scanning import find_participant, find_training
from fl_notifications_cli.stack import find_stack
from fl_notifications_cli.tracing.terminal import notification_name


def tell_again(
    training_uuid: Annotated[
        str, typer.Argument(help="The training: its uuid, or how it begins.", metavar="TRAINING")
    ],
    *,
    receiver: Annotated[
        str,
        typer.Option(metavar="UUID", help="Who is to be told: the uuid, or how it begins."),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    stack_name: StackName = None,
    region: Region = None,
) -> None:
    """Tell a participant again what is current: the start and the running round, or the end.

    For a participant that has lost what it was told, after an outage on its side, say. It gets
    new notifications with ids of their own. Nothing follows from how they end: nobody is removed,
    and no training ends, because one of them fails.
    """
    stack = find_stack(stack_name, region=region)
    row = find_training(stack, training_uuid)
    uuid = find_participant(stack, row.training_uuid, receiver)
    again = TellAgain(
        stack.client("dynamodb"),
        stack.output("TrainingsTable"),
        stack.output("LedgerTable"),
        DeliveryQueue(stack.client("sqs"), stack.output("DeliveriesQueueUrl")),
    )
    try:
        deliveries = again.deliveries(row.training_uuid, uuid)
    except (NothingToTellError, UnreadableItemError) as error:
        raise CommandError(str(error)) from error
    named = ", ".join(
        notification_name(each.notification_type.value, each.round) for each in deliveries
    )
    if not yes:
        print(f"Training  {row.training_uuid}\nReceiver  {uuid}")
        typer.confirm(f"Tell it {named}?", abort=True)
    again.send(deliveries)
    print(f"Enqueued: {named}")
    print("What becomes of it:")
    print(f"  fl-notifications trace {row.training_uuid} --receiver {uuid[:8]}")

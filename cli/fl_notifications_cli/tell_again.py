"""The command `tell-again`: tells one participant what is current."""

from typing import Annotated
from uuid import UUID

import typer

from fl_notifications.deliveries.queue import DeliveryQueue
from fl_notifications.server.tell_again import NothingToTellError, TellAgain
from fl_notifications.trainings.items import UnreadableItemError
from fl_notifications_cli.errors import CommandError
from fl_notifications_cli.options import Region, StackName
from fl_notifications_cli.scanning import find_training
from fl_notifications_cli.stack import find_stack
from fl_notifications_cli.tracing.terminal import notification_name


def tell_again(
    training_uuid: Annotated[
        str, typer.Argument(help="The training: its uuid, or how it begins.", metavar="TRAINING")
    ],
    *,
    receiver: Annotated[UUID, typer.Option(metavar="UUID", help="Who is to be told.")],
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
    again = TellAgain(
        stack.client("dynamodb"),
        stack.output("TrainingsTable"),
        stack.output("LedgerTable"),
        DeliveryQueue(stack.client("sqs"), stack.output("DeliveriesQueueUrl")),
    )
    try:
        deliveries = again.deliveries(row.training_uuid, str(receiver))
    except (NothingToTellError, UnreadableItemError) as error:
        raise CommandError(str(error)) from error
    named = ", ".join(
        notification_name(each.notification_type.value, each.round) for each in deliveries
    )
    if not yes:
        typer.confirm(f"Tell {receiver} of training {row.training_uuid}: {named}?", abort=True)
    again.send(deliveries)
    print(f"Enqueued: {named}")
    print(f"What becomes of it: fl-notifications trace {row.training_uuid} --receiver {receiver}")

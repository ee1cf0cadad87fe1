"""The command `secret`: the webhook secret of a receiver."""

from typing import Annotated
from uuid import UUID

import typer
from botocore.exceptions import BotoCoreError, ClientError

from fl_notifications.deliveries.signing import receiver_secret
from fl_notifications_cli.errors import CommandError
from fl_notifications_cli.options import Region, StackName
from fl_notifications_cli.stack import find_stack


def secret(
    receiver_uuid: Annotated[UUID, typer.Argument(help="The receiver's uuid.")],
    *,
    previous: Annotated[
        bool, typer.Option("--previous", help="The one before the last rotation.")
    ] = False,
    stack_name: StackName = None,
    region: Region = None,
) -> None:
    """Print a receiver's secret, with which it verifies the notifications that it gets.

    Hand it over as you would a password. Nothing else is printed, so that it can be piped.
    """
    stack = find_stack(stack_name, region=region)
    stage = "AWSPREVIOUS" if previous else "AWSCURRENT"
    try:
        master = stack.client("secretsmanager").get_secret_value(
            SecretId=stack.output("SigningSecretArn"), VersionStage=stage
        )["SecretString"]
    except (ClientError, BotoCoreError) as error:
        raise CommandError(
            f"the signing secret ({stage}) of stack {stack.name} can't be read: {error}"
        ) from error
    print(receiver_secret(master, str(receiver_uuid)))

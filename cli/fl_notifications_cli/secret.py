"""The commands `secret` and `invite`: what a receiver's operator needs."""

from typing import Annotated
from uuid import UUID

import typer
from botocore.exceptions import BotoCoreError, ClientError

from fl_notifications.deliveries.signing import receiver_secret
from fl_notifications.receiver.token import MailboxToken
from fl_notifications_cli.errors import CommandError
from fl_notifications_cli.options import Region, StackName
from fl_notifications_cli.stack import Stack, find_stack


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
    stage = "AWSPREVIOUS" if previous else "AWSCURRENT"
    print(read_secret(find_stack(stack_name, region=region), str(receiver_uuid), stage=stage))


def invite(
    receiver_uuid: Annotated[UUID, typer.Argument(help="The receiver's uuid.")],
    *,
    stack_name: StackName = None,
    region: Region = None,
) -> None:
    """Print a token, with which a participant fetches its notifications from the mailbox.

    It holds the receiver's secret: hand it over as you would a password. Nothing else is printed.
    """
    stack = find_stack(stack_name, region=region)
    print(
        MailboxToken(
            url=stack.output("MailboxUrl"),
            receiver=receiver_uuid,
            secret=read_secret(stack, str(receiver_uuid)),
        )
    )


def read_secret(stack: Stack, receiver_uuid: str, *, stage: str = "AWSCURRENT") -> str:
    """Derive a receiver's secret from the stack's master secret.

    Args:
        stack: whose receiver it is.
        receiver_uuid: of the receiver.
        stage: the version of the master secret.

    Raises:
        CommandError: the master secret can't be read.
    """
    try:
        master = stack.client("secretsmanager").get_secret_value(
            SecretId=stack.output("SigningSecretArn"), VersionStage=stage
        )["SecretString"]
    except (ClientError, BotoCoreError) as error:
        raise CommandError(
            f"the signing secret ({stage}) of stack {stack.name} can't be read: {error}"
        ) from error
    return receiver_secret(master, receiver_uuid)

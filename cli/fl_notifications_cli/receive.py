"""The command `receive`: a participant's side, from behind a firewall."""

import logging
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from fl_notifications.receiver import Notification, SignatureError
from fl_notifications.receiver.forward import Forwarder
from fl_notifications.receiver.mailbox import Mailbox, MailboxError
from fl_notifications_cli.errors import CommandError


def receive(
    *,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="FL_MAILBOX_TOKEN",
            show_envvar=True,
            metavar="TOKEN",
            help="As 'invite' has printed it. Others on this machine can read a command line:"
            " use the variable or --token-file.",
        ),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file with the token, for services.")
    ] = None,
    forward_to: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="POST each notification, unchanged, to this local URL. Default: print.",
        ),
    ] = None,
) -> None:
    """Fetch a participant's notifications from its mailbox: no open port, outbound only.

    Runs until it is stopped. With --forward-to, what the local server answers is acknowledged: 2xx
    accepts, 408, 425, 429 and 5xx (but 501 and 505) mean later, all else rejects. Without, each is
    printed as a line of JSON, and accepted.
    """
    mailbox = _mailbox(token, token_file)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        mailbox.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    print("Asking the mailbox; Ctrl-C ends this.", file=sys.stderr)
    try:
        with mailbox:
            mailbox.run(_printed if forward_to is None else Forwarder(forward_to))
    except (MailboxError, SignatureError) as error:
        raise CommandError(f"{error}") from error


def _mailbox(token: str | None, token_file: Path | None) -> Mailbox:
    try:
        if token_file is not None:
            token = token_file.read_text()
        if not token:
            raise CommandError("no token: set FL_MAILBOX_TOKEN, or give --token-file")
        return Mailbox.from_token(token)
    except (OSError, ValueError) as error:
        raise CommandError(f"the token can't be used: {error}") from error


def _printed(notification: Notification) -> None:
    print(notification.content.decode(), flush=True)

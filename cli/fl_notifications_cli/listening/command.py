"""The command `listen`."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from textwrap import wrap
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.text import Text

from fl_notifications.receiver import BadSecretError, SignatureError, WrongSignatureError, verify
from fl_notifications.server.repository import TrainingRepository, TrainingRepositoryError
from fl_notifications.trainings.model import Receiver
from fl_notifications_cli.errors import CommandError
from fl_notifications_cli.listening.answering import forwarded, parse_script, scripted
from fl_notifications_cli.options import Region, StackName
from fl_notifications_cli.participants import Answer, ParticipantServer, Request, uuid_of
from fl_notifications_cli.scanning import find_training
from fl_notifications_cli.secret import read_secret
from fl_notifications_cli.stack import Stack, find_stack
from fl_notifications_cli.tracing.terminal import output_console, printable

PORT = 8900

_FORGED = 401


def listen(  # noqa: PLR0913  # Typer makes one option of each
    *,
    port: Annotated[
        int,
        typer.Option(min=0, max=65535, metavar="PORT", help="On 127.0.0.1; 0 takes a free one."),
    ] = PORT,
    receiver: Annotated[
        UUID | None,
        typer.Option(
            help="Whose notifications; by default a uuid made of the address.", metavar="UUID"
        ),
    ] = None,
    forward_to: Annotated[
        str | None,
        typer.Option(help="Hand each one on to this URL, and answer as it does.", metavar="URL"),
    ] = None,
    answer: Annotated[
        str,
        typer.Option(
            help="What to answer to a notification's first, second … attempt: 503x2,202 fails"
            " twice; 'close' hangs up.",
            metavar="STATUSES",
        ),
    ] = "202",
    join: Annotated[
        str | None,
        typer.Option(help="Become a participant of this training.", metavar="TRAINING"),
    ] = None,
    stack_name: StackName = None,
    region: Region = None,
) -> None:
    """Receive notifications on this machine, and show each: for people who write a receiver.

    Shows the receiver's secret and how to verify with it; then each notification, whether its
    signature holds, and what was answered. What is not signed for this receiver is answered with
    401 and not handed on. Runs until Ctrl-C.
    """
    script = _script(answer)
    if forward_to is not None and not forward_to.startswith(("http://", "https://")):
        raise typer.BadParameter("must be an http or https URL", param_hint="--forward-to")
    stack = find_stack(stack_name, region=region)
    if join is not None and not stack.local:
        raise CommandError("a stack on AWS can't call 127.0.0.1: --join is for the local stack")
    training = None if join is None else find_training(stack, join).training_uuid
    console = output_console()
    with _server(port) as server:
        uuid = str(receiver or uuid_of(server.url))
        ear = Ear(
            [read_secret(stack, uuid)],
            (lambda request: forwarded(forward_to, request)) if forward_to else None,
            script,
            lambda heard: console.print(
                render(heard, width=console.width if console.is_terminal else None),
                soft_wrap=True,
            ),
        )
        endpoint = server.add(ear.hear, uuid_=uuid, path="/").message_endpoint
        _introduce(console, endpoint, uuid, ear.secrets[0])
        if training is not None:
            _join(console, stack, training, Receiver(uuid=uuid, message_endpoint=endpoint))
        console.print("\nWaiting for notifications; Ctrl-C ends this.\n")
        while True:
            time.sleep(3600)


@dataclass(frozen=True, slots=True)
class Heard:
    """A request, and what became of it.

    Attributes:
        at: when it came.
        request: as it came.
        attempt: which attempt of its notification it was, from 1.
        problem: why it was not verified; None if it was.
        answer: what was answered.
        misdirected: whether it is signed, but not with this receiver's secret.
    """

    at: datetime
    request: Request
    attempt: int
    problem: str | None
    answer: Answer
    misdirected: bool = False


class Ear:
    """Verifies what comes, answers, and shows it.

    Args:
        secrets: of the receiver, the current one first.
        forward: hands a verified request on; None answers by the script.
        script: what to answer to the attempts of a notification.
        show: told of each request.
        now: the time.
    """

    def __init__(
        self,
        secrets: Sequence[str],
        forward: Callable[[Request], Answer] | None,
        script: Sequence[int | None],
        show: Callable[[Heard], None],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.secrets = list(secrets)
        self._forward = forward
        self._script = script
        self._show = show
        self._now = now

    def hear(self, request: Request, attempt: int) -> Answer:
        """Take a request, and decide the answer."""
        at, problem, misdirected = self._now(), None, False
        try:
            verify(request.headers, request.body, self.secrets, now=at)
        except BadSecretError:
            raise
        except SignatureError as error:
            problem, misdirected = str(error), isinstance(error, WrongSignatureError)
        if problem is not None:
            answer = Answer(_FORGED)
        elif self._forward is not None:
            answer = self._forward(request)
        else:
            answer = scripted(self._script, attempt)
        self._show(Heard(at, request, attempt, problem, answer, misdirected))
        return answer


def render(heard: Heard, *, width: int | None = None) -> Text:
    """A request as it is shown: what, whether verified, the ids, and the body.

    Args:
        heard: the request, and what became of it.
        width: how many characters fit into a line; None for a body in one line, however long.
    """
    headers, request = heard.request.headers, heard.request
    said = Text()
    said.append(f"{heard.at.astimezone():%H:%M:%S}  ", style="dim")
    said.append(printable(_label(request.body)), style="bold")
    if heard.problem is None:
        said.append("  ✓ verified", style="green")
    else:
        said.append(f"  ✗ not verified: {printable(heard.problem)}", style="red")
    status = heard.answer.status
    said.append(f"  → {'hung up' if status is None else status}\n", style=_style(status))
    again = f"  attempt {heard.attempt}" if heard.attempt > 1 else ""
    said.append(f"  webhook-id {printable(headers.get('webhook-id', 'none'))}{again}\n")
    body = printable(request.body.decode(errors="replace"))
    lines = wrap(body, width - 2, break_on_hyphens=False) if width else [body]
    said.append("".join(f"  {line}\n" for line in lines), style="dim")
    if heard.misdirected:
        said.append("  Is it for another receiver? Listen with --receiver UUID.\n", style="yellow")
    return said


def _label(body: bytes) -> str:
    """Type and round, if it is a notification."""
    try:
        said = json.loads(body)
        number = said["body"].get("round")
        return f"{said['notification_type']}{'' if number is None else f' {number}'}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return "no notification"


def _style(status: int | None) -> str:
    return "green" if status is not None and 200 <= status < 300 else "yellow"  # noqa: PLR2004


def _script(text: str) -> tuple[int | None, ...]:
    try:
        return parse_script(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--answer") from error


def _server(port: int) -> ParticipantServer:
    try:
        return ParticipantServer(port)
    except OSError as error:
        raise CommandError(
            f"port {port} can't be used ({error.strerror}): --port chooses another, 0 a free one"
        ) from error


def _introduce(console: Console, endpoint: str, uuid: str, secret: str) -> None:
    console.print(
        Text.assemble(
            ("Listening at ", "bold"),
            f"{endpoint}\n",
            ("as receiver  ", "bold"),
            f"{uuid}\n",
            ("secret       ", "bold"),
            f"{secret}\n\n",
            "To verify in Python:\n",
            ("  from fl_notifications.receiver import verify\n", "cyan"),
            (f'  verify(headers, body, "{secret}")', "cyan"),
        ),
        soft_wrap=True,
    )


def _join(console: Console, stack: Stack, training: str, receiver: Receiver) -> None:
    trainings = TrainingRepository(stack.client("dynamodb"), stack.output("TrainingsTable"))
    try:
        trainings.add_participant(training, receiver)
    except TrainingRepositoryError as error:
        raise CommandError(str(error)) from error
    console.print(f"\nJoined training {training}, and stays a participant when this ends.")

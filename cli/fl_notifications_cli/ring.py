"""The command `ring`: would this receiver be reached?"""

import json
import time
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING, Annotated, Final
from uuid import UUID, uuid4

import typer

from fl_notifications.clock import SystemClock
from fl_notifications.deliveries.guard import EndpointGuard, own_services
from fl_notifications.deliveries.post import Forbidden, Poster, Responded
from fl_notifications.deliveries.signing import MasterSecrets, receiver_secret
from fl_notifications.trainings.items import PARTICIPANT_PREFIX
from fl_notifications.webhooks import signature_headers
from fl_notifications_cli.errors import CommandError
from fl_notifications_cli.local.deployed import deployed_function
from fl_notifications_cli.options import Region, StackName
from fl_notifications_cli.participants import uuid_of
from fl_notifications_cli.scanning import MOST_SCAN_PAGES
from fl_notifications_cli.stack import Stack, find_stack
from fl_notifications_cli.tracing.terminal import output_console, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_dynamodb.type_defs import ScanInputTypeDef

TYPE = "TEST"
"""The notification type of a ring: one that no change of a training has."""


HINTS: Final = {
    "address not allowed": "The stack calls public addresses only, and what its parameter"
    " AllowedPrivateNetworks names.",
    "plain http not allowed": "The stack calls https only, unless its parameter AllowPlainHttp is"
    " true.",
    "connection refused": "Nothing listens there. 'fl-notifications listen' would.",
}
"""What could be done about a reason, in the words of the stack's parameters."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a ring.

    Attributes:
        accepted: whether a notification with this answer would be accepted.
        said: what happened, in words.
        milliseconds: how long it took.
        responded: whether there was an HTTP answer at all.
        hint: what could be done about it, if anything is known.
    """

    accepted: bool
    said: str
    milliseconds: int
    responded: bool = True
    hint: str | None = None


def ring(
    endpoint: Annotated[
        str | None, typer.Argument(help="The URL to be called.", show_default=False)
    ] = None,
    *,
    receiver: Annotated[
        UUID | None,
        typer.Option(
            metavar="UUID",
            help="Whose secret signs; without ENDPOINT, also whose endpoint is called.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As a JSON object.")] = False,
    stack_name: StackName = None,
    region: Region = None,
) -> None:
    """Send one signed test notification, and show the answer.

    It takes the service's own way: the stack's rules for endpoints, its time limit, its signature.
    Nothing is stored, nothing is retried, and no training is touched. The notification's type is
    `TEST`, its body `{"data": {}}`. It is sent from this machine: whether the service's own network
    gets through, a firewall in between decides.

    Exit status: 0 if it was accepted (2xx), else 1.
    """
    stack = find_stack(stack_name, region=region)
    if endpoint is None:
        if receiver is None:
            raise typer.BadParameter("name an ENDPOINT or a --receiver")
        endpoint = find_endpoint(stack, str(receiver))
    if endpoint.startswith("mailbox:"):
        raise CommandError(f"{endpoint} is a mailbox: nobody calls it, its owner asks for its mail")
    answer = call(stack, endpoint, str(receiver or uuid_of(endpoint)))
    if as_json:
        print(
            json.dumps(
                {
                    "accepted": answer.accepted,
                    "said": answer.said,
                    "milliseconds": answer.milliseconds,
                }
            )
        )
    else:
        _show(answer, endpoint, receiver)
    if not answer.accepted:
        raise typer.Exit(1)


def _show(answer: Answer, endpoint: str, receiver: UUID | None) -> None:
    console = output_console()
    console.print(f"POST {printable(endpoint)}", markup=False, soft_wrap=True)
    mark, style = ("✓", "green") if answer.accepted else ("✗", "red")
    console.print(
        f"{mark} {answer.said}, after {answer.milliseconds:,} ms", style=style, markup=False
    )
    if answer.hint is not None:
        console.print(answer.hint, markup=False)
    elif receiver is None and answer.responded:
        console.print(
            f"Signed for {uuid_of(endpoint)}, as 'listen' at this address verifies it;"
            " --receiver UUID signs for another.",
            style="dim",
        )


def find_endpoint(stack: Stack, receiver_uuid: str) -> str:
    """Where a participant is to be reached, as the trainings table says it.

    Raises:
        CommandError: it takes part in nothing, or in trainings that say different things.
    """
    request: ScanInputTypeDef = {
        "TableName": stack.output("TrainingsTable"),
        "FilterExpression": "#e IN (:one, :other)",
        "ProjectionExpression": "#m",
        "ExpressionAttributeNames": {"#e": "entity", "#m": "message_endpoint"},
        "ExpressionAttributeValues": {
            name: {"S": f"{PARTICIPANT_PREFIX}{spelling}"}
            for name, spelling in zip(
                (":one", ":other"),
                (receiver_uuid, receiver_uuid.upper()),
                strict=True,
            )
        },
    }
    found: set[str] = set()
    for _ in range(MOST_SCAN_PAGES):
        page = stack.client("dynamodb").scan(**request)
        found |= {item.get("message_endpoint", {}).get("S", "") for item in page["Items"]}
        if "LastEvaluatedKey" not in page:
            break
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
    if not found:
        raise CommandError(f"no training has a participant {receiver_uuid}: name its ENDPOINT")
    if len(found) > 1:
        named = "\n  ".join(printable(each) for each in sorted(found))
        raise CommandError(f"{receiver_uuid} has several endpoints; name one:\n  {named}")
    return found.pop()


def call(stack: Stack, endpoint: str, receiver_uuid: str) -> Answer:
    """Send a receiver a test notification, with the settings of the stack's own sender."""
    environment = deployed_function(stack, "DeliverNotification").variables
    payload = json.dumps(
        {"notification_type": TYPE, "body": {"data": {}}, "training_uuid": str(uuid4())}
    )
    clock = SystemClock()
    secrets = MasterSecrets(
        stack.client("secretsmanager"),
        stack.output("SigningSecretArn"),
        clock,
        lambda _words, _error: None,
    )
    headers = signature_headers(
        [receiver_secret(master, receiver_uuid) for master in secrets.get()],
        str(uuid4()),
        clock.now(),
        payload,
    )
    began = time.monotonic()
    answer = _poster(environment, stack).post(
        endpoint, {"Content-Type": "application/json", **headers}, payload.encode()
    )
    milliseconds = round((time.monotonic() - began) * 1000)
    if isinstance(answer, Responded):
        accepted = 200 <= answer.status < 300  # noqa: PLR2004  # 2xx
        words = "accepted" if accepted else "not accepted"
        return Answer(accepted, f"{words}: answered {answer.status}", milliseconds)
    words = "not called" if isinstance(answer, Forbidden) else "not reached"
    return Answer(
        accepted=False,
        said=f"{words}: {answer.reason}",
        milliseconds=milliseconds,
        responded=False,
        hint=HINTS.get(answer.reason),
    )


def _poster(environment: "Mapping[str, str]", stack: Stack) -> Poster:
    return Poster(
        EndpointGuard(
            [
                ip_network(part.strip(), strict=False)
                for part in environment["ALLOWED_PRIVATE_NETWORKS"].split(",")
                if part.strip()
            ],
            allow_plain_http=environment["ALLOW_PLAIN_HTTP"] == "true",
            own_services=own_services({"AWS_ENDPOINT_URL": stack.endpoint_url or ""}),
        ),
        timeout_seconds=float(environment["REQUEST_TIMEOUT_SECONDS"]),
    )

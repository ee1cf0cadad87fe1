"""A deployed stack, and how to find it: the local one, or one on AWS.

The local stack is described by `.local/stack.json`, which `make up` writes and `make down` removes:

    {"endpoint_url": …, "region": …, "stack_name": …, "outputs": {…}}
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict, ValidationError

from fl_notifications_cli.errors import CommandError

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import StackTypeDef
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient

STACK_NAME = "fl-notifications"
"""What a stack is called when nobody says otherwise (samconfig.toml)."""

STACK_FILE = Path(".local") / "stack.json"
"""Where the description of the local stack is, from the checkout's directory."""

STACK_VARIABLE = "FL_NOTIFICATIONS_STACK"
"""Environment variable: path of a local stack's description, for commands run from anywhere."""

CHECKOUT = Path(__file__).resolve().parents[2]
"""The checkout that this is installed from, if it is."""

_FUNCTION_URL = re.compile(r"https://([a-z0-9]+)\.lambda-url\.[a-z0-9-]+\.on\.aws/?")

_THIS_MACHINE = frozenset({"127.0.0.1", "localhost", "::1"})

LOCAL_KEY = "test"
"""Access key and secret of the emulator's root user."""


class StackNotFoundError(CommandError):
    """No such stack; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A deployed stack.

    Attributes:
        name: the CloudFormation stack's name.
        region: the AWS region.
        endpoint_url: the emulator's address; None on AWS.
        outputs: the stack's outputs, by name.
    """

    name: str
    region: str
    endpoint_url: str | None
    outputs: Mapping[str, str]
    _clients: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def local(self) -> bool:
        """Whether it runs on this machine's emulator."""
        return self.endpoint_url is not None

    def output(self, name: str) -> str:
        """Return an output's value.

        Raises:
            StackNotFoundError: the stack has no such output: an older version, or another stack.
        """
        try:
            return self.outputs[name]
        except KeyError:
            message = f"stack {self.name} has no output {name}: is it this project's, and current?"
            raise StackNotFoundError(message) from None

    @overload
    def client(self, service: Literal["cloudformation"]) -> "CloudFormationClient": ...
    @overload
    def client(self, service: Literal["cloudwatch"]) -> "CloudWatchClient": ...
    @overload
    def client(self, service: Literal["dynamodb"]) -> "DynamoDBClient": ...
    @overload
    def client(self, service: Literal["events"]) -> "EventBridgeClient": ...
    @overload
    def client(self, service: Literal["lambda"]) -> "LambdaClient": ...
    @overload
    def client(self, service: Literal["logs"]) -> "CloudWatchLogsClient": ...
    @overload
    def client(self, service: Literal["secretsmanager"]) -> "SecretsManagerClient": ...
    @overload
    def client(self, service: Literal["sqs"]) -> "SQSClient": ...

    def client(self, service: str) -> Any:
        """Return the stack's boto3 client for a service, the same one at every call.

        On AWS with the caller's credentials, on the local stack with the emulator's.
        """
        if service not in self._clients:
            self._clients[service] = new_client(service, self.region, self.endpoint_url)
        return self._clients[service]


def new_client(
    service: str, region: str | None, endpoint_url: str | None, *, config: Config | None = None
) -> Any:
    """Make a boto3 client.

    Args:
        service: the service's name.
        region: the AWS region; None takes the caller's.
        endpoint_url: the emulator's address, where neither the caller's proxies, profile nor
            configuration must matter; None for AWS, with the caller's settings.
        config: what differs from the usual configuration.
    """
    if endpoint_url is None:
        return boto3.Session(region_name=region).client(
            service,  # type: ignore[call-overload]  # any service's name
            config=Config(retries={"mode": "standard"}).merge(config or Config()),
        )
    # Read no profile and no configuration file: a profile that the caller's environment names and
    # that doesn't exist would be an error, one that does exist could lead elsewhere.
    session = botocore.session.Session(
        session_vars={
            "profile": (None, [], None, None),
            "config_file": (None, None, "/dev/null", None),
            "credentials_file": (None, None, "/dev/null", None),
        }
    )
    return boto3.Session(
        aws_access_key_id=LOCAL_KEY,
        aws_secret_access_key=LOCAL_KEY,
        region_name=region,
        botocore_session=session,
    ).client(
        service,  # type: ignore[call-overload]  # any service's name
        endpoint_url=endpoint_url,
        config=Config(
            proxies={},
            connect_timeout=5,
            read_timeout=60,
            max_pool_connections=50,
            retries={"mode": "standard", "total_max_attempts": 3},
        ).merge(config or Config()),
    )


class StackFile(BaseModel):
    """What `.local/stack.json` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint_url: str
    region: str
    stack_name: str
    outputs: dict[str, str]


def find_stack(
    stack_name: str | None = None, *, region: str | None = None, stack_file: Path | None = None
) -> Stack:
    """Find a stack that answers.

    Args:
        stack_name: the name of a stack on AWS; None for the local one.
        region: the AWS region, when not the caller's own. Not used for the local stack.
        stack_file: the local stack's description; by default what `FL_NOTIFICATIONS_STACK` names,
            else `.local/stack.json` here, in a directory above, or in the checkout.

    Raises:
        StackNotFoundError: there is none, it doesn't answer, or may not be described.
    """
    if stack_name is not None:
        return _describe(stack_name, region, None)
    if stack_file is None and (named := os.environ.get(STACK_VARIABLE)):
        stack_file = Path(named)
        if not stack_file.is_file():
            raise StackNotFoundError(
                f"{STACK_VARIABLE} names {named}, which is not there: 'make up' in that checkout"
                " writes it; or unset the variable"
            )
    if stack_file is None:
        stack_file = next((path for path in _candidates() if path.is_file()), None)
    if stack_file is None or not stack_file.is_file():
        raise StackNotFoundError(
            "no local stack is running: start one with 'make up',"
            " or name a stack on AWS with --stack-name"
        )
    try:
        said = StackFile.model_validate(json.loads(stack_file.read_bytes()))
    except (OSError, ValueError, ValidationError) as error:
        raise StackNotFoundError(
            f"{stack_file} can't be read ({error}): 'make up' writes it again"
        ) from error
    found = _describe(said.stack_name, said.region, said.endpoint_url)
    if found.outputs != said.outputs:
        # The outputs hold generated names. It happens after a crash, when another checkout's stack
        # has taken the port.
        raise StackNotFoundError(
            f"another stack than the one in {stack_file} answers at {said.endpoint_url}:"
            " start this one again with 'make up'"
        )
    return found


def _candidates() -> Iterator[Path]:
    here = Path.cwd()
    return (directory / STACK_FILE for directory in (here, *here.parents, CHECKOUT))


def _describe(name: str, region: str | None, endpoint_url: str | None) -> Stack:
    try:
        client = new_client("cloudformation", region, endpoint_url)
        [found] = client.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        raise StackNotFoundError(
            f"stack {name} can't be described: {error.response['Error']['Message']}"
            + ("; start it again with 'make up'" if endpoint_url else "")
        ) from error
    except BotoCoreError as error:
        advice = (
            "does not answer; start it again with 'make up'"
            if endpoint_url
            else "can't be looked up; see to the credentials and the region (--region)"
        )
        raise StackNotFoundError(f"stack {name} {advice} ({error})") from error
    return Stack(
        name=name,
        region=client.meta.region_name,
        endpoint_url=endpoint_url,
        outputs=read_outputs(found, endpoint_url or _of_an_emulator(client.meta.endpoint_url)),
    )


def _of_an_emulator(endpoint_url: str) -> str | None:
    """Return where the caller's own settings lead (`AWS_ENDPOINT_URL`), if that is this machine."""
    return endpoint_url if urlsplit(endpoint_url).hostname in _THIS_MACHINE else None


def read_outputs(described: "StackTypeDef", endpoint_url: str | None) -> dict[str, str]:
    """Return a described stack's outputs, by name.

    The emulator's function URLs have names that only AWS resolves: here they are the emulator's
    own, at which the same function answers.

    Args:
        described: as CloudFormation describes it.
        endpoint_url: the emulator's address; None on AWS.
    """
    outputs = {each["OutputKey"]: each["OutputValue"] for each in described.get("Outputs", [])}
    if endpoint_url is None:
        return outputs
    return {
        name: _FUNCTION_URL.sub(rf"{endpoint_url}/_aws/lambda-url/\1/", value)
        for name, value in outputs.items()
    }

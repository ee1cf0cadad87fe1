"""DeliverNotification trusts the authorities of a private network beside the public ones."""

import ssl
from collections.abc import Iterator
from ipaddress import ip_network
from uuid import uuid4

import boto3
import pytest
import trustme
from botocore.exceptions import ClientError

from fl_notifications.deliveries.guard import EndpointGuard
from fl_notifications.deliveries.post import Answer, Poster, Responded, Unreachable
from functions.deliver_notification.authorities import tls_context
from tests.integration.conftest import Start
from tests.integration.stack import Stack
from tests.receivers.wire import Receiver, status


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def receiver(authority: trustme.CA) -> Iterator[Receiver]:
    """A participant whose certificate no public authority has signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("participant.internal").configure_cert(context)
    with Receiver(status(200), tls=context) as receiver:
        yield receiver


@pytest.fixture(params=["ssm", "secretsmanager"])
def arn(request: pytest.FixtureRequest, stack: Stack, authority: trustme.CA) -> str:
    """Of what holds the certificates."""
    text = authority.cert_pem.bytes().decode()
    if request.param == "secretsmanager":
        answer = stack.secrets.create_secret(Name=f"authorities-{uuid4()}", SecretString=text)
        return str(answer["ARN"])
    ssm = boto3.client("ssm")
    ssm.put_parameter(Name="/authorities", Value=text, Type="String", Overwrite=True)
    return str(ssm.get_parameter(Name="/authorities")["Parameter"]["ARN"])


def post(receiver: Receiver, tls: ssl.SSLContext | None) -> Answer:
    poster = Poster(
        EndpointGuard([ip_network("127.0.0.0/8")]),
        timeout_seconds=10,
        resolve=lambda _host: ["127.0.0.1"],
        tls=tls,
    )
    return poster.post(f"https://participant.internal:{receiver.port}/", {}, b"{}")


def test_with_the_authority_a_private_participant_is_reached(arn: str, receiver: Receiver) -> None:
    assert isinstance(post(receiver, tls_context(arn)), Responded)


def test_without_it_its_certificate_is_not_valid(receiver: Receiver) -> None:
    assert tls_context("") is None
    answer = post(receiver, None)
    assert isinstance(answer, Unreachable)
    assert answer.reason == "certificate not valid"


def test_the_public_authorities_are_trusted_all_the_same(arn: str) -> None:
    context = tls_context(arn)
    assert context is not None
    usual = ssl.create_default_context()
    assert context.cert_store_stats()["x509_ca"] == usual.cert_store_stats()["x509_ca"] + 1
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_the_function_starts_with_them(arn: str, start: Start) -> None:
    start("DeliverNotification", PRIVATE_AUTHORITIES=arn)


def test_the_function_does_not_start_if_they_cannot_be_read(start: Start) -> None:
    """Else it would tell the participants behind them that their certificates are wrong."""
    missing = "arn:aws:ssm:eu-central-1:123456789012:parameter/no-such"
    with pytest.raises(ClientError, match="ParameterNotFound"):
        start("DeliverNotification", PRIVATE_AUTHORITIES=missing)


def test_the_function_does_not_start_if_they_are_no_certificates(
    stack: Stack, start: Start
) -> None:
    answer = stack.secrets.create_secret(Name=f"no-authorities-{uuid4()}", SecretString="hello")
    with pytest.raises(ssl.SSLError):
        start("DeliverNotification", PRIVATE_AUTHORITIES=answer["ARN"])

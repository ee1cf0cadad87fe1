"""Signatures: by the specification's test vector, and as a receiver checks them."""

import base64
import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import boto3
import pytest
from botocore.stub import Stubber
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from fl_notifications.deliveries.signing import (
    REFRESH_SECONDS,
    MasterSecrets,
    NoSecretError,
    receiver_secret,
    signature_headers,
)
from tests.made import StoppedClock, delivery, uuid_of

# From the specification's own libraries: "sign function works" in each of their tests.
# https://github.com/standard-webhooks/standard-webhooks/blob/main/libraries
VECTOR_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
VECTOR_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
VECTOR_TIME = datetime.fromtimestamp(1614265330, UTC)
VECTOR_PAYLOAD = '{"test": 2432232314}'
VECTOR_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

MASTER = "a master secret"
ONE, TWO = uuid_of("one"), uuid_of("two")


def now() -> datetime:
    """The library of the receivers compares with the machine's clock."""
    return datetime.now(UTC)


def test_the_specifications_test_vector() -> None:
    assert signature_headers([VECTOR_SECRET], VECTOR_ID, VECTOR_TIME, VECTOR_PAYLOAD) == {
        "webhook-id": VECTOR_ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": VECTOR_SIGNATURE,
    }


def test_a_receivers_secret_is_derived_as_the_design_says() -> None:
    """Written out, so that a receiver can derive the same in any language."""
    digest = hmac.new(MASTER.encode(), ONE.encode(), hashlib.sha256).digest()
    secret = receiver_secret(MASTER, ONE)
    assert secret == "whsec_" + base64.b64encode(digest).decode()
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32


def test_a_derived_secret_stays_the_same_from_one_release_to_the_next() -> None:
    """Receivers keep theirs."""
    uuid = "6b1e6f1c-0f3a-4c57-9d7b-2f6a3e0c9a11"
    assert receiver_secret("master", uuid) == "whsec_mAajLeHIkKpP2b+fRbMFku1grlPeEf1mzArStZncjQw="


@pytest.mark.parametrize(
    "spelt",
    [
        str.upper,
        lambda uuid: uuid.replace("-", ""),
        lambda uuid: f"{{{uuid}}}",
        lambda uuid: UUID(uuid).urn,
    ],
    ids=["upper case", "no hyphens", "braces", "urn"],
)
def test_however_a_uuid_is_spelt_the_secret_is_that_of_its_usual_form(
    spelt: Callable[[str], str],
) -> None:
    assert receiver_secret(MASTER, spelt(ONE)) == receiver_secret(MASTER, ONE)


@settings(max_examples=50)
@given(st.text(min_size=1), st.uuids(), st.text(min_size=1), st.uuids())
def test_another_master_secret_or_receiver_gives_another_secret(
    master: str, uuid: UUID, other_master: str, other_uuid: UUID
) -> None:
    same = (master, uuid) == (other_master, other_uuid)
    secrets = receiver_secret(master, str(uuid)), receiver_secret(other_master, str(other_uuid))
    assert (secrets[0] == secrets[1]) is same


@settings(max_examples=50)
@given(st.text(max_size=200), st.uuids())
def test_a_receiver_verifies_with_the_standard_library_and_its_own_secret(
    reason: str, uuid: UUID
) -> None:
    payload = delivery(content={"reason": reason}).payload
    secret = receiver_secret(MASTER, str(uuid))
    headers = signature_headers([secret], "some-id", now(), payload)
    assert Webhook(secret).verify(payload, headers) == {"reason": reason}


def test_another_receivers_secret_does_not_verify() -> None:
    """So no participant can forge messages to another."""
    headers = signature_headers([receiver_secret(MASTER, ONE)], "some-id", now(), "{}")
    with pytest.raises(WebhookVerificationError):
        Webhook(receiver_secret(MASTER, TWO)).verify("{}", headers)


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-id": "another-id"},
        {"webhook-timestamp": str(int(now().timestamp()) - 1)},
        {"payload": '{"a": 2}'},
    ],
    ids=["id", "timestamp", "payload"],
)
def test_id_time_and_payload_are_signed(changed: dict[str, str]) -> None:
    secret = receiver_secret(MASTER, ONE)
    headers = signature_headers([secret], "some-id", now(), '{"a": 1}') | changed
    payload = headers.pop("payload", '{"a": 1}')
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(payload, headers)


def test_a_message_that_is_replayed_after_five_minutes_does_not_verify() -> None:
    secret = receiver_secret(MASTER, ONE)
    headers = signature_headers([secret], "some-id", now() - timedelta(minutes=6), "{}")
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify("{}", headers)


def test_two_secrets_both_sign_so_that_receivers_can_change_over() -> None:
    current, previous = receiver_secret("new", ONE), receiver_secret("old", ONE)
    headers = signature_headers([current, previous], "some-id", now(), "{}")
    first, second = headers["webhook-signature"].split(" ")
    assert first != second
    assert first.startswith("v1,")
    assert second.startswith("v1,")
    for secret in (current, previous):
        Webhook(secret).verify("{}", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(receiver_secret("older", ONE)).verify("{}", headers)


# --- the master secrets ---------------------------------------------------------------------------

ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:SigningSecret-abcdef"


class Secrets:
    """Secrets Manager with what it is told to answer, and the `MasterSecrets` that ask it."""

    def __init__(self) -> None:
        client = boto3.client(
            "secretsmanager",
            region_name="eu-central-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        self.answers = Stubber(client)
        self.answers.activate()
        self.clock = StoppedClock()
        self.troubles: list[tuple[str, Exception]] = []
        self.master = MasterSecrets(client, ARN, self.clock, self.trouble)

    def trouble(self, message: str, error: Exception) -> None:
        self.troubles.append((message, error))

    def has(self, current: str, previous: str | None = None) -> None:
        self.answers.add_response("get_secret_value", self._answer(current), {"SecretId": ARN})
        asked = {"SecretId": ARN, "VersionStage": "AWSPREVIOUS"}
        if previous is None:
            self.answers.add_client_error(
                "get_secret_value", "ResourceNotFoundException", expected_params=asked
            )
        else:
            self.answers.add_response("get_secret_value", self._answer(previous), asked)

    def _answer(self, secret: str) -> dict[str, Any]:
        return {"ARN": ARN, "Name": "SigningSecret", "SecretString": secret}


@pytest.fixture
def secrets() -> Secrets:
    return Secrets()


def test_the_current_secret_is_used_alone_while_there_is_no_previous_one(secrets: Secrets) -> None:
    secrets.has("new")
    assert secrets.master.get() == ("new",)


def test_the_current_secret_comes_first_and_the_previous_one_second(secrets: Secrets) -> None:
    secrets.has("new", "old")
    assert secrets.master.get() == ("new", "old")


def test_secrets_are_read_once_a_minute_at_most(secrets: Secrets) -> None:
    secrets.has("first")
    secrets.master.get()
    secrets.clock.go_on(REFRESH_SECONDS - 0.1)
    assert secrets.master.get() == ("first",)
    secrets.has("second", "first")
    secrets.clock.go_on(0.1)
    assert secrets.master.get() == ("second", "first")
    secrets.answers.assert_no_pending_responses()


def test_without_any_secret_there_is_an_error_and_the_next_call_asks_again(
    secrets: Secrets,
) -> None:
    secrets.answers.add_client_error("get_secret_value", "AccessDeniedException")
    with pytest.raises(secrets.answers.client.exceptions.ClientError, match="AccessDenied"):
        secrets.master.get()
    secrets.has("new")
    assert secrets.master.get() == ("new",)


def test_if_secrets_cannot_be_read_again_the_known_ones_are_used_on(secrets: Secrets) -> None:
    secrets.has("new", "old")
    secrets.master.get()
    secrets.clock.go_on(REFRESH_SECONDS)
    secrets.answers.add_client_error("get_secret_value", "InternalServiceError")
    assert secrets.master.get() == ("new", "old")
    [(message, _)] = secrets.troubles
    assert "could not be read" in message
    # Not asked again at once: a service in trouble is spared.
    assert secrets.master.get() == ("new", "old")


WITHOUT_TEXT = {"ARN": ARN, "Name": "SigningSecret", "SecretBinary": b"x"}


def test_a_secret_without_a_text_leaves_the_known_ones_in_use(secrets: Secrets) -> None:
    secrets.has("new", "old")
    secrets.master.get()
    secrets.clock.go_on(REFRESH_SECONDS)
    secrets.answers.add_response("get_secret_value", WITHOUT_TEXT, {"SecretId": ARN})
    assert secrets.master.get() == ("new", "old")
    [(_, error)] = secrets.troubles
    assert isinstance(error, NoSecretError)


def test_if_the_first_one_read_has_no_text_the_previous_version_is_used(secrets: Secrets) -> None:
    """Receivers accept it, too; a function that has just started knows no other."""
    secrets.answers.add_response("get_secret_value", WITHOUT_TEXT, {"SecretId": ARN})
    previous = {"SecretId": ARN, "VersionStage": "AWSPREVIOUS"}
    secrets.answers.add_response("get_secret_value", secrets._answer("old"), previous)
    assert secrets.master.get() == ("old",)
    assert len(secrets.troubles) == 1


def test_a_trouble_with_the_previous_secret_is_not_taken_for_its_absence(secrets: Secrets) -> None:
    """Receivers that still have the old one would be told lies."""
    secrets.answers.add_response("get_secret_value", secrets._answer("new"), {"SecretId": ARN})
    secrets.answers.add_client_error("get_secret_value", "ThrottlingException")
    with pytest.raises(secrets.answers.client.exceptions.ClientError, match="Throttling"):
        secrets.master.get()

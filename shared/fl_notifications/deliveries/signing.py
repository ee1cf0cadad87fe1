"""The secrets that sign: a master secret, and one of its own for each receiver."""

import base64
import hashlib
import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from fl_notifications.clock import Clock
from fl_notifications.trainings.items import AnyUuid
from fl_notifications.trainings.model import canonical
from fl_notifications.webhooks import signature_headers

__all__ = ["REFRESH_SECONDS", "MasterSecrets", "receiver_secret", "signature_headers"]


if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

REFRESH_SECONDS: Final = 60
"""How long a changed master secret may stay unnoticed."""


def receiver_secret(master_secret: str, receiver_uuid: AnyUuid) -> str:
    """A receiver's secret, `whsec_<base64>`, derived from the master secret.

    HMAC-SHA256 with the master secret as key and the receiver's uuid as message, in lower case and
    with hyphens however it was spelt: no receiver can derive another one's, and none has to be
    stored.
    """
    message = canonical(receiver_uuid).encode()
    digest = hmac.digest(master_secret.encode(), message, hashlib.sha256)
    return f"whsec_{base64.b64encode(digest).decode()}"


class NoSecretError(Exception):
    """The secret has no text: it holds something else, or nothing."""


class MasterSecrets:
    """The master secrets: the current one and, while there is one, the previous one.

    Read when first asked for, then again after `REFRESH_SECONDS`. If that fails, the known ones
    are used on: receivers accept them as long as the previous version exists.
    """

    def __init__(
        self,
        client: "SecretsManagerClient",
        secret_arn: str,
        clock: Clock,
        on_trouble: Callable[[str, Exception], object],
    ) -> None:
        """Use a secret of Secrets Manager.

        Args:
            client: boto3's client.
            secret_arn: of the secret.
            clock: tells when to read it again.
            on_trouble: told in a few words, and with the error, if it could not be read and others
                are used.
        """
        self._client = client
        self._secret_arn = secret_arn
        self._clock = clock
        self._on_trouble = on_trouble
        self._secrets: tuple[str, ...] = ()
        self._read_at = 0.0

    def get(self) -> tuple[str, ...]:
        """The current master secret, then the previous one if there is one.

        Raises:
            ClientError: if none could be read yet.
            NoSecretError: if neither version has a text.
        """
        now = self._clock.monotonic()
        if not self._secrets or now - self._read_at >= REFRESH_SECONDS:
            try:
                self._secrets = self._read()
            except (ClientError, BotoCoreError, NoSecretError) as error:
                self._secrets = self._secrets or self._instead(error)
                self._on_trouble("the signing secret could not be read", error)
            self._read_at = now
        return self._secrets

    def _read(self) -> tuple[str, ...]:
        current = self._version()
        try:
            previous = self._version(VersionStage="AWSPREVIOUS")
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            return (current,)
        except NoSecretError:
            return (current,)  # nobody can have been given one that is made of it
        return (current, previous)

    def _instead(self, error: Exception) -> tuple[str, ...]:
        """The previous version, which receivers accept too, if the current one has no text."""
        if not isinstance(error, NoSecretError):
            raise error
        return (self._version(VersionStage="AWSPREVIOUS"),)

    def _version(self, **stage: str) -> str:
        answer = self._client.get_secret_value(SecretId=self._secret_arn, **stage)
        if not (text := answer.get("SecretString")):
            raise NoSecretError("the signing secret has no SecretString")
        return text

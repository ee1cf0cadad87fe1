"""A secret of Secrets Manager in memory, with its current and its previous version."""

from typing import Any

from tests.aws.dynamodb import client_error
from tests.aws.kernel import Kernel, NotModelledError


class SecretsManager:
    """The service, with one secret.

    Attributes:
        changes: when the secret became what, for the history.
        not_read: when somebody tried to read it in vain.
    """

    def __init__(self, kernel: Kernel, arn: str, secret: str) -> None:
        self.kernel = kernel
        self.arn = arn
        self.current = secret
        self.previous: str | None = None
        self.changes: list[tuple[float, str]] = [(kernel.now, secret)]
        self.not_read: list[float] = []

    def rotate(self, secret: str) -> None:
        self.previous, self.current = self.current, secret
        self.changes.append((self.kernel.now, secret))

    def get_secret_value(
        self,
        *,
        SecretId: str,  # noqa: N803
        VersionStage: str = "AWSCURRENT",  # noqa: N803
    ) -> dict[str, Any]:
        if SecretId != self.arn:
            raise NotModelledError(f"no secret {SecretId!r}")
        secret = {"AWSCURRENT": self.current, "AWSPREVIOUS": self.previous}.get(VersionStage)
        if secret is None:
            raise client_error("GetSecretValue", "ResourceNotFoundException")
        return {
            "ARN": self.arn,
            "SecretString": secret,
            "VersionStages": [VersionStage],
            "VersionId": str(len(self.changes)),
        }

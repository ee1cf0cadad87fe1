"""What sets a participant up: one string with everything that it needs to fetch its mailbox."""

import base64
import binascii
import json
from typing import Annotated, Final, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

PREFIX: Final = "fl-mailbox-1."
"""Says what the string is, to people and to scanners of leaked secrets."""


class MailboxToken(BaseModel):
    """A mailbox's address, a receiver, and its secret. Whoever has it is that receiver.

    Attributes:
        url: of the mailbox.
        receiver: the receiver's uuid.
        secret: the receiver's, `whsec_…`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$")]
    receiver: UUID
    secret: Annotated[str, StringConstraints(pattern=r"^whsec_[A-Za-z0-9+/=]+$")]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str()` has written.

        Raises:
            ValueError: if it is none; never quotes it.
        """
        text = text.strip()
        if not text.startswith(PREFIX):
            raise ValueError(f"not a mailbox token: it begins with {PREFIX}")
        try:
            encoded = text.removeprefix(PREFIX).encode()
            said = base64.urlsafe_b64decode(encoded + b"=" * (-len(encoded) % 4))
            return cls.model_validate(json.loads(said))
        except (ValidationError, ValueError, binascii.Error):
            raise ValueError("not a mailbox token: it is cut or altered") from None

    def __str__(self) -> str:
        """The token."""
        encoded = base64.urlsafe_b64encode(self.model_dump_json().encode())
        return PREFIX + encoded.decode().rstrip("=")

    def __repr__(self) -> str:
        """Who, and where to; without the secret."""
        return f"MailboxToken(url={self.url!r}, receiver={str(self.receiver)!r})"

"""Standard Webhooks: the three headers that sign a body, made and checked.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import hmac
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from standardwebhooks import Webhook

ID: Final = "webhook-id"
TIMESTAMP: Final = "webhook-timestamp"
SIGNATURE: Final = "webhook-signature"

TOLERANCE: Final = timedelta(minutes=5)
"""How far the clocks of the two ends may differ."""

MAX_SIGNATURES: Final = 8
"""Signatures of one message that are looked at: two are usual while a secret is rotated."""


class SignatureError(Exception):
    """A message is not signed as it should be; the subclass says in which way."""


class MissingHeaderError(SignatureError):
    """A header is missing, or is not what it should be: not a signed webhook at all."""


class MessageTooOldError(SignatureError):
    """It was signed too long ago: a replay, or one of the two clocks is wrong."""


class MessageTooNewError(SignatureError):
    """It was signed in the future: one of the two clocks is wrong."""


class WrongSignatureError(SignatureError):
    """No signature fits: the secret is another one, or the message was forged or altered."""


def signature_headers(
    secrets: Sequence[str], message_id: str, at: datetime, payload: str
) -> dict[str, str]:
    """The three headers of a signed webhook.

    Args:
        secrets: the receiver's secrets, the current one first; each of them signs.
        message_id: becomes `webhook-id`.
        at: the time of this attempt, in UTC.
        payload: the body, exactly as it is sent.
    """
    signatures = (Webhook(secret).sign(message_id, at, payload) for secret in secrets)
    return {
        ID: message_id,
        TIMESTAMP: str(int(at.timestamp())),
        SIGNATURE: " ".join(signatures),
    }


def check_signature(
    headers: Mapping[str, str], body: bytes, secrets: Sequence[str], *, now: datetime
) -> tuple[str, datetime]:
    """Check that a message is signed with one of the secrets, and not long ago.

    Args:
        headers: in any case, as HTTP's are.
        body: exactly as it came.
        secrets: as `whsec_<base64>`; one that fits is enough.
        now: the time here.

    Returns:
        The message's id, and when it was signed.

    Raises:
        MissingHeaderError: one of the three is missing or cannot be read.
        MessageTooOldError: the timestamp is too long ago.
        MessageTooNewError: the timestamp is in the future.
        WrongSignatureError: no signature fits.
    """
    message_id, at, signatures = _read(headers)
    if at < now - TOLERANCE:
        raise MessageTooOldError(f"signed more than {TOLERANCE} ago")
    if at > now + TOLERANCE:
        raise MessageTooNewError(f"signed more than {TOLERANCE} in the future")
    try:
        payload = body.decode()
    except UnicodeDecodeError:
        raise WrongSignatureError("the body is not UTF-8, so nobody has signed it") from None
    for secret in secrets:
        expected = Webhook(secret).sign(message_id, at, payload).encode()
        if any(hmac.compare_digest(expected, each) for each in signatures):
            return message_id, at
    raise WrongSignatureError("no signature fits")


def _read(headers: Mapping[str, str]) -> tuple[str, datetime, list[bytes]]:
    lowered = {name.lower(): value for name, value in headers.items()}
    missing = [name for name in (ID, TIMESTAMP, SIGNATURE) if not lowered.get(name)]
    if missing:
        raise MissingHeaderError(f"no {missing[0]}")
    return lowered[ID], _time(lowered[TIMESTAMP]), list(_signatures(lowered[SIGNATURE]))


def _time(text: str) -> datetime:
    if not (text.isascii() and text.isdigit()):
        raise MissingHeaderError(f"{TIMESTAMP} is not a number of seconds")
    try:
        return datetime.fromtimestamp(int(text), UTC)
    except (ValueError, OverflowError, OSError):
        raise MissingHeaderError(f"{TIMESTAMP} is no time") from None


def _signatures(text: str) -> Iterator[bytes]:
    for each in text.split(" ")[:MAX_SIGNATURES]:
        if each.startswith("v1,"):
            yield each.encode(errors="replace")

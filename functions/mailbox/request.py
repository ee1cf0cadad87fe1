"""Parses a participant's request: hostile input until its signature is verified."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MAX_BODY: Final = 64 * 1024
MOST: Final = 25
"""Acknowledged and fetched by one request."""

type Response = dict[str, Any]

_OURS: Final = frozenset({"receiver", "max", "acknowledge", "id", "outcome", "reason"})


class Refused(Exception):  # noqa: N818 - an answer, not an error of ours
    """A request is not answered with 200; says nothing that was in it."""

    def __init__(
        self,
        status: int,
        why: str,
        more: Mapping[str, object] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer with a status, and say why.

        Args:
            status: of HTTP.
            why: from our fixed vocabulary, never the peer's text.
            more: what else the body says.
            headers: beside the usual ones.
        """
        super().__init__(why)
        self.response = response(status, {"error": why, **(more or {})}, headers)


class _Contract(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Acknowledgement(_Contract):
    """What a participant says of a notification."""

    id: Annotated[str, Field(min_length=1, max_length=128)]
    outcome: Literal["accepted", "rejected"]
    reason: Annotated[str, Field(pattern=r"\A[a-z0-9_-]{1,64}\z")] | None = None


class Request(_Contract):
    """The body of a request.

    Attributes:
        receiver: whose mailbox it is.
        max: how many notifications to give out.
        acknowledge: what was worked on.
    """

    receiver: UUID
    max: Annotated[int, Field(ge=1, le=MOST)] = 10
    acknowledge: Annotated[tuple[Acknowledgement, ...], Field(max_length=MOST)] = ()


@dataclass(frozen=True, slots=True)
class Signed:
    """A request with what its signature is made over."""

    request: Request
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> Self:
        """Read a request as a function URL hands it over (payload format 2.0).

        Raises:
            Refused: it is none by the contract.
        """
        if event.get("rawPath") != "/":
            raise Refused(404, "no such path")
        if event["requestContext"]["http"]["method"] != "POST":
            raise Refused(405, "POST only", headers={"Allow": "POST"})
        body = _body(event)
        if len(body) > MAX_BODY:
            raise Refused(413, f"at most {MAX_BODY} bytes")
        try:
            request = Request.model_validate_json(body)
        except ValidationError as error:
            raise Refused(400, "not a request by the contract", _problem(error)) from None
        return cls(request, event.get("headers", {}), body)


def _body(event: Mapping[str, Any]) -> bytes:
    body: str = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return body.encode(errors="surrogatepass")
    try:
        return base64.b64decode(body)
    except (binascii.Error, ValueError):
        raise Refused(400, "not base64") from None


def _problem(error: ValidationError) -> dict[str, str]:
    """Where and what is wrong, without quoting anything: a key that is not ours may be a secret."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    known = all(isinstance(part, int) or part in _OURS for part in first["loc"])
    field = ".".join(str(part) for part in first["loc"]) if known else "another key"
    return {"field": field or "body", "problem": first["type"]}


def response(
    status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Response:
    """An answer, as a function URL takes it."""
    return {
        "statusCode": status,
        "headers": {
            "content-type": "application/json",
            "cache-control": "no-store",
            **(headers or {}),
        },
        "body": json.dumps(body),
    }

"""Settings of DeliverNotification, from its environment."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated

from pydantic import BeforeValidator, Field

from fl_notifications.settings import FunctionSettings


def _networks(value: object) -> object:
    if not isinstance(value, str):
        return value
    # Not strict: 10.1.2.3/8 can only mean 10.0.0.0/8, and must not stop every delivery.
    return tuple(
        ip_network(part.strip(), strict=False) for part in value.split(",") if part.strip()
    )


class Settings(FunctionSettings):
    """Settings of the function.

    Attributes:
        mailbox_deadline_seconds: how long a notification of a round may wait in a mailbox.
        max_attempts: POSTs per notification.
        retry_backoff_seconds: the wait before attempt n+1 is n times this.
        request_timeout_seconds: bounds one attempt as a whole.
        allowed_private_networks: CIDRs that endpoints may lie in although they are not public.
        allow_plain_http: whether endpoints may be http.
        private_authorities: ARN of what holds the certificates of authorities that are trusted
            beside the public ones; may be empty.
    """

    trainings_table: str
    ledger_table: str
    waiting_table: str
    deliveries_queue_url: str
    deliveries_dlq_url: str
    outcomes_bus: str
    signing_secret_arn: str
    mailbox_deadline_seconds: Annotated[int, Field(ge=1, le=1209600)]
    max_attempts: Annotated[int, Field(ge=1, le=20)]
    retry_backoff_seconds: Annotated[float, Field(gt=0, le=900)]
    request_timeout_seconds: Annotated[float, Field(gt=0, le=20)]
    allowed_private_networks: Annotated[
        tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_networks)
    ]
    allow_plain_http: bool
    private_authorities: Annotated[str, Field(min_length=0)]

"""DeliverNotification: triggered by the queue of deliveries."""

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import boto3

from fl_notifications.aws.clients import CLIENT_CONFIG
from fl_notifications.deliveries.guard import EndpointGuard, own_services
from fl_notifications.deliveries.post import Poster, control_name
from fl_notifications.deliveries.posts import Posts
from fl_notifications.telemetry.journal import Journal
from fl_notifications.telemetry.logger import LambdaContext, entry_point, make_logger
from fl_notifications.telemetry.metrics import Tally
from fl_notifications.telemetry.tracing import Traces
from functions.deliver_notification.authorities import tls_context
from functions.deliver_notification.bootstrap import Clients, build
from functions.deliver_notification.settings import Settings

if TYPE_CHECKING:
    from fl_notifications.aws.batches import PartialItemFailureResponse

SERVICE = "deliver_notification"

settings = Settings.from_environment(os.environ)
logger = make_logger(SERVICE, settings.log_level)
traces = Traces(os.environ)
clients = Clients(
    dynamodb=boto3.client("dynamodb", config=CLIENT_CONFIG),
    sqs=boto3.client("sqs", config=CLIENT_CONFIG),
    events=boto3.client("events", config=CLIENT_CONFIG),
    secretsmanager=boto3.client("secretsmanager", config=CLIENT_CONFIG),
)
poster = Poster(
    EndpointGuard(
        allowed_private_networks=settings.allowed_private_networks,
        allow_plain_http=settings.allow_plain_http,
        own_services=own_services(os.environ),
    ),
    timeout_seconds=settings.request_timeout_seconds,
    tls=tls_context(settings.private_authorities),
    control=control_name(settings.deliveries_queue_url),
)
deliverer = build(
    settings,
    clients,
    Journal(logger, Tally(settings.stack_name), traces),
    partial(Posts, poster),
    trace_header=traces.header,
    traceparent=traces.traceparent,
)


@entry_point(logger)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> "PartialItemFailureResponse":
    """Deliver the messages of a batch; returns those that stay in the queue."""
    return deliverer.process(event, lambda: context.get_remaining_time_in_millis() / 1000)

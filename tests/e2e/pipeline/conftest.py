"""An FL server, and what outsiders see of the deployed stack."""

from collections.abc import Iterator

import pytest

from cli.participants import ParticipantServer
from cli.stack import Stack
from tests.e2e.pipeline.kit import FlServer, MasterSecret, Outcomes, QueueReader


@pytest.fixture(scope="session")
def fl_server(stack: Stack) -> Iterator[FlServer]:
    """An FL server that writes to the stack's trainings table."""
    with ParticipantServer() as server:
        yield FlServer(stack, server.add(name="whoever ordered it"))


@pytest.fixture(scope="session", autouse=True)
def outcomes(stack: Stack) -> Outcomes:
    """All outcomes, from before the first training on."""
    return Outcomes(stack)


@pytest.fixture(scope="module")
def success_unheard(stack: Stack) -> Iterator[None]:
    """Leave CallbackSuccess alone for a while: it only logs.

    The emulator starts a new worker for every event that comes while the others are busy, which
    takes seconds of the machine's time for each: too much for tests with hundreds of deliveries.
    """
    events, bus = stack.client("events"), stack.output("OutcomesBus")
    [rule] = [
        each["Name"]
        for each in events.list_rules(EventBusName=bus)["Rules"]
        if "training_notification_callback_success" in each.get("EventPattern", "")
    ]
    events.disable_rule(Name=rule, EventBusName=bus)
    yield
    events.enable_rule(Name=rule, EventBusName=bus)


@pytest.fixture(scope="session")
def deliveries_dlq(stack: Stack) -> QueueReader:
    """The dead letters of the deliveries."""
    return QueueReader(stack.client("sqs"), stack.output("DeliveriesDlqUrl"))


@pytest.fixture(scope="session")
def stream_dlq(stack: Stack) -> QueueReader:
    """The dead letters of the stream."""
    return QueueReader(stack.client("sqs"), stack.output("StreamDlqUrl"))


@pytest.fixture(scope="session")
def master_secret(stack: Stack) -> MasterSecret:
    """The stack's signing secret."""
    return MasterSecret(stack.client("secretsmanager"), stack.output("SigningSecretArn"))

"""An FL server, and what outsiders see of the deployed stack."""

from collections.abc import Iterator, Mapping

import pytest

from fl_notifications_cli.participants import ParticipantServer
from fl_notifications_cli.stack import Stack
from tests.e2e.pipeline.kit import (
    FlServer,
    MasterSecret,
    NobodyThere,
    Outcomes,
    QueueReader,
    Rule,
    listening,
)
from tests.e2e.pipeline.policy_cases import POLICY_CASES, PolicyTraining


@pytest.fixture(scope="session")
def fl_server(stack: Stack, outcomes: Outcomes) -> FlServer:
    """An FL server that writes to the stack's trainings table."""
    return FlServer(stack, NobodyThere(), outcomes)


@pytest.fixture(scope="session", autouse=True)
def outcomes(stack: Stack) -> Iterator[Outcomes]:
    """All outcomes, from before the first training on."""
    with listening(stack, {"source": ["fl.notifications"]}) as reader:
        yield Outcomes(reader)


@pytest.fixture(scope="session", autouse=True)
def success_rule(stack: Stack) -> Iterator[Rule]:
    """The rule of CallbackSuccess, disabled but where a test wants it: it only logs.

    The emulator starts a new worker for every event that comes while the others are busy, which
    takes seconds of the machine's time for each: too much for thousands of deliveries.
    """
    rule = Rule.with_callback(stack, "training_notification_callback_success")
    rule.disable()
    yield rule
    rule.enable()


@pytest.fixture(scope="session")
def policy_trainings(
    fl_server: FlServer, long_lived: ParticipantServer
) -> Mapping[str, PolicyTraining]:
    """The trainings of the failure policy's tests; they take a while, so they begin early."""
    return {name: case.begin(name, fl_server, long_lived) for name, case in POLICY_CASES.items()}


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

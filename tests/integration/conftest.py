"""A simulated AWS with the template's resources, and the functions on it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime

import boto3
import pytest
from hypothesis import settings
from moto import mock_aws

from fl_notifications.aws.batches import until_done
from fl_notifications.server.repository import TrainingRepository
from tests.cloudformation import REGION, overrides
from tests.integration.callbacks import Failure
from tests.integration.faults import undo_all
from tests.integration.handlers import Function, started
from tests.integration.stack import Stack
from tests.made import StoppedClock

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

type Start = Callable[..., Function]


@dataclass
class Account:
    """A simulated AWS: a stack, and the functions that have started on it.

    Making a stack and starting functions takes longer than most tests: they are used again, unless
    a test has lost a part of the stack.
    """

    stack: Stack = field(init=False)
    _functions: dict[str, Function] = field(default_factory=dict)
    _running: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self._open()

    def _open(self) -> None:
        self._running.enter_context(mock_aws())
        boto3.setup_default_session()
        self.stack = Stack(overrides("local"))

    def function(self, name: str) -> Function:
        """A function that has started."""
        if name not in self._functions:
            self._functions[name] = self._running.enter_context(started(self.stack, name))
        return self._functions[name]

    def clean(self) -> None:
        """Make everything as it was at first."""
        undo_all()
        for function in self._functions.values():
            function.forget()
        if self.stack.has_lost_something:
            self.close()
            self._open()
        else:
            self.stack.empty()

    def close(self) -> None:
        """Stop the functions, and forget everything."""
        self._running.close()
        self._functions.clear()


@pytest.fixture(scope="package")
def _account() -> Iterator[Account]:
    """A simulated AWS that needs no network; nothing of this machine's is found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_CONFIG_FILE", "/dev/null")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        # Repeating what a batch has left undone waits; here nobody has to.
        patch.setitem(until_done.__kwdefaults__ or {}, "sleep", lambda _seconds: None)
        account = Account()
        yield account
        account.close()


@pytest.fixture
def account(_account: Account) -> Iterator[Account]:
    yield _account
    _account.clean()


@pytest.fixture
def stack(account: Account) -> Stack:
    """The resources of the template, with the parameters of samconfig's `local`; all empty."""
    return account.stack


@pytest.fixture
def start(stack: Stack) -> Iterator[Start]:
    """Starts functions anew; they end with the test."""
    with ExitStack() as running:
        yield lambda name, **environment: running.enter_context(started(stack, name, **environment))


@pytest.fixture
def build(account: Account) -> Function:
    return account.function("BuildNotifications")


@pytest.fixture
def deliver(account: Account) -> Function:
    return account.function("DeliverNotification")


@pytest.fixture
def failure(stack: Stack, account: Account) -> Failure:
    return Failure(stack, account.function("CallbackFailure"))


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def server(stack: Stack, clock: StoppedClock) -> TrainingRepository:
    """What an FL server writes with; every write is a second after the one before."""

    class Ticking(StoppedClock):
        def now(self) -> datetime:
            clock.go_on(1)
            return clock.now()

    return TrainingRepository(stack.dynamodb, stack.trainings_table, clock=Ticking())

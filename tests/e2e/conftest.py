"""A stack of the tests' own, deployed by the real SAM CLI, and receivers that it can reach."""

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from fl_notifications_cli.local.stack import LocalStack
from fl_notifications_cli.participants import ParticipantServer
from fl_notifications_cli.progress import Steps
from fl_notifications_cli.stack import Stack

_HERE = Path(__file__).parent
_STACK = pytest.StashKey[Stack]()
_SHOWN_LINES = 60


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.e2e)
            # The first one waits for the stack.
            item.add_marker(pytest.mark.timeout(400))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failed test what the functions logged last."""
    report = yield
    if report.failed and item.path.is_relative_to(_HERE) and _STACK in item.session.stash:
        report.sections.append(("the stack's log", _last_lines(item.session.stash[_STACK])))
    return report


def _last_lines(stack: Stack) -> str:
    group = stack.output("LogGroup")
    lines: list[str] = []
    for page in (
        stack.client("logs").get_paginator("filter_log_events").paginate(logGroupName=group)
    ):
        lines += [event["message"].rstrip() for event in page["events"]]
    return "\n".join(line for line in lines[-_SHOWN_LINES:] if '"_aws"' not in line)


@pytest.fixture(scope="session")
def local_stack(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[LocalStack]:
    """The running stack with its processes. It ends with the test run, however that ends."""
    local = LocalStack(tmp_path_factory.mktemp("stack"), Steps(None))
    request.session.stash[_STACK] = local.start(usual_port=None)
    yield local
    local.stop()


@pytest.fixture(scope="session")
def stack(
    local_stack: LocalStack,  # started by it
    request: pytest.FixtureRequest,
) -> Stack:
    """The running stack: its outputs, and clients for it."""
    return request.session.stash[_STACK]


@pytest.fixture
def participants() -> Iterator[ParticipantServer]:
    """A server that takes participants, for one test."""
    with ParticipantServer() as server:
        yield server

"""A stack of the tests' own, deployed by the real SAM CLI, and receivers that it can reach.

With `E2E_STACK` a stack that is there already, on AWS or wherever boto3's own settings lead; with
`E2E_RECEIVERS` participants at that address, which has to forward requests to `E2E_PORT` here.
What cannot run there is skipped, each with its reason: see `_why_not`.
"""

import os
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from fl_notifications_cli.local.stack import LocalStack
from fl_notifications_cli.participants import ParticipantServer
from fl_notifications_cli.progress import Steps
from fl_notifications_cli.stack import Stack, find_stack

_HERE = Path(__file__).parent
_STACK = pytest.StashKey[Stack]()
_SHOWN_LINES = 60
_NAME = os.environ.get("E2E_STACK")
_RECEIVERS = os.environ.get("E2E_RECEIVERS", "")
_PORT = int(os.environ.get("E2E_PORT") or 8080)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.e2e)
            # The first one waits for the stack.
            item.add_marker(pytest.mark.timeout(400))
            if _NAME and (reason := _why_not(item)):
                item.add_marker(pytest.mark.skip(reason))


def _why_not(item: pytest.Item) -> str | None:
    """Why a test cannot run against a stack that it has not started itself; None if it can."""
    if (marker := item.get_closest_marker("local")) is not None:
        reason: str = marker.args[0]
        return reason
    fixtures = set(getattr(item, "fixturenames", ()))
    if "local_stack" in fixtures:
        return "it kills functions' processes, which only the local stack has here"
    if not _RECEIVERS and fixtures & {"participants", "long_lived"}:
        return "participants need an address that the stack can reach: RECEIVERS=https://…"
    if _RECEIVERS.startswith("https:") and item.get_closest_marker("lost_connection"):
        return "a participant closes its connection, and who forwards https answers 502 for it"
    return None


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
def stack(request: pytest.FixtureRequest) -> Stack:
    """The running stack: its outputs, and clients for it."""
    if _NAME:
        request.session.stash[_STACK] = find_stack(_NAME)
    else:
        request.getfixturevalue("local_stack")
    return request.session.stash[_STACK]


@pytest.fixture(scope="session")
def public_server() -> Iterator[ParticipantServer | None]:
    """The one server behind the public address, if there is one."""
    if not _RECEIVERS:
        yield None
        return
    with ParticipantServer(_PORT, public_url=_RECEIVERS.rstrip("/")) as server:
        yield server


@pytest.fixture(scope="session")
def long_lived(public_server: ParticipantServer | None) -> Iterator[ParticipantServer]:
    """A server that takes participants, for all tests."""
    with nullcontext(public_server) if public_server else ParticipantServer() as server:
        yield server


@pytest.fixture
def participants(public_server: ParticipantServer | None) -> Iterator[ParticipantServer]:
    """A server that takes participants, for one test."""
    with nullcontext(public_server) if public_server else ParticipantServer() as server:
        yield server

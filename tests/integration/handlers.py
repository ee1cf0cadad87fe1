"""Functions as Lambda runs them: imported once with their environment, then invoked."""

import importlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import StringIO
from types import ModuleType
from typing import Any, Protocol

import pytest

from fl_notifications.deliveries.post import Answer
from fl_notifications.deliveries.posts import Ended
from functions.deliver_notification.deliverer import Deliverer
from tests.cloudformation import functions
from tests.integration.stack import Stack
from tests.log_lines import parse_lines


@dataclass(frozen=True)
class Context:
    """What a handler is told of its invocation; there is always as much time left as is said."""

    remaining_seconds: float
    aws_request_id: str = "4d7e5e5a-0c1d-4c8e-9a55-2f8d8e0b9f11"

    def get_remaining_time_in_millis(self) -> int:
        return int(self.remaining_seconds * 1000)


@dataclass
class Function:
    """A function that has started.

    Attributes:
        app: its module.
        lines: what it has logged since it was last asked.
    """

    name: str
    app: ModuleType
    _stream: StringIO

    def __call__(self, event: Mapping[str, Any], *, remaining_seconds: float | None = None) -> Any:
        """Invoke it; the event and the result go through JSON, as with Lambda."""
        timeout = functions()[self.name]["Timeout"]
        context = Context(timeout if remaining_seconds is None else remaining_seconds)
        result = self.app.lambda_handler(json.loads(json.dumps(event)), context)
        return json.loads(json.dumps(result))

    @property
    def text(self) -> str:
        """All that it has logged."""
        return self._stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """All that it has logged, parsed."""
        return parse_lines(self.text)

    def forget(self) -> None:
        """Forget what it has logged."""
        self._stream.seek(0)
        self._stream.truncate()


@contextmanager
def started(stack: Stack, name: str, **environment: str) -> Iterator[Function]:
    """Start a function with the environment that the template gives it.

    Args:
        stack: where its resources are.
        name: its logical id.
        environment: variables that are to be other than the template says.
    """
    module_name, _ = functions()[name]["Handler"].rsplit(".", 1)
    sys.modules.pop(module_name, None)
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in (stack.environment(name) | environment).items():
            patch.setenv(variable, value)
        app = importlib.import_module(module_name)
    stream = app.logger.stream = StringIO()
    try:
        yield Function(name, app, stream)
    finally:
        sys.modules.pop(module_name, None)
        for executor in _executors(app):
            executor.shutdown()


class Poster(Protocol):
    """Makes one POST."""

    def post(self, url: str, headers: Mapping[str, str], body: bytes, *, turn: int = 0) -> Answer:
        """POST, and return the answer."""
        ...


class PostsInThreads:
    """Makes POSTs side by side, each with a poster that may block."""

    def __init__(self, poster: Poster) -> None:
        """Use a poster for them."""
        self._poster = poster
        self._executor = ThreadPoolExecutor()
        self._under_way: list[Future[Ended]] = []
        self._started = 0

    def start(self, url: str, headers: Mapping[str, str], body: bytes, *, turn: int = 0) -> int:
        """Start a POST."""
        self._started += 1
        number = self._started

        def post() -> Ended:
            answer: Answer | Exception
            try:
                answer = self._poster.post(url, headers, body, turn=turn)
            except Exception as error:  # noqa: BLE001 - as the real ones do
                answer = error
            return Ended(number, answer, 0.01)

        self._under_way.append(self._executor.submit(post))
        return number

    def wait(self, seconds: float, *, linger: float = 0.0) -> Sequence[Ended]:
        """Wait for one, and a little for the others."""
        wait(self._under_way, seconds, FIRST_COMPLETED)
        wait(self._under_way, linger)
        ended = [each for each in self._under_way if each.done()]
        self._under_way = [each for each in self._under_way if each not in ended]
        return [each.result() for each in ended]

    def close(self) -> None:
        """Wait for the rest."""
        self._executor.shutdown()


def with_poster(deliver: Function, poster: Poster) -> Deliverer:
    """The logic of DeliverNotification, with another way to make POSTs."""
    deliverer: Deliverer = deliver.app.deliverer
    return replace(deliverer, new_posts=lambda: PostsInThreads(poster))


def _executors(app: ModuleType) -> Iterator[ThreadPoolExecutor]:
    """The threads of a function; Lambda just freezes them."""
    if hasattr(app, "executor"):
        yield app.executor

"""The log of a function: JSON lines, with exceptions reduced to what is safe to log."""

import functools
import gc
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import PurePath
from traceback import extract_tb
from types import TracebackType
from typing import Any, Final, Protocol, TextIO

from botocore.exceptions import ClientError
from pydantic_core import to_json

from fl_notifications.telemetry.tracing import trace_id
from fl_notifications.text import printable

MAX_FRAMES: Final = 12
MAX_TEXT: Final = 500


class LambdaContext(Protocol):
    """The parts of Lambda's context object that are used."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int:
        """Time left until the function is stopped."""


type Handler[T] = Callable[[dict[str, Any], LambdaContext], T]

_OURS: Final = ("functions.", "fl_notifications.")


class FunctionFailedError(Exception):
    """A function failed. Its text is safe to log, as Lambda logs it verbatim."""


class Logger:
    """Writes JSON lines to standard output, where Lambda takes them verbatim.

    Args:
        service: the function's name in snake case.
        level: the lowest level that is written, of `logging`.
        stream: where to, if not to standard output.
    """

    def __init__(self, service: str, level: int, stream: TextIO | None = None) -> None:
        self.stream = stream
        self._level = level
        self._always: dict[str, Any] = {"service": service}
        self._bulk: list[str] | None = None
        self._beginnings: dict[tuple[int, str], str] = {}
        self._began_at = 0.0

    def invoked(self, context: LambdaContext, *, cold_start: bool) -> None:
        """Add the invocation's id to every line from now on."""
        self._always["function_request_id"] = context.aws_request_id
        self._always.pop("cold_start", None)
        if cold_start:
            self._always["cold_start"] = True

    def debug(self, message: str, *, extra: Mapping[str, object] | None = None) -> None:
        """Write a line for debugging."""
        self._log(logging.DEBUG, message, extra)

    def info(self, message: str, *, extra: Mapping[str, object] | None = None) -> None:
        """Write a line."""
        self._log(logging.INFO, message, extra)

    def warning(self, message: str, *, extra: Mapping[str, object] | None = None) -> None:
        """Write a warning."""
        self._log(logging.WARNING, message, extra)

    def error(
        self,
        message: str,
        *,
        exc_info: BaseException | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        """Write an error; of an exception only what `explain` returns."""
        told = dict(extra or {})
        if exc_info is not None:
            told |= {"error": explain(exc_info), "error_at": list(frames(exc_info.__traceback__))}
        self._log(logging.ERROR, message, told)

    def step(self, level: int, step: str, values: Mapping[str, str | float | None]) -> None:
        """Write a line with a `step` and no `message`; values that are None are left out."""
        if level < self._level:
            return
        told = to_json({k: v for k, v in values.items() if v is not None}).decode()
        if self._bulk is None:
            self._write(f"{self._begin(level, step)},{told[1:]}\n")
            return
        beginning = self._beginnings.get((level, step))
        if beginning is None:
            beginning = self._beginnings[level, step] = self._begin(level, step)
        self._bulk.append(f"{beginning},{told[1:]}\n")

    @contextmanager
    def in_bulk(self) -> Iterator[None]:
        """Write the steps of the block in one go when it ends, as of the time when it began.

        Each separate write yields to other threads, which costs as much as the line. For steps of
        one thread only.
        """
        self._bulk, self._beginnings, self._began_at = [], {}, time.time()
        try:
            yield
        finally:
            lines, self._bulk = self._bulk, None
            if lines:
                self._write("".join(lines))

    def _log(self, level: int, message: str, extra: Mapping[str, object] | None) -> None:
        if level < self._level:
            return
        line = self._line(level, {"message": message}, time.time())
        line |= {k: v for k, v in (extra or {}).items() if v is not None}
        self._write(json.dumps(line, ensure_ascii=False, separators=(",", ":"), default=str) + "\n")

    def _begin(self, level: int, step: str) -> str:
        """The beginning of a JSON line, not closed yet."""
        at = time.time() if self._bulk is None else self._began_at
        return to_json(self._line(level, {"step": step}, at)).decode()[:-1]

    def _line(self, level: int, told: Mapping[str, str], at: float) -> dict[str, Any]:
        """The keys of every line. Few, as every byte of a log is paid for."""
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds"),
            "level": logging.getLevelName(level),
            **told,
            **self._always,
        }
        if (trace := trace_id(os.environ)) is not None:
            line["xray_trace_id"] = trace
        return line

    def _write(self, text: str) -> None:
        stream = self.stream or sys.stdout
        stream.write(text)
        stream.flush()


def explain(error: BaseException) -> str:
    """Describe an error without the values that it may quote.

    Other people's exceptions quote their input: pydantic's and botocore's do, and ours may be a
    payload, an endpoint or a secret. So of those only the type is told; of AWS's answers also the
    code and the call; and of our own, whose words are ours, all.
    """
    told = [_explain_one(error)]
    if error.__cause__ is not None:
        told.append(f"caused by {_explain_one(error.__cause__)}")
    return ", ".join(told)


def _explain_one(error: BaseException) -> str:
    name = type(error).__name__
    if isinstance(error, ClientError):
        code = error.response.get("Error", {}).get("Code", "?")
        return printable(f"{name}: {code} in {error.operation_name}", MAX_TEXT)
    if type(error).__module__.startswith(_OURS):
        return printable(f"{name}: {error}", MAX_TEXT)
    return name


def frames(traceback: TracebackType | None) -> Iterator[str]:
    """Where an error came from, the innermost place last: file, line and function."""
    for frame in extract_tb(traceback)[-MAX_FRAMES:]:
        yield f"{'/'.join(PurePath(frame.filename).parts[-3:])}:{frame.lineno} {frame.name}"


def make_logger(service: str, level: str = "INFO") -> Logger:
    """The log of a function.

    Args:
        service: the function's name in snake case.
        level: DEBUG, INFO, WARN or ERROR. It is ours: Lambda's own is never above INFO, or it would
            drop metrics.
    """
    # Lambda gives its level to all loggers, and at DEBUG botocore logs whole requests and answers.
    root = logging.getLogger()
    root.setLevel(max(root.level, logging.WARNING))
    return Logger(service, logging.getLevelNamesMapping()[level])


def entry_point[T](logger: Logger) -> Callable[[Handler[T]], Handler[T]]:
    """Decorate a handler: its lines name the invocation, and its failures quote nothing.

    Lambda logs the message of what a handler raises. So the original is logged here, safely, and
    Lambda gets an error with that same text.
    """

    def decorate(handle: Handler[T]) -> Handler[T]:
        cold_start = True

        @functools.wraps(handle)
        def run(event: dict[str, Any], context: LambdaContext) -> T:
            nonlocal cold_start
            logger.invoked(context, cold_start=cold_start)
            cold_start = False
            try:
                return handle(event, context)
            except Exception as error:
                logger.error("the function failed", exc_info=error)  # noqa: TRY400 - the same
                raise FunctionFailedError(explain(error)) from None

        # Excludes imported objects (botocore's models above all) from garbage collection: a full
        # collection takes 70 ms, once per some thousand notifications.
        gc.freeze()
        return run

    return decorate

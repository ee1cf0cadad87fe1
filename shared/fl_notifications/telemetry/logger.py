"""The logger, configured in one way for all functions, and what it may say of an exception."""

import functools
import gc
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import PurePath
from traceback import extract_tb
from types import TracebackType
from typing import Any, Final, TextIO, cast

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError
from pydantic_core import to_json

from fl_notifications.telemetry.tracing import trace_id
from fl_notifications.text import printable

MAX_FRAMES: Final = 12
MAX_TEXT: Final = 500

type Handler[T] = Callable[[dict[str, Any], LambdaContext], T]

_OURS: Final = ("functions.", "fl_notifications.")

# What logging keeps of a line for its own purposes, and what is in no line of ours: it says nothing
# that the others don't, and every byte of a log is paid for.
_UNUSED: Final = frozenset(
    {
        *logging.makeLogRecord({}).__dict__,
        *("asctime", "level", "location", "message", "timestamp"),
        *("function_arn", "function_memory_size", "function_name", "sampling_rate"),
    }
)
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode


class FunctionFailedError(Exception):
    """A function failed; says no more than a log may hold, as Lambda logs it as it is."""


class LineFormatter(LambdaPowertoolsFormatter):
    """One JSON object a line, with no more of an exception than `explain` says.

    Powertools' own formatter takes about twice the time, which counts where a change has 100,000
    receivers and each of them five lines; and it prints what an exception says, which may be
    anything.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        said = {"message": record.getMessage()}
        line = self.beginning(record.created, record.levelname, said)
        line |= {k: v for k, v in record.__dict__.items() if v is not None and k not in _UNUSED}
        if record.exc_info and (error := record.exc_info[1]) is not None:
            line["error"] = explain(error)
            line["error_at"] = list(frames(error.__traceback__))
        return _encode(line)

    def beginning(self, at: float, level: str, said: Mapping[str, str]) -> dict[str, Any]:
        """What every line says, whatever else is in it: every byte of a log is paid for."""
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds"),
            "level": level,
            **said,
        }
        line |= {k: v for k, v in self.log_format.items() if v and k not in _UNUSED}
        if (trace := trace_id(os.environ)) is not None:
            line["xray_trace_id"] = trace
        return line


class StepLogger(Logger):
    """Powertools' logger, with a short way to the same output for lines that there are many of."""

    _held: list[str] | None = None
    _beginnings: dict[tuple[int, str], str]

    @contextmanager
    def in_bulk(self) -> Iterator[None]:
        """Write the steps of the block at once when it ends, as of the moment of its first ones.

        Each write of its own lets all other threads run before this one goes on, which took as long
        again as the line itself. Steps are logged from one thread only.
        """
        self._held, self._beginnings = [], {}
        try:
            yield
        finally:
            lines, self._held = self._held, None
            if lines:
                self._write("".join(lines))

    def step(self, level: int, step: str, values: Mapping[str, str | float | None]) -> None:
        """Write a line as the logger does, with a `step` and no `message`, in a tenth of the time.

        Logging makes a record of each line, finds out who wrote it and from which thread, and asks
        filters. With five lines for each notification, that took more time than all the rest.

        Args:
            level: of `logging`.
            step: what has happened.
            values: what else there is to say, not nothing; those that are None are left out.
        """
        if not self._logger.isEnabledFor(level):
            return
        told = to_json({k: v for k, v in values.items() if v is not None}).decode()
        if self._held is None:
            self._write(f"{self._beginning(level, step)},{told[1:]}\n")
            return
        beginning = self._beginnings.get((level, step))
        if beginning is None:
            beginning = self._beginnings[level, step] = self._beginning(level, step)
        self._held.append(f"{beginning},{told[1:]}\n")

    def _beginning(self, level: int, step: str) -> str:
        """A line that is not closed yet."""
        formatter = cast("LineFormatter", self._stream_handler.formatter)  # by make_logger
        name = logging.getLevelName(level)
        line = formatter.beginning(time.time(), name, {"step": step})
        return to_json(line).decode()[:-1]

    @property
    def _stream_handler(self) -> "logging.StreamHandler[TextIO]":
        return cast("logging.StreamHandler[TextIO]", self.registered_handler)

    def _write(self, text: str) -> None:
        self._stream_handler.stream.write(text)
        self._stream_handler.flush()


def explain(error: BaseException) -> str:
    """What an error is, without the values that it may quote.

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


def make_logger(service: str, level: str = "INFO") -> StepLogger:
    """A JSON logger.

    Args:
        service: the function's name in snake case.
        level: DEBUG, INFO, WARN or ERROR.
    """
    logger = StepLogger(service=service, logger_formatter=LineFormatter(utc=True, use_rfc3339=True))
    # Powertools takes Lambda's level, which is never above INFO, for the metrics' sake.
    logging.getLogger(service).setLevel(level)
    # Lambda gives its level to all loggers, and at DEBUG botocore logs whole requests and answers.
    root = logging.getLogger()
    root.setLevel(max(root.level, logging.WARNING))
    return logger


def entry_point[T](logger: Logger) -> Callable[[Handler[T]], Handler[T]]:
    """Decorate a handler: its lines name the invocation, and its failures quote nothing.

    Lambda itself logs what a handler raises, with its message. So that is logged here, and what
    goes on to Lambda says no more than that.
    """

    def decorate(handle: Handler[T]) -> Handler[T]:
        @functools.wraps(handle)
        def run(event: dict[str, Any], context: LambdaContext) -> T:
            try:
                return handle(event, context)
            except Exception as error:
                logger.error("the function failed", exc_info=error)  # noqa: TRY400 - the same
                raise FunctionFailedError(explain(error)) from None

        decorated: Handler[T] = logger.inject_lambda_context(run)
        # What the import has made, botocore's models above all, lives as long as the environment:
        # the collector need not go through it (70 ms) once for some thousand notifications.
        gc.freeze()
        return decorated

    return decorate


__all__ = [
    "FunctionFailedError",
    "LineFormatter",
    "Logger",
    "StepLogger",
    "entry_point",
    "explain",
    "frames",
    "make_logger",
]

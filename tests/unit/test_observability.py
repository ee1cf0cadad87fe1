"""What the logger writes, and what it does not say of an exception."""

import json
import logging
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ParamValidationError
from pydantic import BaseModel, ValidationError

from fl_notifications.deliveries.queue import NotEnqueuedError
from fl_notifications.telemetry.logger import (
    FunctionFailedError,
    entry_point,
    explain,
    make_logger,
)
from fl_notifications.trainings.items import UnreadableItemError

SERVICE = "test_observability"
SECRET = "hunter2"
CONTEXT: Any = SimpleNamespace(
    function_name="f",
    memory_limit_in_mb=512,
    invoked_function_arn="arn:aws:lambda:eu-central-1:123456789012:function:f",
    aws_request_id="request-1",
)


class Output:
    """A logger, and what it has written."""

    def __init__(self, level: str) -> None:
        self.logger = make_logger(SERVICE, level)
        self._stream = self.logger.stream = StringIO()

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def output() -> Output:
    return Output("INFO")


class _Model(BaseModel):
    number: int


def quoting_errors() -> list[Exception]:
    """Errors of others' that quote what they were given."""
    errors: list[Exception] = [
        ParamValidationError(report=f"Invalid type for parameter MessageBody, value: {SECRET}"),
        EndpointConnectionError(endpoint_url=f"https://receiver.example/?token={SECRET}"),
        ClientError(
            {"Error": {"Code": "ValidationException", "Message": f"bad value {SECRET}"}},
            "UpdateItem",
        ),
        ValueError(f"not a number: {SECRET}"),
        KeyError(SECRET),
    ]
    try:
        _Model.model_validate({"number": SECRET})
    except ValidationError as error:
        errors.append(error)
    return errors


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except type(error) as caught:
        return caught


@pytest.mark.parametrize("error", quoting_errors(), ids=lambda error: type(error).__name__)
def test_no_value_that_an_error_quotes_is_logged(output: Output, error: Exception) -> None:
    error.add_note(SECRET)
    output.logger.error("trouble", exc_info=raised(error))
    output.logger.error("trouble", exc_info=raised(RuntimeError("?"), error))
    assert SECRET not in output.text
    assert type(error).__name__ in output.text


def test_of_an_answer_of_aws_the_code_and_the_call_are_told() -> None:
    error = ClientError({"Error": {"Code": "AccessDeniedException"}}, "PutEvents")
    assert explain(error) == "ClientError: AccessDeniedException in PutEvents"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (NotEnqueuedError("the queue refused 3"), "NotEnqueuedError: the queue refused 3"),
        (
            UnreadableItemError("item X", "actor", "must be a UUID"),
            "UnreadableItemError: item X: field actor: must be a UUID",
        ),
    ],
)
def test_our_own_errors_are_told_with_their_words(error: Exception, told: str) -> None:
    assert explain(error) == told


def test_the_cause_is_told_too() -> None:
    error = raised(NotEnqueuedError("?"), ConnectionError(SECRET))
    assert explain(error) == "NotEnqueuedError: ?, caused by ConnectionError"


def test_an_error_says_where_it_came_from(output: Output) -> None:
    output.logger.error("trouble", exc_info=raised(ValueError()))
    (line,) = output.lines()
    assert line["error_at"][-1].startswith("tests/unit/test_observability.py:")
    assert line["error_at"][-1].endswith(" raised")


def test_a_line_says_when_who_and_in_which_invocation(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-2-3;Parent=4;Sampled=1")

    @entry_point(output.logger)
    def handler(event: dict[str, Any], context: Any) -> str:
        output.logger.info("hello", extra={"count": 1, "nothing": None})
        return str(event["answer"])

    assert handler({"answer": "yes"}, CONTEXT) == "yes"
    (line,) = output.lines()
    assert line | {"timestamp": "", "cold_start": False} == {
        "timestamp": "",
        "level": "INFO",
        "message": "hello",
        "service": SERVICE,
        "cold_start": False,
        "function_request_id": "request-1",
        "count": 1,
        "xray_trace_id": "1-2-3",
    }


@pytest.mark.parametrize("error", quoting_errors(), ids=lambda error: type(error).__name__)
def test_what_lambda_is_told_of_a_failure_quotes_nothing(output: Output, error: Exception) -> None:
    """Lambda logs what a handler raises, with its message."""

    @entry_point(output.logger)
    def handler(event: dict[str, Any], context: Any) -> None:
        raise error

    with pytest.raises(FunctionFailedError) as caught:
        handler({}, CONTEXT)
    assert type(error).__name__ in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__
    (line,) = output.lines()
    assert (line["level"], line["message"]) == ("ERROR", "the function failed")
    assert line["error"] == str(caught.value)


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("DEBUG", ["debug", "info", "warning", "error"]),
        ("INFO", ["info", "warning", "error"]),
        ("WARN", ["warning", "error"]),
        ("ERROR", ["error"]),
    ],
)
def test_the_level_is_the_parameter_s(
    monkeypatch: pytest.MonkeyPatch,
    level: str,
    written: list[str],
) -> None:
    """Lambda's own level is INFO, even if less is asked for: below that, metrics are dropped."""
    monkeypatch.setenv("AWS_LAMBDA_LOG_LEVEL", "DEBUG" if level == "DEBUG" else "INFO")
    output = Output(level)
    for each in ("debug", "info", "warning", "error"):
        getattr(output.logger, each)(each)
    assert [line["message"] for line in output.lines()] == written


def test_libraries_log_no_details_even_if_lambda_sets_all_loggers_to_debug() -> None:
    """At DEBUG, botocore logs requests and answers: message bodies, and the signing secret."""
    root = logging.getLogger()
    before = root.level
    try:
        root.setLevel(logging.DEBUG)
        Output("DEBUG")
        assert not logging.getLogger("botocore.endpoint").isEnabledFor(logging.INFO)
        assert logging.getLogger("botocore.endpoint").isEnabledFor(logging.WARNING)
    finally:
        root.setLevel(before)

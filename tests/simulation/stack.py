"""What template.yaml says about triggers, timeouts, queues and rules: the simulation runs that."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.simulation.lambdas import StreamSettings

TEMPLATE = Path(__file__).parents[2] / "template.yaml"


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms, `!Ref X` as {"Ref": "X"}."""


def _short_form(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        raise TypeError(f"unexpected {node.tag}")
    return {suffix: value}


_Loader.add_multi_constructor("!", _short_form)


@dataclass(frozen=True)
class Stack:
    """The settings that matter to a run."""

    max_attempts: int
    retry_backoff_seconds: float
    request_timeout_seconds: float
    timeouts: dict[str, float]
    stream: StreamSettings
    visibility_timeout: float
    retention: float
    dead_letter_retention: float
    max_receive_count: int
    delivery_batch_size: int
    delivery_max_concurrency: int
    callback_retries: int
    callbacks_visibility_timeout: float
    callbacks_max_receive_count: int
    callbacks_max_concurrency: int
    patterns: dict[str, dict[str, Any]]


def _limit(value: int | None) -> int | None:
    """A limit of an event source mapping: -1, as without one, is none."""
    return None if value in {None, -1} else value


@cache
def read_stack() -> Stack:
    """The template, with the defaults of its parameters."""
    template = yaml.load(TEMPLATE.read_text(), _Loader)  # noqa: S506 - a safe loader, extended
    parameters = template["Parameters"]
    resources = template["Resources"]

    def resolved(value: Any) -> Any:
        if isinstance(value, dict) and set(value) == {"Ref"} and value["Ref"] in parameters:
            return parameters[value["Ref"]]["Default"]
        return value

    def properties(name: str) -> dict[str, Any]:
        found: dict[str, Any] = resources[name]["Properties"]
        return found

    def trigger(name: str, kind: str) -> dict[str, Any]:
        found: dict[str, Any]
        (found,) = [
            event["Properties"]
            for event in properties(name).get("Events", {}).values()
            if event["Type"] == kind
        ]
        return found

    stream = trigger("BuildNotifications", "DynamoDB")
    queue = trigger("DeliverNotification", "SQS")
    deliveries = properties("Deliveries")
    callbacks = properties("Callbacks")
    callback = trigger("CallbackFailure", "SQS")
    return Stack(
        max_attempts=int(parameters["MaxAttempts"]["Default"]),
        retry_backoff_seconds=float(parameters["RetryBackoffSeconds"]["Default"]),
        request_timeout_seconds=float(parameters["RequestTimeoutSeconds"]["Default"]),
        timeouts={
            name: float(resolved(properties(name)["Timeout"]))
            for name in (
                "BuildNotifications",
                "FanOut",
                "DeliverNotification",
                "CallbackSuccess",
                "CallbackFailure",
            )
        },
        stream=StreamSettings(
            batch_size=stream["BatchSize"],
            parallelization_factor=stream.get("ParallelizationFactor", 1),
            bisects=stream.get("BisectBatchOnFunctionError", False),
            reports_failures="ReportBatchItemFailures" in stream.get("FunctionResponseTypes", []),
            max_retries=_limit(stream.get("MaximumRetryAttempts")),
            max_record_age=_limit(stream.get("MaximumRecordAgeInSeconds")),
            filters=tuple(
                json.loads(each["Pattern"])
                for each in stream.get("FilterCriteria", {}).get("Filters", ())
            ),
        ),
        visibility_timeout=float(resolved(deliveries["VisibilityTimeout"])),
        retention=float(deliveries["MessageRetentionPeriod"]),
        dead_letter_retention=float(properties("DeliveriesDlq")["MessageRetentionPeriod"]),
        max_receive_count=deliveries["RedrivePolicy"]["maxReceiveCount"],
        delivery_batch_size=queue["BatchSize"],
        delivery_max_concurrency=int(resolved(queue["ScalingConfig"]["MaximumConcurrency"])),
        callback_retries=properties("CallbackSuccess")["EventInvokeConfig"]["MaximumRetryAttempts"],
        callbacks_visibility_timeout=float(callbacks["VisibilityTimeout"]),
        callbacks_max_receive_count=callbacks["RedrivePolicy"]["maxReceiveCount"],
        callbacks_max_concurrency=callback["ScalingConfig"]["MaximumConcurrency"],
        patterns={
            "CallbackSuccess": trigger("CallbackSuccess", "EventBridgeRule")["Pattern"],
            "CallbackFailure": properties("CallbackFailureRule")["EventPattern"],
        },
    )

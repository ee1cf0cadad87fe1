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
class QueueSettings:
    """A queue, and the mapping of it to a function."""

    visibility_timeout: float
    retention: float
    max_receive_count: int
    batch_size: int
    max_concurrency: int


@dataclass(frozen=True)
class Stack:
    """The settings that matter to a run.

    Attributes:
        queues: by the queue's logical id.
        patterns: of the rules, by the logical id of the function or the queue that they lead to.
    """

    max_attempts: int
    retry_backoff_seconds: float
    request_timeout_seconds: float
    visibility_timeout: float
    timeouts: dict[str, float]
    stream: StreamSettings
    queues: dict[str, QueueSettings]
    callback_retries: int
    patterns: dict[str, dict[str, Any]]


def _limit(value: int | None) -> int | None:
    """A limit of an event source mapping: -1, as without one, is none."""
    return None if value in {None, -1} else value


class _Template:
    """The template, with the defaults of its parameters."""

    def __init__(self) -> None:
        template = yaml.load(TEMPLATE.read_text(), _Loader)  # noqa: S506 - a safe loader, extended
        self.parameters = template["Parameters"]
        self.resources = template["Resources"]

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        return {
            name: resource.get("Properties", {})
            for name, resource in self.resources.items()
            if resource["Type"] == kind
        }

    def resolved(self, value: Any) -> Any:
        if isinstance(value, dict) and set(value) == {"Ref"} and value["Ref"] in self.parameters:
            return self.parameters[value["Ref"]]["Default"]
        return value

    def triggers(self, kind: str) -> dict[str, dict[str, Any]]:
        """The events of a kind that functions are triggered by, by the function."""
        return {
            name: event["Properties"]
            for name, function in self.of_type("AWS::Serverless::Function").items()
            for event in function.get("Events", {}).values()
            if event["Type"] == kind
        }

    def queue(self, mapping: dict[str, Any]) -> tuple[str, QueueSettings]:
        name = mapping["Queue"]["GetAtt"].removesuffix(".Arn")
        queue = self.resources[name]["Properties"]
        scaling = mapping.get("ScalingConfig", {}).get("MaximumConcurrency", 1000)
        return name, QueueSettings(
            visibility_timeout=float(self.resolved(queue["VisibilityTimeout"])),
            retention=float(queue["MessageRetentionPeriod"]),
            max_receive_count=queue["RedrivePolicy"]["maxReceiveCount"],
            batch_size=mapping["BatchSize"],
            max_concurrency=int(self.resolved(scaling)),
        )

    def patterns(self) -> dict[str, dict[str, Any]]:
        found = {name: rule["Pattern"] for name, rule in self.triggers("EventBridgeRule").items()}
        for rule in self.of_type("AWS::Events::Rule").values():
            for target in rule.get("Targets", ()):
                name = target["Arn"]["GetAtt"].removesuffix(".Arn")
                found[name] = rule["EventPattern"]
        return found

    def stream(self) -> StreamSettings:
        (stream,) = self.triggers("DynamoDB").values()
        filters = stream.get("FilterCriteria", {}).get("Filters", ())
        return StreamSettings(
            batch_size=stream["BatchSize"],
            parallelization_factor=stream.get("ParallelizationFactor", 1),
            bisects=stream.get("BisectBatchOnFunctionError", False),
            reports_failures="ReportBatchItemFailures" in stream.get("FunctionResponseTypes", []),
            max_retries=_limit(stream.get("MaximumRetryAttempts")),
            max_record_age=_limit(stream.get("MaximumRecordAgeInSeconds")),
            filters=tuple(json.loads(each["Pattern"]) for each in filters),
        )


@cache
def read_stack() -> Stack:
    """The template, with the defaults of its parameters."""
    template = _Template()
    parameters = template.parameters
    functions = template.of_type("AWS::Serverless::Function")
    queues = dict(map(template.queue, template.triggers("SQS").values()))
    success = functions["CallbackSuccess"]
    return Stack(
        max_attempts=int(parameters["MaxAttempts"]["Default"]),
        retry_backoff_seconds=float(parameters["RetryBackoffSeconds"]["Default"]),
        request_timeout_seconds=float(parameters["RequestTimeoutSeconds"]["Default"]),
        visibility_timeout=queues["Deliveries"].visibility_timeout,
        timeouts={
            name: float(template.resolved(function["Timeout"]))
            for name, function in functions.items()
        },
        stream=template.stream(),
        queues=queues,
        callback_retries=success["EventInvokeConfig"]["MaximumRetryAttempts"],
        patterns=template.patterns(),
    )

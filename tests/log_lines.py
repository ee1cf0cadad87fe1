"""What a function has written: log lines and metrics, each one JSON object a line."""

import json
from collections.abc import Iterable
from typing import Any

SECRETS = ("https://", "http://", "whsec_", "webhook-signature", "global_model_uuid")
"""What no line may have in it: endpoints, secrets, payloads."""


def parse_lines(text: str) -> list[dict[str, Any]]:
    """The lines of a log; all of them must be JSON objects."""
    return [json.loads(line) for line in text.splitlines()]


def steps(lines: Iterable[dict[str, Any]], step: str | None = None) -> list[dict[str, Any]]:
    """The lines that are a step of a notification."""
    return [line for line in lines if "step" in line and step in {None, line["step"]}]


def check_metrics(line: dict[str, Any]) -> dict[str, list[float]]:
    """Check an EMF line by CloudWatch's specification; returns its metrics and their values.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    assert isinstance(line["_aws"]["Timestamp"], int)
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert set(directive) == {"Namespace", "Dimensions", "Metrics"}
    for dimensions in directive["Dimensions"]:
        assert 0 < len(dimensions) <= 30
        for name in dimensions:
            assert isinstance(line[name], str)
            assert line[name]  # CloudWatch drops metrics with an empty dimension
    found = {}
    for metric in directive["Metrics"]:
        assert metric["Unit"] in {"Count", "Milliseconds", "Seconds", "Percent"}
        values = line[metric["Name"]]
        values = values if isinstance(values, list) else [values]
        assert 0 < len(values) <= 100
        assert all(isinstance(value, int | float) for value in values)
        found[metric["Name"]] = values
    assert found
    return found

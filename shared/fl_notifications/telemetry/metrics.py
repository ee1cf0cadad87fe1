"""Metrics of what happens to notifications, in CloudWatch's embedded metric format."""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Final

NAMESPACE: Final = "FLNotifications"
"""The namespace of our metrics."""


MAX_VALUES: Final = 100
"""Of one metric in one EMF line (CloudWatch User Guide, "Embedded metric format specification")."""


class MetricUnit(StrEnum):
    """What a metric counts in, by CloudWatch's names."""

    Count = "Count"
    Milliseconds = "Milliseconds"
    Percent = "Percent"
    Seconds = "Seconds"


type _Name = tuple[str, MetricUnit]


class Tally:
    """Metrics of one invocation, per type of notification and in total, in few EMF lines.

    Several threads may count at once.

    Each is there twice: with the dimensions `stack` and `notification_type`, and with `stack`
    alone, as an alarm cannot add up types. Receivers and trainings are no dimensions: each value
    of one would be another metric to pay for.
    """

    def __init__(self, stack: str) -> None:
        """Start empty.

        Args:
            stack: name of the stack; tells its metrics from those of others in the account.
        """
        self._stack = stack
        self._lock = threading.Lock()
        self._values: defaultdict[str | None, dict[_Name, list[float]]] = defaultdict(dict)

    def count(self, name: str, kind: str | None) -> None:
        """Count one more, for a type of notification or for none."""
        with self._lock:
            self._values[kind].setdefault((name, MetricUnit.Count), [0])[0] += 1

    def observe(
        self, name: str, kind: str | None, value: float, unit: MetricUnit = MetricUnit.Milliseconds
    ) -> None:
        """Record a value to a tenth, in milliseconds unless a unit is given."""
        with self._lock:
            self._values[kind].setdefault((name, unit), []).append(round(value, 1))

    def flush(self) -> None:
        """Write the collected metrics, and start empty again."""
        tallied, self._values = self._values, defaultdict(dict)
        for kind, metrics in tallied.items():
            dimensions = {"stack": self._stack}
            sets = [["stack"]]
            if kind is not None:
                dimensions["notification_type"] = kind
                sets = [["stack", "notification_type"], ["stack"]]
            for values in _in_parts(metrics):
                directive = {
                    "Namespace": NAMESPACE,
                    "Dimensions": sets,
                    "Metrics": [{"Name": name, "Unit": unit} for name, unit in values],
                }
                stamp = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]}
                told = {name: each for (name, _), each in values.items()}
                line = json.dumps({"_aws": stamp, **dimensions, **told}, separators=(",", ":"))
                print(line)  # noqa: T201 - Lambda's way


def _in_parts(metrics: Mapping[_Name, list[float]]) -> Iterator[dict[_Name, list[float]]]:
    """The metrics, with no more values of each than one EMF line may hold."""
    longest = max(map(len, metrics.values()))
    for start in range(0, longest, MAX_VALUES):
        yield {
            name: values[start : start + MAX_VALUES]
            for name, values in metrics.items()
            if len(values) > start
        }

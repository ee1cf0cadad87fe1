"""Metrics of what happens to notifications, in CloudWatch's embedded metric format."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

NAMESPACE: Final = "FLNotifications"
"""The namespace of our metrics."""


MAX_VALUES: Final = 100
"""Of one metric in one EMF line (CloudWatch User Guide, "Embedded metric format specification")."""


type _Name = tuple[str, MetricUnit]


class Tally:
    """Metrics of one invocation, by type of notification and in all, as few EMF lines.

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
        self._values: defaultdict[str | None, dict[_Name, list[float]]] = defaultdict(dict)

    def count(self, name: str, kind: str | None) -> None:
        """Count one more, of a type of notification or of none."""
        self._values[kind].setdefault((name, MetricUnit.Count), [0])[0] += 1

    def observe(
        self, name: str, kind: str | None, value: float, unit: MetricUnit = MetricUnit.Milliseconds
    ) -> None:
        """Keep a value, a duration if nothing else is said."""
        self._values[kind].setdefault((name, unit), []).append(value)

    def flush(self) -> None:
        """Write what has come together, and start empty again."""
        tallied, self._values = self._values, defaultdict(dict)
        for kind, metrics in tallied.items():
            emf = EphemeralMetrics(namespace=NAMESPACE)
            emf.add_dimension("stack", self._stack)
            if kind is not None:
                emf.add_dimension("notification_type", kind)
                emf.add_dimensions(stack=self._stack)
            # At once: `add_metric` takes as long for a value as all the rest of a notification.
            for some in _in_parts(metrics):
                print(json.dumps(emf.serialize_metric_set(metrics=some)))  # noqa: T201 - as it does


def _in_parts(metrics: Mapping[_Name, list[float]]) -> Iterator[dict[str, Any]]:
    """Metrics as Powertools keeps them, with no more values of each than an EMF line may hold."""
    longest = max(map(len, metrics.values()))
    for start in range(0, longest, MAX_VALUES):
        yield {
            name: {"Unit": unit.value, "Value": values[start : start + MAX_VALUES]}
            for (name, unit), values in metrics.items()
            if len(values) > start
        }

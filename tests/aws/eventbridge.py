"""An event bus in memory: at least once, rules, targets that are functions or queues."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.aws.dynamodb import client_error
from tests.aws.kernel import Kernel, NotModelledError
from tests.aws.patterns import matches
from tests.simulation.faults import Faults, Kind, Occasion
from tests.simulation.lambdas import AsyncInvoker, QueueTarget

MAX_ENTRIES = 10
MAX_BYTES = 262_144
_ENTRY = {"EventBusName", "Source", "DetailType", "Detail", "Time", "Resources", "TraceHeader"}


@dataclass(frozen=True)
class Rule:
    """A rule and its target."""

    pattern: Mapping[str, Any]
    target: AsyncInvoker | QueueTarget


class EventBridge:
    """The service: what its calls do and answer. Faults are put around it elsewhere.

    Attributes:
        events: all that the bus has accepted, with the time.
        left_undone: which entries fail; set by the caller.
        doubtful: whether the failed ones take effect all the same; set by the caller.
    """

    def __init__(self, kernel: Kernel, faults: Faults, bus_name: str) -> None:
        self.kernel = kernel
        self.faults = faults
        self.bus_name = bus_name
        self.rules: list[Rule] = []
        self.events: list[tuple[float, dict[str, Any]]] = []
        self.left_undone: Callable[[int], bool] = lambda _: False
        self.doubtful = False

    def put_events(self, *, Entries: list[Any]) -> dict[str, Any]:  # noqa: N803
        if not 1 <= len(Entries) <= MAX_ENTRIES:
            raise client_error("PutEvents", "ValidationException", f"{len(Entries)} entries")
        size = sum(len(entry["Detail"].encode()) + 100 for entry in Entries)
        if size > MAX_BYTES:
            raise client_error("PutEvents", "ValidationException", "total size of the entries")
        results: list[dict[str, str]] = []
        for index, entry in enumerate(Entries):
            unknown = entry.keys() - _ENTRY
            if unknown:
                raise NotModelledError(f"PutEvents with {sorted(unknown)}")
            if not isinstance(json.loads(entry["Detail"]), dict):
                results.append({"ErrorCode": "MalformedDetail", "ErrorMessage": "no JSON object"})
                continue
            fails = self.left_undone(index)
            if fails:
                results.append({"ErrorCode": "InternalFailure", "ErrorMessage": "simulated"})
            if not fails or self.doubtful:
                event_id = self._accept(entry)
                if not fails:
                    results.append({"EventId": event_id})
        failed = sum("ErrorCode" in result for result in results)
        return {"FailedEntryCount": failed, "Entries": results}

    def _accept(self, entry: Mapping[str, Any]) -> str:
        if entry.get("EventBusName", "default") != self.bus_name:
            raise NotModelledError(f"no bus {entry.get('EventBusName')!r}")
        event = {
            "version": "0",
            "id": f"event-{len(self.events)}",
            "detail-type": entry["DetailType"],
            "source": entry["Source"],
            "account": "123456789012",
            "time": "2025-06-15T15:06:40Z",
            "region": "eu-central-1",
            "resources": [],
            "detail": json.loads(entry["Detail"]),
        }
        self.events.append((self.kernel.now, event))
        for rule in self.rules:
            if matches(rule.pattern, event):
                self._deliver(rule, event)
        return str(event["id"])

    def _deliver(self, rule: Rule, event: dict[str, Any]) -> None:
        fault = self.faults.at(Occasion.EVENT, self.kernel.now - self.kernel.start)
        first = 0.1
        if fault is not None and fault.kind is Kind.DELAYED:
            first = fault.pick((5.0, 60.0, 1800.0))
        rule.target.waiting += 1

        def deliver() -> None:
            rule.target.waiting -= 1
            rule.target.invoke(event)

        self.kernel.after(first, deliver)
        if fault is not None and fault.kind is Kind.REPEATED:
            again = fault.pick((0.1, 0.5, 30.0, 400.0, 10_000.0))
            self.kernel.after(again, lambda: rule.target.invoke(event))

"""What functions get instead of boto3 clients: the stand-ins, with latency and faults."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError

from tests.aws.dynamodb import DynamoDB, client_error
from tests.aws.kernel import Kernel, NotModelledError, Process
from tests.aws.secrets import SecretsManager
from tests.simulation.faults import Fault, Faults, Kind, Occasion
from tests.simulation.lambdas import Invocation

_BATCHES = {
    "batch_get_item",
    "batch_write_item",
    "send_message_batch",
    "change_message_visibility_batch",
    "put_events",
}
_REFUSALS = {
    "dynamodb": (
        ("ProvisionedThroughputExceededException", 400),
        ("InternalServerError", 500),
        ("ThrottlingException", 400),
        ("RequestLimitExceeded", 400),
        ("ServiceUnavailable", 503),
    ),
    "sqs": (
        ("RequestThrottled", 403),
        ("InternalError", 500),
        ("ServiceUnavailable", 503),
    ),
    "events": (("InternalException", 500), ("ThrottlingException", 400)),
    "secretsmanager": (("InternalServiceError", 500), ("ThrottlingException", 400)),
}
_CONFLICTS = ("TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded")
_ENDPOINT = "https://simulated.eu-central-1.amazonaws.com/"


class Tampering:
    """Does nothing. A test that wants a bug in the code under test puts it in here.

    What a handler forgets shows at its edge: an answer that it does not look at might as well be
    another one, a condition that it does not set is one that is taken off.
    """

    def queued(self, body: str) -> bool:
        """Whether a message that the queue of deliveries has accepted is really there."""
        del body
        return True

    def request(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """The call as the service gets it."""
        del operation
        return request

    def answer(self, operation: str, answer: Any) -> Any:
        """The answer as the function gets it."""
        del operation
        return answer

    def result(self, function: str, result: Any) -> Any:
        """What the handler returns, as Lambda gets it."""
        del function
        return result


class Latency:
    """How long things take: drawn from a seed; always the same for seed 0."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - a simulation
        self.seed = seed

    def of_call(self) -> float:
        return self._chance.uniform(0.002, 0.05) if self.seed else 0.01

    def choose(self, below: int) -> int:
        return self._chance.randrange(below) if self.seed else 0

    def lag(self) -> float:
        return self._chance.choice((0.0, 0.2, 1.0)) if self.seed else 1.0


@dataclass(frozen=True)
class Around:
    """What is around all calls."""

    kernel: Kernel
    faults: Faults
    latency: Latency
    tampering: Tampering
    as_sent: Callable[[str, dict[str, Any]], dict[str, Any]] = lambda _, request: request


class Client:
    """One function's client of one service."""

    def __init__(
        self,
        around: Around,
        process: Process,
        running: Callable[[], Invocation],
        name: str,
        service: Any,
    ) -> None:
        self._kernel = around.kernel
        self._faults = around.faults
        self._latency = around.latency
        self._tampering = around.tampering
        self._as_sent = around.as_sent
        self._process = process
        self._running = running
        self._name = name
        self._service = service
        self._tokens = 0

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        if operation.startswith("_") or not hasattr(self._service, operation):
            raise NotModelledError(f"{self._name}.{operation}")

        def call(**request: Any) -> Any:
            return self._call(operation, request)

        return call

    def _call(self, operation: str, request: dict[str, Any]) -> Any:
        process, kernel = self._process, self._kernel
        process.check()
        kernel.task()
        if operation == "transact_write_items" and "ClientRequestToken" not in request:
            # boto3 makes up a token, and keeps it when it tries again.
            self._tokens += 1
            request["ClientRequestToken"] = f"{process.number}-{self._tokens}"
        fault = self._faults.at(
            Occasion.CALL,
            kernel.now - kernel.start,
            where=(process.name, operation),
            service=self._name,
        )
        if fault is None:
            answer = self._effect(operation, request)
            kernel.sleep(self._latency.of_call())
            return self._answer(answer)
        if fault.kind not in {Kind.SLOW, Kind.TWICE}:
            self._running().troubles.append(kernel.now)
            if isinstance(self._service, SecretsManager):
                self._service.not_read.append(kernel.now)
        return self._faulty(operation, request, fault)

    def _effect(self, operation: str, request: dict[str, Any]) -> Any:
        """What the service does and answers; an error of its own is returned, not raised."""
        service = self._service
        if isinstance(service, DynamoDB):
            service.by = self._process.name
            service.lag = self._latency.lag
        request = self._tampering.request(operation, self._as_sent(operation, request))
        try:
            answer = getattr(service, operation)(**request)
            return self._tampering.answer(operation, answer)
        except Exception as error:  # noqa: BLE001 - ClientError; raised where it is answered
            return error

    def _answer(self, answer: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _faulty(self, operation: str, request: dict[str, Any], fault: Fault) -> Any:
        kernel = self._kernel
        kind = fault.kind
        if kind in {Kind.PARTIAL, Kind.DOUBTFUL} and operation not in _BATCHES:
            kind = Kind.REFUSED
        match kind:
            case Kind.SLOW:
                answer = self._effect(operation, request)
                kernel.sleep(fault.pick((0.5, 3.9, 12.0, 14.0)))
                return self._answer(answer)
            case Kind.TWICE:
                self._effect(operation, request)
                kernel.sleep(fault.pick((0.1, 4.2, 9.0)))
                return self._answer(self._effect(operation, request))
            case Kind.PARTIAL | Kind.DOUBTFUL:
                return self._in_part(operation, request, fault)
            case _:
                raise self._failure(kind, operation, request, fault)

    def _failure(
        self, kind: Kind, operation: str, request: dict[str, Any], fault: Fault
    ) -> Exception:
        """What the function gets to see, if it lives."""
        kernel = self._kernel
        match kind:
            case Kind.DIE_BEFORE:
                self._process.die()
            case Kind.DIE_AFTER:
                self._effect(operation, request)
                self._process.die()
            case Kind.UNREACHABLE:
                kernel.sleep(fault.pick((0.01, 1.0, 4.0)))
                if fault.detail % 2:
                    return ConnectTimeoutError(endpoint_url=_ENDPOINT)
                return EndpointConnectionError(endpoint_url=_ENDPOINT)
            case Kind.LOST:
                self._effect(operation, request)
                kernel.sleep(fault.pick((0.1, 4.0, 14.0)))
            case Kind.LATE:
                kernel.after(fault.pick((0.5, 3.0)), lambda: self._effect(operation, request))
                kernel.sleep(self._latency.of_call())
            case Kind.REFUSED:
                kernel.sleep(self._latency.of_call())
                return self._refusal(operation, request, fault)
            case _:
                raise NotModelledError(f"{kind} at a call")
        return ReadTimeoutError(endpoint_url=_ENDPOINT)

    def _in_part(self, operation: str, request: dict[str, Any], fault: Fault) -> Any:
        service = self._service
        # Which entries, is in the bits of the detail.
        service.left_undone = lambda index: (fault.detail >> index % 8) % 2 == 0
        service.doubtful = fault.kind is Kind.DOUBTFUL
        try:
            answer = self._effect(operation, request)
        finally:
            service.left_undone = lambda _: False
            service.doubtful = False
        self._kernel.sleep(self._latency.of_call())
        return self._answer(answer)

    def _refusal(self, operation: str, request: dict[str, Any], fault: Fault) -> Exception:
        camel = "".join(part.capitalize() for part in operation.split("_"))
        if operation == "transact_write_items" and fault.detail % 2:
            reasons = [{"Code": "None"} for _ in request["TransactItems"]]
            reasons[fault.detail % len(reasons)] = {"Code": fault.pick(_CONFLICTS)}
            return client_error(camel, "TransactionCanceledException", CancellationReasons=reasons)
        code, status = fault.pick(_REFUSALS[self._name])
        return client_error(camel, code, "simulated", status)

"""What a run is made of: what the FL servers write, how receivers behave, what goes wrong."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from functions.fan_out.segment import PAGE_RESERVE_SECONDS
from tests.simulation.clients import Tampering
from tests.simulation.faults import Fault, Faults, Outage, Storm
from tests.simulation.plans import Action, Plan, Step
from tests.simulation.servers import Server
from tests.simulation.stack import Stack, read_stack
from tests.simulation.world import World, with_stream


@dataclass(frozen=True)
class Parameters:
    """The template's parameters, as far as they matter to a run."""

    max_attempts: int
    retry_backoff_seconds: float
    request_timeout_seconds: float
    visibility_timeout: float


LOCAL = Parameters(6, 1, 5, 30)
"""What the local stack is deployed with."""
A_PAGE_AN_INVOCATION = PAGE_RESERVE_SECONDS + 0.01
"""Of so long a timeout there is too little left after the first page or two."""
SMALLEST = Parameters(1, 1, 1, 30)
LARGEST = Parameters(20, 900, 20, 43_200)


@dataclass(frozen=True)
class Scenario:
    """A run; the same scenario always runs the same way.

    Attributes:
        parameters: None: the template's defaults.
        build_timeout: of FanOut, in seconds; None: the template's.
    """

    plans: tuple[Plan, ...]
    steps: tuple[Step, ...]
    faults: tuple[Fault, ...] = ()
    storms: tuple[Storm, ...] = ()
    outages: tuple[Outage, ...] = ()
    seed: int = 0
    shards: int = 1
    partial_resets_retries: bool = False
    batch_size: int | None = None
    parameters: Parameters | None = None
    build_timeout: float | None = None

    def stack(self) -> Stack:
        stack = read_stack()
        given = stack.stream
        if self.parameters is not None:
            stack = replace(stack, **vars(self.parameters))
        if self.build_timeout is not None:
            timeouts = {**stack.timeouts, "FanOut": self.build_timeout}
            stack = replace(stack, timeouts=timeouts)
        return with_stream(
            stack,
            shards=self.shards,
            partial_resets_retries=self.partial_resets_retries,
            batch_size=self.batch_size or given.batch_size,
        )


@dataclass
class Run:
    """A finished run, with its whole history."""

    scenario: Scenario
    world: World
    servers: list[Server]

    @property
    def upgraded_at(self) -> float | None:
        return self.world.upgraded_at


def run(scenario: Scenario, tampering: Tampering | None = None) -> Run:
    """Run a scenario until nothing is left to happen."""
    faults = Faults(scenario.faults, storms=scenario.storms, outages=scenario.outages)
    world = World(faults, seed=scenario.seed, stack=scenario.stack(), tampering=tampering)
    world.of_an_older_version = any(step.action is Action.UPGRADE for step in scenario.steps)
    servers = [Server(world, number, plan) for number, plan in enumerate(scenario.plans)]
    for server in servers:
        world.kernel.after(0.0, server.prepare)
    elapsed = 1.0
    for step in scenario.steps:
        elapsed += step.after
        server = servers[step.training % len(servers)]
        world.kernel.after(elapsed, _bound(server, step))
    try:
        world.run()
    finally:
        world.close()
    return Run(scenario, world, servers)


def _bound(server: Server, step: Step) -> Callable[[], Any]:
    return lambda: server.do(step)

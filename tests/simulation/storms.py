"""Large runs: many receivers, many rounds, and faults by chance all the time."""

import random
from collections.abc import Callable
from dataclasses import replace

from tests.simulation.faults import Fault, Outage, Storm
from tests.simulation.invariants import check
from tests.simulation.plans import (
    DEAD,
    FLAKY,
    FORBIDDEN,
    HEALTHY,
    MAILBOXES,
    SILENT,
    SLOW,
    Action,
    Plan,
    Step,
    rejecting,
)
from tests.simulation.receivers import Behaviour, Mail, Reply
from tests.simulation.scenario import A_PAGE_AN_INVOCATION, LOCAL, Scenario, run

_MANY = (
    *(Action.NEXT_ROUND,) * 6,
    *(Action.SWAG, Action.MODEL_TEST, Action.TOUCH, Action.MOVE, Action.ROTATE),
    *(Action.JOIN, Action.LEAVE) * 3,
    *(Action.REJOIN, Action.OVERWRITE, Action.MOVE),
)
_SERVICES = ("dynamodb", "sqs", "events", "secretsmanager")


def storm(seed: int, participants: int = 30, steps: int = 26) -> Scenario:
    """A run of about a thousand notifications, chosen by a seed."""
    chance = random.Random(seed)  # noqa: S311 - a simulation
    rate = chance.choice((0.003, 0.01, 0.03, 0.1))
    outages: tuple[Outage, ...] = ()
    if chance.random() < 0.5:
        begins, seconds = chance.uniform(0, 600), chance.choice((20.0, 300.0, 3000.0))
        outages = (Outage(chance.choice(_SERVICES), begins, seconds),)
    pauses = (0.0, 0.1, 2.0, 20.0, 90.0, 400.0)
    return Scenario(
        plans=tuple(_plan(chance, participants) for _ in range(2)),
        steps=(
            Step(0.5, Action.START, 0),
            Step(0.5, Action.START, 1),
            *(
                Step(
                    chance.choice(pauses),
                    chance.choice(_MANY),
                    chance.randrange(2),
                    chance.randrange(participants),
                )
                for _ in range(steps)
            ),
            Step(400.0, Action.FINISH, 0),
            Step(1.0, chance.choice((Action.FINISH, Action.FAIL)), 1),
        ),
        storms=(Storm(seed, rate, ends=chance.choice((60.0, 1000.0, 5000.0))),),
        outages=outages,
        seed=seed + 1,
        shards=chance.choice((1, 4)),
        partial_resets_retries=chance.random() < 0.5,
        batch_size=chance.choice((None, 5)),
        parameters=chance.choice((None, None, LOCAL)),
        build_timeout=chance.choice((None, A_PAGE_AN_INVOCATION)),
    )


def _plan(chance: random.Random, participants: int) -> Plan:
    return Plan(
        participants=tuple(_behaviour(chance) for _ in range(participants)),
        policy="quorum",
        min_participants=chance.choice((None, 1, 5)),
        joined_at=chance.random() < 0.7,
        last_update=chance.random() < 0.7,
        actor_takes_part=chance.random() < 0.3,
        started_at=chance.random() < 0.7,
        clock=chance.choice((0.0, 0.0, 7200.0, -240.0)),
        late_joiners=chance.choice((None, "current_round")),
        moved=chance.choice((None, HEALTHY)),
    )


def _behaviour(chance: random.Random) -> Behaviour:
    if chance.random() < 0.6:
        return HEALTHY
    if chance.random() < 0.2:
        replies = tuple(
            Reply(chance.choice((200, 202, 429, 503, 500, 404)), chance.choice((None, "30")))
            for _ in range(chance.randrange(1, 6))
        )
        return Behaviour((*replies, Reply()))
    if chance.random() < 0.2:
        return MAILBOXES[chance.choice(list(Mail))]
    return chance.choice((SLOW, FLAKY, FLAKY, DEAD, SILENT, FORBIDDEN, rejecting(410, first=3)))


def holds(scenario: Scenario) -> bool:
    """Whether a run keeps all that always holds."""
    try:
        check(run(scenario))
    except AssertionError:
        return False
    return True


def as_plan(scenario: Scenario) -> Scenario:
    """The same run with the faults that struck written down one by one, instead of by chance."""
    struck = tuple(run(scenario).world.faults.struck)
    return replace(scenario, storms=(), outages=(), faults=struck)


def reduced(scenario: Scenario, fails: Callable[[Scenario], bool]) -> Scenario:
    """A smaller scenario that fails as well: fewer faults, steps and participants."""
    faults = _fewer(scenario.faults, lambda some: fails(replace(scenario, faults=some)))
    scenario = replace(scenario, faults=faults)
    steps = _fewer(scenario.steps, lambda some: fails(replace(scenario, steps=some)))
    return replace(scenario, steps=steps)


def _fewer[T: (Fault, Step)](
    items: tuple[T, ...], fails: Callable[[tuple[T, ...]], bool]
) -> tuple[T, ...]:
    """Leave out what is not needed, in ever smaller pieces."""
    size = len(items)
    while size:
        start = 0
        while start < len(items):
            rest = items[:start] + items[start + size :]
            if fails(rest):
                items = rest
            else:
                start += size
        size //= 2
    return items

"""What a run is made of: what the FL servers write, how receivers behave, what goes wrong."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from functions.fan_out.segment import PAGE_RESERVE_SECONDS
from tests.aws.expressions import Item
from tests.simulation.clients import Tampering
from tests.simulation.faults import Fault, Faults, Outage, Storm
from tests.simulation.receivers import Behaviour, Reply
from tests.simulation.stack import Stack, read_stack
from tests.simulation.world import TRAININGS, World, with_stream

NAMESPACE = uuid.UUID("00000000-0000-0000-0000-00000000f00d")


class Action(Enum):
    """What an FL server writes."""

    START = "becomes ONGOING"
    NEXT_ROUND = "the next round"
    SWAG = "a SWAG round"
    MODEL_TEST = "a model test"
    RESUME = "ONGOING again, the same round"
    FINISH = "becomes COMPLETED"
    FAIL = "becomes ERROR"
    RESET = "becomes INITIAL"
    TOUCH = "an attribute of the server's own changes"
    JOIN = "a participant joins, or joins again"
    LEAVE = "a participant leaves"
    EXPIRE = "a participant's item expires"
    MOVE = "a participant's endpoint and model change"
    DELETE = "the training's item is deleted"
    BREAK = "the training's item becomes unreadable"
    MEND = "it becomes readable again"
    BREAK_PARTICIPANT = "a participant's item is replaced by an unreadable one"
    ROTATE = "the signing secret is rotated"


HEALTHY = Behaviour()
DEAD = Behaviour((Reply(status=None, seconds=0.001),))
SILENT = Behaviour((Reply(status=None, trouble="timeout", seconds=1000.0),))
SLOW = Behaviour((Reply(seconds=2.0),))
FLAKY = Behaviour((Reply(503), Reply(503), Reply(200)))
FORBIDDEN = Behaviour(allowed=False)


def rejecting(status: int = 400, first: int = 0) -> Behaviour:
    """Rejects, after that many that it accepts."""
    return Behaviour((*([Reply(200)] * first), Reply(status)))


@dataclass(frozen=True)
class Step:
    """One thing that an FL server does, some seconds after the one before."""

    after: float
    action: Action
    training: int = 0
    participant: int = 0


@dataclass(frozen=True)
class Plan:
    """A training: its participants' behaviour, and its options."""

    participants: tuple[Behaviour, ...]
    policy: str | None = None
    min_participants: int | None = None
    required: tuple[int, ...] = ()
    joined_at: bool = True
    last_update: bool = True
    actor: Behaviour = HEALTHY
    actor_takes_part: bool = False


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
        build_timeout: of BuildNotifications, in seconds; None: the template's.
    """

    plans: tuple[Plan, ...]
    steps: tuple[Step, ...]
    faults: tuple[Fault, ...] = ()
    storms: tuple[Storm, ...] = ()
    outages: tuple[Outage, ...] = ()
    seed: int = 0
    shards: int = 1
    parallelization_factor: int | None = None
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
            parallelization_factor=self.parallelization_factor or given.parallelization_factor,
            partial_resets_retries=self.partial_resets_retries,
            batch_size=self.batch_size or given.batch_size,
        )


def made_up(*parts: object) -> str:
    return str(uuid.uuid5(NAMESPACE, ":".join(map(str, parts))))


_RUNNING = {"ONGOING", "SWAG_ROUND", "MODEL_TEST"}
_WHEN: dict[Action, set[str]] = {
    Action.START: {"INITIAL"},
    Action.NEXT_ROUND: _RUNNING,
    Action.SWAG: _RUNNING,
    Action.MODEL_TEST: _RUNNING,
    Action.RESUME: {*_RUNNING, "ERROR"},
    Action.FINISH: _RUNNING,
    Action.FAIL: _RUNNING,
    Action.RESET: {*_RUNNING, "COMPLETED", "ERROR"},
}
"""The states in which a server would do it; all others at any time."""
_BECOMES = {
    Action.START: "ONGOING",
    Action.NEXT_ROUND: "ONGOING",
    Action.SWAG: "SWAG_ROUND",
    Action.MODEL_TEST: "MODEL_TEST",
    Action.RESUME: "ONGOING",
    Action.FINISH: "COMPLETED",
    Action.FAIL: "ERROR",
    Action.RESET: "INITIAL",
}


@dataclass
class Server:
    """Writes what the scenario says, as FL servers do: the contract is the table."""

    world: World
    number: int
    plan: Plan
    state: str | None = None
    round: int = 0
    readable: bool = True
    joins: int = 0
    model: int = 0
    present: set[int] = field(default_factory=set)

    @property
    def training_uuid(self) -> str:
        return made_up("training", self.number)

    @property
    def actor_uuid(self) -> str:
        if self.plan.actor_takes_part:
            return self.participant_uuid(0)
        return made_up("actor", self.number)

    def participant_uuid(self, index: int) -> str:
        return made_up("participant", self.number, index)

    def endpoint(self, index: int, move: int = 0) -> str:
        return f"https://p{index}-{move}.t{self.number}.example/notify"

    @property
    def actor_endpoint(self) -> str:
        return f"https://actor.t{self.number}.example/notify"

    def prepare(self) -> None:
        """Write the training in `INITIAL`, and its participants."""
        behaviours = self.world.receivers.behaviours
        for index, behaviour in enumerate(self.plan.participants):
            for move in range(4):
                behaviours[self.endpoint(index, move)] = behaviour
            self.join(index)
        behaviours[self.actor_endpoint] = self.plan.actor
        self.state = "INITIAL"
        self._write_training()

    def do(self, step: Step) -> None:
        """Do one step, if the training is such that a server would."""
        self._look()
        index = step.participant % max(1, len(self.plan.participants))
        match step.action:
            case Action.JOIN:
                if index not in self.present:
                    self.join(index)
            case Action.LEAVE:
                self._remove(index, self._delete)
            case Action.EXPIRE:
                self._remove(index, self.world.trainings.expire)
            case Action.MOVE:
                if index in self.present:
                    self.joins += 1
                    self._put_participant(index, move=self.joins % 4, model=True)
            case Action.BREAK_PARTICIPANT:
                self._remove(index, self._delete)
                self._write(
                    {
                        "training_uuid": {"S": self.training_uuid},
                        "entity": {"S": f"PARTICIPANT#{self.participant_uuid(index)}"},
                        "joined_at": {"S": "an item without an endpoint"},
                    }
                )
            case Action.ROTATE:
                self.world.secrets.rotate(f"master secret {len(self.world.secrets.changes)}")
            case _ if self.state is not None:
                self._change(step.action)
            case _:
                pass

    def _change(self, action: Action) -> None:
        if action in _WHEN and self.state not in _WHEN[action]:
            return
        self.state = _BECOMES.get(action, self.state)
        match action:
            case Action.NEXT_ROUND:
                self.round += 1
                self.model += 1
            case Action.TOUCH:
                self.joins += 1
            case Action.DELETE:
                self._delete((self.training_uuid, "TRAINING"))
                self.state = None
            case Action.BREAK:
                self.readable = False
            case Action.MEND:
                self.readable = True
            case _:
                pass
        self._write_training()

    def _look(self) -> None:
        """Servers look before they write: the failure callback may have been there."""
        items = self.world.trainings.items
        item = items.get((self.training_uuid, "TRAINING"))
        self.state = None if item is None else item["state"]["S"]
        self.present = {
            index
            for index in range(len(self.plan.participants))
            if (self.training_uuid, f"PARTICIPANT#{self.participant_uuid(index)}") in items
        }

    def join(self, index: int) -> None:
        self.joins += 1
        self._put_participant(index)

    def _put_participant(self, index: int, *, move: int = 0, model: bool = False) -> None:
        key = (self.training_uuid, f"PARTICIPANT#{self.participant_uuid(index)}")
        before = self.world.trainings.items.get(key)
        item: Item = {
            "training_uuid": {"S": key[0]},
            "entity": {"S": key[1]},
            "message_endpoint": {"S": self.endpoint(index, move)},
        }
        if before is not None and "joined_at" in before:
            item["joined_at"] = before["joined_at"]
        elif self.plan.joined_at and before is None:
            item["joined_at"] = {"S": self._time()}
        if model:
            item["model_uuid"] = {"S": made_up("own model", self.number, index, self.joins)}
        self._write(item)

    def _remove(self, index: int, how: Callable[[tuple[str, ...]], None]) -> None:
        if index in self.present:
            how((self.training_uuid, f"PARTICIPANT#{self.participant_uuid(index)}"))

    def _write_training(self) -> None:
        if self.state is None:
            return
        item: Item = {
            "training_uuid": {"S": self.training_uuid},
            "entity": {"S": "TRAINING"},
            "state": {"S": self.state},
            "round": {"N": str(self.round)},
            "model_uuid": {"S": made_up("model", self.number, self.model)},
            "actor": {
                "M": {
                    "uuid": {"S": self.actor_uuid},
                    "message_endpoint": {"S": self.actor_endpoint},
                }
            },
            "lock": {"N": str(self.joins)},
        }
        if self.plan.last_update:
            item["last_update"] = {"S": self._time()}
        options: Item = {}
        if self.plan.policy is not None:
            options["failure_policy"] = {"S": self.plan.policy}
        if self.plan.min_participants is not None:
            options["min_participants"] = {"N": str(self.plan.min_participants)}
        if self.plan.required:
            options["required_participants"] = {
                "L": [{"S": self.participant_uuid(index)} for index in self.plan.required]
            }
        if options:
            item["options"] = {"M": options}
        if not self.readable:
            del item["model_uuid"]
        self._write(item)

    def _write(self, item: Item) -> None:
        self.world.dynamodb.by = "server"
        self.world.dynamodb.end_transactions()
        self.world.dynamodb.put_item(TableName=TRAININGS, Item=item)

    def _delete(self, key: tuple[str, ...]) -> None:
        self.world.dynamodb.by = "server"
        self.world.dynamodb.end_transactions()
        self.world.dynamodb.delete_item(
            TableName=TRAININGS,
            Key={"training_uuid": {"S": key[0]}, "entity": {"S": key[1]}},
        )

    def _time(self) -> str:
        return datetime.fromtimestamp(self.world.kernel.now, UTC).isoformat()


@dataclass
class Run:
    """A finished run, with its whole history."""

    scenario: Scenario
    world: World
    servers: list[Server]


def run(scenario: Scenario, tampering: Tampering | None = None) -> Run:
    """Run a scenario until nothing is left to happen."""
    faults = Faults(scenario.faults, storms=scenario.storms, outages=scenario.outages)
    world = World(faults, seed=scenario.seed, stack=scenario.stack(), tampering=tampering)
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

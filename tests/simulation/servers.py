"""FL servers: what they write to the table, which is the contract."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID, uuid5

from tests.aws.expressions import Item
from tests.simulation.plans import Action, Plan, Stamps, Step
from tests.simulation.receivers import Behaviour
from tests.simulation.timeline import PARTICIPANT, RUNNING, TRAINING
from tests.simulation.world import TRAININGS, World

NAMESPACE = UUID("00000000-0000-0000-0000-00000000f00d")
MOVES = 4
"""How many endpoints a participant may have, one after the other."""


TRAINING_SETTINGS = {"rate": 1, "epochs": 5}


def participant_settings(index: int) -> dict[str, int]:
    """What a participant is to do otherwise than the training says."""
    return {"rate": 2, "batch": index} if index % 2 else {}


def made_up(*parts: object) -> str:
    return str(uuid5(NAMESPACE, ":".join(map(str, parts))))


_WHEN: dict[Action, set[str]] = {
    Action.START: {"INITIAL"},
    Action.NEXT_ROUND: RUNNING,
    Action.SWAG: {*RUNNING, "INITIAL"},
    Action.MODEL_TEST: {*RUNNING, "INITIAL"},
    Action.RESUME: {*RUNNING, "ERROR", "COMPLETED"},
    Action.FINISH: RUNNING,
    Action.FINISH_AND_CLEAN: RUNNING,
    Action.FAIL: {*RUNNING, "INITIAL"},
    Action.FAIL_AND_CLEAN: RUNNING,
    Action.RESET: {*RUNNING, "COMPLETED", "ERROR"},
    Action.RESTART: {*RUNNING, "COMPLETED", "ERROR"},
}
"""The states in which a server would do it; all others at any time."""
_BECOMES = {
    Action.START: "ONGOING",
    Action.NEXT_ROUND: "ONGOING",
    Action.SWAG: "SWAG_ROUND",
    Action.MODEL_TEST: "MODEL_TEST",
    Action.RESUME: "ONGOING",
    Action.FINISH: "COMPLETED",
    Action.FINISH_AND_CLEAN: "COMPLETED",
    Action.FAIL: "ERROR",
    Action.FAIL_AND_CLEAN: "ERROR",
    Action.RESET: "INITIAL",
    Action.RESTART: "INITIAL",
}


@dataclass
class Server:
    """Writes what the scenario says, as FL servers do."""

    world: World
    number: int
    plan: Plan
    state: str | None = None
    round: int = 0
    readable: bool = True
    joins: int = 0
    model: int = 0
    least: int | None = None
    spoilt: int = 0
    actor_moves: int = 0
    started_at: str | None = None
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

    def settings_of(self, receiver: str) -> dict[str, int]:
        """What a round says to a participant of its settings."""
        indexes = range(len(self.plan.participants))
        (index,) = (each for each in indexes if self.participant_uuid(each) == receiver)
        return {**TRAINING_SETTINGS, **participant_settings(index)}

    def endpoint(self, index: int, move: int = 0) -> str:
        """Where a participant is reached: at first, and after so many moves."""
        if self._behaviour(index, move).mail is not None:
            return "mailbox:"
        place = 1 + move % (MOVES - 1) if move else 0
        return f"https://p{index}-{place}.t{self.number}.example/notify"

    def _behaviour(self, index: int, move: int) -> Behaviour:
        return (self.plan.moved if move else None) or self.plan.participants[index]

    def actor_endpoint(self, move: int) -> str:
        return f"https://actor-{move % MOVES}.t{self.number}.example/notify"

    def prepare(self) -> None:
        """Write the training in `INITIAL`, and its participants."""
        behaviours = self.world.receivers.behaviours
        for move in range(MOVES):
            behaviours[self.actor_endpoint(move)] = self.plan.actor
            for index in range(len(self.plan.participants)):
                behaviour = self._behaviour(index, move)
                if behaviour.mail is not None:
                    uuid = self.participant_uuid(index)
                    self.world.mailboxes.register(uuid, behaviour.mail)
                else:
                    behaviours[self.endpoint(index, move)] = behaviour
        for index in range(len(self.plan.participants)):
            self.join(index)
        self.least = self.plan.min_participants
        self.state = "INITIAL"
        self._write_training()

    def do(self, step: Step) -> None:
        """Do one step, if the training is such that a server would."""
        self._look()
        index = step.participant % max(1, len(self.plan.participants))
        if (operate := self._operations.get(step.action)) is not None:
            operate()
        elif (write := self._of_participants.get(step.action)) is not None:
            write(index)
        elif self.state is not None:
            self._change(step.action)

    # What concerns the stack

    @property
    def _operations(self) -> dict[Action, Callable[[], object]]:
        return {
            Action.ROTATE: self._rotate,
            Action.REDRIVE: self.world.redrive_stream,
            Action.UPGRADE: self.world.upgrade,
            Action.CREATE: self._create,
        }

    def _rotate(self) -> None:
        """Rotate the secret, if its service is up: nobody else can do that."""
        secrets, kernel = self.world.secrets, self.world.kernel
        if not self.world.faults.is_out("secretsmanager", kernel.now - kernel.start):
            secrets.rotate(f"master secret {len(secrets.changes)}")

    # What concerns a participant

    @property
    def _of_participants(self) -> dict[Action, Callable[[int], object]]:
        return {
            Action.JOIN: self._join_unless_present,
            Action.LEAVE: lambda index: self._remove(index, self._delete),
            Action.REJOIN: self._rejoin,
            Action.OVERWRITE: self._overwrite,
            Action.EXPIRE: lambda index: self._remove(index, self.world.trainings.expire),
            Action.MOVE: self._move,
            Action.REPORT: self._report,
            Action.BREAK_PARTICIPANT: self._break_participant,
        }

    def _join_unless_present(self, index: int) -> None:
        if index not in self.present:
            self.join(index)

    def _rejoin(self, index: int) -> None:
        if index in self.present:
            self._remove(index, self._delete)
            self.join(index)

    def _overwrite(self, index: int) -> None:
        if index in self.present:
            self.join(index)

    def _move(self, index: int) -> None:
        if index in self.present:
            before = self.world.trainings.items[self._key(index)]
            self.joins += 1
            item = self._participant(index, move=self.joins) | {
                "model_uuid": {"S": made_up("own model", self.number, index, self.joins)}
            }
            item.pop("joined_at", None)
            if "joined_at" in before:
                item["joined_at"] = before["joined_at"]
            self._write(item)

    def _report(self, index: int) -> None:
        if index in self.present and self.state in RUNNING:
            item = self.world.trainings.items[self._key(index)]
            self._write(item | {"reported": {"S": f"{self.state}#{self.round}"}})

    def _break_participant(self, index: int) -> None:
        self._remove(index, self._delete)
        self._write(
            {
                "training_uuid": {"S": self.training_uuid},
                "entity": {"S": self._key(index)[1]},
                "joined_at": {"S": "an item without an endpoint"},
            }
        )

    def join(self, index: int) -> None:
        """Put a participant's item, over an old one if there is one."""
        self.joins += 1
        elsewhere = self.plan.moved is not None and self.state is not None
        self._write(self._participant(index, move=self.joins if elsewhere else 0))

    def _participant(self, index: int, *, move: int) -> Item:
        key = self._key(index)
        item: Item = {
            "training_uuid": {"S": key[0]},
            "entity": {"S": key[1]},
            "message_endpoint": {"S": self.endpoint(index, move)},
        }
        if self.plan.settings and (own := participant_settings(index)):
            item["settings"] = {"M": {name: {"N": str(it)} for name, it in own.items()}}
        if self.plan.joined_at:
            item["joined_at"] = {"S": self._time()}
        return item

    def _remove(self, index: int, how: Callable[[tuple[str, ...]], None]) -> None:
        if index in self.present:
            how(self._key(index))

    def _key(self, index: int) -> tuple[str, ...]:
        return self.training_uuid, f"{PARTICIPANT}{self.participant_uuid(index)}"

    # What concerns the training

    def _create(self) -> None:
        if self.state is None:
            self.state, self.round, self.readable = "ONGOING", 0, True
            self.started_at = self._time()
            self._write_training()

    def _change(self, action: Action) -> None:
        if action in _WHEN and self.state not in _WHEN[action]:
            return
        begins = self.state == "INITIAL"
        self.state = _BECOMES.get(action, self.state)
        if begins and self.state in RUNNING:
            self.started_at = self._time()
        self._prepare_change(action)
        self._write_training()
        if action in {Action.FINISH_AND_CLEAN, Action.FAIL_AND_CLEAN}:
            for index in sorted(self.present):
                self._remove(index, self._delete)

    def _prepare_change(self, action: Action) -> None:
        match action:
            case Action.NEXT_ROUND:
                self.round += 1
                self.model += 1
            case Action.RESTART:
                self.round = 0
                self._write_training()
                self.state, self.started_at = "ONGOING", self._time()
            case Action.DELETE:
                self._delete((self.training_uuid, TRAINING))
                self.state = None
            case Action.BREAK | Action.MEND:
                self.readable = action is Action.MEND
            case _:
                self.joins += action is Action.TOUCH
                self.spoilt += action is Action.SPOIL_OPTIONS
                self.actor_moves += action is Action.MOVE_ACTOR
                self.least = (self.least or 1) + 2 if action is Action.RAISE else self.least

    def _look(self) -> None:
        """Servers look before they write: the failure callback may have been there."""
        items = self.world.trainings.items
        item = items.get((self.training_uuid, TRAINING))
        self.state = None if item is None else item["state"]["S"]
        self.present = {
            index for index in range(len(self.plan.participants)) if self._key(index) in items
        }

    def _write_training(self) -> None:
        if self.state is None:
            return
        actor = {
            "uuid": {"S": self.actor_uuid},
            "message_endpoint": {"S": self.actor_endpoint(self.actor_moves)},
        }
        item: Item = {
            "training_uuid": {"S": self.training_uuid},
            "entity": {"S": TRAINING},
            "state": {"S": self.state},
            "round": {"N": str(self.round)},
            "model_uuid": {"S": made_up("model", self.number, self.model)},
            "actor": {"M": actor},
            "lock": {"N": str(self.joins)},
        }
        if self.plan.last_update:
            item["last_update"] = {"S": self._time()}
        if self.plan.started_at and self.started_at is not None:
            item["started_at"] = {"S": self.started_at}
        if self.plan.settings:
            item["settings"] = {
                "M": {name: {"N": str(it)} for name, it in TRAINING_SETTINGS.items()}
            }
        if self.plan.selected is not None:
            item["selected"] = {
                "L": [{"S": self.participant_uuid(index)} for index in self.plan.selected]
            }
        if options := self._options():
            item["options"] = {"M": options}
        if self.spoilt:
            item["options"] = ({"NULL": True}, {"S": "none"})[self.spoilt % 2]
        if not self.readable:
            del item["model_uuid"]
        self._write(item)

    def _options(self) -> Item:
        plan = self.plan
        options: Item = {}
        if plan.announce_removals:
            options["announce_removals"] = {"BOOL": True}
        if plan.policy is not None:
            options["failure_policy"] = {"S": plan.policy}
        if plan.deadline is not None:
            options["round_deadline_seconds"] = {"N": str(plan.deadline)}
        if plan.on_deadline is not None:
            options["on_deadline"] = {"S": plan.on_deadline}
        if plan.late_joiners is not None:
            options["late_joiners"] = {"S": plan.late_joiners}
        if self.least is not None:
            options["min_participants"] = {"N": str(self.least)}
        if plan.required:
            options["required_participants"] = {
                "L": [{"S": self.participant_uuid(index)} for index in plan.required]
            }
        return options

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
        """The time by the server's clock, as it writes it: never the same twice."""
        self.world.stamps += 1
        now = self.world.kernel.now + self.plan.clock + self.world.stamps / 1e6
        moment = datetime.fromtimestamp(now, UTC)
        match self.plan.stamps:
            case Stamps.FULL:
                return moment.isoformat(timespec="microseconds")
            case Stamps.SECONDS:
                return moment.isoformat(timespec="seconds")
            case Stamps.NAIVE:
                return moment.replace(tzinfo=None).isoformat(timespec="microseconds")
            case Stamps.WORDS:
                return f"a while ago ({self.world.stamps})"

"""The table "Failure policy", row by row: trainings in which one participant is bad."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fl_notifications_cli.participants import (
    Behaviour,
    Participant,
    ParticipantServer,
    rejecting,
)
from tests.e2e.pipeline.kit import FlServer, TrainingItem

STRICT: Final[Mapping[str, Any]] = {"failure_policy": "strict"}
QUORUM: Final[Mapping[str, Any]] = {"failure_policy": "quorum"}


def at_first_round(status: int | None) -> Behaviour:
    """Never take round 0, but everything else."""
    return rejecting(0, status=status)  # type: ignore[arg-type]  # None: closed without a word


@dataclass(frozen=True)
class PolicyTraining:
    """A training that has begun."""

    training: TrainingItem
    bad: Participant
    good: list[Participant]
    actor: Participant


@dataclass(frozen=True)
class PolicyCase:
    """A training with two good participants and a bad one.

    Attributes:
        bad: How the bad one answers.
        options: Of the training; given the bad one's uuid.
        removed: Whether the bad one is removed.
        reason: What the error says; None if the training goes on.
        good: How many good participants there are.
    """

    bad: Behaviour
    options: Callable[[str], Mapping[str, Any] | None]
    removed: bool
    reason: str | None = None
    good: int = 2

    def begin(self, name: str, fl_server: FlServer, server: ParticipantServer) -> PolicyTraining:
        """Begin it."""
        bad = server.add(self.bad, name=f"{name}: the bad one")
        good = [server.add(name=f"{name}: a good one") for _ in range(self.good)]
        actor = server.add(name=f"{name}: the actor")
        training = fl_server.training(
            bad, *good, actor=actor, state="ONGOING", options=self.options(bad.uuid)
        )
        return PolicyTraining(training, bad, good, actor)


def plainly(options: Mapping[str, Any] | None) -> Callable[[str], Mapping[str, Any] | None]:
    return lambda _bad: options


def required(options: Mapping[str, Any]) -> Callable[[str], Mapping[str, Any] | None]:
    return lambda bad: {**options, "required_participants": [bad]}


REJECTS: Final = at_first_round(400)
BUSY: Final = at_first_round(503)
DOWN: Final = at_first_round(None)

REQUIRED_IS_OUT = "a required participant is out"
TOO_FEW_1 = "fewer than 1 participants are left"
TOO_FEW_3 = "fewer than 3 participants are left"

POLICY_CASES: Final[Mapping[str, PolicyCase]] = {
    # --- rejected: the participant is deleted
    "rejected, no options": PolicyCase(REJECTS, plainly(None), removed=True),
    "rejected, strict": PolicyCase(REJECTS, plainly(STRICT), removed=True),
    "rejected, quorum": PolicyCase(REJECTS, plainly(QUORUM), removed=True),
    "rejected, attempts used up": PolicyCase(BUSY, plainly(None), removed=True),
    # --- then, if it was required or too few are left, the training becomes ERROR
    "rejected, required": PolicyCase(
        REJECTS, required(STRICT), removed=True, reason=REQUIRED_IS_OUT
    ),
    "rejected, the last one": PolicyCase(
        REJECTS, plainly(None), removed=True, reason=TOO_FEW_1, good=0
    ),
    "rejected, too few left": PolicyCase(
        REJECTS, plainly({"min_participants": 3}), removed=True, reason=TOO_FEW_3
    ),
    "rejected, just enough left": PolicyCase(
        REJECTS, plainly({"min_participants": 2}), removed=True
    ),
    "rejected, nobody needed": PolicyCase(
        REJECTS, plainly({"min_participants": 0}), removed=True, good=0
    ),
    # --- failed, strict: the training becomes ERROR
    "failed, no options": PolicyCase(DOWN, plainly(None), removed=False, reason="connection lost"),
    "failed, strict": PolicyCase(DOWN, plainly(STRICT), removed=False, reason="connection lost"),
    # --- failed, quorum: as rejected
    "failed, quorum": PolicyCase(DOWN, plainly(QUORUM), removed=True),
    "failed, quorum, required": PolicyCase(
        DOWN, required(QUORUM), removed=True, reason=REQUIRED_IS_OUT
    ),
    "failed, quorum, the last one": PolicyCase(
        DOWN, plainly(QUORUM), removed=True, reason=TOO_FEW_1, good=0
    ),
    "failed, quorum, too few left": PolicyCase(
        DOWN, plainly({**QUORUM, "min_participants": 3}), removed=True, reason=TOO_FEW_3
    ),
}

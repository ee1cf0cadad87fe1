"""What happens in the demo, step by step, and how long it waits for each to be seen."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from uuid import uuid4

from fl_notifications.trainings.model import TrainingState
from fl_notifications_cli.demo.cast import DEADLINE_SECONDS, Cast, Production, Role
from fl_notifications_cli.demo.record import Record, accepted
from fl_notifications_cli.demo.view import View

PATIENCE_SECONDS = 150.0
"""For one step: the unreachable are tried for up to 40 s, and much longer on a busy machine."""

ALIVE_SECONDS = 3.0
"""How often the stack is asked whether it is still there, while receivers are waited for."""

_POLL_SECONDS = 0.2

START = "TRAINING_START"
FINISHED = "TRAINING_FINISHED"
ERROR = "TRAINING_ERROR"
REMOVED = "CLIENT_REMOVED"
ROUND_0 = "UPDATE_ROUND_START 0"
ROUND_1 = "UPDATE_ROUND_START 1"
SWAG = "SWAG_ROUND_START 1"
TEST = "MODEL_TEST_ROUND 1"


class _MissedError(Exception):
    """Something didn't come."""


class Story:
    """Plays all trainings; the FL server's part is played through `TrainingRepository`.

    Attributes:
        missed: what was waited for in vain, for the summary.
    """

    def __init__(self, cast: Cast, record: Record, view: View) -> None:
        self._cast = cast
        self._record = record
        self._view = view
        self.missed: list[str] = []

    def play(self) -> None:
        """Play from the first training's creation until nothing is under way any more.

        Ends early if something doesn't come: what follows would hang on it.
        """
        with suppress(_MissedError):
            over = self._deadline_begins()
            self._play()
            self._deadline_passes(over)
            self._view.say("The last attempts to reach those that are down")
            self._until("every notification has its outcome", self._settled)

    def _deadline_begins(self) -> float:
        """Play the first round with a deadline; return when that is over, on the monotonic clock.

        First, as it takes the longest: the others go on meanwhile.
        """
        deadline, trainings = self._cast.deadline, self._record.trainings
        uuid, silent = deadline.training_uuid, deadline.role("silent")
        self._view.say(
            f"{deadline.title}: a round of {DEADLINE_SECONDS} s; one accepts it and never reports"
        )
        self._create(deadline, deadline.roles)
        trainings.start(uuid)
        over = time.monotonic() + DEADLINE_SECONDS
        self._until("they accept round 0", lambda: _all(deadline.roles, ROUND_0))
        for role in deadline.roles:
            if role is not silent:
                trainings.reported(uuid, role.participant.uuid)
        return over

    def _deadline_passes(self, over: float) -> None:
        deadline, trainings = self._cast.deadline, self._record.trainings
        silent = deadline.role("silent")
        chosen, *others = [role for role in deadline.roles if role is not silent]
        self._view.say(f"{deadline.title}: its round still waits for the silent one")
        self._until(f"the {DEADLINE_SECONDS} s are over", lambda: time.monotonic() >= over)
        self._view.say("They are over; Sweep, which runs once a minute, is called at once")
        self._record.sweep()
        self._until(
            "who has not reported is removed",
            lambda: silent.participant.uuid not in self._record.participants(deadline),
        )
        self._until("it is told", lambda: _all([silent], REMOVED))

        self._view.say(f"Round 1 is for {chosen.name} only; the others stay participants")
        trainings.next_round(deadline.training_uuid, after=0, selected=[chosen.participant.uuid])
        self._until("the selected one accepts round 1", lambda: _all([chosen], ROUND_1))
        trainings.reported(deadline.training_uuid, chosen.participant.uuid)
        trainings.finish(deadline.training_uuid)
        self._until(
            "all and the actor accept the end",
            lambda: _all([chosen, *others, deadline.actor], FINISHED),
        )

    def _play(self) -> None:
        quorum, strict = self._cast.quorum, self._cast.strict
        late, rejecting, down = (quorum.role(name) for name in ("late", "rejecting", "down"))
        first = [role for role in quorum.roles if role not in {late, down}]
        lasting = [role for role in quorum.roles if role not in {rejecting, down}]
        trainings = self._record.trainings

        self._view.say(f"{quorum.title}: {len(first) + 1} participants, one of them is down")
        self._create(quorum, [*first, down])
        trainings.start(quorum.training_uuid)
        self._until("all that are up accept round 0", lambda: _all(first, ROUND_0))

        self._view.say("Round 0 runs, and one more joins: it is told of the start only")
        trainings.add_participant(quorum.training_uuid, late.receiver)

        survivors = [role for role in strict.roles if not role.down]
        self._view.say(f"{strict.title}: another training, one of its participants is down")
        self._create(strict, strict.roles)
        trainings.start(strict.training_uuid)
        self._until("the late one accepts the start", lambda: _all([late], START))
        self._until("the survivors accept round 0", lambda: _all(survivors, ROUND_0))

        self._view.say("The unreachable are tried again, ever later; then the policy rules")
        self._until(
            "the one that is down is removed, as there is a quorum",
            lambda: down.participant.uuid not in self._record.participants(quorum),
        )

        self._view.say("Round 1, with a new model: one rejects it and is removed")
        trainings.next_round(quorum.training_uuid, model_uuid=str(uuid4()), after=0)
        self._until("the others accept round 1", lambda: _all(lasting, ROUND_1))
        self._until("the rejecting one is told", lambda: _all([rejecting], REMOVED))

        self._view.say("A SWAG round")
        trainings.swag_round(quorum.training_uuid)
        self._until("all accept the SWAG round", lambda: _all(lasting, SWAG))

        self._view.say("The model is tested")
        trainings.model_test(quorum.training_uuid)
        self._until("all accept the test", lambda: _all(lasting, TEST))

        self._view.say(f"{quorum.title}: finished")
        trainings.finish(quorum.training_uuid)
        self._until(
            "all and the actor accept that", lambda: _all([*lasting, quorum.actor], FINISHED)
        )

        self._view.say(f"{strict.title}: it can't go on without the one that is down: ERROR")
        self._until(
            "the strict training becomes ERROR",
            lambda: self._record.training(strict).state is TrainingState.ERROR,
        )
        self._until(
            "the survivors and the actor are told",
            lambda: _all([*survivors, strict.actor], ERROR),
        )

    def _create(self, production: Production, roles: Iterable[Role]) -> None:
        self._record.trainings.create(
            production.training_uuid,
            str(uuid4()),
            production.actor.receiver,
            [role.receiver for role in roles],
            options=production.options,
        )

    def _settled(self) -> bool:
        entries = self._record.ledger(self._cast.all)
        return all(entry.outcome for entry in entries) and self._record.waiting() == 0

    def _until(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for something, showing what happens; note it when it doesn't come."""
        began = asked = time.monotonic()
        while not condition():
            now = time.monotonic()
            if now - asked >= ALIVE_SECONDS:
                asked = now
                self._record.waiting()  # raises if nobody answers any more
            if now - began >= PATIENCE_SECONDS:
                self.missed.append(what)
                self._view.say(f"Waited {PATIENCE_SECONDS:.0f} s in vain until {what}")
                raise _MissedError
            self._view.refresh()
            time.sleep(_POLL_SECONDS)
        self._view.refresh()


def _all(roles: Iterable[Role], label: str) -> bool:
    return all(label in accepted(role) for role in roles)

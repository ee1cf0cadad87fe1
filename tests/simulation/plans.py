"""What FL servers write, when, and how their receivers behave."""

from dataclasses import dataclass
from enum import Enum

from tests.simulation.receivers import Behaviour, Mail, Reply


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
    REJOIN = "a participant leaves and joins at once"
    OVERWRITE = "a participant's item is put over the old one, with another joined_at"
    EXPIRE = "a participant's item expires"
    MOVE = "a participant's endpoint and model change"
    MOVE_ACTOR = "the actor's endpoint changes"
    FINISH_AND_CLEAN = "becomes COMPLETED, and all participants are deleted"
    FAIL_AND_CLEAN = "becomes ERROR, and all participants are deleted"
    RESTART = "becomes INITIAL, and ONGOING in round 0, with the same participants"
    RAISE = "two participants more are needed"
    SPOIL_OPTIONS = "the options become unreadable, or NULL"
    REPORT = "a participant's result has come"
    DELETE = "the training's item is deleted"
    CREATE = "the training's item is made again, ONGOING"
    BREAK = "the training's item becomes unreadable"
    MEND = "it becomes readable again"
    BREAK_PARTICIPANT = "a participant's item is replaced by an unreadable one"
    ROTATE = "the signing secret is rotated"
    REDRIVE = "dead letters of the stream are redriven"
    UPGRADE = "the service becomes that of this version: it knows no runs until then"


HEALTHY = Behaviour()
DEAD = Behaviour((Reply(status=None, seconds=0.001),))
SILENT = Behaviour((Reply(status=None, trouble="timeout", seconds=1000.0),))
SLOW = Behaviour((Reply(seconds=2.0),))
FLAKY = Behaviour((Reply(503), Reply(503), Reply(200)))
FORBIDDEN = Behaviour(allowed=False)
MAILBOXES = {mail: Behaviour(mail=mail) for mail in Mail}


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


class Stamps(Enum):
    """How a server writes its times."""

    FULL = "microseconds, with the time zone"
    SECONDS = "seconds, with the time zone"
    NAIVE = "without a time zone"
    WORDS = "not readable"


@dataclass(frozen=True)
class Plan:
    """A training: its participants' behaviour, its options, and how its server writes.

    Attributes:
        clock: how far ahead the server's clock is, in seconds.
        selected: whom rounds are for; None: everybody.
        settings: whether the training has some, and every second participant its own.
        announce_removals: whether all others are told of a removal.
        moved: what participants answer at any endpoint but their first; None: the same.
    """

    participants: tuple[Behaviour, ...]
    policy: str | None = None
    min_participants: int | None = None
    required: tuple[int, ...] = ()
    joined_at: bool = True
    last_update: bool = True
    actor: Behaviour = HEALTHY
    actor_takes_part: bool = False
    started_at: bool = True
    clock: float = 0.0
    stamps: Stamps = Stamps.FULL
    late_joiners: str | None = None
    moved: Behaviour | None = None
    deadline: int | None = None
    on_deadline: str | None = None
    selected: tuple[int, ...] | None = None
    settings: bool = False
    announce_removals: bool = False

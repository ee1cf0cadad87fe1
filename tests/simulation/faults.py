"""What goes wrong in a run, and where: chosen beforehand, so that a run can be repeated.

A fault strikes at the nth occasion of a kind. Occasions are the calls that functions make to AWS,
the POSTs that they make, the beginning of an invocation, and what the pollers and the bus do after
one.
"""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class Occasion(Enum):
    """Where a fault can strike."""

    CALL = "call"  # a function calls AWS
    POST = "post"  # a function makes a POST
    INVOKE = "invoke"  # Lambda is to run a function
    CHECKPOINT = "checkpoint"  # a batch of a stream was processed: Lambda notes that
    DELETE = "delete"  # a batch of the queue was processed: Lambda deletes it
    EVENT = "event"  # the bus delivers an event to a target


class Kind(Enum):
    """What can go wrong."""

    DIE_BEFORE = "the process dies before it"
    DIE_AFTER = "the process dies after it"
    REFUSED = "the service refuses"
    UNREACHABLE = "the service cannot be reached"
    LOST = "it takes effect, its answer is lost"
    TWICE = "it takes effect, its answer is lost, the SDK does it again"
    LATE = "it fails, and takes effect some seconds later"
    PARTIAL = "a batch is done in part"
    DOUBTFUL = "a batch reports failures of what took effect"
    SLOW = "it takes long"
    THROTTLED = "Lambda has no capacity"
    REPEATED = "it is delivered again, although it was processed"
    DELAYED = "it is delivered late"


KINDS = {
    Occasion.CALL: (
        Kind.DIE_BEFORE,
        Kind.DIE_AFTER,
        Kind.REFUSED,
        Kind.UNREACHABLE,
        Kind.LOST,
        Kind.TWICE,
        Kind.LATE,
        Kind.PARTIAL,
        Kind.DOUBTFUL,
        Kind.SLOW,
    ),
    Occasion.POST: (Kind.DIE_BEFORE, Kind.DIE_AFTER, Kind.LOST, Kind.UNREACHABLE, Kind.SLOW),
    Occasion.INVOKE: (Kind.THROTTLED, Kind.DIE_BEFORE, Kind.DIE_AFTER),
    Occasion.CHECKPOINT: (Kind.REPEATED,),
    Occasion.DELETE: (Kind.REPEATED,),
    Occasion.EVENT: (Kind.REPEATED, Kind.DELAYED),
}


class Fault(NamedTuple):
    """One fault.

    Attributes:
        number: it strikes at this occasion of its kind, counted from 0.
        detail: chooses among variants: how long, which part of a batch, which error.
        where: only occasions there are counted: a function's or a call's name; "" counts all.
    """

    occasion: Occasion
    number: int
    kind: Kind
    detail: int = 0
    where: str = ""

    def pick[T](self, options: Sequence[T]) -> T:
        return options[self.detail % len(options)]


@dataclass(frozen=True)
class Storm:
    """Faults by chance: that share of all occasions, between two moments of the run.

    Attributes:
        seed: of the chance.
        rate: share of the occasions that a fault strikes.
        begins: seconds from the start of the run.
        ends: likewise.
    """

    seed: int
    rate: float
    begins: float = 0.0
    ends: float = float("inf")


@dataclass(frozen=True)
class Outage:
    """A service that refuses all calls for a while."""

    service: str
    begins: float
    seconds: float


class Faults:
    """Decides at each occasion; keeps what struck, so that it can be repeated as a plan."""

    def __init__(
        self,
        plan: Iterable[Fault] = (),
        *,
        storms: Sequence[Storm] = (),
        outages: Sequence[Outage] = (),
    ) -> None:
        self._plan = {(fault.occasion, fault.where, fault.number): fault for fault in plan}
        self._storms = [(storm, random.Random(storm.seed)) for storm in storms]  # noqa: S311
        self._outages = outages
        self._counts: Counter[tuple[Occasion, str]] = Counter()
        self.struck: list[Fault] = []

    def is_out(self, service: str, elapsed: float) -> bool:
        """Whether a service refuses all calls at a moment."""
        return any(
            outage.service == service and outage.begins <= elapsed <= outage.begins + outage.seconds
            for outage in self._outages
        )

    def at(
        self, occasion: Occasion, elapsed: float, *, where: Sequence[str] = (), service: str = ""
    ) -> Fault | None:
        """The fault that strikes at this occasion, if one does."""
        number = self._counts[occasion, ""]
        fault = None
        for place in ("", *where):
            fault = fault or self._plan.get((occasion, place, self._counts[occasion, place]))
            self._counts[occasion, place] += 1
        for storm, chance in self._storms:
            struck = chance.random() < storm.rate
            kind, detail = chance.choice(KINDS[occasion]), chance.randrange(1000)
            if struck and storm.begins <= elapsed <= storm.ends:
                fault = fault or Fault(occasion, number, kind, detail)
        if occasion is Occasion.CALL and self.is_out(service, elapsed):
            fault = fault or Fault(occasion, number, Kind.REFUSED, number)
        if fault is not None:
            self.struck.append(fault)
        return fault

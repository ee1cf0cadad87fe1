"""A training as of each of its changes: who took part, whether it ran, what had been told.

Made from the stream's records alone, in the order in which they count, and never from what the
table says when one of them is processed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property

from fl_notifications.notification_type import NotificationType
from tests.aws.dynamodb import Write
from tests.aws.expressions import Item

T = NotificationType
PARTICIPANT = "PARTICIPANT#"
REMOVED = "REMOVED#"
TRAINING = "TRAINING"
RUNNING = {"ONGOING", "SWAG_ROUND", "MODEL_TEST"}
FINAL = {"COMPLETED", "ERROR"}
ANNOUNCED = {
    T.UPDATE_ROUND_START: "ONGOING",
    T.SWAG_ROUND_START: "SWAG_ROUND",
    T.MODEL_TEST_ROUND: "MODEL_TEST",
}
ROUND_TYPE = {state: kind for kind, state in ANNOUNCED.items()}
END_TYPE = {
    "COMPLETED": T.TRAINING_FINISHED,
    "ERROR": T.TRAINING_ERROR,
    "DELETED": T.TRAINING_ERROR,
}


def readable_training(item: Item | None) -> bool:
    return item is not None and "model_uuid" in item


def readable_participant(item: Item | None) -> bool:
    return item is not None and "message_endpoint" in item


def text_of(item: Item | None, name: str) -> str | None:
    text = (item or {}).get(name, {}).get("S")
    return None if text is None else str(text)


def joined_at(item: Item | None) -> str | None:
    return text_of(item, "joined_at")


def state_of(item: Item | None) -> str | None:
    return None if item is None else str(item["state"]["S"])


def round_of(item: Item | None) -> str | None:
    return None if item is None else str(item["round"]["N"])


def option(item: Item | None, name: str) -> str | None:
    members = (item or {}).get("options", {}).get("M", {})
    return text_of(members, name)


def announces_removals(item: Item | None) -> bool:
    members = (item or {}).get("options", {}).get("M", {})
    return bool(members.get("announce_removals", {}).get("BOOL", False))


def selected(item: Item) -> set[str] | None:
    """Whom the rounds are for; None: everybody."""
    value = item.get("selected", {})
    if "L" in value:
        return {member["S"] for member in value["L"]}
    return set(value["SS"]) if "SS" in value else None


@dataclass(eq=False)
class Membership:
    """A participant's item from its joining to its leaving; readable all the time.

    Attributes:
        begin: the write by which it joined, or became readable.
        end: by which it left, joined anew or became unreadable; None if it still takes part.
    """

    receiver: str
    joined_at: str | None
    begin: Write
    end: Write | None = None

    def at(self, sequence: int) -> bool:
        """Whether it was so as of a change."""
        before_its_end = self.end is None or sequence < self.end.sequence_number
        return self.begin.sequence_number <= sequence and before_its_end

    def lasts_until(self, moment: float) -> bool:
        return self.end is None or self.end.at > moment

    def between(self, sequence: int, moment: float) -> bool:
        """Whether it was so at any time from a change until a moment."""
        ended_before = self.end is not None and self.end.sequence_number <= sequence
        return self.begin.at <= moment and not ended_before


def memberships(writes: Iterable[Write]) -> list[Membership]:
    """All memberships of a training, from its writes."""
    current: dict[str, Membership] = {}
    found = []
    for write in writes:
        entity = write.key[1]
        if not entity.startswith(PARTICIPANT):
            continue
        before = current.get(entity)
        goes_on = readable_participant(write.new) and (
            before is not None and before.joined_at == joined_at(write.new)
        )
        if goes_on:
            continue
        if before is not None:
            before.end = write
            del current[entity]
        if readable_participant(write.new):
            receiver = entity.removeprefix(PARTICIPANT)
            current[entity] = Membership(receiver, joined_at(write.new), write)
            found.append(current[entity])
    return found


class Kept(Enum):
    """How far a record got that was given up."""

    OPEN = "it moved nothing"
    TOLD = "the entry of its run was written"


@dataclass(frozen=True)
class Handled:
    """A record that was processed.

    Attributes:
        write: the change.
        done: when it had been processed for the first time.
        last: when it was processed for the last time.
        redriven: whether it comes from a dead letter.
        given_up: it became one, although it can be read.
        read: when its participants were read for the last time, if its training is large.
    """

    write: Write
    done: float
    last: float
    redriven: bool = False
    given_up: Kept | None = None
    read: float = 0.0


@dataclass(frozen=True)
class Standing:
    """How things stand with a training's run.

    Attributes:
        run: the sequence number of the change that began the latest run; until one has begun, of
            the first that was read.
        running: whether it goes on.
        ended: the change that ended it, and how; of the latest that did.
        fresh: whether the next running state begins a run: it was `INITIAL`, gone or new meanwhile.
        told: the training as last told.
        round_change: the change that announced the current round.
        told_at: the sequence number of the last training record.
    """

    run: str | None = None
    running: bool = False
    ended: Write | None = None
    how: str | None = None
    fresh: bool = True
    told: Item | None = None
    round_change: Write | None = None
    told_at: int = -1

    @property
    def known(self) -> bool:
        """Whether the stream has been read at all."""
        return self.told_at >= 0


@dataclass(frozen=True)
class Moment:
    """A record, with how things stood before and after it.

    Attributes:
        kinds: what a training's record calls for, in order.
        event: what the bus is to be told; None if nothing.
        overtaken: a redriven record, after later ones.
        unreadable: what it needs cannot be read: it moves nothing.
    """

    handled: Handled
    before: Standing
    after: Standing
    kinds: tuple[NotificationType, ...] = ()
    event: str | None = None
    overtaken: bool = False
    unreadable: bool = False

    @property
    def write(self) -> Write:
        return self.handled.write

    @property
    def number(self) -> int:
        return self.handled.write.sequence_number

    @property
    def run(self) -> str:
        """The run that it belongs to."""
        return self.after.run or self.before.run or "0"


@dataclass
class Timeline:
    """All that happened to a training, in the order in which it counts."""

    training: str
    writes: list[Write]
    handled: list[Handled]
    upgraded: float | None = None
    _memberships: list[Membership] = field(default_factory=list)

    @cached_property
    def memberships(self) -> list[Membership]:
        return memberships(self.writes)

    @cached_property
    def moments(self) -> list[Moment]:
        return list(self._moments())

    def members(self, sequence: int) -> list[Membership]:
        """Who took part as of a change."""
        return [each for each in self.memberships if each.at(sequence)]

    def _moments(self) -> Iterator[Moment]:
        standing = Standing()
        upgraded = False
        for handled in sorted(self.handled, key=lambda it: (it.done, it.write.sequence_number)):
            if not upgraded and self.upgraded is not None and handled.done > self.upgraded:
                standing, upgraded = Standing(), True
            write = handled.write
            if write.key[1] == TRAINING:
                if not standing.known and write.old is not None:
                    standing = _older_than_the_service(write)
                moment = _training_record(handled, standing)
            else:
                moment = Moment(handled, standing, standing)
            if handled.given_up is not Kept.OPEN:
                standing = moment.after
            yield moment


def _older_than_the_service(first: Write) -> Standing:
    """What the first record that is read says of what was before."""
    if not readable_training(first.old):
        return Standing()
    if state_of(first.old) in RUNNING:
        return Standing("0", running=True, fresh=False, told=first.old)
    return Standing(told=first.old)


def _training_record(handled: Handled, before: Standing) -> Moment:
    write = handled.write
    if not before.known:
        before = replace(before, run=before.run or str(write.sequence_number))
    if write.sequence_number <= before.told_at:
        return _again(handled, before)
    if write.new is None:
        return _deleted(handled, before)
    moment = _changed(handled, before)
    readable = readable_training(write.new) or handled.redriven
    if not readable and set(moment.kinds) - {T.TRAINING_ERROR}:
        return Moment(handled, before, before, unreadable=True)
    return moment


def _again(handled: Handled, before: Standing) -> Moment:
    """A record from a dead letter, when later ones are told: only its start is not overtaken."""
    write = handled.write
    kinds: tuple[NotificationType, ...] = ()
    if write.new is not None and write.sequence_number == before.told_at:
        kinds = _changed(handled, replace(before, told=write.old, running=False)).kinds
    elif state_of(write.new) in RUNNING and state_of(write.old) not in RUNNING:
        kinds = (T.TRAINING_START,) if before.running else ()
    return Moment(handled, before, before, kinds, overtaken=True)


def _changed(handled: Handled, before: Standing) -> Moment:
    new = handled.write.new or {}
    after = replace(before, told=new)
    if not before.known or _what_counts(new) != _what_counts(before.told or {}):
        after = replace(after, told_at=handled.write.sequence_number)
    state = state_of(new)
    if state in RUNNING:
        return _runs(handled, before, after)
    if state not in FINAL:
        if before.running or not before.known:
            after = replace(after, ended=handled.write, how=state)
        # A run that has ended before stays ended as it was.
        return Moment(handled, before, replace(after, running=False, fresh=True))
    if state_of(before.told) == state:
        return Moment(handled, before, after)
    after = replace(after, running=False, ended=handled.write, how=state)
    event = "Training Ended" if before.running else None
    return Moment(handled, before, after, (END_TYPE[state or ""],), event)


def _what_counts(training: Item) -> Item:
    return {name: it for name, it in training.items() if name not in {"lock", "last_update"}}


def _runs(handled: Handled, before: Standing, after: Standing) -> Moment:
    write = handled.write
    kind = ROUND_TYPE[state_of(write.new) or ""]
    if not before.running:
        run = str(write.sequence_number) if before.fresh else before.run
        after = replace(
            after, run=run, running=True, fresh=False, ended=None, how=None, round_change=write
        )
        return Moment(handled, before, after, (T.TRAINING_START, kind), "Training Started")
    if (state_of(before.told), round_of(before.told)) != (state_of(write.new), round_of(write.new)):
        after = replace(after, round_change=write)
        return Moment(handled, before, after, (kind,), "Training Changed")
    options = (write.old or {}).get("options") != (write.new or {}).get("options")
    return Moment(handled, before, after, (), "Training Changed" if options else None)


def _deleted(handled: Handled, before: Standing) -> Moment:
    write = handled.write
    after = replace(before, told=None, told_at=write.sequence_number, fresh=True)
    # What began the run may be a dead letter.
    if before.running or (state_of(write.old) in RUNNING and before.how != "COMPLETED"):
        after = replace(after, running=False, ended=write, how="DELETED")
        return Moment(handled, before, after, (T.TRAINING_ERROR,), "Training Ended")
    return Moment(handled, before, after)

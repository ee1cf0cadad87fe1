"""A training as of each of its changes: who took part, whether it ran, what had been told.

Made from the stream's records alone, in the order in which they count, and never from what the
table says when one of them is processed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
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


@dataclass(frozen=True)
class Handled:
    """A record that was processed.

    Attributes:
        write: the change.
        done: when it had been processed for the first time.
        last: when it was processed for the last time.
        redriven: whether it comes from a dead letter.
    """

    write: Write
    done: float
    last: float
    redriven: bool = False


@dataclass(frozen=True)
class Standing:
    """How things stand with a training's run.

    Attributes:
        run: the sequence number of the change that began the latest run; None if none has begun.
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
    """

    handled: Handled
    before: Standing
    after: Standing
    kinds: tuple[NotificationType, ...] = ()
    event: str | None = None
    overtaken: bool = False

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
                if not standing.known and readable_training(write.old):
                    standing = _older_than_the_service(write)
                moment = _training_record(handled, standing)
            else:
                moment = Moment(handled, standing, standing)
            standing = moment.after
            yield moment


def _older_than_the_service(first: Write) -> Standing:
    """What the first record that is read says of what was before."""
    if state_of(first.old) in RUNNING:
        return Standing("0", running=True, fresh=False, told=first.old)
    return Standing(told=first.old)


def _training_record(handled: Handled, before: Standing) -> Moment:
    write = handled.write
    if write.sequence_number <= before.told_at:
        new = write.new if readable_training(write.new) else None
        begins = new is not None and state_of(new) in RUNNING and state_of(write.old) not in RUNNING
        kinds = (T.TRAINING_START,) if begins and before.running else ()
        return Moment(handled, before, before, kinds, overtaken=True)
    if write.new is None:
        return _deleted(handled, before)
    if not readable_training(write.new):
        return Moment(handled, before, before)
    after = replace(before, told=write.new, told_at=write.sequence_number)
    state, changed = state_of(write.new), _changed(before.told, write.new)
    if state in RUNNING:
        return _runs(handled, before, after, changed=changed)
    if state in FINAL:
        kinds = (END_TYPE[state or ""],) if state_of(before.told) != state else ()
        if kinds:
            after = replace(after, running=False, ended=write, how=state)
        return Moment(handled, before, after, kinds, "Training Ended" if before.running else None)
    return Moment(
        handled, before, replace(after, running=False, ended=write, how=state, fresh=True)
    )


def _runs(handled: Handled, before: Standing, after: Standing, *, changed: bool) -> Moment:
    write = handled.write
    kind = ROUND_TYPE[state_of(write.new) or ""]
    if before.running:
        if not changed:
            options = (before.told or {}).get("options") != (write.new or {}).get("options")
            return Moment(handled, before, after, (), "Training Changed" if options else None)
        after = replace(after, round_change=write)
        return Moment(handled, before, after, (kind,), "Training Changed")
    run = str(write.sequence_number) if before.fresh else before.run
    after = replace(
        after, run=run, running=True, fresh=False, ended=None, how=None, round_change=write
    )
    return Moment(handled, before, after, (T.TRAINING_START, kind), "Training Started")


def _deleted(handled: Handled, before: Standing) -> Moment:
    write = handled.write
    after = replace(before, told=None, told_at=write.sequence_number, fresh=True)
    ran = before.running or (state_of(write.old) in RUNNING and before.how != "COMPLETED")
    if ran:
        after = replace(after, running=False, ended=write, how="DELETED")
        return Moment(handled, before, after, (T.TRAINING_ERROR,), "Training Ended")
    if before.how not in FINAL:
        after = replace(after, running=False, ended=None, how=None)
    return Moment(handled, before, after)


def _changed(old: Item | None, new: Item) -> bool:
    return (state_of(old), round_of(old)) != (state_of(new), round_of(new))

"""What a run should have led to: the design's table "State change → notifications", written anew.

Which notifications a change calls for is certain. Whom they are for is not always: participants
are read a little later than the change was made, and who came or went in between may be told.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from fl_notifications.deliveries import delivery as library
from fl_notifications.notification_type import NotificationType
from tests.aws.dynamodb import Write
from tests.aws.expressions import Item
from tests.simulation.history import (
    PARTICIPANT,
    TRAINING,
    History,
    joined_at,
    readable_participant,
    readable_training,
    state_of,
    text_of,
)

T = NotificationType
RUNNING = {"ONGOING", "SWAG_ROUND", "MODEL_TEST"}
FINAL = {"COMPLETED", "ERROR"}
ANNOUNCED = {
    T.UPDATE_ROUND_START: "ONGOING",
    T.SWAG_ROUND_START: "SWAG_ROUND",
    T.MODEL_TEST_ROUND: "MODEL_TEST",
}


def notification_id(training: str, source: str, kind: NotificationType, receiver: str) -> str:
    return library.notification_id(kind, receiver, training_uuid=training, run=None, source=source)


def start_id(training: str, receiver: str, joined_at: str | None) -> str:
    return library.notification_id(
        T.TRAINING_START,
        receiver,
        training_uuid=training,
        run=None,
        source="",
        joined_at=joined_at,
    )


@dataclass(frozen=True)
class Expected:
    """What one record of the stream calls for, for one receiver.

    Attributes:
        order: the place in the order of the training's changes.
        must: whether it has to come; else it may.
        of_training: from a change of the training's item, not a participant's.
    """

    id: str
    kind: NotificationType
    receiver: str
    order: tuple[int, int]
    must: bool
    of_training: bool


def expectations(history: History) -> list[Expected]:
    """What all records together call for."""
    return [
        each
        for writes in history.writes.values()
        for write in writes
        if write.sequence_number in history.processed
        for each in (
            _of_training(history, write)
            if write.key[1] == TRAINING
            else _of_participant(history, write)
        )
    ]


def kinds_of(old: Item | None, new: Item) -> list[NotificationType]:
    """The notifications that follow a change of a training's item, in their order.

    Where the training was before counts even if its item was unreadable for another reason: what it
    called for is a dead letter then.
    """
    state, number = new["state"]["S"], new["round"]["N"]
    was = state_of(old)
    changed = old is None or was != state or old["round"]["N"] != number
    if state == "ONGOING" and was in {None, "INITIAL"}:
        return [T.TRAINING_START, T.UPDATE_ROUND_START]
    if state in RUNNING and changed:
        return [kind for kind, announced in ANNOUNCED.items() if announced == state]
    if state in FINAL and was != state:
        return [T.TRAINING_FINISHED if state == "COMPLETED" else T.TRAINING_ERROR]
    return []


@dataclass(frozen=True)
class _Candidate:
    """Somebody who was a participant at some moment between a change and its being processed."""

    receiver: str
    versions: tuple[Item | None, ...]

    @property
    def readable(self) -> list[Item]:
        return [item for item in self.versions if item is not None and readable_participant(item)]

    @property
    def all_the_time(self) -> bool:
        return all(map(readable_participant, self.versions))


def _of_training(history: History, write: Write) -> Iterator[Expected]:
    new = write.new
    if new is None or not readable_training(new):
        return
    training = write.key[0]
    _, end = history.processed[write.sequence_number]
    candidates = [
        _Candidate(
            entity.removeprefix(PARTICIPANT), tuple(history.over(training, entity, write.at, end))
        )
        for entity in history.participants_ever(training)
    ]
    candidates = [candidate for candidate in candidates if candidate.readable]
    kinds = kinds_of(write.old, new)
    for index, kind in enumerate(kinds):
        order = (write.sequence_number, index)
        for candidate in candidates:
            if kind is T.TRAINING_START:
                yield from _starts(history, write, order, candidate)
            else:
                must = history.certain(write) and candidate.all_the_time
                yield _notification(write, kind, candidate.receiver, order, must=must)
        if kind in ANNOUNCED:
            before = new if T.TRAINING_START in kinds else write.old
            for candidate in candidates:
                yield from _starts_of_who_joined_since(write, order, before, candidate)
        if kind in {T.TRAINING_FINISHED, T.TRAINING_ERROR}:
            actor = new["actor"]["M"]["uuid"]["S"]
            yield _notification(write, kind, actor, order, must=history.certain(write))


def _notification(
    write: Write, kind: NotificationType, receiver: str, order: tuple[int, int], *, must: bool
) -> Expected:
    each = notification_id(write.key[0], str(write.sequence_number), kind, receiver)
    return Expected(each, kind, receiver, order, must=must, of_training=write.key[1] == TRAINING)


def _starts(
    history: History, write: Write, order: tuple[int, int], candidate: _Candidate
) -> Iterator[Expected]:
    ids = {
        start_id(write.key[0], candidate.receiver, joined_at(item)) for item in candidate.readable
    }
    must = history.certain(write) and candidate.all_the_time and len(ids) == 1
    for each in ids:
        yield Expected(
            each, T.TRAINING_START, candidate.receiver, order, must=must, of_training=True
        )


def _starts_of_who_joined_since(
    write: Write, order: tuple[int, int], before: Item | None, candidate: _Candidate
) -> Iterator[Expected]:
    """Who joined since the change before may be told of the start by this one, before its round."""
    changed = text_of(before, "last_update")
    for item in candidate.readable:
        joined = joined_at(item)
        if joined is not None and changed is not None and joined > changed:
            yield Expected(
                start_id(write.key[0], candidate.receiver, joined),
                T.TRAINING_START,
                candidate.receiver,
                order,
                must=False,
                of_training=True,
            )


def _of_participant(history: History, write: Write) -> Iterator[Expected]:
    training, entity = write.key
    receiver = entity.removeprefix(PARTICIPANT)
    _, end = history.processed[write.sequence_number]
    trainings = list(history.over(training, TRAINING, write.at, end))
    order = (write.sequence_number, 0)
    if write.old is None and readable_participant(write.new):
        running = [readable_training(item) and state_of(item) in RUNNING for item in trainings]
        if any(running):
            each = start_id(training, receiver, joined_at(write.new))
            must = history.certain(write) and all(running)
            yield Expected(each, T.TRAINING_START, receiver, order, must=must, of_training=False)
    elif write.new is None and readable_participant(write.old) and not write.by_ttl:
        going = [readable_training(item) and state_of(item) != "COMPLETED" for item in trainings]
        if any(going):
            must = history.certain(write) and all(going)
            yield _notification(write, T.CLIENT_REMOVED, receiver, order, must=must)

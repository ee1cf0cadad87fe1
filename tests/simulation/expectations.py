"""What a run should have led to: the design's table "State change → notifications", written anew.

Strictly, and as of the change: whoever was a participant when a change was made is to be told of
it. Who left before the change was processed is told what its leaving calls for instead; that too is
decided by how things stood when it left. Who came in between may be told.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from fl_notifications.notification_type import NotificationType
from tests.simulation.history import History
from tests.simulation.ids import ROUNDS, id_of
from tests.simulation.timeline import (
    END_TYPE,
    PARTICIPANT,
    ROUND_TYPE,
    TRAINING,
    Membership,
    Moment,
    Timeline,
    announces_removals,
    option,
    readable_participant,
    selected,
    state_of,
)

T = NotificationType
TOLD_TO_THE_ACTOR = {T.TRAINING_FINISHED, T.TRAINING_ERROR}


@dataclass(frozen=True)
class Expected:
    """What one record of the stream calls for, for one receiver.

    Attributes:
        order: the place in the order of the training's changes.
        must: whether it has to come; else it may.
        moment: the record.
        membership: whose; None for the actor.
    """

    id: str
    kind: NotificationType
    receiver: str
    order: tuple[int, int]
    must: bool
    moment: Moment
    membership: Membership | None


def expectations(history: History) -> list[Expected]:
    """What all records together call for."""
    return [
        each
        for timeline in history.timelines.values()
        for moment in timeline.moments
        for each in (
            _of_training(timeline, moment)
            if moment.write.key[1] == TRAINING
            else _of_participant(timeline, moment)
        )
    ]


def _expected(
    moment: Moment,
    kind: NotificationType,
    receiver: str,
    place: int,
    *,
    must: bool,
    membership: Membership | None,
    source: str | None = None,
    run: str | None = None,
) -> Expected:
    run = run or moment.run
    must = must and moment.handled.given_up is None
    return Expected(
        id_of(
            kind,
            receiver,
            training=moment.write.key[0],
            run=run,
            source=source or str(moment.number),
            joined_at=membership.joined_at if membership is not None else None,
        ),
        kind,
        receiver,
        (moment.number, place),
        must=must,
        moment=moment,
        membership=membership,
    )


def _of_training(timeline: Timeline, moment: Moment) -> Iterator[Expected]:
    handled = moment.handled
    done, last = max(handled.done, handled.read), max(handled.last, handled.read)
    for each in timeline.memberships:
        there = each.at(moment.number)
        if not there and not each.between(moment.number, last):
            continue
        # Who left meanwhile is told what that calls for, in the place of this.
        must = there and each.lasts_until(done) and not moment.overtaken
        yield from _in_a_fan_out(moment, each, must=must)
    told = moment.write.new or moment.before.told or moment.write.old
    for place, kind in enumerate(moment.kinds):
        if kind in TOLD_TO_THE_ACTOR and told is not None and not moment.overtaken:
            actor = told["actor"]["M"]["uuid"]["S"]
            yield _expected(moment, kind, actor, 10 + place, must=True, membership=None)


def _in_a_fan_out(moment: Moment, each: Membership, *, must: bool) -> Iterator[Expected]:
    new = moment.write.new
    for place, kind in enumerate(moment.kinds):
        if kind is T.TRAINING_START:
            yield _expected(
                moment, kind, each.receiver, place, must=must, membership=each, source=moment.run
            )
            continue
        if kind in ROUNDS and new is not None:
            chosen = selected(new)
            if chosen is not None and each.receiver not in chosen:
                continue
            if T.TRAINING_START not in moment.kinds:
                # Whoever does not say clearly that it joined before the run is told the start.
                yield _late_start(moment, each, must=False)
        yield _expected(moment, kind, each.receiver, 10 + place, must=must, membership=each)


def _late_start(moment: Moment, each: Membership, *, must: bool) -> Expected:
    """The start that the record of who joins calls for."""
    own = moment.write.key[1] != TRAINING
    source = str(moment.number if own else each.begin.sequence_number)
    return _expected(
        moment, T.TRAINING_START, each.receiver, 0, must=must, membership=each, source=source
    )


def _of_participant(timeline: Timeline, moment: Moment) -> Iterator[Expected]:
    write = moment.write
    if not moment.before.known:
        return
    if moment.handled.redriven:
        yield from _redriven(timeline, moment)
    for each in timeline.memberships:
        if each.begin is write:
            yield from _joins(moment, each)
        # Who overwrites an item has left, but is told of the joining only.
        if each.end is write and write.new is None and not write.by_ttl:
            yield from _leaves(moment, each)
            yield from _others(timeline, moment, each.receiver)


def _redriven(timeline: Timeline, moment: Moment) -> Iterator[Expected]:
    """A dead letter of a participant: its item is another by now, of whichever membership."""
    write = moment.write
    for each in timeline.memberships:
        if each.receiver != write.key[1].removeprefix(PARTICIPANT):
            continue
        others = _others(timeline, moment, each.receiver)
        for expected in (*_joins(moment, each), *_leaves(moment, each), *others):
            yield replace(expected, must=False)


def _joins(moment: Moment, each: Membership) -> Iterator[Expected]:
    standing = moment.before
    mended = each.begin.old is not None and not readable_participant(each.begin.old)
    if standing.running:
        yield _late_start(moment, each, must=True)
        current = option(standing.told, "late_joiners") == "current_round"
        if standing.round_change is not None and standing.told is not None:
            chosen = selected(standing.told)
            if chosen is None or each.receiver in chosen:
                yield _expected(
                    moment,
                    ROUND_TYPE[state_of(standing.told) or ""],
                    each.receiver,
                    1,
                    must=mended or current,
                    membership=each,
                    source=str(standing.round_change.sequence_number),
                )
    elif mended and standing.how in END_TYPE:
        yield _end(moment, each)


def _leaves(moment: Moment, each: Membership) -> Iterator[Expected]:
    standing = moment.before
    if not standing.running and standing.how in END_TYPE:
        yield _end(moment, each)
    if standing.running or standing.how == "ERROR":
        yield _expected(moment, T.CLIENT_REMOVED, each.receiver, 1, must=True, membership=each)


def _others(timeline: Timeline, moment: Moment, removed: str) -> Iterator[Expected]:
    """What all others are told of a removal, if the training says so."""
    standing, handled = moment.before, moment.handled
    if not standing.running or not announces_removals(standing.told):
        return
    done, last = max(handled.done, handled.read), max(handled.last, handled.read)
    for each in timeline.memberships:
        there = each.at(moment.number)
        if each.receiver != removed and (there or each.between(moment.number, last)):
            must = there and each.lasts_until(done)
            yield _expected(
                moment, T.PARTICIPANT_REMOVED, each.receiver, 2, must=must, membership=each
            )


def _end(moment: Moment, each: Membership) -> Expected:
    """What its fan-out says of a run's end, once more: with the same id."""
    ended = moment.before.ended
    source = str(ended.sequence_number) if ended is not None else "0"
    kind = END_TYPE[moment.before.how or ""]
    return _expected(moment, kind, each.receiver, 0, must=True, membership=each, source=source)

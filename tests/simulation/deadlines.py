"""Rounds that last too long: the design's section "Deadlines"."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from tests.aws.dynamodb import Write
from tests.simulation.case import Case
from tests.simulation.history import History
from tests.simulation.ids import id_of
from tests.simulation.timeline import (
    PARTICIPANT,
    ROUND_TYPE,
    TRAINING,
    Membership,
    Moment,
    joined_at,
    option,
    round_of,
    selected,
    state_of,
    text_of,
)

OVERDUE = "training_overdue_callback"
OLDER = "0"
"""What announced a round before the service read anything."""

LATENESS = 200.0
"""How long after its deadline a round may go unnoticed, without faults: two sweeps or so."""


def deadlines_hold(case: Case) -> None:
    """A round that is still the training's at its deadline is told of, and no other."""
    history = case.history
    told = {
        (event["detail"]["training_uuid"], event["detail"]["sequence"])
        for _, event in history.changes
        if event["detail-type"] == "Training Overdue"
    }
    for at, event in history.changes:
        if event["detail-type"] == "Training Overdue":
            _is_overdue(case, at, event["detail"])
    if history.world.faults.struck or history.run.upgraded_at is not None:
        return
    for training, timeline in history.timelines.items():
        for moment, following in zip(timeline.moments, [*timeline.moments[1:], None], strict=True):
            if _lasted_too_long(history, moment, following):
                key = (training, str(moment.number))
                case.expect("a round that lasts too long is told of", key in told, key)


def _lasted_too_long(history: History, moment: Moment, following: Moment | None) -> bool:
    """Whether nothing at all happened to the training for longer than the deadline."""
    seconds = _deadline(moment.write)
    if seconds is None or moment.after.round_change is not moment.write:
        return False
    end = history.world.kernel.now if following is None else following.write.at
    return end > moment.write.at + seconds + LATENESS


def _deadline(write: Write) -> float | None:
    options = (write.new or {}).get("options", {}).get("M", {})
    number = options.get("round_deadline_seconds", {}).get("N")
    return None if number is None else float(number)


def _is_overdue(case: Case, at: float, detail: Mapping[str, Any]) -> None:
    history = case.history
    training = detail["training_uuid"]
    due = datetime.fromisoformat(detail["due_at"]).timestamp()
    case.expect("no round is overdue before its time", at >= due, detail)
    items = history.over(training, TRAINING, at - 61, at)
    still = any((state_of(it), round_of(it)) == _place(detail) for it in items)
    case.expect("what is overdue is the training's round", still, detail)
    moments = history.timelines[training].moments
    known = [it.run for it in moments if str(it.number) == detail["sequence"]]
    if detail["sequence"] == OLDER and is_older(moments):
        known = [OLDER]
    case.expect("what is overdue was announced", known and detail["run"] == known[0], detail)
    callback = None if detail["policy"] == "event" else OVERDUE
    case.expect("an overdue round names its callback", detail["callback"] == callback, detail)


def is_older(moments: Iterable[Moment]) -> bool:
    """Whether a training ran already when its first record was read."""
    return any(it.before.run == OLDER for it in moments)


def _place(detail: Mapping[str, Any]) -> tuple[str, str]:
    return detail["state"], str(detail["round"])


def may_be_for_a_deadline(history: History, write: Write) -> bool:
    """Whether what the failure callback wrote follows from a deadline."""
    for at, event in history.changes:
        detail = event["detail"]
        concerns = detail.get("callback") == OVERDUE and detail["training_uuid"] == write.key[0]
        if not concerns or at > write.at:
            continue
        training = history.version(write.key[0], TRAINING, write.at)
        if write.key[1] == TRAINING:
            training = write.old
        if (state_of(training), round_of(training)) != _place(detail):
            continue
        policy = option(training, "on_deadline")
        if write.key[1] == TRAINING:
            return policy == "error"
        member = next(it for it in history.timelines[write.key[0]].memberships if it.end is write)
        if waited_for(history, member, detail, policy, write.at - 1.0):
            return True
    return False


def waited_for(
    history: History, member: Membership, detail: Mapping[str, Any], policy: str | None, at: float
) -> bool:
    """Whether a round waits for somebody: not for who says it joined later, or was not selected."""
    joined_later = member.begin.sequence_number > int(detail["sequence"])
    if joined_later and not _may_have_been_there(member, detail):
        return False
    for moment in history.timelines[detail["training_uuid"]].moments:
        chosen = selected(moment.write.new or {})
        announced = str(moment.number) == detail["sequence"]
        if announced and chosen is not None and member.receiver not in chosen:
            return False
    if policy == "remove_unreported":
        item = history.version(detail["training_uuid"], f"{PARTICIPANT}{member.receiver}", at)
        return text_of(item, "reported") != f"{detail['state']}#{detail['round']}"
    if policy != "remove_unaccepted":
        return False
    notice = id_of(
        ROUND_TYPE[detail["state"]],
        member.receiver,
        training=detail["training_uuid"],
        run=detail["run"],
        source=detail["sequence"],
        joined_at=member.joined_at,
    )
    concluded = history.concluded_at(notice)
    accepted = history.outcome_of(notice) == "accepted"
    return not (accepted and concluded is not None and concluded <= at)


def overdue_is_done(case: Case) -> None:
    """When the callback has ended, nobody is left for whom the round waits."""
    history = case.history
    for event, invocation in history.world.handled_events()["CallbackFailure"]:
        detail = event["detail"]
        if detail.get("callback") != OVERDUE:
            continue
        training, end = detail["training_uuid"], invocation.ended
        items = list(history.over(training, TRAINING, invocation.began, end))
        if any((state_of(it), round_of(it)) != _place(detail) for it in items):
            continue
        policies = {option(it, "on_deadline") for it in items}
        if len(policies) != 1:
            continue
        (policy,) = policies
        case.expect("a deadline ends the training, if it is to", policy != "error", detail)
        for member in history.timelines[training].memberships:
            left = joined_at(history.version(training, f"{PARTICIPANT}{member.receiver}", end))
            there = member.lasts_until(end) and member.begin.at <= end
            if there and left == member.joined_at and _says_it_was_there(member, detail):
                case.expect(
                    "for whom an overdue round waits is removed",
                    not waited_for(history, member, detail, policy, end),
                    f"{member.receiver} in {detail}",
                )


def _may_have_been_there(member: Membership, detail: Mapping[str, Any]) -> bool:
    """Whether its `joined_at` is not after the beginning of the round: none is before."""
    try:
        said = datetime.fromisoformat(member.joined_at or "")
        return said <= datetime.fromisoformat(detail["began_at"])
    except (ValueError, TypeError):
        return True


def _says_it_was_there(member: Membership, detail: Mapping[str, Any]) -> bool:
    """Whether its `joined_at` is before the round, by whichever clock."""
    try:
        said = datetime.fromisoformat(member.joined_at or "")
    except ValueError:
        return False
    return said.tzinfo is not None and said < datetime.fromisoformat(detail["began_at"])

"""What follows an outcome or a removal: the design's sections "Failure policy" and "Events"."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.aws.dynamodb import Write
from tests.aws.expressions import Item
from tests.simulation.case import Case
from tests.simulation.deadlines import OLDER, OVERDUE, is_older, may_be_for_a_deadline
from tests.simulation.history import Built, History
from tests.simulation.ids import T
from tests.simulation.lambdas import Invocation
from tests.simulation.timeline import (
    ANNOUNCED,
    PARTICIPANT,
    REMOVED,
    RUNNING,
    TRAINING,
    Moment,
    joined_at,
    option,
    readable_participant,
    readable_training,
    round_of,
    state_of,
    text_of,
)

SUCCESS = "training_notification_callback_success"
FAILURE = "training_notification_callback_failure"
QUORUM = "enforce_quorum"
LONGEST = 40.0
"""How long ago a callback may have read what it decides by, in seconds."""


def outcome_of(event: Mapping[str, Any]) -> str:
    return str(event["detail-type"].removeprefix("Notification ").lower())


# Invariant 4: callbacks run


def callbacks_run(case: Case) -> None:
    """Each event that names a callback gets it, or is a dead letter."""
    world = case.history.world
    ended: dict[str, Counter[str]] = defaultdict(Counter)
    for name, handled in world.handled_events().items():
        ended[name].update(event["id"] for event, _ in handled)
    for message in world.callbacks_dlq.accepted:
        event = json.loads(message.body)
        event = event.get("requestPayload", event)
        for name in ("CallbackSuccess", "CallbackFailure"):
            ended[name][event.get("id", "")] += 1
    for _, event in world.bus.events:
        callback = event["detail"].get("callback")
        name = "CallbackSuccess" if callback == SUCCESS else "CallbackFailure"
        if callback in {SUCCESS, FAILURE, QUORUM, OVERDUE}:
            case.expect(
                "a callback runs, or its event is a dead letter", ended[name][event["id"]], event
            )


@dataclass(frozen=True)
class Told:
    """A rejected or failed round notification, of which the failure callback is told.

    Attributes:
        built: the notification; the event may leave something out.
    """

    at: float
    event: Mapping[str, Any]
    built: Built

    @property
    def detail(self) -> Mapping[str, Any]:
        detail: Mapping[str, Any] = self.event["detail"]
        return detail

    @property
    def name(self) -> str:
        detail = self.detail
        return f"{outcome_of(self.event)} {detail['notification_type']} {detail['round']}"

    @property
    def training(self) -> str:
        return str(self.detail["training_uuid"])

    @property
    def entity(self) -> str:
        return f"{PARTICIPANT}{self.detail['receiver_uuid']}"

    def removes(self, training: Item | None) -> bool:
        """Whether the policy is to remove the participant; else the training ends."""
        rejected = outcome_of(self.event) == "rejected"
        return rejected or option(training, "failure_policy") == "quorum"

    def is_about(self, training: Item | None) -> bool:
        """Whether the training is still where it was announced to be."""
        if training is None:
            return False
        announced = ANNOUNCED[T(self.detail["notification_type"])]
        return state_of(training) == announced and (round_of(training) == str(self.detail["round"]))

    def concerns(self, item: Item | None) -> bool:
        """Whether it is this membership's."""
        if item is None:
            return False
        return not self.built.knows_membership or joined_at(item) == self.built.joined_at

    def in_run(self, history: History, begin: float, end: float, *, always: bool) -> bool:
        """Whether its run was the latest at some moment, or all the time."""
        run = self.built.run
        if run is None:
            return True
        runs = [it <= int(run) for it in history.run_over(self.training, begin, end)]
        return all(runs) if always else any(runs)


def _told(history: History, at: float, event: Mapping[str, Any]) -> Told:
    return Told(at, event, history.by_id[event["detail"]["notification_id"]][0])


def _failures(history: History) -> list[Told]:
    return [
        _told(history, at, event)
        for at, event in history.outcomes
        if event["detail"]["callback"] == FAILURE
    ]


# No membership is touched by another's outcome


def changes_by_callbacks(case: Case) -> None:
    """What the failure callback writes is what the policy says, where it says so."""
    history = case.history
    told: dict[str, list[Told]] = defaultdict(list)
    for each in _failures(history):
        told[each.training].append(each)
    removals: Counter[str] = Counter()
    for write in history.world.trainings.writes:
        if write.by != "CallbackFailure":
            continue
        before = [each for each in told[write.key[0]] if each.at <= write.at]
        where = f"{write.key[1]} at {write.at - history.world.kernel.start:.2f}"
        if write.key[1] == TRAINING:
            case.expect(
                "a training is ended only as the policy says",
                any(_may_end(history, each, write) for each in before)
                or may_be_for_a_deadline(history, write)
                or _lacks(history, write.key[0], write.at - LONGEST, write.at, write.old),
                f"{write.old} -> {write.new}",
            )
            case.expect("only state and error change", _only_ended(write), write)
        elif write.key[1].startswith(REMOVED):
            case.expect("a removal has its item", _is_removal(history, write), where)
            removals[text_of(write.new, "notification_id") or ""] += 1
        else:
            case.expect(
                "the failure callback deletes only whom the policy says",
                write.new is None
                and (
                    any(_may_remove(history, each, write) for each in before)
                    or may_be_for_a_deadline(history, write)
                ),
                where,
            )
            case.expect("whom it removes has an item", _removed_item(history, write), where)
    for notification, times in removals.items():
        case.expect("a notification removes once", times == 1, notification)


def _only_ended(write: Write) -> bool:
    old, new = write.old, write.new
    if old is None or new is None or state_of(new) != "ERROR" or state_of(old) not in RUNNING:
        return False
    written = {"state", "error"}
    return {k: v for k, v in new.items() if k not in written} == {
        k: v for k, v in old.items() if k not in written
    }


def _may_end(history: History, told: Told, write: Write) -> bool:
    """Failed, strict: if the membership is still that one."""
    item = history.version(told.training, told.entity, write.at)
    about = told.is_about(write.old) and not told.removes(write.old) and told.concerns(item)
    error = (write.new or {}).get("error", {}).get("M", {})
    named = error.get("notification_id", {}).get("S") == told.detail["notification_id"]
    in_run = told.in_run(history, write.at - LONGEST, write.at, always=False)
    return about and named and in_run


def _may_remove(history: History, told: Told, write: Write) -> bool:
    if write.key[1] != told.entity or not told.concerns(write.old):
        return False
    begin = write.at - LONGEST
    trainings = list(history.over(told.training, TRAINING, begin, write.at))
    asked = any(told.is_about(each) and told.removes(each) for each in trainings)
    return asked and told.in_run(history, begin, write.at, always=False)


def _removed_item(history: History, write: Write) -> Write | None:
    """The `REMOVED#` item that was written together with a deletion."""
    receiver = write.key[1].removeprefix(PARTICIPANT)
    key = (write.key[0], f"{REMOVED}{receiver}")
    for each in history.writes[write.key[0]]:
        if each.key == key and each.at == write.at and each.by == write.by:
            return each if joined_at(each.new) == joined_at(write.old) else None
    return None


def _is_removal(history: History, write: Write) -> bool:
    receiver = write.key[1].removeprefix(REMOVED)
    key = (write.key[0], f"{PARTICIPANT}{receiver}")
    complete = write.new is not None and {"reason", "notification_id", "at"} <= write.new.keys()
    return complete and any(
        each.key == key and each.at == write.at and each.new is None
        for each in history.writes[write.key[0]]
    )


# What the policy says is done


def policy_is_done(case: Case) -> None:
    """When a failure callback has ended, all that the policy says is so."""
    history = case.history
    for event, invocation in history.world.handled_events()["CallbackFailure"]:
        if event["detail"].get("callback") == FAILURE:
            _done(case, _told(history, 0.0, event), invocation)


def _done(case: Case, told: Told, invocation: Invocation) -> None:
    history = case.history
    first_told = history.events[told.detail["notification_id"]][0][0]
    begin, end = invocation.began, invocation.ended
    trainings = list(history.over(told.training, TRAINING, begin, end))
    if not all(map(readable_training, trainings)) or not all(map(told.is_about, trainings)):
        return
    if not told.in_run(history, begin, end, always=True) or _restarted(history, told, begin):
        return
    removes = [told.removes(each) for each in trainings]
    items = list(history.over(told.training, told.entity, begin, end))
    still = all(map(told.concerns, items))
    if all(removes):
        gone = any(
            not told.concerns(it)
            for it in history.over(told.training, told.entity, first_told, end)
        )
        case.expect(
            "rejected, or failed with a quorum: the participant is removed",
            gone or not still,
            told.name,
        )
    elif not any(removes):
        case.expect("failed, strict: the training ends", not still, told.name)


def _restarted(history: History, told: Told, at: float) -> bool:
    """Whether another run has begun, as far as the table says."""
    run = told.built.run
    return any(
        each.key[1] == TRAINING
        and each.at <= at
        and run is not None
        and each.sequence_number > int(run)
        and state_of(each.new) in {None, "INITIAL"}
        for each in history.writes[told.training]
    )


# Quorum


def enough_take_part(case: Case) -> None:
    """No training is left running that lacks a required participant, or has too few."""
    history = case.history
    world = history.world
    if world.callbacks_dlq.accepted or history.given_up or history.run.upgraded_at is not None:
        return
    end = world.kernel.now
    for training in case.servers:
        item = world.trainings.items.get((training, TRAINING))
        if item is None or state_of(item) not in RUNNING or not readable_training(item):
            continue
        last = history.timelines[training].moments[-1].after
        if last.told is None or not last.running:
            continue
        case.expect(
            "a training that lacks participants has ended",
            not _lacks(history, training, end, end, item),
            training,
        )


def _lacks(history: History, training: str, begin: float, end: float, item: Item | None) -> bool:
    """Whether at some moment of a while a required participant was missing, or too many."""
    if state_of(item) not in RUNNING:
        return False
    options = (item or {}).get("options", {}).get("M", {})
    least = int(options.get("min_participants", {}).get("N", "1"))
    required = [each["S"] for each in options.get("required_participants", {}).get("L", [])]
    if min(history.counts(training, begin, end)) < least:
        return True
    return any(
        not readable_participant(version)
        for uuid in required
        for version in history.over(training, f"{PARTICIPANT}{uuid}", begin, end)
    )


# Events of changes


def changes_are_told(case: Case) -> None:
    """The table of events of changes; nothing else is told."""
    history = case.history
    told: dict[tuple[str, str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for _, event in history.changes:
        detail = event["detail"]
        key = (event["detail-type"], detail["training_uuid"], detail["sequence"])
        told[key].append(detail)
    allowed = set()
    for training, timeline in history.timelines.items():
        if is_older(timeline.moments):
            allowed.add(("Training Overdue", training, OLDER))
        for moment in timeline.moments:
            for kind, must in _events_of(moment):
                key = (kind, training, str(moment.number))
                allowed.add(key)
                if must and moment.handled.given_up is None:
                    case.expect("a change is told to the bus", told[key], key)
                for detail in told[key]:
                    _as_documented(case, history, moment, kind, detail)
    for key, details in told.items():
        case.expect("no event without its change", not details or key in allowed, key)


def _events_of(moment: Moment) -> list[tuple[str, bool]]:
    """The kinds of event that a record calls for, and whether they have to come."""
    write, redriven = moment.write, moment.handled.redriven
    if write.key[1] == TRAINING:
        # A fan-out that meets an unreadable participant may say so.
        also = [("Participant Unreadable", False), ("Training Overdue", False)]
        return [(moment.event, not redriven), *also] if moment.event is not None else also
    if not write.key[1].startswith(PARTICIPANT):
        return []
    # Before the first training record that can be read, no run is known.
    running = moment.before.running and moment.before.known
    if write.new is None:
        # The others are told, and one of them may not be readable.
        removed = ("Participant Removed", running and readable_participant(write.old))
        return [removed, ("Participant Unreadable", False)]
    if not readable_participant(write.new):
        return [("Participant Unreadable", running)]
    return []


def _as_documented(
    case: Case, history: History, moment: Moment, kind: str, detail: Mapping[str, Any]
) -> None:
    if kind == "Training Overdue":
        return  # asked elsewhere
    callback = None if kind == "Training Ended" else QUORUM
    case.expect("an event of a change names its callback", detail["callback"] == callback, kind)
    case.expect(
        "an event of a change says its run",
        detail["run"] in {moment.run, moment.before.run} or moment.handled.redriven,
        f"{kind}: {detail['run']} instead of {moment.run}",
    )
    if kind == "Participant Removed":
        _removal_as_documented(case, history, moment, detail)
    elif kind == "Training Ended":
        how = "DELETED" if moment.write.new is None else state_of(moment.write.new)
        case.expect("an event says how a run ended", detail["state"] == how, detail)
    elif kind != "Participant Unreadable":
        new = moment.write.new
        case.expect(
            "an event says state and round",
            (detail["state"], str(detail["round"])) == (state_of(new), round_of(new)),
            detail,
        )


def _removal_as_documented(
    case: Case, history: History, moment: Moment, detail: Mapping[str, Any]
) -> None:
    write = moment.write
    case.expect(
        "an event says which membership has left",
        detail["joined_at"] == joined_at(write.old),
        detail,
    )
    removal = _removed_item(history, write)
    reasons = {None} if removal is None else {text_of(removal.new, "notification_id"), None}
    if removal is None and joined_at(write.old) is None:
        return  # an earlier one without a membership of its own may be taken for it
    case.expect("an event says why", detail["notification_id"] in reasons, detail)
    if removal is not None and joined_at(write.old) is not None:
        later = any(
            each.key == removal.key and each.sequence_number > removal.sequence_number
            for each in history.writes[write.key[0]]
        )
        case.expect(
            "an event says what led to a removal",
            later or detail["notification_id"] is not None,
            detail,
        )

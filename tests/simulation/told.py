"""Who is told what, where, in which order, and what is superseded: judged as of the change."""

from collections import defaultdict
from datetime import datetime

from tests.aws.expressions import Item
from tests.simulation.case import Case
from tests.simulation.expectations import Expected
from tests.simulation.history import Built, History
from tests.simulation.ids import ROUNDS, T
from tests.simulation.timeline import (
    ANNOUNCED,
    FINAL,
    PARTICIPANT,
    TRAINING,
    Membership,
    joined_at,
    readable_participant,
    round_of,
    state_of,
)

STALE_SECONDS = 1.1
"""How old what a function reads may be."""
CLOCK_MARGIN = 300.0
"""How far behind a server's clock may be."""


def who_gets_what(case: Case) -> None:
    """The table "State change → notifications", with its receivers; nothing else is built."""
    history = case.history
    for each in case.expected:
        if each.must:
            case.expect(
                "what a change calls for is built",
                each.id in history.by_id,
                f"{each.kind.value} for {each.receiver} after write {each.order[0]}",
            )
    for built in history.built:
        options = case.by_id.get(built.id, [])
        case.expect(
            "nothing is built that no change calls for",
            any((each.kind, each.receiver) == (built.kind, built.receiver) for each in options),
            f"{built.name} at {_elapsed(history, built.message.sent_at)}",
        )
        if _of_an_older_version(history, built) or not options:
            continue
        case.expect("a notice says which membership it is for", built.knows_membership, built.name)
        case.expect(
            "a notice says which run it belongs to",
            built.run in {each.moment.run for each in options},
            f"{built.name} instead of {options[0].moment.run}",
        )
        # The actor may take part as well.
        memberships = {each.membership.joined_at if each.membership else None for each in options}
        case.expect(
            "a notice says which membership it is for",
            built.joined_at in memberships or built.kind not in {T.TRAINING_START, *ROUNDS},
            f"{built.name}: {built.joined_at} instead of {memberships}",
        )


def _of_an_older_version(history: History, built: Built) -> bool:
    upgraded = history.run.upgraded_at
    return upgraded is not None and built.message.sent_at < upgraded


def _elapsed(history: History, moment: float) -> str:
    return f"{moment - history.world.kernel.start:.2f} s"


# Order


def in_order(case: Case) -> None:
    """POSTs to a receiver about a training come in the order of the changes.

    A POST may overtake what waits in a mailbox, if somebody has an endpoint now and then.
    """
    history = case.history
    fetching = {each.receiver for each in history.world.mailboxes.fetched}
    last: dict[tuple[str, str], tuple[int, int]] = defaultdict(lambda: (-1, -1))
    for post in history.world.receivers.posts:
        built = history.by_id[post.notification_id][0]
        options = case.by_id.get(built.id, [])
        redriven = any(each.moment.handled.redriven for each in options)
        if not options or redriven or built.receiver in fetching:
            continue
        orders = {each.order for each in options}
        before = last[built.training, built.receiver]
        # TRAINING_START may be called for by several changes: whichever comes first announces it.
        case.expect(
            "notices come in order",
            max(orders) >= before,
            f"{built.name}: {orders} after {before}",
        )
        if len(orders) == 1:
            last[built.training, built.receiver] = max(before, *orders)


def start_comes_first(case: Case) -> None:
    """Nobody is told a round of a run before that run's start.

    Of a membership without `joined_at` it is enough that an earlier one was told: nothing tells
    them apart. That the later one's own record is told of is asked elsewhere.
    """
    history = case.history
    starts: dict[tuple[str, str, str | None], list[Built]] = defaultdict(list)
    for built, *_ in history.by_id.values():
        if built.kind is T.TRAINING_START:
            memberships = [it.membership for it in case.by_id.get(built.id, [])]
            for joined in {it.joined_at if it is not None else None for it in memberships}:
                starts[built.training, built.receiver, joined].append(built)
    for each, heard in history.heard.items():
        built = history.by_id[each][0]
        options = case.by_id.get(each, [])
        if built.kind not in ROUNDS or not options:
            continue
        expected = next((it for it in options if _took_part(it)), options[0])
        member = expected.membership
        if member is None or _start_is_open(history, expected, member):
            continue
        begin = _begin_of_run(history, expected)
        case.expect(
            "TRAINING_START comes before the rounds",
            any(
                _told_before(history, start, begin, heard[0])
                for start in starts[built.training, built.receiver, member.joined_at]
            ),
            f"{built.name}, joined {member.joined_at}, at {_elapsed(history, heard[0][0])}",
        )


def _took_part(expected: Expected) -> bool:
    """Whether it did as of the change."""
    return expected.membership is not None and expected.membership.at(expected.moment.number)


def _begin_of_run(history: History, expected: Expected) -> float:
    return next(
        write.at
        for write in history.writes[expected.moment.write.key[0]]
        if write.sequence_number == int(expected.moment.run)
    )


def _told_before(history: History, start: Built, begin: float, heard: tuple[float, int]) -> bool:
    """Whether there was an attempt to tell the start of this run, or it is a dead letter."""
    if start.id in history.dead_ids:
        return True
    if start.id in history.deposits and start.receiver in history.posted_to:
        return True  # a POST may overtake what waits in a mailbox
    if any(begin <= each[0] and each <= heard for each in history.heard.get(start.id, [])):
        return True
    # An address that is not allowed, or a network that is down, sees no POST.
    events = history.events[start.id]
    return any(begin <= at <= heard[0] and _kind(event) == "Failed" for at, event in events)


def _kind(event: dict[str, str]) -> str:
    return event["detail-type"].removeprefix("Notification ")


def _start_is_open(history: History, expected: Expected, member: Membership) -> bool:
    """What the design names: dead letters, and who joins in the moment of the change."""
    moment = expected.moment
    if moment.run == "0" or not history.certain(member.begin):
        return True  # an older version has told the start; a dead letter
    if any(
        each.run == moment.run and not history.certain(each.write)
        for each in history.timelines[moment.write.key[0]].moments
    ):
        return True
    change = moment.write if moment.write.key[1] == TRAINING else moment.before.round_change
    if change is None or member.begin.sequence_number < change.sequence_number:
        return False
    in_the_moment = member.begin.at <= history.processed[change.sequence_number][1]
    return in_the_moment and (member.joined_at is None or _clock_behind(member))


def _clock_behind(member: Membership) -> bool:
    try:
        said = datetime.fromisoformat(member.joined_at or "")
    except ValueError:
        return False
    return said.tzinfo is not None and said.timestamp() < member.begin.at - CLOCK_MARGIN + 10


def told_once(case: Case) -> None:
    """Nobody with a `joined_at` is told anything twice, under whatever id."""
    history = case.history
    told: dict[tuple[object, ...], set[str]] = defaultdict(set)
    for each in history.posts:
        built = history.by_id[each][0]
        if built.joined_at is None or not built.knows_membership:
            continue
        for expected in case.by_id.get(built.id, [])[:1]:
            told[_what_is_said(built, expected)].add(built.id)
    for what, ids in told.items():
        case.expect("nobody is told twice", len(ids) == 1, what)


def _what_is_said(built: Built, expected: Expected) -> tuple[object, ...]:
    told = (built.training, built.receiver, built.kind.value, built.run, built.joined_at)
    if built.kind is T.TRAINING_START:
        return told
    if built.kind in FINAL_TYPES:
        moment = expected.moment
        ended = moment.write if moment.write.key[1] == TRAINING else moment.before.ended
        return (*told, None if ended is None else ended.sequence_number)
    if built.kind in ROUNDS:
        moment = expected.moment
        change = moment.after.round_change
        return (*told, None if change is None else change.sequence_number)
    return (*told, expected.order[0])


FINAL_TYPES = {T.TRAINING_FINISHED, T.TRAINING_ERROR}


# Superseded


def told_only_what_is_current(case: Case) -> None:
    """No POST about what was over already when its attempt was prepared.

    What is read before an attempt may be a second old.
    """
    history = case.history
    for post in history.world.receivers.posts:
        built = history.by_id[post.notification_id][0]
        if built.kind is T.TRAINING_START or built.kind in ANNOUNCED:
            begin = post.invocation.began - STALE_SECONDS
            current, _ = current_and_over(history, built, begin, post.at)
            case.expect(
                "nobody is told of what is over",
                current,
                f"{built.name} at {_elapsed(history, post.at)}",
            )


def superseded_only_what_is_over(case: Case) -> None:
    history = case.history
    for each, events in history.events.items():
        at, event = events[0]
        if _kind(event) == "Superseded":
            built = history.by_id[each][0]
            _, over = current_and_over(history, built, built.message.sent_at, at)
            case.expect(
                "superseded is what is over", over, f"{built.name} at {_elapsed(history, at)}"
            )


def current_and_over(history: History, built: Built, begin: float, end: float) -> tuple[bool, bool]:
    """Whether within a while the notification was right at some moment, and wrong at some."""
    if built.kind is not T.TRAINING_START and built.kind not in ANNOUNCED:
        return True, False
    trainings = list(history.over(built.training, TRAINING, begin, end))
    announces = [_announces(built, training) for training in trainings]
    entity = f"{PARTICIPANT}{built.receiver}"
    takes_part = [_is_member(built, it) for it in history.over(built.training, entity, begin, end)]
    later = [_is_later(built, run) for run in history.run_over(built.training, begin, end)]
    current = any(announces) and any(takes_part) and not all(later)
    return current, not all(announces) or not all(takes_part) or any(later)


def _announces(built: Built, training: Item | None) -> bool:
    if training is None or state_of(training) == "INITIAL":
        return False
    if built.kind is T.TRAINING_START:
        return True
    if state_of(training) in FINAL:
        return False
    return state_of(training) == ANNOUNCED.get(built.kind) and (
        round_of(training) == str(built.round)
    )


def _is_member(built: Built, item: Item | None) -> bool:
    if item is None:
        return False
    if not built.knows_membership or not readable_participant(item):
        return True
    return joined_at(item) == built.joined_at


def _is_later(built: Built, run: int) -> bool:
    return built.run is not None and run > int(built.run)


# Where to


def where_to(case: Case) -> None:
    """Each attempt goes to the address that the table has then; else to that of the message."""
    history = case.history
    for post in history.world.receivers.posts:
        built = history.by_id[post.notification_id][0]
        begin = post.invocation.began - STALE_SECONDS
        entity = f"{PARTICIPANT}{built.receiver}"
        items = list(history.over(built.training, entity, begin, post.at))
        addresses = {
            item["message_endpoint"]["S"]
            for item in items
            if item is not None and readable_participant(item)
        }
        if not all(map(readable_participant, items)):
            addresses |= _of_who_does_not_take_part(history, built, begin, post.at)
        case.expect(
            "an attempt goes to the address that the table has",
            post.url in addresses,
            f"{built.name}: {post.url} instead of {addresses}",
        )


def _of_who_does_not_take_part(
    history: History, built: Built, begin: float, end: float
) -> set[str]:
    found = set()
    for training in history.over(built.training, TRAINING, begin, end):
        actor = None if training is None else training["actor"]["M"]
        if actor is not None and actor["uuid"]["S"] == built.receiver:
            found.add(actor["message_endpoint"]["S"])
        else:
            found.add(built.endpoint)
    return found

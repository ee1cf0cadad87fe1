"""What always holds, checked over the whole history of a run.

The checks are written from the design, not from the code: its list "What always holds", and the
tables "State change → notifications", "Answer → outcome" and "Failure policy".
"""

import json
from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Mapping
from hashlib import sha256
from hmac import digest
from itertools import pairwise
from typing import Any

from fl_notifications.deliveries.post import Forbidden, Responded, Unreachable
from tests.simulation.case import Case
from tests.simulation.deadlines import deadlines_hold, overdue_is_done
from tests.simulation.fetched import mailboxes_are_served
from tests.simulation.history import Built, History
from tests.simulation.ids import ROUNDS, T
from tests.simulation.lambdas import End
from tests.simulation.mailboxes import Fetched
from tests.simulation.policy import (
    FAILURE,
    SUCCESS,
    callbacks_run,
    changes_are_told,
    changes_by_callbacks,
    enough_take_part,
    outcome_of,
    policy_is_done,
)
from tests.simulation.receivers import Post
from tests.simulation.scenario import Run
from tests.simulation.timeline import (
    PARTICIPANT,
    TRAINING,
    Moment,
    readable_participant,
    readable_training,
)
from tests.simulation.told import (
    in_order,
    start_comes_first,
    superseded_only_what_is_over,
    told_once,
    told_only_what_is_current,
    where_to,
    who_gets_what,
)

SECRET_MAY_BE_OLD = 90.0
"""Seconds that a rotated secret may stay unnoticed: the functions read it again every minute."""

LONGEST_WAIT = 900
LONGEST_REQUEST = 31.0
"""Seconds from the signing of what is fetched until it is there."""
LATER_STATUSES = {408, 425, 429}
FINAL_SERVER_ERRORS = {501, 505}


def check(run: Run) -> Case:
    """Check everything.

    Raises:
        AssertionError: naming what does not hold.
    """
    case = Case(History(run))
    for one in (
        came_to_rest,
        clean_without_faults,
        who_gets_what,
        ends_once,
        in_order,
        start_comes_first,
        told_once,
        sent_once,
        where_to,
        mailboxes_are_served,
        attempts_and_waits,
        outcomes_follow_answers,
        on_the_wire,
        told_only_what_is_current,
        superseded_only_what_is_over,
        callbacks_run,
        changes_by_callbacks,
        policy_is_done,
        enough_take_part,
        changes_are_told,
        deadlines_hold,
        overdue_is_done,
        unreadable_items,
        log_lines,
    ):
        one(case)
    if case.wrong:
        raise AssertionError("\n".join(case.wrong[:20]))
    return case


# Invariant 1: nothing is dropped


def came_to_rest(case: Case) -> None:
    """Nothing hangs, waits for ever or got lost in the machinery."""
    world = case.history.world
    running = [function.name for function in world.functions if function.running]
    case.expect("no function hangs", not running, running)
    case.expect("the stream is processed", world.stream_poller.idle)
    for queue in (poller.queue for poller in world.queue_pollers.values()):
        left = [message.body for message in queue.messages]
        case.expect("a queue is empty", not left, left[:3])
        expired = [message.body for message in queue.expired]
        case.expect("no message expires", not expired, expired[:3])
    waiting = {name: each.waiting for name, each in world.targets.items() if each.waiting}
    case.expect("all events are delivered", not waiting, waiting)


def clean_without_faults(case: Case) -> None:
    """Dead-letter queues are for trouble only, and for what cannot be read."""
    world = case.history.world
    if world.faults.struck:
        return
    unreadable = any(
        write.key[1] == TRAINING and write.new is not None and not readable_training(write.new)
        for write in world.trainings.writes
    )
    discarded = world.stream_poller.discarded
    case.expect("without faults no record is discarded", not discarded, discarded)
    case.expect(
        "without faults no callback is a dead letter, unless its training is unreadable",
        unreadable or not world.callbacks_dlq.accepted,
        [message.body for message in world.callbacks_dlq.accepted],
    )
    case.expect(
        "without faults no notification is a dead letter",
        not world.deliveries_dlq.accepted,
        [message.attributes for message in world.deliveries_dlq.accepted],
    )


def ends_once(case: Case) -> None:
    """Each ends in one of the four outcomes, told to the bus, or is a dead letter."""
    history = case.history
    for each, copies in history.by_id.items():
        name = copies[0].name
        entry = history.world.ledger.items.get((each,), {})
        outcome = entry.get("outcome", {}).get("S")
        kinds = {outcome_of(event) for _, event in history.events.get(each, [])}
        case.expect("a notification ends in one way", len(kinds) <= 1, f"{name}: {kinds}")
        dead = each in history.dead_ids
        case.expect("a notification ends", outcome or dead, name)
        if outcome is not None:
            case.expect(
                "an outcome is told to the bus", outcome in kinds or dead, f"{name}: {kinds}"
            )
        if kinds:
            case.expect("what is told is in the ledger", {outcome} == kinds, f"{name}: {kinds}")
    unknown = history.events.keys() - history.by_id.keys()
    case.expect("outcomes are of notifications that were built", not unknown, unknown)


# Invariant 3: once


def sent_once(case: Case) -> None:
    """Only a crash between a POST and its record can repeat a POST."""
    history = case.history
    for each, posts in history.posts.items():
        name = history.by_id[each][0].name
        case.expect("the same id has one body", len({post.body for post in posts}) == 1, name)
        concluded = history.concluded_at(each)
        for post in posts:
            case.expect(
                "what the ledger has concluded is not sent again",
                concluded is None or post.invocation.began <= concluded,
                name,
            )
        for post, following in pairwise(posts):
            if _conclusive(post):
                case.expect(
                    "what was answered is sent again only after a crash",
                    post.invocation.troubled_since(post.at),
                    f"{name}: {post.told}, then again after {following.at - post.at:.1f} s",
                )


def _conclusive(post: Post) -> bool:
    """Whether the function was told what ends the delivery."""
    if isinstance(post.told, Responded):
        return not try_later(post.told.status)
    return isinstance(post.told, Forbidden)


# The table "Answer → outcome"


def try_later(status: int) -> bool:
    return status in LATER_STATUSES or (500 <= status <= 599 and status not in FINAL_SERVER_ERRORS)


def attempts_and_waits(case: Case) -> None:
    """At most MaxAttempts, but for crashes; waits of at least what is promised."""
    history = case.history
    stack = history.world.stack
    for each, posts in history.posts.items():
        name = history.by_id[each][0].name
        crashes = sum(post.invocation.troubled_since(post.at) for post in posts)
        case.expect(
            "no more attempts than allowed",
            len(posts) <= stack.max_attempts + crashes,
            f"{name}: {len(posts)} POSTs, {crashes} crashes",
        )
        for post, following in pairwise(posts):
            if post.invocation.troubled_since(post.at) or post.ended is None:
                continue
            wait = stack.retry_backoff_seconds * 0.8
            if isinstance(post.told, Responded) and (post.told.retry_after or "").isdigit():
                wait = max(wait, min(int(post.told.retry_after or 0), LONGEST_WAIT))
            case.expect(
                "an attempt waits as long as it should",
                # The queue takes whole seconds.
                following.at - post.ended >= wait - 0.5,
                f"{name}: {following.at - post.ended:.1f} s instead of {wait}",
            )


def outcomes_follow_answers(case: Case) -> None:
    """Each outcome has the answers that lead to it, and names the callback that follows it."""
    history = case.history
    for each, events in history.events.items():
        _, event = events[0]
        detail, outcome = event["detail"], outcome_of(event)
        built = history.by_id[each][0]
        name = f"{built.name}: {outcome}"
        callback = {"accepted": SUCCESS, "superseded": None}.get(outcome, FAILURE)
        case.expect(
            "an event names its callback",
            detail["callback"] == (callback if built.kind in ROUNDS else None),
            name,
        )
        case.expect(
            "an outcome says run and membership",
            detail.get("run") == built.run
            and ("joined_at" in detail) is built.knows_membership
            and detail.get("joined_at") == built.joined_at,
            name,
        )
        posts = history.posts.get(each, [])
        case.expect(
            "an outcome follows from the answers",
            _follows(history, built, outcome, detail["attempts"]),
            f"{name}: {[post.told for post in posts]}",
        )
        pushed = outcome != "superseded" and each not in history.deposits
        made = len(posts) + (each in history.world.receivers.forbidden)
        if not history.world.faults.struck and pushed:
            case.expect("attempts are counted", detail["attempts"] == made, name)


def _follows(history: History, built: Built, outcome: str, attempts: int) -> bool:
    told = [post.told for post in history.posts.get(built.id, [])]
    statuses = [answer.status for answer in told if isinstance(answer, Responded)]
    last = attempts >= history.world.stack.max_attempts
    if (built.id, outcome) in history.world.mailboxes.asked:
        return True
    if outcome == "failed" and built.id in history.deposits:
        return True  # asked elsewhere
    match outcome:
        case "accepted":
            return any(200 <= status < 300 for status in statuses)
        case "rejected":
            refused = any(not 200 <= each < 300 and not try_later(each) for each in statuses)
            return refused or (last and any(map(try_later, statuses)))
        case "failed":
            forbidden = built.id in history.world.receivers.forbidden
            lost = built.id in history.world.receivers.lost
            unreachable = lost or any(isinstance(each, Unreachable) for each in told)
            return forbidden or (last and unreachable)
        case _:
            return outcome == "superseded"


# The section "On the wire"


def on_the_wire(case: Case) -> None:
    """Bodies, headers and signatures."""
    history = case.history
    told: list[Post | Fetched] = [*history.world.receivers.posts, *history.world.mailboxes.fetched]
    for post in told:
        built = history.by_id[post.notification_id][0]
        body = json.loads(post.body)
        case.expect(
            "the body is as documented",
            body == _body(history, built, body),
            f"{built.name}: {body}",
        )
        stamp = post.headers["webhook-timestamp"]
        case.expect(
            "the timestamp is that of the attempt",
            int(post.at - LONGEST_REQUEST) <= int(stamp) <= int(post.at + 1e-5)
            if isinstance(post, Fetched)
            else int(stamp) == int(post.at + 1e-5),
            built.name,
        )
        signed = f"{built.id}.{stamp}.".encode() + post.body
        valid = {
            "v1," + b64encode(digest(_key(secret, built.receiver), signed, sha256)).decode()
            for secret in _secrets_at(history, post.at)
        }
        signatures = set(post.headers["webhook-signature"].split(" "))
        case.expect("the signature is the receiver's", signatures & valid, built.name)
        pushed = isinstance(post, Fetched) or post.headers["content-type"] == "application/json"
        case.expect("the content type is JSON", pushed)


def _key(secret: str, receiver: str) -> bytes:
    return digest(secret.encode(), receiver.encode(), sha256)


def _secrets_at(history: History, at: float) -> set[str]:
    """The secrets that a receiver accepts: current and previous, and what just was one of them.

    A function that tries in vain to read them again uses the ones that it knows.
    """
    changes = history.world.secrets.changes
    since = at - SECRET_MAY_BE_OLD
    for vain in reversed(history.world.secrets.not_read):
        if since <= vain <= at:
            since = vain - SECRET_MAY_BE_OLD
    early = [secret for when, secret in changes if when <= since]
    late = [secret for when, secret in changes if when <= at]
    return {*early[-2:], *late[len(early) :], *late[-2:]}


def _body(history: History, built: Built, body: Mapping[str, Any]) -> dict[str, Any]:
    """What is to be on the wire; the model may be any that training or participant had."""
    inner = body["body"]
    model = inner.get("global_model_uuid")
    if model is not None and model not in history.models(built.training, built.receiver):
        model = "a model of this training"
    rounds = {"round": built.round, "global_model_uuid": model}
    (server,) = (it for it in history.run.servers if it.training_uuid == built.training)
    settings: dict[str, Any] = {}
    if server.plan.settings and built.kind in ROUNDS:
        settings = {"settings": server.settings_of(built.receiver)}
    expected: dict[str, Any]
    match built.kind:
        case T.TRAINING_START | T.TRAINING_FINISHED:
            expected = {"global_model_uuid": model}
        case T.UPDATE_ROUND_START | T.MODEL_TEST_ROUND:
            expected = {**rounds, **settings}
        case T.SWAG_ROUND_START:
            expected = {**rounds, **settings, "data": rounds}
        case T.PARTICIPANT_REMOVED:
            data = inner["data"]
            others = {each.receiver for each in history.timelines[built.training].memberships}
            removed = data["participant_uuid"] in others - {built.receiver}
            expected = {"data": data if removed and data["reason"] else "who, and why"}
        case T.CLIENT_REMOVED:
            expected = {"data": {}}
        case T.TRAINING_ERROR:
            data = inner["data"]
            expected = {"data": {"reason": data["reason"], "round": data["round"]}}
    return {
        "notification_type": built.kind.value,
        "body": expected,
        "training_uuid": built.training,
    }


# Invariant 5: unreadable items


def unreadable_items(case: Case) -> None:
    """An unreadable item is a dead letter with the reason, and is logged."""
    history = case.history
    letters: Counter[str] = Counter()
    told = {
        (event["detail"]["sequence"], event["detail"]["entity"])
        for _, event in history.changes
        if event["detail-type"] == "Participant Unreadable"
    }
    running = {
        str(moment.number)
        for timeline in history.timelines.values()
        for moment in timeline.moments
        if moment.after.running and moment.handled.given_up is None
    }
    for message in history.world.stream_dlq.accepted:
        body = json.loads(message.body)
        if "DDBStreamBatchInfo" in body or body.get("field") is None:
            continue  # could not be processed
        number = body["record"]["dynamodb"]["SequenceNumber"]
        letters[number] += 1
        # Of its own record another event may speak.
        in_a_fan_out = body["entity"] != body["record"]["dynamodb"]["Keys"]["entity"]["S"]
        if in_a_fan_out and number in running:
            case.expect(
                "an unreadable participant is told to the bus",
                (number, body["entity"]) in told or history.world.fan_outs_dlq.accepted,
                body,
            )
        case.expect(
            "a dead letter names item and field",
            body["field"] in message.attributes["reason"]["StringValue"]
            and body["entity"]
            and body["training_uuid"],
            body,
        )
    for timeline in history.timelines.values():
        for moment in timeline.moments:
            if _unreadable(moment) and moment.handled.given_up is None:
                case.expect(
                    "an unreadable item is a dead letter",
                    letters[str(moment.number)],
                    moment.write.key,
                )
    logged = [line for line in history.world.lines.lines if line[2] == "unreadable item"]
    case.expect("unreadable items are logged", len(logged) >= len(letters))


def _unreadable(moment: Moment) -> bool:
    """Whether something that the record needs cannot be read."""
    write = moment.write
    if not write.key[1].startswith(PARTICIPANT):
        return moment.unreadable
    if write.by_ttl:
        return False
    return not readable_participant(write.new if write.new is not None else write.old)


# The log


def log_lines(case: Case) -> None:
    """Each POST that a function lived to tell of has its line; without crashes, each outcome."""
    history = case.history
    lines: dict[str, Counter[str]] = defaultdict(Counter)
    for _, _, message, extra in history.world.lines.lines:
        lines[message][str(extra.get("notification_id"))] += 1
    for each, posts in history.posts.items():
        lived = sum(post.invocation.end is End.ANSWERED for post in posts)
        case.expect("each POST has its log line", lines["attempted"][each] >= lived, each)
    if not history.world.faults.struck:
        # A process may die between a record and its line; so a copy that was in the queue then
        # cannot tell whether the line is there.
        copies = Counter(
            built.id
            for built in history.built
            if built.message.sent_at <= (history.concluded_at(built.id) or 0.0)
        )
        for each in history.events:
            written = lines["concluded"][each]
            case.expect("each outcome has its log line", written >= 1, each)
            case.expect("… and no more than one for a copy", written <= max(1, copies[each]), each)

"""What always holds, checked over the whole history of a run.

The checks are written from the design, not from the code: its list "What always holds", and the
tables "State change → notifications", "Answer → outcome" and "Failure policy".
"""

import json
from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from hmac import digest
from itertools import pairwise
from typing import Any

from fl_notifications.deliveries.post import Forbidden, Responded, Unreachable
from tests.aws.dynamodb import Write
from tests.aws.expressions import Item
from tests.simulation.expectations import (
    ANNOUNCED,
    FINAL,
    Expected,
    T,
    expectations,
    notification_id,
    start_id,
)
from tests.simulation.history import (
    PARTICIPANT,
    TRAINING,
    Built,
    History,
    joined_at,
    readable_participant,
    readable_training,
    state_of,
)
from tests.simulation.lambdas import End
from tests.simulation.receivers import Post
from tests.simulation.scenario import Run, Server

SUCCESS = "training_notification_callback_success"
FAILURE = "training_notification_callback_failure"
SECRET_MAY_BE_OLD = 90.0
"""Seconds that a rotated secret may stay unnoticed: the functions read it again every minute."""

LONGEST_WAIT = 900
LATER_STATUSES = {408, 425, 429}
FINAL_SERVER_ERRORS = {501, 505}


@dataclass
class Case:
    """A history under judgement: what was found wrong, and how much was looked at."""

    history: History
    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def expect(self, what: str, holds: object, detail: object = "") -> None:
        self.counts[what] += 1
        if not holds:
            self.wrong.append(f"{what}: {detail}")

    @cached_property
    def expected(self) -> list[Expected]:
        return expectations(self.history)

    @cached_property
    def servers(self) -> dict[str, Server]:
        return {server.training_uuid: server for server in self.history.run.servers}


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
        removal_comes_before_the_next_start,
        sent_once,
        attempts_and_waits,
        outcomes_follow_answers,
        on_the_wire,
        told_only_what_is_current,
        superseded_only_what_is_over,
        callbacks_run,
        changes_by_callbacks,
        policy_is_done,
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
    left = [message.body for message in world.deliveries.messages]
    case.expect("the queue is empty", not left, left[:3])
    expired = [message.body for message in world.deliveries.expired]
    case.expect("no message expires", not expired, expired[:3])
    waiting = {name: each.waiting for name, each in world.callbacks.items() if each.waiting}
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


# Who is told what


def who_gets_what(case: Case) -> None:
    """The table "State change → notifications", with its receivers; nothing else is built."""
    history = case.history
    allowed: dict[str, Expected] = {}
    for each in case.expected:
        allowed[each.id] = each
        if each.must:
            case.expect(
                "what a change calls for is built",
                each.id in history.by_id,
                f"{each.kind.value} for {each.receiver} after write {each.order[0]}",
            )
    for built in history.built:
        wanted = allowed.get(built.id)
        case.expect(
            "nothing is built that no change calls for",
            wanted is not None and (wanted.kind, wanted.receiver) == (built.kind, built.receiver),
            built.name,
        )


# Invariant 2: order


def in_order(case: Case) -> None:
    """POSTs to a receiver about a training come in the order of the changes."""
    history = case.history
    stream = history.world.stack.stream
    places: dict[str, list[Expected]] = defaultdict(list)
    for each in case.expected:
        places[each.id].append(each)
    last: dict[tuple[str, str], tuple[int, int]] = defaultdict(lambda: (-1, -1))
    for post in history.world.receivers.posts:
        built = history.by_id[post.notification_id][0]
        options = places[built.id]
        if not options:
            continue
        if stream.parallelization_factor > 1 and not all(each.of_training for each in options):
            continue  # Lambda keeps the order per item: a participant's record may overtake
        orders = {each.order for each in options}
        before = last[built.training, built.receiver]
        # TRAINING_START may be called for by several changes: whichever comes first announces it.
        case.expect("notices come in order", max(orders) >= before, f"{built.name}: {orders}")
        if len(orders) == 1:
            last[built.training, built.receiver] = max(before, *orders)


def start_comes_first(case: Case) -> None:
    """Who joins is told of the start before the rounds of the changes after that.

    As far as the write side says when who joined and what changed; else it can't be known.
    """
    history = case.history
    made_at = {write.sequence_number: write.at for write in history.world.trainings.writes}
    changed_at = {each.id: made_at[each.order[0]] for each in case.expected}
    for training, writes in history.writes.items():
        plan = case.servers[training].plan
        if not (plan.joined_at and plan.last_update):
            continue
        for write in writes:
            if write.key[1] == TRAINING or write.old is not None:
                continue
            receiver = write.key[1].removeprefix(PARTICIPANT)
            start = start_id(training, receiver, joined_at(write.new))
            starts = history.posts.get(start, [])
            if not starts or start in history.dead_ids:
                continue
            for post, built in history.rounds[training, receiver]:
                member = all(
                    item is not None
                    for item in history.over(training, write.key[1], write.at + 1e-6, post.at)
                )
                if member and changed_at[built.id] > write.at:
                    case.expect(
                        "TRAINING_START comes before the rounds",
                        starts[0].at <= post.at,
                        built.name,
                    )


def removal_comes_before_the_next_start(case: Case) -> None:
    """Who has left and joined again is told so in this order.

    Unless a change of the training from before was built after both: it reads its participants
    as they are then, and announces the start to who is one of them again.
    """
    history = case.history
    announced = {
        each.id for each in case.expected if each.of_training and each.kind is T.TRAINING_START
    }
    for training, writes in history.writes.items():
        for left in writes:
            if left.key[1] == TRAINING or left.new is not None:
                continue
            receiver = left.key[1].removeprefix(PARTICIPANT)
            number = str(left.sequence_number)
            removed = notification_id(training, number, T.CLIENT_REMOVED, receiver)
            for again in writes:
                follows = again.sequence_number > left.sequence_number and again.old is None
                start = start_id(training, receiver, joined_at(again.new))
                same = joined_at(again.new) == joined_at(left.old)
                if again.key != left.key or not follows or same or start in announced:
                    continue
                starts = history.posts.get(start, [])
                for post in history.posts.get(removed, []):
                    case.expect(
                        "CLIENT_REMOVED comes before the next TRAINING_START",
                        all(post.at <= each.at for each in starts),
                        f"{receiver} after write {number}",
                    )


# Invariant 3: once


def sent_once(case: Case) -> None:
    """Only a crash between a POST and its record can repeat a POST."""
    history = case.history
    for each, posts in history.posts.items():
        name = history.by_id[each][0].name
        case.expect("the same id has one body", len({post.body for post in posts}) == 1, name)
        case.expect("the same id has one endpoint", len({post.url for post in posts}) == 1, name)
        concluded = _concluded_at(history, each)
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


def _concluded_at(history: History, each: str) -> float | None:
    for at, item in history.world.ledger.versions.get((each,), []):
        if item is not None and "outcome" in item:
            return at
    return None


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


def outcome_of(event: Mapping[str, Any]) -> str:
    return str(event["detail-type"].removeprefix("Notification ").lower())


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
            detail["callback"] == (callback if built.kind in ANNOUNCED else None),
            name,
        )
        posts = history.posts.get(each, [])
        case.expect(
            "an outcome follows from the answers",
            _follows(history, built, outcome, detail["attempts"]),
            f"{name}: {[post.told for post in posts]}",
        )
        if not history.world.faults.struck and outcome != "superseded":
            case.expect("attempts are counted", detail["attempts"] == (len(posts) or 1), name)


def _follows(history: History, built: Built, outcome: str, attempts: int) -> bool:
    told = [post.told for post in history.posts.get(built.id, [])]
    statuses = [answer.status for answer in told if isinstance(answer, Responded)]
    last = attempts >= history.world.stack.max_attempts
    behaviour = history.world.receivers.behaviours.get(built.endpoint)
    match outcome:
        case "accepted":
            return any(200 <= status < 300 for status in statuses)
        case "rejected":
            refused = any(not 200 <= each < 300 and not try_later(each) for each in statuses)
            return refused or (last and any(map(try_later, statuses)))
        case "failed":
            forbidden = behaviour is not None and not behaviour.allowed
            lost = built.id in history.world.receivers.lost
            unreachable = lost or any(isinstance(each, Unreachable) for each in told)
            return forbidden or (last and unreachable)
        case _:
            return outcome == "superseded"


# The section "On the wire"


def on_the_wire(case: Case) -> None:
    """Bodies, headers and signatures."""
    history = case.history
    for post in history.world.receivers.posts:
        built = history.by_id[post.notification_id][0]
        body = json.loads(post.body)
        case.expect(
            "the body is as documented",
            body == _body(history, built, body),
            f"{built.name}: {body}",
        )
        stamp = post.headers["webhook-timestamp"]
        case.expect(
            "the timestamp is that of the attempt", int(stamp) == int(post.at + 1e-5), built.name
        )
        signed = f"{built.id}.{stamp}.".encode() + post.body
        valid = {
            "v1," + b64encode(digest(_key(secret, built.receiver), signed, sha256)).decode()
            for secret in _secrets_at(history, post.at)
        }
        signatures = set(post.headers["webhook-signature"].split(" "))
        case.expect("the signature is the receiver's", signatures & valid, built.name)
        case.expect("the content type is JSON", post.headers["content-type"] == "application/json")


def _key(secret: str, receiver: str) -> bytes:
    return digest(secret.encode(), receiver.encode(), sha256)


def _secrets_at(history: History, at: float) -> set[str]:
    """The secrets that a receiver accepts: current and previous, and what just was one of them."""
    changes = history.world.secrets.changes
    early = [secret for when, secret in changes if when <= at - SECRET_MAY_BE_OLD]
    late = [secret for when, secret in changes if when <= at]
    return {*early[-2:], *late[len(early) :], *late[-2:]}


def _body(history: History, built: Built, body: Mapping[str, Any]) -> dict[str, Any]:
    """What is to be on the wire; the model may be any that training or participant had."""
    inner = body["body"]
    model = inner.get("global_model_uuid")
    if model is not None and model not in history.models(built.training, built.receiver):
        model = "a model of this training"
    rounds = {"round": built.round, "global_model_uuid": model}
    expected: dict[str, Any]
    match built.kind:
        case T.TRAINING_START | T.TRAINING_FINISHED:
            expected = {"global_model_uuid": model}
        case T.UPDATE_ROUND_START | T.MODEL_TEST_ROUND:
            expected = rounds
        case T.SWAG_ROUND_START:
            expected = {**rounds, "data": rounds}
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


# Superseded


def told_only_what_is_current(case: Case) -> None:
    """No POST about what was over already when its attempt was prepared."""
    history = case.history
    for post in history.world.receivers.posts:
        built = history.by_id[post.notification_id][0]
        if built.kind is T.TRAINING_START or built.kind in ANNOUNCED:
            current, _ = _current_and_over(history, built, post.invocation.began, post.at)
            case.expect("nobody is told of what is over", current, built.name)


def superseded_only_what_is_over(case: Case) -> None:
    history = case.history
    for each, events in history.events.items():
        at, event = events[0]
        if outcome_of(event) == "superseded":
            built = history.by_id[each][0]
            _, over = _current_and_over(history, built, built.message.sent_at, at)
            case.expect("superseded is what is over", over, built.name)


def _current_and_over(
    history: History, built: Built, begin: float, end: float
) -> tuple[bool, bool]:
    """Whether within a while the notification was right at some moment, and wrong at some."""
    trainings = list(history.over(built.training, TRAINING, begin, end))
    announces = [_announces(built, training) for training in trainings]
    if built.kind is T.TRAINING_START:
        return any(announces), not all(announces)
    if built.kind not in ANNOUNCED:
        return True, False
    entity = f"{PARTICIPANT}{built.receiver}"
    takes_part = [item is not None for item in history.over(built.training, entity, begin, end)]
    return any(announces) and any(takes_part), not all(announces) or not all(takes_part)


def _announces(built: Built, training: Item | None) -> bool:
    if training is None or state_of(training) in FINAL:
        return False
    if built.kind is T.TRAINING_START:
        return True
    return state_of(training) == ANNOUNCED.get(built.kind) and (
        training["round"]["N"] == str(built.round)
    )


# Invariant 4, and the table "Failure policy"


def callbacks_run(case: Case) -> None:
    """Each outcome that names a callback gets it, or is a dead letter."""
    world = case.history.world
    for name, callback in {"CallbackSuccess": SUCCESS, "CallbackFailure": FAILURE}.items():
        invoker = world.callbacks[name]
        ended = {event["id"] for event, _ in invoker.handled}
        ended |= {event["id"] for event in invoker.dead}
        for _, event in world.bus.events:
            if event["detail"]["callback"] == callback:
                case.expect(
                    "a callback runs, or its event is a dead letter", event["id"] in ended, name
                )


@dataclass(frozen=True)
class Told:
    """A rejected or failed round notification, as the failure callback is told of it."""

    server: Server
    at: float
    event: Mapping[str, Any]

    @property
    def detail(self) -> Mapping[str, Any]:
        detail: Mapping[str, Any] = self.event["detail"]
        return detail

    @property
    def name(self) -> str:
        detail = self.detail
        return f"{outcome_of(self.event)} {detail['notification_type']} {detail['round']}"

    @property
    def entity(self) -> str:
        return f"{PARTICIPANT}{self.detail['receiver_uuid']}"

    @property
    def removes(self) -> bool:
        """Whether the policy is to remove the participant; else the training ends."""
        return outcome_of(self.event) == "rejected" or self.server.plan.policy == "quorum"

    @property
    def required(self) -> bool:
        required = map(self.server.participant_uuid, self.server.plan.required)
        return self.detail["receiver_uuid"] in required

    @property
    def least(self) -> int:
        least = self.server.plan.min_participants
        return 1 if least is None else least

    def is_about(self, training: Item | None) -> bool:
        """Whether the training is still where it was announced to be."""
        if training is None:
            return False
        announced = ANNOUNCED[T(self.detail["notification_type"])]
        return state_of(training) == announced and (
            training["round"]["N"] == str(self.detail["round"])
        )


def _told(case: Case, at: float, event: Mapping[str, Any]) -> Told:
    return Told(case.servers[event["detail"]["training_uuid"]], at, event)


def changes_by_callbacks(case: Case) -> None:
    """What the failure callback writes is what the policy says, where it says so."""
    history = case.history
    told = [
        _told(case, at, event)
        for at, event in history.world.bus.events
        if event["detail"]["callback"] == FAILURE
    ]
    for write in history.world.trainings.writes:
        if write.by != "CallbackFailure":
            continue
        before = [
            each
            for each in told
            if each.server.training_uuid == write.key[0] and each.at <= write.at
        ]
        if write.key[1] == TRAINING:
            case.expect(
                "the failure callback ends a training only where it was announced to be",
                any(_may_end(history, each, write) for each in before),
                f"{write.old} -> {write.new}",
            )
        else:
            case.expect(
                "the failure callback deletes only whom the policy says",
                write.new is None and any(_may_remove(history, each, write) for each in before),
                f"{write.key[1]} at {write.at - history.world.kernel.start:.1f}",
            )


def _may_end(history: History, told: Told, write: Write) -> bool:
    old, new = write.old, write.new
    if old is None or new is None or not told.is_about(old) or state_of(new) != "ERROR":
        return False
    if new["error"]["M"]["notification_id"]["S"] != told.detail["notification_id"]:
        return False
    written = {"state", "error"}
    if {k: v for k, v in new.items() if k not in written} != {
        k: v for k, v in old.items() if k not in written
    }:
        return False
    if not told.removes or told.required:
        return True
    # It may have counted at any moment since it began.
    counts = history.participant_counts(write.key[0], write.at - 30, write.at)
    return min(counts) < told.least


def _may_remove(history: History, told: Told, write: Write) -> bool:
    if write.key[1] != told.entity or not told.removes:
        return False
    if joined_at(write.old) is None:
        return True  # one membership can't be told from the next
    # Who joined after the outcome was told is not the one that it is about.
    joined = max(
        (
            each.at
            for each in history.writes[write.key[0]]
            if each.key == write.key and each.old is None and each.at <= write.at
        ),
        default=0.0,
    )
    return joined <= told.at


def policy_is_done(case: Case) -> None:
    """When a failure callback has ended, all that the policy says is so."""
    history = case.history
    for event, invocation in history.world.callbacks["CallbackFailure"].handled:
        if event["detail"]["callback"] != FAILURE:
            continue
        first_told = history.events[event["detail"]["notification_id"]][0][0]
        told = _told(case, first_told, event)
        training = told.server.training_uuid
        begin, end = invocation.began, invocation.ended
        trainings = list(history.over(training, TRAINING, begin, end))
        if not all(map(readable_training, trainings)):
            continue
        still = all(map(told.is_about, trainings))
        if not told.removes:
            case.expect("failed, strict: the training ends", not still, told.name)
            continue
        items = history.over(training, told.entity, first_told, end)
        case.expect(
            "rejected, or failed with a quorum: the participant is removed",
            any(item is None for item in items),
            told.name,
        )


# Invariant 5: unreadable items


def unreadable_items(case: Case) -> None:
    """An unreadable item is a dead letter with the reason, and is logged."""
    history = case.history
    letters: Counter[str] = Counter()
    for message in history.world.stream_dlq.accepted:
        body = json.loads(message.body)
        if "DDBStreamBatchInfo" in body:
            continue
        letters[body["record"]["dynamodb"]["SequenceNumber"]] += 1
        case.expect(
            "a dead letter names item and field",
            body["field"] in message.attributes["reason"]["StringValue"]
            and body["entity"]
            and body["training_uuid"],
            body,
        )
    for write in history.world.trainings.writes:
        looked_at = write.sequence_number in history.processed and history.certain(write)
        if looked_at and not write.by_ttl and _unreadable(write):
            case.expect(
                "an unreadable item is a dead letter",
                letters[str(write.sequence_number)],
                write.key,
            )
    logged = [line for line in history.world.lines.lines if line[2] == "unreadable item"]
    case.expect("unreadable items are logged", len(logged) >= len(letters))


def _unreadable(write: Write) -> bool:
    if write.key[1] == TRAINING:
        return write.new is not None and not readable_training(write.new)
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
        # A process may die between a record and its line.
        for each in history.events:
            case.expect("each outcome has its log line, once", lines["concluded"][each] == 1, each)

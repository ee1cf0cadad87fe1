"""What always holds, checked over the whole history of a run.

The expectations are written from the design's tables, not from the code: which change leads to
which notifications, for whom, in which order, with which body, and what follows from the outcomes.
"""

import json
from base64 import b64encode
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from hmac import digest
from typing import Any

from shared.deliveries import notification_id, start_id
from shared.http import Forbidden, Responded, Unreachable
from shared.notification_type import NotificationType
from tests.simulation.dynamodb import Item, Write
from tests.simulation.lambdas import End
from tests.simulation.receivers import Post
from tests.simulation.scenario import Run
from tests.simulation.sqs import Message

T = NotificationType
RUNNING = {"ONGOING", "SWAG_ROUND", "MODEL_TEST"}
FINAL = {"COMPLETED", "ERROR"}
ANNOUNCED = {
    T.UPDATE_ROUND_START: "ONGOING",
    T.SWAG_ROUND_START: "SWAG_ROUND",
    T.MODEL_TEST_ROUND: "MODEL_TEST",
}
SUCCESS = "training_notification_callback_success"
FAILURE = "training_notification_callback_failure"
SECRET_MAY_BE_OLD = 90.0
"""Seconds that a rotated secret may stay unnoticed: the functions read it again every minute."""


@dataclass(frozen=True)
class Built:
    """A notification for one receiver as it came into the queue."""

    id: str
    kind: NotificationType
    training: str
    receiver: str
    round: int | None
    endpoint: str
    content: Mapping[str, Any]
    message: Message

    @classmethod
    def of(cls, message: Message) -> "Built":
        body = json.loads(message.body)
        return cls(
            id=body["notification_id"],
            kind=T(body["notification_type"]),
            training=body["training_uuid"],
            receiver=body["receiver"]["uuid"],
            round=body["round"],
            endpoint=body["receiver"]["message_endpoint"],
            content=body["content"],
            message=message,
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


class History:
    """A run, with the questions that the checks ask of it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.world = world = run.world
        self.built = [Built.of(message) for message in world.deliveries.accepted]
        self.by_id: dict[str, list[Built]] = defaultdict(list)
        for built in self.built:
            self.by_id[built.id].append(built)
        self.posts: dict[str, list[Post]] = defaultdict(list)
        for post in world.receivers.posts:
            self.posts[post.notification_id].append(post)
        self.events: dict[str, list[tuple[float, dict[str, Any]]]] = defaultdict(list)
        for at, event in world.bus.events:
            self.events[event["detail"]["notification_id"]].append((at, event))
        self.dead_ids = set()
        for message in world.deliveries_dlq.accepted:
            self.dead_ids.add(json.loads(message.body).get("notification_id"))
        self.processed = self._processed()
        self.writes: dict[str, list[Write]] = defaultdict(list)
        for write in world.trainings.writes:
            self.writes[write.key[0]].append(write)
        self.no_faults = not world.faults.struck

    def _processed(self) -> dict[int, tuple[float, float]]:
        """By sequence number: when a record was first and last looked at."""
        found: dict[int, tuple[float, float]] = {}
        for invocation, numbers in self.world.stream_poller.batches:
            end = invocation.ended or float("inf")
            for number in numbers:
                first, last = found.get(number, (invocation.began, end))
                found[number] = (min(first, invocation.began), max(last, end))
        return found

    @cached_property
    def discarded(self) -> set[int]:
        return {
            int(record["dynamodb"]["SequenceNumber"])
            for record in self.world.stream_poller.discarded
        }

    # The state of the table at a moment, and over a while

    def version(self, training: str, entity: str, at: float) -> Item | None:
        versions = self.world.trainings.versions.get((training, entity), [])
        index = bisect_right(versions, at, key=lambda version: version[0])
        return versions[index - 1][1] if index else None

    def over(self, training: str, entity: str, begin: float, end: float) -> Iterator[Item | None]:
        """All versions that an item had in a while."""
        versions = self.world.trainings.versions.get((training, entity), [])
        # Of several at the first moment, any may have been seen.
        first = bisect_right(versions, begin - 1e-9, key=lambda version: version[0])
        last = bisect_right(versions, end, key=lambda version: version[0])
        yield versions[first - 1][1] if first else None
        for _, item in versions[first:last]:
            yield item

    def participants_ever(self, training: str) -> set[str]:
        return {
            key[1]
            for key in self.world.trainings.versions
            if key[0] == training and key[1] != "TRAINING"
        }

    def participant_count(self, training: str, at: float) -> int:
        return sum(
            self.version(training, entity, at) is not None
            for entity in self.participants_ever(training)
        )


def readable_training(item: Item | None) -> bool:
    return item is not None and "model_uuid" in item


def readable_participant(item: Item | None) -> bool:
    return item is not None and "message_endpoint" in item


def kinds_of(old: Item | None, new: Item) -> list[NotificationType]:
    """The table "State change → notifications"."""
    before = old if readable_training(old) else None
    state, round_ = new["state"]["S"], new["round"]["N"]
    was = before["state"]["S"] if before is not None else None
    changed = before is None or was != state or before["round"]["N"] != round_
    match state:
        case "ONGOING" if was in {None, "INITIAL"}:
            return [T.TRAINING_START, T.UPDATE_ROUND_START]
        case "ONGOING" if changed:
            return [T.UPDATE_ROUND_START]
        case "SWAG_ROUND" if changed:
            return [T.SWAG_ROUND_START]
        case "MODEL_TEST" if changed:
            return [T.MODEL_TEST_ROUND]
        case "COMPLETED" if was != "COMPLETED":
            return [T.TRAINING_FINISHED]
        case "ERROR" if was != "ERROR":
            return [T.TRAINING_ERROR]
        case _:
            return []


def expectations(history: History) -> Iterator[tuple[Write, list[Expected]]]:
    """What each record calls for."""
    for training, writes in history.writes.items():
        for write in writes:
            if write.sequence_number in history.processed:
                entity = write.key[1]
                if entity == "TRAINING":
                    yield write, list(_of_training(history, training, write))
                else:
                    yield write, list(_of_participant(history, training, write))


def _of_training(history: History, training: str, write: Write) -> Iterator[Expected]:
    new = write.new
    if new is None or not readable_training(new):
        return
    _, end = history.processed[write.sequence_number]
    certain = write.sequence_number not in history.discarded
    number = str(write.sequence_number)
    for index, kind in enumerate(kinds_of(write.old, new)):
        order = (write.sequence_number, index)
        actor = new["actor"]["M"]["uuid"]["S"]
        told = set()
        for entity in history.participants_ever(training):
            versions = list(history.over(training, entity, write.at, end))
            receiver = entity.removeprefix("PARTICIPANT#")
            starts = {
                start_id(training, receiver, _joined(version))
                for version in versions
                if readable_participant(version)
            }
            if not starts:
                continue
            must = certain and all(map(readable_participant, versions))
            if must:
                told.add(receiver)
            if kind is T.TRAINING_START:
                for each in starts:
                    yield Expected(each, kind, receiver, order, must and len(starts) == 1, True)
            else:
                each = notification_id(training, number, kind, receiver)
                yield Expected(each, kind, receiver, order, must, True)
                if kind in ANNOUNCED and write.old is not None and index == 0:
                    # Who joined since the change before may be told of the start by this one.
                    for version in versions:
                        joined, changed = _joined(version), _text(write.old, "last_update")
                        if joined is not None and changed is not None and joined > changed:
                            start = start_id(training, receiver, joined)
                            before = (order[0], -1)
                            yield Expected(start, T.TRAINING_START, receiver, before, False, True)
        if kind in {T.TRAINING_FINISHED, T.TRAINING_ERROR} and actor not in told:
            each = notification_id(training, number, kind, actor)
            yield Expected(each, kind, actor, order, certain, True)


def _of_participant(history: History, training: str, write: Write) -> Iterator[Expected]:
    receiver = write.key[1].removeprefix("PARTICIPANT#")
    _, end = history.processed[write.sequence_number]
    certain = write.sequence_number not in history.discarded
    trainings = list(history.over(training, "TRAINING", write.at, end))
    order = (write.sequence_number, 0)
    if write.old is None and readable_participant(write.new):
        running = [readable_training(t) and _state(t) in RUNNING for t in trainings]
        if any(running):
            each = start_id(training, receiver, _joined(write.new))
            must = certain and all(running)
            yield Expected(each, T.TRAINING_START, receiver, order, must, False)
    elif write.new is None and readable_participant(write.old) and not write.by_ttl:
        going = [readable_training(t) and _state(t) != "COMPLETED" for t in trainings]
        if any(going):
            each = notification_id(
                training, str(write.sequence_number), T.CLIENT_REMOVED, receiver
            )
            yield Expected(
                each, T.CLIENT_REMOVED, receiver, order, certain and all(going), False
            )


def _text(item: Item | None, name: str) -> str | None:
    return None if item is None or name not in item else str(item[name]["S"])


def _joined(item: Item | None) -> str | None:
    return _text(item, "joined_at")


def _state(item: Item | None) -> str | None:
    return None if item is None else str(item["state"]["S"])


# The checks; each says what is wrong, or nothing


@dataclass
class Report:
    """What was found, and how much was looked at."""

    wrong: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def expect(self, what: str, holds: object, detail: object = "") -> None:
        self.counts[what] += 1
        if not holds:
            self.wrong.append(f"{what}: {detail}")


def check(run: Run) -> Report:
    """Check everything.

    Raises:
        AssertionError: naming what does not hold.
    """
    history = History(run)
    report = Report()
    came_to_rest(history, report)
    who_gets_what(history, report)
    ends_once(history, report)
    in_order(history, report)
    start_comes_first(history, report)
    removal_comes_before_the_next_start(history, report)
    sent_once(history, report)
    attempts_and_waits(history, report)
    outcomes_follow_answers(history, report)
    on_the_wire(history, report)
    superseded_rightly(history, report)
    callbacks(history, report)
    unreadable_items(history, report)
    log_lines(history, report)
    if report.wrong:
        raise AssertionError("\n".join(report.wrong[:20]))
    return report


def came_to_rest(history: History, report: Report) -> None:
    """Nothing hangs, waits for ever or got lost in the machinery."""
    world = history.world
    running = [function.name for function in world.functions if function.running]
    report.expect("no function hangs", not running, running)
    report.expect("the stream is processed", world.stream_poller.idle)
    left = [message.body for message in world.deliveries.messages]
    report.expect("the queue is empty", not left, left[:3])
    expired = [message.body for message in world.deliveries.expired]
    report.expect("no message expires", not expired, expired[:3])
    waiting = {name: each.waiting for name, each in world.callbacks.items() if each.waiting}
    report.expect("all events are delivered", not waiting, waiting)
    if history.no_faults:
        broken = any(
            write.key[1] == "TRAINING" and write.new is not None and not readable_training(write.new)
            for write in world.trainings.writes
        )
        report.expect(
            "without faults no record is discarded",
            not world.stream_poller.discarded,
            world.stream_poller.discarded,
        )
        report.expect(
            "without faults no callback is a dead letter, unless its training is unreadable",
            broken or not world.callbacks_dlq.accepted,
            [message.body for message in world.callbacks_dlq.accepted],
        )
        report.expect(
            "without faults no notification is a dead letter",
            not world.deliveries_dlq.accepted,
            [message.attributes for message in world.deliveries_dlq.accepted],
        )


def who_gets_what(history: History, report: Report) -> None:
    """The table "State change → notifications", with its receivers; nothing else is built."""
    allowed: dict[str, Expected] = {}
    for write, expected in expectations(history):
        for each in expected:
            allowed[each.id] = each
            if each.must:
                report.expect(
                    "what a change calls for is built",
                    each.id in history.by_id,
                    f"{each.kind.value} for {each.receiver} after write {write.sequence_number}",
                )
    for built in history.built:
        each = allowed.get(built.id)
        report.expect(
            "nothing is built that no change calls for",
            each is not None and each.kind is built.kind and each.receiver == built.receiver,
            f"{built.kind.value} {built.round} for {built.receiver}",
        )


def ends_once(history: History, report: Report) -> None:
    """Invariant 1: one of the four outcomes, told to the bus, or a dead letter."""
    for each, builts in history.by_id.items():
        name = f"{builts[0].kind.value} {builts[0].round} for {builts[0].receiver}"
        entry = history.world.ledger.items.get((each,), {})
        outcome = entry.get("outcome", {}).get("S")
        events = [event for _, event in history.events.get(each, [])]
        kinds = {event["detail-type"].removeprefix("Notification ").lower() for event in events}
        report.expect("a notification ends in one way", len(kinds) <= 1, f"{name}: {kinds}")
        dead = each in history.dead_ids
        report.expect("a notification ends", outcome or dead, name)
        if outcome is not None:
            report.expect(
                "an outcome is told to the bus", outcome in kinds or dead, f"{name}: {kinds}"
            )
        if kinds:
            report.expect("what is told is in the ledger", {outcome} == kinds, f"{name}: {kinds}")
    unknown = history.events.keys() - history.by_id.keys()
    report.expect("outcomes are of notifications that were built", not unknown, unknown)


def in_order(history: History, report: Report) -> None:
    """Invariant 2: POSTs to a receiver about a training, in the order of the changes."""
    stack = history.world.stack
    one_lane = stack.stream.parallelization_factor == 1
    orders: dict[str, list[Expected]] = defaultdict(list)
    for _, expected in expectations(history):
        for each in expected:
            orders[each.id].append(each)
    told: dict[tuple[str, str], list[tuple[float, str]]] = defaultdict(list)
    for post in history.world.receivers.posts:
        built = history.by_id[post.notification_id][0]
        told[built.training, built.receiver].append((post.at, built.id))
    for (_, receiver), sequence in told.items():
        last: tuple[int, int] = (-1, -1)
        for _, each in sequence:
            options = orders[each]
            if not options:
                continue
            kind = options[0].kind
            if not one_lane and not all(option.of_training for option in options):
                # Participants' records may overtake.
                continue
            if len({option.order for option in options}) > 1:
                # TRAINING_START: whichever change comes first announces it.
                latest = max(option.order for option in options)
                report.expect("notices come in order", latest > last, f"{kind} for {receiver}")
                continue
            order = options[0].order
            report.expect(
                "notices come in order", order >= last, f"{kind} for {receiver}: {order} < {last}"
            )
            last = max(last, order)


def start_comes_first(history: History, report: Report) -> None:
    """Who is told of the start at all, is told before any round that follows a change since."""
    for server in history.run.servers:
        if not (server.plan.joined_at and server.plan.last_update):
            continue
        training = server.training_uuid
        for entity in history.participants_ever(training):
            receiver = entity.removeprefix("PARTICIPANT#")
            for write in history.writes[training]:
                if write.key[1] != entity or write.old is not None:
                    continue
                start = start_id(training, receiver, _joined(write.new))
                starts = history.posts.get(start, [])
                if not starts or start in history.dead_ids:
                    continue
                for built in history.built:
                    if built.receiver != receiver or built.kind not in ANNOUNCED:
                        continue
                    for post in history.posts.get(built.id, []):
                        gone = self_left(history, training, entity, write.at, post.at)
                        after = built.message.sent_at > write.at
                        if after and not gone and post.at < starts[0].at:
                            made = change_of(history, built)
                            report.expect(
                                "TRAINING_START comes before the rounds",
                                made is not None and made.at <= write.at,
                                f"{built.kind.value} {built.round} for {receiver}",
                            )


def removal_comes_before_the_next_start(history: History, report: Report) -> None:
    """Who has left and joined again is told so in this order.

    Unless a change of the training from before was built after both: it reads its participants
    as they are then, and announces the start to who is one of them again.
    """
    announced = {
        each.id
        for _, expected in expectations(history)
        for each in expected
        if each.of_training and each.kind is T.TRAINING_START
    }
    for training, writes in history.writes.items():
        for write in writes:
            if write.key[1] == "TRAINING" or write.new is not None or "joined_at" not in write.old:
                continue
            receiver = write.key[1].removeprefix("PARTICIPANT#")
            number = str(write.sequence_number)
            removed = notification_id(training, number, T.CLIENT_REMOVED, receiver)
            later = [w for w in writes if w.key == write.key and w.at >= write.at and w.old is None]
            for again in later:
                start = start_id(training, receiver, _joined(again.new))
                if start in announced or again.new == write.old:
                    continue
                for post in history.posts.get(removed, []):
                    report.expect(
                        "CLIENT_REMOVED comes before the next TRAINING_START",
                        all(post.at <= each.at for each in history.posts.get(start, [])),
                        f"{receiver} after write {number}",
                    )


def self_left(history: History, training: str, entity: str, begin: float, end: float) -> bool:
    return any(version is None for version in history.over(training, entity, begin + 1e-6, end))


def change_of(history: History, built: Built) -> Write | None:
    """The record that a notification comes from."""
    for write in history.writes[built.training]:
        number = str(write.sequence_number)
        if notification_id(built.training, number, built.kind, built.receiver) == built.id:
            return write
    return None


def _conclusive(post: Post) -> bool:
    """Whether the function was told what ends the delivery."""
    if isinstance(post.told, Responded):
        return not _later(post.told.status)
    return isinstance(post.told, Forbidden)


def _later(status: int) -> bool:
    """The table "Answer → outcome": try again later."""
    return status in {408, 425, 429} or (500 <= status <= 599 and status not in {501, 505})


def sent_once(history: History, report: Report) -> None:
    """Invariant 3: only a crash between a POST and its record can repeat a POST."""
    for each, posts in history.posts.items():
        name = f"{history.by_id[each][0].kind.value} for {history.by_id[each][0].receiver}"
        report.expect(
            "the same id carries the same body", len({post.body for post in posts}) == 1, name
        )
        report.expect(
            "the same id goes to one endpoint", len({post.url for post in posts}) == 1, name
        )
        concluded = _concluded_at(history, each)
        for post in posts:
            report.expect(
                "what the ledger has concluded is not sent again",
                concluded is None or post.invocation.began <= concluded,
                name,
            )
        for post, following in zip(posts, posts[1:], strict=False):
            if _conclusive(post):
                report.expect(
                    "what was answered is sent again only after a crash",
                    post.invocation.troubled_since(post.at),
                    f"{name}: {post.told}, then again after {following.at - post.at:.1f} s",
                )


def _concluded_at(history: History, each: str) -> float | None:
    for at, item in history.world.ledger.versions.get((each,), []):
        if item is not None and "outcome" in item:
            return at
    return None


def attempts_and_waits(history: History, report: Report) -> None:
    """At most MaxAttempts, but for crashes; waits of at least what is promised."""
    stack = history.world.stack
    for each, posts in history.posts.items():
        name = f"{history.by_id[each][0].kind.value} for {history.by_id[each][0].receiver}"
        crashes = sum(post.invocation.troubled_since(post.at) for post in posts)
        report.expect(
            "no more attempts than allowed",
            len(posts) <= stack.max_attempts + crashes,
            f"{name}: {len(posts)} POSTs, {crashes} crashes",
        )
        attempt = 0
        for post, following in zip(posts, posts[1:], strict=False):
            attempt += 1
            if post.invocation.troubled_since(post.at) or post.ended is None:
                continue
            wait = stack.retry_backoff_seconds * 0.8
            if isinstance(post.told, Responded) and (post.told.retry_after or "").isdigit():
                wait = max(wait, min(int(post.told.retry_after or 0), 900))
            # The queue takes whole seconds.
            report.expect(
                "an attempt waits as long as it should",
                following.at - post.ended >= wait - 0.5,
                f"{name}: {following.at - post.ended:.1f} s instead of {wait}",
            )


def outcomes_follow_answers(history: History, report: Report) -> None:
    """The table "Answer → outcome"."""
    stack = history.world.stack
    for each, events in history.events.items():
        _, event = events[0]
        detail = event["detail"]
        outcome = event["detail-type"].removeprefix("Notification ").lower()
        name = f"{detail['notification_type']} for {detail['receiver_uuid']}: {outcome}"
        posts = history.posts.get(each, [])
        callback = {"accepted": SUCCESS, "superseded": None}.get(outcome, FAILURE)
        if T(detail["notification_type"]) not in ANNOUNCED:
            callback = None
        report.expect("an event names its callback", detail["callback"] == callback, name)
        told = [post.told for post in posts if post.told is not None]
        match outcome:
            case "accepted":
                accepted = any(isinstance(a, Responded) and 200 <= a.status < 300 for a in told)
                report.expect("accepted follows a 2xx", accepted, name)
            case "rejected":
                final = any(isinstance(a, Responded) and _refuses(a.status) for a in told)
                late = any(isinstance(a, Responded) and _later(a.status) for a in told)
                report.expect(
                    "rejected follows a refusal, or the last attempt",
                    final or (late and detail["attempts"] >= stack.max_attempts),
                    name,
                )
            case "failed":
                unreachable = any(isinstance(a, Unreachable) for a in told)
                endpoint = history.by_id[each][0].endpoint
                behaviour = history.world.receivers.behaviours.get(endpoint)
                forbidden = behaviour is not None and not behaviour.allowed
                report.expect(
                    "failed follows the last attempt, or the guard",
                    forbidden or (unreachable and detail["attempts"] >= stack.max_attempts),
                    name,
                )
            case _:
                pass
        if history.no_faults and outcome != "superseded":
            attempts = len(posts) or 1
            report.expect("attempts are counted", detail["attempts"] == attempts, name)


def _refuses(status: int) -> bool:
    return not 200 <= status < 300 and not _later(status)


def on_the_wire(history: History, report: Report) -> None:
    """Bodies, headers and signatures."""
    for post in history.world.receivers.posts:
        built = history.by_id[post.notification_id][0]
        name = f"{built.kind.value} for {built.receiver}"
        body = json.loads(post.body)
        report.expect(
            "the body is as documented",
            body == _body(history, built, body) and built.content == body,
            f"{name}: {body}",
        )
        headers = post.headers
        report.expect(
            "the timestamp is that of the attempt",
            int(headers["webhook-timestamp"]) == int(post.at + 1e-5),
            name,
        )
        signed = f"{built.id}.{headers['webhook-timestamp']}.".encode() + post.body
        valid = {
            "v1," + b64encode(digest(_key(secret, built.receiver), signed, sha256)).decode()
            for secret in _secrets_at(history, post.at)
        }
        signatures = set(headers["webhook-signature"].split(" "))
        report.expect("the signature is the receiver's", signatures & valid, name)
        report.expect("the content type is JSON", headers["content-type"] == "application/json")


def _key(secret: str, receiver: str) -> bytes:
    return digest(secret.encode(), receiver.encode(), sha256)


def _secrets_at(history: History, at: float) -> set[str]:
    """The secrets that a receiver accepts: current and previous, and what just was one of them."""
    changes = history.world.secrets.changes
    early = [secret for when, secret in changes if when <= at - SECRET_MAY_BE_OLD]
    late = [secret for when, secret in changes if when <= at]
    return {*early[-2:], *late[len(early) :], *late[-2:]}


def _body(history: History, built: Built, body: Mapping[str, Any]) -> dict[str, Any]:
    """What is on the wire; the model may be any that the training had."""
    inner = body["body"]
    model = inner.get("global_model_uuid")
    models = {
        item["model_uuid"]["S"]
        for (training, entity), versions in history.world.trainings.versions.items()
        if training == built.training
        for _, item in versions
        if item is not None and "model_uuid" in item
        and (entity == "TRAINING" or entity == f"PARTICIPANT#{built.receiver}")
    }
    expected: dict[str, Any]
    match built.kind:
        case T.TRAINING_START | T.TRAINING_FINISHED:
            expected = {"global_model_uuid": model}
        case T.UPDATE_ROUND_START | T.MODEL_TEST_ROUND:
            expected = {"round": built.round, "global_model_uuid": model}
        case T.SWAG_ROUND_START:
            same = {"round": built.round, "global_model_uuid": model}
            expected = {**same, "data": same}
        case T.CLIENT_REMOVED:
            expected = {"data": {}}
        case T.TRAINING_ERROR:
            data = inner["data"]
            expected = {"data": {"reason": data["reason"], "round": data["round"]}}
    if model is not None and model not in models:
        expected = {"global_model_uuid": f"one of {models}"}
    return {
        "notification_type": built.kind.value,
        "body": expected,
        "training_uuid": built.training,
    }


def superseded_rightly(history: History, report: Report) -> None:
    """No POST about what was over when its attempt was prepared; nothing superseded that was not."""
    for post in history.world.receivers.posts:
        built = history.by_id[post.notification_id][0]
        if built.kind is not T.TRAINING_START and built.kind not in ANNOUNCED:
            continue
        report.expect(
            "nobody is told of what is over",
            _current(history, built, post.invocation.began, post.at),
            f"{built.kind.value} {built.round} for {built.receiver}",
        )
    for each, events in history.events.items():
        at, event = events[0]
        if event["detail-type"] == "Notification Superseded":
            built = history.by_id[each][0]
            report.expect(
                "superseded is what is over",
                built.kind in {T.TRAINING_START, *ANNOUNCED}
                and _over(history, built, built.message.sent_at, at),
                f"{built.kind.value} {built.round} for {built.receiver}",
            )


def _current(history: History, built: Built, begin: float, end: float) -> bool:
    """Whether at some moment of a while the notification was right."""
    trainings = history.over(built.training, "TRAINING", begin, end)
    entity = f"PARTICIPANT#{built.receiver}"
    return any(_announces(built, training) for training in trainings) and (
        built.kind is T.TRAINING_START
        or any(item is not None for item in history.over(built.training, entity, begin, end))
    )


def _over(history: History, built: Built, begin: float, end: float) -> bool:
    """Whether at some moment of a while the notification was no longer right."""
    trainings = history.over(built.training, "TRAINING", begin, end)
    entity = f"PARTICIPANT#{built.receiver}"
    return any(not _announces(built, training) for training in trainings) or (
        built.kind is not T.TRAINING_START
        and any(item is None for item in history.over(built.training, entity, begin, end))
    )


def _announces(built: Built, training: Item | None) -> bool:
    if training is None or _state(training) in FINAL:
        return False
    if built.kind is T.TRAINING_START:
        return True
    return _state(training) == ANNOUNCED[built.kind] and training["round"]["N"] == str(built.round)


def callbacks(history: History, report: Report) -> None:
    """Invariant 4 and the table "Failure policy"."""
    world = history.world
    for name, invoker in world.callbacks.items():
        callback = {"CallbackSuccess": SUCCESS, "CallbackFailure": FAILURE}[name]
        due = [e for _, e in world.bus.events if e["detail"]["callback"] == callback]
        handled = {event["id"] for event, _ in invoker.handled}
        dead = {event["id"] for event in invoker.dead}
        for event in due:
            report.expect(
                "a callback runs, or its event is a dead letter", event["id"] in handled | dead, name
            )
    servers = {server.training_uuid: server for server in history.run.servers}
    warrants = [
        (at, event)
        for at, event in world.bus.events
        if event["detail"]["callback"] == FAILURE
    ]
    for write in world.trainings.writes:
        if write.by != "CallbackFailure":
            continue
        server = servers[write.key[0]]
        if write.key[1] == "TRAINING":
            report.expect(
                "the failure callback ends a training only where it was announced to be",
                any(
                    _warrants_error(history, server.plan, at, event, write)
                    for at, event in warrants
                ),
                f"{write.old} -> {write.new}",
            )
        else:
            report.expect(
                "the failure callback deletes only whom the policy says",
                write.new is None
                and any(
                    _warrants_removal(history, server.plan, at, event, write)
                    for at, event in warrants
                ),
                f"{write.key[1]} at {write.at - world.kernel.start:.1f}",
            )
    for event, invocation in world.callbacks["CallbackFailure"].handled:
        _policy_is_done(history, servers, event, invocation.began, invocation.ended, report)


def _outcome(event: Mapping[str, Any]) -> str:
    return str(event["detail-type"].removeprefix("Notification ").lower())


def _removes(plan: Any, event: Mapping[str, Any]) -> bool:
    return _outcome(event) == "rejected" or plan.policy == "quorum"


def _warrants_error(
    history: History, plan: Any, at: float, event: Mapping[str, Any], write: Write
) -> bool:
    detail = event["detail"]
    old, new = write.old, write.new
    if detail["training_uuid"] != write.key[0] or at > write.at or old is None or new is None:
        return False
    state = ANNOUNCED[T(detail["notification_type"])]
    if _state(old) != state or old["round"]["N"] != str(detail["round"]):
        return False
    error = new["error"]["M"]
    if _state(new) != "ERROR" or error["notification_id"]["S"] != detail["notification_id"]:
        return False
    same = {k: v for k, v in new.items() if k not in {"state", "error"}}
    if same != {k: v for k, v in old.items() if k not in {"state", "error"}}:
        return False
    if not _removes(plan, event):
        return True
    required = {number for number in plan.required}
    server = next(s for s in history.run.servers if s.training_uuid == write.key[0])
    if any(server.participant_uuid(number) == detail["receiver_uuid"] for number in required):
        return True
    least = 1 if plan.min_participants is None else plan.min_participants
    begin = write.at - 30
    moments = [begin, *(w.at for w in history.writes[write.key[0]] if begin <= w.at <= write.at)]
    return any(history.participant_count(write.key[0], moment) < least for moment in moments)


def _warrants_removal(
    history: History, plan: Any, at: float, event: Mapping[str, Any], write: Write
) -> bool:
    detail = event["detail"]
    if detail["training_uuid"] != write.key[0] or at > write.at or not _removes(plan, event):
        return False
    if write.key[1] != f"PARTICIPANT#{detail['receiver_uuid']}":
        return False
    if write.old is None or "joined_at" not in write.old:
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
    return joined <= at


def _policy_is_done(
    history: History,
    servers: Mapping[str, Any],
    event: Mapping[str, Any],
    begin: float,
    end: float,
    report: Report,
) -> None:
    detail = event["detail"]
    training = detail["training_uuid"]
    server = servers[training]
    plan = server.plan
    name = f"{_outcome(event)} {detail['notification_type']} for {detail['receiver_uuid']}"
    states = list(history.over(training, "TRAINING", begin, end))
    if any(not readable_training(item) for item in states):
        return
    announced = ANNOUNCED[T(detail["notification_type"])]
    still = all(
        _state(item) == announced and item is not None
        and item["round"]["N"] == str(detail["round"])
        for item in states
    )
    if not _removes(plan, event):
        report.expect("failed, strict: the training ends", not still, name)
        return
    entity = f"PARTICIPANT#{detail['receiver_uuid']}"
    told = history.events[detail["notification_id"]][0][0]
    report.expect(
        "rejected, or failed with a quorum: the participant is removed",
        any(item is None for item in history.over(training, entity, told, end)),
        name,
    )
    least = 1 if plan.min_participants is None else plan.min_participants
    writes = [w for w in history.writes[training] if begin <= w.at <= end]
    gone = max((w.at for w in writes if w.key[1] == entity and w.new is None), default=begin)
    moments = [gone, *(w.at for w in writes if w.at >= gone)]
    few = all(history.participant_count(training, moment) < least for moment in moments)
    required = any(
        server.participant_uuid(number) == detail["receiver_uuid"] for number in plan.required
    )
    if few or required:
        report.expect("too few or a required one out: the training ends", not still, name)


def unreadable_items(history: History, report: Report) -> None:
    """Invariant 5: an unreadable item is a dead letter with the reason, and is logged."""
    world = history.world
    letters: dict[str, int] = defaultdict(int)
    for message in world.stream_dlq.accepted:
        body = json.loads(message.body)
        if "DDBStreamBatchInfo" in body:
            continue
        reason = message.attributes["reason"]["StringValue"]
        letters[body["record"]["dynamodb"]["SequenceNumber"]] += 1
        report.expect(
            "a dead letter names item and field",
            body["field"] in reason and body["entity"] and body["training_uuid"],
            body,
        )
    for training, writes in history.writes.items():
        del training
        for write in writes:
            image = write.new if write.new is not None else write.old
            number = write.sequence_number
            if number not in history.processed or number in history.discarded or write.by_ttl:
                continue
            if write.key[1] == "TRAINING":
                unreadable = write.new is not None and not readable_training(write.new)
            else:
                unreadable = not readable_participant(image)
            if unreadable:
                report.expect(
                    "an unreadable item is a dead letter", letters[str(number)] >= 1, write.key
                )
    logged = [line for line in world.lines.lines if line[2] == "unreadable item"]
    report.expect("unreadable items are logged", len(logged) >= len(letters))


def log_lines(history: History, report: Report) -> None:
    """Each POST that a function lived to tell of has its line, and each outcome."""
    attempted: dict[str, int] = defaultdict(int)
    concluded: dict[str, int] = defaultdict(int)
    for _, _, message, extra in history.world.lines.lines:
        if message == "attempted":
            attempted[str(extra["notification_id"])] += 1
        elif message == "concluded":
            concluded[str(extra["notification_id"])] += 1
    for each, posts in history.posts.items():
        clean = sum(post.invocation.end is End.ANSWERED for post in posts)
        report.expect("each POST has its log line", attempted[each] >= clean, each)
    if history.no_faults:
        # A process may die between a record and its line.
        for each in history.events:
            report.expect("each outcome has its log line", concluded[each] >= 1, each)


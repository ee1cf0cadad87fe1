"""The whole history of a run, with the questions that the checks ask of it."""

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fl_notifications.notification_type import NotificationType
from tests.aws.dynamodb import Write
from tests.aws.expressions import Item
from tests.aws.sqs import Message
from tests.simulation.lambdas import End, Invocation, failed_ids
from tests.simulation.scenario import Run
from tests.simulation.timeline import (
    PARTICIPANT,
    TRAINING,
    Handled,
    Kept,
    Timeline,
    readable_participant,
    readable_training,
)

if TYPE_CHECKING:
    from tests.simulation.mailboxes import Fetched
    from tests.simulation.receivers import Post

OUTCOMES = {
    "Notification Accepted",
    "Notification Rejected",
    "Notification Failed",
    "Notification Superseded",
}


@dataclass(frozen=True)
class Built:
    """A notification for one receiver as it came into the queue.

    Attributes:
        knows_membership: whether it says whose membership it concerns; older versions did not.
    """

    id: str
    kind: NotificationType
    training: str
    receiver: str
    round: int | None
    endpoint: str
    content: Mapping[str, Any]
    message: Message
    knows_membership: bool
    joined_at: str | None
    run: str | None

    @property
    def name(self) -> str:
        """How a finding calls it."""
        return f"{self.kind.value} {self.round} for {self.receiver} of run {self.run}"

    @classmethod
    def of(cls, message: Message) -> "Built":
        body = json.loads(message.body)
        return cls(
            id=body["notification_id"],
            kind=NotificationType(body["notification_type"]),
            training=body["training_uuid"],
            receiver=body["receiver"]["uuid"],
            round=body["round"],
            endpoint=body["receiver"]["message_endpoint"],
            content=body["content"],
            message=message,
            knows_membership="joined_at" in body,
            joined_at=body.get("joined_at"),
            run=body.get("run"),
        )


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
        self.outcomes = [
            (at, event) for at, event in world.bus.events if event["detail-type"] in OUTCOMES
        ]
        self.changes = [
            (at, event) for at, event in world.bus.events if event["detail-type"] not in OUTCOMES
        ]
        self.events: dict[str, list[tuple[float, dict[str, Any]]]] = defaultdict(list)
        for at, event in self.outcomes:
            self.events[event["detail"]["notification_id"]].append((at, event))
        self.dead_ids = set()
        for message in world.deliveries_dlq.accepted:
            self.dead_ids.add(json.loads(message.body).get("notification_id"))
        self.writes: dict[str, list[Write]] = defaultdict(list)
        for write in world.trainings.writes:
            self.writes[write.key[0]].append(write)

    # What receivers heard, by POST or from their mailbox

    @cached_property
    def heard(self) -> dict[str, list[tuple[float, int]]]:
        """By notification: when its receiver heard of it, with the place in what all heard."""
        told: list[Post | Fetched] = [
            *self.world.receivers.posts,
            *self.world.mailboxes.fetched,
        ]
        found: dict[str, list[tuple[float, int]]] = defaultdict(list)
        for place, each in enumerate(sorted(told, key=lambda it: it.at)):
            found[each.notification_id].append((each.at, place))
        return found

    @cached_property
    def posted_to(self) -> set[str]:
        """Receivers that a POST was made to."""
        return {self.by_id[each][0].receiver for each in self.posts}

    @cached_property
    def deposits(self) -> dict[str, list[Item]]:
        """By notification: the items that were put into a mailbox."""
        found: dict[str, list[Item]] = defaultdict(list)
        for write in self.world.waiting.writes:
            if write.new is not None and "notification_id" in write.new:
                found[write.new["notification_id"]["S"]].append(write.new)
        return found

    def outcome_of(self, notification: str) -> str | None:
        entry = self.world.ledger.items.get((notification,), {})
        outcome: str | None = entry.get("outcome", {}).get("S")
        return outcome

    def concluded_at(self, notification: str) -> float | None:
        """When the ledger had its outcome for the first time."""
        for at, item in self.world.ledger.versions.get((notification,), []):
            if item is not None and "outcome" in item:
                return at
        return None

    @cached_property
    def secret_was_unreadable(self) -> bool:
        lines = self.world.lines.lines
        return any(line[2] == "the signing secret could not be read" for line in lines)

    # How the stream was processed

    @cached_property
    def processed(self) -> dict[int, tuple[float, float]]:
        """By sequence number: when a record was first and last looked at."""
        found: dict[int, tuple[float, float]] = {}
        for invocation, numbers in self._invocations:
            end = invocation.ended or float("inf")
            for number in numbers:
                first, last = found.get(number, (invocation.began, end))
                found[number] = (min(first, invocation.began), max(last, end))
        return found

    @property
    def _invocations(self) -> list[tuple[Invocation, list[int]]]:
        return [*self.world.stream_poller.batches, *self.world.redriven]

    @cached_property
    def given_up(self) -> set[int]:
        """Records that are dead letters although they can be read: they could not be processed."""
        found = {
            int(record["dynamodb"]["SequenceNumber"])
            for record in self.world.stream_poller.discarded
        }
        for message in self.world.stream_dlq.accepted:
            body = json.loads(message.body)
            if "DDBStreamBatchInfo" not in body and body.get("field") is None:
                found.add(int(body["record"]["dynamodb"]["SequenceNumber"]))
        return found

    def certain(self, write: Write) -> bool:
        """Whether what a record calls for has to come: it was not given up."""
        return write.sequence_number not in self.given_up

    def _done(self, batches: list[tuple[Invocation, list[int]]]) -> dict[int, float]:
        """By sequence number: when a record had been processed for the first time."""
        found: dict[int, float] = {}
        for invocation, numbers in batches:
            if invocation.end is not End.ANSWERED:
                continue
            failed = failed_ids(invocation.answer, [str(number) for number in numbers])
            for number in numbers:
                if failed is not None and str(number) not in failed:
                    found.setdefault(number, invocation.ended)
        return found

    def _given_up(self, write: Write, last: float) -> Handled:
        """A record that was tried again and again: perhaps its entry was written in the end."""
        for at, entry in self.world.ledger.versions.get((f"run#{write.key[0]}",), []):
            if entry is not None and entry["told"]["S"] == str(write.sequence_number):
                return Handled(write, at, last, given_up=Kept.TOLD)
        return Handled(write, self.processed[write.sequence_number][0], last, given_up=Kept.OPEN)

    @cached_property
    def timelines(self) -> dict[str, Timeline]:
        """Each training as of each of its changes."""
        streamed = self._done(self.world.stream_poller.batches)
        redriven = self._done(self.world.redriven)
        read = self._segments_read()
        found = {}
        for training, writes in self.writes.items():
            handled = []
            for write in writes:
                number = write.sequence_number
                last = self.processed.get(number, (0.0, 0.0))[1]
                if number in streamed and self.certain(write):
                    handled.append(Handled(write, streamed[number], last))
                elif number in self.processed:
                    handled.append(self._given_up(write, last))
                if number in redriven:
                    handled.append(Handled(write, redriven[number], last, redriven=True))
            handled = [
                replace(each, read=read.get(each.write.sequence_number, 0.0)) for each in handled
            ]
            found[training] = Timeline(training, writes, handled, self.run.upgraded_at)
        return found

    def _segments_read(self) -> dict[int, float]:
        """By sequence number: when the last segment of a large training had been told."""
        found: dict[int, float] = defaultdict(float)
        for message, invocation in self.world.queue_pollers["FanOuts"].handled:
            number = int(json.loads(message.body)["name"].partition("#")[0])
            found[number] = max(found[number], invocation.ended)
        return found

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

    def run_over(self, training: str, begin: float, end: float) -> Iterator[int]:
        """All runs that the ledger's entry of a training named in a while; -1 without one."""
        versions = self.world.ledger.versions.get((f"run#{training}",), [])
        first = bisect_right(versions, begin - 1e-9, key=lambda version: version[0])
        last = bisect_right(versions, end, key=lambda version: version[0])
        before = versions[first - 1][1] if first else None
        for item in (before, *(item for _, item in versions[first:last])):
            yield int(item["run"]["S"]) if item is not None and "run" in item else -1

    def participants_ever(self, training: str) -> set[str]:
        return {
            key[1]
            for key in self.world.trainings.versions
            if key[0] == training and key[1].startswith(PARTICIPANT)
        }

    def counts(self, training: str, begin: float, end: float) -> list[int]:
        """How many readable participants there were, at each moment of a while."""
        moments = [begin, *(w.at for w in self.writes[training] if begin <= w.at <= end)]
        entities = self.participants_ever(training)
        return [
            sum(readable_participant(self.version(training, entity, moment)) for entity in entities)
            for moment in moments
        ]

    def models(self, training: str, receiver: str) -> set[str]:
        """All models that a training or a participant of it ever had."""
        return {
            item["model_uuid"]["S"]
            for entity in (TRAINING, f"{PARTICIPANT}{receiver}")
            for _, item in self.world.trainings.versions.get((training, entity), [])
            if item is not None and "model_uuid" in item
        }


__all__ = ["Built", "History", "readable_participant", "readable_training"]

"""The whole history of a run, with the questions that the checks ask of it."""

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fl_notifications.notification_type import NotificationType
from tests.aws.dynamodb import Write
from tests.aws.expressions import Item
from tests.aws.sqs import Message
from tests.simulation.receivers import Post
from tests.simulation.scenario import Run

PARTICIPANT = "PARTICIPANT#"
TRAINING = "TRAINING"


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

    @property
    def name(self) -> str:
        """How a finding calls it."""
        return f"{self.kind.value} {self.round} for {self.receiver}"

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
        self.events: dict[str, list[tuple[float, dict[str, Any]]]] = defaultdict(list)
        for at, event in world.bus.events:
            if "notification_type" in event["detail"]:  # an outcome
                self.events[event["detail"]["notification_id"]].append((at, event))
        self.dead_ids = set()
        for message in world.deliveries_dlq.accepted:
            self.dead_ids.add(json.loads(message.body).get("notification_id"))
        self.processed = self._processed()
        self.writes: dict[str, list[Write]] = defaultdict(list)
        for write in world.trainings.writes:
            self.writes[write.key[0]].append(write)

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

    def certain(self, write: Write) -> bool:
        """Whether what a record calls for has to come: it was not discarded."""
        return write.sequence_number not in self.discarded

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
            if key[0] == training and key[1] != TRAINING
        }

    def participant_counts(self, training: str, begin: float, end: float) -> list[int]:
        """How many participants there were, at each moment of a while."""
        moments = [begin, *(w.at for w in self.writes[training] if begin <= w.at <= end)]
        entities = self.participants_ever(training)
        return [
            sum(self.version(training, entity, moment) is not None for entity in entities)
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

    # Notifications and their POSTs

    @cached_property
    def rounds(self) -> dict[tuple[str, str], list[tuple[Post, Built]]]:
        """The POSTs of round notifications, by training and receiver."""
        found: dict[tuple[str, str], list[tuple[Post, Built]]] = defaultdict(list)
        for built, *_ in self.by_id.values():
            if built.round is not None:
                posts = self.posts.get(built.id, [])
                found[built.training, built.receiver] += [(post, built) for post in posts]
        return found


def readable_training(item: Item | None) -> bool:
    return item is not None and "model_uuid" in item


def readable_participant(item: Item | None) -> bool:
    return item is not None and "message_endpoint" in item


def text_of(item: Item | None, name: str) -> str | None:
    return None if item is None or name not in item else str(item[name]["S"])


def joined_at(item: Item | None) -> str | None:
    return text_of(item, "joined_at")


def state_of(item: Item | None) -> str | None:
    return None if item is None else str(item["state"]["S"])

"""Fan-outs of large trainings on their way: one message per segment."""

import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict

from fl_notifications.aws.batches import SQS_BATCH, Sleep, until_done
from fl_notifications.deliveries.queue import NotEnqueuedError
from fl_notifications.notifications.announcement import Announcement
from fl_notifications.notifications.segments import SEGMENTS, segment_of
from fl_notifications.trainings.model import Participant, canonical

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef


class FanOut(BaseModel):
    """What there is to tell in one segment of a training; the message on the queue `FanOuts`.

    Attributes:
        name: of the fan-out: the same for all segments, and for all tries of one.
        participants: whom to tell; None: everybody in the segment.
        record: keys and number of the record that it comes from, for a dead letter.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    segment: int
    announcement: Announcement
    participants: tuple[Participant, ...] | None = None
    record: Mapping[str, Any]

    @classmethod
    def of_all(
        cls, announcement: Announcement, name: str, record: Mapping[str, Any]
    ) -> "list[FanOut]":
        """One for each segment; the actor is told by the segment of its uuid."""
        actor = segment_of(announcement.training.actor.uuid)
        return [
            cls(
                name=name,
                segment=segment,
                announcement=_part(announcement, segment, is_actors=segment == actor),
                record=record,
            )
            for segment in range(SEGMENTS)
        ]

    @classmethod
    def of_one(
        cls,
        announcement: Announcement,
        participant: Participant,
        name: str,
        record: Mapping[str, Any],
    ) -> Self:
        """What follows from a participant's own record, so that it overtakes no fan-out."""
        return cls(
            name=name,
            segment=segment_of(participant.uuid),
            announcement=_part(announcement, segment_of(participant.uuid), is_actors=False),
            participants=(participant,),
            record=record,
        )

    @property
    def group(self) -> str:
        """The queue's message group: what is to stay in order."""
        return f"{canonical(self.announcement.training.training_uuid)}:{self.segment}"

    @property
    def deduplication_id(self) -> str:
        """The same for all tries to enqueue it."""
        kind = "all" if self.participants is None else "own"
        return f"{self.name}-{self.segment}-{kind}"


def _part(announcement: Announcement, segment: int, *, is_actors: bool) -> Announcement:
    """An announcement with no more than a segment needs."""
    training = announcement.training
    selected = training.selected
    if selected is not None:
        selected = frozenset(
            each for each in selected if segment in {segment_of(each), segment_of(canonical(each))}
        )
    return announcement.model_copy(
        update={
            "training": training.model_copy(update={"selected": selected}),
            "to_actor": announcement.to_actor and is_actors,
        }
    )


@dataclass(frozen=True)
class FanOutQueue:
    """The FIFO queue of fan-outs."""

    client: "SQSClient"
    queue_url: str
    trace_header: Callable[[], str | None] = field(default=lambda: None)
    sleep: Sleep = field(default=time.sleep)

    def send(self, fan_outs: Iterable[FanOut]) -> None:
        """Enqueue fan-outs; returns when the queue has accepted all of them.

        Raises:
            NotEnqueuedError: if one was not accepted after several tries; sending all again is
                safe.
            ClientError: if the queue refuses a call as a whole.
        """

        def call(
            entries: "list[SendMessageBatchRequestEntryTypeDef]",
        ) -> "list[SendMessageBatchRequestEntryTypeDef]":
            answer = self.client.send_message_batch(QueueUrl=self.queue_url, Entries=entries)
            failed = {entry["Id"] for entry in answer.get("Failed", [])}
            return [entry for entry in entries if entry["Id"] in failed]

        for batch in itertools.batched(fan_outs, SQS_BATCH):
            entries = [self._entry(number, each) for number, each in enumerate(batch)]
            if left := until_done(entries, call, sleep=self.sleep):
                raise NotEnqueuedError(f"the queue refused {len(left)} fan-outs")

    def _entry(self, number: int, fan_out: FanOut) -> "SendMessageBatchRequestEntryTypeDef":
        entry: SendMessageBatchRequestEntryTypeDef = {
            "Id": str(number),
            "MessageBody": fan_out.model_dump_json(ensure_ascii=True, exclude_defaults=True),
            "MessageGroupId": fan_out.group,
            "MessageDeduplicationId": fan_out.deduplication_id,
        }
        if (header := self.trace_header()) is not None:
            entry["MessageSystemAttributes"] = {
                "AWSTraceHeader": {"DataType": "String", "StringValue": header}
            }
        return entry

"""Tells of rounds that last longer than their deadline."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from fl_notifications.outcomes.bus import OutcomeBus
from fl_notifications.outcomes.changes import TRAINING_OVERDUE_CALLBACK, TrainingOverdue
from fl_notifications.outcomes.waiting import (
    Item,
    UnreadableWaitingError,
    WaitingRound,
    WaitingTable,
)
from fl_notifications.telemetry.journal import Journal
from fl_notifications.trainings.items import UnreadableItemError, training_key
from fl_notifications.trainings.model import OnDeadline, Progress

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True)
class Rounds:
    """Rounds with a deadline."""

    client: "DynamoDBClient"
    trainings_table: str
    waiting: WaitingTable
    bus: OutcomeBus
    journal: Journal

    def conclude(self, item: Item, now: datetime) -> None:
        """Tell that a round is overdue, if its training is still in it; then forget it.

        Args:
            item: of the index, which may be older than the table's.
            now: the time.

        Raises:
            ClientError: if a table or the bus refuses a call.
            NotToldError: if the bus does not take the event.
        """
        try:
            one = self.waiting.round_of(item["owner"]["S"].removeprefix("TRAINING#"))
            if one is None or one.due_at is None or one.due_at > now:
                return
            goes_on = self._goes_on(one)
        except UnreadableWaitingError as error:
            self.journal.trouble("a round cannot be read; it is tried again", error)
        except UnreadableItemError as error:
            # Whether it has moved on is unknown: the next sweep retries, until it can be read.
            self.journal.unreadable(error)
        else:
            if goes_on:
                event = _overdue(one, one.due_at)
                self.bus.tell([event], now)
                self.journal.overdue(event)
            self.waiting.end_round(one.training_uuid, one.source)

    def _goes_on(self, one: WaitingRound) -> bool:
        training: Item | None = self.client.get_item(
            TableName=self.trainings_table,
            Key=training_key(one.training_uuid),
            ConsistentRead=True,
        ).get("Item")
        if training is None:
            return False
        progress = Progress.from_item(training)
        return (progress.state.value, progress.round) == (one.state, one.round)


def _overdue(one: WaitingRound, due_at: datetime) -> TrainingOverdue:
    return TrainingOverdue(
        training_uuid=one.training_uuid,
        sequence=one.source,
        run=one.run,
        state=one.state,
        round=one.round,
        began_at=one.began_at,
        due_at=due_at,
        policy=one.policy,
        callback=None if one.policy is OnDeadline.EVENT else TRAINING_OVERDUE_CALLBACK,
    )

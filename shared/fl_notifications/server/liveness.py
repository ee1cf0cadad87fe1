"""Who takes part: when each participant was last told something, and what came of it.

All of it from what is stored anyway, read only when somebody asks: the ids of the notices are
derived, so that no index is needed.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from fl_notifications.aws.batches import Sleep, get_all
from fl_notifications.deliveries.delivery import ANNOUNCED_STATE, notification_id
from fl_notifications.notification_type import NotificationType
from fl_notifications.outcomes.ledger import Ledger, LedgerEntry
from fl_notifications.outcomes.outcome import OutcomeKind
from fl_notifications.outcomes.runs import Run, Runs
from fl_notifications.outcomes.waiting import (
    MAILBOX_ENDPOINT,
    RECEIVER,
    ReceiverSeen,
    mailbox_owner,
    waiting_key,
)
from fl_notifications.trainings.items import (
    PARTICIPANT_PREFIX,
    Item,
    UnreadableItemError,
    training_key,
)
from fl_notifications.trainings.model import (
    RUNNING_STATES,
    Participant,
    Progress,
    TrainingState,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

PAGE: Final = 100
"""Participants read at once; each with two entries of the ledger."""

_KINDS: Final = {
    **{state: kind for kind, state in ANNOUNCED_STATE.items()},
    TrainingState.COMPLETED: NotificationType.TRAINING_FINISHED,
    TrainingState.ERROR: NotificationType.TRAINING_ERROR,
}


@dataclass(frozen=True, slots=True)
class ParticipantStatus:
    """What is known of a participant.

    Attributes:
        mailbox: whether it fetches its notifications itself.
        told: the latest notice of its training that it was told, or is to be told next; None if
            there is none.
        outcome: how that has ended; None: it has not yet.
        attempts: POSTs so far.
        status_code: of its last answer.
        reason: why it was not accepted.
        at: when that was so; None: nothing has come of it yet.
        reported: whether the server has its result of this round; None outside of a round.
        seen_at: when it last asked for its mailbox, to five minutes; None: never, or by push.
    """

    uuid: str
    mailbox: bool
    joined_at: str | None
    told: NotificationType | None = None
    outcome: OutcomeKind | None = None
    attempts: int = 0
    status_code: int | None = None
    reason: str | None = None
    at: datetime | None = None
    reported: bool | None = None
    seen_at: datetime | None = None


class Liveness:
    """Tells who takes part in trainings."""

    def __init__(
        self,
        client: "DynamoDBClient",
        *,
        trainings_table: str,
        ledger_table: str,
        waiting_table: str,
        sleep: Sleep = time.sleep,
    ) -> None:
        """Use a stack's tables.

        Args:
            client: boto3's client.
            trainings_table: output `TrainingsTable` of the stack.
            ledger_table: output `LedgerTable`.
            waiting_table: output `WaitingTable`.
            sleep: waits between two tries of a call, in seconds.
        """
        self._client = client
        self._trainings_table = trainings_table
        self._waiting_table = waiting_table
        self._ledger = Ledger(client, ledger_table, sleep=sleep)
        self._runs = Runs(client, ledger_table)
        self._sleep = sleep

    def pages(self, training_uuid: str, *, size: int = PAGE) -> Iterator[list[ParticipantStatus]]:
        """Read the participants of a training, page by page, in the order of their uuids.

        What cannot be read as a participant is left out: `dead-letters` names it.

        Args:
            training_uuid: of the training.
            size: of a page, at most 1,000.

        Raises:
            NotReadError: if DynamoDB leaves something unread, after several tries.
            ClientError: if DynamoDB refuses a call.
        """
        run = self._runs.read(training_uuid)
        progress = self._progress(training_uuid)
        start: dict[str, Any] = {}
        while True:
            answer = self._client.query(
                TableName=self._trainings_table,
                KeyConditionExpression="training_uuid = :training AND begins_with(entity, :prefix)",
                ExpressionAttributeValues={
                    ":training": {"S": training_uuid},
                    ":prefix": {"S": PARTICIPANT_PREFIX},
                },
                ProjectionExpression="training_uuid, entity, message_endpoint, joined_at, reported",
                Limit=size,
                **start,
            )
            yield self._page(list(_participants(answer["Items"])), training_uuid, run, progress)
            if "LastEvaluatedKey" not in answer:
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def _progress(self, training_uuid: str) -> Progress | None:
        item: Item | None = self._client.get_item(
            TableName=self._trainings_table, Key=training_key(training_uuid)
        ).get("Item")
        try:
            return None if item is None else Progress.from_item(item)
        except UnreadableItemError:
            return None

    def _page(
        self,
        participants: Sequence[Participant],
        training_uuid: str,
        run: Run | None,
        progress: Progress | None,
    ) -> list[ParticipantStatus]:
        notices = {each.uuid: _notices(each, training_uuid, run) for each in participants}
        entries = self._ledger.entries(notice for each in notices.values() for notice, _ in each)
        seen = self._seen([each.uuid for each in participants if _has_mailbox(each)])
        return [
            _status(
                each,
                _latest(notices[each.uuid], entries),
                reported=_reported(each, progress),
                seen=seen.get(mailbox_owner(each.uuid), ReceiverSeen()),
            )
            for each in participants
        ]

    def _seen(self, uuids: Sequence[str]) -> dict[str, ReceiverSeen]:
        owners = sorted({mailbox_owner(each) for each in uuids})
        keys = [waiting_key(each, RECEIVER) for each in owners]
        items = get_all(self._client, self._waiting_table, keys, sleep=self._sleep)
        return {item["owner"]["S"]: ReceiverSeen.from_item(item) for item in items}


type _Notice = tuple[str, NotificationType]


def _participants(items: Sequence[Item]) -> Iterator[Participant]:
    for item in items:
        try:
            yield Participant.from_item(item)
        except UnreadableItemError:
            continue


def _has_mailbox(participant: Participant) -> bool:
    return participant.message_endpoint == MAILBOX_ENDPOINT


def _notices(participant: Participant, training_uuid: str, run: Run | None) -> list[_Notice]:
    """Ids of what the participant was told last, if it was, and of the run's start before it."""
    if run is None or run.training.state == TrainingState.INITIAL:
        return []
    kind = _KINDS.get(run.training.state)
    source = run.ended.sequence if run.ended is not None else run.round_change
    kinds = [(NotificationType.TRAINING_START, run.run)]
    if kind is not None and source is not None:
        kinds.insert(0, (kind, source))
    return [
        (
            notification_id(
                each,
                participant.uuid,
                training_uuid=training_uuid,
                run=run.run,
                source=source,
                joined_at=participant.joined_at,
            ),
            each,
        )
        for each, source in kinds
    ]


def _latest(
    notices: Sequence[_Notice], entries: dict[str, LedgerEntry]
) -> tuple[NotificationType | None, LedgerEntry | None]:
    """The latest notice that something has come of; else the one that is to be told."""
    for notice, kind in notices:
        if notice in entries:
            return kind, entries[notice]
    return (notices[0][1], None) if notices else (None, None)


def _reported(participant: Participant, progress: Progress | None) -> bool | None:
    if progress is None or progress.state not in RUNNING_STATES:
        return None
    return participant.reported == f"{progress.state}#{progress.round}"


def _status(
    participant: Participant,
    latest: tuple[NotificationType | None, LedgerEntry | None],
    *,
    reported: bool | None,
    seen: ReceiverSeen,
) -> ParticipantStatus:
    told, entry = latest
    status = ParticipantStatus(
        uuid=participant.uuid,
        mailbox=_has_mailbox(participant),
        joined_at=participant.joined_at,
        told=told,
        reported=reported,
        seen_at=seen.seen_at,
    )
    if entry is None:
        return status
    return replace(
        status,
        outcome=entry.outcome,
        attempts=entry.attempts,
        status_code=entry.status_code,
        reason=entry.reason,
        at=entry.at,
    )

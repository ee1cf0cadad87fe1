"""Steps: what the functions' log says about single notifications, one line per step.

Pure: log lines in, steps in order out. Nothing here talks to AWS.
"""

import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any
from uuid import UUID


class StepKind(StrEnum):
    """What a line of the log can tell about a notification, in the order of its life."""

    BUILT = "built"
    HELD_BACK = "held back"
    ATTEMPTED = "attempted"
    DEPOSITED = "deposited"  # in its receiver's mailbox, instead of an attempt
    FETCHED = "fetched"
    ACKNOWLEDGED = "acknowledged"
    CONCLUDED = "concluded"
    CALLED_BACK = "called back"
    UNREADABLE = "unreadable"  # of none: nobody was told, as an item could not be read
    OVERDUE = "overdue"  # of none: the round lasts longer than its deadline; or what followed


OF_TRAININGS = frozenset({StepKind.UNREADABLE, StepKind.OVERDUE})
"""Steps of a training as a whole, not of a notification."""


TYPE_UNKNOWN = "type unknown"
"""Rejected by a client that does not know this type of notification: no failure of anybody's."""

_UNREADABLE_ITEM = "unreadable item"
_CHANGE_FOLLOWED = "change followed"
_TRAINING_OVERDUE = "Training Overdue"
_ITEM = re.compile(r"item '(.*)' of training '(.*)'")
_PARTICIPANT = "PARTICIPANT#"

_TOLD_BY = ('"step"', _UNREADABLE_ITEM, _CHANGE_FOLLOWED)
"""A line of the log that has none of these is no step."""

_RANK = {kind: rank for rank, kind in enumerate(StepKind)}


@dataclass(frozen=True, slots=True)
class Step:
    """One step of one notification's way to its receiver.

    What a line did not say, or said in a form that can't be read, is None.

    Args:
        at: When the step was logged, in UTC: the time in the line itself. CloudWatch's own time
            of the line may be that of the whole invocation.
        kind: What happened.
        training_uuid: The training it belongs to.
        notification_id: The notification.
        notification_type: Its type, as on the wire.
        receiver_uuid: Who gets it.
        round: The training's round that it announces.
        attempt: Which POST it was; of a conclusion, how many there were.
        outcome: accepted, rejected, failed or superseded; or `TYPE_UNKNOWN`.
        status_code: The receiver's HTTP status.
        reason: Why, in words.
        latency_ms: How long the POST took, in milliseconds.
        queued_ms: How long it took since the state change, in milliseconds.
    """

    at: datetime
    kind: StepKind
    training_uuid: str
    notification_id: str | None = None
    notification_type: str | None = None
    receiver_uuid: str | None = None
    round: int | None = None
    attempt: int | None = None
    outcome: str | None = None
    status_code: int | None = None
    reason: str | None = None
    latency_ms: int | None = None
    queued_ms: int | None = None

    def as_json(self) -> dict[str, str | int | None]:
        """The step as `--json` shows it."""
        return {
            "at": timestamp(self.at),
            "step": self.kind.value,
            "training_uuid": self.training_uuid,
            "notification_id": self.notification_id,
            "notification_type": self.notification_type,
            "receiver_uuid": self.receiver_uuid,
            "round": self.round,
            "attempt": self.attempt,
            "outcome": self.outcome,
            "status_code": self.status_code,
            "reason": self.reason,
        }

    @property
    def notification_key(self) -> tuple[str | int | None, ...]:
        """What tells this notification from others, also if a line has no id."""
        if self.notification_id is not None:
            return (self.notification_id,)
        return (None, self.receiver_uuid, self.notification_type, self.round)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which steps are asked for.

    Args:
        training_uuid: A training's uuid or the beginning of one; None means all.
        receiver: A receiver's uuid or the beginning of one; None means all.
        notification: A notification's id or the beginning of one; None means all.
        since: Only steps at or after this time; None means all.
    """

    training_uuid: str | None
    receiver: str | None = None
    notification: str | None = None
    since: datetime | None = None

    def includes(self, step: Step) -> bool:
        """Whether the step is asked for."""
        return (
            _starts(step.training_uuid, self.training_uuid)
            and _starts(step.receiver_uuid, self.receiver)
            and _starts(step.notification_id, self.notification)
            and (self.since is None or step.at >= self.since)
        )


def parse_step(line: str) -> Step | None:
    """Read a line of the log.

    Args:
        line: Anything: the log group also holds the platform's lines and other messages.

    Returns:
        The step, or None if the line doesn't tell of one.
    """
    start = line.find("{")
    if start < 0 or not any(told in line for told in _TOLD_BY):
        return None
    try:
        fields = json.loads(line[start:])
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    if fields.get("message") == _UNREADABLE_ITEM:
        return _unreadable(fields)
    if fields.get("message") == _CHANGE_FOLLOWED:
        return _followed(fields)
    return _from_fields(fields)


def in_order(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Sort steps by time.

    Steps of the same millisecond stay together by notification, the earlier notification first,
    each in the order of its life; what is still equal stays as it came.
    """
    read = list(steps)
    first: dict[tuple[str | int | None, ...], tuple[datetime, int]] = {}
    for index, step in enumerate(read):
        place = (step.at, index)
        first[step.notification_key] = min(first.get(step.notification_key, place), place)
    return tuple(
        sorted(
            read,
            key=lambda step: (
                step.at,
                first[step.notification_key],
                _RANK[step.kind],
                step.attempt or 0,
            ),
        )
    )


def timestamp(at: datetime) -> str:
    """A time as in the log: RFC 3339 in UTC with milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _unreadable(fields: Mapping[str, Any]) -> Step | None:
    """The line that says why nobody was told: it names the item and the field."""
    at, named = _time(fields.get("timestamp")), _ITEM.fullmatch(str(fields.get("item")))
    if at is None or named is None:
        return None
    entity, training_uuid = named.groups()
    return Step(
        at=at,
        kind=StepKind.UNREADABLE,
        training_uuid=training_uuid,
        receiver_uuid=_text(entity.removeprefix(_PARTICIPANT)) if _PARTICIPANT in entity else None,
        reason=f"{entity}: field {fields.get('field')}: {fields.get('reason')}",
    )


def _followed(fields: Mapping[str, Any]) -> Step | None:
    """The line that says what came of a round that is overdue."""
    at, training_uuid = _time(fields.get("timestamp")), _text(fields.get("training_uuid"))
    if at is None or training_uuid is None or fields.get("event") != _TRAINING_OVERDUE:
        return None
    reason = f"then: {fields.get('reason')}"
    return Step(at=at, kind=StepKind.OVERDUE, training_uuid=training_uuid, reason=reason)


def _from_fields(fields: Mapping[str, Any]) -> Step | None:
    at = _time(fields.get("timestamp"))
    training_uuid = _text(fields.get("training_uuid"))
    try:
        kind = StepKind(fields["step"])
    except (KeyError, ValueError):
        return None
    if at is None or training_uuid is None:
        return None
    return Step(
        at=at,
        kind=kind,
        training_uuid=training_uuid,
        notification_id=_text(fields.get("notification_id")),
        notification_type=_text(fields.get("notification_type")),
        receiver_uuid=_text(fields.get("receiver_uuid")),
        round=_whole(fields.get("round")),
        attempt=_whole(fields.get("attempt")),
        outcome=TYPE_UNKNOWN
        if fields.get("type_unknown") is True
        else _text(fields.get("outcome")),
        status_code=_whole(fields.get("status_code")),
        reason=_overdue(fields) if kind is StepKind.OVERDUE else _text(fields.get("reason")),
        latency_ms=_whole(fields.get("latency_ms")),
        queued_ms=_whole(fields.get("queued_ms")),
    )


def _overdue(fields: Mapping[str, Any]) -> str:
    where = f"{fields.get('state')}, round {fields.get('round')}"
    return f"{where}: longer than its deadline (on_deadline: {fields.get('policy')})"


def _time(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
        # Without an offset it is UTC, as everything in Lambda is.
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _text(value: Any) -> str | None:
    # Interned: a log repeats the same few types, receivers and reasons many thousand times.
    return sys.intern(value) if isinstance(value, str) and value else None


def _whole(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return round(value)
    except (ValueError, OverflowError):  # NaN and infinity, which Python's JSON reads
        return None


def _starts(value: str | None, beginning: str | None) -> bool:
    if beginning is None:
        return True
    return value is not None and spelled(value).startswith(spelled(beginning))


@lru_cache(maxsize=4096)
def spelled(text: str) -> str:
    """One spelling for all spellings of a UUID: the table keeps the one that somebody wrote."""
    try:
        return str(UUID(text))
    except ValueError:
        return text.lower()

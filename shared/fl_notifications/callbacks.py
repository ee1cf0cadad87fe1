"""What all callbacks do with an event, whatever each of them does about it."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from fl_notifications.deliveries.queue import DeadLetterQueue
from fl_notifications.outcomes.changes import ChangeEvent, parse_change_event
from fl_notifications.outcomes.outcome import Outcome, OutcomeKind, parse_outcome_event
from fl_notifications.telemetry.journal import Journal
from fl_notifications.trainings.items import UnreadableItemError
from fl_notifications.validation import first_error


def call_back(
    event: Mapping[str, Any],
    callback: Callable[[OutcomeKind, Outcome], str],
    *,
    journal: Journal,
    dead_letters: DeadLetterQueue,
) -> None:
    """Call a callback with the outcome that an event tells of, and write down what it did.

    Permanent errors, an event that tells of no outcome or a training that cannot be read, go
    straight to the dead-letter queue; retrying cannot help.

    Args:
        event: as it comes from the bus.
        callback: returns what it has done, in a few words.
        journal: where that is written down.
        dead_letters: where events go that are of no use.

    Raises:
        UnknownEventError: if the event is of a type that is not known here; a newer version may.
        Exception: what the callback raises, so that it is called again.
    """

    def follow(told: tuple[OutcomeKind, Outcome]) -> None:
        kind, outcome = told
        journal.called_back(outcome, kind, callback(kind, outcome))

    _follow(event, parse_outcome_event, follow, "outcome", journal, dead_letters)


def call_back_on_change(
    event: Mapping[str, Any],
    callback: Callable[[ChangeEvent], str],
    *,
    journal: Journal,
    dead_letters: DeadLetterQueue,
) -> None:
    """Call a callback with the change that an event tells of, and write down what it did.

    Args:
        event: as it comes from the bus.
        callback: returns what it has done, in a few words.
        journal: where that is written down.
        dead_letters: where events go that are of no use.

    Raises:
        UnknownEventError: if the event is of a type that is not known here; a newer version may.
        Exception: what the callback raises, so that it is called again.
    """

    def follow(change: ChangeEvent) -> None:
        journal.followed(change.training_uuid, change.detail_type, callback(change))

    _follow(event, parse_change_event, follow, "change", journal, dead_letters)


def _follow[E](
    event: Mapping[str, Any],
    parse: Callable[[Mapping[str, Any]], E],
    follow: Callable[[E], None],
    kind: str,
    journal: Journal,
    dead_letters: DeadLetterQueue,
) -> None:
    try:
        # Apart from what follows: a ValidationError of the callback's own is a fault of it.
        try:
            parsed = parse(event)
        except ValidationError as error:
            field, why = first_error(error)
            _set_aside(event, f"no {kind}: field {field}: {why}", journal, dead_letters)
            return
        try:
            follow(parsed)
        except UnreadableItemError as error:
            journal.unreadable(error)
            _set_aside(event, str(error), journal, dead_letters)
    finally:
        journal.flush()


def _set_aside(
    event: Mapping[str, Any], reason: str, journal: Journal, dead_letters: DeadLetterQueue
) -> None:
    dead_letters.put(json.dumps(event, default=str), reason=reason)
    journal.trouble("dead letter", reason=reason, event_id=event.get("id"))

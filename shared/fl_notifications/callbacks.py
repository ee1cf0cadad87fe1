"""What all callbacks do with an outcome event, whatever each of them does about it."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from fl_notifications.deliveries.queue import DeadLetterQueue
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

    What no repetition can mend, an event that tells of no outcome or a training that cannot be
    read, becomes a dead letter at once.

    Args:
        event: as Lambda gets it from the bus.
        callback: returns what it has done, in a few words.
        journal: where that is written down.
        dead_letters: where events go that are of no use.

    Raises:
        Exception: what the callback raises; Lambda calls it again, and gives up in the same queue.
    """
    try:
        try:
            kind, outcome = parse_outcome_event(event)
            done = callback(kind, outcome)
        except ValidationError as error:
            field, why = first_error(error)
            _set_aside(event, f"no outcome: field {field}: {why}", journal, dead_letters)
        except UnreadableItemError as error:
            journal.unreadable(error)
            _set_aside(event, str(error), journal, dead_letters)
        else:
            journal.called_back(outcome, kind, done)
    finally:
        journal.flush()


def _set_aside(
    event: Mapping[str, Any], reason: str, journal: Journal, dead_letters: DeadLetterQueue
) -> None:
    dead_letters.put(json.dumps(event, default=str), reason=reason)
    journal.trouble("dead letter", reason=reason, event_id=event.get("id"))

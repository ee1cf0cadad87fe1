"""The run of a training, as far as the stream was read: `run#<training_uuid>` in the ledger."""

from typing import Any, Final

from fl_notifications.outcomes.ledger import ledger_key

RUN_PREFIX: Final = "run#"


def run_key(training_uuid: str) -> dict[str, Any]:
    """The key of a training's entry in the ledger; the uuid as the table spells it."""
    return ledger_key(f"{RUN_PREFIX}{training_uuid}")


def later_than(one: str, other: str) -> bool:
    """Whether a sequence number of the stream is later than another.

    They are strings of digits, compared as integers: DynamoDB's numbers hold 38 digits, these have
    up to 40.
    """
    return int(one) > int(other)

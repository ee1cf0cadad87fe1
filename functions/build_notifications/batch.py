"""Processes a batch of stream records in order, and reports partial failures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fl_notifications.aws.batches import PartialItemFailureResponse
from fl_notifications.clock import Clock
from fl_notifications.notifications.dead_letters import DeadLetters
from fl_notifications.outcomes.runs import Runs
from fl_notifications.telemetry.journal import Journal
from functions.build_notifications.builder import Builder
from functions.build_notifications.entries import Entries
from functions.build_notifications.patience import Patience
from functions.build_notifications.records import Change

RESERVE_SECONDS: Final = 60.0
"""No record is begun with less time left than this; Lambda retries it."""


@dataclass(frozen=True)
class Batches:
    """Processes batches of the stream."""

    builder: Builder
    runs: Runs
    dead_letters: DeadLetters
    patience: Patience
    clock: Clock
    journal: Journal

    def process(
        self, event: Mapping[str, Any], remaining_seconds: Callable[[], float]
    ) -> PartialItemFailureResponse:
        """Build the notifications of a stream event's records, in order.

        After a record has failed, the later ones of the same training are not touched: Lambda
        begins again with the lowest that failed, and they would have overtaken it.

        Args:
            event: as Lambda gets it from the stream.
            remaining_seconds: until the function's timeout.

        Returns:
            The records that failed.
        """
        try:
            failed = self._process(event["Records"], remaining_seconds)
            return {"batchItemFailures": [{"itemIdentifier": each} for each in failed]}
        finally:
            self.journal.flush()

    def _process(
        self, records: list[dict[str, Any]], remaining_seconds: Callable[[], float]
    ) -> list[str]:
        entries = Entries(self.runs, self.clock)
        served: set[str] = set()
        behind: set[str] = set()
        left: list[str] = []
        failures: dict[str, tuple[dict[str, Any], Exception]] = {}
        for record in records:
            number, training_uuid = _names(record)
            if training_uuid in behind or remaining_seconds() < RESERVE_SECONDS:
                behind.add(training_uuid)
                left.append(number)
                continue
            try:
                change = Change.from_record(record)
                self.builder.build(change, entries)
            except Exception as error:  # noqa: BLE001 - one training must not stop the others
                self._note(training_uuid, number, error)
                behind.add(training_uuid)
                failures[number] = record, error
                left.append(number)
            else:
                self.patience.forget(number)
                if change.of_training or change.of_participant:
                    served.add(training_uuid)
        given_up = self._give_up(failures, served)
        return [each for each in left if each not in given_up]

    def _give_up(
        self, failures: Mapping[str, tuple[dict[str, Any], Exception]], served: set[str]
    ) -> set[str]:
        """Give up records that have failed for too long, while other trainings succeeded."""
        given_up = set()
        for number, (record, error) in failures.items():
            _, training_uuid = _names(record)
            if not self.patience.is_over(number) or not served - {training_uuid}:
                continue
            try:
                self.dead_letters.given_up(record, f"failed for five minutes: {_kind(error)}")
            except Exception as unable:  # noqa: BLE001 - it stays where it is
                self._note(training_uuid, number, unable)
            else:
                given_up.add(number)
                self.patience.forget(number)
        return given_up

    def _note(self, training_uuid: str, number: str, error: Exception) -> None:
        self.journal.trouble(
            "a record could not be processed; it will come again",
            error,
            training_uuid=training_uuid,
            sequence_number=number,
        )


def _names(record: Mapping[str, Any]) -> tuple[str, str]:
    """The sequence number of a record, and the training that it belongs to."""
    stream = record["dynamodb"]
    return stream["SequenceNumber"], stream.get("Keys", {}).get("training_uuid", {}).get("S", "")


def _kind(error: Exception) -> str:
    return type(error).__name__
